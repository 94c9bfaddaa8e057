"""Figures of a video's depth: what is valid, what is aligned, what is measured, how sequences are put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64

from worldline.errors import InputError
from worldline.eval.video.depth_alignment import ALIGNMENTS, DepthAlignment, align_depth

_LOG_FLOOR = 1e-5  # aligned depths below count as this in log_rmse, as published


@dataclass(frozen=True)
class DepthRules:
    """What a data set counts, in the unit of its depth."""

    nearest: float = 0.0  # true depths at or below do not count
    farthest: float | None = None  # nor do those at or beyond
    clip: tuple[float | None, float | None] = (None, None)  # range that aligned predictions are brought into

    def valid(self, true: Float[np.ndarray, "*n"]) -> Bool[np.ndarray, "*n"]:
        """Where the truth counts."""
        inside = np.isfinite(true) & (true > self.nearest)
        return inside if self.farthest is None else inside & (true < self.farthest)


SINTEL = DepthRules(farthest=70.0, clip=(None, 70.0))
BONN = DepthRules(farthest=70.0)
KITTI = DepthRules()
SCANNET = DepthRules()
MEGASAM = DepthRules(nearest=0.1, farthest=100.0, clip=(0.1, 100.0))  # with the alignment median_affine


@dataclass(frozen=True)
class DepthScores:
    """Figures of one sequence; p is the aligned prediction, g the truth, means are over its valid pixels."""

    abs_rel: float  # mean of |p - g| / g
    sq_rel: float  # mean of (p - g)² / g, in the unit of the depth
    rmse: float  # root of the mean of (p - g)², in the unit of the depth
    log_rmse: float  # root of the mean of (ln p - ln g)²
    d1: float  # share with max(p / g, g / p) < 1.25; a depth at or behind the camera never counts
    d2: float  # the same, < 1.25²
    d3: float  # the same, < 1.25³
    valid_pixels: int
    scale: float  # of the alignment
    shift: float


def score_depth(
    predicted: Float[np.ndarray, "frame h w"],
    true: Float[np.ndarray, "frame height width"],
    rules: DepthRules = DepthRules(),
    alignments: Iterable[str] = ("scale", "scale_exact", "scale_shift", "scale_shift_exact"),
) -> dict[str, DepthScores]:
    """Figures of a sequence under several alignments, one scale (and shift) for all of its frames together.

    Args:
        predicted: depth along the optical axis at any resolution; brought to that of the truth with bicubic
            interpolation, as the published programs do.
        true: depth, 0 or not finite where it is not known.
        alignments: keys of :data:`worldline.eval.video.depth_alignment.ALIGNMENTS`.

    Raises:
        InputError: another number of frames, no valid pixel, unknown alignment.
    """
    p, g = valid_pixels(predicted, true, rules)
    return {method: score_pixels(p, g, method, rules) for method in alignments}


def valid_pixels(
    predicted: Float[np.ndarray, "frame h w"], true: Float[np.ndarray, "frame height width"], rules: DepthRules
) -> tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n"]]:
    """Predicted and true depth of the pixels that count, the prediction at the resolution of the truth.

    Raises:
        InputError: another number of frames.
    """
    predicted, true = np.asarray(predicted), np.asarray(true)
    if predicted.ndim != 3 or true.ndim != 3 or len(predicted) != len(true):
        raise InputError(
            f"Depths of shapes {predicted.shape} and {true.shape} do not belong together.",
            "Give one predicted map for every true one.",
        )
    valid = rules.valid(true)
    pairs = zip(predicted, valid, strict=True)
    found = [resize_depth(frame[None], true.shape[1:])[0][known] for frame, known in pairs]
    return np.concatenate(found), true[valid].astype(np.float64)


def score_pixels(
    p: Float64[np.ndarray, "n"], g: Float64[np.ndarray, "n"], alignment: str, rules: DepthRules
) -> DepthScores:
    """Figures of all valid pixels of a sequence under one alignment.

    Raises:
        InputError: unknown alignment, no pixel, or a prediction that cannot be aligned.
    """
    return _figures(p, g, align_depth(p, g, np.ones(len(g), bool), alignment), rules)


def resize_depth(
    depth: Float[np.ndarray, "frame h w"], size: tuple[int, int]
) -> Float64[np.ndarray, "frame height width"]:
    """Bicubic interpolation frame by frame, pixel centres in the middle of pixels; unchanged at its own size."""
    if depth.shape[1:] == tuple(size):
        return np.asarray(depth, np.float64)
    frames = (torch.as_tensor(np.ascontiguousarray(frame)).double()[None, None] for frame in depth)
    resized = [
        torch.nn.functional.interpolate(f, size=tuple(size), mode="bicubic", align_corners=False) for f in frames
    ]
    return torch.cat(resized)[:, 0].numpy()


def mean_depth(sequences: Sequence[DepthScores], *, weighted: bool = True) -> dict[str, float]:
    """A data set's figures: means over sequences, weighted by their valid pixels or equally.

    Weighted means are what MonST3R, CUT3R and π³ report, equal ones what MegaSaM does.
    The published mean of rmse and log_rmse is the mean of the sequences' roots, not the root over all pixels.
    """
    if not sequences:
        raise InputError("There is no sequence to average.", "Evaluate at least one.")
    weights = [float(s.valid_pixels) if weighted else 1.0 for s in sequences]
    names = ("abs_rel", "sq_rel", "rmse", "log_rmse", "d1", "d2", "d3")
    return {name: float(np.average([getattr(s, name) for s in sequences], weights=weights)) for name in names}


def flat_figures(scores: Mapping[str, DepthScores]) -> dict[str, float]:
    """``{"abs_rel_scale": …, "abs_rel_scale_shift": …}``: figures of several alignments in one record."""
    return {f"{name}_{method}": value for method, s in scores.items() for name, value in asdict(s).items()}


def _figures(
    p: Float64[np.ndarray, "n"], g: Float64[np.ndarray, "n"], alignment: DepthAlignment, rules: DepthRules
) -> DepthScores:
    aligned = alignment.scale * p + alignment.shift
    if rules.clip != (None, None):
        aligned = np.clip(aligned, *rules.clip)
    error = aligned - g
    ratio = np.full(len(g), np.inf)
    front = aligned > 0
    ratio[front] = np.maximum(aligned[front] / g[front], g[front] / aligned[front])
    log_error = np.log(np.maximum(aligned, _LOG_FLOOR)) - np.log(g)
    return DepthScores(
        abs_rel=float(np.mean(np.abs(error) / g)),
        sq_rel=float(np.mean(error**2 / g)),
        rmse=float(np.sqrt(np.mean(error**2))),
        log_rmse=float(np.sqrt(np.mean(log_error**2))),
        d1=float(np.mean(ratio < 1.25)),
        d2=float(np.mean(ratio < 1.25**2)),
        d3=float(np.mean(ratio < 1.25**3)),
        valid_pixels=len(g),
        scale=alignment.scale,
        shift=alignment.shift,
    )


__all__ = [
    "ALIGNMENTS", "BONN", "KITTI", "MEGASAM", "SCANNET", "SINTEL", "DepthRules", "DepthScores", "flat_figures",
    "mean_depth", "resize_depth", "score_depth",
]  # fmt: skip
