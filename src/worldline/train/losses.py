"""Pointmap losses of DUSt3R (arXiv 2312.14132, section 3.2) and MV-DUSt3R+ (arXiv 2412.06974, section 3.4).

The idea: a pointmap is only known up to scale, so prediction and truth are first brought to a common scale (and, for
evaluation, a common shift); then the Euclidean distance of every valid pixel counts, weighted by a confidence that the
network must pay for (``c * distance - alpha * log c``).

Layout: points are ``[row, view, height, width, 3]``. A *row* is one scene seen from one reference camera; **view 0 of a
row is its reference** and all points of the row are in that camera's frame. A pair of DUSt3R is a row of two views. A
fused forward pass with R reference paths gives R rows per scene, see :func:`rows_of_targets` and :func:`rows_of_paths`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldline.errors import InputError
from worldline.train.precise import turned

Points = Float[Tensor, "row view height width 3"]
Valid = Bool[Tensor, "row view height width"]

Normalization = Literal["avg_dis", "avg_log1p", "avg_warp-log1p", "median_dis", "sqrt_dis"]
NORMALIZATIONS: tuple[str, ...] = ("avg_dis", "avg_log1p", "avg_warp-log1p", "median_dis", "sqrt_dis")

_TINY = 1e-8


@dataclass(frozen=True)
class Alignment:
    """What is removed from prediction and truth before they are compared. Applied in the order of the fields.

    The default is the training loss of both papers: one mean distance to the origin per row, for prediction and truth
    separately. ``EVALUATION`` is the protocol of the ND metric.
    """

    normalization: Normalization | None = "avg_dis"  # divide by one joint factor per row; None: leave as is
    shift: Literal["none", "depth", "all"] = "none"  # subtract the joint median of z, or of x, y and z
    scale: bool = False  # match the median distance to the median point
    gt_scale: bool = False  # keep the truth in its own unit (metres); only the prediction is rescaled


TRAINING = Alignment()
EVALUATION = Alignment(shift="all", scale=True, gt_scale=True)


def in_reference_frame(
    points: Float[Tensor, "*batch view height width 3"], world_from_cam: Float[Tensor, "*batch 4 4"]
) -> Float[Tensor, "*batch view height width 3"]:
    """World points of all views -> the frame of one camera per batch element (its pose given as ``world_from_cam``)."""
    rotation = world_from_cam[..., :3, :3].to(points.dtype)
    center = world_from_cam[..., :3, 3].to(points.dtype)
    return turned(points - center[..., None, None, None, :], rotation.mT[..., None, None, None, :, :])


def exchanged(values: Float[Tensor, "*batch view"], other: int, axis: int) -> Float[Tensor, "*batch view"]:
    """Views 0 and ``other`` along an axis change places. (No index: on a GPU a list of them would have to be sent.)"""
    if other == 0:
        return values
    views = list(values.unbind(axis))
    views[0], views[other] = views[other], views[0]
    return torch.stack(views, axis)


def _exchange(values: Float[Tensor, "scene path view *rest"]) -> Float[Tensor, "row view *rest"]:
    """In path r exchange views 0 and r, so that view 0 of every row is its reference; flatten paths to rows."""
    if values.shape[1] == 1:
        return values.flatten(0, 1)
    return torch.stack([exchanged(part, path, 1) for path, part in enumerate(values.unbind(1))], 1).flatten(0, 1)


def rows_of_paths(values: Float[Tensor, "scene path view *rest"]) -> Float[Tensor, "row view *rest"]:
    """Network output in input order (points or confidence of R paths) -> rows with the reference first.

    Row ``scene * R + r`` belongs to reference r; its views 0 and r are exchanged.
    """
    if values.shape[1] > values.shape[2]:
        raise InputError(
            f"There are {values.shape[1]} reference paths but only {values.shape[2]} views.",
            "Use at most one path per view.",
        )
    return _exchange(values)


def rows_of_targets(
    points: Float[Tensor, "scene view height width 3"],
    valid: Bool[Tensor, "scene view height width"],
    world_from_cam: Float[Tensor, "scene view 4 4"],
    paths: int = 1,
) -> tuple[Points, Valid]:
    """True world points -> one row per (scene, reference) in that reference's frame, as :func:`rows_of_paths`."""
    per_path = [in_reference_frame(points, world_from_cam[:, path]) for path in range(paths)]
    masks = valid[:, None].expand(-1, paths, -1, -1, -1)
    return rows_of_paths(torch.stack(per_path, 1)), rows_of_paths(masks)


def normalize(points: Points, valid: Valid, mode: Normalization = "avg_dis") -> tuple[Points, Float[Tensor, "row"]]:
    """Divide all views of a row by one joint factor, measured on the valid pixels of all of them together.

    ``avg_dis``: mean distance to the origin. ``avg_log1p``: mean of log(1 + distance). ``avg_warp-log1p``: the points
    themselves are first pulled in to log(1 + distance). ``median_dis``: median distance. ``sqrt_dis``: squared mean of
    the square roots. Gradients flow through the factor. Returns the points and the factor (at least 1e-8).
    """
    if mode not in NORMALIZATIONS:
        raise InputError(f"Unknown pointmap normalization {mode!r}.", f"Choose one of {', '.join(NORMALIZATIONS)}.")
    distance = _safe_norm(points)
    if mode == "avg_warp-log1p":
        warped = torch.log1p(distance)
        points = points * (warped / distance.clamp(min=_TINY))[..., None]
        distance = warped
    elif mode == "avg_log1p":
        distance = torch.log1p(distance)
    if mode == "median_dis":
        factor = _masked_median(distance.flatten(1), valid.flatten(1))
    elif mode == "sqrt_dis":
        factor = _masked_mean(_safe_sqrt(distance), valid) ** 2
    else:
        factor = _masked_mean(distance, valid)
    factor = factor.clamp(min=_TINY)
    return points / factor[:, None, None, None, None], factor


def align(predicted: Points, target: Points, valid: Valid, how: Alignment = TRAINING) -> tuple[Points, Points]:
    """Remove what ``how`` names from prediction and truth, row by row. No rotation is ever fitted."""
    # unmeasured truth may be NaN, which would pass through the masks of the loss into the gradient as 0 * NaN
    target = torch.where(valid[..., None], target, torch.zeros_like(target))
    if how.normalization is not None:
        predicted = normalize(predicted, valid, how.normalization)[0]
        if not how.gt_scale:
            target = normalize(target, valid, how.normalization)[0]
    if how.shift != "none":
        predicted = predicted - _median_point(predicted, valid, how.shift)
        target = target - _median_point(target, valid, how.shift)
    if how.scale:
        predicted_scale = _median_radius(predicted, valid).clamp(1e-3, 1e3)
        target_scale = _median_radius(target, valid)
        if how.gt_scale:
            predicted = predicted * (target_scale / predicted_scale)
        else:
            # a row without valid pixels has radius 0, and 0 / 0 would pass through the masks into the gradient
            predicted, target = predicted / predicted_scale, target / target_scale.clamp(min=_TINY)
    return predicted, target


def distances(predicted: Points, target: Points) -> Float[Tensor, "row view height width"]:
    """Euclidean distance per pixel."""
    return _safe_norm(predicted - target)


def regression_loss(
    predicted: Points,
    target: Points,
    valid: Valid,
    how: Alignment = TRAINING,
    counts: Float[Tensor, "view"] | None = None,
) -> Float[Tensor, "view"]:
    """One term per view: mean distance over the valid pixels of the whole batch, 0 where none is valid.

    The published loss is the sum of the terms (reference + sum of the others; for a pair, view 1 + view 2). For
    ``counts`` see :func:`confidence_loss`.
    """
    return _mean_per_view(distances(*align(predicted, target, valid, how)), valid, counts)


def confidence_loss(
    predicted: Points,
    confidence: Float[Tensor, "row view height width"],
    target: Points,
    valid: Valid,
    alpha: float = 0.2,
    how: Alignment = TRAINING,
    counts: Float[Tensor, "view"] | None = None,
) -> Float[Tensor, "view"]:
    """Confidence-aware regression, one term per view: mean of ``c * distance - alpha * log c`` over valid pixels.

    A pixel may buy itself a smaller weight by a smaller confidence. The published loss is the sum of the terms.

    Args:
        counts: valid pixels per view to divide by, where these rows are only a part of the batch (the other parts are
            on other devices); None: those of ``valid``. See :func:`valid_counts`.
    """
    error = distances(*align(predicted, target, valid, how))
    return _mean_per_view(confidence * error - alpha * torch.log(confidence), valid, counts)


def valid_counts(valid: Valid) -> Float[Tensor, "view"]:
    """Number of valid pixels per view, over all rows."""
    return valid.sum((0, 2, 3)).float()


def _safe_norm(vectors: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n"]:
    """Euclidean norm whose gradient at exactly zero is zero."""
    return torch.linalg.vector_norm(vectors, dim=-1)


def _safe_sqrt(values: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Square root whose gradient at exactly zero is zero; the plain one is infinite, and NaN behind a norm."""
    positive = values > 0
    return torch.where(positive, torch.where(positive, values, torch.ones_like(values)).sqrt(), values)


def _masked_mean(values: Float[Tensor, "row *n"], valid: Bool[Tensor, "row *n"]) -> Float[Tensor, "row"]:
    kept = torch.where(valid, values, torch.zeros_like(values))
    return kept.flatten(1).sum(1) / (valid.flatten(1).sum(1) + _TINY)


def _masked_median(values: Float[Tensor, "row n"], valid: Bool[Tensor, "row n"]) -> Float[Tensor, "row"]:
    """Lower median (the element at index (n - 1) // 2 of the sorted valid ones); 0 where nothing is valid."""
    median = torch.where(valid, values, torch.full_like(values, torch.nan)).nanmedian(1).values
    return torch.nan_to_num(median)


def _median_point(points: Points, valid: Valid, axes: Literal["depth", "all"]) -> Float[Tensor, "row 1 1 1 3"]:
    """Joint median per coordinate over all valid pixels of a row; x and y are 0 when only depth is shifted."""
    flat, mask = points.flatten(1, 3), valid.flatten(1)
    medians = [
        _masked_median(flat[..., axis], mask) if axes == "all" or axis == 2 else torch.zeros_like(flat[:, 0, 0])
        for axis in range(3)
    ]
    return torch.stack(medians, -1)[:, None, None, None]


def _median_radius(points: Points, valid: Valid) -> Float[Tensor, "row 1 1 1 1"]:
    """Median distance to the median point."""
    radius = _safe_norm(points - _median_point(points, valid, "all"))
    return _masked_median(radius.flatten(1), valid.flatten(1))[:, None, None, None, None]


def _mean_per_view(
    values: Float[Tensor, "row view height width"], valid: Valid, counts: Float[Tensor, "view"] | None = None
) -> Float[Tensor, "view"]:
    kept = torch.where(valid, values, torch.zeros_like(values))
    return kept.sum((0, 2, 3)) / (valid_counts(valid) if counts is None else counts).clamp(min=1)
