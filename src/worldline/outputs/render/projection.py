"""Gaussians of the world as ellipses in an image: EWA projection (Zwicker et al. 2001; Kerbl et al. 2023)."""

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
    """The ellipses in one camera's image, from near to far; Gaussians that cannot touch it left out."""

    index: Int[Tensor, "m"]  # of the Gaussian
    mean: Float[Tensor, "2 m"]  # pixels (x, y)
    whiten: Float[Tensor, "3 m"]  # (p, q, r) with the squared Mahalanobis distance (p dx)² + (q dx + r dy)²
    log_opacity: Float[Tensor, "m"]
    depth: Float[Tensor, "m"]  # of the mean along the optical axis
    radius: Float[Tensor, "2 m"]  # half the width and height of the box where alpha can be 1/255 or more, pixels


@dataclass(frozen=True)
class Gaussians:
    """Gaussians of the world, ready for any number of cameras; components first, since all work is elementwise."""

    mean: Float[Tensor, "3 n"]
    shape: Float[Tensor, "9 n"]  # R · diag(scales), row by row: a square root of the covariance
    opacity: Float[Tensor, "n"]


def gaussians(
    means: Float[Tensor, "n 3"],
    scales: Float[Tensor, "n 3"],
    rotations: Float[Tensor, "n 4"],
    opacities: Float[Tensor, "n"],
) -> Gaussians:
    """Turn quaternions (w, x, y, z) of any length and standard deviations into square roots of covariances."""
    quaternions = rotations.T.contiguous()
    w, x, y, z = (quaternions * quaternions.square().sum(0).rsqrt()).unbind(0)
    first, second, third = scales.T.contiguous().unbind(0)
    shape = (
        (1 - 2 * (y * y + z * z)) * first, 2 * (x * y - w * z) * second, 2 * (x * z + w * y) * third,
        2 * (x * y + w * z) * first, (1 - 2 * (x * x + z * z)) * second, 2 * (y * z - w * x) * third,
        2 * (x * z - w * y) * first, 2 * (y * z + w * x) * second, (1 - 2 * (x * x + y * y)) * third,
    )  # fmt: skip
    return Gaussians(means.T.contiguous(), torch.stack(shape), opacities)


def project(world: Gaussians, lens: Lens) -> Splats:
    """The Gaussians that may touch the image, in the order of their depths; equal depths keep the order given.

    The covariance in the image is J W Σ Wᵀ Jᵀ + eps2d · I with W the camera's rotation and J the Jacobian of the
    perspective map at the mean, whose ratios x/z and y/z are clamped to the image widened by 15 % on each side.
    Differentiable with respect to everything but the choice and the order.
    """
    index = _visible(world, lens)
    rotation, shift = lens.cam_from_world[:3, :3], lens.cam_from_world[:3, 3:]
    point = torch.addmm(shift, rotation, world.mean.index_select(1, index))
    depth = point[2]
    ratio = point[:2] / depth
    focal, center = lens.intrinsics.diagonal()[:2, None], lens.intrinsics[:2, 2:]
    low, high = _ratio_limits(lens)
    bent = torch.minimum(torch.maximum(ratio, low[:, None]), high[:, None])
    turned = (rotation @ world.shape.index_select(1, index).view(3, -1)).view(3, 3, -1)
    gain = focal / depth
    side = gain[0] * (turned[0] - bent[0] * turned[2])  # how far one standard deviation moves the pixel, per own axis
    tall = gain[1] * (turned[1] - bent[1] * turned[2])
    log_opacity = world.opacity.index_select(0, index).log()
    whiten, radius = _ellipses(side, tall, log_opacity.detach(), lens.eps2d)
    return Splats(index, ratio * focal + center, whiten, log_opacity, depth, radius)


def _ellipses(
    side: Float[Tensor, "3 m"], tall: Float[Tensor, "3 m"], log_opacity: Float[Tensor, "m"], eps2d: float
) -> tuple[Float[Tensor, "3 m"], Float[Tensor, "2 m"]]:
    """Whitening maps and radii of covariances [[s·s, s·t], [s·t, t·t]] + eps2d I; the determinant by s × t.

    The plain difference of products would cancel for needles: in float32 a Gaussian of 500 x 0.5 pixels loses its
    narrow side that way.
    """
    side_side, tall_tall = side.square().sum(0), tall.square().sum(0)
    cross = torch.linalg.cross(side, tall, dim=0)
    determinant = cross.square().sum(0) + eps2d * (side_side + tall_tall) + eps2d**2
    xx, yy = side_side + eps2d, tall_tall + eps2d
    p = xx.rsqrt()
    r = (xx / determinant).sqrt()
    q = -(side * tall).sum(0) * (p * p * r)
    with torch.no_grad():
        reach = (2 * (log_opacity - math.log(MIN_ALPHA)).clamp_min(0)).sqrt()
        radius = torch.stack([xx, yy]).sqrt() * reach + _RADIUS_SLACK
    return torch.stack([p, q, r]), radius


@torch.no_grad()
def _visible(world: Gaussians, lens: Lens) -> Int[Tensor, "m"]:
    """Gaussians between near and far that may reach a pixel, from near to far; generous, never too strict."""
    rotation, shift = lens.cam_from_world[:3, :3], lens.cam_from_world[:3, 3:]
    point = torch.addmm(shift, rotation, world.mean)
    depth = point[2]
    kept = (depth > lens.near) & (depth < lens.far) & (world.opacity >= MIN_ALPHA)
    low, high = _ratio_limits(lens)
    steep = 1 + torch.maximum(low.abs(), high.abs()).square()
    spread = world.shape.square().sum(0) / depth.square()
    reach = 2 * (world.opacity / MIN_ALPHA).clamp_min(1).log()
    for axis, last in ((0, lens.size[1] - 1), (1, lens.size[0] - 1)):
        focal = lens.intrinsics[axis, axis]
        pixel = point[axis] / depth * focal + lens.intrinsics[axis, 2]
        radius = (reach * (spread * (focal.square() * steep[axis]) + lens.eps2d)).sqrt() * (1 + 1e-4) + _RADIUS_SLACK
        kept &= (pixel + radius >= 0) & (pixel - radius <= last)
    index = kept.nonzero().squeeze(-1)
    return index[_near_to_far(depth[index])]


def _near_to_far(depth: Float[Tensor, "m"]) -> Int[Tensor, "m"]:
    """Stable order. The bits of positive floats sort as whole numbers do, which torch does several times faster."""
    bits = depth.view(torch.int32) if depth.dtype == torch.float32 else depth
    return torch.sort(bits, stable=True).indices


def _ratio_limits(lens: Lens) -> tuple[Float[Tensor, "2"], Float[Tensor, "2"]]:
    """Least and largest x/z and y/z of the Jacobian; pixel centres at integers, so the image begins at -0.5."""
    focal, center = lens.intrinsics.diagonal()[:2], lens.intrinsics[:2, 2]
    extent = focal.new_tensor([lens.size[1], lens.size[0]])
    low = (-0.5 - center - _OFFSCREEN_MARGIN * extent) / focal
    return low, low + (1 + 2 * _OFFSCREEN_MARGIN) * extent / focal
