"""The released placement script of Driv3R, for comparison only: **it reads LiDAR ground truth**.

Every map is stretched to a range of 120 m that starts at the smallest LiDAR depth of that camera, so neither the unit
nor the shape that the network found survives. It is an upper bound that cheats; the rig aligner needs none of it.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldline.geometry import rigid_from, transform_points, unproject
from worldline.geometry.rigid import invert_rigid

USES_LIDAR_GROUND_TRUTH = True  # reports must label results made with this module
RANGE = 120.0  # metres, a constant of the published script


def published_alignment(
    points: Float[Tensor, "frame height width 3"],
    lidar_points: Float[Tensor, "frame height width 3"],
    lidar_mask: Bool[Tensor, "frame height width"],
    intrinsics: Float[Tensor, "3 3"],
    world_from_cam: Float[Tensor, "frame 4 4"],
    depth_range: float = RANGE,
) -> Float[Tensor, "frame height width 3"]:
    """World points as the released visualisation places them (parity: oracle ``aligner``).

    Args:
        points: predicted maps in the frame of camera 0, any unit. "Depth" is their third coordinate, as published,
            although frames after the first have cameras of their own.
        lidar_points: LiDAR ground truth in the world frame, dense with a mask.
        lidar_mask: where there is a LiDAR return.
        intrinsics: known ones of the crop.
        world_from_cam: known pose of every frame.

    Returns:
        points in the world frame: z' = (z - min z) / (max z - min z) * 120 + s on the ray of every pixel, with the
        smallest LiDAR depth s; all three extremes are those of the frame.
    """
    depth = points[..., 2]
    low, high = depth.amin((1, 2), keepdim=True), depth.amax((1, 2), keepdim=True)
    cam_from_world = invert_rigid(world_from_cam)
    seen = transform_points(cam_from_world, lidar_points.flatten(1, 2))[..., 2].unflatten(1, lidar_mask.shape[1:])
    nearest = torch.where(lidar_mask, seen, torch.inf).amin((1, 2), keepdim=True)
    stretched = (depth - low) / (high - low) * depth_range + nearest
    in_camera = unproject(stretched, intrinsics.to(points.dtype))
    moved = transform_points(rigid_from(world_from_cam[:, :3, :3], world_from_cam[:, :3, 3]), in_camera.flatten(1, 2))
    return moved.unflatten(1, in_camera.shape[1:3])
