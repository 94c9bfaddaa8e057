"""Gaussians of the world as ellipses in an image: EWA projection (Zwicker et al. 2001) as 3D Gaussian splatting uses it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

MIN_ALPHA = 1 / 255  # weaker contributions are left out
_OFFSCREEN_MARGIN = 0.15  # of the image's size on each side: how far the Jacobian follows a mean outside the image
_RADIUS_SLACK = 1e-3  # pixels, so that rounding of a bounding box never decides about a pixel


@dataclass(frozen=True)
class Lens:
    """One camera and what of the world it sees."""

    cam_from_world: Float[Tensor, "4 4"]
    intrinsics: Float[Tensor, "3 3"]
    size: tuple[int, int]  # (height, width), pixels
    near: float  # Gaussians whose mean is not deeper are left out
    far: float  # ... and those not nearer than this
    eps2d: float  # pixels², added to both variances in the image


@dataclass(frozen=True)
class Splats:
    """The ellipses of one camera's image, from near to far. Rows are Gaussians that may touch the image."""

    index: Int[Tensor, "m"]  # of the Gaussian
    mean: Float[Tensor, "m 2"]  # pixels (x, y)
    whiten: Float[Tensor, "m 3"]  # (p, q, r) with the squared Mahalanobis distance (p dx)² + (q dx + r dy)²
    log_opacity: Float[Tensor, "m"]
    depth: Float[Tensor, "m"]  # of the mean along the optical axis
    radius: Float[Tensor, "m 2"]  # half the width and height of the box where alpha can be 1/255 or more, pixels


def shape_matrices(
    scales: Float[Tensor, "n 3"], rotations: Float[Tensor, "n 4"]
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"], Float[Tensor, "n 3"]]:
    """The three rows of R · diag(scales), a square root of the covariances; quaternions (w, x, y, z) of any length."""
    w, x, y, z = torch.nn.functional.normalize(rotations, dim=-1).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    first, second, third = (torch.stack(row, -1) * scales for row in rows)
    return first, second, third


def project(
    means: Float[Tensor, "n 3"],
    shape: tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"], Float[Tensor, "n 3"]],
    opacities: Float[Tensor, "n"],
    lens: Lens,
) -> Splats:
    """The Gaussians that may touch the image, in the order of their depths; equal depths keep the order given.

    The covariance in the image is J W Σ Wᵀ Jᵀ + eps2d · I with W the camera's rotation and J the Jacobian of the
    perspective map at the mean, whose ratios x/z and y/z are clamped to the image widened by 15 % on each side.
    Differentiable with respect to everything but the choice and the order.
    """
    index = _visible(means.detach(), [row.detach() for row in shape], opacities.detach(), lens)
    rotation, shift = lens.cam_from_world[:3, :3], lens.cam_from_world[:3, 3]
    point = means[index] @ rotation.T + shift
    depth = point[:, 2]
    ratio = point[:, :2] / depth[:, None]
    focal, center = lens.intrinsics.diagonal()[:2], lens.intrinsics[:2, 2]
    mean = ratio * focal + center
    low, high = _ratio_limits(lens)
    bent = torch.minimum(torch.maximum(ratio, low), high)
    across, down = _image_axes(rotation, focal, bent, depth)
    factor = [row[index] for row in shape]
    side = sum_rows(across, factor)
    tall = sum_rows(down, factor)
    return _splats(index, mean, side, tall, opacities[index].log(), depth, lens.eps2d)


def sum_rows(axis: Float[Tensor, "m 3"], rows: list[Float[Tensor, "m 3"]]) -> Float[Tensor, "m 3"]:
    """Products of row vectors with the 3×3 matrices whose rows are given."""
    return axis[:, 0:1] * rows[0] + axis[:, 1:2] * rows[1] + axis[:, 2:3] * rows[2]


def _image_axes(
    rotation: Float[Tensor, "3 3"], focal: Float[Tensor, "2"], ratio: Float[Tensor, "m 2"], depth: Float[Tensor, "m"]
) -> tuple[Float[Tensor, "m 3"], Float[Tensor, "m 3"]]:
    """Rows of J W: how the pixel moves when the mean moves along the world's axes."""
    gain = focal / depth[:, None]
    across = gain[:, 0:1] * (rotation[0] - ratio[:, 0:1] * rotation[2])
    down = gain[:, 1:2] * (rotation[1] - ratio[:, 1:2] * rotation[2])
    return across, down


def _splats(
    index: Int[Tensor, "m"], mean: Float[Tensor, "m 2"], side: Float[Tensor, "m 3"], tall: Float[Tensor, "m 3"],
    log_opacity: Float[Tensor, "m"], depth: Float[Tensor, "m"], eps2d: float,
) -> Splats:  # fmt: skip
    """Covariances [[s·s, s·t], [s·t, t·t]] + eps2d I as whitening maps; the determinant by the cross product s × t.

    The plain difference of products would cancel for needles: in float32 a Gaussian of 500 x 0.5 pixels loses its
    narrow side that way.
    """
    side_side, tall_tall = (side * side).sum(-1), (tall * tall).sum(-1)
    cross = torch.linalg.cross(side, tall)
    determinant = (cross * cross).sum(-1) + eps2d * (side_side + tall_tall) + eps2d**2
    xx, yy = side_side + eps2d, tall_tall + eps2d
    p = xx.rsqrt()
    r = (xx / determinant).sqrt()
    q = -(side * tall).sum(-1) * p * r * p
    with torch.no_grad():
        reach = (2 * (log_opacity - math.log(MIN_ALPHA)).clamp_min(0)).sqrt()
        radius = torch.stack([xx.sqrt(), yy.sqrt()], -1) * reach[:, None] + _RADIUS_SLACK
    return Splats(index, mean, torch.stack([p, q, r], -1), log_opacity, depth, radius)


def _visible(
    means: Float[Tensor, "n 3"], shape: list[Float[Tensor, "n 3"]], opacities: Float[Tensor, "n"], lens: Lens
) -> Int[Tensor, "m"]:
    """Gaussians between near and far that may reach a pixel, from near to far; generous, never too strict."""
    rotation, shift = lens.cam_from_world[:3, :3].detach(), lens.cam_from_world[:3, 3].detach()
    x, y, depth = (means @ rotation.T + shift).unbind(-1)
    kept = (depth > lens.near) & (depth < lens.far) & (opacities >= MIN_ALPHA)
    height, width = lens.size
    matrix = lens.intrinsics.detach()
    low, high = _ratio_limits(lens)
    steep = torch.maximum(low.abs(), high.abs())
    variance = sum((row * row).sum(-1) for row in shape)
    reach = 2 * (opacities / MIN_ALPHA).clamp_min(1).log()
    for offset, focal, center, most, last in (
        (x, matrix[0, 0], matrix[0, 2], steep[0], width - 1),
        (y, matrix[1, 1], matrix[1, 2], steep[1], height - 1),
    ):
        pixel = offset / depth * focal + center
        spread = variance * (focal / depth) ** 2 * (1 + most**2) + lens.eps2d
        radius = (reach * spread).sqrt() * (1 + 1e-4) + _RADIUS_SLACK
        kept &= (pixel + radius >= 0) & (pixel - radius <= last)
    index = kept.nonzero().squeeze(-1)
    return index[torch.sort(depth[index], stable=True).indices]


def _ratio_limits(lens: Lens) -> tuple[Float[Tensor, "2"], Float[Tensor, "2"]]:
    """Least and largest x/z and y/z of the Jacobian; pixel centres at integers, so the image begins at -0.5."""
    focal, center = lens.intrinsics.diagonal()[:2], lens.intrinsics[:2, 2]
    extent = focal.new_tensor([lens.size[1], lens.size[0]])
    low = (-0.5 - center - _OFFSCREEN_MARGIN * extent) / focal
    return low, low + (1 + 2 * _OFFSCREEN_MARGIN) * extent / focal
