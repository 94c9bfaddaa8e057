"""Front-to-back compositing of ellipses in square tiles, with gradients that recompute instead of remembering.

The exponent of a Gaussian is a quadratic polynomial of the pixel's place in its tile, so that a block of tiles x
Gaussians x pixels is one matrix product of six coefficients with six monomials, and the sums over pixels that the
gradient needs are the transposed product. Tiles whose pixels are all saturated drop out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldline.outputs.render.projection import MIN_ALPHA, Splats

MAX_ALPHA = 0.999
STOP = 1e-4  # a Gaussian that would leave less transmittance than this ends its pixel and is left out itself


@dataclass(frozen=True)
class Tiling:
    """How the work is cut up. Results do not depend on it, beyond rounding."""

    size: tuple[int, int]  # of the image: (height, width), pixels
    side: int  # of a tile, pixels
    depth: int = 32  # Gaussians of a tile composited at once
    elements: int = 1 << 18  # pixels x Gaussians evaluated at once
    pairs: int = 1 << 21  # (tile, Gaussian) pairs sorted at once

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return -(-self.size[0] // self.side), -(-self.size[1] // self.side)

    @property
    def tiles(self) -> int:
        """Number of tiles."""
        return self.grid[0] * self.grid[1]


@dataclass(frozen=True)
class _Block:
    """Several tiles, a few Gaussians each: what compositing them gave."""

    tiles: Int[Tensor, "t"]
    rows: Int[Tensor, "t k"]  # of the table of Gaussians
    alpha: Float[Tensor, "t k p"]
    free: Bool[Tensor, "t k p"]  # neither capped nor below 1/255: where alpha has a gradient
    before: Float[Tensor, "t k p"]  # transmittance in front of the Gaussian
    weight: Float[Tensor, "t k p"]


def composite(splats: Splats, features: Float[Tensor, "m c"], tiling: Tiling) -> Float[Tensor, "height width c+1"]:
    """Sums over Gaussians of weight times feature per pixel, and in the last channel the sums of the weights."""
    result: Tensor = _Composite.apply(splats.mean, splats.whiten, splats.log_opacity, features, splats.radius, tiling)
    return result


class _Composite(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        mean, whiten, log_opacity, features, radius, tiling = inputs
        geometry = torch.cat([mean, whiten, log_opacity[:, None]], -1)
        table = torch.cat([features, torch.ones_like(log_opacity[:, None])], -1)
        sums = table.new_zeros(tiling.tiles, tiling.side**2, table.shape[-1])
        for block in _walk(geometry, radius, tiling):
            sums[block.tiles] += block.weight.transpose(1, 2) @ _rows(table, block.rows)
        ctx.save_for_backward(geometry, table, radius, sums)
        ctx.tiling = tiling
        return _image(sums, tiling)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        geometry, table, radius, sums = ctx.saved_tensors
        tiling: Tiling = ctx.tiling
        wanted = _tiles(gradients[0], tiling)  # t p c
        rest = (wanted * sums).sum(-1)  # of the loss that Gaussians farther than those seen so far account for
        moments, shares = geometry.new_zeros(len(geometry), 6), torch.zeros_like(table)
        monomials = _monomials(tiling.side, geometry)
        for block in _walk(geometry, radius, tiling):
            here, flat = wanted[block.tiles], block.rows.reshape(-1)
            value = _rows(table, block.rows) @ here.transpose(1, 2)  # t k p: what a weight of one would add
            shares.index_add_(0, flat, (block.weight @ here).reshape(-1, table.shape[-1]))
            behind = rest[block.tiles][:, None] - (block.weight * value).cumsum(1)
            rest[block.tiles] = behind[:, -1]
            slope = block.before * value - behind / (1 - block.alpha)
            slope = torch.where(block.free & (block.weight > 0), slope * block.alpha, 0)
            sums_of = slope @ monomials.T
            offset = _offsets(geometry, block.rows, block.tiles, tiling)
            moments.index_add_(0, flat, _moments(sums_of, *offset).reshape(-1, 6))
        return (*_geometry_gradients(geometry, moments), shares[:, :-1], None, None)


def _walk(geometry: Float[Tensor, "m 6"], radius: Float[Tensor, "m 2"], tiling: Tiling) -> Iterator[_Block]:
    """All blocks from front to back. Each tile meets its Gaussians in the order of the table."""
    monomials = _monomials(tiling.side, geometry)
    remaining = _tiles(geometry.new_ones(*tiling.size, 1), tiling).squeeze(-1)  # transmittance; 0 outside the image
    per_round = max(1, tiling.elements // (tiling.depth * tiling.side**2))
    for rows, first, last in _slabs(geometry, radius, tiling, remaining):
        live = (last > first).nonzero().squeeze(-1)
        start = 0
        while len(live):
            for tiles in live.split(per_round):
                slots = (first[tiles] + start)[:, None] + torch.arange(tiling.depth, device=rows.device)
                filled = slots < last[tiles][:, None]
                block = _block(
                    geometry, rows[slots.clamp_max(len(rows) - 1)], filled, tiles, remaining, monomials, tiling
                )
                yield block
            start += tiling.depth
            live = live[(first[live] + start < last[live]) & (remaining[live].amax(-1) > STOP)]


def _block(
    geometry: Tensor, rows: Tensor, filled: Tensor, tiles: Tensor, remaining: Tensor, monomials: Tensor, tiling: Tiling
) -> _Block:
    """Composite the Gaussians of some tiles; ``remaining`` is brought up to date in place."""
    exponent = _coefficients(geometry, rows, tiles, tiling) @ monomials
    exponent = exponent.masked_fill(~filled[..., None], -math.inf)
    seen = exponent >= math.log(MIN_ALPHA)
    alpha = torch.where(seen, exponent.exp(), 0)
    free = seen & (alpha <= MAX_ALPHA)
    alpha = alpha.clamp_max(MAX_ALPHA)
    start = remaining[tiles][:, None]
    after = (1 - alpha).cumprod(1) * start
    before = torch.cat([start, after[:, :-1]], 1)
    weight = torch.where(after > STOP, alpha * before, 0)
    remaining[tiles] = after[:, -1]
    return _Block(tiles, rows, alpha, free, before, weight)


def _slabs(
    geometry: Float[Tensor, "m 6"], radius: Float[Tensor, "m 2"], tiling: Tiling, remaining: Float[Tensor, "t p"]
) -> Iterator[tuple[Int[Tensor, "l"], Int[Tensor, "t"], Int[Tensor, "t"]]]:
    """The Gaussians of each tile, from front to back, a bounded number of pairs at a time; finished tiles left out.

    Yields:
        rows of the table, sorted by tile, and where those of each tile begin and end.
    """
    low, count = _boxes(geometry[:, :2], radius, tiling)
    area = count[:, 0] * count[:, 1]
    total = area.cumsum(0)
    begin, done, columns = 0, 0, tiling.grid[1]
    while begin < len(area):
        end = max(begin + 1, int(torch.searchsorted(total, done + tiling.pairs, right=True)))
        part = slice(begin, end)
        rows = torch.repeat_interleave(torch.arange(begin, end, device=area.device), area[part])
        within = torch.arange(len(rows), device=rows.device) + done - (total - area)[rows]
        width = count[rows, 0]
        tile = (low[rows, 1] + within // width) * columns + low[rows, 0] + within % width
        open_ = (remaining.amax(-1) > STOP)[tile]
        tile, rows = tile[open_], rows[open_]
        tile, order = torch.sort(tile, stable=True)
        edges = torch.searchsorted(tile, torch.arange(tiling.tiles + 1, device=tile.device))
        begin, done = end, int(total[end - 1])
        if len(rows):
            yield rows[order], edges[:-1], edges[1:]


def _boxes(
    mean: Float[Tensor, "m 2"], radius: Float[Tensor, "m 2"], tiling: Tiling
) -> tuple[Int[Tensor, "m 2"], Int[Tensor, "m 2"]]:
    """First tile (column, row) of each Gaussian's box and how many tiles it spans; 0 where it holds no pixel centre."""
    most = mean.new_tensor([tiling.size[1] - 1, tiling.size[0] - 1])
    low = (mean - radius).ceil().clamp_min(0)
    high = torch.minimum((mean + radius).floor(), most)
    empty = (high < low).any(-1, keepdim=True)
    first = torch.div(torch.minimum(low, most), tiling.side, rounding_mode="floor").long()
    last = torch.div(high.clamp_min(0), tiling.side, rounding_mode="floor").long()
    return first, (last - first + 1).masked_fill(empty, 0)


def _offsets(
    geometry: Float[Tensor, "m 6"], rows: Int[Tensor, "t k"], tiles: Int[Tensor, "t"], tiling: Tiling
) -> tuple[Float[Tensor, "t k"], Float[Tensor, "t k"]]:
    """From each Gaussian's mean to the middle of the tile, pixels."""
    columns, middle = tiling.grid[1], (tiling.side - 1) / 2
    x = (tiles % columns * tiling.side + middle)[:, None]
    y = (torch.div(tiles, columns, rounding_mode="floor") * tiling.side + middle)[:, None]
    return x - geometry[:, 0][rows], y - geometry[:, 1][rows]


def _coefficients(
    geometry: Float[Tensor, "m 6"], rows: Int[Tensor, "t k"], tiles: Int[Tensor, "t"], tiling: Tiling
) -> Float[Tensor, "t k 6"]:
    """Of log opacity - ((p X)² + (q X + r Y)²) / 2 as a polynomial of the place in the tile: 1, x, y, x², xy, y²."""
    dx, dy = _offsets(geometry, rows, tiles, tiling)
    p, q, r, log_opacity = geometry[:, 2:].T[:, rows]
    u, v = p * dx, q * dx + r * dy
    return torch.stack(
        [
            log_opacity - (u * u + v * v) / 2,
            -(u * p + v * q),
            -(v * r),
            -(p * p + q * q) / 2,
            -(q * r),
            -(r * r) / 2,
        ],
        -1,
    )


def _monomials(side: int, like: Tensor) -> Float[Tensor, "6 p"]:
    """1, x, y, x², xy, y² at the pixels of a tile, counted from its middle."""
    axis = torch.arange(side, dtype=like.dtype, device=like.device) - (side - 1) / 2
    y, x = (grid.reshape(-1) for grid in torch.meshgrid(axis, axis, indexing="ij"))
    return torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y])


def _moments(sums: Float[Tensor, "t k 6"], dx: Tensor, dy: Tensor) -> Float[Tensor, "t k 6"]:
    """Sums over pixels of a gradient times 1, X, Y, X², XY, Y², X and Y counted from the Gaussian's mean."""
    one, x, y, xx, xy, yy = sums.unbind(-1)
    return torch.stack(
        [
            one,
            x + dx * one,
            y + dy * one,
            xx + 2 * dx * x + dx * dx * one,
            xy + dx * y + dy * x + dx * dy * one,
            yy + 2 * dy * y + dy * dy * one,
        ],
        -1,
    )


def _geometry_gradients(
    geometry: Float[Tensor, "m 6"], moments: Float[Tensor, "m 6"]
) -> tuple[Float[Tensor, "m 2"], Float[Tensor, "m 3"], Float[Tensor, "m"]]:
    """Gradients of means, whitening maps and log opacities from the moments of the exponent's gradient."""
    p, q, r = geometry[:, 2:5].unbind(-1)
    one, x, y, xx, xy, yy = moments.unbind(-1)
    mean = torch.stack([(p * p + q * q) * x + q * r * y, q * r * x + r * r * y], -1)
    whiten = torch.stack([-p * xx, -(q * xx + r * xy), -(q * xy + r * yy)], -1)
    return mean, whiten, one


def _rows(table: Float[Tensor, "m c"], rows: Int[Tensor, "t k"]) -> Float[Tensor, "t k c"]:
    return table.index_select(0, rows.reshape(-1)).view(*rows.shape, -1)


def _tiles(image: Float[Tensor, "height width c"], tiling: Tiling) -> Float[Tensor, "t p c"]:
    """Cut an image into tiles; zeros outside it."""
    (rows, columns), side, channels = tiling.grid, tiling.side, image.shape[-1]
    padded = image.new_zeros(rows * side, columns * side, channels)
    padded[: tiling.size[0], : tiling.size[1]] = image
    cut = padded.view(rows, side, columns, side, channels).transpose(1, 2)
    return cut.reshape(rows * columns, side * side, channels)


def _image(tiles: Float[Tensor, "t p c"], tiling: Tiling) -> Float[Tensor, "height width c"]:
    """Put tiles together again."""
    (rows, columns), side, channels = tiling.grid, tiling.side, tiles.shape[-1]
    whole = tiles.view(rows, columns, side, side, channels).transpose(1, 2)
    return whole.reshape(rows * side, columns * side, channels)[: tiling.size[0], : tiling.size[1]].contiguous()
