"""From a batch of sequences to the loss of one backward pass."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from worldline.train.stream_losses import alpha_at, stream_loss
from worldline.train.streams.matching import reading_loss
from worldline.train.streams.recipe import StreamRecipe, StreamStage
from worldline.train.streams.sequences import StreamBatch
from worldline.train.tasks import Figures
from worldline.types import Pointmaps


def stream_figures(
    module: nn.Module,
    batch: StreamBatch,
    stage: StreamStage,
    recipe: StreamRecipe,
    summed: Callable[[Tensor], Tensor],
    devices: int,
    share: float,
) -> Figures:
    """The published loss, where every camera's sequence is a sample with a scale of its own, plus the weighted loss of
    :mod:`worldline.train.streams.matching` where the batch has correspondences.

    Logged are ``error``, the mean distance of points after both sides are divided by their mean distance to the first
    camera, the mean ``confidence``, the mean ``scale`` (predicted by true mean distance), and ``hits``, the share of
    the supervised queries whose strongest attention is at a true correspondence.

    Args:
        module: calls the network (see :class:`~worldline.train.streams.build.TrainedStream`), perhaps distributed.
        summed: adds counts up over all devices.
        share: of the run that is done, for the price of a low confidence.
    """
    matched = batch.matches is not None and stage.matching_weight > 0
    predicted, queries, keys = module(batch.images, batch.neighbors, batch.relative, batch.keep, matched)
    points, confidence, ahead, ahead_confidence = (part.float().flatten(0, 1) for part in predicted)
    loss = stream_loss(
        Pointmaps(points, confidence),
        Pointmaps(ahead, ahead_confidence),
        batch.points.flatten(0, 1),
        batch.valid.flatten(0, 1),
        focus=batch.dynamic.flatten(0, 1) if batch.focused else None,
        alpha=alpha_at(share, 1.0, recipe.confidence_alpha, recipe.final_confidence_alpha),
        summed=summed if devices > 1 else None,
    )
    scale = (loss.factor / loss.true_factor).mean()
    total, hits = loss.total, scale.new_zeros(())
    if batch.matches is not None and matched:
        reading, hits = reading_loss(queries, keys, batch.matches, batch.neighbors, summed)
        total = total + stage.matching_weight * reading
    means = {"confidence": confidence.detach().mean() / devices, "scale": scale / devices}
    return Figures(total, {"error": loss.error, **means, "hits": hits})
