"""Input that no method can reconstruct from is named, not hidden: equal images, no texture, no baseline."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, UInt8

EQUAL_LEVELS = 1.0  # mean absolute difference, in grey levels, below which two images are the same picture
FLAT_LEVELS = 2.0  # standard deviation, in grey levels, below which an image has no texture
NO_BASELINE = 0.01  # camera movement, as a share of the scene depth, below which there is no parallax to speak of
_THUMBNAIL = 16


def identical_pairs(images: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> list[tuple[int, int]]:
    """Pairs (earlier, later) of images that show the same picture; each later image is named once."""
    thumbnails = [_thumbnail(image) for image in images]
    pairs = []
    for later in range(1, len(images)):
        for earlier in range(later):
            if images[earlier].shape != images[later].shape:
                continue
            if np.abs(thumbnails[earlier] - thumbnails[later]).max() > 3 * EQUAL_LEVELS:
                continue
            difference = np.abs(images[earlier].astype(np.int16) - images[later].astype(np.int16)).mean()
            if difference < EQUAL_LEVELS:
                pairs.append((earlier, later))
                break
    return pairs


def without_texture(image: UInt8[np.ndarray, "h w 3"], inside: Bool[np.ndarray, "h w"]) -> bool:
    """Whether the photo (without its padding) is one flat colour."""
    grey = image.astype(np.float32).mean(-1)[inside]
    return grey.size == 0 or float(grey.std()) < FLAT_LEVELS


def without_baseline(centers: Float[np.ndarray, "n 3"], depth: float) -> bool:
    """Whether cameras at these centres see a scene at this distance without parallax."""
    if len(centers) < 2 or not depth > 0:
        return False
    return float(np.linalg.norm(centers - centers[0], axis=1).max()) < NO_BASELINE * depth


def _thumbnail(image: UInt8[np.ndarray, "h w 3"]) -> Float[np.ndarray, "t t 3"]:
    rows = np.linspace(0, image.shape[0], _THUMBNAIL + 1).astype(int)[:-1]
    columns = np.linspace(0, image.shape[1], _THUMBNAIL + 1).astype(int)[:-1]
    if image.shape[0] < _THUMBNAIL or image.shape[1] < _THUMBNAIL:
        return image.astype(np.float32)
    sums = np.add.reduceat(np.add.reduceat(image.astype(np.float32), rows, axis=0), columns, axis=1)
    counts = np.diff([*rows, image.shape[0]])[:, None] * np.diff([*columns, image.shape[1]])[None, :]
    return sums / counts[..., None]
