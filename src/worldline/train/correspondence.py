"""Which pixel of one view shows what a pixel of another view shows, from exact depths and cameras.

Small matrices are inverted in float64 on the processor, once per camera; what is done per pixel works on any device.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldline.geometry import pixel_grid
from worldline.train.data import PosedImages
from worldline.train.precise import turned

_SAME_SURFACE = 0.05  # depths this close, relatively, belong to one surface
_NEAREST = 1e-3  # metres before the camera from where on a point can be seen
NO_MATCH = -1


class Cameras(NamedTuple):
    """Cameras in the two forms that pixels need."""

    world_from_cam: Float[Tensor, "*batch 4 4"]
    world_from_pixel: Float[Tensor, "*batch 3 3"]  # rotation times inverse intrinsics: (x, y, 1) -> ray of depth 1
    pixel_from_world: Float[Tensor, "*batch 3 4"]  # projection matrix

    def to(self, device: torch.device | str) -> Cameras:
        """The same on another device."""
        return Cameras(*(part.to(device, non_blocking=True) for part in self))


def cameras_of(intrinsics: Float[np.ndarray, "*batch 3 3"], world_from_cam: Float[np.ndarray, "*batch 4 4"]) -> Cameras:
    """Invert what has to be inverted, in float64; the result is float32 on the processor."""
    poses, inner = world_from_cam.astype(np.float64), intrinsics.astype(np.float64)
    forms = poses, poses[..., :3, :3] @ np.linalg.inv(inner), inner @ np.linalg.inv(poses)[..., :3, :]
    return Cameras(*(torch.from_numpy(np.ascontiguousarray(form, np.float32)) for form in forms))


def world_points(
    depth: Float[Tensor, "*batch height width"], cameras: Cameras, pixels: Float[Tensor, "height width 2"] | None = None
) -> Float[Tensor, "*batch height width 3"]:
    """World point of every pixel, or of the given ones; depth is along the optical axis, 0 gives the camera centre."""
    if pixels is None:
        pixels = pixel_grid(*depth.shape[-2:], device=depth.device)
    rays = turned(
        torch.cat([pixels, torch.ones_like(pixels[..., :1])], -1), cameras.world_from_pixel[..., None, None, :, :]
    )
    return depth[..., None] * rays + cameras.world_from_cam[..., None, None, :3, 3]


def seen_by_others(
    depth: Float[Tensor, "scene view height width"], cameras: Cameras, stride: int
) -> tuple[Int[Tensor, "scene view view n"], Int[Tensor, "scene view view n"], Bool[Tensor, "scene view view n"]]:
    """Column and row at which view j sees every ``stride``-th pixel of view i, and whether it does see it.

    It does where the point lies in the image and no other surface before it.
    """
    scenes, views, height, width = depth.shape
    sampled = slice(stride // 2, None, stride)
    pixels = pixel_grid(height, width, device=depth.device)[sampled, sampled]
    own = depth[..., sampled, sampled]
    points = world_points(own, cameras, pixels).flatten(2, 3)  # scene view n 3
    projection = cameras.pixel_from_world[:, None, :, None]
    local = turned(points[:, :, None], projection[..., :3]) + projection[..., 3]  # scene view view n 3
    ahead = local[..., 2]
    column, row = ((local[..., axis] / ahead.clamp(min=1e-6)).clamp(-1e6, 1e6).round().long() for axis in range(2))
    inside = (ahead > _NEAREST) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    inside &= (own > 0).flatten(2)[:, :, None]
    scene, view = (torch.arange(n, device=depth.device) for n in (scenes, views))
    surface = depth[
        scene[:, None, None, None], view[None, None, :, None], row.clamp(0, height - 1), column.clamp(0, width - 1)
    ]
    return column, row, inside & ((surface - ahead).abs() < _SAME_SURFACE * ahead)


def token_matches(
    depth: Float[Tensor, "scene view height width"], cameras: Cameras, patch: int = 16
) -> Int[Tensor, "scene view view token"]:
    """Entry (s, i, j, t): the token of view j that shows the surface in the middle of token t of view i; -1 if none.

    Tokens are row-major patches of ``patch`` pixels.
    """
    column, row, seen = seen_by_others(depth, cameras, patch)
    tokens_per_row = depth.shape[-1] // patch
    return torch.where(seen, row // patch * tokens_per_row + column // patch, NO_MATCH)


def overlap(scene: PosedImages, stride: int = 14) -> Float[np.ndarray, "view view"]:
    """Entry (i, j): share of the pixels of view i whose point is seen by view j (inside the image and not hidden)."""
    depth = torch.from_numpy(np.where(scene.valid, scene.depth, 0).astype(np.float32))[None]
    cameras = Cameras(*(part[None] for part in cameras_of(scene.intrinsics, scene.world_from_cam)))
    return seen_by_others(depth, cameras, stride)[2][0].float().mean(-1).numpy()


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
