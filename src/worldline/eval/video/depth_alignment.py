"""Scale and shift between the depth of a video and the truth: the published procedures and the exact minimisers.

One scale (and shift) serves the whole sequence: all valid pixels of all frames together. ``p`` is the prediction, ``g``
the truth, both positive where the truth is known; everything is in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from worldline.errors import InputError

_WEISZFELD_STEPS = 10
_SMALLEST_SCALE = 1e-3
_ADAM_STEPS, _ADAM_RATE, _ADAM_DECAY, _ADAM_EPS = 1000, 1e-4, (0.9, 0.999), 1e-8
_ADAM_BLOCK = 50  # steps after which the residuals of all pixels are looked at again
_FEW = 50_000  # pixels on which the bracket of the exact shift and scale is found


class DepthAlignment(NamedTuple):
    """Aligned depth = scale * p + shift."""

    scale: float
    shift: float = 0.0


def metric(p: Float64[np.ndarray, "n"], g: Float64[np.ndarray, "n"]) -> DepthAlignment:
    """No alignment."""
    return DepthAlignment(1.0)


def scale(p: Float64[np.ndarray, "n"], g: Float64[np.ndarray, "n"]) -> DepthAlignment:
    """The published scale ("S"): ten re-weighted least-squares steps towards the minimum of Σ|s p - g|.

    They start at the ratio of means and are not converged: within about 2 % of :func:`scale_exact`.
    """
    s = _ratio(float(g.mean()), float(p.mean()))
    for _ in range(_WEISZFELD_STEPS):
        weights = 1 / (np.abs(s * p - g) + 1e-8)
        s = (weights * p * g).sum() / (weights * p * p).sum()
    return DepthAlignment(max(float(s), _SMALLEST_SCALE))


def scale_exact(p: Float64[np.ndarray, "n"], g: Float64[np.ndarray, "n"]) -> DepthAlignment:
    """The minimiser of Σ|s p - g|: the median of g / p weighted by p."""
    known = p != 0
    return DepthAlignment(_weighted_median(g[known] / p[known], np.abs(p[known])))


def scale_shift(p: Float64[np.ndarray, "n"], g: Float64[np.ndarray, "n"]) -> DepthAlignment:
    """The published scale and shift ("SS"): 1000 steps of Adam (rate 1e-4) on the mean of |s p + t - g|.

    They start at the ratio of medians and no shift. As every step is at most about the rate, neither moves by more than
    0.1: far from the minimum wherever a real shift is needed. :func:`scale_shift_exact` is the minimum.

    The gradient depends on the signs of the residuals only, so pixels whose sign cannot change during the next steps
    are summed once for all of them; the result is the same as with all pixels in every step.
    """
    s, t = _ratio(_lower_median(g), _lower_median(p)), 0.0
    first, second = np.zeros(2), np.zeros(2)
    reach = 4 * _ADAM_BLOCK * _ADAM_RATE  # a step of Adam is at most 3.2 times the rate
    for start in range(0, _ADAM_STEPS, _ADAM_BLOCK):
        residual = s * p + t - g
        open_ = np.abs(residual) <= reach * (np.abs(p) + 1)
        settled = np.where(open_, 0.0, np.sign(residual))
        fixed = np.array([(settled * p).sum(), settled.sum()])
        near_p, near_g = p[open_], g[open_]
        for step in range(start + 1, start + _ADAM_BLOCK + 1):
            sign = np.sign(s * near_p + t - near_g)
            gradient = (fixed + np.array([(sign * near_p).sum(), sign.sum()])) / len(p)
            first = _ADAM_DECAY[0] * first + (1 - _ADAM_DECAY[0]) * gradient
            second = _ADAM_DECAY[1] * second + (1 - _ADAM_DECAY[1]) * gradient**2
            mean = first / (1 - _ADAM_DECAY[0] ** step)
            spread = np.sqrt(second / (1 - _ADAM_DECAY[1] ** step))
            s, t = np.array([s, t]) - _ADAM_RATE * mean / (spread + _ADAM_EPS)
    return DepthAlignment(float(s), float(t))


def scale_shift_exact(p: Float64[np.ndarray, "n"], g: Float64[np.ndarray, "n"]) -> DepthAlignment:
    """The minimiser of Σ|s p + t - g| (least absolute deviations).

    For a given scale the best shift is a median, and what is left is convex in the scale: its slope is bisected.
    """
    few = slice(None, None, max(1, len(p) // _FEW))
    if np.ptp(p) == 0:  # a constant prediction says nothing about the scale
        return DepthAlignment(1.0, _lower_median(g - p))
    s = _bisect_slope(p[few], g[few], least_squares(p[few], g[few]).scale, 1.0)
    if len(p) > _FEW:
        s = _bisect_slope(p, g, s, 1e-3)
    return DepthAlignment(s, float(np.median(g - s * p)))


def least_squares(p: Float64[np.ndarray, "n"], g: Float64[np.ndarray, "n"]) -> DepthAlignment:
    """Scale and shift of the smallest Σ(s p + t - g)²."""
    centred = p - p.mean()
    spread = (centred**2).sum()
    s = float((centred * g).sum() / spread) if spread > 0 else 1.0
    return DepthAlignment(s, float(g.mean() - s * p.mean()))


def median(p: Float64[np.ndarray, "n"], g: Float64[np.ndarray, "n"]) -> DepthAlignment:
    """Ratio of medians (the lower of the two middle values, as published)."""
    return DepthAlignment(_ratio(_lower_median(g), _lower_median(p)))


def median_affine(p: Float64[np.ndarray, "n"], g: Float64[np.ndarray, "n"]) -> DepthAlignment:
    """MegaSaM's: s = median((g - med g) / (p - med p)), t = median(g - s p)."""
    centred = p - np.median(p)
    known = centred != 0
    s = float(np.median((g - np.median(g))[known] / centred[known])) if known.any() else 1.0
    return DepthAlignment(s, float(np.median(g - s * p)))


Solver = Callable[[Float64[np.ndarray, "n"], Float64[np.ndarray, "n"]], DepthAlignment]
ALIGNMENTS: dict[str, Solver] = {
    "metric": metric,
    "scale": scale,
    "scale_exact": scale_exact,
    "scale_shift": scale_shift,
    "scale_shift_exact": scale_shift_exact,
    "median": median,
    "lstsq": least_squares,
    "median_affine": median_affine,
}


def align_depth(
    predicted: Float64[np.ndarray, "*pixels"],
    true: Float64[np.ndarray, "*pixels"],
    valid: Bool[np.ndarray, "*pixels"],
    method: str = "scale",
) -> DepthAlignment:
    """Scale and shift that take the prediction of a whole sequence to the truth.

    Args:
        method: a key of :data:`ALIGNMENTS`.

    Raises:
        InputError: unknown method, no valid pixel, or a prediction that is not finite there or nowhere positive.
    """
    if method not in ALIGNMENTS:
        raise InputError(f"Unknown alignment {method!r}.", f"Choose one of: {', '.join(ALIGNMENTS)}.")
    p, g = (np.asarray(depth, np.float64)[valid] for depth in (predicted, true))
    if len(g) == 0:
        raise InputError("The sequence has no pixel with a valid true depth.", "Check the unit and the range.")
    if not np.isfinite(p).all() or not (p > 0).any():
        raise InputError("The predicted depth is not finite, or nowhere positive.", "Depth is along the optical axis.")
    return ALIGNMENTS[method](p, g)


def _bisect_slope(p: Float64[np.ndarray, "n"], g: Float64[np.ndarray, "n"], start: float, width: float) -> float:
    """The scale at which Σ|s p - g - median| is least, searched from ``start`` outwards."""

    def slope(s: float) -> float:
        residual = s * p - g
        residual -= _lower_median(residual)
        sign = np.sign(residual)
        middle = residual == 0  # these share what makes the signs add up to zero, as at a best shift they do
        sign[middle] = -sign.sum() / middle.sum()
        return float((p * sign).sum())

    step = width * max(abs(start), 1e-6)
    low, high = start - step, start + step
    while slope(low) > 0:
        low -= (step := 2 * step)
    while slope(high) < 0:
        high += (step := 2 * step)
    while high - low > 1e-12 * max(abs(low), abs(high), 1e-12):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if slope(middle) > 0:
            high = middle
        else:
            low = middle
    return (low + high) / 2


def _ratio(true: float, predicted: float) -> float:
    """True over predicted; 0 where the prediction is 0, which no factor mends: all of it then counts as wrong."""
    return true / predicted if predicted else 0.0


def _lower_median(values: Float64[np.ndarray, "n"]) -> float:
    middle = (len(values) - 1) // 2
    return float(np.partition(values, middle)[middle])


def _weighted_median(values: Float64[np.ndarray, "n"], weights: Float64[np.ndarray, "n"]) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(total, total[-1] / 2)]])
