"""Loss on jumps between neighbouring patches, for networks whose heads predict every patch by itself.

A linear head turns each token into the points of its 16x16 pixels, so nothing ties the last column of a patch to the
first one of the next. The regression loss hardly sees that the surface is torn there: a border pixel may be a bit off
in its own direction. Here the *difference* of the two points on either side of a border is compared with the true one,
wherever both show the same surface. (In the spirit of gradient losses of depth, e.g. MegaDepth, arXiv 1804.00607; not
in the papers of these models.)
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldline.train import losses

SAME_SURFACE = 0.03  # neighbours whose distances to the reference differ by a smaller share lie on one surface


def seam_loss(
    predicted: Float[Tensor, "row view height width 3"],
    target: Float[Tensor, "row view height width 3"],
    valid: Bool[Tensor, "row view height width"],
    patch_size: int,
    summed: Callable[[Tensor], Tensor] = lambda counts: counts,
) -> Float[Tensor, ""]:
    """Mean error of the point differences across horizontal borders plus that across vertical ones.

    Both sides are divided by their mean distance to the origin, as in :func:`~worldline.train.losses.regression_loss`.

    Args:
        predicted: points in the frame of the row's reference, in any unit; whole images, pixels left out by nobody.
        target: true points; what is not ``valid`` may hold anything.
        summed: adds the number of compared pairs up over all devices.
    """
    predicted, target = losses.align(predicted, target, valid)
    distance = torch.linalg.vector_norm(target, dim=-1)
    total = torch.zeros((), device=predicted.device)
    for axis in (2, 3):
        last = torch.arange(patch_size - 1, predicted.shape[axis] - 1, patch_size, device=predicted.device)
        error, same = _differences(predicted, target, distance, valid, axis, last)
        count = summed(same.sum().float()).clamp(min=1)
        total = total + torch.where(same, error, 0.0).sum() / count
    return total


def _differences(
    predicted: Tensor, target: Tensor, distance: Tensor, valid: Tensor, axis: int, last: Tensor
) -> tuple[Tensor, Tensor]:
    """Error of the step from pixel ``last`` to the one behind it, and whether both lie on one surface."""

    def step(values: Tensor) -> Tensor:
        return values.index_select(axis, last + 1) - values.index_select(axis, last)

    near, far = (
        choose(distance.index_select(axis, last), distance.index_select(axis, last + 1))
        for choose in (torch.minimum, torch.maximum)
    )
    same = valid.index_select(axis, last) & valid.index_select(axis, last + 1) & (far - near < SAME_SURFACE * near)
    return losses.distances(step(predicted), step(target)), same
