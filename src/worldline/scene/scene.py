"""The Scene: what every family of models returns, and what save, export, view and evaluate take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from worldline.errors import InputError
from worldline.types import Camera, Gaussians, ImageTransform, MovingObject, Provenance, Rig, Tracks

POSE_STATUSES = ("estimated", "given", "failed", "degenerate")
SCALES = ("arbitrary", "model", "known-poses", "known-baseline", "depth")
MOTIONS = ("all", "static", "dynamic")
_TIME_SLACK = 1e-3  # seconds by which a moment may miss the only one that there is


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
    dynamic: Bool[np.ndarray, "height width"] | None = field(default=None, repr=False)  # True = moves; None: unknown

    def __post_init__(self) -> None:
        size = self.transform.model_size
        shapes = {
            "image": (*size, 3),
            "points": (*size, 3),
            "depth": size,
            "confidence": size,
            "mask": size,
            "dynamic": size,
        }
        for label, expected in shapes.items():
            if label == "dynamic" and self.dynamic is None:
                continue
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
        if self.timestamp is not None and not np.isfinite(self.timestamp):
            raise InputError(f"View {self.name!r}: the timestamp is {self.timestamp}.", "Give seconds, or None.")
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
    objects: tuple[MovingObject, ...] = field(default=(), repr=False)  # what moves, as boxes
    rig: Rig | None = field(default=None, repr=False)  # the cameras that the sensors of the views belong to

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

    @property
    def sensors(self) -> tuple[str, ...]:
        """Names of the sensors of the views, in the order of their first appearance."""
        return tuple(dict.fromkeys(view.sensor for view in self.views if view.sensor is not None))

    @property
    def times(self) -> tuple[float, ...]:
        """The distinct timestamps of the views in seconds, ascending."""
        return tuple(sorted({view.timestamp for view in self.views if view.timestamp is not None}))

    def at(self, moment: float | int) -> Scene:
        """The scene of one moment: the same views, without the others.

        Args:
            moment: an integer is an index into :attr:`times` (negative ones count from the end), any other number a
                time in seconds, of which the nearest in :attr:`times` is taken.

        Returns:
            the views of that moment and the objects that are known before and after it; no Gaussians, since those
            belong to all views together.

        Raises:
            InputError: no view has a time, or the moment lies more than one step outside of the scene.
        """
        time = _nearest_time(self.times, moment)
        objects = tuple(
            each for each in self.objects if len(each.timestamps) and each.timestamps[0] <= time <= each.timestamps[-1]
        )
        return self._choose([view.timestamp == time for view in self.views], objects=objects)

    def of(self, sensor: str) -> Scene:
        """The scene of one sensor: the same views, without the others.

        Returns:
            the views of that sensor, the objects that it saw, and its part of the rig; no Gaussians.

        Raises:
            InputError: no view is of that sensor.
        """
        if sensor not in self.sensors:
            known = ", ".join(self.sensors) or "none, since its views have no sensors"
            raise InputError(f"The scene has no view of sensor {sensor!r}.", f"It has: {known}.")
        rig = self.rig.choose([sensor]) if self.rig is not None and sensor in self.rig.sensors else None
        objects = tuple(each for each in self.objects if sensor in each.sensors)
        return self._choose([view.sensor == sensor for view in self.views], objects=objects, rig=rig)

    def _choose(self, keep: list[bool], **changes: object) -> Scene:
        """The scene of some of the views."""
        tracks = self.tracks
        if tracks is not None:
            tracks = Tracks(tracks.points[:, keep], tracks.pixels[:, keep], tracks.visible[:, keep], tracks.colors)
        views = tuple(view for view, kept in zip(self.views, keep, strict=True) if kept)
        return replace(self, views=views, tracks=tracks, gaussians=None, **changes)  # type: ignore[arg-type]

    def point_cloud(
        self, min_confidence: float | None = None, *, dynamic: str = "all"
    ) -> tuple[Float32[np.ndarray, "n 3"], UInt8[np.ndarray, "n 3"], Float32[np.ndarray, "n"]]:
        """The valid pixels of all views as one coloured cloud in the world frame.

        Args:
            min_confidence: pixels of lower confidence are left out as well.
            dynamic: "all"; "dynamic" = only what is known to move; "static" = all but that, so the pixels of views of
                which nothing is known are taken to stand still.

        Returns:
            points [n, 3], colors [n, 3] (sRGB), confidence [n]; views in input order, pixels row by row.

        Raises:
            InputError: an unknown choice of ``dynamic``.
        """
        if dynamic not in MOTIONS:
            raise InputError(f"Unknown choice of dynamic {dynamic!r}.", f"Choose one of {', '.join(MOTIONS)}.")
        keeps = [_kept(view, min_confidence, dynamic) for view in self.views]
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
    def load(directory: str | Path, *, lazy: bool = False, partial: bool = False) -> Scene:
        """Read a scene that :meth:`save` or :class:`SceneWriter` wrote; arrays and cameras are bit-identical to those.

        Args:
            directory: the scene folder.
            lazy: map the array files into memory instead of reading them: a scene larger than the memory opens at
                once, and only the pixels that are touched are read. The arrays are read-only, and the files must stay
                as they are for as long as the scene is in use.
            partial: of a scene in several array files load what can be read; what is missing goes to ``warnings``.

        Raises:
            InputError: not a scene, written by a newer version, damaged, or an array file is missing.
        """
        from worldline.scene.storage import load_scene

        return load_scene(Path(directory), lazy=lazy, partial=partial)

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


def _kept(view: SceneView, min_confidence: float | None, dynamic: str) -> Bool[np.ndarray, "height width"]:
    """The pixels of a view that a point cloud takes."""
    keep = view.mask if min_confidence is None else view.mask & (view.confidence >= min_confidence)
    if dynamic == "all":
        return keep
    moves = np.zeros_like(keep) if view.dynamic is None else view.dynamic
    return keep & (moves if dynamic == "dynamic" else ~moves)


def _nearest_time(times: tuple[float, ...], moment: float | int) -> float:
    """The element of ``times`` that ``moment`` names."""
    if not times:
        raise InputError("The views of this scene have no times.", "Choose them by their index in Scene.views.")
    if isinstance(moment, int | np.integer):
        if not -len(times) <= moment < len(times):
            raise InputError(f"The scene has {len(times)} moments; there is no number {moment}.", "Count from 0.")
        return times[int(moment)]
    step = max((after - before for before, after in pairwise(times)), default=0.0)
    nearest = min(times, key=lambda time: abs(time - moment))
    if not abs(nearest - moment) <= max(step, _TIME_SLACK):
        raise InputError(
            f"The scene has nothing at {moment} s.", f"Its views were taken from {times[0]} s to {times[-1]} s."
        )
    return nearest
