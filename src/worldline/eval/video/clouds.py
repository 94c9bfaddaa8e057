"""Point clouds of a whole video in one world frame: mean L1 distance after shifting the means onto each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from worldline.errors import InputError


@dataclass(frozen=True)
class CloudScores:
    """Scores of one sequence."""

    l1: float  # mean over points, unit of the truth
    scale: float  # of the alignment


def score_cloud(
    predicted: Float[np.ndarray, "*n 3"],
    true: Float[np.ndarray, "*n 3"],
    valid: Bool[np.ndarray, "*n"],
    *,
    scale: bool = False,
    coordinates: Literal["sum", "mean"] = "sum",
) -> CloudScores:
    """Mean L1 distance of corresponding points (arXiv 2512.08924, table 5).

    The paper says "via mean-shifting" and no more. Here: points correspond pixel by pixel, both clouds have their mean
    over the valid points subtracted, and nothing is turned.

    Args:
        predicted, true: the points that the same pixels show, in one frame of axes.
        scale: also multiply the centred prediction by the ratio of mean distances from the mean.
        coordinates: L1 as the sum over x, y, z (the L1 norm), or their mean, a third of it.

    Raises:
        InputError: different shapes, no valid point, or predicted points that are not finite there.
    """
    if np.shape(predicted) != np.shape(true) or np.shape(valid) != np.shape(true)[:-1]:
        raise InputError(
            f"Clouds of shapes {np.shape(predicted)} and {np.shape(true)}.", "Points must correspond one by one."
        )
    p, g = (np.asarray(points, np.float64)[valid] for points in (predicted, true))
    if len(g) == 0 or not np.isfinite(p).all():
        raise InputError("No valid point, or a predicted one that is not finite.", "Mark such points as not valid.")
    p, g = p - p.mean(0), g - g.mean(0)
    spread = np.linalg.norm(p, axis=-1).mean()
    factor = float(np.linalg.norm(g, axis=-1).mean() / spread) if scale and spread > 0 else 1.0
    error = np.abs(factor * p - g)
    return CloudScores(float((error.sum(-1) if coordinates == "sum" else error.mean(-1)).mean()), factor)
