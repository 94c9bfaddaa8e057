"""Pinhole projection. Pixels are (x, y) = (column, row) with integer coordinates at pixel centres."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def pixel_grid(
    height: int, width: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
) -> Float[Tensor, "height width 2"]:
    """(x, y) of every pixel centre."""
    rows = torch.arange(height, dtype=dtype, device=device)
    columns = torch.arange(width, dtype=dtype, device=device)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y], dim=-1)


def project(
    points: Float[Tensor, "*batch n 3"], intrinsics: Float[Tensor, "*batch 3 3"]
) -> tuple[Float[Tensor, "*batch n 2"], Float[Tensor, "*batch n"]]:
    """Points in the camera frame -> (pixels, depth). Points with depth <= 0 are behind the camera; check before use."""
    depth = points[..., 2]
    tiny = torch.finfo(points.dtype).tiny
    safe = torch.where(depth.abs() < tiny, torch.full_like(depth, tiny), depth)
    homogeneous = (points / safe[..., None]) @ intrinsics.mT
    return homogeneous[..., :2], depth


def unproject(
    depth: Float[Tensor, "*batch height width"], intrinsics: Float[Tensor, "*batch 3 3"]
) -> Float[Tensor, "*batch height width 3"]:
    """Depth along the optical axis -> pointmap in the camera frame."""
    height, width = depth.shape[-2:]
    pixels = pixel_grid(height, width, dtype=depth.dtype, device=depth.device)
    homogeneous = torch.cat([pixels, torch.ones_like(pixels[..., :1])], dim=-1)
    rays = homogeneous @ torch.linalg.inv(intrinsics)[..., None, :, :].mT
    return depth[..., None] * rays
