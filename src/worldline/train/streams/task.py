"""The task of stream models for the training loop, see :class:`worldline.train.tasks.Task`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from worldline.models.config import Driv3rConfig
from worldline.models.driv3r import Driv3r
from worldline.train.feed import Request
from worldline.train.sources import Source
from worldline.train.streams.build import TrainedStream, build_stream_model
from worldline.train.streams.drives import Drive
from worldline.train.streams.objective import stream_figures
from worldline.train.streams.recipe import StreamRecipe, StreamStage
from worldline.train.streams.sequences import SequenceOptions, StreamBatch, StreamDraft, draw_sequences, ring_neighbors
from worldline.train.streams.sources import open_drives
from worldline.train.streams.validation import score_streams
from worldline.train.supervision import Corruption
from worldline.train.tasks import Example, Figures

_BACKWARD = 3  # forward and backward cost three times the forward pass


class StreamTask:
    """Driv3R: cameras of a rig over time, with a memory."""

    logged = ("error", "confidence", "scale", "hits")

    def empty(self, recipe: StreamRecipe) -> nn.Module:
        """See :class:`~worldline.train.tasks.Task`."""
        return Driv3r(recipe.network_config())

    def build(self, recipe: StreamRecipe) -> nn.Module:
        """See :class:`~worldline.train.tasks.Task`."""
        return build_stream_model(recipe)

    def module(self, network: nn.Module) -> nn.Module:
        """See :class:`~worldline.train.tasks.Task`."""
        assert isinstance(network, Driv3r)
        return TrainedStream(network)

    def leaves_out(self, recipe: StreamRecipe) -> bool:
        """Sequences of two images never read, and lone cameras need no code of relative poses."""
        return True

    def source(self, recipe: StreamRecipe) -> Source[Drive]:
        """See :class:`~worldline.train.tasks.Task`."""
        return open_drives(recipe)

    def draft(
        self, recipe: StreamRecipe, request: Request, source: Source[Drive], rng: np.random.Generator
    ) -> StreamDraft:
        """See :class:`~worldline.train.tasks.Task`."""
        stage = request.stage
        assert isinstance(stage, StreamStage)
        options = SequenceOptions(
            request.views, request.sensors, recipe.shape(request.size), stage.alone, stage.keep, stage.focus,
            recipe.skip_steps, recipe.reverse, recipe.farthest, Corruption.parse(recipe.corrupt),
            matched=stage.matched if stage.matching_weight else 0.0, appearance=recipe.appearance,
        )  # fmt: skip
        return draw_sequences(source.draw(rng, request.scenes, request.size), options, rng)

    def figures(
        self,
        module: nn.Module,
        network: nn.Module,
        batch: StreamBatch,
        stage: StreamStage,
        recipe: StreamRecipe,
        summed: Callable[[Tensor], Tensor],
        devices: int,
        share: float,
        step: int,
    ) -> Figures:
        """See :class:`~worldline.train.tasks.Task`."""
        return stream_figures(module, batch, stage, recipe, summed, devices, share)

    def score(self, recipe: StreamRecipe, network: nn.Module, data: list[Drive]) -> dict[str, float]:
        """See :class:`~worldline.train.tasks.Task`."""
        return score_streams(network, data, recipe.shape(recipe.stages[-1].sizes[-1]), recipe.farthest)

    def flops(self, recipe: StreamRecipe, request: Request) -> int:
        """See :class:`~worldline.train.tasks.Task`."""
        height, width = recipe.shape(request.size)
        return stream_flops(recipe.network_config(), request.sensors, request.views, height, width)

    def example(self, recipe: StreamRecipe, stage: StreamStage) -> Example:
        """See :class:`~worldline.train.tasks.Task`."""
        steps, sensors, (height, width) = stage.views[1], stage.sensors[1], recipe.shape(max(stage.sizes))
        drives = max(1, stage.views_per_step // (steps * sensors))
        return Example(drives, (drives, sensors, steps, 3, height, width), _forward)

    def producer(self, recipe: StreamRecipe) -> list[str]:
        """See :class:`~worldline.train.tasks.Task`."""
        return ["--rig", "--size", str(max(size for stage in recipe.stages for size in stage.sizes))]

    def card(self, recipe: StreamRecipe) -> dict[str, Any]:
        """See :class:`~worldline.train.tasks.Task`."""
        stages = recipe.stages
        steps = [count for stage in stages for count in stage.views]
        cameras = [count for stage in stages for count in stage.sensors]
        height, width = recipe.shape(stages[-1].sizes[-1])
        return {
            "citation": "Fei et al., Driv3R: Learning Dense 4D Reconstruction for Autonomous Driving, arXiv 2412.06777 "
            "(the architecture)",
            "views_per_sample": f"{min(steps)} to {max(steps)} steps of {min(cameras)} to {max(cameras)} cameras",
            "image_shape": [height, width],
            "supervision": "exact" if recipe.corrupt == "none" else recipe.corrupt,
        }


def _forward(network: nn.Module, images: Tensor) -> Tensor:
    """Points of both heads, with all neighbours and the whole memory."""
    assert isinstance(network, Driv3r)
    sensors = images.shape[1]
    rows = ring_neighbors(sensors, around=sensors == 6)
    neighbors = None if rows is None else torch.from_numpy(rows).to(images.device)
    relative = None if neighbors is None else images.new_zeros(len(images), *neighbors.shape, 3, 4)
    maps = network.forward_rig(images, neighbors, relative)
    return torch.stack((maps.reference.points, maps.target.points), 1)


def stream_flops(config: Driv3rConfig, sensors: int, steps: int, height: int, width: int) -> int:
    """Operations (2 per multiply-add) of forward and backward for one drive; reads of neighbours are not counted.

    Every further step reads one more image, so they are a polynomial of degree 2 in the steps: tracing three short
    sequences tells all others, and a training does not stop for long ones.
    """
    two, three, four = (_sensor_flops(config, count, height, width) for count in (2, 3, 4))
    further = steps - 2
    return sensors * (two + further * (three - two) + further * (further - 1) // 2 * (four - 2 * three + two))


@lru_cache(maxsize=256)
def _sensor_flops(config: Driv3rConfig, steps: int, height: int, width: int) -> int:
    """The same for one camera, traced without memory."""
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        network, images = Driv3r(config), torch.empty(1, 1, steps, 3, height, width)
        counter = FlopCounterMode(display=False)
        with torch.no_grad(), counter:
            network.forward_rig(images)
    return counter.get_total_flops() * _BACKWARD
