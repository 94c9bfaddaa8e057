"""Squares that cover a wide photo, and the published preparation of nuScenes (Driv3R) with its quirks.

Published: 1600 x 900 -> 398 x 224, then the left and the right 224 columns. Everything is exact by default; what the
published code does differently is under ``official=True``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8
from PIL import Image

from worldline.errors import InputError
from worldline.inputs.fit import apply_fit
from worldline.types import Camera, ImageTransform

_LEAST_OVERLAP = 1 / 8  # of the side, between neighbouring squares
_TAPS = 4  # of Lanczos-4, on either side


def square_crops(size: tuple[int, int], side: int, *, least_overlap: float = _LEAST_OVERLAP) -> list[ImageTransform]:
    """Overlapping squares of ``side`` pixels that cover a photo, in equal steps along its longer side.

    Args:
        size: (height, width) of the photo as shown.
        side: of the squares; the photo's shorter side is resized to it.
        least_overlap: of neighbours, as a share of the side, in [0, 1).

    Returns:
        As few squares as cover the photo: from left to right, or from top to bottom. One for a square photo.

    Raises:
        InputError: a size or a side below 1, or an overlap outside [0, 1).
    """
    height, width = size
    if min(height, width, side) < 1 or not 0 <= least_overlap < 1:
        raise InputError(
            f"A photo of {width}x{height} cannot be covered by squares of {side} with an overlap of {least_overlap}.",
            "Give sizes of 1 or more, and an overlap in [0, 1).",
        )
    wide = width >= height
    length = max(side, round(max(size) * side / min(size)))
    count = 1 + math.ceil((length - side) / max(1, math.floor(side * (1 - least_overlap))))
    offsets = [round((length - side) * index / max(1, count - 1)) for index in range(count)]
    resized = (side, length) if wide else (length, side)
    return [
        ImageTransform(size, resized, (0, offset) if wide else (offset, 0), (side, side)) for offset in offsets
    ]  # fmt: skip


def published_halves(size: tuple[int, int] = (900, 1600), side: int = 224) -> tuple[ImageTransform, ImageTransform]:
    """The left and the right square of the published preparation; the resized width is cut off, not rounded.

    Raises:
        InputError: the photo is not wider than high.
    """
    height, width = size
    resized = int(width * (side / height))
    if resized < side:
        raise InputError(f"A photo of {width}x{height} has no left and right square.", "Use square_crops.")
    return (
        ImageTransform(size, (side, resized), (0, 0), (side, side)),
        ImageTransform(size, (side, resized), (0, resized - side), (side, side)),
    )


def crop_intrinsics(
    intrinsics: Float64[np.ndarray, "3 3"], transform: ImageTransform, *, official: bool = False
) -> Float64[np.ndarray, "3 3"]:
    """Intrinsics of a photo -> those of a crop of it.

    Args:
        official: as the published code has them: one scale for both axes, no half-pixel terms, and a right crop whose
            principal point is half a pixel off.
    """
    if not official:
        return transform.model_from_original @ intrinsics
    scale = transform.resized_size[0] / transform.original_size[0]
    matrix = np.array(intrinsics, np.float64)
    matrix[:2] *= scale
    (_, resized), (_, side) = transform.resized_size, transform.model_size
    if transform.crop_offset[1]:
        matrix[0, 2] += (side - 1) / 2 - (resized - side // 2)
    return matrix


def crop_image(
    image: UInt8[np.ndarray, "height width 3"], transform: ImageTransform
) -> UInt8[np.ndarray, "model_height model_width 3"]:
    """Resize a photo as shown and crop it: Pillow's Lanczos, as published."""
    return apply_fit(Image.fromarray(image), transform)


def crop_depth(
    depth: Float32[np.ndarray, "height width"], transform: ImageTransform
) -> Float32[np.ndarray, "model_height model_width"]:
    """Resize a depth map and crop it as the published code does: Lanczos over 8 x 8 pixels, without a low pass.

    It overshoots at edges and beside missing values; for supervision of our own, mask those.
    """
    (height, width), (top, left) = transform.resized_size, transform.crop_offset
    rows = _lanczos4(depth.shape[0], height)[top : top + transform.model_size[0]]
    columns = _lanczos4(depth.shape[1], width)[left : left + transform.model_size[1]]
    return (rows @ depth.astype(np.float64) @ columns.T).astype(np.float32)


def _lanczos4(source: int, target: int) -> Float64[np.ndarray, "target source"]:
    """Weights of the source pixels for every target pixel; beyond the border the last pixel is repeated."""
    place = (np.arange(target) + 0.5) * (source / target) - 0.5
    taps = np.floor(place).astype(int)[:, None] + np.arange(1 - _TAPS, _TAPS + 1)
    distance = place[:, None] - taps
    weights = np.sinc(distance) * np.sinc(distance / _TAPS)
    weights /= weights.sum(axis=1, keepdims=True)
    matrix = np.zeros((target, source))
    np.add.at(matrix, (np.arange(target)[:, None], np.clip(taps, 0, source - 1)), weights)
    return matrix


@dataclass(frozen=True)
class LidarMaps:
    """LiDAR points in the pixels of an image; most pixels have none."""

    points: Float32[np.ndarray, "height width 3"]  # world frame, 0 where there is none
    depth: Float32[np.ndarray, "height width"]  # along the optical axis, 0 where there is none
    valid: Bool[np.ndarray, "height width"]


def lidar_maps(points: Float[np.ndarray, "n 3"], camera: Camera, *, official: bool = False) -> LidarMaps:
    """Put LiDAR points into the pixels that see them.

    Args:
        points: world frame, in the order of the file.
        camera: of the (cropped) image.
        official: pixels by cutting off decimals, and of several points in a pixel the last one in file order; otherwise
            the nearest pixel centre, and the point nearest to the camera.
    """
    pixels, depth = camera.project(points)
    if official:
        in_camera = np.asarray(points, np.float64) @ camera.cam_from_world[:3, :3].T + camera.cam_from_world[:3, 3]
        focal, center = camera.intrinsics[[0, 1], [0, 1]], camera.intrinsics[:2, 2]
        with np.errstate(divide="ignore", invalid="ignore"):
            pixels = np.trunc(focal * in_camera[:, :2] / (in_camera[:, 2:] + 1e-7) + center)
    else:
        pixels = np.floor(pixels + 0.5)
    inside = (depth > 0) & (pixels >= 0).all(1) & (pixels[:, 0] < camera.width) & (pixels[:, 1] < camera.height)
    order = np.flatnonzero(inside)
    if not official:
        order = order[np.argsort(-depth[order], kind="stable")]  # the nearest is written last
    columns, rows = pixels[order].astype(int).T
    cells = rows * camera.width + columns
    _, last = np.unique(cells[::-1], return_index=True)  # one point per pixel: the last of the order
    kept = len(cells) - 1 - last
    shape = (camera.height, camera.width)
    maps = LidarMaps(np.zeros((*shape, 3), np.float32), np.zeros(shape, np.float32), np.zeros(shape, bool))
    maps.points[rows[kept], columns[kept]] = np.asarray(points)[order[kept]]
    maps.depth[rows[kept], columns[kept]] = depth[order[kept]]
    maps.valid[rows[kept], columns[kept]] = True
    return maps
