"""Pixels that are already in memory: which arrays are photos, and which axis is which."""

from __future__ import annotations

import numpy as np
from PIL import Image

from worldline.errors import InputError

_CHANNELS = (1, 3, 4)
_LAYOUTS = "Give [V, H, W, 3] (colour) or [V, H, W] (grey), uint8, or floating point from 0 to 1."


def split_array(array: np.ndarray) -> list[np.ndarray]:
    """The images of an array. Three axes are grey images ``[V, H, W]``, unless the last has 3 or 4 entries: one photo.

    Raises:
        InputError: any other layout; channels-first arrays are named as such.
    """
    if (array.ndim == 4 and array.shape[-1] in _CHANNELS) or (array.ndim == 3 and array.shape[-1] not in (3, 4)):
        images = list(array)
    elif array.ndim in (2, 3):
        images = [array]
    elif array.ndim == 4 and array.shape[1] in _CHANNELS:
        raise InputError(
            f"The array of shape {array.shape} has its channels first.", "Move them last: array.transpose(0, 2, 3, 1)."
        )
    else:
        raise InputError(f"An array of shape {array.shape} is no set of photos.", _LAYOUTS)
    if not images:
        raise InputError("The array of photos is empty.", "Give at least two photos.")
    return images


def image_from_array(array: np.ndarray) -> Image.Image:
    """``[H, W]``, ``[H, W, 1]``, ``[H, W, 3]`` or ``[H, W, 4]`` -> a PIL image of 8 bits.

    Raises:
        InputError: other shapes, values out of range, or an empty image.
    """
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[-1] not in _CHANNELS) or array.size == 0:
        raise InputError(f"An array of shape {array.shape} is no photo.", _LAYOUTS)
    return Image.fromarray(np.ascontiguousarray(_eight_bits(array)))


def _eight_bits(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if array.dtype == np.uint16:
        return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if not (np.issubdtype(array.dtype, np.floating) or np.issubdtype(array.dtype, np.integer)):
        raise InputError(f"Pixels of type {array.dtype} are no colours.", _LAYOUTS)
    top = 1.0 if np.issubdtype(array.dtype, np.floating) else 255
    if not np.isfinite(array).all() or array.min() < 0 or array.max() > top:
        raise InputError(f"Pixels of type {array.dtype} must be from 0 to {top:g}, and some are not.", _LAYOUTS)
    return (array * 255 + 0.5).astype(np.uint8) if top == 1.0 else array.astype(np.uint8)
