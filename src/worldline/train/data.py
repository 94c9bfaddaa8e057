"""A pool of rendered scenes on disk, filled by a background process while the trainer draws from it.

Rendering and training compete for the same processor, so scenes are rendered once, kept, and reused with different
subsets of views, different references, mirrored and recoloured. One safetensors file per scene::

    images [V,H,W,3] uint8 · depth [V,H,W] float16, metres along the optical axis, 0 = invalid
    intrinsics [V,3,3] · world_from_cam [V,4,4] float32

Fill a pool (resumable: seeds that are already there are skipped)::

    python -m worldline.train.data POOL --split train --views 8 --size 224
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from safetensors import SafetensorError
from safetensors.numpy import save_file

from worldline.errors import InputError

if TYPE_CHECKING:
    from worldline.worlds import WorldSample

_HEAD_BYTES = 8  # of a safetensors file, that say how long its header is
_KINDS = {
    "BOOL": np.bool_, "U8": np.uint8, "I8": np.int8, "I16": np.int16, "I32": np.int32, "I64": np.int64,
    "F16": np.float16, "F32": np.float32, "F64": np.float64,
}  # fmt: skip
_EDGE_RATIO = 1.1  # depths of one pixel block further apart than this lie on two surfaces


@dataclass(frozen=True)
class PosedImages:
    """Views of one scene with exact depth and cameras, as stored in a pool."""

    images: UInt8[np.ndarray, "view height width 3"]
    depth: Float[np.ndarray, "view height width"]  # along the optical axis; 0 = invalid
    intrinsics: Float[np.ndarray, "view 3 3"]  # pixels of exactly these images
    world_from_cam: Float[np.ndarray, "view 4 4"]
    overlap: Float[np.ndarray, "view view"] | None = (
        None  # see worldline.train.correspondence, where it is known already
    )

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


def mapped_arrays(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, still on disk: only what is looked at is read (changes stay in memory).

    A step sees a few views of a scene, so most of a file is never needed; and what was read once stays in the memory
    of the system, shared by all processes.

    Raises:
        SafetensorError: the file is none, or cut short.
    """
    with path.open("rb") as file:
        size = file.seek(0, 2)
        if size < _HEAD_BYTES:
            raise SafetensorError("the file is too short")
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    head = int.from_bytes(content[:_HEAD_BYTES], "little")
    try:
        entries = json.loads(bytes(content[_HEAD_BYTES : _HEAD_BYTES + head]))
        body = content[_HEAD_BYTES + head :]
        return {name: _array(body, **entry) for name, entry in entries.items() if name != "__metadata__"}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise SafetensorError(f"no safetensors: {error}") from error


def _array(body: memoryview, dtype: str, shape: list[int], data_offsets: list[int]) -> np.ndarray:
    start, end = data_offsets
    kind = np.dtype(_KINDS[dtype])
    return np.frombuffer(body[start:end], kind).reshape(shape) if end > start else np.empty(shape, kind)


def load_scene(path: Path) -> PosedImages:
    """Read one scene of a pool."""
    try:
        return PosedImages(**mapped_arrays(path))
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
    inverse = np.zeros(depth.shape, np.float32)
    exact = depth.astype(np.float32)
    np.divide(1, exact, out=inverse, where=(exact > 0) & (exact < np.inf))
    parts = [inverse[..., row::factor, column::factor] for row, column in np.ndindex(factor, factor)]
    nearest, farthest, total = parts[0].copy(), parts[0].copy(), parts[0].copy()
    for part in parts[1:]:
        np.maximum(nearest, part, out=nearest)
        np.minimum(farthest, part, out=farthest)
        total += part
    kept = np.where(nearest > _EDGE_RATIO * farthest, nearest, total / len(parts))
    smaller = np.where(kept > 0, 1 / np.maximum(kept, 1e-9), 0)
    cameras = intrinsics.copy()
    cameras[..., :2, :] /= factor
    cameras[..., :2, 2] += 0.5 / factor - 0.5
    return _mean_colors(images, factor), smaller.astype(np.float32), cameras


def _mean_colors(images: UInt8[np.ndarray, "*view height width 3"], factor: int) -> UInt8[np.ndarray, "*view h w 3"]:
    """Rounded means of square blocks: first down the columns, whose numbers lie next to each other."""
    rows = [images[..., row::factor, :, :] for row in range(factor)]
    total = rows[0].astype(np.uint16)
    for row in rows[1:]:
        total += row
    pairs = total.reshape(*total.shape[:-2], -1, factor, 3)
    colors = pairs[..., 0, :].copy()
    for column in range(1, factor):
        colors += pairs[..., column, :]
    return ((colors + factor * factor // 2) // (factor * factor)).astype(np.uint8)


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
