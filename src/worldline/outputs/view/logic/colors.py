"""How points are coloured: a table from a name to a function of a view's pixels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8

from worldline.outputs.drawing import Scale, colorize
from worldline.outputs.view.stage import Stage


def ramp(values: Float[np.ndarray, "n"], colors: str = "amount") -> UInt8[np.ndarray, "n 3"]:
    """Values in [0, 1] -> colours of one of :data:`worldline.outputs.drawing.PALETTES`."""
    return colorize(values[None], colors)[0]


def palette(index: int) -> tuple[int, int, int]:
    """A colour that differs from those of the neighbouring indices: hues a golden angle apart."""
    import colorsys

    hue = (0.58 + index * 0.61803398875) % 1.0
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)


def depth_scale(stage: Stage) -> Scale:
    """The depths at the two ends of the colours of depth; between them equal factors are equal steps, as in reports."""
    near, far = stage.depth_ends
    return Scale(max(near, 1e-6 * far), far, log=True)


def _photo(stage: Stage, index: int) -> UInt8[np.ndarray, "n 3"]:
    return stage.pixels(index).colors


def _confidence(stage: Stage, index: int) -> UInt8[np.ndarray, "n 3"]:
    known = stage.confidences
    return ramp(np.searchsorted(known, stage.pixels(index).confidence) / max(len(known), 1))


def _depth(stage: Stage, index: int) -> UInt8[np.ndarray, "n 3"]:
    return ramp(depth_scale(stage).place(stage.pixels(index).depth), "near")


def _view(stage: Stage, index: int) -> UInt8[np.ndarray, "n 3"]:
    return np.broadcast_to(np.array(palette(stage.ids[index]), np.uint8), (len(stage.pixels(index)), 3))


# name in the panel -> colours of the pixels of one view, in the order of Stage.pixels
COLORINGS: dict[str, Callable[[Stage, int], UInt8[np.ndarray, "n 3"]]] = {
    "photo": _photo,
    "confidence": _confidence,
    "depth": _depth,
    "view": _view,
}
