"""Frames resized as Open-D4RT resizes them: OpenCV's area average, or bilinear; to one grey level, without OpenCV.

Only for comparison with published numbers; our own videos are resized by :func:`.pipeline.video.frames.squash`.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64, UInt8


def resize_as_published(
    frames: UInt8[np.ndarray, "*t height width 3"], size: tuple[int, int]
) -> UInt8[np.ndarray, "*t rows columns 3"]:
    """Frames stretched to ``size`` = (rows, columns): averaged over areas if they are at least as high, else bilinear.

    The width is not looked at. Where a frame is high enough but narrower than the size, OpenCV's area mode blends
    neighbours, by weights of its own, in both directions.
    """
    stored = frames.shape[-3:-1]
    if stored[0] < size[0]:
        matrices = [_bilinear(*sides) for sides in zip(stored, size, strict=True)]
    elif stored[1] >= size[1]:
        matrices = [_area(*sides) for sides in zip(stored, size, strict=True)]
    else:
        matrices = [_area_blend(*sides) for sides in zip(stored, size, strict=True)]
    resized = np.einsum("rh,...hwc,sw->...rsc", matrices[0], frames, matrices[1], optimize=True)
    return np.clip(np.rint(resized), 0, 255).astype(np.uint8)


def _area(stored: int, wanted: int) -> Float64[np.ndarray, "wanted stored"]:
    """Share of every stored pixel in every wanted one."""
    edges = np.arange(wanted + 1) * stored / wanted
    pixels = np.arange(stored)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.maximum(overlap, 0) * wanted / stored


def _bilinear(stored: int, wanted: int) -> Float64[np.ndarray, "wanted stored"]:
    """Half-pixel centres, no smoothing, borders repeated."""
    place = np.clip((np.arange(wanted) + 0.5) * stored / wanted - 0.5, 0, stored - 1)
    return _blend(np.floor(place).astype(int), place - np.floor(place), stored)


def _area_blend(stored: int, wanted: int) -> Float64[np.ndarray, "wanted stored"]:
    """A wanted pixel is the stored one in which it begins, and the next as far as it reaches into that."""
    index = np.arange(wanted)
    first = np.floor(index * stored / wanted).astype(int)
    reach = (index + 1) - (first + 1) * wanted / stored
    return _blend(first, np.where(reach <= 0, 0.0, reach - np.floor(reach)), stored)


def _blend(
    first: np.ndarray, share: Float64[np.ndarray, "wanted"], stored: int
) -> Float64[np.ndarray, "wanted stored"]:
    """Rows with 1 - share at ``first`` and share at the pixel after it."""
    matrix = np.zeros((len(first), stored))
    rows = np.arange(len(first))
    np.add.at(matrix, (rows, np.minimum(first, stored - 1)), 1 - share)
    np.add.at(matrix, (rows, np.minimum(first + 1, stored - 1)), share)
    return matrix
