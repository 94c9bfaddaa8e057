"""What every reconstruction ends with: provenance, timings, and what a user should know about the inputs."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from worldline import __version__
from worldline.types import Provenance, Views

if TYPE_CHECKING:
    from worldline.pipeline.single_pass import ReconstructOptions, Reconstructor
    from worldline.pipeline.stream import StreamOptions
    from worldline.pipeline.video import EncodeOptions
    from worldline.scene import Scene


def provenance(
    model: Reconstructor, options: ReconstructOptions | StreamOptions | EncodeOptions, extra: dict[str, object]
) -> Provenance:
    """Model, weights, licence, arguments and versions of a run that starts now."""
    return Provenance(
        model=model.name,
        weights_sha256=model.weights_sha256,
        license=model.license,
        arguments={**asdict(options), **extra, "device": model.device},
        versions=versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def finished(scene: Scene, timings: dict[str, float], views: Views, notes: Sequence[str] = ()) -> Scene:
    """The scene with its timings and with what was said about the inputs."""
    timings = {"read": views.read_seconds, **timings}
    timings["total"] = sum(timings.values())
    said = (*(f"skipped {entry}" for entry in views.skipped), *views.notes, *notes)
    return replace(
        scene,
        provenance=replace(scene.provenance, timings=timings),
        warnings=tuple(dict.fromkeys((*said, *scene.warnings))),
    )


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    found = {"worldline": __version__, "python": platform.python_version()}
    for package in ("torch", "numpy", "pycolmap", "pillow"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
