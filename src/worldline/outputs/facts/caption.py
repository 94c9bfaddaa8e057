"""What a file that goes to other people says about its making: no paths and no arguments, which may be private."""

from __future__ import annotations

from pathlib import Path

from worldline.scene import Scene


def model_name(scene: Scene) -> str:
    """The model's name or hub id; of a file or folder anywhere on the machine only the last part."""
    path = Path(scene.provenance.model).expanduser()
    return path.name if path.is_absolute() else scene.provenance.model


def scale_of(scene: Scene) -> str:
    """How the unit of length was fixed."""
    return scene.scale + (", in metres" if scene.metric else "")


def caption(scene: Scene) -> str:
    """Model, weights, their licence, scale, date and version in one line."""
    source = scene.provenance
    weights = f"weights {source.weights_sha256[:12]}" if source.weights_sha256 else ""
    details = ", ".join(filter(None, [weights, source.license and f"licence {source.license}"]))
    model = f"{model_name(scene)} ({details})" if details else model_name(scene)
    program = f"worldline {source.versions.get('worldline', '')}".strip()
    return " · ".join(filter(None, [model, f"scale: {scale_of(scene)}", source.created[:10], program]))
