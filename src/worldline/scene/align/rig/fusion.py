"""One estimate of all scales from everything that is known: inverse variances, outliers held down."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64

from worldline.scene.align.rig.factors import Factor

UNKNOWN = 1.0  # a log scale of greater variance is not known
_PRIOR = 25.0  # variance of a log scale before anything is known
_ROUNDS = 6
_CAUCHY = 2.0  # standard deviations at which a vote counts half


class Opinion(NamedTuple):
    """What one source says about one sensor."""

    sensor: int
    source: str
    mean: float
    variance: float


@dataclass(frozen=True)
class Fused:
    """Log scales of all sensors."""

    mean: Float64[np.ndarray, "sensor"]
    variance: Float64[np.ndarray, "sensor"]  # of the ratio to the unit of the group where it is arbitrary
    known: Bool[np.ndarray, "sensor"]  # metric
    shares: tuple[Mapping[str, float], ...]  # per sensor: part of each source in the information
    outvoted: tuple[Opinion, ...]  # held down by the others


def fuse(
    count: int,
    opinions: Sequence[Opinion],
    pairs: Mapping[tuple[int, int], Mapping[str, Factor]],
    units: Sequence[Opinion],
) -> Fused:
    """Combine votes on single scales and factors on pairs of them.

    Args:
        count: number of sensors.
        opinions: votes in metres per unit.
        pairs: factors by sensors and source.
        units: votes that only hold where nothing metric is known: they fix an arbitrary unit.
    """
    mean, variance, weights = _solve(count, opinions, pairs)
    known = variance < UNKNOWN
    if not known.all() and units:
        anchored = [*opinions, *(unit for unit in units if not known[unit.sensor])]
        mean, variance, weights = _solve(count, anchored, pairs)
        weights = weights[: len(opinions)]
    outvoted = tuple(o for o, w in zip(opinions, weights, strict=True) if w < 0.3)
    return Fused(mean, variance, known, _shares(count, opinions, weights, pairs), outvoted)


def _solve(
    count: int, opinions: Sequence[Opinion], pairs: Mapping[tuple[int, int], Mapping[str, Factor]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    base, pull = np.eye(count) / _PRIOR, np.zeros(count)
    for (a, b), by_source in pairs.items():
        for factor in by_source.values():
            base[np.ix_((a, b), (a, b))] += factor.information
            pull[[a, b]] += factor.vector
    sensors = np.array([o.sensor for o in opinions], np.int64)
    means = np.array([o.mean for o in opinions])
    precision = np.array([1.0 / o.variance for o in opinions])
    weights = np.ones(len(opinions))
    mean: Float64[np.ndarray, "sensor"] = np.zeros(count)
    information = base
    for _ in range(_ROUNDS):
        information, right = base.copy(), pull.copy()
        np.add.at(information, (sensors, sensors), weights * precision)
        np.add.at(right, sensors, weights * precision * means)
        mean = np.linalg.solve(information, right)
        if not len(opinions):
            break
        weights = 1.0 / (1.0 + np.square(means - mean[sensors]) * precision / _CAUCHY**2)
    variance = np.diag(np.linalg.inv(information)).copy()
    for sensor in range(count):  # sources that disagree more than they admit
        mine = sensors == sensor
        if mine.sum() > 1:
            misfit = weights[mine] * np.square(means[mine] - mean[sensor]) * precision[mine]
            variance[sensor] *= max(1.0, float(misfit.sum() / (mine.sum() - 1)))
    return mean, variance, weights


def _shares(
    count: int,
    opinions: Sequence[Opinion],
    weights: np.ndarray,
    pairs: Mapping[tuple[int, int], Mapping[str, Factor]],
) -> tuple[dict[str, float], ...]:
    """Diagonal information by source; for pairs it is what the other camera's scale would give if it were known."""
    shares: list[dict[str, float]] = [{} for _ in range(count)]
    for opinion, weight in zip(opinions, weights, strict=True):
        mine = shares[opinion.sensor]
        mine[opinion.source] = mine.get(opinion.source, 0.0) + float(weight) / opinion.variance
    for pair, by_source in pairs.items():
        for source, factor in by_source.items():
            for place, sensor in enumerate(pair):
                mine = shares[sensor]
                mine[source] = mine.get(source, 0.0) + float(factor.information[place, place])
    totals = [sum(mine.values()) for mine in shares]
    return tuple(
        {source: value / total for source, value in mine.items()} if total > 0 else {}
        for mine, total in zip(shares, totals, strict=True)
    )
