"""How queries read a memory: cross-attention only, so that no answer depends on another query.

Keys and values are projected once per memory and block, whoever reads them and however often.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldline.models.layers.attention import attend
from worldline.models.layers.blocks import Mlp
from worldline.models.layers.clip_position import cell_centers

AXES = 3  # slice, row, column
_SLOWEST = 1 / 64  # of the guiding frequencies, as a share of the fastest, which is pi per cell
# Start of the guidance: how strongly a head looks at the moment, row and column of its query. The kinds of heads
# take turns; the first two look at the source, the third at the target time, the last at the time of the camera, where
# they begin near the same place, because most things move little between frames.
_KINDS = ((2.4, 2.0, 2.0), (2.4, 1.0, 1.0), (2.4, 1.0, 1.0), (2.4, 1.0, 1.0))
TIME_OF_KIND = (0, 0, 1, 2)  # t_src, t_tgt, t_cam
_LIKENESS = 1.2  # gain of queries and keys that compare appearance; their product counts


class KeysValues(NamedTuple):
    """A memory as one block reads it."""

    keys: Float[Tensor, "batch head token head_dim"]
    values: Float[Tensor, "batch head token head_dim"]


def split_pairs(head_dim: int) -> tuple[int, int, int]:
    """How many pairs of channels turn with the slice, the row and the column."""
    pairs = head_dim // 2
    space = 3 * pairs // 8
    return pairs - 2 * space, space, space


def guiding_angles(positions: Float[Tensor, "*n 3"], head_dim: int) -> Float[Tensor, "*n pair"]:
    """Angle by which each pair of channels turns at positions (slice, row, column), in units of cells."""
    angles = []
    for axis, count in enumerate(split_pairs(head_dim)):
        exponent = torch.arange(count, device=positions.device, dtype=torch.float32) / max(1, count - 1)
        angles.append(positions[..., axis, None] * (math.pi * _SLOWEST**exponent))
    return torch.cat(angles, -1)


@lru_cache(maxsize=32)
def grid_angles(
    grid: tuple[int, int, int], reference: tuple[int, int], head_dim: int, device: torch.device
) -> Float[Tensor, "token pair"]:
    """Angles of all tokens of a grid of (slices, rows, columns), in cells of the reference grid of the same frame.

    Computed once per grid and kept, so that a device is not waited for in every step.
    """
    with torch.inference_mode(False), torch.no_grad():
        axes = (torch.arange(grid[0]).double(), *map(cell_centers, grid[1:], reference))
        positions = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
        return guiding_angles(positions.float().to(device), head_dim)


def turn(features: Float[Tensor, "*n head_dim"], angles: Float[Tensor, "*n pair"]) -> Float[Tensor, "*n head_dim"]:
    """Rotate the pairs (i, i + head_dim / 2) of channels."""
    first, second = features.float().chunk(2, -1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((first * cos - second * sin, first * sin + second * cos), -1).to(features.dtype)


class ReadingBlock(nn.Module):
    """Cross-attention of queries to the memory, then an MLP, each with a residual; no self-attention (section 2.2).

    With guidance, keys and values are turned by where their token lies, queries by where and when they ask, and what
    was read is turned back. So attention can be a function of the offset between the two, and starts as one (see
    ``_KINDS``), and what was read tells how far away it was read.
    """

    def __init__(self, dim: int, heads: int, mlp_dim: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.query_norm = nn.LayerNorm(dim, eps=eps)
        self.memory_norm = nn.LayerNorm(dim, eps=eps)
        self.query = nn.Linear(dim, dim)
        self.key = nn.Linear(dim, dim)
        self.value = nn.Linear(dim, dim)
        self.output = nn.Linear(dim, dim)
        self.mlp_norm = nn.LayerNorm(dim, eps=eps)
        self.mlp = Mlp(dim, mlp_dim)
        self.record: list[Tensor] | None = None  # a list that is put here collects what is asked, for losses on it

    def remember(
        self, memory: Float[Tensor, "batch token channel"], angles: Float[Tensor, "token pair"] | None
    ) -> KeysValues:
        """Keys and values of a memory, head by head, the tokens of a head next to each other: they are read often."""
        memory = self.memory_norm(memory)
        keys, values = (
            layer(memory).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.key, self.value)
        )
        if angles is not None:
            keys, values = turn(keys, angles), turn(values, angles)
        return KeysValues(keys.contiguous(), values.contiguous())

    def forward(
        self,
        queries: Float[Tensor, "batch query channel"],
        memory: KeysValues,
        angles: Float[Tensor, "batch head query pair"] | None,
    ) -> Float[Tensor, "batch query channel"]:
        """Same shape out."""
        asked = self.ask(queries, angles)
        read = attend(asked, memory.keys.to(asked.dtype), memory.values.to(asked.dtype))
        if angles is not None:
            read = turn(read, -angles)
        queries = queries + self.output(read.transpose(1, 2).flatten(2))
        return queries + self.mlp(self.mlp_norm(queries))

    def ask(
        self, queries: Float[Tensor, "batch query channel"], angles: Float[Tensor, "batch head query pair"] | None
    ) -> Float[Tensor, "batch head query head_dim"]:
        """What is compared with the keys."""
        asked = self.query(self.query_norm(queries)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        asked = asked if angles is None else turn(asked, angles)
        if self.record is not None:
            self.record.append(asked)
        return asked

    @torch.no_grad()
    def start_guided(self) -> None:
        """Let the biases of queries and keys prefer tokens near the place and time that a head looks at."""
        head_dim = self.query.out_features // self.heads
        for layer in (self.query, self.key):
            bias = layer.bias.view(self.heads, 2, head_dim // 2)
            bias.zero_()
            for head in range(self.heads):
                strengths = _KINDS[head % len(_KINDS)]
                parts = zip(strengths, split_pairs(head_dim), strict=True)
                bias[head, 0] = torch.cat([torch.full((count,), strength) for strength, count in parts])

    @torch.no_grad()
    def start_copying(self, basis: Float[Tensor, "channel channel"]) -> None:
        """Let every head hand on what it reads, in a subspace of its own: rows of an orthonormal ``basis``."""
        self.value.weight.copy_(basis)
        self.output.weight.copy_(basis.T)

    @torch.no_grad()
    def start_matching(self, basis: Float[Tensor, "channel channel"]) -> None:
        """Let the heads of the target and of the camera prefer tokens that look like what the first head has read."""
        size = self.query.out_features // self.heads
        for head in range(self.heads):
            if TIME_OF_KIND[head % len(TIME_OF_KIND)]:
                rows = slice(head * size, (head + 1) * size)
                for layer in (self.query, self.key):
                    layer.weight[rows] = _LIKENESS * basis[:size]
                self.value.bias[rows] = (torch.arange(size) < size // 2).to(self.value.bias)  # turned: the offset
