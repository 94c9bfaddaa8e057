"""Camera-motion flow: where the pixels of one image would be in another if nothing but the camera had moved."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldline.geometry import invert_rigid, pixel_grid, project, transform_points, unproject

_NEAREST = 1e-6  # share of the own depth: a point closer to the other camera's plane has no usable projection


@dataclass(frozen=True)
class CameraFlow:
    """Flow of a still world from image a to image b. Zero where it is not valid."""

    flow: Float[Tensor, "*batch height width 2"]  # pixels (x, y): pixel of a + flow = place in b
    valid: Bool[Tensor, "*batch height width"]  # the depth is known and the point is in front of camera b
    depth: Float[Tensor, "*batch height width"]  # of the points of a along the axis of camera b
    stretch: Float[Tensor, "*batch height width 2"]  # pixels by which the flow changes per unit of log depth


def camera_flow(
    depth_a: Float[Tensor, "*batch height width"],
    intrinsics_a: Float[Tensor, "*batch 3 3"],
    cam_from_world_a: Float[Tensor, "*batch 4 4"],
    intrinsics_b: Float[Tensor, "*batch 3 3"],
    cam_from_world_b: Float[Tensor, "*batch 4 4"],
) -> CameraFlow:
    """Exact flow of still points by cross projection (Driv3R, arXiv 2412.06777, eq. 3, with poses the right way round).

    Args:
        depth_a: along the optical axis of a; not valid where it is not positive and finite.
        intrinsics_a: pixels of image a; integer coordinates are pixel centres.
        cam_from_world_a: in the unit of the depth.
        intrinsics_b, cam_from_world_b: of the other image.
    """
    known = torch.isfinite(depth_a) & (depth_a > 0)
    points = unproject(torch.where(known, depth_a, torch.ones_like(depth_a)), intrinsics_a.to(depth_a.dtype))
    b_from_a = cam_from_world_b.double() @ invert_rigid(cam_from_world_a.double())
    return _flow_in_camera(points, known, b_from_a.to(depth_a.dtype), intrinsics_b.to(depth_a.dtype))


def camera_flow_of_points(
    points_a: Float[Tensor, "*batch height width 3"],
    intrinsics_b: Float[Tensor, "*batch 3 3"],
    cam_b_from_points: Float[Tensor, "*batch 4 4"],
) -> CameraFlow:
    """:func:`camera_flow` straight from the pointmap of image a, in whatever frame it is.

    Args:
        points_a: pointmap of image a; not valid where not finite.
        intrinsics_b: of image b, pixels.
        cam_b_from_points: camera b from the frame of the points, in the unit of the points. ``stretch`` holds for the
            camera at the origin of that frame.
    """
    known = torch.isfinite(points_a).all(-1)
    points = torch.where(known[..., None], points_a, torch.ones_like(points_a))
    return _flow_in_camera(points, known, cam_b_from_points.to(points.dtype), intrinsics_b.to(points.dtype))


def _flow_in_camera(
    points: Float[Tensor, "*batch height width 3"],
    known: Bool[Tensor, "*batch height width"],
    b_from_a: Float[Tensor, "*batch 4 4"],
    intrinsics: Float[Tensor, "*batch 3 3"],
) -> CameraFlow:
    height, width = points.shape[-3:-1]
    moved = transform_points(b_from_a, points.flatten(-3, -2))
    pixels, depth = project(moved, intrinsics)
    pixels, depth = pixels.unflatten(-2, (height, width)), depth.unflatten(-1, (height, width))
    valid = known & (depth > _NEAREST * points.norm(dim=-1))
    grid = pixel_grid(height, width, dtype=points.dtype, device=points.device)
    none = torch.zeros_like(pixels)
    flow = torch.where(valid[..., None], pixels - grid, none)
    stretch = _stretch(moved.unflatten(-2, (height, width)), b_from_a, intrinsics)
    return CameraFlow(flow, valid, depth * known, torch.where(valid[..., None], stretch, none))


def _stretch(
    points: Float[Tensor, "*batch height width 3"],
    b_from_a: Float[Tensor, "*batch 4 4"],
    intrinsics: Float[Tensor, "*batch 3 3"],
) -> Float[Tensor, "*batch height width 2"]:
    """Derivative of the projection for the log of the depth in a: only the camera's way takes part in it."""
    origin = b_from_a[..., None, None, :3, 3]  # camera a in the frame of b
    z = points[..., 2:]
    safe = torch.where(z.abs() < torch.finfo(z.dtype).tiny, torch.ones_like(z), z)
    slope = (points[..., :2] / safe * origin[..., 2:] - origin[..., :2]) / safe
    return (intrinsics[..., None, None, :2, :2] @ slope[..., None])[..., 0]
