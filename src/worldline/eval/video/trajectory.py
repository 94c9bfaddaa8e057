"""Camera trajectories: association by time stamps, alignment, ATE and RPE as the program evo computes them.

Poses are ``world_from_cam`` (camera to world), float64. Parity with evo 1.38.1: tests/parity/test_video_poses.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64

from worldline.errors import InputError
from worldline.geometry import Similarity, fit_similarity, rotation_angle

Alignment = Literal["sim3", "se3", "scale", "origin", "none"]
_STILL = 1e-6  # root mean square distance of centres from their mean, in their unit, below which a camera stands still
LONGEST_GAP = 0.01  # seconds between associated poses


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Poses in the order of their times."""

    times: Float64[np.ndarray, "n"]  # seconds
    world_from_cam: Float64[np.ndarray, "n 4 4"]

    def __len__(self) -> int:
        return len(self.times)

    def __getitem__(self, rows: Int64[np.ndarray, "m"]) -> Trajectory:
        return Trajectory(self.times[rows], self.world_from_cam[rows])


@dataclass(frozen=True)
class Errors:
    """Errors of single poses or steps, in order, and their statistics."""

    values: Float64[np.ndarray, "n"]

    @property
    def rmse(self) -> float:
        """Root of the mean square: what papers report."""
        return float(np.sqrt(np.mean(self.values**2)))

    def statistics(self) -> dict[str, float]:
        """All that evo prints."""
        v = self.values
        return {
            "rmse": self.rmse, "mean": float(v.mean()), "median": float(np.median(v)), "std": float(v.std()),
            "min": float(v.min()), "max": float(v.max()), "sse": float((v**2).sum()),
        }  # fmt: skip


def associate(
    reference: Trajectory, estimate: Trajectory, longest_gap: float = LONGEST_GAP
) -> tuple[Trajectory, Trajectory]:
    """Pairs of poses nearest in time, in the order of the shorter trajectory.

    Each pose of the shorter trajectory (of equally long ones: the estimate) takes the nearest one of the other, the
    earlier of two as near, if it is at most ``longest_gap`` seconds away. One of the longer may be taken twice.

    Raises:
        InputError: nothing belongs together.
    """
    swap = len(reference) < len(estimate)
    shorter, longer = (reference, estimate) if swap else (estimate, reference)
    gaps = np.abs(shorter.times[:, None] - longer.times)
    best = gaps.argmin(1)
    kept = np.flatnonzero(gaps[np.arange(len(best)), best] <= longest_gap)
    if len(kept) == 0:
        raise InputError(
            f"No poses are within {longest_gap:g} s of each other.", "Check that both trajectories use the same clock."
        )
    pair = shorter[kept], longer[best[kept]]
    return pair if swap else pair[::-1]


def stands_still(world_from_cam: Float[np.ndarray, "n 4 4"]) -> bool:
    """Whether all centres are in one place: no scale can be found then, and distances between poses mean nothing."""
    centers = np.asarray(world_from_cam)[:, :3, 3]
    return bool(np.sqrt(np.square(centers - centers.mean(0)).sum(-1).mean()) < _STILL)


def fit_trajectory(
    estimate: Float[np.ndarray, "n 4 4"], reference: Float[np.ndarray, "n 4 4"], alignment: Alignment = "sim3"
) -> Similarity:
    """The motion that takes the estimated poses to the reference: ``reference_from_estimate``.

    ``sim3``: rotation, translation and scale of least squares between the centres (Umeyama); ``se3``: the same with
    scale 1; ``scale``: only the scale of ``sim3``; ``origin``: the first poses are made equal; ``none``: nothing.

    Collinear centres leave a turn about their line open, which neither ATE nor RPE depends on.

    Raises:
        InputError: unknown alignment, trajectories of different length, no pose, or a scale is wanted and the
            reference stands still.
    """
    if alignment not in get_args(Alignment):
        raise InputError(f"Unknown alignment {alignment!r}.", f"Choose one of: {', '.join(get_args(Alignment))}.")
    if np.shape(estimate) != np.shape(reference) or len(estimate) == 0:
        raise InputError(
            f"Trajectories of {len(estimate)} and {len(reference)} poses cannot be compared.", "Associate them first."
        )
    found, true = (torch.as_tensor(np.asarray(poses, np.float64)) for poses in (estimate, reference))
    if alignment == "none":
        return Similarity.identity()
    if alignment == "origin":
        motion = true[0] @ torch.linalg.inv(found[0])
        return Similarity(torch.ones((), dtype=torch.float64), motion[:3, :3], motion[:3, 3])
    if alignment != "se3" and stands_still(reference):
        raise InputError("The reference camera stands still, so no scale can be fitted.", "Use the alignment se3.")
    fit = fit_similarity(found[:, :3, 3], true[:, :3, 3], with_scale=alignment != "se3")
    if alignment == "scale":
        return Similarity.identity()._replace(scale=fit.scale)
    return fit


def align_trajectory(
    estimate: Float[np.ndarray, "n 4 4"], reference: Float[np.ndarray, "n 4 4"], alignment: Alignment = "sim3"
) -> Float64[np.ndarray, "n 4 4"]:
    """The estimated poses moved by :func:`fit_trajectory`: centres like points, orientations only turned."""
    fit = fit_trajectory(estimate, reference, alignment)
    return fit.apply_to_poses(torch.as_tensor(np.asarray(estimate, np.float64))).numpy()


def absolute_errors(
    aligned: Float[np.ndarray, "n 4 4"], reference: Float[np.ndarray, "n 4 4"]
) -> tuple[Errors, Errors]:
    """Distances of the centres (their rmse is ATE) and angles between the orientations in degrees, per pose."""
    gaps = np.linalg.norm(aligned[:, :3, 3] - reference[:, :3, 3], axis=-1)
    return Errors(gaps), Errors(_degrees(aligned, reference))


def relative_errors(
    aligned: Float[np.ndarray, "n 4 4"], reference: Float[np.ndarray, "n 4 4"], step: int = 1, *, every: bool = True
) -> tuple[Errors, Errors]:
    """RPE: errors of the motion over ``step`` frames, as distance (unit of the reference) and angle (degrees).

    With Q the reference and P the estimate, the error is E = (Q_i⁻¹ Q_i+step)⁻¹ (P_i⁻¹ P_i+step). ``every``: all i,
    else steps that follow one another.

    Raises:
        InputError: fewer poses than a step needs.
    """
    if not 1 <= step < len(reference):
        raise InputError(f"Motions over {step} frames need more than {len(reference)} poses.", "Choose a shorter step.")
    first = np.arange(0, len(reference) - step, 1 if every else step)
    moves = [np.linalg.inv(poses[first]) @ poses[first + step] for poses in (reference, aligned)]
    error = np.linalg.inv(moves[0]) @ moves[1]
    return Errors(np.linalg.norm(error[:, :3, 3], axis=-1)), Errors(_degrees(moves[1], moves[0]))


@dataclass(frozen=True)
class PoseScores:
    """What papers report of one sequence, after a similarity between the camera centres."""

    ate: float  # root mean square distance of the centres, unit of the reference; NaN if the reference stands still
    rpe_translation: float  # per frame, unit of the reference; NaN if the reference stands still
    rpe_rotation: float  # degrees per frame


def score_trajectory(
    estimate: Float[np.ndarray, "n 4 4"], reference: Float[np.ndarray, "n 4 4"], alignment: Alignment = "sim3"
) -> PoseScores:
    """ATE and RPE over one frame of associated poses (Sintel, ScanNet, TUM-dynamics tables).

    A reference that stands still has no scale: its two distances are NaN and only the rotation is measured.

    Raises:
        InputError: different lengths, fewer than two poses, poses that are not finite.
    """
    estimate, reference = (np.asarray(poses, np.float64) for poses in (estimate, reference))
    if not (np.isfinite(estimate).all() and np.isfinite(reference).all()):
        raise InputError("A pose is not finite.", "Leave out the frames whose camera was not found.")
    if alignment in ("sim3", "scale") and len(reference) and stands_still(reference):
        _, turns = relative_errors(align_trajectory(estimate, reference, "se3"), reference)
        return PoseScores(float("nan"), float("nan"), turns.rmse)
    aligned = align_trajectory(estimate, reference, alignment)
    shifts, turns = relative_errors(aligned, reference)
    return PoseScores(absolute_errors(aligned, reference)[0].rmse, shifts.rmse, turns.rmse)


def _degrees(first: Float[np.ndarray, "n 4 4"], second: Float[np.ndarray, "n 4 4"]) -> Float64[np.ndarray, "n"]:
    rotations = [torch.as_tensor(np.asarray(poses, np.float64)[:, :3, :3]) for poses in (first, second)]
    return np.rad2deg(rotation_angle(*rotations).numpy())
