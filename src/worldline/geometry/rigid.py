"""Rigid motions as 4x4 matrices ``a_from_b`` and rotations as unit quaternions (w, x, y, z).

Everything is batched over leading dimensions and differentiable unless it says otherwise.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def rigid_from(
    rotation: Float[Tensor, "*batch 3 3"], translation: Float[Tensor, "*batch 3"]
) -> Float[Tensor, "*batch 4 4"]:
    """Rotation and translation -> homogeneous matrix."""
    top = torch.cat([rotation, translation[..., None]], dim=-1)
    bottom = torch.zeros_like(top[..., :1, :])
    bottom[..., 0, 3] = 1
    return torch.cat([top, bottom], dim=-2)


def invert_rigid(a_from_b: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """``b_from_a`` in closed form: R^T and -R^T t. The upper left block must be a rotation."""
    transposed = a_from_b[..., :3, :3].mT
    return rigid_from(transposed, -(transposed @ a_from_b[..., :3, 3:])[..., 0])


def transform_points(
    a_from_b: Float[Tensor, "*batch 4 4"], points: Float[Tensor, "*batch n 3"]
) -> Float[Tensor, "*batch n 3"]:
    """Apply an affine 4x4 matrix to the points of each batch element."""
    return points @ a_from_b[..., :3, :3].mT + a_from_b[..., None, :3, 3]


def rotation_angle(first: Float[Tensor, "*batch 3 3"], second: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch"]:
    """Angle of the rotation between two rotations, radians in [0, pi].

    The arc tangent of sine and cosine stays accurate for tiny angles, where the usual arc cosine of the trace loses
    half of the digits.
    """
    relative = first.mT @ second
    sine = torch.stack(
        [
            relative[..., 2, 1] - relative[..., 1, 2],
            relative[..., 0, 2] - relative[..., 2, 0],
            relative[..., 1, 0] - relative[..., 0, 1],
        ],
        dim=-1,
    ).norm(dim=-1)
    cosine = relative.diagonal(dim1=-2, dim2=-1).sum(-1) - 1
    return torch.atan2(sine, cosine)


def matrix_from_quaternion(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Quaternion (w, x, y, z), of any non-zero length, -> rotation matrix."""
    w, x, y, z = torch.nn.functional.normalize(quaternion, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def quaternion_from_matrix(rotation: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Rotation matrix -> unit quaternion (w, x, y, z) with w >= 0.

    The outer product of a unit quaternion with itself is linear in the matrix entries; its row of largest norm is the
    quaternion times its best conditioned component.
    """
    m = rotation
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    wx, wy, wz = m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1]
    xy, xz, yz = m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1]
    outer = torch.stack(
        [
            torch.stack([1 + xx + yy + zz, wx, wy, wz], dim=-1),
            torch.stack([wx, 1 + xx - yy - zz, xy, xz], dim=-1),
            torch.stack([wy, xy, 1 - xx + yy - zz, yz], dim=-1),
            torch.stack([wz, xz, yz, 1 - xx - yy + zz], dim=-1),
        ],
        dim=-2,
    )
    best = outer.norm(dim=-1).argmax(dim=-1)
    row = outer.gather(-2, best[..., None, None].expand(*best.shape, 1, 4))[..., 0, :]
    unit = torch.nn.functional.normalize(row, dim=-1)
    return torch.where(unit[..., :1] < 0, -unit, unit)


def multiply_quaternions(
    first: Float[Tensor, "*batch 4"], second: Float[Tensor, "*batch 4"]
) -> Float[Tensor, "*batch 4"]:
    """Hamilton product (w, x, y, z): the rotation ``second`` followed by ``first``."""
    first, second = torch.broadcast_tensors(first, second)
    w1, v1, w2, v2 = first[..., :1], first[..., 1:], second[..., :1], second[..., 1:]
    scalar = w1 * w2 - (v1 * v2).sum(-1, keepdim=True)
    return torch.cat([scalar, w1 * v2 + w2 * v1 + torch.linalg.cross(v1, v2)], dim=-1)


def nearest_rotation(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation closest in the Frobenius norm; never a reflection."""
    left, _, right = torch.linalg.svd(matrix)
    sign = torch.ones_like(matrix[..., 0])
    sign[..., 2] = torch.sign(torch.linalg.det(left @ right))
    return (left * sign[..., None, :]) @ right
