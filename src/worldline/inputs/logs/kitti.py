"""KITTI raw: the drives of one day, rectified ("sync") images only.

::

    2011_09_26/calib_cam_to_cam.txt  calib_velo_to_cam.txt  calib_imu_to_velo.txt
    2011_09_26/2011_09_26_drive_0001_sync/image_02/{data/0000000000.png, timestamps.txt}     also image_00, _01, _03
    2011_09_26/2011_09_26_drive_0001_sync/oxts/{data/0000000000.txt, timestamps.txt}         position, attitude, speed
    2011_09_26/2011_09_26_drive_0001_sync/velodyne_points/{data/0000000000.bin, timestamps.txt}

The rig is the frame of the inertial unit (x forward, y left, z up). The world has x east, y north, z up and its origin
where the drive begins: Geiger et al., "Vision meets Robotics: The KITTI Dataset" (2013), section on coordinate systems.
"""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from worldline.errors import InputError
from worldline.inputs.logs.log import Log
from worldline.inputs.logs.poses import PoseTrack, inverse, rigid
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

CAMERA_HEIGHT = 1.65  # metres of all cameras above the road, from the drawing of the set-up on the KITTI page
LICENSE = "KITTI (CC BY-NC-SA 3.0, non-commercial)"
_CAMERAS = ("image_00", "image_01", "image_02", "image_03")
_EARTH = 6378137.0  # metres
_FORWARD_SPEED = 8  # column of the oxts files, m/s


def recognise(path: Path) -> bool:
    """A drive, or the folder of a day with drives."""
    return bool(_drives(path))


def scenes(path: Path) -> list[str]:
    """Names of the drives."""
    return [drive.name for drive in _drives(path)]


def read(path: Path, request: Request) -> Log:
    """One drive. The photos of one number belong together, as the set synchronised them."""
    drive = next((drive for drive in _drives(path) if drive.name == request.scene), None)
    if drive is None:
        raise InputError(f"{path} has no drive {request.scene!r}.", f"It has: {', '.join(scenes(path))}.")
    where = f"The drive {drive}"
    present = [name for name in _CAMERAS if (drive / name / "data").is_dir()]
    sensors = chosen_sensors(present, request, where)
    calibration = _read_calibration(drive.parent)
    shots, notes = only_existing({name: _shots(drive / name) for name in sensors}, where, request.sensors is not None)
    lidar = {shot.path.stem: shot for shot in _shots(drive / "velodyne_points") if shot.path.is_file()}
    moments: dict[str, Moment] = {}
    for name, listed in shots.items():
        for shot in listed:
            moments.setdefault(shot.path.stem, Moment(shot.timestamp)).shots[name] = shot
    for number, moment in moments.items():
        moment.lidar = lidar.get(number)
    track, speeds = _read_oxts(drive / "oxts")
    steps = build_steps(
        [moments[number] for number in sorted(moments)], tuple(shots), pose_at=track.at,
        rig_from_lidar=calibration.rig_from_lidar, columns=4,
        speed_at=(lambda time: speeds.at(time)) if len(track.times) else None,
    )  # fmt: skip
    rig = calibration.rig({name: first_size(listed) for name, listed in shots.items()})
    notes += [*without_pose(steps), "the photos are rectified: they have no lens distortion left"]
    return Log(drive.name, rig, steps, f"kitti {drive}", LICENSE, tuple(notes))


def _drives(path: Path) -> list[Path]:
    """Drives with rectified photos; those of "_extract" drives are not, and belong to another calibration."""

    def is_drive(folder: Path) -> bool:
        return (
            not folder.name.endswith("_extract")
            and any((folder / name / "data").is_dir() for name in _CAMERAS)
            and any((folder / name / "timestamps.txt").is_file() for name in _CAMERAS)
        )

    if is_drive(path):
        return [path]
    return sorted(folder for folder in path.glob("*_drive_*") if is_drive(folder))


def read_numbers(path: Path) -> dict[str, Float64[np.ndarray, "n"]]:
    """Lines "name: numbers"; others are left out.

    Raises:
        InputError: the file is missing.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"The calibration {path} cannot be read: {error.strerror}.", "Copy it again.") from error
    found = {}
    for line in lines:
        name, _, rest = line.partition(":")
        try:
            found[name.strip()] = np.array([float(word) for word in rest.split()])
        except ValueError:
            continue
    return found


def projection(numbers: Float64[np.ndarray, "12"]) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, "4 4"]]:
    """A rectified projection matrix K [I | t] as K and camera_from_rectified."""
    matrix = numbers.reshape(3, 4)
    moved = np.eye(4)
    moved[:3, 3] = np.linalg.solve(matrix[:, :3], matrix[:, 3])
    return matrix[:, :3].copy(), moved


@dataclass(frozen=True, eq=False)
class _Calibration:
    intrinsics: dict[str, Float64[np.ndarray, "3 3"]]
    rig_from_cam: dict[str, Float64[np.ndarray, "4 4"]]
    rig_from_lidar: Float64[np.ndarray, "4 4"]

    def rig(self, sizes: dict[str, tuple[int, int]]) -> Rig:
        """Cameras of the given sizes; the road lies below the cameras by their nominal height."""
        sensors = tuple(sizes)
        height = float(np.mean([self.rig_from_cam[name][2, 3] for name in sensors]))
        return Rig(
            sensors, np.stack([self.intrinsics[name] for name in sensors]),
            np.stack([self.rig_from_cam[name] for name in sensors]), tuple(sizes.values()), height - CAMERA_HEIGHT,
        )  # fmt: skip


def _read_calibration(day: Path) -> _Calibration:
    cameras = read_numbers(day / "calib_cam_to_cam.txt")
    try:
        lidar_from_rig = _motion(read_numbers(day / "calib_imu_to_velo.txt"))
        camera_from_lidar = _motion(read_numbers(day / "calib_velo_to_cam.txt"))
        rectify = np.eye(4)
        rectify[:3, :3] = cameras["R_rect_00"].reshape(3, 3)
        rectified_from_rig = rectify @ camera_from_lidar @ lidar_from_rig
        intrinsics, mounts = {}, {}
        for name in _CAMERAS:
            intrinsics[name], moved = projection(cameras[f"P_rect_{name[-2:]}"])
            mounts[name] = inverse(rigid(moved @ rectified_from_rig))
    except (KeyError, ValueError, np.linalg.LinAlgError) as error:
        raise InputError(f"The calibration files in {day} are damaged ({error}).", "Copy them again.") from error
    return _Calibration(intrinsics, mounts, inverse(lidar_from_rig))


def _motion(numbers: dict[str, Float64[np.ndarray, "n"]]) -> Float64[np.ndarray, "4 4"]:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = numbers["R"].reshape(3, 3), numbers["T"]
    return rigid(matrix)


def _shots(folder: Path) -> list[Shot]:
    """Recordings of a sensor: line n of timestamps.txt belongs to file n."""
    if not (folder / "timestamps.txt").is_file():
        return []
    times = _read_times(folder / "timestamps.txt")
    suffix = next((path.suffix for path in sorted((folder / "data").glob("*"))), ".png")
    return [Shot(time, folder / "data" / f"{row:010d}{suffix}") for row, time in enumerate(times) if time is not None]


def _read_times(path: Path) -> list[float | None]:
    """Seconds of lines "2011-09-26 13:02:25.964389445"; an empty line is a recording that is missing."""
    times: list[float | None] = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            whole, _, fraction = line.strip().partition(".")
            moment = datetime.datetime.fromisoformat(whole).replace(tzinfo=datetime.UTC) if whole else None
            times.append(None if moment is None else moment.timestamp() + float(f"0.{fraction or 0}"))
    except (OSError, ValueError) as error:
        raise InputError(f"The times {path} cannot be read ({error}).", "Copy the file again.") from error
    return times


@dataclass(frozen=True, eq=False)
class _Speeds:
    times: Float64[np.ndarray, "n"]
    values: Float64[np.ndarray, "n"]

    def at(self, time: float) -> float | None:
        """m/s; None outside of what was measured."""
        if not len(self.times) or not self.times[0] <= time <= self.times[-1]:
            return None
        return float(np.interp(time, self.times, self.values))


def _read_oxts(folder: Path) -> tuple[PoseTrack, _Speeds]:
    """Poses and forward speed of the inertial unit; empty where the drive has none."""
    rows, times = [], []
    for shot in _shots(folder):
        if shot.path.is_file():
            try:
                rows.append(
                    [float(word) for word in shot.path.read_text(encoding="utf-8").split()[: _FORWARD_SPEED + 1]]
                )
            except ValueError as error:
                raise InputError(f"{shot.path} is damaged ({error}).", "Copy it again.") from error
            times.append(shot.timestamp)
    if not rows:
        return PoseTrack(np.zeros(0), np.zeros((0, 4, 4))), _Speeds(np.zeros(0), np.zeros(0))
    table, seconds = np.array(rows), np.array(times)
    return PoseTrack(seconds, _mercator(table)), _Speeds(seconds, table[:, _FORWARD_SPEED])


def _mercator(table: Float64[np.ndarray, "n columns"]) -> Float64[np.ndarray, "n 4 4"]:
    """Latitude, longitude (degrees), altitude, roll, pitch, yaw (radians) -> poses in metres east, north, up."""
    from scipy.spatial.transform import Rotation

    latitude, longitude, altitude = table[:, 0], table[:, 1], table[:, 2]
    scale = np.cos(np.radians(latitude[0])) * _EARTH
    east = scale * np.radians(longitude)
    north = scale * np.log(np.tan(np.radians(90.0 + latitude) / 2))
    places = np.stack([east, north, altitude], axis=1)
    poses = np.tile(np.eye(4), (len(table), 1, 1))
    poses[:, :3, :3] = Rotation.from_euler("ZYX", table[:, [5, 4, 3]]).as_matrix()
    poses[:, :3, 3] = places - places[0]
    return poses
