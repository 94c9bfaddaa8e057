"""The network of a stream recipe: its start, and the forward pass of one training step."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldline.models.driv3r import Driv3r
from worldline.models.layers.recall import KeyHead
from worldline.train.build import attend_to_similar, start_at_unit_depth, start_from
from worldline.train.streams.matching import ReadRecord, recorded_reads
from worldline.train.streams.recipe import StreamRecipe

NEW_PARTS = ("key_head.", "query_head.", "value_encoder.", "reader.")  # of the memory, absent in pairwise models
_LINEAR = 6.0  # beyond this GELU is the identity to 1e-8


class TrainedStream(nn.Module):
    """The network as one training step calls it: a single forward, so that DDP and FSDP can stand around it."""

    def __init__(self, network: Driv3r) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        images: Float[Tensor, "drive sensor step 3 height width"],
        neighbors: Tensor | None,
        relative: Tensor | None,
        keep: float,
        record: bool,
    ) -> tuple[tuple[Tensor, Tensor, Tensor, Tensor], list[Tensor], list[Tensor]]:
        """Points ``[drive, sensor, step - 1, height, width, 3]`` and confidence of both heads, see ``Sequence4D``; with
        ``record`` also the queries and keys of :class:`~worldline.train.streams.matching.ReadRecord`."""
        with recorded_reads(self.network.reader) if record else nullcontext(ReadRecord()) as reads:
            maps = self.network.forward_rig(images, neighbors, relative, keep)
        found = maps.reference.points, maps.reference.confidence, maps.target.points, maps.target.confidence
        return found, reads.queries, reads.keys


def build_stream_model(recipe: StreamRecipe) -> Driv3r:
    """The network of a recipe with its starting weights: those of ``recipe.init``, else random from the seed."""
    torch.manual_seed(recipe.seed)
    model = Driv3r(recipe.network_config())
    start_at_unit_depth(model)
    attend_to_similar(model)
    if recipe.init is not None:
        start_from(model, recipe.init, NEW_PARTS)
    if recipe.init is None or not _has_memory(recipe.init):
        recall_what_looks_alike(model)
    return model


@torch.no_grad()
def recall_what_looks_alike(model: Driv3r) -> None:
    """Let a new memory start as one of appearance.

    Keys and queries begin as the encoder's tokens, so that a query finds tokens that look like its own, and the
    decoders, which may be trained already, get tokens in nearly the direction that they are used to. Pointmaps are
    embedded with the weights of the image embedding (Spann3R, released code).
    """
    for head in (model.key_head, model.query_head):
        _copy_the_encoder(head, model.config.encoder_dim)
    embed = model.value_encoder.patch_embed
    embed.load_state_dict(model.encoder.patch_embed.state_dict())


def _copy_the_encoder(head: KeyHead, dim: int) -> None:
    """Lift the encoder's channels to where GELU is linear, and take them down again; the other units wait at 0."""
    first, last = head[0], head[2]
    assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
    first.weight[:dim], first.bias[:dim] = 0.0, _LINEAR
    first.weight[:dim, :dim].fill_diagonal_(1.0)
    last.weight.zero_()
    last.weight.fill_diagonal_(1.0)
    last.bias.fill_(-_LINEAR)


def _has_memory(source: str) -> bool:
    from worldline.weights.fetch import resolve
    from worldline.weights.folder import read_info

    return read_info(resolve(source)).family == "driv3r"
