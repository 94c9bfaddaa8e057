"""From a batch to the loss of one backward pass, the same number whether one device holds the batch or many."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from worldline.models.mvdust3r import MVDust3r
from worldline.train import losses
from worldline.train.batches import Batch
from worldline.train.matching import AttentionRecord, matching_loss
from worldline.train.recipes import Stage, TrainRecipe
from worldline.train.rendering import rendering_loss
from worldline.train.seams import seam_loss
from worldline.train.tasks import Figures
from worldline.types import GaussianMaps, Pointmaps


def objective(
    module: nn.Module,
    network: MVDust3r,
    batch: Batch,
    stage: Stage,
    recipe: TrainRecipe,
    summed: Callable[[Tensor], Tensor],
    devices: int,
    step: int = 0,
) -> Figures:
    """Confidence loss of all reference paths plus the weighted matching, seam and rendering losses.

    Means are taken over the valid pixels (and correspondences) of *all* devices: ``summed`` adds the counts up. Logged
    are ``error``, the mean distance after both sides are divided by their mean distance to the origin, the mean
    ``confidence``, ``hits``, the share of supervised attentions whose maximum is the true correspondence, ``seams``,
    the error of the steps between neighbouring points, and ``rgb``, that of the rendered colours.

    Args:
        module: calls ``network`` (see :class:`~worldline.train.build.TrainedNetwork`), perhaps distributed.
        step: decides which rows and columns the loss sees, where the stage leaves some out.
    """
    views = batch.images.shape[1]
    paths = min(stage.references, views)
    maps, queries, keys = module(batch.images, paths, stage.matching_weight > 0)
    points, whole_confidence = maps[:2]  # of every path, view and pixel
    seen = _Thinning(stage.loss_stride, step)
    predicted, confidence = (
        losses.rows_of_paths(part.float()) for part in (seen.points(points), seen.maps(whole_confidence))
    )
    target, valid = losses.rows_of_targets(
        seen.points(batch.points), seen.maps(batch.valid), batch.world_from_cam, paths
    )
    counts = summed(losses.valid_counts(valid))
    loss = losses.confidence_loss(predicted, confidence, target, valid, recipe.confidence_alpha, counts=counts).sum()
    hits = seams = rgb = torch.zeros((), device=loss.device)
    if stage.matching_weight:
        grid = network.encoder.patch_embed.grid(*batch.images.shape[-2:])
        record = AttentionRecord(queries, keys)
        matching, hits = matching_loss(network, record, batch.matches, paths, grid, summed)
        loss = loss + stage.matching_weight * matching
    if stage.seam_weight:
        truth = losses.rows_of_targets(batch.points, batch.valid, batch.world_from_cam, paths)
        seams = seam_loss(losses.rows_of_paths(points.float()), *truth, network.config.patch_size, summed)
        loss, seams = loss + stage.seam_weight * seams, seams.detach()
    if stage.rendering_weight:
        drawn = GaussianMaps(*(part[:, 0].float() for part in maps[2:]))
        first = Pointmaps(points[:, 0], whole_confidence[:, 0], drawn)
        rendered = rendering_loss(
            first, batch, size=stage.render_size, scenes=stage.render_scenes,
            perceptual_weight=stage.perceptual_weight, summed=summed,
        )  # fmt: skip
        loss, rgb = loss + stage.rendering_weight * rendered.total, rendered.rgb.detach()
    with torch.no_grad():
        error = losses.regression_loss(predicted, target, valid, counts=counts).mean()
    mean_confidence = confidence.detach().mean() / devices
    return Figures(loss, {"error": error, "confidence": mean_confidence, "hits": hits, "seams": seams, "rgb": rgb})


class _Thinning:
    """Every ``stride``-th row and column, shifted from step to step so that all pixels take their turn."""

    def __init__(self, stride: int, step: int) -> None:
        self.row, self.column, self.stride = step // stride % stride, step % stride, stride

    def maps(self, values: Tensor) -> Tensor:
        """Of ``[..., height, width]``."""
        return values[..., self.row :: self.stride, self.column :: self.stride]

    def points(self, values: Tensor) -> Tensor:
        """Of ``[..., height, width, 3]``."""
        return values[..., self.row :: self.stride, self.column :: self.stride, :]
