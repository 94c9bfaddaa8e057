"""Front-to-back compositing of ellipses in square tiles, with gradients that recompute instead of remembering.

The exponent of a Gaussian is a quadratic polynomial of the pixel's place in its tile, so that a block of tiles x
Gaussians x pixels is one matrix product of six coefficients with six monomials, and the sums over pixels that the
gradient needs are the transposed product. Tiles whose pixels are all saturated drop out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldline.outputs.render.projection import MIN_ALPHA, Splats, full_precision

MAX_ALPHA = 0.999
STOP = 1e-4  # a Gaussian that would leave no more transmittance than this ends its pixel and is left out itself
_Slab = tuple[Tensor, Tensor, Tensor]  # rows of the table, sorted by tile; where those of each tile begin and end
_Cut = tuple[int, int, int, int]  # of the table: first row and end; its pairs, counted from the front: first and end
_Round = tuple[Tensor, int]  # the tiles of a round; how many Gaussians of each were composited before
_GEOMETRY = 6  # columns of the table that place a Gaussian: mean (2), whitening map (3), log opacity


@dataclass(frozen=True)
class Tiling:
    """How the work is cut up. Results do not depend on it, beyond rounding."""

    size: tuple[int, int]  # of the image: (height, width), pixels
    side: int  # of a tile, pixels
    cameras: int = 1  # whose images are composited together; the tiles of each follow those of the one before
    depth: int = 16  # Gaussians of a tile composited at once
    slots: int = 1 << 16  # (tile, Gaussian) pairs made ready at once
    elements: int = 1 << 16  # pixels x Gaussians evaluated at once
    pairs: int = 1 << 20  # (tile, Gaussian) pairs sorted at once
    ahead: int = 1  # rounds queued before the next look at which tiles have ended; a device is waited for at each look

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of tiles."""
        return -(-self.size[0] // self.side), -(-self.size[1] // self.side)

    @property
    def tiles(self) -> int:
        """Number of tiles of all cameras."""
        return self.cameras * self.each

    @property
    def each(self) -> int:
        """Number of tiles of one camera."""
        return self.grid[0] * self.grid[1]


@dataclass
class _Kept:
    """What the way back takes over from the way there, so that nothing is asked twice."""

    cuts: list[_Cut] = field(default_factory=list)
    first: _Slab | None = None  # of the first cut
    rounds: list[_Round] = field(default_factory=list)  # of the first slab


@dataclass(frozen=True)
class _Group:
    """The next few Gaussians of many tiles, before any pixel is looked at."""

    tiles: Int[Tensor, "g"]
    rows: Int[Tensor, "g k"]  # of the table of Gaussians
    held: Float[Tensor, "g k c"]  # those rows
    offset: tuple[Float[Tensor, "g k"], Float[Tensor, "g k"]]  # from the mean to the middle of the tile
    coefficients: Float[Tensor, "6 g*k"]  # of the exponent


@dataclass(frozen=True)
class _Block:
    """A part of a group that fits the processor's cache: what compositing it gave."""

    part: slice  # of the group
    alpha: Float[Tensor, "t k p"]  # 0 where the Gaussian is left out
    clear: Float[Tensor, "t k p"]  # 1 - alpha, before Gaussians behind the end of a pixel were left out
    weight: Float[Tensor, "t k p"]


def composite(splats: Splats, features: Float[Tensor, "m c"], tiling: Tiling) -> Float[Tensor, "v height width c+1"]:
    """Sums over Gaussians of weight times feature per pixel, and in the last channel the sums of the weights.

    Args:
        splats: ellipses of all v cameras of the tiling.
        features: one row per ellipse.
        tiling: how the work is cut up.
    """
    geometry = torch.cat([splats.mean, splats.whiten, splats.log_opacity[None]])
    ones = features.new_ones(len(features), 1)
    table = torch.cat([geometry.T, features, ones], -1)
    result: Tensor = _Composite.apply(table, splats.radius, splats.camera, tiling)
    return result


class _Composite(torch.autograd.Function):
    """From a table of Gaussians, near to far, to the images of their features."""

    @staticmethod
    def forward(ctx: Any, *inputs: Any) -> Tensor:
        table, radius, camera, tiling = inputs
        sums = table.new_zeros(tiling.tiles, tiling.side**2, table.shape[-1] - _GEOMETRY)
        ctx.kept = _Kept()
        for group, blocks in _walk(table, radius, camera, tiling, ctx.kept):
            for block in blocks:
                added = block.weight.transpose(1, 2) @ group.held[block.part, :, _GEOMETRY:]
                sums.index_add_(0, group.tiles[block.part], added)
        ctx.save_for_backward(table, radius, camera, sums)
        ctx.tiling = tiling
        return _image(sums, tiling)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        table, radius, camera, sums = ctx.saved_tensors
        with full_precision(table.device):
            return _gradient(table, radius, camera, sums, gradients[0], ctx.tiling, ctx.kept), None, None, None


def _gradient(
    table: Float[Tensor, "m c"], radius: Float[Tensor, "2 m"], camera: Int[Tensor, "m"],
    sums: Float[Tensor, "t p f"], gradient: Float[Tensor, "v height width f"], tiling: Tiling, kept: _Kept,
) -> Float[Tensor, "m c"]:  # fmt: skip
    """Of the loss with respect to the table, walking once more from front to back."""
    wanted = _tiles(gradient, tiling)
    rest = (wanted * sums).sum(-1)  # what Gaussians farther than those seen so far add to the loss, to first order
    shares = torch.zeros_like(table)
    monomials = _monomials(tiling.side, table).T.contiguous()
    capped = table.device.type != "cpu" or bool((table[:, 5] > math.log(MAX_ALPHA)).any())  # worth no wait elsewhere
    for group, blocks in _walk(table, radius, camera, tiling, kept):
        share = torch.empty_like(group.held)
        for block in blocks:
            here = wanted[group.tiles[block.part]]
            gain = group.held[block.part, :, _GEOMETRY:] @ here.transpose(1, 2).contiguous()  # of a weight of one
            gain *= block.weight
            behind = rest[group.tiles[block.part]][:, None] - gain.cumsum(1)
            rest[group.tiles[block.part]] = behind[:, -1]
            slope = gain.sub_(behind.mul_(block.alpha).div_(block.clear))  # of the exponent
            if capped:
                slope *= torch.lt(block.alpha, MAX_ALPHA, out=torch.empty_like(slope))
            torch.matmul(slope, monomials, out=share[block.part, :, :_GEOMETRY])
            share[block.part, :, _GEOMETRY:] = block.weight @ here
        share[..., :_GEOMETRY] = _moments(share[..., :_GEOMETRY], *group.offset)
        shares.index_add_(0, group.rows.view(-1), share.view(-1, share.shape[-1]))
    return torch.cat([_geometry_gradients(table, shares), shares[:, _GEOMETRY:]], -1)


def _walk(
    table: Float[Tensor, "m c"], radius: Float[Tensor, "2 m"], camera: Int[Tensor, "m"], tiling: Tiling, kept: _Kept
) -> Iterator[tuple[_Group, Iterator[_Block]]]:
    """All groups from front to back, each with its blocks. Each tile meets its Gaussians in the order of the table."""
    monomials = _monomials(tiling.side, table)
    inside = table.new_ones(tiling.cameras, *tiling.size, 1)
    remaining = _tiles(inside, tiling).squeeze(-1)  # transmittance; 0 outside the images
    steps = torch.arange(tiling.depth, device=table.device)
    for rows, first, last, rounds in _slabs(table, radius, camera, tiling, remaining, kept):
        for live, done in _rounds(first, last, remaining, tiling, rounds):
            for tiles in live.split(max(1, tiling.slots // tiling.depth)):
                slots = (first[tiles] + done)[:, None] + steps
                filled = slots < last[tiles][:, None]
                chosen = rows.index_select(0, slots.clamp_max_(len(rows) - 1).view(-1)).view(slots.shape)
                group = _group(table, chosen, filled, tiles, tiling)
                yield group, _blocks(group, remaining, monomials, tiling)


def _rounds(
    first: Int[Tensor, "t"], last: Int[Tensor, "t"], remaining: Float[Tensor, "t p"], tiling: Tiling,
    known: list[_Round] | None,
) -> Iterator[_Round]:  # fmt: skip
    """The tiles of each round, and how many of their Gaussians earlier rounds took.

    A look finds out which tiles have Gaussians left and pixels that have not ended. With tiles sorted by what they have
    left, one look is enough for several rounds: those of each are the first so many.
    """
    if known:
        yield from known
        return
    done, one_by_one = 0, tiling.ahead == 1
    live = (last > first).nonzero().squeeze(-1) if one_by_one else torch.arange(len(first), device=first.device)
    while True:
        if one_by_one:
            counts = [len(live)]
        else:
            open_ = remaining[live].amax(-1) > STOP
            left, order = ((last[live] - first[live] - done) * open_).sort(descending=True)
            live = live[order]
            begun = torch.arange(tiling.ahead, device=left.device) * tiling.depth
            counts = (left > begun[:, None]).sum(1).tolist()
        for count in counts:
            if not count:
                return
            part = live[:count], done
            if known is not None:
                known.append(part)
            yield part
            done += tiling.depth
        live = live[: counts[-1]]
        if one_by_one:
            live = live[(first[live] + done < last[live]) & (remaining[live].amax(-1) > STOP)]


def _group(table: Tensor, rows: Tensor, filled: Tensor, tiles: Tensor, tiling: Tiling) -> _Group:
    """What depends on tile and Gaussian alone: the exponent as a polynomial of the place in the tile."""
    held = table.index_select(0, rows.view(-1)).view(*rows.shape, -1)
    place = held[..., :_GEOMETRY].movedim(-1, 0).contiguous()
    x, y = (middle.to(table.dtype) for middle in _middles(tiles, tiling))
    offset = x - place[0], y - place[1]
    return _Group(tiles, rows, held, offset, _coefficients(place, *offset, filled))


def _blocks(group: _Group, remaining: Tensor, monomials: Tensor, tiling: Tiling) -> Iterator[_Block]:
    """Composite a group; ``remaining`` is brought up to date in place.

    Most of the time of a picture is spent here: few passes over a block, in place where it can be.
    """
    step = max(1, tiling.elements // (tiling.depth * tiling.side**2))
    for begin in range(0, len(group.tiles), step):
        part = slice(begin, begin + step)
        tiles = group.tiles[part]
        exponent = group.coefficients[:, begin * tiling.depth : (begin + step) * tiling.depth].T @ monomials
        alpha = exponent.exp_().view(len(tiles), tiling.depth, -1)
        torch.threshold_(alpha, MIN_ALPHA, 0).clamp_max_(MAX_ALPHA)
        clear = torch.cat([remaining[tiles][:, None], 1 - alpha], 1)
        light = clear.cumprod(1)  # transmittance in front of the first Gaussian, then behind each
        remaining[tiles] = light[:, -1]
        alpha *= torch.gt(light[:, 1:], STOP, out=torch.empty_like(alpha))
        yield _Block(part, alpha, clear[:, 1:], alpha * light[:, :-1])


def _slabs(
    table: Float[Tensor, "m c"], radius: Float[Tensor, "2 m"], camera: Int[Tensor, "m"], tiling: Tiling,
    remaining: Float[Tensor, "t p"], kept: _Kept,
) -> Iterator[tuple[Tensor, Tensor, Tensor, list[_Round] | None]]:  # fmt: skip
    """The Gaussians of each tile, from front to back, a bounded number of pairs at a time; finished tiles left out.

    The first slab, in most pictures the only one, is put into ``kept`` with its rounds, or taken from there on the way
    back.
    """
    if kept.first is not None:
        yield *kept.first, kept.rounds
        if len(kept.cuts) == 1:
            return
    boxes = _boxes(table[:, :2].T, radius, camera, tiling)
    total = boxes[2].cumsum(0)
    if kept.first is None:
        kept.cuts = _cuts(total, tiling.pairs)
        if kept.cuts:
            kept.first = _slab(kept.cuts[0], boxes, total, tiling, remaining)
            yield *kept.first, kept.rounds
    for cut in kept.cuts[1:]:
        yield *_slab(cut, boxes, total, tiling, remaining), None


def _cuts(total: Int[Tensor, "m"], pairs: int) -> list[_Cut]:
    """Portions of the table of so many pairs, or of one Gaussian, from the running totals of pairs."""
    cuts: list[_Cut] = []
    begin, done, every = 0, 0, int(total[-1]) if len(total) else 0
    while done < every:
        end, pair = len(total), every
        if every - done > pairs:
            end = max(begin + 1, int(torch.searchsorted(total, done + pairs, right=True)))
            pair = int(total[end - 1])
        cuts.append((begin, end, done, pair))
        begin, done = end, pair
    return cuts


def _slab(
    cut: _Cut, boxes: tuple[Tensor, Tensor, Tensor], total: Int[Tensor, "m"], tiling: Tiling,
    remaining: Float[Tensor, "t p"],
) -> _Slab:  # fmt: skip
    """Pairs of some Gaussians with the tiles of their boxes, sorted by tile."""
    corner, width, area = boxes
    begin, end, first, last = cut
    rows = torch.repeat_interleave(area[begin:end], output_size=last - first) + begin
    within = torch.arange(first, last, device=area.device).sub_((total - area).index_select(0, rows)).int()
    across = width.index_select(0, rows)
    down = torch.div(within, across, rounding_mode="trunc")
    tile = within + corner.index_select(0, rows) + down * (tiling.grid[1] - across)
    if begin:
        open_ = (remaining.amax(-1) > STOP).index_select(0, tile)
        tile, rows = tile[open_], rows[open_]
    tile, order = torch.sort(tile.to(torch.int16) if tiling.tiles < 1 << 15 else tile, stable=True)
    edges = torch.searchsorted(tile, torch.arange(tiling.tiles + 1, dtype=tile.dtype, device=tile.device))
    return rows.index_select(0, order), edges[:-1], edges[1:]


def _boxes(
    mean: Float[Tensor, "2 m"], radius: Float[Tensor, "2 m"], camera: Int[Tensor, "m"], tiling: Tiling
) -> tuple[Int[Tensor, "m"], Int[Tensor, "m"], Int[Tensor, "m"]]:
    """Of each Gaussian's box: its first tile, its columns and its tiles; 0 where it holds no pixel centre."""
    low, high = (mean - radius).ceil_().clamp_min_(0), (mean + radius).floor_()
    for axis, most in enumerate((tiling.size[1] - 1, tiling.size[0] - 1)):
        high[axis].clamp_max_(most)
    filled = (high[0] >= low[0]) & (high[1] >= low[1])
    for axis, most in enumerate((tiling.size[1] - 1, tiling.size[0] - 1)):
        low[axis].clamp_max_(most)
    first = low.div_(tiling.side).int()  # truncation: all are 0 or more
    count = high.clamp_min_(0).div_(tiling.side).int() - first + 1
    corner = first[1] * tiling.grid[1] + first[0]
    if tiling.cameras > 1:
        corner += (camera * tiling.each).int()
    return corner, count[0], (count[0] * count[1] * filled).long()


def _tiles(image: Float[Tensor, "v height width c"], tiling: Tiling) -> Float[Tensor, "t p c"]:
    """Cut images into tiles; zeros outside them."""
    (rows, columns), side, (cameras, *_, channels) = tiling.grid, tiling.side, image.shape
    padded = image.new_zeros(cameras, rows * side, columns * side, channels)
    padded[:, : tiling.size[0], : tiling.size[1]] = image
    cut = padded.view(cameras, rows, side, columns, side, channels).transpose(2, 3)
    return cut.reshape(tiling.tiles, side * side, channels)


def _image(tiles: Float[Tensor, "t p c"], tiling: Tiling) -> Float[Tensor, "v height width c"]:
    """Put tiles together again."""
    (rows, columns), side, channels = tiling.grid, tiling.side, tiles.shape[-1]
    whole = tiles.view(tiling.cameras, rows, columns, side, side, channels).transpose(2, 3)
    whole = whole.reshape(tiling.cameras, rows * side, columns * side, channels)
    return whole[:, : tiling.size[0], : tiling.size[1]].contiguous()


def _coefficients(
    place: Float[Tensor, "6 g k"], dx: Float[Tensor, "g k"], dy: Float[Tensor, "g k"], filled: Tensor
) -> Float[Tensor, "6 g*k"]:
    """Of log opacity - ((p X)² + (q X + r Y)²) / 2 as a polynomial of the place in the tile: 1, x, y, x², xy, y²."""
    _, _, p, q, r, log_opacity = place.unbind(0)
    u, v = p * dx, torch.addcmul(q * dx, r, dy)
    found = torch.empty_like(place)
    torch.sub(log_opacity, (u * u).addcmul_(v, v), alpha=0.5, out=found[0]).masked_fill_(~filled, -math.inf)
    torch.addcmul(u * p, v, q, out=found[1])
    torch.mul(v, r, out=found[2])
    torch.addcmul(p * p, q, q, out=found[3]).div_(2)
    torch.mul(q, r, out=found[4])
    torch.mul(r, r, out=found[5]).div_(2)
    found[1:].neg_()
    return found.view(6, -1)


def _middles(tiles: Int[Tensor, "g"], tiling: Tiling) -> tuple[Float[Tensor, "g 1"], Float[Tensor, "g 1"]]:
    """Column and row of the middles of tiles, pixels."""
    columns, middle = tiling.grid[1], (tiling.side - 1) / 2
    tiles = tiles.remainder(tiling.each) if tiling.cameras > 1 else tiles
    row = torch.div(tiles, columns, rounding_mode="floor")
    x, y = (number * tiling.side + middle for number in (tiles - row * columns, row))
    return x[:, None], y[:, None]


def _monomials(side: int, like: Tensor) -> Float[Tensor, "6 p"]:
    """1, x, y, x², xy, y² at the pixels of a tile, counted from its middle."""
    axis = torch.arange(side, dtype=like.dtype, device=like.device) - (side - 1) / 2
    y, x = (grid.reshape(-1) for grid in torch.meshgrid(axis, axis, indexing="ij"))
    return torch.stack([torch.ones_like(x), x, y, x * x, x * y, y * y])


def _moments(sums: Float[Tensor, "t k 6"], dx: Tensor, dy: Tensor) -> Float[Tensor, "t k 6"]:
    """Sums over pixels of a gradient times 1, X, Y, X², XY, Y², with X and Y counted from the Gaussian's mean."""
    one, x, y, xx, xy, yy = sums.unbind(-1)
    across, down = x + dx * one, y + dy * one
    return torch.stack([one, across, down, xx + dx * (x + across), xy + dx * y + dy * across, yy + dy * (y + down)], -1)


def _geometry_gradients(table: Float[Tensor, "m c"], moments: Float[Tensor, "m c"]) -> Float[Tensor, "m 6"]:
    """Gradients of means, whitening maps and log opacities from the moments of the exponent's gradient."""
    p, q, r = table[:, 2:5].unbind(-1)
    one, x, y, xx, xy, yy = moments[:, :_GEOMETRY].unbind(-1)
    return torch.stack(
        [
            (p * p + q * q) * x + q * r * y,
            q * r * x + r * r * y,
            -p * xx,
            -(q * xx + r * xy),
            -(q * xy + r * yy),
            one,
        ],
        -1,
    )
