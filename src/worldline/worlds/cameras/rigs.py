"""A driving rig of six cameras around a car, laid out like that of nuScenes, and how it rides on its suspension.

Rig frame: metres, x forward, y left, z up, the origin on the ground below the middle of the rear axle. Mounting places
and directions are the rounded values of the nuScenes sensor set-up (nuscenes.org, 1600 x 900 images, 70 degrees and
110 degrees for the camera at the back; the calibrated focal lengths of the cars are longer, 65 and 90 degrees), so both
lie in the range that seeds draw from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from worldline.errors import InputError
from worldline.worlds.world import CameraSet, yaw_matrix

# name -> (x, y, z of the mount in metres, yaw in degrees to the left)
RIG: dict[str, tuple[tuple[float, float, float], float]] = {
    "CAM_FRONT": ((1.70, 0.0, 1.51), 0.0),
    "CAM_FRONT_LEFT": ((1.52, 0.49, 1.51), 55.0),
    "CAM_FRONT_RIGHT": ((1.55, -0.49, 1.50), -55.5),
    "CAM_BACK": ((0.03, 0.0, 1.57), 180.0),
    "CAM_BACK_LEFT": ((1.03, 0.48, 1.56), 109.0),
    "CAM_BACK_RIGHT": ((1.01, -0.48, 1.56), -110.0),
}
RIG_SENSORS = tuple(RIG)
RIG_IMAGE = (900, 1600)  # height and width for which the fields of view are meant
RIG_FOOTPRINT = (-0.75, 3.55, 0.95)  # back, front and half width of the car in the rig frame
FIELD, FIELD_BACK = (64.5, 70.5), (88.0, 110.0)  # horizontal fields of view, degrees

_CV_FROM_FLU = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])  # camera axes from forward-left-up
LIDAR_YAW = -90.0  # degrees: the LiDAR's y axis points forward, its x axis to the right
RIG_FROM_LIDAR: Float64[np.ndarray, "4 4"] = np.eye(4)
RIG_FROM_LIDAR[:3, :3] = np.round(yaw_matrix(np.radians(LIDAR_YAW)), 15)
RIG_FROM_LIDAR[:3, 3] = 0.94, 0.0, 1.84  # on the roof


@dataclass(frozen=True)
class Calibration:
    """Where the cameras of a rig sit and what they see."""

    sensors: tuple[str, ...]
    rig_from_cam: Float64[np.ndarray, "c 4 4"]  # OpenCV axes
    fov: Float64[np.ndarray, "c"]  # along the longer image side, radians
    principal_offset: Float64[np.ndarray, "c 2"]  # in units of the longer side


def draw_calibration(rng: np.random.Generator, sensors: tuple[str, ...] = RIG_SENSORS) -> Calibration:
    """Mount the cameras as a workshop would: within 2 cm and a degree, equal lenses everywhere but at the back."""
    usual, wide = np.radians(rng.uniform(*FIELD)), np.radians(rng.uniform(*FIELD_BACK))
    spread, tilt = rng.normal(0, 0.01, (len(RIG), 3)), np.radians(rng.normal(0, 0.4, (len(RIG), 3)))
    lens, shift = rng.normal(0, 0.002, len(RIG)), rng.normal(0, 0.006, (len(RIG), 2))
    rows = [RIG_SENSORS.index(name) for name in sensors]
    poses, fov = [], []
    for row in rows:
        place, yaw = RIG[RIG_SENSORS[row]]
        pose = np.eye(4)
        small = _tilted(tilt[row, 1], tilt[row, 2])
        pose[:3, :3] = yaw_matrix(np.radians(yaw) + tilt[row, 0]) @ small @ _CV_FROM_FLU.T
        pose[:3, 3] = np.array(place) + np.clip(spread[row], -0.02, 0.02)
        poses.append(pose)
        fov.append((wide if RIG_SENSORS[row] == "CAM_BACK" else usual) * (1.0 + lens[row]))
    return Calibration(sensors, np.stack(poses), np.array(fov), shift[rows])


def _tilted(pitch: float, roll: float) -> Float64[np.ndarray, "3 3"]:
    """Rotation about y (positive: nose down), then about x (positive: left side up)."""
    cp, sp, cr, sr = np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    return np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]]) @ np.array([[1, 0, 0], [0, cr, -sr], [0, sr, cr]])


def rig_instants(views: int, sensors: int = len(RIG_SENSORS)) -> int:
    """Number of instants in a stream of ``views`` photos by all cameras.

    Raises:
        InputError: the photos are no multiple of the cameras.
    """
    if views % sensors:
        below, above = views - views % sensors, views - views % sensors + sensors
        choice = f"{below} or {above}" if below else str(above)
        raise InputError(
            f"A rig of {sensors} cameras cannot take {views} photos: every instant has one of each.",
            f"Ask for {choice} views, or for shooting='video' to have the front camera alone.",
        )
    return views // sensors


def rig_cameras(calibration: Calibration, world_from_rig: Float64[np.ndarray, "t 4 4"]) -> CameraSet:
    """Photos of a rig along its way, all cameras of an instant at the same time, one instant after the other."""
    instants, cameras = len(world_from_rig), len(calibration.sensors)
    poses = world_from_rig[:, None] @ calibration.rig_from_cam
    return CameraSet(
        poses.reshape(-1, 4, 4), np.tile(calibration.fov, instants),
        np.tile(calibration.principal_offset, (instants, 1)),
        np.repeat(np.arange(instants), cameras), np.tile(np.arange(cameras), instants),
    )  # fmt: skip


@dataclass(frozen=True)
class Suspension:
    """How a car body moves on its wheels: small angles that follow from its motion, and the road's unevenness."""

    dive: float  # radians of pitch per m/s² of braking
    sway: float  # radians of roll per m/s² of lateral acceleration
    bounce: float  # metres
    phases: Float64[np.ndarray, "k"]
    periods: Float64[np.ndarray, "k"]  # metres of road


def draw_suspension(rng: np.random.Generator) -> Suspension:
    """A car body between stiff and soft."""
    return Suspension(
        rng.uniform(0.004, 0.01), rng.uniform(0.005, 0.012), rng.uniform(0.003, 0.012), rng.uniform(0, 2 * np.pi, 9),
        rng.uniform(4.0, 22.0, 9),
    )  # fmt: skip


def ride(
    suspension: Suspension,
    path: Float64[np.ndarray, "t 4 4"],
    travelled: Float[np.ndarray, "t"],
    acceleration: Float[np.ndarray, "t"],
    lateral: Float[np.ndarray, "t"],
) -> Float64[np.ndarray, "t 4 4"]:
    """Poses of the body of a car.

    Args:
        suspension: its springs.
        path: ground poses of the rear axle, x forward.
        travelled: metres along the path; unevenness is a function of the place, so a car at rest is at rest.
        acceleration: along the path, m/s²; it should be smooth.
        lateral: acceleration to the left in a bend, m/s².

    Returns:
        world_from_rig with pitch, roll and bounce.
    """
    waves = (
        np.sin(travelled[:, None] * 2 * np.pi / suspension.periods + suspension.phases).reshape(len(path), 3, 3).mean(2)
    )
    heave = suspension.bounce * waves[:, 0]
    pitch = -suspension.dive * acceleration + 0.8 * suspension.bounce * waves[:, 1]
    roll = suspension.sway * lateral + 0.6 * suspension.bounce * waves[:, 2]
    poses = path.copy()
    for index in range(len(path)):
        poses[index, :3, :3] = path[index, :3, :3] @ _tilted(pitch[index], roll[index])
    poses[:, 2, 3] += heave
    return poses
