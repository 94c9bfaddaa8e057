"""Conventions of other people's cameras, and the way to ours: OpenCV axes, pixel centres at whole numbers."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from worldline.geometry.rigid import matrix_from_quaternion

# Rotations that take OpenCV camera axes (x right, y down, z forward) to the axes of another convention.
OPENGL = np.diag([1.0, -1.0, -1.0])  # Blender, OpenGL: x right, y up, z backward
NED = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # aircraft: x forward, y right, z down


def poses(positions: Float[np.ndarray, "*n 3"], rotations: Float[np.ndarray, "*n 3 3"]) -> Float[np.ndarray, "*n 4 4"]:
    """Positions and rotations -> homogeneous matrices."""
    matrices = np.zeros((*positions.shape[:-1], 4, 4))
    matrices[..., :3, :3], matrices[..., :3, 3], matrices[..., 3, 3] = rotations, positions, 1.0
    return matrices


def rotations(quaternions: Float[np.ndarray, "*n 4"]) -> Float[np.ndarray, "*n 3 3"]:
    """Quaternions (w, x, y, z) -> rotation matrices."""
    return matrix_from_quaternion(torch.as_tensor(np.asarray(quaternions, np.float64))).numpy()


def with_opencv_axes(
    world_from_cam: Float[np.ndarray, "*n 4 4"], theirs: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "*n 4 4"]:
    """Poses of cameras whose axes are ``theirs`` (such as ``OPENGL``) -> of the same cameras with OpenCV axes."""
    turned = world_from_cam.copy()
    turned[..., :3, :3] = world_from_cam[..., :3, :3] @ theirs
    return turned


def invert(matrices: Float[np.ndarray, "*n 4 4"]) -> Float[np.ndarray, "*n 4 4"]:
    """Inverse of rigid motions."""
    back = np.swapaxes(matrices[..., :3, :3], -1, -2)
    return poses(-(back @ matrices[..., :3, 3:])[..., 0], back)


def pinhole(fx: float, fy: float, cx: float, cy: float) -> Float[np.ndarray, "3 3"]:
    """The matrix of a pinhole camera."""
    return np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])


def centered(focal: float, height: int, width: int) -> Float[np.ndarray, "3 3"]:
    """A camera whose axis meets the middle of the image, focal length in pixels.

    With pixel centres at whole numbers the middle is (W - 1) / 2. Renderers that say W / 2 count from the corner.
    """
    return pinhole(focal, focal, (width - 1) / 2, (height - 1) / 2)


def depth_of_distance(
    distance: Float[np.ndarray, "height width"], intrinsics: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "height width"]:
    """Distance from the camera centre, along the ray -> depth along the optical axis."""
    height, width = distance.shape
    x = (np.arange(width) - intrinsics[0, 2]) / intrinsics[0, 0]
    y = (np.arange(height) - intrinsics[1, 2]) / intrinsics[1, 1]
    return (distance / np.sqrt(1.0 + x[None] ** 2 + y[:, None] ** 2)).astype(np.float32)
