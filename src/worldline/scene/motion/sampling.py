"""Reading maps between pixels, in numpy."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32


def grid(height: int, width: int) -> Float32[np.ndarray, "height width 2"]:
    """(x, y) of every pixel centre."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack([x, y], -1)


def sample(values: np.ndarray, pixels: Float[np.ndarray, "height width 2"], *, nearest: bool = False) -> np.ndarray:
    """Values [h w] or [h w c] at (x, y), bilinear or of the nearest pixel; the border is repeated outwards.

    Keeps the type of the values.
    """
    height, width = values.shape[:2]
    x = np.clip(np.nan_to_num(pixels[..., 0]), 0, width - 1)
    y = np.clip(np.nan_to_num(pixels[..., 1]), 0, height - 1)
    if nearest:
        return values[np.rint(y).astype(np.int32), np.rint(x).astype(np.int32)]
    left, top = np.minimum(x.astype(np.int32), max(width - 2, 0)), np.minimum(y.astype(np.int32), max(height - 2, 0))
    right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    across, down = (x - left).astype(np.float32), (y - top).astype(np.float32)
    if values.ndim == 3:
        across, down = across[..., None], down[..., None]
    upper = values[top, left] * (1 - across) + values[top, right] * across
    lower = values[below, left] * (1 - across) + values[below, right] * across
    mixed = upper * (1 - down) + lower * down
    return np.rint(mixed).astype(values.dtype) if values.dtype.kind in "ui" else mixed.astype(values.dtype)


def inside(pixels: Float[np.ndarray, "height width 2"], height: int, width: int) -> np.ndarray:
    """Which (x, y) lie in an image of that size, by pixel centres."""
    x, y = pixels[..., 0], pixels[..., 1]
    return (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
