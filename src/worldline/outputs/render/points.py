"""Pictures of point clouds on a processor: surface splatting with a depth buffer, vectorised over all points.

Every point is a *surfel*: a small parallelogram, spanned by the steps to its neighbours in the image that it comes
from. A surfel is drawn as an ellipse of just that extent, so surfaces close at any distance and angle without growing
at their edges. As in "Surface splatting" (Zwicker et al. 2001) there are two passes: the first finds the nearest
surface of every pixel, the second averages the colours of all ellipses on it, weighted by a Gaussian.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor
from torch.nn import functional

from worldline.outputs.render.picture import Layers
from worldline.types import Camera

_WIDTH = 0.5  # standard deviation of an ellipse, in steps to the neighbours
_BLUR = 0.3  # standard deviation of the filter of a pixel, pixels
_CUT = 1.5  # an ellipse ends at so many standard deviations: 0.75 steps, and corners of a grid are 0.71 away
_CHUNK = 1 << 21  # fragments (pixels of ellipses) that are handled at once


@dataclass(frozen=True)
class Surfels:
    """A point cloud with extent. Torch tensors on the device that shall draw them, world frame."""

    points: Float32[Tensor, "n 3"]
    axes: Float32[Tensor, "n 2 3"]  # steps to the neighbours to the right and below, as the surface was seen
    colors: Float32[Tensor, "n 3"]  # 0..1
    weights: Float32[Tensor, "n"]  # say in the mean of surfels that cover the same pixel

    def __len__(self) -> int:
        return len(self.points)

    @staticmethod
    def join(parts: Sequence[Surfels]) -> Surfels:
        """All of them in one."""
        if len(parts) == 1:
            return parts[0]
        columns = ((p.points, p.axes, p.colors, p.weights) for p in parts)
        return Surfels(*(torch.cat(column) for column in zip(*columns, strict=True)))


@dataclass(frozen=True)
class PointOptions:
    """How surfels are drawn."""

    size: float = 1.0  # factor on the extent of all surfels
    merge: float = 0.02  # surfaces within this share of the depth are one surface, and their colours are averaged
    one_sided: bool = False  # leave out surfels that are seen from behind: walls in front of a room disappear
    largest: int = 48  # pixels across, of surfels close to the camera
    near: float = 1e-6  # least depth, in units of the scene
    fill: int = 2  # pinholes of up to so many pixels are filled from around them; 0: none


def draw_surfels(surfels: Surfels, camera: Camera, options: PointOptions | None = None) -> Layers:
    """Draw surfels as ``camera`` sees them.

    Pixel centres are at integers. At the view that the surfels come from, every pixel shows its own colour.
    """
    options = options or PointOptions()
    size, pixels = (camera.height, camera.width), camera.height * camera.width
    ellipses = _project(surfels, camera, options)
    device = surfels.points.device
    nearest = torch.full((pixels + 1,), torch.inf, device=device)  # the last one takes what lies outside
    for part in ellipses.fragments(size):
        nearest.scatter_reduce_(0, part.pixel.view(-1), part.depth.reshape(-1), "amin")
    limit = nearest.mul_(1 + options.merge)
    sums = torch.zeros(5, pixels + 1, device=device)
    for part in ellipses.fragments(size):
        index = part.pixel.view(-1)
        weight = torch.where(part.depth <= limit[index].view_as(part.depth), part.weight, 0.0)
        for channel in range(3):
            sums[channel].scatter_add_(0, index, (weight * part.color[:, channel, None]).view(-1))
        sums[3].scatter_add_(0, index, (weight * part.depth).view(-1))
        sums[4].scatter_add_(0, index, weight.view(-1))
    return _finish(sums[:, :-1].view(5, *size), options)


def _finish(sums: Float[Tensor, "5 height width"], options: PointOptions) -> Layers:
    """Means from sums, with the pinholes filled."""
    covered = sums[4] > 0
    means = torch.where(covered, sums[:4] / sums[4].clamp_min(torch.finfo(sums.dtype).tiny), 0.0)
    if options.fill:
        means, covered = _fill(means, covered, options.fill)
    return Layers(means[:3].permute(1, 2, 0).contiguous(), means[3], covered.to(means.dtype))


def _fill(
    means: Float[Tensor, "4 height width"], covered: Bool[Tensor, "height width"], radius: int
) -> tuple[Float[Tensor, "4 height width"], Bool[Tensor, "height width"]]:
    """Fill what a morphological closing would: gaps narrower than 2 ``radius`` + 1, from around them, push and pull."""
    window, wide = 2 * radius + 1, radius
    mask = covered.to(means.dtype)[None]
    grown = functional.max_pool2d(functional.pad(mask, [wide] * 4), window, 1)  # beyond the image there is nothing
    closed = -functional.max_pool2d(functional.pad(-grown, [wide] * 4, value=-1.0), window, 1)
    holes = (closed[0] > 0) & ~covered
    if not bool(holes.any()):
        return means, covered
    for _ in range(radius):
        around = functional.avg_pool2d(torch.cat([means * mask, mask])[None], 3, 1, 1, count_include_pad=True)[0]
        now = holes & (mask[0] == 0) & (around[4] > 0)
        means = torch.where(now, around[:4] / around[4].clamp_min(1e-12), means)
        mask = torch.where(now, 1.0, mask)
    return means, mask[0] > 0


@dataclass(frozen=True)
class _Fragments:
    """Pixels of ellipses of the same bounding size: n ellipses of k pixels each."""

    pixel: Int64[Tensor, "n k"]  # row by row; one too many where there is nothing to draw
    depth: Float32[Tensor, "n k"]
    weight: Float32[Tensor, "n k"]
    color: Float32[Tensor, "n 3"]


@dataclass(frozen=True)
class _Ellipses:
    """Projected surfels, grouped by the size of their bounds.

    Columns of ``table``: u, v (centre, pixels), first column and row of the bounds, the inverse covariance (xx, xy, yy),
    depth and its slope in x and y (per pixel), weight, r, g, b.
    """

    table: Float32[Tensor, "n 14"]
    groups: list[tuple[int, int, int, int]]  # first, last + 1, columns and rows of their bounds

    def fragments(self, size: tuple[int, int]) -> Iterator[_Fragments]:
        """All pixels of all ellipses, in portions of bounded size."""
        for start, end, columns, rows in self.groups:
            step = max(1, _CHUNK // (columns * rows))
            for first in range(start, end, step):
                yield self._portion(self.table[first : min(first + step, end)], columns, rows, size)

    @staticmethod
    def _portion(table: Float32[Tensor, "m 14"], columns: int, rows: int, size: tuple[int, int]) -> _Fragments:
        u, v, left, top, xx, xy, yy, depth, slope_x, slope_y, weight = (column[:, None] for column in table.T[:11])
        place = torch.arange(columns * rows, device=table.device)
        x, y = left + place % columns, top + place // columns
        dx, dy = x - u, y - v
        apart = dx * (xx * dx + xy * dy) + dy * (xy * dx + yy * dy)  # squared, in standard deviations
        inside = (apart <= _CUT**2) | ((dx.abs() <= 0.5) & (dy.abs() <= 0.5))
        inside &= (x >= 0) & (x < size[1]) & (y >= 0) & (y < size[0])
        pixel = torch.where(inside, y * size[1] + x, size[0] * size[1]).long()
        return _Fragments(
            pixel, depth + slope_x * dx + slope_y * dy, torch.exp(-0.5 * apart).clamp_min(1e-6) * weight, table[:, 11:]
        )


def _project(surfels: Surfels, camera: Camera, options: PointOptions) -> _Ellipses:
    """Surfels -> ellipses in the image: J A A^T J^T as in EWA splatting, A the axes, J the projection's derivative."""
    device = surfels.points.device

    def constant(values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=device)

    turn, center, lens = constant(camera.world_from_cam[:3, :3]), constant(camera.center), constant(camera.intrinsics)
    points = (surfels.points - center) @ turn
    depth = points[:, 2]
    ray = points / depth[:, None]
    u, v = ray @ lens[0], ray @ lens[1]
    reach = float(options.largest)
    kept = (
        (depth > options.near) & (u > -reach) & (u < camera.width + reach) & (v > -reach) & (v < camera.height + reach)
    )
    chosen = kept.nonzero()[:, 0]
    u, v, depth, ray = u[chosen], v[chosen], depth[chosen], ray[chosen]
    axes = options.size * (surfels.axes[chosen] @ turn)
    flat = (axes - axes[..., 2:] * ray[:, None]) / depth[:, None, None]
    jx, jy = flat @ lens[0], flat @ lens[1]  # [n 2]: change of the pixel along each axis
    if options.one_sided:
        facing = jx[:, 0] * jy[:, 1] - jx[:, 1] * jy[:, 0] > 0
        chosen, u, v, depth, axes, jx, jy = (part[facing] for part in (chosen, u, v, depth, axes, jx, jy))
    cov_xx = _WIDTH**2 * (jx * jx).sum(1) + _BLUR**2
    cov_yy = _WIDTH**2 * (jy * jy).sum(1) + _BLUR**2
    cov_xy = _WIDTH**2 * (jx * jy).sum(1)
    scale = 1 / (cov_xx * cov_yy - cov_xy * cov_xy)
    xx, xy, yy = cov_yy * scale, -cov_xy * scale, cov_xx * scale
    # the plane of the surfel: its depth where a pixel is, by least squares for surfels below the size of a pixel
    along = _WIDTH**2 * axes[..., 2]
    toward_x, toward_y = (along * jx).sum(1), (along * jy).sum(1)
    slope_x, slope_y = toward_x * xx + toward_y * xy, toward_x * xy + toward_y * yy
    columns = (u, v, cov_xx, cov_yy, xx, xy, yy, depth, slope_x, slope_y, surfels.weights[chosen])
    return _grouped(torch.cat([torch.stack(columns, 1), surfels.colors[chosen]], 1), options.largest)


def _grouped(table: Float32[Tensor, "n 14"], largest: int) -> _Ellipses:
    """Replace the variances by bounds, and sort by the size of the bounds."""
    u, v = table[:, 0], table[:, 1]
    reach_x = (_CUT * table[:, 2].sqrt()).clamp_(0.5, largest / 2)
    reach_y = (_CUT * table[:, 3].sqrt()).clamp_(0.5, largest / 2)
    left, top = (u - reach_x).ceil(), (v - reach_y).ceil()
    columns = ((u + reach_x).floor() - left + 1).long().clamp_min_(1)
    rows = ((v + reach_y).floor() - top + 1).long().clamp_min_(1)
    table[:, 2], table[:, 3] = left, top
    kind = rows * (largest + 2) + columns
    order = torch.as_tensor(np.argsort(kind.to(torch.int16).numpy(force=True), kind="stable"), device=table.device)
    kinds, counts = np.unique(kind.numpy(force=True), return_counts=True)
    ends = np.cumsum(counts)
    groups = [
        (int(end - count), int(end), int(k % (largest + 2)), int(k // (largest + 2)))
        for end, count, k in zip(ends, counts, kinds, strict=True)
    ]
    return _Ellipses(table[order], groups)
