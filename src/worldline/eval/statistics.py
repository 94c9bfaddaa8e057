"""What many scenes say together: medians with their spread, and differences between two methods on the same scenes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

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


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean over samples and its 95 % percentile bootstrap interval, samples drawn with replacement; NaN left out.

    The interval is NaN for fewer than two samples. With a handful it is too narrow; it shows no more than how much the
    figure depends on which of them are there.
    """
    kept = known(values)
    if len(kept) == 0:
        return (math.nan, math.nan, math.nan)
    if len(kept) == 1:
        return (float(kept[0]), math.nan, math.nan)
    draws = np.random.default_rng(_SEED).integers(0, len(kept), (RESAMPLES, len(kept)))
    low, high = np.quantile(kept[draws].mean(1), (0.025, 0.975))
    return float(kept.mean()), float(low), float(high)


def mean_cell(values: Sequence[float]) -> str | None:
    """Mean with its interval as text; None where nothing is known."""
    mean, low, high = mean_interval(values)
    if math.isnan(mean):
        return None
    return f"{mean:.3g}" if math.isnan(low) else f"{mean:.3g} [{low:.3g}, {high:.3g}]"


def changes_from(
    base: str,
    groups: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]],
    titles: Mapping[str, str],
    counted: str,
) -> list[dict[str, Any]]:
    """What a sweep changes: by level and method, the mean difference from a base level on the same seeds.

    Args:
        base: the level that the others are compared with.
        groups: (level, method) -> records with a ``seed`` and figures.
        titles: of the compared figures, as their columns are called.
        counted: column of the number of seeds.
    """
    changes = []
    for (level, method), rows in groups.items():
        before = {row["seed"]: row for row in groups.get((base, method), ())}
        shared = [row for row in rows if row["seed"] in before]
        if level == base or not shared:
            continue
        line: dict[str, Any] = {"level": level, "method": method, counted: len(shared)}
        for name, title in titles.items():
            text = mean_cell([row.get(name, math.nan) - before[row["seed"]].get(name, math.nan) for row in shared])
            if text is not None:
                line[title] = text
        changes.append(line)
    return changes


def rounded(value: float, digits: int = 4) -> float:
    """Rounded for reports, NaN left as it is."""
    return value if math.isnan(value) else round(value, digits)
