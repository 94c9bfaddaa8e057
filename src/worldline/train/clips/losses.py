"""The loss of D4RT (arXiv 2512.08924, section 2.3 and appendix A).

Predicted and true points of a clip are each divided by their own mean depth, so that their units do not matter, and
compared by ``sign(x) log(1 + |x|)``. A confidence c in (0, 1) says how much a query's 3D error counts, and costs
``-0.2 log c``. Every term is a mean over the queries that have its target.

Left open by the paper and settled here: the mean depth is that of |z| over the valid queries of a clip, because z is
negative where a point lies behind the camera that is asked about; the printed formula has the price of the confidence
twice, it counts once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cosine_similarity

from worldline.models.d4rt import Answers

_SURE = 1e-4  # confidences are kept so far from 0 and 1
_SMALLEST = 1e-6  # mean depth
_NEAREST = 0.05  # mean depths: nearer points have no relative error of depth


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms; the defaults are published (appendix A)."""

    points: float = 1.0
    uv: float = 0.1
    visibility: float = 0.1
    motion: float = 0.1
    normal: float = 0.5
    confidence: float = 0.2  # price of a low one
    depth: float = 0.0  # of the relative error of the depth, unweighted by confidence; not in the paper
    motion_unit: Literal["depth", "log", "metric"] = "depth"  # "depth": both sides divided like the points, because a
    # network that is free to choose its unit cannot know metres; "log": then compared like points; "metric": as it is


@dataclass(frozen=True)
class Targets:
    """True answers; a target counts where its mask says so."""

    points: Float[Tensor, "clip query 3"]
    uv: Float[Tensor, "clip query 2"]
    visible: Bool[Tensor, "clip query"]
    motion: Float[Tensor, "clip query 3"]
    normal: Float[Tensor, "clip query 3"]
    has_points: Bool[Tensor, "clip query"]
    has_motion: Bool[Tensor, "clip query"]
    has_uv: Bool[Tensor, "clip query"]
    has_visible: Bool[Tensor, "clip query"]
    has_normal: Bool[Tensor, "clip query"]
    uv_cam: Float[Tensor, "clip query 2"] | None = None  # for the loss of :mod:`.matching`
    seen_cam: Bool[Tensor, "clip query"] | None = None


class QueryLoss(NamedTuple):
    """The weighted sum, and its terms before weighting, for the log."""

    total: Float[Tensor, ""]  # with gradient
    error: Float[Tensor, ""]  # of points, not weighted by confidence
    weighted_error: Float[Tensor, ""]  # of points, weighted by confidence
    penalty: Float[Tensor, ""]  # mean -log c
    uv: Float[Tensor, ""]
    visibility: Float[Tensor, ""]
    motion: Float[Tensor, ""]
    normal: Float[Tensor, ""]
    depth: Float[Tensor, ""]
    confidence: Float[Tensor, ""]  # mean c, as the network says it


def query_loss(
    answers: Answers,
    targets: Targets,
    weights: LossWeights,
    trust: float = 1.0,
    summed: Callable[[Tensor], Tensor] = lambda counts: counts,
) -> QueryLoss:
    """The loss of a batch.

    Args:
        answers: of the network; computed with in float32.
        targets: for the same queries. What lies where a mask is False changes nothing, finite or not.
        trust: share of the loss with confidences in that without, in [0, 1], see :func:`trust_at`. So the best
            confidence of a query, price / error, is the same for every trust above 0.
        summed: adds counts of valid queries up over all devices; the losses of all devices then add up to that of the
            whole batch.
    """
    masks = [targets.has_points, targets.has_uv, targets.has_visible, targets.has_motion, targets.has_normal]
    true, uv, motion, normal = (
        torch.where(mask[..., None], value, 0.0)
        for mask, value in zip(
            (targets.has_points, targets.has_uv, targets.has_motion, targets.has_normal),
            (targets.points, targets.uv, targets.motion, targets.normal),
            strict=True,
        )
    )
    found = answers.points.float()
    own, theirs = (mean_depth(side, targets.has_points) for side in (found, true))
    error = (squeezed(found / own) - squeezed(true / theirs)).abs().mean(-1)
    sure = answers.confidence.float().sigmoid()
    sure = sure.clamp(_SURE, 1 - _SURE)
    scales = (1.0, 1.0) if weights.motion_unit == "metric" else (own, theirs)
    ways = answers.motion.float() / scales[0], motion / scales[1]
    ways = (squeezed(ways[0]), squeezed(ways[1])) if weights.motion_unit == "log" else ways
    ahead = true[..., 2] > _NEAREST * theirs[..., 0]
    relative = found[..., 2] / own[..., 0] * theirs[..., 0] / true[..., 2].where(ahead, torch.ones_like(own[..., 0]))
    counts = summed(torch.stack([mask.sum() for mask in (*masks, masks[0] & ahead)]).float()).clamp_min(1)

    def mean(value: Float[Tensor, "clip query"], mask: Bool[Tensor, "clip query"], row: int) -> Float[Tensor, ""]:
        return torch.where(mask, value, 0.0).sum() / counts[row]

    cosine = cosine_similarity(answers.normal.float(), normal, dim=-1, eps=1e-6)
    seen = binary_cross_entropy_with_logits(answers.visibility.float(), targets.visible.float(), reduction="none")
    terms = {
        "weighted_error": mean(((1 - trust) + trust * sure) * error, masks[0], 0),
        "penalty": trust * mean(-sure.log(), masks[0], 0),
        "uv": mean((answers.uv.float() - uv).abs().mean(-1), masks[1], 1),
        "visibility": mean(seen, masks[2], 2),
        "motion": mean((ways[0] - ways[1]).abs().mean(-1), masks[3], 3),
        "normal": mean(1 - cosine, masks[4], 4),
        "depth": mean((relative - 1).abs(), masks[0] & ahead, 5),
    }
    factors = {
        "weighted_error": weights.points, "penalty": weights.confidence, "uv": weights.uv,
        "visibility": weights.visibility, "motion": weights.motion, "normal": weights.normal, "depth": weights.depth,
    }  # fmt: skip
    total = torch.stack([factors[name] * term for name, term in terms.items() if factors[name]]).sum()
    logged = {"error": mean(error, masks[0], 0), "confidence": mean(sure, masks[0], 0)}
    return QueryLoss(total, **{name: value.detach() for name, value in (terms | logged).items()})


def mean_depth(points: Float[Tensor, "clip query 3"], valid: Bool[Tensor, "clip query"]) -> Float[Tensor, "clip 1 1"]:
    """Mean |z| over the valid points of each clip."""
    total = torch.where(valid, points[..., 2].abs(), 0.0).sum(1)
    return (total / valid.sum(1).clamp_min(1)).clamp_min(_SMALLEST)[:, None, None]


def squeezed(values: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """``sign(x) log(1 + |x|)``: what is far counts less."""
    return values.sign() * values.abs().log1p()


def trust_at(share: float, warmup: tuple[float, float]) -> float:
    """How far the confidence counts when ``share`` of a run is done: not at all at first, then rising linearly to 1.

    Without this the network may give up before it has learned anything: for a 3D error above 0.2 the best confidence is
    0.2 / error, below 1, and the lower it is, the less there is to learn from.

    Args:
        warmup: shares of the run at which the rise begins and ends.
    """
    begin, end = warmup
    return 1.0 if share >= end else max(0.0, (share - begin) / (end - begin))
