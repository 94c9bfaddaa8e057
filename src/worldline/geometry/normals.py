"""Surface normals of a pointmap."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def normals_from_points(points: Float[Tensor, "*batch height width 3"]) -> Float[Tensor, "*batch height width 3"]:
    """Unit normals from central differences (one-sided at the border), facing the origin of the points' frame.

    Pass points in their own camera's frame so that normals face the camera. Zero where the surface is degenerate.
    """
    along_rows, along_columns = torch.gradient(points, dim=(-3, -2))
    normal = torch.nn.functional.normalize(torch.linalg.cross(along_columns, along_rows), dim=-1)
    facing_away = (normal * points).sum(-1, keepdim=True) > 0
    return torch.where(facing_away, -normal, normal)
