"""Where the viewer's camera starts and how it turns: poses, up, fields of view. Plain numpy, OpenCV cameras."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from worldline.types import Camera

_PULL = 0.05  # how much the mean of the cameras' own up counts against "cameras are held level"
_HOME_FOV = np.deg2rad(60)


class Viewpoint(NamedTuple):
    """A camera of the viewer; ``fov`` is its vertical field of view in radians."""

    position: Float64[np.ndarray, "3"]
    look_at: Float64[np.ndarray, "3"]
    up: Float64[np.ndarray, "3"]
    fov: float


def quaternion(rotation: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "4"]:
    """Rotation matrix -> unit quaternion w, x, y, z with w >= 0."""
    from scipy.spatial.transform import Rotation

    x, y, z, w = Rotation.from_matrix(rotation).as_quat(canonical=True)
    return np.array([w, x, y, z])


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


def home(camera: Camera, target_depth: float, up: Float64[np.ndarray, "3"]) -> Viewpoint:
    """A viewpoint behind and a little above ``camera`` that looks at what it sees at ``target_depth``."""
    forward = camera.world_from_cam[:3, 2]
    back, rise = 0.45 * target_depth, 0.3 * target_depth
    return Viewpoint(
        position=camera.center - back * forward + rise * up,
        look_at=camera.center + target_depth * forward,
        up=up,
        fov=float(_HOME_FOV),
    )
