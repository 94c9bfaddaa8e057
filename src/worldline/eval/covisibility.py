"""Which share of a view's surface other views see, from exact truth: a property of the photos, not a score."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Float64

from worldline.eval.sequences import GroundTruth

SAME_SURFACE = 0.05  # depths this close, relatively, belong to one surface
STRIDE = 4  # pixels between the samples of a view


def covisibility(truth: GroundTruth) -> Float64[np.ndarray, "view other"]:
    """``[i, j]``: share of the valid pixels of view i whose points view j sees unhidden; 1 on the diagonal.

    The truth must be that of whole photos at the size of its cameras, as procedural scenes have it.
    """
    count = len(truth.valid)
    shares = np.eye(count)
    for first in range(count):
        points = truth.points[first, ::STRIDE, ::STRIDE][truth.valid[first, ::STRIDE, ::STRIDE]]
        for second in range(count):
            if first == second or len(points) == 0:
                continue
            shares[first, second] = sees(truth, second, points).mean()
    return shares


def sees(truth: GroundTruth, view: int, points: Float[np.ndarray, "*n 3"]) -> Bool[np.ndarray, "*n"]:
    """Which world points a view sees unhidden: inside its image, and its own surface there is equally far."""
    height, width = truth.depth.shape[1:]
    pixels, depth = truth.cameras[view].project(points)
    x, y = np.moveaxis(np.rint(np.clip(pixels, -1, max(height, width))).astype(int), -1, 0)
    inside = (depth > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    met = np.abs(truth.depth[view, y, x] - depth) < SAME_SURFACE * np.abs(depth)
    return inside & met & truth.valid[view, y, x]


def overlap(truth: GroundTruth) -> float:
    """Mean over views of the largest share of a view's pixels that another view of the set sees."""
    shares = covisibility(truth)
    np.fill_diagonal(shares, 0)
    return float(shares.max(1).mean())


def references_by_overlap(truth: GroundTruth) -> list[int]:
    """Views from the one that sees most of the others to the one that sees least."""
    shares = covisibility(truth)
    np.fill_diagonal(shares, 0)
    return np.argsort(-shares.mean(0), kind="stable").tolist()
