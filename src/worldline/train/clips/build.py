"""The network of a clip recipe: its start, and the forward pass of one training step."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldline.errors import InputError
from worldline.models.d4rt import Answers, D4rt
from worldline.models.mvdust3r import MVDust3r
from worldline.models.queries import Queries
from worldline.train.clips.dense import DenseTargets, dense_loss
from worldline.train.clips.matching import Matches, matching_loss, recorded_asks
from worldline.train.clips.recipe import ClipRecipe
from worldline.weights.fetch import resolve
from worldline.weights.storage import load_model


class TrainedClips(nn.Module):
    """The network as one training step calls it: a single forward, so that DDP and FSDP can stand around it."""

    def __init__(self, network: D4rt) -> None:
        super().__init__()
        self.network = network

    def forward(
        self,
        images: Float[Tensor, "clip frame 3 height width"],
        aspect_ratio: Float[Tensor, "clip"],
        queries: Queries,
        matches: Matches | None = None,
        dense: DenseTargets | None = None,
        summed: Callable[[Tensor], Tensor] = lambda counts: counts,
    ) -> tuple[tuple[Tensor, ...], Tensor | None, Tensor | None]:
        """The fields of :class:`~worldline.models.d4rt.Answers` in order; with ``matches`` also the loss of
        :mod:`worldline.train.clips.matching`, with ``dense`` that of :mod:`worldline.train.clips.dense`. (Tuples,
        because Lightning takes no frozen dataclasses.)"""
        memory = self.network.encode(images, aspect_ratio)
        matching = dense_lost = None
        with recorded_asks(self.network) as records:
            answers = self.network.decode(memory, queries, checked=True)
        if matches is not None:
            matching = matching_loss(self.network, memory, records, queries, matches, summed)
        if dense is not None and self.network.dense is not None:
            frames, rows, columns = self.network.config.patch
            slices = math.ceil(images.shape[1] / frames)
            tokens = memory.tokens[:, : slices * (images.shape[-2] // rows) * (images.shape[-1] // columns)]
            dense_lost = dense_loss(self.network.dense(tokens), dense, self.network.config, summed)
        return _fields(answers), matching, dense_lost


def _fields(answers: Answers) -> tuple[Tensor, ...]:
    return tuple(getattr(answers, name) for name in Answers.__annotations__)


def build_clip_model(recipe: ClipRecipe) -> D4rt:
    """The network of a recipe with its starting weights: those of ``recipe.init``, else random from the seed.

    A D4RT gives everything. A model of photos gives its encoder, which looks at the frames of a clip one by one until
    the global layers have learned something (the paper starts from VideoMAE instead, table 11).

    Raises:
        InputError: sizes differ, or the start is neither.
        WeightsError: it cannot be found or read.
    """
    torch.manual_seed(recipe.seed)
    model = D4rt(recipe.network_config())
    if recipe.init is None:
        return model
    donor, _ = load_model(resolve(recipe.init))
    try:
        if isinstance(donor, D4rt):
            model.load_state_dict(donor.state_dict())
        elif isinstance(donor, MVDust3r):
            model.start_from_photo_encoder(donor.encoder.state_dict())
        else:
            raise InputError(f"{recipe.init} is neither a D4RT nor a multi-view model.", "Start from one of these.")
    except (RuntimeError, KeyError) as error:
        raise InputError(
            f"{recipe.init} does not fit the network of this recipe ({str(error).splitlines()[0]}).",
            "Start from a model whose encoder has the same sizes; see --dry-run for what the recipe starts from.",
        ) from error
    return model
