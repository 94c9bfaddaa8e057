"""Sequences with ground truth: photos on disk, true cameras, and depth maps or triangulated points."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float64

from worldline.eval.depth_maps import DepthMap
from worldline.types import Camera, ImageTransform, Views

SAME_POSE = 1e-9  # a depth camera that differs by less is the photo's own


@dataclass(frozen=True)
class GroundTruth:
    """True positions of the model pixels of some views; ``valid`` says where they are known."""

    points: Float64[np.ndarray, "view height width 3"]  # world frame
    depth: Float64[np.ndarray, "view height width"]  # z in the view's camera
    valid: Bool[np.ndarray, "view height width"]
    cameras: tuple[Camera, ...]  # original pixels

    @property
    def world_from_cam(self) -> Float64[np.ndarray, "view 4 4"]:
        """True poses."""
        return np.stack([camera.world_from_cam for camera in self.cameras])

    def choose(self, views: Iterable[int]) -> GroundTruth:
        """Of the given views, in the given order."""
        rows = list(views)
        cameras = tuple(self.cameras[row] for row in rows)
        return GroundTruth(self.points[rows], self.depth[rows], self.valid[rows], cameras)


@dataclass(frozen=True)
class Sequence:
    """Frames of one scene with their true cameras. What has no depth and no points is true in its poses only."""

    name: str
    images: tuple[Path, ...]
    cameras: tuple[Camera, ...]  # original pixels
    depths: tuple[DepthMap | None, ...]
    points: Float[np.ndarray, "n 3"] | None = None  # world frame
    observations: Float[np.ndarray, "m 4"] | None = None  # point, frame, x, y in original pixels
    format: str = ""  # which reader made it

    def __len__(self) -> int:
        return len(self.images)

    def subsets(self, count: int, spacing: int | None = None) -> list[list[int]]:
        """Choices of ``count`` frames that differ by their first frame, each evenly spaced.

        Args:
            spacing: frames from one view to the next; None spreads each choice over the whole sequence.
        """
        if spacing is None:
            stride = len(self) // count
            return [[offset + stride * k for k in range(count)] for offset in range(stride)] if stride else []
        last_start = len(self) - 1 - spacing * (count - 1)
        return [[start + spacing * k for k in range(count)] for start in range(last_start + 1)]

    def truth(self, frames: list[int], views: Views) -> GroundTruth:
        """True points of the model pixels of views that were read from ``frames``."""
        fill = self._fill_from_depth if self.observations is None else self._fill_from_observations
        height, width = views[0].transform.model_size
        points = np.zeros((len(frames), height, width, 3))
        depth, valid = np.zeros(points.shape[:3]), np.zeros(points.shape[:3], dtype=bool)
        for index, (frame, view) in enumerate(zip(frames, views, strict=True)):
            fill(frame, view.transform, points[index], depth[index], valid[index])
        return GroundTruth(points, depth, valid, tuple(self.cameras[frame] for frame in frames))

    def _fill_from_depth(
        self, frame: int, transform: ImageTransform, points: np.ndarray, depth: np.ndarray, valid: np.ndarray
    ) -> None:
        """Depth is never interpolated: every value is one that was measured, at the nearest pixel."""
        measured = self.depths[frame]
        if measured is None:
            return
        camera, values = self.cameras[frame], measured.read()
        sensor = measured.camera or camera
        sensor = _resized(sensor, *values.shape)
        if np.abs(sensor.world_from_cam - camera.world_from_cam).max() < SAME_POSE:
            _look_up(values, sensor, camera, transform, points, depth, valid)
        else:
            _warp(values, sensor, camera.to_model(transform), points, depth, valid)

    def _fill_from_observations(
        self, frame: int, transform: ImageTransform, points: np.ndarray, depth: np.ndarray, valid: np.ndarray
    ) -> None:
        """Each triangulated point goes to the model pixel nearest to its observation."""
        if self.observations is None or self.points is None:
            return
        observed = self.observations[self.observations[:, 1] == frame]
        x, y = np.rint(transform.to_model(observed[:, 2:4])).astype(int).T
        inside = (x >= 0) & (x < depth.shape[1]) & (y >= 0) & (y < depth.shape[0])
        seen = self.points[observed[inside, 0].astype(int)].astype(np.float64)
        points[y[inside], x[inside]] = seen
        depth[y[inside], x[inside]] = self.cameras[frame].project(seen)[1]
        valid[y[inside], x[inside]] = True


def pinhole(fx: float, fy: float, cx: float, cy: float) -> Float64[np.ndarray, "3 3"]:
    """Intrinsics without skew."""
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=np.float64)


def _resized(camera: Camera, height: int, width: int) -> Camera:
    """The camera of the same image at another resolution; the image's edges stay edges."""
    if (camera.height, camera.width) == (height, width):
        return camera
    x, y = width / camera.width, height / camera.height
    return camera.mapped(np.array([[x, 0, 0.5 * x - 0.5], [0, y, 0.5 * y - 0.5], [0, 0, 1]]), height, width)


def _look_up(
    values: Float64[np.ndarray, "rows columns"], sensor: Camera, camera: Camera, transform: ImageTransform,
    points: np.ndarray, depth: np.ndarray, valid: np.ndarray,
) -> None:  # fmt: skip
    """The depth camera stands where the photo was taken: each model pixel reads the depth pixel nearest to its ray."""
    rows, columns = np.indices(depth.shape)
    photo = transform.to_original(np.stack([columns, rows], -1))
    homogeneous = np.concatenate([photo, np.ones_like(photo[..., :1])], -1)
    pixels = (homogeneous @ (sensor.intrinsics @ np.linalg.inv(camera.intrinsics)).T)[..., :2]
    x, y = np.moveaxis(np.rint(pixels).astype(int), -1, 0)
    inside = (x >= 0) & (x < values.shape[1]) & (y >= 0) & (y < values.shape[0])
    x, y = np.clip(x, 0, values.shape[1] - 1), np.clip(y, 0, values.shape[0] - 1)
    depth[:] = values[y, x]
    valid[:] = inside & transform.inside & (depth > 0)
    points[:] = _lift(np.stack([x, y], -1), depth, sensor)


def _warp(
    values: Float64[np.ndarray, "rows columns"], sensor: Camera, target: Camera,
    points: np.ndarray, depth: np.ndarray, valid: np.ndarray,
) -> None:  # fmt: skip
    """The depth camera stands beside the photo's: its points are seen from there, the nearest in a pixel counts."""
    y, x = np.nonzero(values > 0)
    seen = _lift(np.stack([x, y], -1), values[y, x], sensor)
    pixels, distance = target.project(seen)
    x, y = np.rint(pixels).astype(int).T
    inside = (distance > 0) & (x >= 0) & (x < target.width) & (y >= 0) & (y < target.height)
    far_first = np.flatnonzero(inside)[np.argsort(-distance[inside], kind="stable")]  # the nearest is written last
    x, y = x[far_first], y[far_first]
    points[y, x], depth[y, x], valid[y, x] = seen[far_first], distance[far_first], True


def _lift(
    pixels: Float[np.ndarray, "*n 2"], depth: Float[np.ndarray, "*n"], camera: Camera
) -> Float64[np.ndarray, "*n 3"]:
    """World points at a depth along the optical axis."""
    homogeneous = np.concatenate([pixels, np.ones_like(pixels[..., :1])], -1)
    rays = homogeneous @ np.linalg.inv(camera.intrinsics).T
    return (rays * depth[..., None]) @ camera.world_from_cam[:3, :3].T + camera.center
