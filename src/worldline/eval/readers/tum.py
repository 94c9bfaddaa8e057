"""TUM RGB-D (and Bonn): lists of files with time stamps, and a trajectory.

::

    rgb.txt, depth.txt    "timestamp file" per line;  depth: uint16 PNG, 5000 = 1 metre, registered to colour
    groundtruth.txt       "timestamp tx ty tz qx qy qz qw" per line, camera to world, scalar last
    intrinsics.txt        fx fy cx cy (ours, optional); else by the camera's name in the folder (freiburg1, 2, 3)

A photo takes the depth map and the pose nearest in time, at most 0.02 s away, as the data set's own tools do. Lens
distortion is not removed: use undistorted images where it matters (freiburg1).
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from worldline.eval.depth_maps import DepthMap
from worldline.eval.readers.parts import camera_for, matrix_from, pose_from, rotation_from_quaternion, sequence_name
from worldline.eval.sequences import Sequence, pinhole

DEPTH_UNIT = 1 / 5000.0
LONGEST_GAP = 0.02  # seconds
_INTRINSICS = {  # published calibration of each camera, 640x480
    "freiburg1": (517.3, 516.5, 318.6, 255.3),
    "freiburg2": (520.9, 521.0, 325.1, 249.7),
    "freiburg3": (535.4, 539.2, 320.1, 247.6),
    "bonn": (542.822841, 542.576870, 315.593520, 237.756098),
}
_DEFAULT_INTRINSICS = (525.0, 525.0, 319.5, 239.5)


def recognizes(folder: Path) -> bool:
    """A folder with rgb.txt and groundtruth.txt."""
    return (folder / "rgb.txt").is_file() and (folder / "groundtruth.txt").is_file()


def read(folder: Path) -> Sequence:
    """Photos that have a depth map and a pose."""
    photos, depths = (_read_list(folder / name) for name in ("rgb.txt", "depth.txt"))
    times, poses = _read_trajectory(folder / "groundtruth.txt")
    depth_times = np.array([time for time, _ in depths])
    intrinsics = _intrinsics(folder)
    images, cameras, maps = [], [], []
    for time, name in photos:
        depth, pose = _nearest(depth_times, time), _nearest(times, time)
        if depth is None or pose is None:
            continue
        images.append(folder / name)
        cameras.append(camera_for(folder / name, intrinsics, poses[pose]))
        maps.append(DepthMap(folder / depths[depth][1], unit=DEPTH_UNIT))
    return Sequence(sequence_name(folder), tuple(images), tuple(cameras), tuple(maps), format="tum")


def _lines(path: Path) -> list[list[str]]:
    rows = path.read_text(encoding="utf-8").splitlines()
    return [re.split(r"[\s,]+", row.strip()) for row in rows if row.strip() and not row.lstrip().startswith("#")]


def _read_list(path: Path) -> list[tuple[float, str]]:
    return sorted((float(row[0]), row[1]) for row in _lines(path))


def _read_trajectory(path: Path) -> tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n 4 4"]]:
    rows = np.array([[float(value) for value in row[:8]] for row in _lines(path)])
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    poses = [pose_from(rotation_from_quaternion(row[7], *row[4:7]), row[1:4]) for row in rows]
    return rows[:, 0], np.stack(poses)


def _nearest(times: Float64[np.ndarray, "n"], time: float) -> int | None:
    """Index of the nearest time stamp (the earlier of two as near), None if it is too far."""
    if len(times) == 0:
        return None
    gaps = np.abs(times - time)
    best = int(np.argmin(gaps))
    return best if gaps[best] <= LONGEST_GAP else None


def _intrinsics(folder: Path) -> Float64[np.ndarray, "3 3"]:
    if (folder / "intrinsics.txt").is_file():
        return pinhole(*matrix_from(folder / "intrinsics.txt", 1, 4)[0])
    named = folder.resolve().name.lower()
    return pinhole(*next((values for name, values in _INTRINSICS.items() if name in named), _DEFAULT_INTRINSICS))
