"""From a batch of clips to the loss of one backward pass."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from worldline.models.d4rt import Answers
from worldline.train.clips.batches import ClipBatch
from worldline.train.clips.losses import query_loss, trust_at
from worldline.train.clips.recipe import ClipRecipe
from worldline.train.tasks import Figures

LOGGED = ("error", "confidence", "uv", "visibility", "motion", "normal", "depth")  # fields of QueryLoss


def clip_figures(
    module: nn.Module, batch: ClipBatch, recipe: ClipRecipe, summed: Callable[[Tensor], Tensor], share: float
) -> Figures:
    """The loss of :mod:`worldline.train.clips.losses` and its terms.

    Args:
        module: calls the network (see :class:`~worldline.train.clips.build.TrainedClips`), perhaps distributed.
        summed: adds counts up over all devices.
        share: of the run that is done, for the trust in the confidence.
    """
    answers = Answers(*module(batch.images, batch.aspect_ratio, *batch.queries))
    loss = query_loss(answers, batch.targets, recipe.weights, trust_at(share, recipe.trust_from), summed)
    return Figures(loss.total, {name: getattr(loss, name) for name in LOGGED})
