"""Where a scene is seen from: poses, up, fields of view, a good start. Plain numpy, OpenCV cameras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64

from worldline.errors import InputError
from worldline.types import Camera

_PRIOR = 0.01  # weight of "up is the mean up of the photos" beside "the photos are level"
_HOME_FOV = np.deg2rad(60)
_STEPS_BACK = (0.6, 0.4, 0.25, 0.1, 0.0)  # how far behind the first camera, times the distance of what it sees
_RISE = 0.5  # and how far up, times the way back
_ASIDE = 0.5  # and to the right: its frustum does not stand before what it sees, nor behind the controls
_ROOM = 0.08  # free space about the way back, times that distance
_SOME = 3  # points in the way that are no accident
_STEEP = 0.05  # cosine below which the way up is taken from the camera itself


class Viewpoint(NamedTuple):
    """A camera of the viewer; ``fov`` is its vertical field of view in radians."""

    position: Float64[np.ndarray, "3"]
    look_at: Float64[np.ndarray, "3"]
    up: Float64[np.ndarray, "3"]
    fov: float

    @property
    def pose(self) -> Float64[np.ndarray, "4 4"]:
        """``world_from_cam``, held level with ``up``."""
        return look_at(self.position, self.look_at, self.up)


def quaternion(rotation: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "4"]:
    """Rotation matrix -> unit quaternion w, x, y, z with w >= 0.

    The eigenvector of Bar-Itzhack's symmetric matrix (2000): exact for every angle, and without importing scipy, which
    takes longer than all else that the viewer needs.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    symmetric = np.array(
        [
            (xx + yy + zz, zy - yz, xz - zx, yx - xy),
            (zy - yz, xx - yy - zz, xy + yx, xz + zx),
            (xz - zx, xy + yx, yy - xx - zz, yz + zy),
            (yx - xy, xz + zx, yz + zy, zz - xx - yy),
        ]
    )
    found = np.linalg.eigh(symmetric)[1][:, -1]
    return found if found[0] >= 0 else -found


def vertical_fov(camera: Camera) -> float:
    """Vertical field of view in radians; a principal point off the centre is taken as if it were there."""
    return float(2 * np.arctan2(camera.height / 2, camera.intrinsics[1, 1]))


def horizontal_fov(camera: Camera) -> float:
    """Horizontal field of view in radians; see :func:`vertical_fov`."""
    return float(2 * np.arctan2(camera.width / 2, camera.intrinsics[0, 0]))


def fov_to_contain(camera: Camera, aspect: float) -> float:
    """Vertical field of view of a window of ``aspect`` = width / height that shows all that ``camera`` sees."""
    sideways = 2 * np.arctan(np.tan(horizontal_fov(camera) / 2) / aspect)
    return float(max(vertical_fov(camera), sideways))


def up_direction(poses: Sequence[Float64[np.ndarray, "4 4"]]) -> Float64[np.ndarray, "3"]:
    """Up in the world of ``poses`` (world_from_cam), a unit vector: photographers tilt cameras, but hold them level.

    So it is as perpendicular as can be to the x axes of all cameras; where they leave it open (all look the same way),
    it is the mean of the directions that are up in the photos.
    """
    if not len(poses):
        return np.array([0.0, -1.0, 0.0])
    rotations = np.stack([np.asarray(pose, np.float64)[:3, :3] for pose in poses])
    right, mean = rotations[:, :, 0], -rotations[:, :, 1].mean(axis=0)
    length = np.linalg.norm(mean)
    if length < 1e-6:  # upside down as often as not
        return -rotations[0, :, 1]
    mean = mean / length
    up = mean
    for _ in range(3):  # again without those that are far from level by the last estimate
        tilt = np.abs(right @ up)
        weight = 1 / (1 + (tilt / max(np.median(tilt), np.radians(3))) ** 2)
        cost = (right.T * weight) @ right / weight.sum() + _PRIOR * (np.eye(3) - np.outer(mean, mean))
        up = np.linalg.eigh(cost)[1][:, 0]
        up = up if up @ mean >= 0 else -up
    return up


def look_at(
    eye: Float[np.ndarray, "3"], target: Float[np.ndarray, "3"], up: Float[np.ndarray, "3"]
) -> Float64[np.ndarray, "4 4"]:
    """``world_from_cam`` of a level camera at ``eye`` whose optical axis passes through ``target``.

    Raises:
        InputError: ``eye`` is ``target``.
    """
    forward = np.asarray(target, np.float64) - eye
    length = np.linalg.norm(forward)
    if length < 1e-12:
        raise InputError("A camera looks at the place where it stands.", "Give an eye and a target that differ.")
    forward = forward / length
    right = np.cross(forward, up)
    if np.linalg.norm(right) < 1e-6:  # straight up or down: any side will do
        right = np.cross(forward, np.roll(up, 1) + np.array([0.1, 0.2, 0.3]))
    right = right / np.linalg.norm(right)
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[:3, 3] = eye
    return pose


def orbit_up(rotation: Float64[np.ndarray, "3 3"], up: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3"]:
    """The axis to orbit about from a camera: as near to ``up`` as it can be without rolling the camera."""
    right = rotation[:, 0]
    projected = up - (up @ right) * right
    upward = -rotation[:, 1]
    return _unit(projected) if projected @ upward > _STEEP else upward


def home(camera: Camera, points: Float32[np.ndarray, "n 3"], up: Float64[np.ndarray, "3"]) -> Viewpoint:
    """A viewpoint behind ``camera``, a little above and to the right, from which most of what it sees is in sight.

    Args:
        camera: the first camera of the scene.
        points: a sample of the scene's points, in the frame of the camera's pose.
        up: unit vector in that frame.
    """
    pixels, depth = camera.project(points)
    seen = (depth > 0) & (pixels >= 0).all(-1) & (pixels[:, 0] < camera.width) & (pixels[:, 1] < camera.height)
    reach = float(np.median(depth[seen])) if seen.any() else 1.0
    target = camera.center + reach * camera.world_from_cam[:3, 2]
    for back in _STEPS_BACK:
        away = _RISE * up + _ASIDE * camera.world_from_cam[:3, 0] - camera.world_from_cam[:3, 2]
        position = camera.center + back * reach * away
        found = Viewpoint(position, target, up, float(_HOME_FOV))
        if not _bumps(position, camera.center, points, _ROOM * reach):
            break
    return found


def _bumps(
    start: Float64[np.ndarray, "3"], end: Float64[np.ndarray, "3"], points: Float32[np.ndarray, "n 3"], radius: float
) -> bool:
    """Whether some of the points lie within ``radius`` of the way from ``start`` to ``end``."""
    way = end - start
    offsets = np.asarray(points, np.float64) - start
    along = np.clip(offsets @ way / max(way @ way, 1e-12), 0, 1)
    inside = np.linalg.norm(offsets - along[:, None] * way, axis=1) < radius
    return bool(np.count_nonzero(inside & (along < 1)) >= _SOME)


def _unit(vector: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3"]:
    return vector / np.linalg.norm(vector)
