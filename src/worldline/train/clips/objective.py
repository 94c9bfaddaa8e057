"""From a batch of clips to the loss of one backward pass."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from worldline.models.d4rt import Answers
from worldline.train.clips.batches import ClipBatch
from worldline.train.clips.losses import query_loss, trust_at
from worldline.train.clips.matching import Matches
from worldline.train.clips.recipe import ClipRecipe, ClipStage
from worldline.train.tasks import Figures

LOGGED = ("error", "confidence", "uv", "visibility", "motion", "normal", "depth", "matching", "dense")


def clip_figures(
    module: nn.Module,
    batch: ClipBatch,
    stage: ClipStage,
    recipe: ClipRecipe,
    summed: Callable[[Tensor], Tensor],
    share: float,
) -> Figures:
    """The loss of :mod:`worldline.train.clips.losses` with its terms, and where the recipe wants them those
    of :mod:`worldline.train.clips.matching` and :mod:`worldline.train.clips.dense`.

    Args:
        module: calls the network (see :class:`~worldline.train.clips.build.TrainedClips`), perhaps distributed.
        summed: adds counts up over all devices.
        share: of the run that is done, for the trust in the confidence.
    """
    matches = Matches.of(batch.targets) if stage.matching_weight else None
    answers, matching, dense = module(batch.images, batch.aspect_ratio, batch.queries, matches, batch.dense, summed)
    loss = query_loss(Answers(*answers), batch.targets, recipe.weights, trust_at(share, recipe.trust_from), summed)
    total, own = loss.total, {name: getattr(loss, name) for name in LOGGED[:-2]}
    for name, weight, term in (("matching", stage.matching_weight, matching), ("dense", recipe.dense_weight, dense)):
        own[name] = total.new_zeros(()) if term is None else term.detach()
        total = total if term is None else total + weight * term
    return Figures(total, own)
