"""How points are coloured: a table from a name to a function of a view's pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8

from worldline.outputs.view.stage import Stage

# colours at equal steps of the ramp from low to high, blue-green-yellow
_RAMP = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], np.float64)


def ramp(values: Float[np.ndarray, "n"]) -> UInt8[np.ndarray, "n 3"]:
    """Values in [0, 1] -> colours from dark blue to yellow."""
    steps = np.linspace(0, 1, len(_RAMP))
    channels = [np.interp(values, steps, _RAMP[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def palette(index: int) -> tuple[int, int, int]:
    """A colour that differs from those of the neighbouring indices: hues a golden angle apart."""
    import colorsys

    hue = (0.58 + index * 0.61803398875) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)


def _photo(stage: Stage, index: int) -> UInt8[np.ndarray, "n 3"]:
    return stage.pixels(index).colors


def _confidence(stage: Stage, index: int) -> UInt8[np.ndarray, "n 3"]:
    known = stage.confidences
    return ramp(np.searchsorted(known, stage.pixels(index).confidence) / max(len(known), 1))


def _depth(stage: Stage, index: int) -> UInt8[np.ndarray, "n 3"]:
    near, far = stage.depth_ends
    return ramp(1 - np.clip((stage.pixels(index).depth - near) / (far - near), 0, 1))


def _view(stage: Stage, index: int) -> UInt8[np.ndarray, "n 3"]:
    return np.broadcast_to(np.array(palette(index), np.uint8), (len(stage.pixels(index)), 3))


# name in the panel -> colours of the pixels of one view, in the order of Stage.pixels
COLORINGS: dict[str, Callable[[Stage, int], UInt8[np.ndarray, "n 3"]]] = {
    "photo": _photo,
    "confidence": _confidence,
    "depth": _depth,
    "view": _view,
}
