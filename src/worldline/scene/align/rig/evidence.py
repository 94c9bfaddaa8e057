"""What single sources say about a scale: each gives the logarithm of metres per unit and its variance.

Variances are meant, not decorative: errors of neighbouring pixels and of successive frames go together, so the number
of *independent* pieces is far below the number of pixels, and every source has a floor below which its own assumption
(a flat road, a wheel's radius) is not known. docs/rig_alignment.md compares them with true errors.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

from worldline.scene.align.rig.camera import EstimatedCamera

GRID = (24, 42)  # sampled pixels of an image, whatever its size
SAMPLES = GRID[0] * GRID[1]
FLOOR = {"ego": 0.01, "ground": 0.02, "lidar": 0.01, "speed": 0.015, "previous": 0.01}  # relative, per fragment
_PATCH = 12  # sampled pixels whose errors go together
_MAX_PATCHES = 10.0
_TILT = np.radians(0.6)  # of the body on its springs, standard deviation
_MIN_MOTION = 0.004  # uncertainty of a camera centre, in median depths
_PART_OF_MOTION = 0.02  # and in parts of the way


class Vote(NamedTuple):
    """log(metres per unit) and its variance."""

    mean: float
    variance: float


@dataclass(frozen=True)
class Seen:
    """One map in its known camera, ready to be asked; all lengths in the unit of the map."""

    sensor: int
    intrinsics: Float64[np.ndarray, "3 3"]  # K, model pixels
    camera: EstimatedCamera
    depth: Float32[np.ndarray, "height width"]  # 0 where invalid
    usable: Bool[np.ndarray, "height width"]  # confident
    points: Float32[np.ndarray, "height width 3"]  # in the known camera
    median: float  # depth

    def sample(self) -> tuple[Float64[np.ndarray, "n 3"], Bool[np.ndarray, "n"], Float64[np.ndarray, "n"]]:
        """Points on the fixed grid, whether they are usable, and the rows of their pixels as shares of the height."""
        return self._sampled

    @cached_property
    def _sampled(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        height, width = self.depth.shape
        rows = ((np.arange(GRID[0]) + 0.5) * height / GRID[0]).astype(np.int64)
        columns = ((np.arange(GRID[1]) + 0.5) * width / GRID[1]).astype(np.int64)
        picked = np.ix_(rows, columns)
        shares = np.repeat(rows / height, GRID[1])
        return self.points[picked].reshape(-1, 3).astype(np.float64), self.usable[picked].reshape(-1), shares


def patches(count: int) -> float:
    """Independent pieces of evidence among sampled pixels."""
    return float(np.clip(count / _PATCH, 1.0, _MAX_PATCHES))


def robust_mean(values: Float[np.ndarray, "n"], weights: Float[np.ndarray, "n"]) -> tuple[float, float]:
    """Mean with Cauchy's influence, and the robust standard deviation of the values about it."""
    center = _weighted_median(values, weights)
    spread = 1.0
    for _ in range(6):
        spread = max(1.4826 * _weighted_median(np.abs(values - center), weights), 1e-4)
        influence = weights / (1.0 + np.square((values - center) / (1.5 * spread)))
        center = float((influence * values).sum() / influence.sum())
    return center, spread


def _weighted_median(values: Float[np.ndarray, "n"], weights: Float[np.ndarray, "n"]) -> float:
    order = np.argsort(values)
    total = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(total, 0.5 * total[-1])]])


def ground_vote(
    points: Float64[np.ndarray, "n 3"], up: Float64[np.ndarray, "3"], height: float, doubt: float = 0.02
) -> Vote | None:
    """Scale from the height of the camera above the road.

    A point of the road seen along a ray r with depth d has height -d (r . up) below the camera, whatever its distance:
    an error of depth is the same relative error of height. So one point is a hypothesis (the direction of up is
    known), all are tried, and the lowest well supported surface is the road. A small tilt of the body is estimated
    with it; far points, which a tilt moves most, count less.

    Args:
        points: in the camera, from the lower part of the image, unit of the map.
        up: unit vector in camera axes.
        height: metres of the camera above the road.
        doubt: standard deviation added for what else than the road may be there.
    """
    below = -(points @ up)
    distance = np.linalg.norm(points, axis=1)
    keep = (below > 0.04 * distance) & (distance > 0)  # at least 2.3 degrees below the horizon
    if keep.sum() < 40 or not height > 0.2:
        return None
    below, rays = below[keep], points[keep] / below[keep][:, None]  # rays reach unit depth below the camera
    logs = np.log(below)
    flat = rays + up  # horizontal part: what a tilt about the foot of the camera lifts
    sigma = np.sqrt(0.04**2 + np.square(_TILT * np.linalg.norm(flat, axis=1)))
    weights = 1.0 / np.square(sigma)
    candidates = np.quantile(logs, np.linspace(0.01, 0.99, 80))
    near = np.abs(logs[None] - candidates[:, None]) < 2.0 * sigma[None]
    support = (near * weights).sum(1)
    good = np.flatnonzero(support >= 0.45 * support.max())
    best = good[-1]  # the lowest: nothing lies below a road
    best = good[np.argmax(np.where(candidates[good] > candidates[best] - 0.06, support[good], -1))]
    members = near[best]
    if members.sum() < 25 or members.mean() < 0.12:
        return None
    first, second = _horizontal_axes(up)
    design = np.stack([np.ones(len(logs)), flat @ first, flat @ second], 1)
    prior = np.diag([0.0, 1.0, 1.0]) / _TILT**2
    solution = np.array([candidates[best], 0.0, 0.0])
    spread = 0.04
    for _ in range(6):
        residual = logs - design @ solution
        inside = np.abs(residual) < 4 * sigma
        spread = float(np.clip(1.4826 * np.median(np.abs(residual[inside])), 0.003, 0.1)) if inside.any() else 0.1
        influence = weights * (0.04 / spread) ** 2 * inside / (1 + np.square(residual / (1.5 * spread)))
        influence *= patches(int(inside.sum())) / max(inside.sum(), 1)
        normal = (design * influence[:, None]).T @ design + prior
        solution = np.linalg.solve(normal, (design * influence[:, None]).T @ logs)
    variance = float(np.linalg.inv(normal)[0, 0])
    return Vote(float(np.log(height) - solution[0]), variance + doubt**2)


def _horizontal_axes(up: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    helper = np.eye(3)[np.argmin(np.abs(up))]
    first = np.cross(up, helper)
    first /= np.linalg.norm(first)
    return first, np.cross(up, first)


def lidar_vote(seen: Seen, points: Float[np.ndarray, "n 3"]) -> Vote | None:
    """Scale from LiDAR points (camera axes, metres): median ratio of depths at the pixels that they project to.

    The scanner sees a little behind what hides it from the camera; the median does not mind.
    """
    height, width = seen.depth.shape
    points = points[points[:, 2] > 0.5]
    pixels = (points / points[:, 2:]) @ seen.intrinsics[:2].T
    columns, rows = np.rint(pixels[:, 0]), np.rint(pixels[:, 1])
    inside = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    rows, columns = rows[inside].astype(np.int64), columns[inside].astype(np.int64)
    depth = np.where(seen.usable[rows, columns], seen.depth[rows, columns], 0.0)
    hit = depth > 0
    if hit.sum() < 20:
        return None
    mean, spread = robust_mean(np.log(points[inside][hit, 2] / depth[hit]), np.ones(int(hit.sum())))
    return Vote(mean, spread**2 / patches(int(hit.sum())) + 0.01**2)


def motion_sigma(length: float, depth: float) -> float:
    """Standard uncertainty of an estimated camera displacement, per axis, in the unit of its arguments."""
    return float(np.hypot(_MIN_MOTION * depth, _PART_OF_MOTION * length))


def ego_vote(
    estimated: Float64[np.ndarray, "n 3"], known: Float64[np.ndarray, "n 3"], median_depth: float
) -> Vote | None:
    """Scale from displacements of the camera since its reference frame: estimated (units) against known (metres).

    The known ones are exact, so the estimated ones are regressed on them (units per metre). The other way round, noise
    would make the scale too small. Reweighted by Cauchy's influence; a car that stands gives a large variance.
    """
    power = np.square(known).sum(1)
    if len(known) < 1 or power.max() < 1e-4:
        return None
    ratios = (estimated * known).sum(1) / np.maximum(power, 1e-9)
    slope = _weighted_median(ratios, power)
    expected = _MIN_MOTION * median_depth
    weights = np.ones(len(known))
    for _ in range(8):
        residual = np.square(estimated - slope * known).sum(1)
        sigma2 = 3 * (expected**2 + _PART_OF_MOTION**2 * slope**2 * power)
        weights = 1.0 / (sigma2 * (1 + residual / (4 * sigma2)))
        slope = float((weights * (estimated * known).sum(1)).sum() / (weights * power).sum())
    if not slope > 0:
        return None
    chi2 = max(1.0, float((residual / sigma2).mean()))
    few = max(1.0, len(known) / 4)  # frames that follow each other share their errors
    variance = chi2 * few / (3 * float((weights * power).sum())) / slope**2
    if variance > 1.0:
        return None
    return Vote(-float(np.log(slope)), variance)


def speed_vote(
    moved: Float64[np.ndarray, "3"], lever: Float64[np.ndarray, "3"], travelled: float, median_depth: float
) -> Vote | None:
    """Scale from the way that the wheels report: |s moved - lever| = travelled.

    Args:
        moved: displacement of the camera (units).
        lever: part of it that comes from the turn of the rig (metres, same axes).
        travelled: metres along the chord, of the origin of the rig.
    """
    square, mixed = float(moved @ moved), float(moved @ lever)
    inner = mixed**2 - square * (float(lever @ lever) - travelled**2)
    if square <= 0 or inner <= 0 or travelled < 0.2:
        return None
    scale = (mixed + np.sqrt(inner)) / square
    if not scale > 0:
        return None
    sigma = motion_sigma(float(np.sqrt(square)), median_depth)
    # noise lengthens a displacement: |a + n| is |a| + |n across|^2 / (2 |a|) on average
    bias = (sigma**2) / square
    variance = (sigma * scale / travelled) ** 2 + 0.01**2
    return Vote(float(np.log(scale)) + bias, variance) if variance < 0.5 else None
