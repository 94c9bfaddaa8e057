"""Teach cross-attention to find the same surface in the other views.

A pointmap loss alone says *that* a source view is in the wrong place, not *where to look*; in a short training from
nothing the network then settles for one plausible depth map per view. Procedural scenes know every correspondence, so
some heads of every decoder layer are asked to attend, within each other view, to the token that shows the same surface:
a cross-entropy on attention that already exists. Nothing is added to the network. (The idea of a matching loss beside
the pointmap loss is MASt3R's, arXiv 2406.09756; here it acts on the attention itself.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from worldline.models.layers.attention import CrossAttention
from worldline.models.layers.blocks import DecoderBlock
from worldline.models.layers.rope import apply_rope, grid_rope
from worldline.models.mvdust3r import MVDust3r
from worldline.train.correspondence import NO_MATCH
from worldline.train.losses import exchanged

HEADS = 2  # supervised heads per layer; the others stay free


@dataclass
class AttentionRecord:
    """Projected queries and keys of every decoder cross-attention of one forward pass, before rotation.

    ``roles`` has two entries per layer: reference block (queries: slot 0, keys: all others) and source block (queries:
    all but slot 0, keys: all).
    """

    queries: dict[int, Float[Tensor, "row slot token channel"]] = field(default_factory=dict)
    keys: dict[int, Float[Tensor, "row set token channel"]] = field(default_factory=dict)


@contextmanager
def recorded_attention(model: MVDust3r) -> Iterator[AttentionRecord]:
    """Record while the model runs with gradients (without them it works in pieces)."""
    record, handles = AttentionRecord(), []
    for index, attention in enumerate(_attentions(model)):
        handles.append(attention.query.register_forward_hook(_keep(record.queries, index)))
        handles.append(attention.key.register_forward_hook(_keep(record.keys, index)))
    try:
        yield record
    finally:
        for handle in handles:
            handle.remove()


def matching_loss(
    model: MVDust3r,
    record: AttentionRecord,
    matches: Int[Tensor, "scene view view token"],
    paths: int,
    grid: tuple[int, int],
    summed: Callable[[Tensor], Tensor] = lambda counts: counts,
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Cross-entropy of the supervised heads, mean over layers and roles; and the share of attentions that hit.

    Args:
        matches: entry (s, i, j, t): the token of view j that shows what token t of view i shows, -1 where none does.
        paths: reference paths of the forward pass; slots 0 and r of path r are exchanged.
        summed: adds numbers of correspondences over all devices. The loss is divided by their total, so the *sum* of
            the losses of all devices is the loss of the whole batch; likewise the share of hits.
    """
    targets = _in_slots(matches, paths)
    roles = targets[:, :1, 1:], targets[:, 1:]
    counts = summed(torch.stack([(wanted != NO_MATCH).sum() for wanted in roles]).float() * HEADS)
    attentions = _attentions(model)
    terms = (counts > 0).sum().clamp(min=1) * (len(attentions) // 2)
    loss, hits = torch.zeros((), device=matches.device), torch.zeros((), device=matches.device)
    for index, attention in enumerate(attentions):
        rope = grid_rope(*grid, attention.query.out_features // attention.heads, model.config.rope_base, matches.device)
        query, key = (
            apply_rope(part.float().unflatten(-1, (attention.heads, -1)), rope)[..., :HEADS, :]
            for part in (record.queries[index], record.keys[index])
        )
        scores = torch.einsum("rqthc,rkuhc->rqkthu", query, key) / query.shape[-1] ** 0.5
        wanted = roles[index % 2][..., None].expand(*scores.shape[:-1])
        weight = 1 / counts[index % 2].clamp(min=1) / terms
        loss = loss + weight * cross_entropy(
            scores.flatten(0, -2), wanted.flatten(), ignore_index=NO_MATCH, reduction="sum"
        )
        hits = hits + weight * ((scores.detach().argmax(-1) == wanted) & (wanted != NO_MATCH)).sum()
    return loss, hits


def _attentions(model: MVDust3r) -> list[CrossAttention]:
    pairs = zip(model.decoder.reference_blocks, model.decoder.source_blocks, strict=True)
    return [cast(DecoderBlock, block).cross_attention for pair in pairs for block in pair]


def _keep(store: dict[int, Tensor], index: int) -> Callable[..., None]:
    def hook(_module: object, _inputs: object, output: Tensor) -> None:
        store[index] = output

    return hook


def _in_slots(matches: Int[Tensor, "scene view view token"], paths: int) -> Int[Tensor, "row slot slot token"]:
    """Matches as the decoder sees the views: in path r, views 0 and r exchanged. A view does not match itself."""
    views = matches.shape[1]
    itself = torch.eye(views, dtype=torch.bool, device=matches.device)[None, :, :, None]
    matches = matches.masked_fill(itself, NO_MATCH)
    rows = [exchanged(exchanged(matches, path, 1), path, 2) for path in range(paths)]
    return torch.stack(rows, 1).flatten(0, 1)
