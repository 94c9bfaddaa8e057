"""Kubric and MOVi: simulated rigid things, as frames that the generator writes or that were exported from TFDS.

A scene is a folder with ``metadata.json`` and frames beside it: ``rgba_00000.png`` (or ``rgb_``; PNG or JPEG),
``depth_00000.tiff`` (float) or ``depth_00000.png`` (16 bits between the two ends of ``depth_range``),
``segmentation_00000.png`` (0 = background, k + 1 = instance k) and perhaps ``normal_00000.png``. The range is
``metadata.depth_range`` of metadata.json, or ``depth`` in ``data_ranges.json``. Cameras and instances have the
``positions`` and ``quaternions`` (w, x, y, z) of every frame.

Traps: depth is the distance along the ray, not along the optical axis; cameras have Blender's axes (y up, looking along
-z); segmentation has a palette; the focal length is in millimetres of a sensor of ``sensor_width``.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from worldline.errors import InputError
from worldline.train.clips.readers import axes
from worldline.train.clips.readers.files import (
    REMEDY,
    Files,
    folders_with,
    naming,
    numbered,
    read_color,
    read_floats,
    read_gray16,
    read_json,
    read_labels,
)  # fmt: skip
from worldline.train.clips.readers.sequence import Frame, FrameSequence, VideoSequence, sky_of
from worldline.train.clips.readers.surfaces import NormalCode, normals_of_depth

RATE = 12.0  # of MOVi; scenes that say their own have it in metadata.frame_rate
_FILES = {
    "rgb": ("rgba_*.png", "rgb_*.png", "rgba_*.jpg", "rgb_*.jpg"),
    "depth": ("depth_*.tiff", "depth_*.png"),
    "segmentation": ("segmentation_*.png",),
    "normal": ("normal_*.png",),
}
_SKY = 1e5  # metres; Blender says 1e10 where a ray leaves the scene


class Scene(FrameSequence):
    """One scene with its rigid things."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        depths = self._files("depth")
        super().__init__(str(folder), [number for number in self._files("rgb") if number in depths], RATE)

    def frame(self, index: int) -> Frame:
        number = int(self.numbers[index])
        segmentation = self._files("segmentation")
        if number not in segmentation:
            raise InputError(
                f"{self.folder} has no segmentation of frame {number}.",
                "Export it with the frames: without it nobody knows what moves.",
            )
        image, labels = read_color(self._files("rgb")[number]), read_labels(segmentation[number])
        depth, sky = self._depth(index)
        intrinsics, poses = self.cameras(np.array([index]), *depth.shape)
        normals = None
        maps = self._files("normal")
        if number in maps and self.code is not None:
            normals = self.code.decode(read_color(maps[number]), intrinsics[0], poses[0])
        return sky_of(Frame(image, depth, labels, normals), sky)

    def cameras(
        self, index: Int[np.ndarray, "frame"], height: int, width: int
    ) -> tuple[Float[np.ndarray, "frame 3 3"], Float[np.ndarray, "frame 4 4"]]:
        with naming(self.folder / "metadata.json"):
            camera = self.metadata["camera"]
            matrix = axes.centered(width * camera["focal_length"] / camera["sensor_width"], height, width)
            poses = axes.with_opencv_axes(_poses(camera), axes.OPENGL)[self.numbers[index]]
        return np.repeat(matrix[None], len(index), 0), poses

    def things(
        self, labels: Int[np.ndarray, "thing"], index: Int[np.ndarray, "frame"]
    ) -> tuple[Float[np.ndarray, "frame thing 4 4"], Bool[np.ndarray, "thing"]]:
        poses = np.broadcast_to(np.eye(4), (len(index), len(labels), 4, 4)).copy()
        with naming(self.folder / "metadata.json"):
            instances = self._instances
            known = labels <= len(instances)
            for column in np.flatnonzero(known):
                poses[:, column] = _poses(instances[labels[column] - 1])[self.numbers[index]]
        return poses, known

    def times(self, index: Int[np.ndarray, "frame"]) -> Float[np.ndarray, "frame"]:
        return self.numbers[index] / float(self.metadata.get("metadata", {}).get("frame_rate", RATE))

    def _files(self, kind: str) -> Files:
        return numbered(self.folder, *_FILES[kind])

    def _depth(self, index: int) -> tuple[Float[np.ndarray, "height width"], Bool[np.ndarray, "height width"]]:
        """Depth along the optical axis, and where the sky is."""
        distance = self._distance(self._files("depth")[int(self.numbers[index])])
        intrinsics, _ = self.cameras(np.array([index]), *distance.shape)
        sky = ~(distance < _SKY)
        return axes.depth_of_distance(np.where(sky, 0, distance), intrinsics[0]), sky

    @cached_property
    def code(self) -> NormalCode | None:
        """What the normal maps mean, by the one in the middle of the video."""
        index = len(self) // 2
        path = self._files("normal").get(int(self.numbers[index]))
        if path is None:
            return None
        depth, _ = self._depth(index)
        intrinsics, poses = self.cameras(np.array([index]), *depth.shape)
        return NormalCode.agreeing(read_color(path), normals_of_depth(depth, intrinsics[0], poses[0]), poses[0])

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """The scene's description."""
        values = read_json(self.folder / "metadata.json")
        if not isinstance(values, dict) or not {"camera", "instances"} <= values.keys():
            raise InputError(f"{self.folder / 'metadata.json'} describes no Kubric scene.", REMEDY)
        return values

    @cached_property
    def _instances(self) -> list[dict[str, Any]]:
        """One entry per thing; exports from TFDS have one list per property instead."""
        instances = self.metadata["instances"]
        if isinstance(instances, list):
            return instances
        pairs = zip(instances["positions"], instances["quaternions"], strict=True)
        return [{"positions": places, "quaternions": turns} for places, turns in pairs]

    def _distance(self, path: Path) -> Float[np.ndarray, "height width"]:
        """Metres along the rays."""
        if path.suffix == ".tiff":
            return read_floats(path)
        low, high = self._range
        return (low + read_gray16(path) * ((high - low) / 65535)).astype(np.float32)

    @cached_property
    def _range(self) -> tuple[float, float]:
        with naming(self.folder / "metadata.json"):
            stated = self.metadata.get("metadata", {}).get("depth_range")
            if stated is not None:
                low, high = stated
                return float(low), float(high)
        path = self.folder / "data_ranges.json"
        with naming(path):
            stated = read_json(path)["depth"]
            return float(stated["min"]), float(stated["max"])


def _poses(thing: dict[str, Any]) -> Float[np.ndarray, "frame 4 4"]:
    positions, quaternions = (np.asarray(thing[name], np.float64) for name in ("positions", "quaternions"))
    if positions.ndim != 2 or positions.shape[1] != 3 or quaternions.shape != (len(positions), 4):
        raise ValueError("positions and quaternions are not those of the frames")
    return axes.poses(positions, axes.rotations(quaternions))


def find(folder: Path) -> list[VideoSequence]:
    """All scenes below a folder."""
    return [Scene(each) for each in folders_with(folder, "metadata.json")]
