"""Which views and which of their pixels the state lets through."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

from worldline.outputs.view.logic.clock import is_shown
from worldline.outputs.view.stage import Stage
from worldline.outputs.view.state import ViewState

# fields of the state that decide what passes; a layer of points depends on them
VIEW_FIELDS = frozenset({"moment", "timing", "sensors"})
PIXEL_FIELDS = frozenset({"confidence", "depth", "motion"})


def shown_views(stage: Stage, state: ViewState) -> Bool[np.ndarray, "view"]:
    """For each view whether its camera is drawn: of the chosen moments and of a chosen sensor."""
    shown = np.ones(len(stage), bool)
    if state.moment is not None and len(stage.times):
        now = stage.moment_at(state.moment)
        mode = "moment" if state.timing == "still" else state.timing  # a camera is a thing that moves
        shown = is_shown(mode, stage.moments, now, moving=False)
    if state.sensors is not None:
        shown &= np.array([view.sensor is None or view.sensor in state.sensors for view in stage.scene.views], bool)
    return shown


def kept_pixels(stage: Stage, state: ViewState, index: int) -> Int[np.ndarray, "n"]:
    """Rows of ``stage.pixels(index)`` that pass the confidence, depth and motion of the state, ascending."""
    pixels = stage.pixels(index)
    keep = np.ones(len(pixels), bool)
    if state.confidence > 0:
        keep &= pixels.confidence >= stage.threshold(state.confidence)
    nearest, farthest = state.depth
    if nearest > 0:
        keep &= pixels.depth >= nearest * stage.depth_limit
    if farthest < 1:
        keep &= pixels.depth <= farthest * stage.depth_limit
    if state.motion != "all":
        moves = np.zeros(len(pixels), bool) if pixels.dynamic is None else pixels.dynamic
        keep &= moves if state.motion == "dynamic" else ~moves
    return np.flatnonzero(keep)
