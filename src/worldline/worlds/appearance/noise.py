"""Deterministic noise on periodic lattices, and the coverages that patterns are made of.

Positions are in repetitions of a pattern, and so is a ``footprint``: the width of a pixel on the surface. Everything
fades to its mean where its detail gets finer than the footprint, so that two views of one surface agree in colour.
The random numbers come from tables that are the same on every device.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

_LATTICE = 64  # period of all lattices
_CHANNELS = 8  # independent random numbers of a 2D cell


@cache
def _random_table(device: str) -> Float32[Tensor, "c"]:
    """White noise on a periodic 64^3 lattice."""
    values = np.random.default_rng(20240617).random(_LATTICE**3, dtype=np.float32)
    return torch.as_tensor(values, device=device)


@cache
def _corner_table(device: str) -> Float32[Tensor, "c 8"]:
    """The eight corners of every lattice cell side by side: one memory access per noise value instead of eight."""
    cube = _random_table(device).view(_LATTICE, _LATTICE, _LATTICE)
    shifts = [(-a, -b, -c) for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    return torch.stack([torch.roll(cube, shift, (0, 1, 2)).flatten() for shift in shifts], -1).contiguous()


@cache
def _square_table(device: str) -> Float32[Tensor, "c 4"]:
    """The four corners of every cell of a slice of the lattice: small enough for the fastest cache."""
    square = _random_table(device).view(_LATTICE, _LATTICE, _LATTICE)[11]
    shifts = [(-a, -b) for a in (0, 1) for b in (0, 1)]
    return torch.stack([torch.roll(square, shift, (0, 1)).flatten() for shift in shifts], -1).contiguous()


@cache
def _cell_table(device: str) -> Float32[Tensor, "c k"]:
    values = np.random.default_rng(20240618).random((_LATTICE**2, _CHANNELS), dtype=np.float32)
    return torch.as_tensor(values, device=device)


def lattice(i: Tensor, j: Tensor, k: Tensor) -> Float[Tensor, "n"]:
    """Uniform random number of an integer cell."""
    mask = _LATTICE - 1
    index = ((i & mask) << 12) | ((j & mask) << 6) | (k & mask)
    return _random_table(str(i.device)).index_select(0, index)


def cell_random(cell: Float[Tensor, "n 2"], channel: Tensor | int) -> Float[Tensor, "n"]:
    """Uniform random number of a 2D cell, several independent ones by channel."""
    cell = cell.int()
    k = torch.as_tensor(channel, dtype=torch.int32, device=cell.device)
    return lattice(cell[:, 0] + 17 * k, cell[:, 1] + 29 * k, (cell[:, 0] >> 6) * 5 + (cell[:, 1] >> 6) * 3 + k)


def cell_randoms(x: Float[Tensor, "n"], y: Float[Tensor, "n"], salt: int = 0) -> Float[Tensor, "n 8"]:
    """Eight independent uniform random numbers of the cell with integer corner (x, y), in one memory access."""
    i, j = x.int(), y.int()
    i, j = i + 23 * (j >> 6) + 7 * salt, j + 37 * (i >> 6) + 13 * salt  # no two neighbouring periods are alike
    mask = _LATTICE - 1
    return _cell_table(str(x.device)).index_select(0, ((i & mask) << 6) | (j & mask))


def noise(p: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
    """Smooth value noise in [0, 1], one feature per unit."""
    base = torch.floor(p)
    f = p - base
    f = f * f * (3.0 - 2.0 * f)
    i, j, k = (base.int() & (_LATTICE - 1)).unbind(-1)
    value = _corner_table(str(p.device)).index_select(0, (i << 12) | (j << 6) | k)
    value = torch.lerp(value[:, :4], value[:, 4:], f[:, 0:1])
    value = torch.lerp(value[:, :2], value[:, 2:], f[:, 1:2])
    return torch.lerp(value[:, 0], value[:, 1], f[:, 2])


def fbm(p: Float[Tensor, "n 3"], octaves: int, footprint: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Octaves of value noise, centred on 0, about [-1, 1]; octaves below the footprint fade out."""
    total = torch.zeros_like(footprint)
    amplitude, frequency = 1.0, 1.0
    for octave in range(octaves):
        value = noise(p * frequency + 7.31 * octave) - 0.5
        total = total + amplitude * fine(footprint * frequency) * value
        amplitude, frequency = amplitude * 0.55, frequency * 2.03
    return total * 1.3


def noise2(x: Float[Tensor, "n"], y: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Smooth value noise of the plane in [0, 1], one feature per unit."""
    left, low = torch.floor(x), torch.floor(y)
    f, g = x - left, y - low
    f, g = f * f * (3.0 - 2.0 * f), g * g * (3.0 - 2.0 * g)
    mask = _LATTICE - 1
    value = _square_table(str(x.device)).index_select(0, ((left.int() & mask) << 6) | (low.int() & mask))
    value = torch.lerp(value[:, :2], value[:, 2:], f[:, None])
    return torch.lerp(value[:, 0], value[:, 1], g)


def fbm2(
    x: Float[Tensor, "n"], y: Float[Tensor, "n"], octaves: int, footprint: Float[Tensor, "n"]
) -> Float[Tensor, "n"]:
    """Octaves of :func:`noise2`, each turned against the one before it; centred on 0, about [-1, 1]."""
    total = torch.zeros_like(footprint)
    amplitude, frequency = 1.0, 1.0
    for octave in range(octaves):
        value = noise2(x + 7.31 * octave, y + 3.17 * octave) - 0.5
        total = total + amplitude * fine(footprint * frequency) * value
        x, y = 1.62 * x + 1.22 * y, 1.62 * y - 1.22 * x  # by 2.03 and 37 degrees
        amplitude, frequency = amplitude * 0.55, frequency * 2.03
    return total * 1.3


def voronoi(
    x: Float[Tensor, "n"], y: Float[Tensor, "n"]
) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"], Float[Tensor, "n 8"]]:
    """Irregular cells, one per unit square: (distance to the centre, to the border, random numbers of the cell).

    Centres stay within 0.28 of the middle of their square, so that four candidates suffice; the distance to the border
    is exact near the border.
    """
    left, low = torch.floor(x - 0.5), torch.floor(y - 0.5)
    first, second = torch.full_like(x, 9.0), torch.full_like(x, 9.0)
    chosen = x.new_zeros(len(x), _CHANNELS)
    for a in (0, 1):
        for b in (0, 1):
            own = cell_randoms(left + a, low + b, 5)
            dx = x - left - (a + 0.22) - 0.56 * own[:, 0]
            dy = y - low - (b + 0.22) - 0.56 * own[:, 1]
            away = (dx * dx + dy * dy).sqrt()
            nearer = away < first
            second = torch.where(nearer, first, torch.minimum(second, away))
            first = torch.where(nearer, away, first)
            chosen = torch.where(nearer[:, None], own, chosen)
    return first, 0.5 * (second - first), chosen


def fine(footprint: Tensor) -> Tensor:
    """1 where a feature of size 1 is resolved, 0 where a pixel averages over it."""
    return (1.6 - 1.6 * footprint).clamp(0.0, 1.0)


def blend(a: Tensor, b: Tensor, weight: Float[Tensor, "n"]) -> Float[Tensor, "n 3"]:
    """Colour ``a`` where the weight is 0, ``b`` where it is 1."""
    return a + (b - a) * weight[:, None]


def above(value: Tensor | float, edge: Tensor | float, footprint: Tensor) -> Tensor:
    """1 where the value is above an edge, else 0, with a ramp as wide as the footprint (in units of the value)."""
    return ((value - edge) / footprint.clamp_min(1e-3) + 0.5).clamp(0.0, 1.0)


def between(value: Tensor, low: Tensor | float, high: Tensor | float, footprint: Tensor) -> Tensor:
    """1 between two edges, else 0: the share of a pixel of this width that lies between them."""
    soft = footprint.clamp_min(1e-3)
    upper = (high - value) / soft + 0.5
    lower = (low - value) / soft + 0.5
    return upper.clamp(0.0, 1.0) - lower.clamp(0.0, 1.0)


def line(x: Tensor, half_width: Tensor | float, footprint: Tensor) -> Tensor:
    """1 within half_width of an integer, else 0, box-filtered over the footprint."""
    away = (x - torch.round(x)).abs()
    soft = footprint.clamp_min(1e-4)
    high = ((half_width - away) / soft + 0.5).clamp(0.0, 1.0)
    low = ((-half_width - away) / soft + 0.5).clamp(0.0, 1.0)
    mean = 2.0 * torch.as_tensor(half_width, dtype=x.dtype, device=x.device)
    return torch.lerp(high - low, mean.expand_as(high), (2.0 * soft - 1.0).clamp(0.0, 1.0))
