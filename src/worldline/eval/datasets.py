"""Sequences with ground truth on disk: images, intrinsics, poses, and depth maps or triangulated points.

Layout of one sequence (also what ``worldline worlds write`` makes)::

    scene.json     {"frames": [{"image", "width", "height", "K": [fx, fy, cx, cy], "T_c2w": 4x4, "depth": png}]}
    images/*.jpg   depth/*.png (uint16 millimetres along the optical axis, 0 = no value)
    points.npy     (N, 3) world points, observations.npy (M, 4): point, frame, u, v       -- instead of depth maps
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float64
from PIL import Image

from worldline.errors import InputError
from worldline.types import Camera, ImageTransform, Views

MILLIMETRES = 1000.0


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


@dataclass(frozen=True)
class Sequence:
    """Frames of one static scene with their true cameras."""

    name: str
    images: tuple[Path, ...]
    cameras: tuple[Camera, ...]  # original pixels
    depths: tuple[Path | None, ...]
    points: np.ndarray | None = None
    observations: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    def subsets(self, count: int) -> list[list[int]]:
        """All evenly spaced choices of ``count`` frames that differ by their first frame."""
        stride = len(self) // count
        return [[offset + stride * k for k in range(count)] for offset in range(stride)] if stride else []

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
        """Nearest depth sample of each model pixel: depth is not interpolated across edges."""
        file = self.depths[frame]
        if file is None:
            return
        measured = np.asarray(Image.open(file), dtype=np.float64) / MILLIMETRES
        rows, columns = np.indices(depth.shape)
        x, y = np.moveaxis(np.rint(transform.to_original(np.stack([columns, rows], -1))).astype(int), -1, 0)
        inside = (x >= 0) & (x < measured.shape[1]) & (y >= 0) & (y < measured.shape[0])
        x, y = np.clip(x, 0, measured.shape[1] - 1), np.clip(y, 0, measured.shape[0] - 1)
        depth[:] = measured[y, x]
        valid[:] = inside & (depth > 0)
        camera = self.cameras[frame]
        rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(camera.intrinsics).T
        points[:] = (rays * depth[..., None]) @ camera.world_from_cam[:3, :3].T + camera.center

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


def read_sequence(folder: str | Path) -> Sequence:
    """Read one sequence; frames without a pose are left out.

    Raises:
        InputError: the folder has no readable scene.json of this layout, or no ground truth.
    """
    folder = Path(folder)
    try:
        frames = json.loads((folder / "scene.json").read_text(encoding="utf-8"))["frames"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{folder} holds no sequence with ground truth ({error}).", "See docs/evaluation.md."
        ) from error
    posed = [(index, frame) for index, frame in enumerate(frames) if "T_c2w" in frame and "K" in frame]
    if len(posed) < 2:
        raise InputError(f"{folder} has no frames with intrinsics and poses.", "See docs/evaluation.md.")
    observations = points = None
    if (folder / "observations.npy").exists():
        points, observations = np.load(folder / "points.npy"), np.load(folder / "observations.npy")
    depths = tuple(folder / frame["depth"] if frame.get("depth") else None for _, frame in posed)
    if observations is None and any(depth is None for depth in depths):
        raise InputError(f"{folder} has neither depth maps nor triangulated points.", "See docs/evaluation.md.")
    return Sequence(
        name=f"{folder.parent.name}/{folder.name}",
        images=tuple(folder / frame["image"] for _, frame in posed),
        cameras=tuple(_camera(frame) for _, frame in posed),
        depths=depths,
        points=points,
        observations=observations,
    )


def find_sequences(folder: str | Path) -> list[Path]:
    """Every folder at or below ``folder`` that holds a scene.json, sorted."""
    return sorted(path.parent for path in Path(folder).rglob("scene.json"))


def _camera(frame: dict) -> Camera:
    fx, fy, cx, cy = frame["K"]
    intrinsics = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=np.float64)
    return Camera(intrinsics, np.array(frame["T_c2w"], dtype=np.float64), int(frame["height"]), int(frame["width"]))


class PosedScene(Protocol):
    """Posed views of one scene with the truth of every pixel, as tensors or arrays; ``worlds.WorldSample`` is one."""

    @property
    def images(self) -> Any: ...  # [V, H, W, 3] uint8
    @property
    def points(self) -> Any: ...  # [V, H, W, 3], world frame
    @property
    def depth(self) -> Any: ...  # [V, H, W]
    @property
    def valid(self) -> Any: ...  # [V, H, W]
    @property
    def intrinsics(self) -> Any: ...  # [V, 3, 3]
    @property
    def world_from_cam(self) -> Any: ...  # [V, 4, 4]


def truth_of(sample: PosedScene) -> GroundTruth:
    """The exact truth of a procedural scene whose images are fed to the network as they are."""
    height, width = sample.depth.shape[1:]
    cameras = tuple(
        Camera(np.asarray(intrinsics, np.float64), np.asarray(pose, np.float64), height, width)
        for intrinsics, pose in zip(sample.intrinsics, sample.world_from_cam, strict=True)
    )
    points, depth, valid = (np.asarray(values) for values in (sample.points, sample.depth, sample.valid))
    return GroundTruth(points.astype(np.float64), depth.astype(np.float64), valid, cameras)
