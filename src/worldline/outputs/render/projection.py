"""Gaussians of the world as ellipses in an image: EWA projection (Zwicker et al. 2001; Kerbl et al. 2023)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

MIN_ALPHA = 1 / 255  # weaker contributions are left out
_OFFSCREEN_MARGIN = 0.15  # of the image's size on each side: how far the Jacobian follows a mean outside the image
_RADIUS_SLACK = 1e-3  # pixels, so that rounding of a bounding box never decides about a pixel


@dataclass(frozen=True)
class Lens:
    """Cameras of one kind and what of the world they see."""

    cam_from_world: Float[Tensor, "c 4 4"]
    intrinsics: Float[Tensor, "c 3 3"]
    size: tuple[int, int]  # (height, width), pixels
    near: float  # Gaussians whose mean is not deeper are left out
    far: float  # ... and those not nearer than this
    eps2d: float  # pixels², added to both variances in the image


@dataclass(frozen=True)
class Splats:
    """The ellipses in the images of c cameras, from near to far; Gaussians that cannot touch an image left out."""

    index: Int[Tensor, "m"]  # of the Gaussian
    camera: Int[Tensor, "m"]  # whose image the ellipse is in
    place: Int[Tensor, "m"]  # camera · n + index: the column in anything that has one for each camera and Gaussian
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


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Products of matrices with all digits of their type: neither bf16 nor TensorFloat-32, whatever training chose."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


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
    """The Gaussians that may touch an image, in the order of their depths; equal depths keep the order given.

    The cameras are mixed: whoever sorts by image, keeping this order, has each camera's Gaussians from near to far.
    The covariance in the image is J W Σ Wᵀ Jᵀ + eps2d · I with W the camera's rotation and J the Jacobian of the
    perspective map at the mean, whose ratios x/z and y/z are clamped to the image widened by 15 % on each side.
    Differentiable with respect to everything but the choice and the order.
    """
    cameras, count = len(lens.intrinsics), world.mean.shape[1]
    points = _points(world, lens)
    place = _visible(world, lens, points.detach())
    camera = torch.div(place, count, rounding_mode="floor") if cameras > 1 else torch.zeros_like(place)
    index = place - camera * count if cameras > 1 else place
    point = points.view(3, -1).index_select(1, place)
    depth = point[2]
    ratio = point[:2] / depth
    focal = per_ellipse(lens.intrinsics.diagonal(dim1=1, dim2=2)[:, :2], place, count)
    center = per_ellipse(lens.intrinsics[:, :2, 2], place, count)
    extents = (lens.size[1], lens.size[0])
    limits = [_ratio_limits(*pair) for pair in zip(focal, center, extents, strict=True)]
    bent = [torch.minimum(torch.maximum(one, low), high) for one, (low, high) in zip(ratio, limits, strict=True)]
    turned = _turned(world, lens, camera, index)
    gain = focal / depth
    side = gain[0] * (turned[0] - bent[0] * turned[2])  # how far one standard deviation moves the pixel, per own axis
    tall = gain[1] * (turned[1] - bent[1] * turned[2])
    log_opacity = world.opacity.index_select(0, index).log()
    whiten, radius = _ellipses(side, tall, log_opacity.detach(), lens.eps2d)
    return Splats(index, camera, place, ratio * focal + center, whiten, log_opacity, depth, radius)


def per_ellipse(value: Float[Tensor, "c k"], place: Int[Tensor, "m"], count: int) -> Float[Tensor, "k m"]:
    """What each ellipse's camera has; [k, 1] where there is only one camera.

    By way of all pairs of camera and Gaussian, so that the way back is a sum over rows and not a scatter of all
    ellipses into a few places.
    """
    if len(value) == 1:
        return value.T
    return value.T[:, :, None].expand(-1, -1, count).reshape(value.shape[1], -1).index_select(1, place)


def _points(world: Gaussians, lens: Lens) -> Float[Tensor, "3 c n"]:
    """Means in the cameras' frames."""
    rotation, shift = lens.cam_from_world[:, :3, :3].transpose(0, 1), lens.cam_from_world[:, :3, 3].T
    return torch.addmm(shift.reshape(-1, 1), rotation.reshape(-1, 3), world.mean).view(3, len(lens.intrinsics), -1)


def _turned(world: Gaussians, lens: Lens, camera: Int[Tensor, "m"], index: Int[Tensor, "m"]) -> Float[Tensor, "3 3 m"]:
    """Square roots of covariances in the cameras' frames: axis of the camera, own axis, ellipse."""
    if len(lens.intrinsics) == 1:  # only those seen are turned
        return (lens.cam_from_world[0, :3, :3] @ world.shape.index_select(1, index).view(3, -1)).view(3, 3, -1)
    count = world.mean.shape[1]
    rotation = lens.cam_from_world[:, :3, :3].transpose(0, 1).reshape(-1, 3)
    whole = (rotation @ world.shape.view(3, -1)).view(3, -1)  # columns: camera, own axis, Gaussian
    columns = camera * (3 * count) + index + count * torch.arange(3, device=index.device)[:, None]
    return whole.index_select(1, columns.view(-1)).view(3, 3, -1)


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
def _visible(world: Gaussians, lens: Lens, points: Float[Tensor, "3 c n"]) -> Int[Tensor, "m"]:
    """Where camera and Gaussian, between near and far, may share a pixel; generous, never too strict; near to far."""
    depth = points[2]
    kept = (depth > lens.near) & (depth < lens.far) & (world.opacity >= MIN_ALPHA)
    spread = world.shape.square().sum(0) / depth.square()
    reach = 2 * (world.opacity / MIN_ALPHA).clamp_min(1).log()
    for axis, last in ((0, lens.size[1] - 1), (1, lens.size[0] - 1)):
        focal, center = lens.intrinsics[:, axis, axis, None], lens.intrinsics[:, axis, 2, None]
        low, high = _ratio_limits(focal, center, last + 1)
        steep = 1 + torch.maximum(low.abs(), high.abs()).square()
        pixel = points[axis] / depth * focal + center
        radius = (reach * (spread * (focal.square() * steep) + lens.eps2d)).sqrt() * (1 + 1e-4) + _RADIUS_SLACK
        kept &= (pixel + radius >= 0) & (pixel - radius <= last)
    place = kept.view(-1).nonzero().squeeze(-1)
    return place[_near_to_far(depth.view(-1)[place])]


def _near_to_far(depth: Float[Tensor, "m"]) -> Int[Tensor, "m"]:
    """Stable order. The bits of positive floats sort as whole numbers do, which torch does several times faster."""
    bits = depth.view(torch.int32) if depth.dtype == torch.float32 else depth
    return torch.sort(bits, stable=True).indices


def _ratio_limits(focal: Tensor, center: Tensor, extent: int) -> tuple[Tensor, Tensor]:
    """Least and largest x/z (or y/z) of the Jacobian; pixel centres at integers, so the image begins at -0.5."""
    low = (-0.5 - _OFFSCREEN_MARGIN * extent - center) / focal
    return low, low + (1 + 2 * _OFFSCREEN_MARGIN) * extent / focal
