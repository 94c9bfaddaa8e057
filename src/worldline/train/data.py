"""A pool of rendered scenes on disk, filled by a background process while the trainer draws from it.

Rendering and training compete for the same processor, so scenes are rendered once, kept, and reused with different
subsets of views, different references, mirrored and recoloured. One safetensors file per scene::

    images [V,H,W,3] uint8 · depth [V,H,W] float16, metres along the optical axis, 0 = invalid
    intrinsics [V,3,3] · world_from_cam [V,4,4] float32

Fill a pool (resumable: seeds that are already there are skipped)::

    python -m worldline.train.data POOL --split train --views 8 --size 224
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from worldline.errors import InputError

if TYPE_CHECKING:
    from worldline.worlds import WorldSample

_EDGE_RATIO = 1.1  # depths of one pixel block further apart than this lie on two surfaces


@dataclass(frozen=True)
class PosedImages:
    """Views of one scene with exact depth and cameras, as stored in a pool."""

    images: UInt8[np.ndarray, "view height width 3"]
    depth: Float[np.ndarray, "view height width"]  # along the optical axis; 0 = invalid
    intrinsics: Float[np.ndarray, "view 3 3"]  # pixels of exactly these images
    world_from_cam: Float[np.ndarray, "view 4 4"]

    def choose(self, views: Sequence[int]) -> PosedImages:
        """The given views, in the given order."""
        index = list(views)
        return PosedImages(self.images[index], self.depth[index], self.intrinsics[index], self.world_from_cam[index])

    @property
    def valid(self) -> Bool[np.ndarray, "view height width"]:
        """Pixels with a known depth."""
        return np.isfinite(self.depth) & (self.depth > 0)

    @property
    def points(self) -> Float[np.ndarray, "view height width 3"]:
        """World point of every pixel centre (the camera centre where the depth is invalid)."""
        views, height, width = self.depth.shape
        x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
        pixels = np.stack([x, y, np.ones_like(x)], -1).reshape(1, -1, 3)
        world_from_pixel = self.world_from_cam[:, :3, :3].astype(np.float64) @ np.linalg.inv(self.intrinsics)
        rays = np.matmul(pixels, world_from_pixel.transpose(0, 2, 1).astype(np.float32))
        depth = np.where(self.valid, self.depth, 0).astype(np.float32)
        points = rays * depth.reshape(views, -1, 1) + self.world_from_cam[:, None, :3, 3].astype(np.float32)
        return points.reshape(views, height, width, 3)


def from_world(sample: WorldSample) -> PosedImages:
    """A procedural sample as the pool stores it."""
    return PosedImages(
        sample.images.cpu().numpy(),
        torch.where(sample.valid, sample.depth, 0).cpu().numpy(),
        sample.intrinsics.float().cpu().numpy(),
        sample.world_from_cam.float().cpu().numpy(),
    )


def save_scene(scene: PosedImages, path: Path) -> None:
    """Write one scene; the file appears complete or not at all."""
    tensors = {
        "images": np.ascontiguousarray(scene.images),
        "depth": np.ascontiguousarray(scene.depth.astype(np.float16)),
        "intrinsics": np.ascontiguousarray(scene.intrinsics.astype(np.float32)),
        "world_from_cam": np.ascontiguousarray(scene.world_from_cam.astype(np.float32)),
    }
    partial = path.with_suffix(".partial")
    save_file(tensors, partial)
    partial.replace(path)


def load_scene(path: Path) -> PosedImages:
    """Read one scene of a pool."""
    try:
        return PosedImages(**load_file(path))
    except (SafetensorError, TypeError) as error:
        raise InputError(f"{path} is not a scene of a training pool ({error}).", "Delete the file.") from error


def pool_files(pool: Path) -> list[Path]:
    """The scenes of a pool, smallest seed first, whatever their layouts."""
    return sorted(pool.glob("*.safetensors"), key=lambda path: (path.stem.rpartition("-")[2], path.stem))


def shrink(scene: PosedImages, size: int) -> PosedImages:
    """Reduce square views to ``size`` pixels by an integer factor, see :func:`shrink_pixels`."""
    height, width = scene.depth.shape[1:]
    if height == size and width == size:
        return scene
    if height != width or height % size:
        raise InputError(
            f"Views of {height}×{width} pixels cannot be reduced to {size}×{size}.", "Use square views and a divisor."
        )
    images, depth, intrinsics = shrink_pixels(scene.images, scene.depth, scene.intrinsics, height // size)
    return PosedImages(images, depth, intrinsics, scene.world_from_cam)


def shrink_pixels(
    images: UInt8[np.ndarray, "*view height width 3"],
    depth: Float[np.ndarray, "*view height width"],
    intrinsics: Float[np.ndarray, "*camera 3 3"],
    factor: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images, depths and intrinsics, smaller by an integer factor.

    Colours are averaged. Depths are averaged as inverse depths, which is exact at the block centre for a plane; where a
    block covers a depth edge it keeps its nearest surface. Intrinsics follow the half-pixel shift.
    """
    blocks = [
        (..., slice(row, None, factor), slice(column, None, factor)) for row, column in np.ndindex(factor, factor)
    ]
    colors = np.add.reduce([images[*block, slice(None)].astype(np.uint16) for block in blocks])
    with np.errstate(divide="ignore"):
        inverse = np.where(np.isfinite(depth) & (depth > 0), 1 / depth.astype(np.float32), np.float32(0))
    parts = [inverse[block] for block in blocks]
    nearest, farthest = np.maximum.reduce(parts), np.minimum.reduce(parts)
    kept = np.where(nearest > _EDGE_RATIO * farthest, nearest, sum(parts) / len(parts))
    smaller = np.where(kept > 0, 1 / np.maximum(kept, 1e-9), 0)
    cameras = intrinsics.copy()
    cameras[..., :2, :] /= factor
    cameras[..., :2, 2] += 0.5 / factor - 0.5
    rounded = (colors + factor * factor // 2) // (factor * factor)
    return rounded.astype(np.uint8), smaller.astype(np.float32), cameras


def mirror(scene: PosedImages) -> PosedImages:
    """The scene seen in a mirror: images flipped left to right, cameras and world with x negated."""
    flip = np.diag([-1.0, 1.0, 1.0, 1.0]).astype(np.float32)
    intrinsics = scene.intrinsics.copy()
    intrinsics[:, 0, 2] = scene.depth.shape[2] - 1 - intrinsics[:, 0, 2]
    return PosedImages(
        np.ascontiguousarray(scene.images[:, :, ::-1]),
        np.ascontiguousarray(scene.depth[:, :, ::-1]),
        intrinsics,
        flip @ scene.world_from_cam @ flip,
    )


if __name__ == "__main__":
    from worldline.train.produce import main

    main()
