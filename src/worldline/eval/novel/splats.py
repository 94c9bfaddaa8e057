"""What is rendered: Gaussians of a scene, and stand-ins for them where there are only points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from worldline.eval.novel.scenes import Case
from worldline.outputs.render import rasterize
from worldline.scene import Scene
from worldline.types import Camera, Gaussians

FIXED_SCALE = 2e-3  # of the mean distance: the published baseline's splats (opacity 1)
PIXEL_SHARE = 0.5  # standard deviation of a splat that stands for a pixel, in pixels of the photo it came from
EPS2D, NEAR, FAR, BACKGROUND = 0.1, 0.01, 100.0, 1.0  # of the published renderer; white


@dataclass(frozen=True, eq=False)
class Pictures:
    """What a method shows at some cameras."""

    color: Float32[np.ndarray, "view height width 3"]  # in [0, 1]
    alpha: Float32[np.ndarray, "view height width"]  # how much of a pixel is covered, in [0, 1]


def render(gaussians: Gaussians, cameras: Sequence[Camera]) -> Pictures:
    """Gaussians as the published evaluation renders them, on white.

    Args:
        cameras: all of one size, in the frame of the Gaussians.
    """
    height, width = cameras[0].height, cameras[0].width
    parts = (gaussians.means, gaussians.scales, gaussians.rotations, gaussians.opacities, gaussians.colors)
    poses = np.stack([camera.world_from_cam for camera in cameras])
    matrices = np.stack([camera.intrinsics for camera in cameras])
    with torch.inference_mode():
        rendering = rasterize(
            *(torch.from_numpy(np.ascontiguousarray(part, np.float32)) for part in parts),
            world_from_cam=torch.from_numpy(poses).float(),
            intrinsics=torch.from_numpy(matrices).float(),
            size=(height, width),
            background=BACKGROUND,
            near=NEAR,
            far=FAR,
            eps2d=EPS2D,
        )
    return Pictures(rendering.color.clamp(0, 1).numpy(), rendering.alpha.numpy())


def splats(
    points: Float[np.ndarray, "n 3"], colors: UInt8[np.ndarray, "n 3"], scale: float | Float[np.ndarray, "n"]
) -> Gaussians:
    """Opaque round Gaussians of a given standard deviation."""
    count = len(points)
    rotations = np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1))
    scales = np.broadcast_to(np.asarray(scale, np.float32).reshape(-1, 1), (count, 3))
    return Gaussians(
        points.astype(np.float32), scales, rotations, np.ones(count, np.float32), (colors / 255).astype(np.float32)
    )


def pixel_scales(depth: Float[np.ndarray, "*n"], focal: float) -> Float[np.ndarray, "*n"]:
    """Standard deviations that make a splat look like the pixel it came from, at that pixel's own camera."""
    scales: Float[np.ndarray, "*n"] = PIXEL_SHARE * depth / focal
    return scales


def scale_of(scene: Scene, case: Case) -> float:
    """The factor from the scene's unit to that of the case: one over the mean distance of its points.

    The mean is taken over the pixels with truth of all shown photos, confident or not, as published.
    """
    valid = case.scene.truth.valid[: case.count]
    points = np.stack([view.points for view in scene.views])[valid]
    distance = float(np.linalg.norm(points, axis=1).mean()) if len(points) else 0.0
    return 1.0 / distance if np.isfinite(distance) and distance > 0 else 1.0


def own_gaussians(scene: Scene, factor: float) -> Gaussians | None:
    """The Gaussians of a reconstruction in the unit of a case; None where it has none."""
    own = scene.gaussians
    return None if own is None else replace(own, means=own.means * factor, scales=own.scales * factor)


def point_splats(scene: Scene, factor: float) -> Gaussians:
    """The points of a reconstruction as splats of one size, the published stand-in for Gaussians."""
    points, colors, _ = scene.point_cloud()
    return splats(points * factor, colors, FIXED_SCALE)


def pixel_splats(scene: Scene, factor: float) -> Gaussians:
    """The points of a reconstruction as splats of the size of the pixels they came from."""
    points, colors, scales = [], [], []
    for view in scene.views:
        focal = float(view.model_camera.intrinsics[0, 0])
        points.append(view.points[view.mask] * factor)
        colors.append(view.image[view.mask])
        scales.append(pixel_scales(view.depth[view.mask] * factor, focal))
    return splats(np.concatenate(points), np.concatenate(colors), np.concatenate(scales))


def true_splats(case: Case) -> Gaussians:
    """The true points of the shown photos as splats of the size of their pixels: the ceiling of all splats."""
    truth, points, colors, scales = case.scene.truth, [], [], []
    for view in range(case.count):
        valid = truth.valid[view]
        points.append(case.normalized(truth.points[view][valid]))
        colors.append(case.scene.photos[view][valid])
        focal = float(truth.cameras[view].intrinsics[0, 0])
        scales.append(pixel_scales(truth.depth[view][valid] / case.unit, focal))
    return splats(np.concatenate(points), np.concatenate(colors), np.concatenate(scales))
