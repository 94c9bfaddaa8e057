"""What many scenes say together: medians with their spread, and differences between two methods on the same scenes."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from worldline.eval.figures import FIGURES

RESAMPLES = 1000
_SEED = 0


def known(values: Sequence[float] | Float[np.ndarray, "n"]) -> Float[np.ndarray, "m"]:
    """The values that are defined."""
    array = np.asarray(values, dtype=np.float64)
    return array[~np.isnan(array)]


def center(name: str, values: Sequence[float]) -> float:
    """Median over scenes, or the mean of figures that are shares; NaN where none is defined."""
    kept = known(values)
    if len(kept) == 0:
        return math.nan
    figure = FIGURES.get(name)
    return float(kept.mean() if figure and figure.over_scenes == "mean" else np.median(kept))


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """First and third quartile; NaN where none is defined."""
    kept = known(values)
    return (math.nan, math.nan) if len(kept) == 0 else tuple(np.quantile(kept, (0.25, 0.75)).tolist())


def bootstrap(name: str, values: Sequence[float], share: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of :func:`center`: scenes drawn with replacement, the same draw in every run."""
    kept = known(values)
    if len(kept) < 2:
        return (math.nan, math.nan)
    draws = np.random.default_rng(_SEED).integers(0, len(kept), (RESAMPLES, len(kept)))
    figure = FIGURES.get(name)
    reduce = np.mean if figure and figure.over_scenes == "mean" else np.median
    low, high = np.quantile(reduce(kept[draws], axis=1), ((1 - share) / 2, (1 + share) / 2))
    return float(low), float(high)


def paired(name: str, first: Sequence[float], second: Sequence[float]) -> dict[str, float]:
    """The second method minus the first on the same scenes: median difference, its interval, share that got better.

    Ties count half. NaN in either leaves a scene out.
    """
    difference = known(np.asarray(second, np.float64) - np.asarray(first, np.float64))
    if len(difference) == 0:
        return {"difference": math.nan, "low": math.nan, "high": math.nan, "better": math.nan, "scenes": 0}
    low, high = bootstrap(name, list(difference))
    gain = -difference if FIGURES[name].better == "lower" else difference
    return {
        "difference": center(name, list(difference)),
        "low": low,
        "high": high,
        "better": float(((gain > 0) + 0.5 * (gain == 0)).mean()),
        "scenes": len(difference),
    }


def rounded(value: float, digits: int = 4) -> float:
    """Rounded for reports, NaN left as it is."""
    return value if math.isnan(value) else round(value, digits)
