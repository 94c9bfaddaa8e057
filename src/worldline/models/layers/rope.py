"""Rotary embedding of two-dimensional token positions: attention sees offsets between patches, not their places.

A head's features are halved: the first half turns with the token's row, the second with its column. Inside a half,
feature k of the first quarter pairs with feature k of the second quarter and turns by ``position * base**(-k / Q)``,
where Q is the quarter's size (rotate-half layout, not interleaved pairs).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor


class RopeTable(NamedTuple):
    """Cosines and sines of a set of token positions, ready to broadcast over ``... token head axis quarter``."""

    cos: Float[Tensor, "*batch token 1 2 quarter"]
    sin: Float[Tensor, "*batch token 1 2 quarter"]

    def per_sample(self) -> RopeTable:
        """The same table with a singleton axis after the batch, for tokens stored as ``batch set token channel``."""
        if self.cos.dim() == 4:
            return self
        return RopeTable(self.cos.unsqueeze(1), self.sin.unsqueeze(1))


def rope_table(positions: Int[Tensor, "*batch token 2"], head_dim: int, base: float = 100.0) -> RopeTable:
    """Table for explicit (row, column) positions. ``head_dim`` must be divisible by 4."""
    quarter, device = head_dim // 4, positions.device
    if device.type == "mps":  # has no float64
        positions = positions.cpu()
    exponents = torch.arange(quarter, device=positions.device, dtype=torch.float64) / quarter
    frequencies = float(base) ** -exponents
    angles = positions.to(torch.float64).unsqueeze(-2).unsqueeze(-1) * frequencies  # ... token 1 axis quarter
    return RopeTable(angles.cos().float().to(device), angles.sin().float().to(device))


def grid_positions(rows: int, columns: int, device: torch.device) -> Int[Tensor, "token 2"]:
    """(row, column) of every token of a grid, row-major, starting at (0, 0)."""
    row, column = torch.meshgrid(torch.arange(rows, device=device), torch.arange(columns, device=device), indexing="ij")
    return torch.stack((row, column), dim=-1).reshape(-1, 2)


@lru_cache(maxsize=32)
def grid_rope(rows: int, columns: int, head_dim: int, base: float, device: torch.device) -> RopeTable:
    """Table of a whole token grid, computed once per grid and kept."""
    with torch.inference_mode(False), torch.no_grad():  # a table made in inference mode could not be used in training
        return rope_table(grid_positions(rows, columns, device), head_dim, base)


def apply_rope(
    features: Float[Tensor, "*batch token head head_dim"], table: RopeTable
) -> Float[Tensor, "*batch token head head_dim"]:
    """Rotate queries or keys. The arithmetic is float32 (or better), the result has the dtype of ``features``."""
    quarter = table.cos.shape[-1]
    first, second = features.unflatten(-1, (2, 2, quarter)).unbind(-2)
    rotated = torch.stack(
        (first * table.cos - second * table.sin, second * table.cos + first * table.sin), dim=-2
    ).flatten(-3)
    return rotated.to(features.dtype)
