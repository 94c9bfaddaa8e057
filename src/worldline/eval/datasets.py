"""Sequences with ground truth on disk: images, intrinsics, poses, and depth maps or triangulated points.

Layout of one sequence (also what ``worldline worlds write`` makes)::

    scene.json     {"frames": [{"image", "width", "height", "K": [fx, fy, cx, cy], "T_c2w": 4x4, "depth": png | absent}]}
    images/*.jpg   depth/*.png (uint16 millimetres along the optical axis, 0 = no value)
    points.npy     (N, 3) world points, observations.npy (M, 4): point, frame, u, v       -- instead of depth maps
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from PIL import Image

from worldline.errors import InputError
from worldline.types import Camera, View

MILLIMETRES = 1000.0


@dataclass(frozen=True)
class GroundTruth:
    """True 3D positions of some pixels of one view."""

    pixels: Float64[np.ndarray, "n 2"]  # (x, y) in model pixels, integers
    points: Float64[np.ndarray, "n 3"]  # world frame
    depth: Float64[np.ndarray, "n"]  # z in the view's camera


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

    def truth(self, frame: int, view: View) -> GroundTruth:
        """True points of the pixels of a view that was read from frame ``frame``."""
        if self.depths[frame] is not None:
            return self._truth_from_depth(frame, view)
        return self._truth_from_observations(frame, view)

    def _truth_from_depth(self, frame: int, view: View) -> GroundTruth:
        """Nearest depth sample of each model pixel: depth is not interpolated across edges."""
        depth = np.asarray(Image.open(self.depths[frame]), dtype=np.float64) / MILLIMETRES
        height, width = view.transform.model_size
        grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).reshape(-1, 2).astype(np.float64)
        x, y = np.rint(view.transform.to_original(grid)).astype(int).T
        inside = (x >= 0) & (x < depth.shape[1]) & (y >= 0) & (y < depth.shape[0])
        grid, x, y = grid[inside], x[inside], y[inside]
        values = depth[y, x]
        known = values > 0
        rays = np.stack([x, y, np.ones_like(x)], -1)[known] @ np.linalg.inv(self.cameras[frame].intrinsics).T
        pose = self.cameras[frame].world_from_cam
        return GroundTruth(grid[known], (rays * values[known, None]) @ pose[:3, :3].T + pose[:3, 3], values[known])

    def _truth_from_observations(self, frame: int, view: View) -> GroundTruth:
        rows = self.observations[self.observations[:, 1] == frame]
        points = self.points[rows[:, 0].astype(int)].astype(np.float64)
        pixels = np.rint(view.transform.to_model(rows[:, 2:4]))
        height, width = view.transform.model_size
        inside = (pixels >= 0).all(-1) & (pixels[:, 0] < width) & (pixels[:, 1] < height)
        _, depth = self.cameras[frame].project(points)
        return GroundTruth(pixels[inside], points[inside], depth[inside])


def read_sequence(folder: str | Path) -> Sequence:
    """Read one sequence; frames without a pose are left out.

    Raises:
        InputError: the folder has no readable scene.json of this layout, or no ground truth.
    """
    folder = Path(folder)
    try:
        frames = json.loads((folder / "scene.json").read_text(encoding="utf-8"))["frames"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder} holds no sequence with ground truth ({error}).", "See docs/evaluation.md.") from error
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
