"""Curves in SE(3): an interpolating spline, a smoother, and a short way through unordered poses."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float64, Int64
from scipy.interpolate import CubicSpline
from scipy.spatial.transform import Rotation, RotationSpline

from worldline.errors import InputError

_FINE = 64  # pieces per key in which the length of a curve is measured
_SWEEPS = 50  # of 2-opt at most; it stops earlier when nothing is gained


class CameraSpline:
    """A curve through camera poses: position and rotation have continuous second derivatives.

    Positions are cubic splines (ends "not a knot"), rotations scipy's ``RotationSpline``. The parameter is the square
    root of the way between neighbours (centripetal), which keeps the curve from overshooting, unless it is given.

    Args:
        poses: ``world_from_cam`` of the keys, at least one.
        unit: length that weighs as much as a turn by one radian, in the unit of the poses.
        parameter: rising numbers that belong to the keys, e.g. seconds.

    Raises:
        InputError: no keys, or a parameter that does not rise.
    """

    def __init__(
        self, poses: Float[np.ndarray, "n 4 4"], *, unit: float = 1.0, parameter: Float[np.ndarray, "n"] | None = None
    ) -> None:
        if not len(poses):
            raise InputError("A path needs a camera.", "Give one or more.")
        self.unit = max(unit, 1e-12)
        if parameter is None:
            steps = pose_steps(poses, self.unit)
            moved = np.concatenate([[True], steps > 1e-9])  # the same pose twice is one key
            poses = poses[moved]
            parameter = np.concatenate([[0.0], np.cumsum(np.sqrt(steps[moved[1:]]))])
        if (np.diff(parameter) <= 0).any():
            raise InputError("The times of a path do not rise.", "Give each camera a later time than the one before.")
        self.knots = np.asarray(parameter, np.float64)
        rotations = Rotation.from_matrix(poses[:, :3, :3])
        self._single = poses[0] if len(poses) == 1 else None
        if len(poses) > 1:
            self._position = CubicSpline(
                self.knots, poses[:, :3, 3], bc_type="not-a-knot" if len(poses) > 3 else "natural"
            )
            self._rotation = RotationSpline(self.knots, rotations)

    def at(self, parameter: Float[np.ndarray, "m"]) -> Float64[np.ndarray, "m 4 4"]:
        """Poses on the curve."""
        poses = np.tile(np.eye(4), (len(parameter), 1, 1))
        if self._single is not None:
            return poses @ self._single
        poses[:, :3, :3] = self._rotation(parameter).as_matrix()
        poses[:, :3, 3] = self._position(parameter)
        return poses

    def even(self, count: int) -> Float64[np.ndarray, "m"]:
        """Parameters of so many poses, from end to end, with the same way (of moving and turning) between all."""
        if len(self.knots) == 1:
            return np.repeat(self.knots, count)
        fine = np.concatenate(
            [np.linspace(a, b, _FINE, endpoint=False) for a, b in zip(self.knots[:-1], self.knots[1:], strict=True)]
            + [self.knots[-1:]]
        )
        way = np.concatenate([[0.0], np.cumsum(pose_steps(self.at(fine), self.unit))])
        return np.interp(np.linspace(0, way[-1], count), way, fine)


def pose_steps(poses: Float[np.ndarray, "n 4 4"], unit: float) -> Float64[np.ndarray, "n-1"]:
    """Way from each pose to the next: the root of moved² (in units) and turned² (in radians)."""
    moved = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1) / unit
    turns = Rotation.from_matrix(poses[:, :3, :3])
    turned = (turns[:-1].inv() * turns[1:]).magnitude() if len(poses) > 1 else np.zeros(0)
    return np.hypot(moved, turned)


def smoothed(
    poses: Float[np.ndarray, "n 4 4"], seconds: Float[np.ndarray, "n"], width: float
) -> Float64[np.ndarray, "n 4 4"]:
    """A trajectory without its shaking: around every moment, the motion of constant velocity that fits best.

    Local linear regression with Gaussian weights of standard deviation ``width`` (seconds), of positions in the world
    and of rotations in the tangent space at their weighted mean. So steady motion passes unchanged, ends included.
    """
    result = np.tile(np.eye(4), (len(poses), 1, 1))
    turns = Rotation.from_matrix(poses[:, :3, :3])
    for index, now in enumerate(seconds):
        weight = np.exp(-0.5 * ((seconds - now) / width) ** 2)
        near = np.flatnonzero(weight > 1e-4)
        weight, apart = weight[near], (seconds[near] - now) / width
        mean = turns[near].mean(weights=weight)
        tangent = (mean.inv() * turns[near]).as_rotvec()
        values = np.concatenate([poses[near, :3, 3], tangent], axis=1)
        fit = _value_at_zero(apart, values, weight)
        result[index, :3, 3] = fit[:3]
        result[index, :3, :3] = (mean * Rotation.from_rotvec(fit[3:])).as_matrix()
    return result


def _value_at_zero(
    at: Float64[np.ndarray, "n"], values: Float64[np.ndarray, "n k"], weight: Float64[np.ndarray, "n"]
) -> Float64[np.ndarray, "k"]:
    """The weighted line of best fit, at zero; the mean where there is no line."""
    total, first, second = weight.sum(), weight @ at, weight @ (at * at)
    spread = second - first * first / total
    mean = weight @ values / total
    if spread < 1e-9 * total:
        return mean
    slope = (weight * (at - first / total)) @ values / spread
    return mean - slope * first / total


def route(poses: Float[np.ndarray, "n 4 4"], unit: float) -> Int64[np.ndarray, "n"]:
    """An order in which unordered poses are visited by a short way: nearest neighbours, then 2-opt; ends are free."""
    turns = Rotation.from_matrix(poses[:, :3, :3])
    moved = np.linalg.norm(poses[:, None, :3, 3] - poses[None, :, :3, 3], axis=-1) / max(unit, 1e-12)
    turned = np.stack([(turn.inv() * turns).magnitude() for turn in turns])
    way = np.hypot(moved, turned)
    best = min((_nearest_first(way, start) for start in range(min(len(poses), 8))), key=lambda o: _length(way, o))
    for _ in range(_SWEEPS):
        better = _two_opt(way, best)
        if better is None:
            break
        best = better
    return np.asarray(best, np.int64)


def _nearest_first(way: Float64[np.ndarray, "n n"], start: int) -> list[int]:
    order, left = [start], set(range(len(way))) - {start}
    while left:
        order.append(min(left, key=lambda other: way[order[-1], other]))
        left.remove(order[-1])
    return order


def _length(way: Float64[np.ndarray, "n n"], order: list[int]) -> float:
    return float(way[order[:-1], order[1:]].sum())


def _two_opt(way: Float64[np.ndarray, "n n"], order: list[int]) -> list[int] | None:
    """The order with the piece reversed whose reversal gains most, None if none gains."""
    padded = np.zeros((len(way) + 1, len(way) + 1))
    padded[:-1, :-1] = way  # the last one is "no neighbour", at no cost: the ends are free
    around = np.array([-1, *order, -1])
    before, after = around[:-2], around[2:]
    inside = around[1:-1]
    gain = (
        padded[before, inside][:, None] + padded[inside, after][None]
        - padded[before[:, None], inside[None]] - padded[inside[:, None], after[None]]
    )  # fmt: skip
    gain = np.triu(gain, 1)
    first, last = np.unravel_index(np.argmax(gain), gain.shape)
    if gain[first, last] < 1e-12:
        return None
    return [*order[:first], *order[first : last + 1][::-1], *order[last + 1 :]]
