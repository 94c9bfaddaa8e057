"""What two calibrated cameras say about their scales together: linear factors on (log scale a, log scale b).

``overlap``: with the right scales, a surface that both see has one place. The ratio of the scales follows at once; the
absolute scale only through the baseline, whose effect is a few per cent of the depth, so its variance is large.
``turn``: cameras on one body share its motion. In a bend their levers (metres) make the scale observable.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from worldline.scene.align.rig.evidence import Seen, Vote, motion_sigma, patches, robust_mean

_START = np.linspace(-2.0, 2.0, 17)  # tried log scales about a median depth of 10 m
_MIN_SHARED = 20  # sampled pixels
_SMALLEST = 0.002  # disagreement that interpolation causes between exact maps
_CLEAR = 3.0  # standard deviations by which a turn must move a lever
_EDGE = 0.2  # residual at which a pixel counts as an edge or an occlusion
_TELLING = 0.02  # maps that disagree more than this, at best, cannot show a baseline of a few per cent of the depth
_RATIO_DOUBT = 0.02  # standard deviation of a ratio: the two cameras see edges differently
_DOUBT = 0.05  # standard deviation of an absolute scale from a baseline that no formula shows
_PIECES = 4.0  # independent pieces of evidence about the baseline in one image pair


class Factor(NamedTuple):
    """Information matrix and vector of two log scales: the estimate is the solution of information @ x = vector."""

    information: Float64[np.ndarray, "2 2"]
    vector: Float64[np.ndarray, "2"]


def overlap_factor(
    a: Seen, b: Seen, b_from_a: Float64[np.ndarray, "4 4"], start: tuple[float, float], profiled: bool, sure: bool
) -> Factor | None:
    """Agreement of two maps where the fields of view overlap.

    Args:
        b_from_a: known pose of camera a in camera b, metres.
        start: log scales to linearise at.
        profiled: look for the absolute scale too, from the baseline; else the factor tells the ratio only.
        sure: the start is known well; an absolute scale far from it is doubted.
    """
    sampled, usable, _ = a.sample()
    points = sampled[usable]
    points = points[_towards(points, b, b_from_a)]
    if len(points) < _MIN_SHARED:
        return None
    found = _profile(a, b, points, b_from_a) if profiled else None
    # where nothing is sure, a usual depth: the ratio depends a little on how large the baseline is beside it
    log_a = start[0] if sure else _usual(a) if found is None else found.mean
    return _ratio(points, b, b_from_a, log_a, found, start[0] if sure else None)


def _towards(points: np.ndarray, b: Seen, b_from_a: np.ndarray) -> np.ndarray:
    """Points that may lie in the image of b: their directions do, with 0.3 image sides to spare for the baseline."""
    rays = points @ b_from_a[:3, :3].T
    front = rays[:, 2] > 0
    pixels = (rays / np.where(front, rays[:, 2], 1.0)[:, None]) @ b.intrinsics[:2].T
    size = np.array(b.depth.shape[::-1])
    return front & (np.abs(pixels / size - 0.5) < 0.8).all(1)


def _residuals(points: np.ndarray, b: Seen, b_from_a: np.ndarray, log_a: float) -> tuple[np.ndarray, np.ndarray]:
    """log depth in b as a's map has it minus b's own (in units of b), and where there is one."""
    moved = np.exp(log_a) * (points @ b_from_a[:3, :3].T) + b_from_a[:3, 3]
    depth = moved[:, 2]
    front = depth > 1e-3
    safe = np.where(front, depth, 1.0)
    pixels = (moved / safe[:, None]) @ b.intrinsics[:2].T
    height, width = b.depth.shape
    columns, rows = pixels[:, 0], pixels[:, 1]
    inside = front & (columns >= 0) & (columns <= width - 1) & (rows >= 0) & (rows <= height - 1)
    left, top = (np.where(inside, each, 0.0) for each in (columns, rows))
    column, row = np.minimum(left.astype(np.int64), width - 2), np.minimum(top.astype(np.int64), height - 2)
    fx, fy = left - column, top - row
    # inverse depth is linear in pixels on a plane
    corners = [b.depth[row + i, column + j] for i in (0, 1) for j in (0, 1)]
    usable = [b.usable[row + i, column + j] for i in (0, 1) for j in (0, 1)]
    ok = inside & np.logical_and.reduce(usable) & (np.minimum.reduce(corners) > 0.8 * np.maximum.reduce(corners))
    inverse = [1.0 / np.where(ok, corner, 1.0) for corner in corners]
    mixed = (inverse[0] * (1 - fx) + inverse[1] * fx) * (1 - fy) + (inverse[2] * (1 - fx) + inverse[3] * fx) * fy
    return np.where(ok, np.log(safe) + np.log(mixed), 0.0), ok


def _profile(a: Seen, b: Seen, points: np.ndarray, b_from_a: np.ndarray) -> Vote | None:
    """Log scale of a from how well the maps agree at each scale, the ratio being free; None where all are alike.

    The likelihood is the disagreement to the power of minus the independent pieces. A single plane leaves it flat, and
    noise as large as the effect of the baseline is no measurement: then nothing is claimed.
    """
    center = _usual(a)
    tried, costs = np.zeros(0), np.zeros(0)
    grid = center + _START
    for zoom in range(4):
        tried = np.r_[tried, grid]
        costs = np.r_[costs, [_disagreement(points, b, b_from_a, float(log_a)) for log_a in grid]]
        if not costs.min() < np.inf:
            return None
        grid = tried[np.argmin(costs)] + 0.1 * 0.25**zoom * np.array([-2.0, -1.0, 1.0, 2.0])
    if costs.min() > _TELLING:
        return None
    order = np.argsort(tried)
    tried, costs = tried[order], costs[order]
    density = np.where(np.isfinite(costs), (costs / costs.min()) ** -_PIECES, 0.0) * np.gradient(tried)
    density /= density.sum()
    best = float(tried[np.argmin(costs)])
    variance = float((density * np.square(tried - best)).sum())
    flat = float(np.ptp(_START)) ** 2 / 12
    if variance > 0.5 * flat:
        return None
    return Vote(best, 1.0 / (1.0 / variance - 1.0 / flat))


def _usual(seen: Seen) -> float:
    """Log scale at which the median depth is 10 m."""
    return float(np.log(10.0 / max(seen.median, 1e-9)))


def _disagreement(points: np.ndarray, b: Seen, b_from_a: np.ndarray, log_a: float) -> float:
    """Mean deviation of the residuals from their median, held to a bound at edges, at least what interpolation costs.

    A mean and not a median: half of the pixels often show the road, which as a plane fits at every scale.
    """
    residual, ok = _residuals(points, b, b_from_a, log_a)
    if ok.sum() < max(_MIN_SHARED, 0.15 * len(points)):
        return np.inf
    return max(float(np.minimum(np.abs(residual[ok] - np.median(residual[ok])), _EDGE).mean()), _SMALLEST)


def _ratio(
    points: np.ndarray,
    b: Seen,
    b_from_a: np.ndarray,
    log_a: float,
    absolute: Vote | None,
    expected: float | None,
) -> Factor | None:
    """Factor on both scales: their ratio near a's scale, and a's absolute scale if there is a vote on it."""
    residual, ok = _residuals(points, b, b_from_a, log_a)
    if ok.sum() < _MIN_SHARED:
        return None
    mean, spread = robust_mean(residual[ok], np.ones(int(ok.sum())))
    # The ratio changes a little with a's scale. To say so here would make a ring of ratios tell absolute scales, out of
    # noise; the next step linearises anew.
    jacobian = np.array([1.0, -1.0])
    weight = 1.0 / (spread**2 / patches(int(ok.sum())) + _RATIO_DOUBT**2)
    information = weight * np.outer(jacobian, jacobian)
    vector = information @ np.array([log_a, mean])
    if absolute is not None:
        variance = absolute.variance + _DOUBT**2
        variance += np.square(absolute.mean - expected) / 4 if expected is not None else 0.0
        information[0, 0] += 1.0 / variance
        vector[0] += absolute.mean / variance
    return Factor(information, vector)


def carried_vote(
    points: Float64[np.ndarray, "n 3"], seen: Seen, cam_from_before: Float64[np.ndarray, "4 4"], log_scale: float
) -> Vote | None:
    """Log scale of a new map from points of an earlier one (its units; zeros are no points) and their log scale.

    Args:
        cam_from_before: how the camera moved in between, metres; the identity for the image that both maps show.
    """
    residual, ok = _residuals(points[points[:, 2] > 0], seen, cam_from_before, log_scale)
    if ok.sum() < _MIN_SHARED:
        return None
    mean, spread = robust_mean(residual[ok], np.ones(int(ok.sum())))
    return Vote(mean, spread**2 / patches(int(ok.sum())))


class Moved(NamedTuple):
    """Displacement of one camera between two steps, in rig axes of the first."""

    way: Float64[np.ndarray, "3"]  # units
    depth: float  # median depth, units
    lever: Float64[np.ndarray, "3"]  # (1 - R) t: what the turn of the rig adds, metres


def turn_factor(a: Moved, b: Moved, start: tuple[float, float], *, absolute: bool = True) -> Factor | None:
    """Both cameras tell the displacement of the rig: s_a way_a + lever_a = s_b way_b + lever_b.

    Args:
        absolute: the levers are known in metres; False: they were estimated with the scales and say nothing new.
    """
    x = np.array(start, np.float64)
    scale = np.exp(x)
    ways = (scale[0] * a.way, scale[1] * b.way)
    sigma = np.hypot(
        motion_sigma(float(np.linalg.norm(ways[0])), scale[0] * a.depth),
        motion_sigma(float(np.linalg.norm(ways[1])), scale[1] * b.depth),
    )
    if sigma <= 0:
        return None
    residual = ways[0] + a.lever - ways[1] - b.lever
    # With the true scales, the ways differ by what the turn adds. The difference of the *estimated* ways would be
    # mostly noise, and would pull all scales towards zero.
    middle, added = 0.5 * (ways[0] + ways[1]), b.lever - a.lever
    if not absolute or np.linalg.norm(added) < _CLEAR * sigma:
        added = np.zeros(3)  # straight on: the ratio is all that can be told
    jacobian = np.stack([middle + 0.5 * added, -middle + 0.5 * added], 1)
    weight = 1.0 / sigma**2 / (1.0 + float(residual @ residual) / (9 * sigma**2))
    information = weight * jacobian.T @ jacobian
    if np.trace(information) < 1.0:
        return None
    return Factor(information, information @ x - weight * jacobian.T @ residual)
