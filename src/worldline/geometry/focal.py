"""Focal length from a pointmap in its own camera frame (DUSt3R section 3.3, "recovering intrinsics")."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldline.geometry.projection import pixel_grid

FocalMethod = Literal["weiszfeld", "median"]


def estimate_focal(
    points: Float[Tensor, "*batch height width 3"],
    principal_point: Float[Tensor, "*batch 2"] | tuple[float, float] | None = None,
    *,
    method: FocalMethod = "weiszfeld",
    weights: Float[Tensor, "*batch height width"] | Bool[Tensor, "*batch height width"] | None = None,
    clamp: tuple[float, float] | None = None,
    iterations: int = 10,
) -> Float[Tensor, "*batch"]:
    """Focal length in pixels that best explains where the points of a camera project.

    With square pixels a point (x, y, z) seen at offset (u, v) from the principal point obeys (u, v) = f (x, y) / z.
    ``weiszfeld`` minimises the sum of unsquared pixel distances by reweighted least squares; ``median`` takes the
    lower median of the two ratios u z / x and v z / y over all pixels.

    Args:
        points: pointmap in the frame of the camera that saw it, z forward.
        principal_point: (x, y) in pixels; the published default is (width / 2, height / 2).
        weights: mask or non-negative weights per pixel; pixels of weight 0 do not count.
        clamp: keep the result within these multiples of the focal length of a 60 degree field of view.
        iterations: rounds of reweighting.

    Returns:
        one focal length per leading batch element; NaN where no pixel counts.
    """
    height, width = points.shape[-3:-1]
    center = _as_center(principal_point, points)
    offsets = (pixel_grid(height, width, dtype=points.dtype, device=points.device) - center).flatten(-3, -2)
    flat = points.flatten(-3, -2)
    flat_weights = None if weights is None else weights.to(points.dtype).flatten(-2, -1)
    if method == "weiszfeld":
        focal = _weiszfeld(flat, offsets, flat_weights, iterations)
    elif method == "median":
        focal = _median(flat, offsets, flat_weights)
    else:
        raise ValueError(f"unknown focal method {method!r}: choose 'weiszfeld' or 'median'")
    if clamp is None:
        return focal
    base = max(height, width) / (2 * math.tan(math.radians(60) / 2))
    return focal.clamp(clamp[0] * base, clamp[1] * base)


def _as_center(principal_point: Tensor | tuple[float, float] | None, points: Tensor) -> Tensor:
    height, width = points.shape[-3:-1]
    if principal_point is None:
        principal_point = (width / 2, height / 2)
    center = torch.as_tensor(principal_point, dtype=points.dtype, device=points.device)
    return center[..., None, None, :]


def _weiszfeld(
    points: Float[Tensor, "*batch n 3"],
    offsets: Float[Tensor, "*#batch n 2"],
    weights: Float[Tensor, "*batch n"] | None,
    iterations: int,
) -> Float[Tensor, "*batch"]:
    slopes = (points[..., :2] / points[..., 2:]).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    along = (slopes * offsets).sum(-1)
    squared = slopes.square().sum(-1)
    base = torch.ones_like(along) if weights is None else weights
    focal = (base * along).sum(-1) / (base * squared).sum(-1)
    for _ in range(iterations):
        distance = (offsets - focal[..., None, None] * slopes).norm(dim=-1)
        influence = base / distance.clamp_min(1e-8)
        focal = (influence * along).sum(-1) / (influence * squared).sum(-1)
    return focal


def _median(
    points: Float[Tensor, "*batch n 3"],
    offsets: Float[Tensor, "*#batch n 2"],
    weights: Float[Tensor, "*batch n"] | None,
) -> Float[Tensor, "*batch"]:
    votes = offsets * points[..., 2:] / points[..., :2]
    if weights is not None:
        votes = torch.where((weights > 0)[..., None], votes, torch.full_like(votes, torch.nan))
    return votes.flatten(-2, -1).nanmedian(dim=-1).values
