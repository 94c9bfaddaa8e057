"""Loss on the steps between neighbouring points, for networks whose heads predict every patch by itself.

A linear head turns each token into the points of its 16x16 pixels, so nothing ties the last column of a patch to the
first one of the next. The regression loss hardly sees that the surface is torn there: a border pixel may be a bit off
in its own direction. Here the *difference* of two neighbouring points is compared with the true one, wherever both show
the same surface. (In the spirit of gradient losses of depth, e.g. MegaDepth, arXiv 1804.00607; not in the papers of
these models.)

All neighbours count alike, not only those on either side of a border: a network that was asked for the borders alone
moved the outermost pixels of every patch until they met, and left a grid behind them.
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
    """Error of the steps from pixel to pixel, summed over a patch width: along rows plus along columns.

    So a network that is exact but for tears at the borders gets their mean length. Both sides are divided by their mean
    distance to the origin, as in :func:`~worldline.train.losses.regression_loss`.

    Args:
        predicted: points in the frame of the row's reference, in any unit; whole images, pixels left out by nobody.
        target: true points; what is not ``valid`` may hold anything.
        patch_size: pixels per side of a patch.
        summed: adds the number of compared pairs up over all devices.
    """
    predicted, target = losses.align(predicted, target, valid)
    distance = torch.linalg.vector_norm(target, dim=-1)
    total = torch.zeros((), device=predicted.device)
    for axis in (2, 3):
        error = losses.distances(predicted.diff(dim=axis), target.diff(dim=axis))
        same = _same_surface(distance, valid, axis)
        count = summed(same.sum().float()).clamp(min=1)
        total = total + patch_size * torch.where(same, error, 0.0).sum() / count
    return total


def _same_surface(
    distance: Float[Tensor, "row view height width"], valid: Bool[Tensor, "row view height width"], axis: int
) -> Bool[Tensor, "row view *pairs"]:
    """Whether a pixel and the next one along an axis are valid and lie on one surface."""
    pairs = distance.shape[axis] - 1
    one, other = distance.narrow(axis, 0, pairs), distance.narrow(axis, 1, pairs)
    close = (one - other).abs() < SAME_SURFACE * torch.minimum(one, other)
    return close & valid.narrow(axis, 0, pairs) & valid.narrow(axis, 1, pairs)
