"""Remove points that hang in front of what another, more confident view sees."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from worldline.geometry import invert_rigid, project, transform_points


def clean_pointcloud(
    points: Float[Tensor, "view height width 3"],
    confidence: Float[Tensor, "view height width"],
    depth: Float[Tensor, "view height width"],
    intrinsics: Float[Tensor, "view 3 3"],
    world_from_cam: Float[Tensor, "view 4 4"],
    *,
    tolerance: float = 1e-3,
) -> Float[Tensor, "view height width"]:
    """Confidence with contradicted points set to 0.

    A point is contradicted when it projects into another view, lies in front of the depth seen there by more than
    ``tolerance`` (relative) and is less confident than the pixel that it hides. Views are treated in order, so that a
    point removed earlier contradicts nobody.

    Args:
        points: in the world frame.
    """
    count, height, width = confidence.shape
    cleaned = confidence.clone()
    cam_from_world = invert_rigid(world_from_cam)
    flat_depth = depth.flatten(1)
    for view in range(count):
        world = points[view].reshape(1, -1, 3).expand(count, -1, 3)
        pixels, distance = project(transform_points(cam_from_world, world), intrinsics)
        rounded = pixels.round()
        x, y = rounded.unbind(-1)
        hits = (distance > 0) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
        hits[view] = False
        index = torch.where(hits, y * width + x, torch.zeros_like(x)).long()
        in_front = distance < (1 - tolerance) * flat_depth.gather(1, index)
        weaker = cleaned[view].flatten() < cleaned.flatten(1).gather(1, index)
        bad = (hits & in_front & weaker).any(0).reshape(height, width)
        cleaned[view] = torch.where(bad, cleaned[view].clamp_max(0), cleaned[view])
    return cleaned
