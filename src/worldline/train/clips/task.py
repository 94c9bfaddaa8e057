"""The task of D4RT for the training loop, see :class:`worldline.train.tasks.Task`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from worldline.models.config import D4rtConfig
from worldline.models.d4rt import D4rt
from worldline.models.queries import Queries
from worldline.train.clips.batches import ClipBatch, ClipDraft, draw_clips
from worldline.train.clips.build import TrainedClips, build_clip_model
from worldline.train.clips.clips import Clip
from worldline.train.clips.objective import LOGGED, clip_figures
from worldline.train.clips.recipe import ClipRecipe, ClipStage
from worldline.train.clips.sources import open_clips
from worldline.train.clips.validation import score_clips
from worldline.train.feed import Request
from worldline.train.sources import Source
from worldline.train.tasks import Example, Figures

_BACKWARD = 3  # forward and backward cost three times the forward pass


class ClipTask:
    """D4RT: queries about a video."""

    logged = LOGGED

    def empty(self, recipe: ClipRecipe) -> nn.Module:
        """See :class:`~worldline.train.tasks.Task`."""
        return D4rt(recipe.network_config())

    def build(self, recipe: ClipRecipe) -> nn.Module:
        """See :class:`~worldline.train.tasks.Task`."""
        return build_clip_model(recipe)

    def module(self, network: nn.Module) -> nn.Module:
        """See :class:`~worldline.train.tasks.Task`."""
        assert isinstance(network, D4rt)
        return TrainedClips(network)

    def leaves_out(self, recipe: ClipRecipe) -> bool:
        """Every output is in the loss of every step, but a dense layer only where the recipe has a weight for it."""
        return recipe.network_config().dense and not recipe.dense_weight

    def source(self, recipe: ClipRecipe) -> Source[Clip]:
        """See :class:`~worldline.train.tasks.Task`."""
        return open_clips(recipe)

    def draft(self, recipe: ClipRecipe, request: Request, source: Source[Clip], rng: np.random.Generator) -> ClipDraft:
        """See :class:`~worldline.train.tasks.Task`."""
        stage = request.stage
        assert isinstance(stage, ClipStage)
        patch = recipe.network_config().patch[0]
        frames = max(patch, request.views // patch * patch)  # the last frame of an odd number would be seen twice
        options = recipe.clip_options(stage, frames, request.size)
        return draw_clips(source.draw(rng, request.scenes, request.size), options, rng)

    def figures(
        self,
        module: nn.Module,
        network: nn.Module,
        batch: ClipBatch,
        stage: ClipStage,
        recipe: ClipRecipe,
        summed: Callable[[Tensor], Tensor],
        devices: int,
        share: float,
        step: int,
    ) -> Figures:
        """See :class:`~worldline.train.tasks.Task`."""
        return clip_figures(module, batch, stage, recipe, summed, share)

    def score(self, recipe: ClipRecipe, network: nn.Module, data: list[Clip]) -> dict[str, float]:
        """See :class:`~worldline.train.tasks.Task`."""
        return score_clips(network, data, recipe.stages[-1].sizes[-1])

    def flops(self, recipe: ClipRecipe, request: Request) -> int:
        """See :class:`~worldline.train.tasks.Task`."""
        stage = request.stage
        assert isinstance(stage, ClipStage)
        return clip_flops(recipe.network_config(), request.views, request.size, stage.queries)

    def example(self, recipe: ClipRecipe, stage: ClipStage) -> Example:
        """See :class:`~worldline.train.tasks.Task`."""
        frames, size = stage.views[1], max(stage.sizes)
        clips = max(1, stage.views_per_step // frames)

        def forward(network: nn.Module, images: Tensor) -> Tensor:
            return _answered(network, images, stage.queries)

        return Example(clips, (clips, frames, 3, size, size), forward)

    def producer(self, recipe: ClipRecipe) -> list[str]:
        """See :class:`~worldline.train.tasks.Task`."""
        size = max(size for stage in recipe.stages for size in stage.sizes)
        return ["--clips", "--size", str(size), "--views", str(recipe.scene_views)]

    def card(self, recipe: ClipRecipe) -> dict[str, Any]:
        """See :class:`~worldline.train.tasks.Task`."""
        frames = [count for stage in recipe.stages for count in stage.views]
        return {
            "citation": "Efficiently Reconstructing Dynamic Scenes One D4RT at a Time, arXiv 2512.08924 "
            "(the architecture)",
            "views_per_sample": f"{min(frames)} to {max(frames)} frames",
        }


def _answered(network: nn.Module, images: Tensor, count: int) -> Tensor:
    """Points of queries at the image centre, at time 0."""
    clips = len(images)
    places, times = images.new_full((clips, count), 0.5), images.new_zeros(clips, count, dtype=torch.long)
    return network(images, images.new_ones(clips), Queries(places, places, times, times, times)).points  # type: ignore[no-any-return]


def clip_flops(config: D4rtConfig, frames: int, size: int, queries: int) -> int:
    """Operations (2 per multiply-add) of the matrix products of forward and backward for one clip."""
    slices, places = -(-frames // config.patch[0]), (size // config.patch[1]) * (size // config.patch[2])
    tokens, extra = slices * places, int(config.aspect_token)
    dim, own = config.encoder_dim, config.decoder_dim
    locals_ = -(-config.encoder_depth // 2) if config.local_layers else 0

    def block(count: int) -> int:
        return 2 * count * (4 * dim**2 + 2 * dim * config.encoder_mlp_dim) + 4 * count**2 * dim

    encoder = locals_ * slices * block(places) + (config.encoder_depth - locals_) * block(tokens + extra)
    encoder += 2 * tokens * 3 * math.prod(config.patch) * dim
    read = tokens + (extra if config.aspect_in_memory else 0)
    encoder += config.decoder_depth * 2 * read * 2 * own**2 + (2 * read * dim * own if dim != own else 0)
    layer = 2 * (2 * own**2 + 2 * own * config.decoder_mlp_dim) + 4 * read * own
    patch = 3 * config.color_patch**2 * own + own**2 if config.color_patch else 0
    mlp = 2 * own**2 if config.query_mlp else 0
    query = config.decoder_depth * layer + 2 * ((2 + 4 * config.fourier_bands) * own + patch + mlp + 13 * own)
    return _BACKWARD * (encoder + queries * query)
