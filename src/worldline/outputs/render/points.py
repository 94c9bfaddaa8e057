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

from worldline.outputs.render.picture import Layers
from worldline.types import Camera

_WIDTH = 0.5  # standard deviation of an ellipse, in steps to the neighbours
_BLUR = 0.3  # standard deviation of the filter of a pixel, pixels
_CUT = 1.5  # an ellipse ends at so many standard deviations: 0.75 steps, and corners of a grid are 0.71 away
# squared standard deviations: weights of 1e-6, of ellipses that miss the centre of the only pixel they have
_FAR = 27.0
_SIDES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 80, 96)  # of bounds, pixels
_CHUNK = 1 << 16  # fragments (pixels of ellipses) that are handled at once


@dataclass(frozen=True)
class Surfels:
    """A point cloud with extent. Torch tensors on the device that shall draw them, world frame."""

    points: Float32[Tensor, "n 3"]
    axes: Float32[Tensor, "n 2 3"]  # steps to the neighbours to the right and below, as the surface was seen
    normals: Float32[Tensor, "n 3"]  # of any length, away from the side that was seen
    colors: Float32[Tensor, "n 3"]  # 0..1
    weights: Float32[Tensor, "n"]  # say in the mean of surfels that cover the same pixel

    def __len__(self) -> int:
        return len(self.points)

    def choose(self, rows: Int64[Tensor, "m"]) -> Surfels:
        """Some of them."""
        return Surfels(self.points[rows], self.axes[rows], self.normals[rows], self.colors[rows], self.weights[rows])

    @staticmethod
    def none(device: torch.device | str = "cpu") -> Surfels:
        """No surfels."""
        return Surfels(*(torch.zeros(0, *shape, device=device) for shape in ((3,), (2, 3), (3,), (3,), ())))

    @staticmethod
    def join(parts: Sequence[Surfels]) -> Surfels:
        """All of them in one."""
        if len(parts) == 1:
            return parts[0]
        columns = ((p.points, p.axes, p.normals, p.colors, p.weights) for p in parts)
        return Surfels(*(torch.cat(column) for column in zip(*columns, strict=True)))


@dataclass(frozen=True)
class PointOptions:
    """How surfels are drawn."""

    size: float = 1.0  # factor on the extent of all surfels
    merge: float = 0.02  # surfaces within this share of the depth are one surface, and their colours are averaged
    one_sided: bool = False  # leave out surfels that are seen from behind: walls in front of a room disappear
    largest: int = 48  # pixels across, at most 96: surfels close to the camera are cut
    near: float = 1e-6  # least depth, in units of the scene
    fill: int = 2  # pinholes of up to so many pixels are filled from around them; 0: none


def draw_surfels(surfels: Surfels | Sequence[Surfels], camera: Camera, options: PointOptions | None = None) -> Layers:
    """Draw surfels, of one cloud or of several together, as ``camera`` sees them.

    Pixel centres are at integers. At the view that the surfels come from, every pixel shows its own colour.
    """
    options = options or PointOptions()
    size, pixels = (camera.height, camera.width), camera.height * camera.width
    clouds = [surfels] if isinstance(surfels, Surfels) else surfels
    ellipses = _grouped(torch.cat([_project(cloud, camera, options) for cloud in clouds], 1), options.largest)
    device = ellipses.table.device
    nearest = torch.full((pixels,), torch.inf, device=device)
    for part in ellipses.fragments(size):
        nearest.scatter_reduce_(0, part.pixel.view(-1), part.depth.view(-1), "amin")
    limit = torch.where(nearest.isinf(), -1.0, nearest * (1 + options.merge))
    sums = torch.zeros(5, pixels, device=device)
    for part in ellipses.fragments(size):
        index = part.pixel.view(-1)
        weight = torch.where(part.depth.view(-1) <= limit[index], part.weight.view(-1), 0.0).view_as(part.depth)
        for channel in range(3):
            sums[channel].scatter_add_(0, index, (weight * part.color[channel, :, None, None]).view(-1))
        sums[3].scatter_add_(0, index, (weight * part.depth.nan_to_num_(posinf=0.0)).view(-1))
        sums[4].scatter_add_(0, index, weight.view(-1))
    return _finish(sums.view(5, *size), options)


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
    """Fill what a morphological closing fills (gaps up to 2 ``radius`` wide), ring by ring with the mean around it."""
    closed = ~_spread(~_spread(covered, radius), radius)
    for _ in range(radius):
        rows, columns = (closed & ~covered).nonzero(as_tuple=True)
        if not len(rows):
            break
        shifts = torch.arange(-1, 2, device=means.device)
        y = (rows[:, None, None] + shifts[:, None]).clamp(0, covered.shape[0] - 1)
        x = (columns[:, None, None] + shifts).clamp(0, covered.shape[1] - 1)
        seen = covered[y, x].to(means.dtype)
        count = seen.sum((1, 2))
        filled = (means[:, y, x] * seen).sum((2, 3)) / count.clamp_min(1)
        means[:, rows, columns] = filled
        covered = covered.index_put((rows, columns), count > 0)
    return means, covered


def _spread(mask: Bool[Tensor, "height width"], radius: int) -> Bool[Tensor, "height width"]:
    """True within a square of ``radius`` around each True; beyond the border there is none."""
    for axis in (0, 1):
        grown = mask.clone()
        size = mask.shape[axis]
        for shift in range(1, min(radius, size - 1) + 1):
            grown.narrow(axis, shift, size - shift).logical_or_(mask.narrow(axis, 0, size - shift))
            grown.narrow(axis, 0, size - shift).logical_or_(mask.narrow(axis, shift, size - shift))
        mask = grown
    return mask


@dataclass(frozen=True)
class _Fragments:
    """Pixels of n ellipses with bounds of the same size."""

    pixel: Int64[Tensor, "n rows columns"]  # number of the pixel, row by row
    depth: Float32[Tensor, "n rows columns"]  # of the surfel's plane there; infinite outside of the ellipse
    weight: Float32[Tensor, "n rows columns"]
    color: Float32[Tensor, "3 n"]


@dataclass(frozen=True)
class _Ellipses:
    """Projected surfels, grouped by the size of their bounds.

    Rows of ``table``: u, v (centre, pixels), first column and row of the bounds, the inverse covariance (xx, xy, yy),
    depth and its slope in x and y (per pixel), weight, r, g, b.
    """

    table: Float32[Tensor, "14 n"]
    groups: list[tuple[int, int, int, int]]  # first, last + 1, columns and rows of their bounds

    def fragments(self, size: tuple[int, int]) -> Iterator[_Fragments]:
        """All pixels of all ellipses, in portions of bounded size."""
        for start, end, columns, rows in self.groups:
            step = max(1, _CHUNK // (columns * rows))
            for first in range(start, end, step):
                yield _fragments(self.table[:, first : min(first + step, end)], columns, rows, size)


def _fragments(table: Float32[Tensor, "14 n"], columns: int, rows: int, size: tuple[int, int]) -> _Fragments:
    """What depends on x or y alone is worked out once per column and row of an ellipse."""
    u, v, left, top, xx, xy, yy, depth, slope_x, slope_y, weight = (row[:, None] for row in table[:11])
    x = left + torch.arange(columns, device=table.device)
    y = top + torch.arange(rows, device=table.device)
    dx, dy = x - u, y - v
    along_x = torch.where((x >= 0) & (x < size[1]), xx * dx * dx, torch.inf)[:, None]
    along_y = torch.where((y >= 0) & (y < size[0]), yy * dy * dy, torch.inf)[..., None]
    apart = ((2 * xy * dy)[..., None] * dx[:, None]).add_(along_x).add_(along_y)  # squared, in standard deviations
    least = torch.where((dx.abs() <= 0.5)[:, None] & (dy.abs() <= 0.5)[..., None], _FAR, _CUT**2)
    pixel = (y.clamp(0, size[0] - 1).long() * size[1])[..., None] + x.clamp(0, size[1] - 1).long()[:, None]
    plane = (depth + slope_y * dy)[..., None] + (slope_x * dx)[:, None]
    plane = torch.where(apart <= least, plane, torch.inf)
    return _Fragments(pixel, plane, apart.clamp_max_(_FAR).mul_(-0.5).exp_().mul_(weight[..., None]), table[11:])


def _project(surfels: Surfels, camera: Camera, options: PointOptions) -> Float32[Tensor, "14 n"]:
    """Surfels -> ellipses in the image: J A A^T J^T as in EWA splatting, A the axes, J the projection's derivative.

    Returns:
        the table of :class:`_Ellipses`, with the variances in x and y in place of the bounds.
    """
    device = surfels.points.device

    def constant(values: np.ndarray) -> Tensor:
        return torch.as_tensor(values, dtype=torch.float32, device=device)

    turn, center, lens = constant(camera.world_from_cam[:3, :3]), constant(camera.center), constant(camera.intrinsics)
    apart = surfels.points - center
    points = apart @ turn
    depth = points[:, 2]
    u, v = ((points @ lens[row]) / depth for row in (0, 1))
    reach = float(options.largest)
    kept = (depth > options.near) & (u > -reach) & (u < camera.width + reach)
    kept &= (v > -reach) & (v < camera.height + reach)
    if options.one_sided:
        kept &= (surfels.normals * apart).sum(1) > 0
    chosen = kept.nonzero()[:, 0]
    u, v, depth, points = (part.index_select(0, chosen) for part in (u, v, depth, points))
    axes = options.size * (surfels.axes.index_select(0, chosen) @ turn)
    flat = (axes - axes[..., 2:] * (points / depth[:, None])[:, None]) / depth[:, None, None]
    ax, ay, bx, by = (flat[:, axis] @ lens[row] for axis in (0, 1) for row in (0, 1))  # pixels along both axes
    cov_xx = _WIDTH**2 * (ax * ax + bx * bx) + _BLUR**2
    cov_yy = _WIDTH**2 * (ay * ay + by * by) + _BLUR**2
    cov_xy = _WIDTH**2 * (ax * ay + bx * by)
    scale = 1 / (cov_xx * cov_yy - cov_xy * cov_xy)
    xx, xy, yy = cov_yy * scale, -cov_xy * scale, cov_xx * scale
    # the plane of the surfel: its depth where a pixel is, by least squares for surfels below the size of a pixel
    az, bz = _WIDTH**2 * axes[:, 0, 2], _WIDTH**2 * axes[:, 1, 2]
    toward_x, toward_y = az * ax + bz * bx, az * ay + bz * by
    slope_x, slope_y = toward_x * xx + toward_y * xy, toward_x * xy + toward_y * yy
    color = surfels.colors.index_select(0, chosen).T
    weight = surfels.weights.index_select(0, chosen)
    return torch.stack([u, v, cov_xx, cov_yy, xx, xy, yy, depth, slope_x, slope_y, weight, *color])


def _grouped(table: Float32[Tensor, "14 n"], largest: int) -> _Ellipses:
    """Replace the variances by bounds, and sort by the size of the bounds."""
    u, v = table[0], table[1]
    reach_x = (_CUT * table[2].sqrt()).clamp_(0.5, largest / 2)
    reach_y = (_CUT * table[3].sqrt()).clamp_(0.5, largest / 2)
    left, top = (u - reach_x).ceil(), (v - reach_y).ceil()
    columns = _roomy((u + reach_x).floor() - left + 1, largest)
    rows = _roomy((v + reach_y).floor() - top + 1, largest)
    table[2], table[3] = left, top
    kinds = (rows * 256 + columns).to(torch.int16).numpy(force=True)
    order = np.argsort(kinds, kind="stable")  # a radix sort for 16 bits
    found, counts = np.unique(kinds, return_counts=True)
    ends = np.cumsum(counts)
    groups = [
        (int(end - count), int(end), int(k) % 256, int(k) // 256)
        for end, count, k in zip(ends, counts, found, strict=True)
    ]
    return _Ellipses(table[:, torch.as_tensor(order, device=table.device)], groups)


def _roomy(sides: Float32[Tensor, "n"], largest: int) -> Int64[Tensor, "n"]:
    """Sides of bounds in whole pixels, rounded up so that few different ones occur."""
    sizes = [size for size in _SIDES if size <= largest] + [largest + 1]
    table = torch.tensor(sizes, device=sides.device)
    return table[torch.bucketize(sides, table.float())]
