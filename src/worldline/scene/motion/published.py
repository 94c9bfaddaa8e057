"""The motion score as released with Driv3R (arXiv 2412.06777), its errors included; for comparison and parity.

Released and wrong, and therefore only here under ``official=True``: the world-to-camera poses that PnP returns are used
as if they were camera-to-world, in the depth of later frames and in the flow. Released and kept: focal lengths of all
frames from points in the frame of camera 0, a score that is stretched to [0, 1] per image pair, so that every still
scene has "moving" pixels. :mod:`worldline.scene.motion.score` does better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from worldline.errors import InputError
from worldline.geometry import estimate_focal, pixel_grid
from worldline.scene.motion.optical import import_cv2

PAIRS = ((0, 1), (1, 2), (2, 3), (3, 4), (0, 3), (2, 4))  # of five frames
THRESHOLD = 0.6  # of the score, above which a pixel moves
FRAMES = 5
_EPSILON = 1e-6  # added to the depth before the division


@dataclass(frozen=True)
class PublishedMotion:
    """Every stage of the published score."""

    focal: Float[Tensor, "frame batch"]  # pixels
    cam_from_world: Float64[Tensor, "frame batch 4 4"]  # as returned by PnP
    depth: Float[Tensor, "frame batch height width"]
    camera_flow_forward: Float[Tensor, "batch pair 2 height width"]
    camera_flow_backward: Float[Tensor, "batch pair 2 height width"]
    score: Float[Tensor, "frame batch height width"]  # 0..1

    @property
    def dynamic(self) -> Bool[Tensor, "frame batch height width"]:
        """The published mask."""
        return self.score > THRESHOLD


def published_motion(
    points: Sequence[Float[Tensor, "batch height width 3"]],
    flow_forward: Sequence[Float[Tensor, "batch 2 height width"]],
    flow_backward: Sequence[Float[Tensor, "batch 2 height width"]],
    *,
    official: bool = True,
    cam_from_world: Float64[Tensor, "frame batch 4 4"] | None = None,
) -> PublishedMotion:
    """Motion score of five frames.

    Args:
        points: pointmaps of the five frames, all in the frame of camera 0.
        flow_forward: optical flow a -> b of the six ``PAIRS``, pixels.
        flow_backward: optical flow b -> a.
        official: keep the released error of the poses; False uses them the right way round.
        cam_from_world: known poses; None finds them by PnP with OpenCV, as published.

    Raises:
        InputError: not five frames or six pairs.
        MissingExtraError: PnP without OpenCV.
    """
    if len(points) != FRAMES or len(flow_forward) != len(PAIRS) or len(flow_backward) != len(PAIRS):
        raise InputError(
            f"The published motion score needs {FRAMES} frames and {len(PAIRS)} flows each way.",
            "Use worldline.scene.motion.MotionPredictor for streams of any length.",
        )
    focal = torch.stack([estimate_focal(each) for each in points])
    if cam_from_world is None:
        cam_from_world = torch.stack([pnp_poses(each, f) for each, f in zip(points, focal, strict=True)])
    depth = _depths(points, cam_from_world, official)
    height, width = points[0].shape[1:3]
    matrices = _intrinsics(focal, height, width)

    def flow(a: int, b: int) -> Tensor:
        poses = cam_from_world[a].float(), cam_from_world[b].float()
        return published_camera_flow(depth[a], matrices[a], poses[0], matrices[b], poses[1], official=official)

    forward = torch.stack([flow(a, b) for a, b in PAIRS], 1)
    backward = torch.stack([flow(b, a) for a, b in PAIRS], 1)
    total, count = torch.zeros_like(depth), torch.zeros(FRAMES)
    for index, (a, b) in enumerate(PAIRS):
        total[a] += _stretched(forward[:, index] - flow_forward[index])
        total[b] += _stretched(backward[:, index] - flow_backward[index])
        count[a] += 1
        count[b] += 1
    score = total / count[:, None, None, None]
    return PublishedMotion(focal, cam_from_world, depth, forward, backward, score)


def published_camera_flow(
    depth_a: Float[Tensor, "*batch height width"],
    intrinsics_a: Float[Tensor, "*batch 4 4"],
    pose_a: Float[Tensor, "*batch 4 4"],
    intrinsics_b: Float[Tensor, "*batch 4 4"],
    pose_b: Float[Tensor, "*batch 4 4"],
    *,
    official: bool = True,
) -> Float[Tensor, "*batch 2 height width"]:
    """Camera flow as released: K_b inv(E_b) E_a inv(K_a) p.

    That is right for camera-to-world E. ``official=False`` takes world-to-camera poses, as PnP gives them, correctly.
    """
    height, width = depth_a.shape[-2:]
    grid = pixel_grid(height, width, dtype=depth_a.dtype, device=depth_a.device)
    ones = torch.ones_like(grid[..., :1])
    seen = torch.cat([grid, ones], -1) * depth_a[..., None]
    homogeneous = torch.cat([seen, ones.expand_as(seen[..., :1])], -1).flatten(-3, -2).mT
    b_from_a = torch.linalg.inv(pose_b) @ pose_a if official else pose_b @ torch.linalg.inv(pose_a)
    moved = intrinsics_b @ (b_from_a @ (torch.linalg.inv(intrinsics_a) @ homogeneous))
    pixels = moved[..., :2, :] / (moved[..., 2:3, :] + _EPSILON)
    return pixels.unflatten(-1, (height, width)) - grid.movedim(-1, 0)


def pnp_poses(
    points: Float[Tensor, "batch height width 3"], focal: Float[Tensor, "batch"]
) -> Float64[Tensor, "batch 4 4"]:
    """World-to-camera poses by OpenCV's RANSAC with its defaults, on all pixels (parity: oracle ``flow``)."""
    cv2 = import_cv2("The published motion score")
    height, width = points.shape[1:3]
    grid = pixel_grid(height, width).reshape(-1, 2).numpy()
    poses = np.tile(np.eye(4), (len(points), 1, 1))
    for index, (one, f) in enumerate(zip(points.detach().cpu().numpy(), focal.tolist(), strict=True)):
        matrix = np.array([[f, 0, width / 2], [0, f, height / 2], [0, 0, 1]], np.float32)
        _, turn, shift, _ = cv2.solvePnPRansac(one.reshape(-1, 3), grid, matrix, None)
        poses[index, :3, :3], poses[index, :3, 3] = cv2.Rodrigues(turn)[0], shift[:, 0]
    return torch.from_numpy(poses)


def _depths(points: Sequence[Tensor], cam_from_world: Tensor, official: bool) -> Float[Tensor, "frame batch h w"]:
    """The third coordinate of frame 0, and of the points of later frames moved into what is taken for their camera."""
    depths = [points[0][..., 2]]
    for t in range(1, FRAMES):
        own = cam_from_world[t]
        turned = torch.linalg.inv(own) @ cam_from_world[0] if official else own
        row = turned[:, 2].to(points[t].dtype)
        depths.append((points[t] * row[:, None, None, :3]).sum(-1) + row[:, None, None, 3])
    return torch.stack(depths)


def _intrinsics(focal: Float[Tensor, "frame batch"], height: int, width: int) -> Float[Tensor, "frame batch 4 4"]:
    matrices = torch.eye(4).repeat(*focal.shape, 1, 1)
    matrices[..., 0, 0] = matrices[..., 1, 1] = focal
    matrices[..., 0, 2], matrices[..., 1, 2] = width / 2, height / 2
    return matrices


def _stretched(residual: Float[Tensor, "batch 2 height width"]) -> Float[Tensor, "batch height width"]:
    """Length of the residual, stretched to [0, 1] per image."""
    length = residual.norm(dim=1)
    low, high = length.amin((1, 2), keepdim=True), length.amax((1, 2), keepdim=True)
    return (length - low) / (high - low)
