"""From the pixels of a scene's views to surfels: extent and tilt from depth, without what flies between surfaces."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32

from worldline.outputs.render.points import Surfels
from worldline.scene import SceneView

_STEEPEST = 2.5  # steps of depth per step sideways up to which a surfel follows its surface: 68 degrees
_JUMP = 0.03  # share of the depth, per pixel, from which a pixel may fly
_OUTLIER = 3.0  # ... if the depth changes so many times as fast as around it
_AT_EDGE = 0.5  # extent of a surfel, towards both sides, where the surface ends beside it: neighbours still overlap
_SAME_SURFACE = 0.1  # share of the depth by which neighbours on one surface differ at most
_CELL = 0.5  # side of a cell, in steps between neighbouring surfels
# a hash of five whole numbers; of a million cells, two share one with a probability of 1e-7
_PRIMES = (73856093 * 1000003, 19349663 * 998244353, 83492791 * 2147483647, 2654435761, 40503 * 1299709)
_AROUND = 9  # pixels across of that neighbourhood


def surfels_of(
    view: SceneView, keep: Bool[np.ndarray, "height width"], step: int = 1, device: torch.device | str = "cpu"
) -> Surfels:
    """One surfel for each pixel of ``keep``, as wide as the pixel is at its depth and tilted like the surface there.

    With a ``step`` above 1 only every ``step``-th pixel in both directions, and as much wider.
    """
    surface = relief(view)
    right, down = _tangents(view, surface)
    normals = _averaged(np.cross(right, down), _log_depth(view))
    if step > 1:
        grid = np.zeros_like(keep)
        grid[step // 2 :: step, step // 2 :: step] = True
        keep = keep & grid
    axes = np.stack([surface.extents[0][..., None] * right, surface.extents[1][..., None] * down], 2)[keep]
    # of several views of a surface, the one that came closest shows most; of equals, the surer one
    weights = view.confidence[keep] / np.maximum(view.depth[keep], np.finfo(np.float32).tiny) ** 2

    def upload(values: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(np.ascontiguousarray(values, np.float32), device=device)

    return Surfels(
        upload(view.points[keep]),
        upload(step * axes),
        upload(normals[keep]),
        upload(view.image[keep].astype(np.float32) / 255),
        upload(weights * view.model_camera.intrinsics[0, 0] ** 2),
    )


def thinned(surfels: Surfels) -> Surfels:
    """Without what many views saw alike: of surfels of a size that face one way within a cell of half that size, the
    one of the greatest weight.

    Points that disagree (noise, different poses) lie in different cells and stay.
    """
    size = torch.linalg.vector_norm(surfels.axes[:, 0] + surfels.axes[:, 1], dim=1).clamp_min(1e-30) / math.sqrt(2)
    level = torch.floor(torch.log2(size))
    cell = torch.floor(surfels.points / (_CELL * torch.exp2(level))[:, None]).long()
    normals = surfels.normals
    side = normals.abs().argmax(1)
    facing = 2 * side + (normals.gather(1, side[:, None])[:, 0] > 0)
    parts = (*cell.T, level.long(), facing)
    keys = sum((part * prime for part, prime in zip(parts, _PRIMES, strict=True)), start=torch.zeros_like(facing))
    best_first = torch.argsort(surfels.weights, descending=True, stable=True).numpy(force=True)
    chosen = np.unique(keys.numpy(force=True)[best_first], return_index=True)[1]
    return surfels.choose(torch.as_tensor(np.sort(best_first[chosen]), device=keys.device))


@dataclass(frozen=True)
class Relief:
    """How the depth of a view goes on from pixel to pixel, to the right and down ([2, height, width] each)."""

    slopes: Float32[np.ndarray, "2 height width"]  # change of depth per pixel, as a share of the depth
    extents: Float32[np.ndarray, "2 height width"]  # 1, and less where the surface ends beside the pixel


def relief(view: SceneView) -> Relief:
    """The tilt of the surface in every pixel.

    Of the steps to both neighbours it is the smaller one that stays on the surface; the greater one may lead over an
    edge. Slopes are at most ``_STEEPEST`` times the width of a pixel.
    """
    camera = view.model_camera
    logarithm = _log_depth(view)
    slopes, extents = [], []
    for axis, focal in ((1, camera.intrinsics[0, 0]), (0, camera.intrinsics[1, 1])):
        before, after = _steps(logarithm, axis)
        smaller = np.where(np.abs(before) < np.abs(after), before, np.where(np.isnan(after), before, after))
        thin = (before * after < 0) & (np.abs(smaller) > 1 / focal)  # no surface that could be followed: a wire, a rim
        smaller = np.where(thin | np.isnan(smaller), 0.0, smaller)
        greater = np.fmax(np.abs(before), np.abs(after))
        ends = greater > np.maximum(_OUTLIER * np.abs(smaller), _STEEPEST / focal)
        slopes.append(smaller.clip(-_STEEPEST / focal, _STEEPEST / focal))
        extents.append(np.where(ends, _AT_EDGE, 1.0))
    return Relief(np.stack(slopes).astype(np.float32), np.stack(extents).astype(np.float32))


def flying(view: SceneView) -> Bool[np.ndarray, "height width"]:
    """Pixels between two surfaces: where networks draw a slope from the nearer one to the farther one.

    There the depth changes on both sides by more than ``_JUMP`` per pixel and ``_OUTLIER`` times as fast as around it.
    An exact edge has no such pixels (one side of each is smooth), and the ground towards the horizon has none either
    (it is as steep around).
    """
    logarithm = _log_depth(view)
    steepness = np.zeros(view.depth.shape, np.float32)
    for axis in (0, 1):
        before, after = (np.nan_to_num(np.abs(step)) for step in _steps(logarithm, axis))
        steepness = np.maximum(steepness, np.minimum(before, after))
    suspects = steepness > _JUMP
    rows, columns = np.nonzero(suspects)
    padded = np.pad(steepness, _AROUND // 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (_AROUND, _AROUND))[rows, columns].reshape(
        len(rows), _AROUND**2
    )
    suspects[rows, columns] = steepness[rows, columns] > _OUTLIER * np.median(windows, axis=1)
    return suspects


def _tangents(
    view: SceneView, surface: Relief
) -> tuple[Float32[np.ndarray, "height width 3"], Float32[np.ndarray, "height width 3"]]:
    """Steps along the surface by one pixel to the right and down, world frame."""
    camera = view.model_camera
    turn = camera.world_from_cam[:3, :3].astype(np.float32)
    ahead = view.points - camera.center.astype(np.float32)  # a share of it is a step along the ray
    right, down = (
        (view.depth / np.float32(camera.intrinsics[axis, axis]))[..., None] * turn[:, axis] + slope[..., None] * ahead
        for axis, slope in enumerate(surface.slopes)
    )
    return right, down


def _averaged(
    normals: Float32[np.ndarray, "height width 3"], logarithm: Float32[np.ndarray, "height width"]
) -> Float32[np.ndarray, "height width 3"]:
    """Mean over 3 x 3 pixels of the same surface: which side is seen must not hang on the noise of one pixel."""
    total = np.zeros_like(normals)
    size = logarithm.shape
    wide = np.pad(normals, ((1, 1), (1, 1), (0, 0)))
    beside = np.pad(logarithm, 1, constant_values=np.nan)
    for row in range(3):
        for column in range(3):
            window = slice(row, row + size[0]), slice(column, column + size[1])
            same = np.abs(beside[window] - logarithm) < _SAME_SURFACE
            total += np.where(same[..., None], wide[window], 0)
    return total


def _log_depth(view: SceneView) -> Float32[np.ndarray, "height width"]:
    """Logarithm of depth, NaN where it is not known."""
    known = view.mask & (view.depth > 0)
    return np.where(known, np.log(np.where(known, view.depth, 1)), np.nan)


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
