"""The Gaussians of a scene for the three splat formats, or stand-ins made from its points."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32

from worldline.scene import Scene, SceneView
from worldline.types import Gaussians

_STAND_IN_OPACITY = 0.95
_STAND_IN_WIDTH = 0.6  # standard deviation in pixel spacings: neighbours overlap into a closed surface

SH_C0 = 0.28209479177387814  # value of the constant spherical harmonic, 1 / (2 sqrt(pi))


def splats_of(scene: Scene) -> Gaussians:
    """The scene's own Gaussians; without any, a small round one per valid pixel, as wide as the pixel is there."""
    if scene.gaussians is not None:
        return scene.gaussians
    points, colors, _ = scene.point_cloud()
    spacing = np.concatenate([np.zeros(0, np.float32), *(_spacing(view)[view.mask] for view in scene.views)])
    count = len(points)
    return Gaussians(
        means=points,
        scales=np.repeat((_STAND_IN_WIDTH * spacing)[:, None], 3, axis=1),
        rotations=np.tile(np.array([1, 0, 0, 0], np.float32), (count, 1)),
        opacities=np.full(count, _STAND_IN_OPACITY, np.float32),
        colors=colors.astype(np.float32) / 255,
    )


def _spacing(view: SceneView) -> Float32[np.ndarray, "height width"]:
    """Distance to the neighbouring points, kept near the width of a pixel at that depth (edges have far neighbours)."""
    pixel_width = view.depth / view.model_camera.intrinsics[0, 0]
    distances = np.full((2, *view.depth.shape), np.inf)
    distances[0, :, :-1] = np.linalg.norm(np.diff(view.points, axis=1), axis=-1)
    distances[1, :-1] = np.linalg.norm(np.diff(view.points, axis=0), axis=-1)
    return distances.min(axis=0).clip(0.5 * pixel_width, 3 * pixel_width).astype(np.float32)


def unit_quaternions(rotations: Float[np.ndarray, "n 4"]) -> Float[np.ndarray, "n 4"]:
    """w, x, y, z of length one and with w >= 0 (q and -q are the same rotation)."""
    rotations = np.asarray(rotations, np.float64)
    rotations = rotations / np.maximum(np.linalg.norm(rotations, axis=1, keepdims=True), 1e-12)
    return np.where(rotations[:, :1] < 0, -rotations, rotations)
