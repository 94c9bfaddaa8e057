"""From a photo of any shape to the shape that a network takes: the published crop rules, or a letterbox.

Published rules (DUSt3R and MV-DUSt3R): models of 224 pixels see the central square of the photo; models of other sizes
(512) see the photo at that long side, cropped to multiples of 16 pixels, and square photos cropped to 4:3. That is
"crop". "square" takes the central square at any size, "pad" loses no pixel.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, UInt8
from PIL import Image

from worldline.errors import InputError
from worldline.types import ImageTransform

FITS = ("crop", "square", "pad")
PATCH = 16  # every model of the family reads patches of 16x16 pixels
_SQUARE_CROP_SIZE = 224
_PADDING_GREY = 128  # nearest to 0 after normalisation to [-1, 1]


def check_fit(size: int, fit: str) -> None:
    """Raise InputError for a size that is no multiple of the patch, or for an unknown way to fit."""
    if size < PATCH or size % PATCH:
        raise InputError(
            f"The model size {size} is no positive multiple of {PATCH} pixels.", "Use for example 224 or 512."
        )
    if fit not in FITS:
        raise InputError(f"There is no way to fit photos called '{fit}'.", f"Choose one of: {', '.join(FITS)}.")


def plan_fit(
    stored_size: tuple[int, int], orientation: int, size: int, fit: str, pixel_aspect: float = 1.0
) -> ImageTransform:
    """How a photo of this (height, width) and EXIF orientation becomes a network input.

    Args:
        pixel_aspect: width of a stored pixel over its height after orientation (videos may have other than 1).

    Raises:
        InputError: nothing of the photo would be left, because it is too long and narrow.
    """
    upright = ImageTransform(stored_size, (1, 1), (0, 0), (1, 1), orientation).original_size
    height, width = upright[0], upright[1] * pixel_aspect
    long_side, short_side = max(height, width), min(height, width)
    square = fit == "square" or (fit == "crop" and size == _SQUARE_CROP_SIZE)
    target = round(size * long_side / short_side) if square else size
    resized = (max(1, round(height * target / long_side)), max(1, round(width * target / long_side)))
    center_y, center_x = resized[0] // 2, resized[1] // 2
    if fit == "pad":
        offset = (-((size - resized[0]) // 2), -((size - resized[1]) // 2))
        return ImageTransform(stored_size, resized, offset, (size, size), orientation)
    if square:
        half_y = half_x = min(center_y, center_x)
    else:
        half_x, half_y = 2 * center_x // PATCH * (PATCH // 2), 2 * center_y // PATCH * (PATCH // 2)
        if resized[0] == resized[1]:  # 4:3; the published sizes divide, at others the patches decide
            half_y = max(PATCH // 2, 3 * half_x // 4 // (PATCH // 2) * (PATCH // 2))
    if min(half_x, half_y) < 1:
        raise InputError(
            f"A photo of {upright[1]}x{upright[0]} pixels is too long and narrow for a crop at size {size}.",
            "Use --fit pad (fit='pad'), or cut it into parts.",
        )
    return ImageTransform(
        stored_size, resized, (center_y - half_y, center_x - half_x), (2 * half_y, 2 * half_x), orientation
    )


def apply_fit(
    image: Image.Image, transform: ImageTransform, extent: tuple[float, float, float, float] | None = None
) -> UInt8[np.ndarray, "height width 3"]:
    """Resize and crop or pad an upright RGB image as planned: Lanczos to shrink, bicubic to enlarge.

    Args:
        image: the photo as shown, possibly decoded at a fraction of its size.
        extent: (left, top, right, bottom) of the photo in pixels of ``image``; None = all of it.
    """
    (height, width), (top, left), (model_height, model_width) = (
        transform.resized_size,
        transform.crop_offset,
        transform.model_size,
    )
    shrinks = max(transform.original_size) > max(height, width)
    method = Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC
    resized = image.resize((width, height), method, box=extent)
    pixels = np.asarray(resized.crop((max(left, 0), max(top, 0), left + model_width, top + model_height)))
    if top >= 0 and left >= 0:
        return np.ascontiguousarray(pixels)
    padded = np.full((model_height, model_width, 3), _PADDING_GREY, dtype=np.uint8)
    padded[-top : -top + height, -left : -left + width] = pixels[:height, :width]
    return padded


def upright_extent(
    extent: tuple[float, float, float, float], stored_size: tuple[int, int], orientation: int
) -> tuple[float, float, float, float]:
    """A box (left, top, right, bottom) of the stored image, in the image as shown; both measured at pixel edges."""
    transform = ImageTransform(stored_size, (1, 1), (0, 0), (1, 1), orientation)
    upright_from_stored: Float64[np.ndarray, "3 3"] = np.linalg.inv(transform.stored_from_original)
    corners = np.array([extent[:2], extent[2:]], dtype=np.float64) - 0.5
    moved = corners @ upright_from_stored[:2, :2].T + upright_from_stored[:2, 2] + 0.5
    (left, top), (right, bottom) = moved.min(axis=0), moved.max(axis=0)
    return float(left), float(top), float(right), float(bottom)
