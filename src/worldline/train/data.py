"""A pool of rendered scenes on disk, filled by a background process while the trainer draws from it.

Rendering and training compete for the same processor, so scenes are rendered once, kept, and reused with different
subsets of views, different references, mirrored and recoloured. One safetensors file per scene::

    images [V,H,W,3] uint8 · depth [V,H,W] float16, metres along the optical axis, 0 = invalid
    intrinsics [V,3,3] · world_from_cam [V,4,4] float32

Fill a pool (resumable: seeds that are already there are skipped)::

    python -m worldline.train.data POOL --split train --views 8 --size 224
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from worldline.errors import InputError

if TYPE_CHECKING:
    from worldline.worlds import WorldSample

_SAME_SURFACE = 0.05  # depths this close, relatively, belong to one surface
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


@dataclass(frozen=True)
class Batch:
    """What one training step sees. World points: the loss moves them into the frame of each reference."""

    images: Float[Tensor, "scene view 3 height width"]  # in [-1, 1]
    points: Float[Tensor, "scene view height width 3"]
    valid: Bool[Tensor, "scene view height width"]
    world_from_cam: Float[Tensor, "scene view 4 4"]
    matches: Int[Tensor, "scene view view token"]  # see token_matches; -1 = none

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return self._with(lambda part: part.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """The same batch in page-locked memory, from where it moves to a CUDA device beside the computation."""
        return self._with(Tensor.pin_memory)

    def __add__(self, other: Batch) -> Batch:
        """The scenes of both."""
        parts = ((getattr(self, field.name), getattr(other, field.name)) for field in fields(self))
        return Batch(*(torch.cat(pair) for pair in parts))

    def _with(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(*(change(getattr(self, field.name)) for field in fields(self)))


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
    """Reduce square views to ``size`` pixels by an integer factor.

    Colours are averaged. Depths are averaged as inverse depths, which is exact at the block centre for a plane; where a
    block covers a depth edge it keeps its nearest surface. Intrinsics follow the half-pixel shift.
    """
    height, width = scene.depth.shape[1:]
    if height == size and width == size:
        return scene
    if height != width or height % size:
        raise InputError(
            f"Views of {height}×{width} pixels cannot be reduced to {size}×{size}.", "Use square views and a divisor."
        )
    factor = height // size
    offsets = [(row, column) for row in range(factor) for column in range(factor)]
    images = sum(scene.images[:, row::factor, column::factor].astype(np.uint16) for row, column in offsets)
    with np.errstate(divide="ignore"):
        inverse = np.where(scene.valid, 1 / scene.depth.astype(np.float32), np.float32(0))
    parts = [inverse[:, row::factor, column::factor] for row, column in offsets]
    nearest, farthest = np.maximum.reduce(parts), np.minimum.reduce(parts)
    kept = np.where(nearest > _EDGE_RATIO * farthest, nearest, sum(parts) / len(parts))
    depth = np.where(kept > 0, 1 / np.maximum(kept, 1e-9), 0)
    intrinsics = scene.intrinsics.copy()
    intrinsics[:, :2] /= factor
    intrinsics[:, :2, 2] += 0.5 / factor - 0.5
    rounded = (images + factor * factor // 2) // (factor * factor)
    return PosedImages(rounded.astype(np.uint8), depth.astype(np.float32), intrinsics, scene.world_from_cam)


def overlap(scene: PosedImages, stride: int = 14) -> Float[np.ndarray, "view view"]:
    """Entry (i, j): share of the pixels of view i whose point is seen by view j (inside the image and not hidden)."""
    return _seen_by_others(scene, stride)[2].mean(-1)


def token_matches(scene: PosedImages, patch: int = 16) -> Int[np.ndarray, "view view token"]:
    """Entry (i, j, t): the token of view j that shows the surface in the middle of token t of view i; -1 if none does.

    Tokens are row-major patches of ``patch`` pixels.
    """
    column, row, seen = _seen_by_others(scene, patch)
    tokens_per_row = scene.depth.shape[2] // patch
    return np.where(seen, row // patch * tokens_per_row + column // patch, -1)


def _seen_by_others(
    scene: PosedImages, stride: int
) -> tuple[Int[np.ndarray, "view view n"], Int[np.ndarray, "view view n"], Bool[np.ndarray, "view view n"]]:
    """Column and row at which view j sees every ``stride``-th pixel of view i, and whether it does see it."""
    height, width = scene.depth.shape[1:]
    samples = slice(stride // 2, None, stride)
    depth = scene.depth[:, samples, samples].astype(np.float64)
    x, y = np.meshgrid(np.arange(width)[samples], np.arange(height)[samples])
    rays = np.einsum("hwj,vij->vhwi", np.stack([x, y, np.ones_like(x)], -1), np.linalg.inv(scene.intrinsics))
    poses = scene.world_from_cam.astype(np.float64)
    points = np.einsum("vhwj,vij->vhwi", rays * depth[..., None], poses[:, :3, :3]) + poses[:, None, None, :3, 3]
    projections = scene.intrinsics @ np.linalg.inv(poses)[:, :3]
    flat = points.reshape(len(points), -1, 3)
    local = np.einsum("vij,unj->uvni", projections[:, :, :3], flat) + projections[None, :, None, :, 3]
    ahead = np.maximum(local[..., 2], 1e-6)
    column, row = (np.rint(np.clip(local[..., axis] / ahead, -1e6, 1e6)).astype(np.int64) for axis in range(2))
    inside = (local[..., 2] > 1e-3) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    inside &= scene.valid[:, samples, samples].reshape(len(points), 1, -1)
    view = np.arange(len(points))[None, :, None]
    surface = scene.depth[view, row.clip(0, height - 1), column.clip(0, width - 1)].astype(np.float64)
    seen = inside & (np.abs(surface - local[..., 2]) < _SAME_SURFACE * local[..., 2])
    return column, row, seen


def choose_views(
    shares: Float[np.ndarray, "view view"], count: int, rng: np.random.Generator, least: float = 0.15
) -> list[int]:
    """A connected set of views in random order: each was added because it overlaps one that was there before.

    Views are drawn among those that share at least ``least`` (both ways averaged) with a chosen one; where there is
    none, the one that shares most is taken. Unrelated photos would ask the network to guess.
    """
    mutual = (shares + shares.T) / 2
    showing = np.flatnonzero(np.diag(mutual) > 0)  # a view of nothing but sky has nothing in common even with itself
    chosen = [int(rng.choice(showing if showing.size else len(mutual)))]
    while len(chosen) < min(count, len(mutual)):
        best = mutual[chosen].max(0)
        best[chosen] = -1
        candidates = np.flatnonzero(best >= least)
        chosen.append(int(rng.choice(candidates)) if candidates.size else int(best.argmax()))
    return [chosen[index] for index in rng.permutation(len(chosen))]


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


def recolor(
    images: UInt8[np.ndarray, "view height width 3"], rng: np.random.Generator
) -> Float[np.ndarray, "view height width 3"]:
    """Brightness, contrast, saturation, white balance and gamma, partly shared by the scene, partly drawn per view.

    Different photos of one place differ in all of these. Returns colours in [0, 1].
    """
    views = len(images)
    draw = lambda spread: spread * (0.7 * rng.standard_normal() + 0.7 * rng.standard_normal(views))  # noqa: E731
    gain = np.exp(draw(0.18)[:, None] + np.stack([draw(0.06), draw(0.03), draw(0.06)], -1))
    saturation = np.clip(1 + draw(0.25), 0, 2)
    if rng.random() < 0.05:
        saturation = np.zeros(views)
    contrast, gamma = np.exp(draw(0.15)), np.exp(draw(0.12))
    luma = np.array([0.299, 0.587, 0.114])
    mix = saturation[:, None, None] * np.eye(3) + (1 - saturation)[:, None, None] * luma[None, :, None]
    matrix = (mix * (gain * contrast[:, None])[:, None, :] / 255).astype(np.float32)
    offset = (0.5 * (1 - contrast)).astype(np.float32)
    colors = np.matmul(images.reshape(views, -1, 3).astype(np.float32), matrix) + offset[:, None, None]
    colors = np.clip(colors, 1e-4, 1) ** gamma.astype(np.float32)[:, None, None]
    noise = np.float32(abs(draw(0.012)[0]))
    colors += noise * rng.standard_normal(colors.shape, dtype=np.float32)
    return np.clip(colors, 0, 1).reshape(images.shape)


def to_batch(scenes: Iterable[PosedImages], colors: Iterable[Float[np.ndarray, "view height width 3"]]) -> Batch:
    """Stack scenes with equal numbers of views (colours in [0, 1])."""
    scenes = list(scenes)
    images = torch.from_numpy(np.stack(list(colors))).permute(0, 1, 4, 2, 3).contiguous()
    return Batch(
        images.mul_(2).sub_(1),
        torch.from_numpy(np.stack([scene.points for scene in scenes])),
        torch.from_numpy(np.stack([scene.valid for scene in scenes])),
        torch.from_numpy(np.stack([scene.world_from_cam for scene in scenes])),
        torch.from_numpy(np.stack([token_matches(scene) for scene in scenes])),
    )


def plain_batch(scenes: Sequence[PosedImages]) -> Batch:
    """Scenes as they are, without augmentation."""
    return to_batch(scenes, [scene.images.astype(np.float32) / 255 for scene in scenes])


def make_batch(
    scenes: Sequence[PosedImages],
    rng: np.random.Generator,
    views: int,
    size: int,
    least_overlap: tuple[float, float] = (0.15, 0.15),
    augment: bool = True,
) -> Batch:
    """Of every scene ``views`` overlapping views in random order, ``size`` pixels wide, some mirrored, recoloured."""
    drawn: list[PosedImages] = []
    for scene in scenes:
        chosen = choose_views(overlap(scene), views, rng, rng.uniform(*least_overlap))
        if len(chosen) < views:
            raise InputError(
                f"A step asks for {views} views, the data have {len(chosen)} per scene.", "Render more views per scene."
            )
        scene = shrink(scene.choose(chosen), size)
        drawn.append(mirror(scene) if augment and rng.random() < 0.5 else scene)
    if not augment:
        return plain_batch(drawn)
    return to_batch(drawn, [recolor(scene.images, rng) for scene in drawn])


if __name__ == "__main__":
    from worldline.train.produce import main

    main()
