"""Similarity transforms between two point sets (Umeyama, 1991) and between two sets of camera poses."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from worldline.geometry.rigid import nearest_rotation, rigid_from, transform_points


class Similarity(NamedTuple):
    """x_target = scale * rotation @ x_source + translation, batched over leading dimensions."""

    scale: Float[Tensor, "*batch"]
    rotation: Float[Tensor, "*batch 3 3"]
    translation: Float[Tensor, "*batch 3"]

    @property
    def matrix(self) -> Float[Tensor, "*batch 4 4"]:
        """Homogeneous matrix; the upper left block is scale * rotation."""
        return rigid_from(self.scale[..., None, None] * self.rotation, self.translation)

    def apply(self, points: Float[Tensor, "*batch n 3"]) -> Float[Tensor, "*batch n 3"]:
        """Move points."""
        return transform_points(self.matrix, points)

    def apply_to_poses(self, source_from_cam: Float[Tensor, "*batch n 4 4"]) -> Float[Tensor, "*batch n 4 4"]:
        """Move camera poses: centres are moved like points, orientations are only rotated."""
        centers = self.apply(source_from_cam[..., :3, 3])
        return rigid_from(self.rotation[..., None, :, :] @ source_from_cam[..., :3, :3], centers)

    @classmethod
    def identity(cls, dtype: torch.dtype = torch.float64) -> Similarity:
        """The transform that changes nothing."""
        return cls(torch.ones((), dtype=dtype), torch.eye(3, dtype=dtype), torch.zeros(3, dtype=dtype))


def fit_similarity(
    source: Float[Tensor, "*batch n 3"],
    target: Float[Tensor, "*batch n 3"],
    weights: Float[Tensor, "*batch n"] | None = None,
    *,
    with_scale: bool = True,
) -> Similarity:
    """Weighted least-squares similarity (or rigid motion) that takes ``source`` to ``target``, in closed form.

    Umeyama's solution: the rotation is the one nearest to the cross-covariance of the centred sets, with the sign of
    the weakest axis flipped where a plain SVD would give a reflection; the scale is the ratio of the explained spread
    of the target to the spread of the source.

    Args:
        source, target: corresponding points, any unit.
        weights: non-negative, not necessarily normalised; equal weights when None.
        with_scale: False fixes the scale at 1.

    Degenerate sets (all points equal) give scale 1 and some rotation; collinear ones leave the turn about the line
    undetermined.
    """
    if weights is None:
        weights = torch.ones_like(source[..., 0])
    total = weights.sum(-1, keepdim=True)
    share = (weights / torch.where(total > 0, total, torch.ones_like(total)))[..., None]
    source_mean = (share * source).sum(-2, keepdim=True)
    target_mean = (share * target).sum(-2, keepdim=True)
    centred_source, centred_target = source - source_mean, target - target_mean
    covariance = (share * centred_target).mT @ centred_source
    left, singular, right = torch.linalg.svd(covariance)
    sign = torch.ones_like(singular)
    sign[..., 2] = torch.where(torch.linalg.det(left) * torch.linalg.det(right) < 0, -1.0, 1.0)
    rotation = (left * sign[..., None, :]) @ right
    scale = torch.ones_like(singular[..., 0])
    if with_scale:
        spread = (share * centred_source.square()).sum((-2, -1))
        tiny = torch.finfo(source.dtype).tiny
        scale = torch.where(spread > tiny, (singular * sign).sum(-1) / spread.clamp_min(tiny), scale)
    translation = target_mean[..., 0, :] - scale[..., None] * (rotation @ source_mean.mT)[..., 0]
    return Similarity(scale, rotation, translation)


def fit_similarity_robust(
    source: Float[Tensor, "*batch n 3"],
    target: Float[Tensor, "*batch n 3"],
    weights: Float[Tensor, "*batch n"] | None = None,
    *,
    with_scale: bool = True,
    iterations: int = 10,
) -> Similarity:
    """Like :func:`fit_similarity` for point sets with outliers: reweighted by Cauchy's influence of the residual.

    The residual's unit is its weighted-in median, measured anew in every round, so no threshold has to be chosen.
    Fewer than half of the points may be outliers.
    """
    base = torch.ones_like(source[..., 0]) if weights is None else weights
    current = base
    fit = fit_similarity(source, target, current, with_scale=with_scale)
    for _ in range(iterations):
        residual = (fit.apply(source) - target).norm(dim=-1)
        counted = torch.where(base > 0, residual, torch.full_like(residual, torch.nan))
        unit = counted.nanmedian(dim=-1, keepdim=True).values.clamp_min(torch.finfo(source.dtype).eps)
        current = base / (1 + (residual / (1.5 * unit)).square())
        fit = fit_similarity(source, target, current, with_scale=with_scale)
    return fit


def fit_similarity_to_poses(
    source_from_cam: Float[Tensor, "n 4 4"], target_from_cam: Float[Tensor, "n 4 4"], *, with_scale: bool = True
) -> Similarity:
    """Similarity ``target_from_source`` between two sets of poses of the same cameras; two cameras are enough.

    The scale is the ratio of the spreads of the camera centres, which no rotation can bias. Rotation and translation
    then come from the centres together with one step along each camera axis, so that orientations settle what the
    centres leave open (two centres leave a turn about their line, one leaves everything).

    Args:
        source_from_cam, target_from_cam: at least one pose each.
        with_scale: False keeps scale 1, as for a single pose or coincident centres.
    """
    source, target = source_from_cam[:, :3, 3], target_from_cam[:, :3, 3]
    source_spread = (source - source.mean(0)).square().sum(-1).mean().sqrt()
    target_spread = (target - target.mean(0)).square().sum(-1).mean().sqrt()
    one = torch.ones((), dtype=source.dtype, device=source.device)
    scale = target_spread / source_spread if with_scale and source_spread > 0 else one
    step = target_spread if target_spread > 0 else one
    # The columns of a rotation are the camera axes; centres count as much as the three axis ends together.
    offsets = (target_from_cam[:, :3, :3] @ source_from_cam[:, :3, :3].mT).sum(0)
    centred = torch.einsum("ni,nj->ij", target - target.mean(0), scale * (source - source.mean(0)))
    rotation = nearest_rotation(centred + step.square() * offsets)
    translation = target.mean(0) - scale * (rotation @ source.mean(0))
    return Similarity(scale, rotation, translation)
