"""The Scene: what every family of models returns, and what save, export, view and evaluate take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from worldline.errors import InputError
from worldline.types import Camera, Gaussians, ImageTransform, Provenance, Tracks

POSE_STATUSES = ("estimated", "given", "failed", "degenerate")
SCALES = ("arbitrary", "model", "known-poses", "known-baseline", "depth")


@dataclass(frozen=True, eq=False)
class SceneView:
    """One image of a scene: its camera and what is known of every pixel.

    Arrays are at model size; the camera belongs to the photo as shown; ``transform`` is the way between the two.
    """

    name: str  # unique within the scene
    image: UInt8[np.ndarray, "height width 3"] = field(repr=False)  # RGB
    transform: ImageTransform  # photo as shown <-> model pixels
    camera: Camera  # intrinsics in original pixels, pose in the world frame
    points: Float32[np.ndarray, "height width 3"] = field(repr=False)  # world frame, in the unit that Scene.scale names
    depth: Float32[np.ndarray, "height width"] = field(repr=False)  # z along this camera's optical axis, same unit
    confidence: Float32[np.ndarray, "height width"] = field(repr=False)  # > 0, larger is better
    mask: Bool[np.ndarray, "height width"] = field(repr=False)  # True = confident, in front, in the photo, finite
    source: str | None = None  # file that the image came from, None for arrays
    timestamp: float | None = None  # seconds
    sensor: str | None = None  # camera of a rig
    pose_status: str = "estimated"  # one of POSE_STATUSES

    def __post_init__(self) -> None:
        size = self.transform.model_size
        shapes = {
            "image": (*size, 3),
            "points": (*size, 3),
            "depth": size,
            "confidence": size,
            "mask": size,
        }
        for label, expected in shapes.items():
            actual = getattr(self, label).shape
            if actual != expected:
                raise InputError(
                    f"View {self.name!r}: {label} has shape {actual}, expected {expected}.",
                    "Give every array of a view at the model size of its image transform.",
                )
        if (self.camera.height, self.camera.width) != self.transform.original_size:
            raise InputError(
                f"View {self.name!r}: the camera is for {self.camera.height}x{self.camera.width} pixels, "
                f"the photo as shown has {'x'.join(map(str, self.transform.original_size))} (height x width).",
                "Give the camera in original pixels (Camera.to_original maps a model camera).",
            )
        if self.pose_status not in POSE_STATUSES:
            raise InputError(
                f"View {self.name!r}: unknown pose status {self.pose_status!r}.",
                f"Choose one of {', '.join(POSE_STATUSES)}.",
            )

    @property
    def model_camera(self) -> Camera:
        """The same camera in model pixels: it projects ``points[row, column]`` to about (column, row)."""
        return self.camera.to_model(self.transform)


@dataclass(frozen=True, eq=False)
class Scene:
    """A reconstructed scene, in input order. Nothing downstream of it runs a network again."""

    views: tuple[SceneView, ...]
    gaussians: Gaussians | None = field(default=None, repr=False)
    tracks: Tracks | None = field(default=None, repr=False)
    scale: str = "arbitrary"  # how the unit of length was fixed, one of SCALES
    provenance: Provenance = field(default_factory=lambda: Provenance(model="unknown"))
    warnings: tuple[str, ...] = ()  # what a user should know about this result

    def __post_init__(self) -> None:
        names = [view.name for view in self.views]
        if len(set(names)) != len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise InputError(
                f"Two views of a scene have the same name: {', '.join(twice)}.", "Give every view its own name."
            )
        if self.scale not in SCALES:
            raise InputError(f"Unknown scale {self.scale!r}.", f"Choose one of {', '.join(SCALES)}.")

    def __len__(self) -> int:
        return len(self.views)

    @property
    def metric(self) -> bool:
        """Whether one unit of length is known to be one metre (as far as the given data were in metres)."""
        return self.scale in ("known-poses", "known-baseline", "depth")

    def point_cloud(
        self, min_confidence: float | None = None
    ) -> tuple[Float32[np.ndarray, "n 3"], UInt8[np.ndarray, "n 3"], Float32[np.ndarray, "n"]]:
        """The valid pixels of all views as one coloured cloud in the world frame.

        Args:
            min_confidence: pixels of lower confidence are left out as well.

        Returns:
            points [n, 3], colors [n, 3] (sRGB), confidence [n]; views in input order, pixels row by row.
        """
        keeps = [
            view.mask if min_confidence is None else view.mask & (view.confidence >= min_confidence)
            for view in self.views
        ]
        points = [view.points[keep] for view, keep in zip(self.views, keeps, strict=True)]
        colors = [view.image[keep] for view, keep in zip(self.views, keeps, strict=True)]
        confidence = [view.confidence[keep] for view, keep in zip(self.views, keeps, strict=True)]
        return (
            np.concatenate([np.zeros((0, 3), np.float32), *points]),
            np.concatenate([np.zeros((0, 3), np.uint8), *colors]),
            np.concatenate([np.zeros(0, np.float32), *confidence]),
        )

    def save(self, directory: str | Path) -> Path:
        """Write the scene as a folder (scene.json, arrays.safetensors, thumbnails/) and return its path.

        Files of the user in that folder are left alone; an earlier scene there is replaced only once all new files
        are complete. See docs/formats.md.

        Raises:
            OutputError: no permission, full disk, or the path is a file.
        """
        from worldline.scene.storage import save_scene

        return save_scene(self, Path(directory))

    @staticmethod
    def load(directory: str | Path) -> Scene:
        """Read a scene that :meth:`save` wrote; arrays and cameras are bit-identical to those saved.

        Raises:
            InputError: not a scene, written by a newer version, or damaged.
        """
        from worldline.scene.storage import load_scene

        return load_scene(Path(directory))

    def export(self, directory: str | Path, formats: Sequence[str]) -> dict[str, Path]:
        """Write the scene in public formats, all in original-image coordinates; see docs/formats.md for each.

        Args:
            directory: where to write; made when absent.
            formats: names such as "glb", "ply", "colmap", "nerfstudio"; all are checked before anything is written.

        Returns:
            format -> the file or folder written.

        Raises:
            InputError: an unknown format name (the message lists the choices).
            OutputError: a file cannot be written.
        """
        # outputs is the room above this one: a convenience, looked up when called
        from worldline.outputs.export import export_scene

        return export_scene(self, Path(directory), formats)
