"""Where in a clip a token lies: its slice of frames, its row and its column."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldline.models.layers.position import PhotoPosition

_BASE = 10_000.0  # ratio of the longest to the shortest wave of sinusoidal codes, over 2 pi
_TIME_WAVES = 8  # octaves of the learned code of time; the longest wave has 2^8 slices


def cell_centers(count: int, reference: int) -> Float[Tensor, "cell"]:
    """Positions of ``count`` cells that divide a side, in units of a cell of the reference number: 0, 1, 2 … there."""
    return (torch.arange(count, dtype=torch.float64) + 0.5) * (reference / count) - 0.5


def sinusoids(position: Float[Tensor, "cell"], channels: int) -> Float[Tensor, "cell channels"]:
    """Sines and cosines with wavelengths from 2 pi to 2 pi * 10 000 cells; ``channels`` is even."""
    frequency = _BASE ** -(torch.arange(channels // 2, dtype=torch.float64) / max(1, channels // 2))
    angle = position.double()[:, None] * frequency
    return torch.cat((angle.sin(), angle.cos()), -1)


def axes_code(
    grid: tuple[int, int, int], reference: tuple[int, int], dim: int
) -> Float[Tensor, "slice row column channel"]:
    """A third of the channels (rounded to even numbers) for each of slice, row and column.

    Rows and columns are measured on the reference grid that spans the same image, so that a code means the same place
    of the frame at every resolution, and the same moment in clips of every length.
    """
    space = dim // 3 // 2 * 2
    parts = (
        sinusoids(torch.arange(grid[0]), dim - 2 * space)[:, None, None],
        sinusoids(cell_centers(grid[1], reference[0]), space)[None, :, None],
        sinusoids(cell_centers(grid[2], reference[1]), space)[None, None],
    )
    return torch.cat([part.expand(*grid, -1) for part in parts], -1).float()


def flat_code(grid: tuple[int, int, int], dim: int) -> Float[Tensor, "slice row column channel"]:
    """Interleaved sine and cosine of the token's number, in float32 and in this order of operations (Open-D4RT).

    The angles reach thousands of radians, so another rounding of the frequencies is another code. Processors round
    exp() in float32 differently; the correctly rounded value, taken here, is the same on all of them.
    """
    count = math.prod(grid)
    exponent = torch.arange(0, dim, 2, dtype=torch.float32) * (-math.log(_BASE) / dim)
    frequency = exponent.double().exp().float()
    angle = torch.arange(count, dtype=torch.float32)[:, None] * frequency
    code = torch.zeros(count, dim)
    code[:, 0::2], code[:, 1::2] = angle.sin(), angle.cos()[:, : dim // 2]
    return code.view(*grid, dim)


class LearnedPosition(nn.Module):
    """Adds projected waves of the place in the photo and of the slice; the part of the time starts at zero."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.photo = PhotoPosition(dim)
        self.time = nn.Linear(2 * _TIME_WAVES, dim)
        nn.init.zeros_(self.time.weight)
        nn.init.zeros_(self.time.bias)

    def forward(
        self, tokens: Float[Tensor, "batch slice place channel"], rows: int, columns: int
    ) -> Float[Tensor, "batch slice place channel"]:
        """Tokens of slices of ``rows`` x ``columns`` places, row-major."""
        moments = torch.arange(tokens.shape[1], device=tokens.device)
        code = self.time(time_waves(moments, _TIME_WAVES).to(tokens.dtype))
        placed = self.photo(tokens.flatten(0, 1), rows, columns).view(tokens.shape)
        return placed + code[:, None]


def time_waves(time: Tensor, octaves: int) -> Float[Tensor, "*time wave"]:
    """Sines and cosines of waves of 2, 4, 8 … steps."""
    frequency = math.pi / 2.0 ** torch.arange(octaves, device=time.device)
    angle = time.float()[..., None] * frequency
    return torch.cat((angle.sin(), angle.cos()), -1)
