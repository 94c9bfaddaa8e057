"""Trajectories on disk: TUM RGB-D's text (time, position, quaternion), rows of matrices (KITTI, MonST3R)."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float64

from worldline.errors import InputError
from worldline.eval.video.trajectory import Trajectory
from worldline.files import replacing_file, reporting
from worldline.geometry import matrix_from_quaternion, quaternion_from_matrix

_SEPARATORS = re.compile(r"[\s,]+")


def read_rows(path: Path, columns: tuple[int, ...]) -> Float64[np.ndarray, "row column"]:
    """Numbers of a text file, one row a line; # begins a comment, commas count as spaces.

    Raises:
        InputError: no such file, something that is no number, or rows of another length than one of ``columns``.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}).", "Check the path.") from error
    lines = [line for line in (raw.split("#")[0].strip() for raw in text.splitlines()) if line]
    expected = " or ".join(map(str, columns))
    try:
        rows = [[float(word) for word in _SEPARATORS.split(line)] for line in lines]
    except ValueError as error:
        raise InputError(f"{path} holds something that is no number ({error}).", f"Give {expected} a line.") from error
    lengths = {len(row) for row in rows}
    if len(lengths) != 1 or not lengths <= set(columns):
        raise InputError(f"{path} has lines of {sorted(lengths)} numbers.", f"{expected} a line were expected.")
    return np.array(rows)


def read_tum(path: Path) -> Trajectory:
    """``timestamp tx ty tz qx qy qz qw`` per line, camera to world, scalar last; sorted by time.

    Raises:
        InputError: no trajectory of this format, or a quaternion of length zero.
    """
    rows = read_rows(path, (8,))
    if not np.isfinite(rows).all() or (np.linalg.norm(rows[:, 4:], axis=1) < 1e-9).any():
        raise InputError(f"{path} holds a pose without an orientation.", "Leave out the frames that were lost.")
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3, :3] = matrix_from_quaternion(torch.as_tensor(rows[:, [7, 4, 5, 6]])).numpy()
    poses[:, :3, 3] = rows[:, 1:4]
    return Trajectory(rows[:, 0], poses)


def write_tum(path: Path, trajectory: Trajectory) -> None:
    """The same format, with digits enough to have the numbers back.

    Raises:
        OutputError: no permission, full disk.
    """
    poses = torch.as_tensor(trajectory.world_from_cam)
    w, *xyz = quaternion_from_matrix(poses[:, :3, :3]).numpy().T
    rows = np.column_stack([trajectory.times, trajectory.world_from_cam[:, :3, 3], *xyz, w])
    lines = ["# timestamp tx ty tz qx qy qz qw", *(" ".join(f"{value:.17g}" for value in row) for row in rows)]
    with reporting(path), replacing_file(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")


def read_matrices(path: Path) -> Float64[np.ndarray, "n 4 4"]:
    """``world_from_cam`` of one pose a line, as 3x4 (KITTI odometry) or 4x4 numbers, row by row.

    Lost poses (not finite) come back as they are.

    Raises:
        InputError: no file of this format.
    """
    rows = read_rows(path, (12, 16))
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, :3] = rows[:, :12].reshape(-1, 3, 4)
    return poses
