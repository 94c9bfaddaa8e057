"""Loss of streams: Driv3R (arXiv 2412.06777) and Spann3R (arXiv 2408.16061), the same in both published codes.

The idea: a stream of T frames gives T - 1 pairs of neighbouring frames. Of pair i the reference head predicts frame i
and the target head frame i + 1, both in the camera of frame 0; frames in between are predicted twice. Each prediction
pays ``c * distance - alpha * log c``, as in DUSt3R, after predictions and truth are divided by their mean distance to
that camera: one factor for the whole stream, so that its frames cannot drift apart in scale. The factor itself is left
free but for one thing: it is charged where it exceeds the true one.

A *sample* is one camera's sequence. ``official=True`` repeats what the published code does with more than one sample in
a batch; with one sample there is no difference.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldline.errors import InputError
from worldline.train.losses import distances
from worldline.types import Pointmaps

Points = Float[Tensor, "sample frame height width 3"]
Valid = Bool[Tensor, "sample frame height width"]

FIRST_ALPHA, LAST_ALPHA = 0.4, 0.2  # price of a low confidence at the start and at the end of training
_SMALLEST_FACTOR = 1e-8


@dataclass(frozen=True)
class StreamLoss:
    """The loss of a batch of streams and its parts. Where a batch is spread over devices, the parts add up."""

    total: Float[Tensor, ""]  # twice the mean of all terms, plus the penalty
    terms: Float[Tensor, "pair head"]  # confidence-aware regression; head 0 is the reference head
    penalty: Float[Tensor, ""]  # for predictions that are larger than the truth, in its unit
    errors: Float[Tensor, "pair head"]  # mean distance after the division by the factors, without gradient
    factor: Float[Tensor, "sample"]  # mean distance of the predicted points to camera 0, without gradient
    true_factor: Float[Tensor, "sample"]

    @property
    def error(self) -> Float[Tensor, ""]:
        """Mean of all errors."""
        return self.errors.mean()


def stream_loss(
    reference: Pointmaps,
    target: Pointmaps,
    truth: Points,
    valid: Valid,
    *,
    focus: Valid | None = None,
    alpha: float = FIRST_ALPHA,
    official: bool = False,
    summed: Callable[[Tensor], Tensor] | None = None,
) -> StreamLoss:
    """Loss of T frames of every sample, all points in the camera of the sample's frame 0.

    Args:
        reference: of the reference head, ``[sample, T - 1, height, width(, 3)]``: frames 0 to T - 2.
        target: of the target head: frames 1 to T - 1.
        truth: true points of all frames, ``[sample, T, height, width, 3]``; anything where ``valid`` is False. See
            :func:`worldline.train.losses.in_reference_frame`.
        valid: pixels whose truth is known. They alone decide the factors.
        focus: pixels that the terms see, for instance those of moving things (the paper's second stage), or None for
            all valid ones (the first). A frame without any costs nothing.
        alpha: price of a low confidence, see :func:`alpha_at`.
        official: several samples as published: the factors of a sample divide by the valid pixels of the *whole batch*,
            which makes all distances of B samples about B times larger (as a price ``alpha / B`` would), and the
            penalty compares every selected sample with every sample's truth. Otherwise the factors and the penalty of
            a sample are its own.
        summed: adds counts up over the devices that share the batch, so that what they return adds up to the loss of
            the whole batch; None: there is one device.

    Raises:
        InputError: the shapes do not belong together, there are fewer than two frames, or ``official`` comes with
            ``summed``.
    """
    _check(reference, target, truth, valid, focus, official and summed is not None)
    truth = torch.where(valid[..., None], truth, torch.zeros_like(truth))  # unknown truth may be NaN
    whole = torch.cat([reference.points, target.points[:, -1:]], 1)
    factor, true_factor = (_mean_distance(points, valid, official) for points in (whole, truth))
    seen = valid if focus is None else valid & focus
    seen = torch.stack([seen[:, :-1], seen[:, 1:]], 2)  # sample pair head height width
    excess, charged = _excess(factor, true_factor, official)
    counts = torch.cat([seen.sum((0, 3, 4)).flatten(), charged[None]]).to(factor.dtype)
    if summed is not None:
        counts = summed(counts)
    counts = counts.clamp(min=1)

    predicted = torch.stack([reference.points, target.points], 2) / _as_maps(factor)
    expected = truth / _as_maps(true_factor)[:, 0]
    error = distances(predicted, torch.stack([expected[:, :-1], expected[:, 1:]], 2))
    confidence = torch.stack([reference.confidence, target.confidence], 2)
    per_term = counts[:-1].view(seen.shape[1:3])
    terms = _summed_over(confidence * error - alpha * torch.log(confidence), seen) / per_term
    penalty = excess / counts[-1]
    errors = _summed_over(error.detach(), seen) / per_term
    total = 2 * terms.mean() + penalty
    return StreamLoss(total, terms, penalty, errors, factor.detach(), true_factor)


def alpha_at(epoch: float, epochs: float, first: float = FIRST_ALPHA, last: float = LAST_ALPHA) -> float:
    """Price of a low confidence: constant in the first half of the training, then linear to ``last`` at its end."""
    return first + (last - first) * max(2 * epoch / epochs - 1, 0.0)


def _mean_distance(points: Points, valid: Valid, official: bool) -> Float[Tensor, "sample"]:
    """Mean distance of a sample's valid points to camera 0."""
    distance = torch.linalg.vector_norm(points, dim=-1)
    total = torch.where(valid, distance, torch.zeros_like(distance)).flatten(1).sum(1)
    count = valid.sum() if official else valid.flatten(1).sum(1)
    return (total / count.clamp(min=1)).clamp(min=_SMALLEST_FACTOR)


def _excess(
    factor: Float[Tensor, "sample"], true_factor: Float[Tensor, "sample"], official: bool
) -> tuple[Float[Tensor, ""], Tensor]:
    """By how much the predictions are too large, summed, and how many numbers that sum has."""
    larger = factor > true_factor
    if official:
        difference = (factor[larger][:, None] - true_factor).abs()
        return difference.sum(), factor.new_tensor(difference.numel())
    return (factor - true_factor).clamp(min=0).sum(), larger.sum()


def _as_maps(factor: Float[Tensor, "sample"]) -> Float[Tensor, "sample 1 1 1 1 1"]:
    return factor[:, None, None, None, None, None]


def _summed_over(
    values: Float[Tensor, "sample pair head height width"], seen: Bool[Tensor, "sample pair head height width"]
) -> Float[Tensor, "pair head"]:
    return torch.where(seen, values, torch.zeros_like(values)).sum((0, 3, 4))


def _check(
    reference: Pointmaps, target: Pointmaps, truth: Points, valid: Valid, focus: Valid | None, impossible: bool
) -> None:
    """Refuse what would broadcast to a wrong number."""
    samples, frames = truth.shape[:2]
    if frames < 2:
        raise InputError(f"A stream of {frames} frame has no pair of neighbours.", "Give two frames or more.")
    pairs = (samples, frames - 1, *truth.shape[2:])
    maps = {"reference": reference, "target": target}
    found = {name: tuple(part.points.shape) for name, part in maps.items()}
    wrong = {name: shape for name, shape in found.items() if shape != pairs}
    masks = {"valid": valid} | ({} if focus is None else {"focus": focus})
    wrong |= {name: tuple(mask.shape) for name, mask in masks.items() if mask.shape != truth.shape[:-1]}
    if wrong:
        raise InputError(
            f"For a truth of shape {tuple(truth.shape)} there are "
            f"{' and '.join(f'{name} of shape {shape}' for name, shape in wrong.items())}.",
            f"Give both heads maps of shape {pairs}, and masks of all frames.",
        )
    if impossible:
        raise InputError("The published loss knows a batch of one device only.", "Leave out official=True or summed.")
