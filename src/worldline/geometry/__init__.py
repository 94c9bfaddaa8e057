"""Pure batched tensor functions: rigid motions, similarities, projection, focal length, normals. No I/O, no state."""

from worldline.geometry.focal import estimate_focal
from worldline.geometry.normals import normals_from_points
from worldline.geometry.projection import pixel_grid, project, unproject
from worldline.geometry.rigid import (
    invert_rigid,
    matrix_from_quaternion,
    multiply_quaternions,
    nearest_rotation,
    quaternion_from_matrix,
    rigid_from,
    rotation_angle,
    transform_points,
)
from worldline.geometry.similarity import (
    Similarity,
    fit_similarity,
    fit_similarity_robust,
    fit_similarity_to_poses,
)

__all__ = [
    "Similarity",
    "estimate_focal",
    "fit_similarity",
    "fit_similarity_robust",
    "fit_similarity_to_poses",
    "invert_rigid",
    "matrix_from_quaternion",
    "multiply_quaternions",
    "nearest_rotation",
    "normals_from_points",
    "pixel_grid",
    "project",
    "quaternion_from_matrix",
    "rigid_from",
    "rotation_angle",
    "transform_points",
    "unproject",
]
