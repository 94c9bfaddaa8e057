"""Where the viewer's camera starts and how it turns: poses, up, fields of view. Plain numpy, OpenCV cameras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from worldline.types import Camera

_PULL = 0.05  # how much the mean of the cameras' own up counts against "cameras are held level"
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
    """Up in the world of ``poses`` (world_from_cam), as a unit vector.

    Photographers hold cameras level but tilt them: the sideways axes lie in the ground plane, the mean of the upward
    axes breaks the tie where they do not span it. Minimises mean((u . x_i)^2) + pull |u - u_0|^2.
    """
    if not len(poses):
        return np.array([0.0, -1.0, 0.0])
    rotations = np.stack([np.asarray(pose, np.float64)[:3, :3] for pose in poses])
    mean = -rotations[:, :, 1].mean(axis=0)
    if np.linalg.norm(mean) < 1e-3:  # upside down as often as not
        mean = -rotations[0, :, 1]
    mean /= np.linalg.norm(mean)
    sideways = np.einsum("ni,nj->ij", rotations[:, :, 0], rotations[:, :, 0]) / len(rotations)
    up = np.linalg.solve(sideways + _PULL * np.eye(3), _PULL * mean)
    return up / np.linalg.norm(up)


def look_at(viewpoint: Viewpoint) -> Float64[np.ndarray, "4 4"]:
    """The pose (OpenCV axes) of a viewpoint, held level with its ``up``."""
    forward = _unit(viewpoint.look_at - viewpoint.position)
    right = _unit(np.cross(forward, viewpoint.up))
    pose = np.eye(4)
    pose[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    pose[:3, 3] = viewpoint.position
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
