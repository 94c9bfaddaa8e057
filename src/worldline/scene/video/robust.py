"""Estimation from answers of which some are wrong: weighted quantiles, and rigid motions of many pairs at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldline.geometry import fit_similarity, nearest_rotation, rigid_from

NORMAL = 1.4826  # standard deviation of a normal variable over the median of its absolute value
_CUT = 3.0  # standard deviations at which a residual stops to count (Tukey's biweight)
_JUDGES = 128  # points that a hypothesis is judged by
_BLOCK = 1 << 22  # residuals looked at together
_FLOOR = 1e-6  # relative residual that float32 answers cannot go below


@dataclass(frozen=True)
class RigidFits:
    """Motions ``target = R source + t`` of many pairs of point sets, and how well they explain the points."""

    target_from_source: Float[Tensor, "*pair 4 4"]
    residual: Float[Tensor, "*pair"]  # typical distance that remains, as a share of the points' distance
    inlier_share: Float[Tensor, "*pair"]  # weight of the points that remain within the bound, in [0, 1]
    variance: Float[Tensor, "*pair"]  # of the fit, relative: residual squared over the number of points it rests on
    valid: Bool[Tensor, "*pair"]  # enough points agree, and they are spread over more than a line


def weighted_quantile(
    values: Float[Tensor, "*batch n"], weights: Float[Tensor, "*batch n"], share: float = 0.5
) -> Float[Tensor, "*batch"]:
    """The smallest value that this share of the weight does not exceed; NaN where there is no weight.

    With weights |x| and values y / x the median is the slope of the line through the origin that fits y in L1.
    """
    ordered, order = values.sort(dim=-1)
    total = weights.gather(-1, order).cumsum(-1)
    position = (total < share * total[..., -1:]).sum(-1, keepdim=True).clamp(max=values.shape[-1] - 1)
    found = ordered.gather(-1, position)[..., 0]
    return torch.where(total[..., -1] > 0, found, torch.nan)


def fit_rigid_robust(
    source: Float[Tensor, "*pair n 3"], target: Float[Tensor, "*pair n 3"], weights: Float[Tensor, "*pair n"], *,
    hypotheses: int = 64, bound: float = 0.1, least_share: float = 0.3, seed: int = 0,
) -> RigidFits:  # fmt: skip
    """Rigid motions between point sets with outliers: RANSAC without a threshold, then reweighted least squares.

    Triples of points, drawn by weight, propose motions (Umeyama without scale); the one with the least weighted median
    of residuals wins, so less than half of the weight may be wrong. Tukey's biweight with a measured unit then refines
    it. Residuals are divided by the distance of the source point from its camera, because depth errors grow with it.

    Args:
        source: in the frame of the camera that saw them.
        weights: confidences >= 0; 0 excludes a point, whose coordinates may then be anything finite.
        hypotheses: triples per pair: with half of all points wrong, 64 miss a clean triple once in 5000 pairs.
        bound: relative residual up to which a point counts as explained.
        least_share: weight of the points that must be explained for a fit to be valid.
        seed: of the triples; the same input always gives the same fit.
    """
    lead, count = source.shape[:-2], source.shape[-2]
    pieces = [  # of pairs, so that memory stays bounded
        values.reshape(-1, *values.shape[len(lead) :]).split(max(1, _BLOCK // max(1, hypotheses * count)))
        for values in (source, target, weights)
    ]
    parts = [_fit(a, b, c, hypotheses, bound, least_share, seed) for a, b, c in zip(*pieces, strict=True)]
    joined = [torch.cat([part[index] for part in parts]) for index in range(5)]
    motion, residual, share, variance, valid = (values.reshape(*lead, *values.shape[1:]) for values in joined)
    return RigidFits(motion, residual, share, variance, valid)


def _fit(
    source: Float[Tensor, "p n 3"], target: Float[Tensor, "p n 3"], weights: Float[Tensor, "p n"],
    hypotheses: int, bound: float, least_share: float, seed: int,
) -> tuple[Tensor, ...]:  # fmt: skip
    source, target, weights = source.double(), target.double(), weights.double()
    distance = source.norm(dim=-1).clamp_min(1e-12)
    usable = (weights > 0).sum(-1) >= 3
    base = torch.where(usable[:, None], weights, torch.ones_like(weights))
    motion = _best_hypothesis(source, target, base, distance, hypotheses, seed)
    inverse_square = distance.square().reciprocal()
    for _ in range(6):
        relative = _relative(motion, source, target, distance)
        unit = (NORMAL * weighted_quantile(relative, base)).clamp_min(_FLOOR)[:, None]
        tukey = (1 - (relative / (_CUT * unit)).square()).clamp_min(0).square()
        motion = fit_similarity(source, target, base * tukey * inverse_square, with_scale=False).matrix
    relative = _relative(motion, source, target, distance)
    counted = base * tukey
    total = counted.sum(-1).clamp_min(1e-30)
    residual = ((counted * relative.square()).sum(-1) / total).sqrt()
    share = (base * (relative <= bound)).sum(-1) / base.sum(-1)
    effective = total.square() / counted.square().sum(-1).clamp_min(1e-30)
    variance = residual.clamp_min(_FLOOR).square() / effective.clamp_min(1)
    valid = usable & (share >= least_share) & _spread(source, counted)
    return motion, residual, share, variance, valid


def _best_hypothesis(
    source: Tensor, target: Tensor, weights: Tensor, distance: Tensor, hypotheses: int, seed: int
) -> Float[Tensor, "p 4 4"]:
    pairs = len(source)
    generator = torch.Generator(device="cpu").manual_seed(seed)
    drawn = torch.multinomial(weights.cpu(), 3 * hypotheses, replacement=True, generator=generator).to(source.device)
    index = drawn[..., None].expand(-1, -1, 3)
    triples = [values.gather(1, index).reshape(pairs, hypotheses, 3, 3) for values in (source, target)]
    motions = fit_similarity(*triples, with_scale=False).matrix
    judges = slice(None, None, -(-source.shape[1] // _JUDGES))  # every k-th point, evenly spread over a grid
    inverse = distance[:, judges, None].reciprocal()
    rays = torch.cat([source[:, judges] * inverse, inverse], -1).float()  # homogeneous, at unit distance
    moved = (rays @ motions[..., :3, :].permute(0, 3, 1, 2).flatten(2).float()).unflatten(-1, (hypotheses, 3))
    wanted = (target[:, judges] * inverse).float()[:, :, None]
    x, y, z = (moved - wanted).unbind(-1)
    relative = (x * x + y * y + z * z).transpose(1, 2)
    score = weighted_quantile(relative, weights[:, None, judges].float().expand_as(relative))
    best = score.nan_to_num(nan=torch.inf).argmin(-1)
    return motions[torch.arange(pairs, device=source.device), best]


def _relative(motion: Tensor, source: Tensor, target: Tensor, distance: Tensor) -> Float[Tensor, "p n"]:
    moved = source @ motion[:, :3, :3].mT + motion[:, None, :3, 3]
    return (moved - target).norm(dim=-1) / distance


def _spread(points: Float[Tensor, "p n 3"], weights: Float[Tensor, "p n"]) -> Bool[Tensor, "p"]:
    """Whether the points lie on more than a line, about which a turn would stay open."""
    share = (weights / weights.sum(-1, keepdim=True).clamp_min(1e-30))[..., None]
    centred = points - (share * points).sum(-2, keepdim=True)
    spread = torch.linalg.eigvalsh((share * centred).mT @ centred)
    return spread[:, 1] > 1e-6 * spread[:, 2].clamp_min(1e-30)


def average_rigid(
    motions: Float[Tensor, "*batch n 4 4"], weights: Float[Tensor, "*batch n"]
) -> Float[Tensor, "*batch 4 4"]:
    """Weighted mean of rigid motions: the rotation nearest to the mean matrix, the mean translation."""
    share = (weights / weights.sum(-1, keepdim=True).clamp_min(1e-30))[..., None, None]
    mean = (share * motions).sum(-3)
    return rigid_from(nearest_rotation(mean[..., :3, :3]), mean[..., :3, 3])
