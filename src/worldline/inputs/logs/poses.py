"""Poses of a rig over time, and the calibration of its cameras, from the numbers that data sets store."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64

# forward, left, up of a rig from the right, down, forward of a camera that looks ahead
FLU_FROM_CV: Float64[np.ndarray, "4 4"] = np.array(
    [[0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]], dtype=np.float64
)


def pose(translation: Sequence[float], wxyz: Sequence[float]) -> Float64[np.ndarray, "4 4"]:
    """Matrix of a translation and a quaternion w, x, y, z of any length but 0.

    Raises:
        ValueError: the numbers are no pose.
    """
    from scipy.spatial.transform import Rotation

    w, x, y, z = (float(value) for value in wxyz)
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat([x, y, z, w]).as_matrix()
    matrix[:3, 3] = np.asarray(translation, np.float64).reshape(3)
    if not np.isfinite(matrix).all():
        raise ValueError("a pose that is not finite")
    return matrix


def rigid(values: object) -> Float64[np.ndarray, "4 4"]:
    """16 (or 12) numbers as a rigid motion.

    Raises:
        ValueError: they are none.
    """
    matrix = np.eye(4)
    numbers = np.asarray(values, np.float64)
    matrix[: 3 if numbers.size == 12 else 4] = numbers.reshape(-1, 4)
    rotation = matrix[:3, :3]
    if not np.isfinite(matrix).all() or not np.allclose(matrix[3], (0, 0, 0, 1), atol=1e-6):
        raise ValueError("a 4x4 matrix that is no pose")
    if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) or np.linalg.det(rotation) < 0:
        raise ValueError("a 4x4 matrix whose rotation is none")
    return matrix


def inverse(a_from_b: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
    """``b_from_a`` of a rigid motion."""
    matrix = np.eye(4)
    matrix[:3, :3] = a_from_b[:3, :3].T
    matrix[:3, 3] = -a_from_b[:3, :3].T @ a_from_b[:3, 3]
    return matrix


def pinhole(fx: float, fy: float, cx: float, cy: float) -> Float64[np.ndarray, "3 3"]:
    """Intrinsics in pixels.

    Raises:
        ValueError: a focal length that is not positive, or a number that is not finite.
    """
    if not min(fx, fy) > 0 or not np.isfinite([fx, fy, cx, cy]).all():
        raise ValueError(f"intrinsics {fx}, {fy}, {cx}, {cy}")
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


class PoseTrack:
    """Where a rig was between the times at which it was measured: linear in position, slerp in rotation."""

    def __init__(self, times: Float[np.ndarray, "n"], world_from_rig: Float[np.ndarray, "n 4 4"]) -> None:
        order = np.argsort(times, kind="stable")
        keep = order[np.r_[True, np.diff(np.asarray(times)[order]) > 0]] if len(order) else order
        self.times = np.asarray(times, np.float64)[keep]
        self.poses = np.asarray(world_from_rig, np.float64).reshape(-1, 4, 4)[keep]

    def at(self, time: float) -> Float64[np.ndarray, "4 4"] | None:
        """The pose at a time in seconds; None before the first and after the last measurement."""
        if not len(self.times) or not self.times[0] <= time <= self.times[-1]:
            return None
        after = int(np.searchsorted(self.times, time))
        if self.times[after] == time:
            return self.poses[after].copy()
        from scipy.spatial.transform import Rotation, Slerp

        pair = slice(after - 1, after + 1)
        share = (time - self.times[after - 1]) / (self.times[after] - self.times[after - 1])
        result = np.eye(4)
        result[:3, :3] = Slerp([0.0, 1.0], Rotation.from_matrix(self.poses[pair, :3, :3]))(share).as_matrix()
        result[:3, 3] = (1 - share) * self.poses[after - 1, :3, 3] + share * self.poses[after, :3, 3]
        return result
