"""What a training loop does not know: which network learns from which data, and how it is scored.

The loop (:mod:`worldline.train.loop`) is the same for all; a :class:`Task` is the rest. There is one for networks that
see some views of a still scene (here), one for streams (:mod:`worldline.train.streams.task`), and one for queries about
videos (:mod:`worldline.train.clips.task`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldline.train.recipes import Stage, TrainRecipe

if TYPE_CHECKING:
    from worldline.train.feed import Request
    from worldline.train.sources import Source


_NOVEL_SCENES = 4  # of the validation scenes in which a photo is held out


class Figures(NamedTuple):
    """Numbers of one batch. Those of all devices add up to those of the whole batch."""

    loss: Float[Tensor, ""]  # with gradient
    logged: dict[str, Float[Tensor, ""]]  # further ones, for the log

    def detached(self) -> Float[Tensor, "figure"]:
        """All of them, the loss first, without gradient."""
        return torch.stack([value.detach().float() for value in (self.loss, *self.logged.values())])


class AnyBatch(Protocol):
    """What one training step sees, on its device."""

    @property
    def images(self) -> Tensor:
        """``[sample, …, 3, height, width]``"""


@runtime_checkable
class AnyDraft(Protocol):
    """A batch before any pixel is computed: small enough to be moved, developed on the device that trains."""

    def to(self, device: torch.device | str) -> Self:
        """The same draft on another device."""

    def pinned(self) -> Self:
        """The same draft in page-locked memory."""

    def develop(self) -> AnyBatch:
        """Everything that a step needs."""


class Example(NamedTuple):
    """A forward pass of a stage at its largest shape, for a run on paper."""

    samples: int  # per batch
    images: tuple[int, ...]
    forward: Callable[[nn.Module, Tensor], Tensor]  # network, images -> points


class Task(Protocol):
    """Everything of a run that depends on the kind of network."""

    @property
    def logged(self) -> tuple[str, ...]:
        """Names of the figures of a step, beside the loss."""

    def empty(self, recipe: Any) -> nn.Module:
        """The network of a recipe, without a start; build it where torch's default device says."""

    def build(self, recipe: Any) -> nn.Module:
        """The network of a recipe with its starting weights."""

    def module(self, network: nn.Module) -> nn.Module:
        """The network as one training step calls it: a single forward, so that DDP and FSDP can stand around it."""

    def leaves_out(self, recipe: Any) -> bool:
        """Whether some steps give some parameters no gradient."""

    def source(self, recipe: Any) -> Source[Any]:
        """Where training and validation data come from."""

    def draft(self, recipe: Any, request: Request, source: Source[Any], rng: np.random.Generator) -> AnyDraft:
        """One batch of a device."""

    def figures(
        self,
        module: nn.Module,
        network: nn.Module,
        batch: Any,
        stage: Any,
        recipe: Any,
        summed: Callable[[Tensor], Tensor],
        devices: int,
        share: float,
        step: int,
    ) -> Figures:
        """Loss and what is logged beside it.

        Args:
            module: calls ``network``, perhaps distributed.
            summed: adds counts up over all devices.
            share: of the run that is done.
            step: number of the step.
        """

    def score(self, recipe: Any, network: nn.Module, data: list[Any]) -> dict[str, float]:
        """Errors on the validation data."""

    def flops(self, recipe: Any, request: Request) -> int:
        """Operations (2 per multiply-add) of forward and backward for one sample."""

    def example(self, recipe: Any, stage: Any) -> Example:
        """The largest batch of a stage."""

    def producer(self, recipe: Any) -> list[str]:
        """Options of ``python -m worldline.train.data`` that render what the recipe learns from."""

    def card(self, recipe: Any) -> dict[str, Any]:
        """What the card of the exported weights says about the kind of training."""


def task_of(recipe: TrainRecipe) -> Task:
    """The task of a recipe."""
    if recipe.kind == "stream":
        from worldline.train.streams.task import StreamTask

        return StreamTask()
    if recipe.kind == "clip":
        from worldline.train.clips.task import ClipTask

        return ClipTask()
    return ViewTask()


class ViewTask:
    """MV-DUSt3R(+): some views of a still scene, in one pass."""

    logged = ("error", "confidence", "hits", "seams", "rgb")

    def empty(self, recipe: TrainRecipe) -> nn.Module:
        """See :class:`Task`."""
        from worldline.models.mvdust3r import MVDust3r

        return MVDust3r(recipe.network_config())

    def build(self, recipe: TrainRecipe) -> nn.Module:
        """See :class:`Task`."""
        from worldline.train.build import build_model

        return build_model(recipe)

    def module(self, network: nn.Module) -> nn.Module:
        """See :class:`Task`."""
        from worldline.train.build import TrainedNetwork

        return TrainedNetwork(network)  # type: ignore[arg-type]

    def leaves_out(self, recipe: TrainRecipe) -> bool:
        """Steps of one path leave the fusion blocks out, those that render nothing the Gaussian heads."""
        config = recipe.network_config()
        plain = config.fused_references and any(stage.references == 1 for stage in recipe.stages)
        return plain or (config.gaussians and not all(stage.rendering_weight for stage in recipe.stages))

    def source(self, recipe: TrainRecipe) -> Source[Any]:
        """See :class:`Task`."""
        from worldline.train.sources import open_source

        return open_source(recipe)

    def draft(self, recipe: TrainRecipe, request: Request, source: Source[Any], rng: np.random.Generator) -> AnyDraft:
        """See :class:`Task`."""
        from worldline.train.batches import draw_batch

        scenes = source.draw(rng, request.scenes, request.size)
        stage = request.stage
        render_only = stage.render_views if stage.rendering_weight else None
        return draw_batch(
            scenes, rng, request.views, request.size, stage.least_overlap,
            render_only=render_only, appearance=recipe.appearance,
        )  # fmt: skip

    def figures(
        self,
        module: nn.Module,
        network: nn.Module,
        batch: Any,
        stage: Stage,
        recipe: TrainRecipe,
        summed: Callable[[Tensor], Tensor],
        devices: int,
        share: float,
        step: int,
    ) -> Figures:
        """See :class:`Task`."""
        from worldline.train.objective import objective

        return objective(module, network, batch, stage, recipe, summed, devices, step)  # type: ignore[arg-type]

    def score(self, recipe: TrainRecipe, network: nn.Module, data: list[Any]) -> dict[str, float]:
        """See :class:`Task`; of a recipe that renders also the PSNR of a held-out photo in a few of the scenes."""
        from worldline.eval.suites import score_network

        scores = score_network(network, data, cameras=recipe.validation_cameras)
        with_cameras = "registered" in scores  # they were asked for, and pycolmap is there
        if with_cameras and any(stage.rendering_weight for stage in recipe.stages):
            from worldline.eval.novel.scenes import hold_out
            from worldline.eval.novel.suite import novel_psnr

            found = [hold_out(scene, f"validation {number}") for number, scene in enumerate(data[:_NOVEL_SCENES])]
            if scenes := [scene for scene in found if scene is not None]:
                scores["novel_psnr"] = novel_psnr(network, scenes)["psnr"]
        return scores

    def flops(self, recipe: TrainRecipe, request: Request) -> int:
        """See :class:`Task`."""
        from worldline.train.flops import step_flops

        return step_flops(recipe.network_config(), request.views, request.size, request.stage.references)

    def example(self, recipe: TrainRecipe, stage: Stage) -> Example:
        """See :class:`Task`."""
        from worldline.train.build import forward_paths

        views, size = stage.views[1], max(stage.sizes)
        samples, paths = max(1, stage.views_per_step // views), min(stage.references, views)
        return Example(
            samples, (samples, views, 3, size, size),
            lambda network, images: forward_paths(network, images, paths).points,  # type: ignore[arg-type]
        )  # fmt: skip

    def producer(self, recipe: TrainRecipe) -> list[str]:
        """See :class:`Task`."""
        return ["--views", str(recipe.scene_views)]

    def card(self, recipe: TrainRecipe) -> dict[str, Any]:
        """See :class:`Task`."""
        fewest, most = (pick(count for stage in recipe.stages for count in stage.views) for pick in (min, max))
        return {
            "citation": "Tang et al., MV-DUSt3R+: Single-Stage Scene Reconstruction from Sparse Views In 2 Seconds, "
            "arXiv 2412.06974 (the architecture)",
            "views_per_sample": f"{fewest} to {most}",
        }
