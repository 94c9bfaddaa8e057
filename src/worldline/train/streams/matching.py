"""Correspondence loss on the reads of a memory: a query should attend to the tokens that show what it shows.

What a memory is read for, the network must find out: the query itself carries enough of the past to place the next
image, so a small network that is trained on points alone reads everything alike and learns nothing from it (measured:
the read could be left out without loss). Procedural worlds know which token of which stored image shows the surface in
the middle of a token, in the reader's own past and in that of its neighbours. Ours, not in the papers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from worldline.models.layers.recall import MemoryReader
from worldline.train.correspondence import NO_MATCH


@dataclass
class ReadRecord:
    """Normalised queries ``[drive·sensor, patch, channel]`` and keys ``[drive·sensor, token, channel]`` of reads."""

    queries: list[Tensor] = field(default_factory=list)
    keys: list[Tensor] = field(default_factory=list)


@contextmanager
def recorded_reads(reader: MemoryReader) -> Iterator[ReadRecord]:
    """Record all reads while the block runs."""
    record = ReadRecord()

    def note(_: nn.Module, given: tuple[Tensor, ...], __: dict[str, Any], ___: Any) -> None:
        query, keys = given[:2]
        record.queries.append(reader.query_norm(query))
        record.keys.append(reader.key_norm(keys))

    handle = reader.register_forward_hook(note, with_kwargs=True)
    try:
        yield record
    finally:
        handle.remove()


def reading_loss(
    queries: list[Float[Tensor, "read patch channel"]],
    keys: list[Float[Tensor, "read token channel"]],
    matches: Int[Tensor, "drive view view patch"],
    neighbors: Int[Tensor, "sensor neighbor"] | None,
    summed: Callable[[Tensor], Tensor],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Minus the logarithm of the attention that true correspondences receive together, and the share of hits.

    Args:
        queries, keys: of the reads at steps 1, 2, …, of all drives and sensors; every read saw all that was stored.
        matches: of all images, sensor-major, see :func:`~worldline.train.correspondence.token_matches`.
        neighbors: rows of the sensors that a sensor reads after its own.
        summed: adds counts up over all devices.

    Returns:
        the mean over all queries whose surface was seen before, and the share of them whose strongest attention is at
        a true correspondence.
    """
    steps, drives = len(queries) + 2, len(matches)
    sensors = matches.shape[1] // steps
    own = torch.arange(sensors, device=matches.device)[:, None]
    sources = own if neighbors is None else torch.cat([own, neighbors.to(own)], 1)
    costs, hits, seen = [], [], []
    for step, (query, key) in enumerate(zip(queries, keys, strict=True), start=1):
        stored = (sources[:, :, None] * steps + torch.arange(step, device=own.device)).flatten(1)  # sensor image
        found = matches[:, own * steps + step, stored].flatten(0, 1)  # read image patch
        logits = query @ key.transpose(1, 2) * query.shape[-1] ** -0.5
        index, known = _token_index(found, query.shape[1])
        right = logits.gather(2, index).masked_fill(~known, -torch.inf)
        any_known = known.any(2)
        cost = logits.logsumexp(2) - right.masked_fill(~any_known[..., None], 0.0).logsumexp(2)
        costs.append((cost * any_known).sum())
        hits.append(((right.amax(2) >= logits.amax(2)) & any_known).sum())
        seen.append(any_known.sum())
    if not costs:
        nothing = matches.new_zeros((), dtype=torch.float32)
        return nothing, nothing
    count = summed(torch.stack(seen).sum().float()).clamp(min=1)
    assert stored.shape[0] * drives == len(queries[0])
    return torch.stack(costs).sum() / count, torch.stack(hits).sum() / count


def _token_index(
    found: Int[Tensor, "read image patch"], patches: int
) -> tuple[Int[Tensor, "read patch image"], Tensor]:
    """Rows of the memory at which every query's surface is seen, one per stored image, and whether it is."""
    start = patches * torch.arange(found.shape[1], device=found.device)
    known = found != NO_MATCH
    return torch.where(known, found + start[:, None], 0).transpose(1, 2), known.transpose(1, 2)
