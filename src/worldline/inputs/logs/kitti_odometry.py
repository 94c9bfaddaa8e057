"""KITTI odometry: rectified image sequences with poses of the left grey camera.

::

    sequences/00/image_2/000000.png      also image_0, image_1, image_3
    sequences/00/calib.txt               P0 ... P3 and Tr (LiDAR to camera 0)
    sequences/00/times.txt               seconds, one line per number
    sequences/00/velodyne/000000.bin     optional
    poses/00.txt                         camera 0 in the frame of its first photo; sequences 00 to 10 only

The rig sits at camera 0, with its axes turned to x forward, y left, z up; the world is the rig at the first photo.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from worldline.errors import InputError
from worldline.inputs.logs.kitti import CAMERA_HEIGHT, LICENSE, projection, read_numbers
from worldline.inputs.logs.log import Log
from worldline.inputs.logs.poses import FLU_FROM_CV, inverse, rigid
from worldline.inputs.logs.steps import (
    Moment,
    Request,
    Shot,
    build_steps,
    chosen_sensors,
    first_size,
    only_existing,
    without_pose,
)
from worldline.types import Rig

_CAMERAS = ("image_0", "image_1", "image_2", "image_3")


def recognise(path: Path) -> bool:
    """The root of the set, its folder ``sequences``, or one sequence."""
    return bool(_sequences(path))


def scenes(path: Path) -> list[str]:
    """Numbers of the sequences."""
    return [folder.name for folder in _sequences(path)]


def read(path: Path, request: Request) -> Log:
    """One sequence. Files of one number belong together."""
    folder = next((folder for folder in _sequences(path) if folder.name == request.scene), None)
    if folder is None:
        raise InputError(f"{path} has no sequence {request.scene!r}.", f"It has: {', '.join(scenes(path))}.")
    where = f"The sequence {folder}"
    sensors = chosen_sensors([name for name in _CAMERAS if (folder / name).is_dir()], request, where)
    times = _table(folder / "times.txt", 1)[:, 0]
    poses = _poses(folder.parent.parent / "poses" / f"{folder.name}.txt", len(times))
    listed = {name: _shots(folder / name, times, poses) for name in sensors}
    shots, notes = only_existing(listed, where, request.sensors is not None)
    numbers = sorted({shot.path.stem for each in shots.values() for shot in each})
    by_name = {name: {shot.path.stem: shot for shot in each} for name, each in shots.items()}
    moments = []
    for number in numbers:
        row = int(number)
        pose = None if poses is None else poses[row]
        lidar = folder / "velodyne" / f"{number}.bin"
        moments.append(Moment(
            float(times[row]), {name: each[number] for name, each in by_name.items() if number in each},
            Shot(float(times[row]), lidar, pose) if lidar.is_file() else None,
        ))  # fmt: skip
    rig, rig_from_lidar = _rig(folder / "calib.txt", {name: first_size(each) for name, each in shots.items()})
    at = {} if poses is None else dict(zip(times.tolist(), poses, strict=True))
    steps = build_steps(moments, tuple(shots), pose_at=at.get, rig_from_lidar=rig_from_lidar, columns=4)
    if poses is None:
        notes.append("the sequence has no poses")
    notes += [*without_pose(steps), "the photos are rectified: they have no lens distortion left"]
    return Log(folder.name, rig, steps, f"kitti-odometry {folder}", LICENSE, tuple(notes))


def _sequences(path: Path) -> list[Path]:
    def is_sequence(folder: Path) -> bool:
        return (folder / "calib.txt").is_file() and (folder / "times.txt").is_file()

    if is_sequence(path):
        return [path]
    inside = path / "sequences" if (path / "sequences").is_dir() else path
    return sorted(folder for folder in inside.glob("[0-9][0-9]") if is_sequence(folder))


def _table(path: Path, columns: int) -> Float64[np.ndarray, "n columns"]:
    try:
        return np.loadtxt(path, ndmin=2).reshape(-1, columns)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no table of {columns} columns ({error}).", "Copy the file again.") from error


def _poses(path: Path, count: int) -> Float64[np.ndarray, "n 4 4"] | None:
    """world_from_rig of all photos: both frames turned from the axes of camera 0."""
    if not path.is_file():
        return None
    rows = _table(path, 12)
    if len(rows) != count:
        raise InputError(f"{path} has {len(rows)} poses for {count} photos.", "Copy poses and times again.")
    try:
        return np.stack([FLU_FROM_CV @ rigid(row) @ FLU_FROM_CV.T for row in rows])
    except ValueError as error:
        raise InputError(f"{path} holds a line that is no pose ({error}).", "Copy the file again.") from error


def _shots(folder: Path, times: Float64[np.ndarray, "n"], poses: Float64[np.ndarray, "n 4 4"] | None) -> list[Shot]:
    suffix = next((path.suffix for path in sorted(folder.glob("[0-9]*"))), ".png")
    return [
        Shot(float(time), folder / f"{row:06d}{suffix}", None if poses is None else poses[row])
        for row, time in enumerate(times)
    ]


def _rig(path: Path, sizes: dict[str, tuple[int, int]]) -> tuple[Rig, Float64[np.ndarray, "4 4"] | None]:
    """The rig, and rig_from_lidar where the calibration has it."""
    numbers = read_numbers(path)
    try:
        pairs = {name: projection(numbers[f"P{name[-1]}"]) for name in sizes}
        lidar = FLU_FROM_CV @ rigid(numbers["Tr"]) if "Tr" in numbers else None
    except (KeyError, ValueError, np.linalg.LinAlgError) as error:
        raise InputError(f"The calibration {path} is damaged ({error}).", "Copy it again.") from error
    mounts = np.stack([FLU_FROM_CV @ inverse(moved) for _, moved in pairs.values()])
    rig = Rig(tuple(sizes), np.stack([k for k, _ in pairs.values()]), mounts, tuple(sizes.values()), -CAMERA_HEIGHT)
    return rig, lidar
