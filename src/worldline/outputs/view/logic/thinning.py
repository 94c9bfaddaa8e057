"""What of the points is shown at a moment: things that stand still from all moments, things that move from one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Int, Int64

from worldline.outputs.view.logic.clock import is_shown

if TYPE_CHECKING:
    from worldline.outputs.view.stage import Stage
    from worldline.outputs.view.state import ViewState

STILL, MOVING = 0, 1  # the parts of a view; what is not known to move is still
RESIDENT = 4  # times the budget that a browser holds, hidden moments included


def split(moves: Bool[np.ndarray, "n"] | None, rows: Int[np.ndarray, "m"]) -> tuple[np.ndarray, np.ndarray]:
    """The rows of each part of a view, in their order.

    Args:
        moves: of all rows, whether they move; None: unknown.
        rows: those that count.
    """
    if moves is None:
        return rows, rows[:0]
    moving = moves[rows]
    return rows[~moving], rows[moving]


def count_parts(stage: Stage, state: ViewState, index: int, threshold: float) -> tuple[int, int]:
    """How many still and moving pixels of a view pass the choices of the state, without putting them in order.

    Args:
        threshold: the confidence that :meth:`Stage.threshold` says.
    """
    view, (nearest, farthest) = stage.scene.views[index], state.depth
    keep = view.mask if state.confidence <= 0 else view.mask & (view.confidence >= threshold)
    if nearest > 0:
        keep = keep & (view.depth >= nearest * stage.depth_limit)
    if farthest < 1:
        keep = keep & (view.depth <= farthest * stage.depth_limit)
    moving = 0 if view.dynamic is None else int(np.count_nonzero(keep & view.dynamic))
    still = int(np.count_nonzero(keep)) - moving
    return (0 if state.motion == "dynamic" else still), (0 if state.motion == "static" else moving)


def shown_parts(stage: Stage, state: ViewState) -> Bool[np.ndarray, "view 2"]:
    """For each view whether its still and its moving points are drawn at the moment of the state."""
    shown = np.ones((len(stage), 2), bool)
    if state.moment is not None and len(stage.times):
        now = stage.moment_at(state.moment)
        for part in (STILL, MOVING):
            shown[:, part] = is_shown(state.timing, stage.moments, now, moving=part == MOVING)
    if state.sensors is not None:
        of_sensor = [view.sensor is None or view.sensor in state.sensors for view in stage.scene.views]
        shown &= np.array(of_sensor, bool)[:, None]
    return shown


def thinning(
    counts: Int[np.ndarray, "view 2"], moments: Int[np.ndarray, "view"], timing: str | None, budget: int
) -> float:
    """The share of its points that every view may draw, the same at all moments: nothing is sent anew in playing.

    At no moment more than ``budget`` points are seen, and of all moments together the browser holds no more than
    RESIDENT times as many.

    Args:
        counts: still and moving points of each view.
        moments: of each view; -1: none, it is always seen.
        timing: one of ``clock.MODES``; None: everything is seen.
    """
    timed = moments >= 0
    total = int(counts.sum())
    peak = total
    if timing in ("still", "moment", "until") and timed.any():
        length = int(moments.max()) + 1
        still, moving = (np.bincount(moments[timed], counts[timed, part], length) for part in (STILL, MOVING))
        always = int(counts[~timed].sum())
        if timing == "moment":
            peak = always + int((still + moving).max())
        elif timing == "until":
            peak = always + int((np.cumsum(still) + moving).max())
        else:
            peak = always + int(still.sum() + moving.max())
    return min(1.0, budget / max(peak, 1), RESIDENT * budget / max(total, 1))


def drawn_of(counts: Int[np.ndarray, "view 2"], share: float) -> Int64[np.ndarray, "view 2"]:
    """How many points each part draws; rounded down, so that sums keep to the budget."""
    return np.floor(counts * share + 1e-9).astype(np.int64)
