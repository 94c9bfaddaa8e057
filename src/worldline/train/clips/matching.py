"""Correspondence loss on the reads of D4RT's decoder: a query should look where its surface is in the other frames.

To follow a point the decoder must find it again in the frame of t_tgt, and to place it in another camera, in that of
t_cam. A small network that is trained on answers alone does neither for a long time: points that stay where they are
explain most of the data (measured: after 700 steps uv was no better than the query's own place). Clips with exact truth
know the tokens that show the surface. The loss is minus the logarithm of the attention that they get, for the heads
that are meant to look there (:mod:`worldline.models.layers.reading`). Ours, not in the paper; for guided networks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldline.models.d4rt import D4rt, Memory, reference_grid
from worldline.models.layers.reading import TIME_OF_KIND, ReadingBlock
from worldline.models.queries import Queries
from worldline.train.clips.losses import Targets


class Matches(NamedTuple):
    """Where the surfaces of queries are seen in the frames of t_tgt and t_cam, and whether they are."""

    uv: Float[Tensor, "batch query 2"]
    seen: Bool[Tensor, "batch query"]
    uv_cam: Float[Tensor, "batch query 2"]
    seen_cam: Bool[Tensor, "batch query"]

    @classmethod
    def of(cls, targets: Targets) -> Matches:
        """The part of the targets that tells."""
        assert targets.uv_cam is not None and targets.seen_cam is not None
        return cls(targets.uv, targets.has_visible & targets.visible, targets.uv_cam, targets.seen_cam)


@contextmanager
def recorded_asks(network: D4rt) -> Iterator[list[list[Tensor]]]:
    """What the blocks after the first ask, ``[batch, head, query, head_dim]`` each, while the context lasts."""
    blocks = [block for block in list(network.decoder.blocks)[1:] if isinstance(block, ReadingBlock)]
    records: list[list[Tensor]] = [[] for _ in blocks]
    for block, record in zip(blocks, records, strict=True):
        block.record = record
    try:
        yield records
    finally:
        for block in blocks:
            block.record = None


def token_weights(
    uv: Float[Tensor, "batch query 2"], frame: Int[Tensor, "batch query"], grid: tuple[int, int], slice_frames: int
) -> tuple[Int[Tensor, "batch query 4"], Float[Tensor, "batch query 4"]]:
    """The four tokens around image coordinates, as numbers in the memory, and their bilinear weights."""
    rows, columns = grid
    x, y = uv[..., 0] * columns - 0.5, uv[..., 1] * rows - 0.5
    left, top = x.floor(), y.floor()
    numbers, weights = [], []
    for down in (0, 1):
        for right in (0, 1):
            row, column = (top + down).clamp(0, rows - 1), (left + right).clamp(0, columns - 1)
            numbers.append((frame // slice_frames * rows + row.long()) * columns + column.long())
            weights.append((1 - (y - top - down).abs()) * (1 - (x - left - right).abs()))
    return torch.stack(numbers, -1), torch.stack(weights, -1)


def matching_loss(
    network: D4rt,
    memory: Memory,
    records: list[list[Tensor]],
    queries: Queries,
    matches: Matches,
    summed: Callable[[Tensor], Tensor] = lambda counts: counts,
) -> Float[Tensor, ""]:
    """Mean over blocks and the heads of t_tgt and t_cam of -log of the attention at the true place.

    Args:
        records: of :func:`recorded_asks`, from one decoding of ``queries``.
        summed: adds counts of seen surfaces up over all devices.
    """
    wanted = {1: (matches.uv, matches.seen, queries.t_tgt), 2: (matches.uv_cam, matches.seen_cam, queries.t_cam)}
    grid, slice_frames = reference_grid(network.config), network.config.patch[0]
    terms = []
    for layer, record in zip(memory.layers[1:], records, strict=True):
        for head in range(network.config.decoder_heads):
            kind = TIME_OF_KIND[head % len(TIME_OF_KIND)]
            if kind:
                uv, known, frame = wanted[kind]
                numbers, weights = token_weights(uv, frame, grid, slice_frames)
                terms.append(_surprise(record[0][:, head], layer.keys[:, head], numbers, weights, known, summed))
    return torch.stack(terms).mean()


def _surprise(
    asked: Float[Tensor, "batch query head_dim"],
    keys: Float[Tensor, "batch token head_dim"],
    numbers: Int[Tensor, "batch query 4"],
    weights: Float[Tensor, "batch query 4"],
    known: Bool[Tensor, "batch query"],
    summed: Callable[[Tensor], Tensor],
) -> Float[Tensor, ""]:
    logits = torch.einsum("bqd,bkd->bqk", asked.float(), keys.float()) / math.sqrt(asked.shape[-1])
    found = logits.log_softmax(-1).gather(-1, numbers)
    lost = -(weights * found).sum(-1)
    return torch.where(known, lost, 0.0).sum() / summed(known.sum().float()).clamp_min(1)
