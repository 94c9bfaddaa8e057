"""From the pixels of a scene's views to surfels: extent and tilt from depth, without what flies between surfaces."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from scipy import ndimage

from worldline.outputs.render.points import Surfels
from worldline.scene import SceneView

_STEEPEST = 4.0  # steps of depth per step sideways up to which a surfel follows its surface: 76 degrees
_JUMP = 0.03  # share of the depth, per pixel, from which a pixel may fly
_OUTLIER = 3.0  # ... if the depth changes so many times as fast as around it
_AROUND = 9  # pixels across of that neighbourhood


def surfels_of(view: SceneView, keep: Bool[np.ndarray, "height width"], device: torch.device | str = "cpu") -> Surfels:
    """One surfel for each pixel of ``keep``, as wide as the pixel is at its depth and tilted like the surface there."""
    camera = view.model_camera
    slope_x, slope_y = depth_slopes(view)
    place = np.nonzero(keep)
    depth = view.depth[place].astype(np.float32)
    turn = camera.world_from_cam[:3, :3].astype(np.float32)
    ray = view.points[place] - camera.center.astype(np.float32)
    ray = ray / np.maximum(depth, np.finfo(np.float32).tiny)[:, None]
    pixel = depth / camera.intrinsics[0, 0], depth / camera.intrinsics[1, 1]  # width and height of a pixel there
    axes = [
        (width[:, None] * turn[:, axis] + (slope[place] * depth)[:, None] * ray)
        for axis, (width, slope) in enumerate(zip(pixel, (slope_x, slope_y), strict=True))
    ]
    # of several views of a surface, the one that came closest shows most; of equals, the surer one
    weights = view.confidence[place] / np.maximum(pixel[0] * pixel[1], np.finfo(np.float32).tiny)

    def upload(values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(values, np.float32), device=device)

    return Surfels(
        upload(view.points[place]),
        upload(np.stack(axes, 1)),
        upload(view.image[place].astype(np.float32) / 255),
        upload(weights),
    )


def depth_slopes(
    view: SceneView,
) -> tuple[Float32[np.ndarray, "height width"], Float32[np.ndarray, "height width"]]:
    """Change of depth from pixel to pixel, to the right and down, as shares of the depth.

    Of the steps to both neighbours the smaller one, none if they disagree in sign (minmod): a surface ends at an edge
    of depth, and noise is flat. No more than ``_STEEPEST`` times the width of a pixel.
    """
    camera = view.model_camera
    known = view.mask & (view.depth > 0)
    logarithm = np.where(known, np.log(np.where(known, view.depth, 1.0)), np.nan)
    slopes = []
    for axis, focal in ((1, camera.intrinsics[0, 0]), (0, camera.intrinsics[1, 1])):
        before, after = _steps(logarithm, axis)
        smaller = np.where(np.abs(before) < np.abs(after), before, after)
        slope = np.where(before * after > 0, smaller, 0.0)  # NaN (unknown) compares as False
        slopes.append(np.clip(slope, -_STEEPEST / focal, _STEEPEST / focal).astype(np.float32))
    return slopes[0], slopes[1]


def flying(view: SceneView) -> Bool[np.ndarray, "height width"]:
    """Pixels between two surfaces: where networks draw a slope from the nearer one to the farther one.

    There the depth changes on both sides by more than ``_JUMP`` per pixel and ``_OUTLIER`` times as fast as around it.
    An exact edge has no such pixels (one side of each is smooth), and the ground towards the horizon has none either
    (it is as steep around).
    """
    known = view.mask & (view.depth > 0)
    logarithm = np.where(known, np.log(np.where(known, view.depth, 1.0)), np.nan)
    steepness = np.zeros(view.depth.shape)
    for axis in (0, 1):
        before, after = (np.nan_to_num(np.abs(step)) for step in _steps(logarithm, axis))
        steepness = np.maximum(steepness, np.minimum(before, after))
    around = ndimage.median_filter(steepness, _AROUND, mode="nearest")
    return known & (steepness > _JUMP) & (steepness > _OUTLIER * around)


def _steps(
    values: Float[np.ndarray, "height width"], axis: int
) -> tuple[Float[np.ndarray, "height width"], Float[np.ndarray, "height width"]]:
    """Differences to the neighbours before and after along an axis, NaN beyond the border."""
    step = np.diff(values, axis=axis)
    pad = [(0, 0), (0, 0)]
    pad[axis] = (1, 0)
    before = np.pad(step, pad, constant_values=np.nan)
    pad[axis] = (0, 1)
    return before, np.pad(step, pad, constant_values=np.nan)
