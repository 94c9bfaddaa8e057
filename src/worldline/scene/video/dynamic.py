"""What moves in a video: pixels whose points change their place in the world, by more than the answers are uncertain.

The paper asks for motion only as a target of training; how a mask follows from it is our own choice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from worldline.errors import InputError
from worldline.scene.video.answers import AnswersQueries
from worldline.scene.video.asking import ask, cell_centers, check_size, chosen_frames
from worldline.scene.video.depth import moderate_size

_MEDIAN_LENGTH = 0.65  # standard deviation per axis over the median length of a normal vector in three axes
Evidence = Literal["points", "motion"]


@dataclass(frozen=True)
class DynamicOptions:
    """When a pixel counts as moving."""

    reach: int = 4  # frames before and after that are looked at, and half as many: far ones show slow motion, near ones
    # are more certain
    smooth: int = 3  # edge in cells of the median over neighbours, taken where noise would hide ``least``; 1 = never
    evidence: Evidence = "points"  # "points": difference of the positions at two times in one camera, which the main
    # output gives; "motion": the auxiliary output
    least: float = 0.01  # displacement, as a share of the pixel's distance, below which nothing counts as moving
    deviations: float = 4.0  # standard deviations of the displacement of still pixels that a moving one exceeds

    def __post_init__(self) -> None:
        if self.reach < 1 or self.smooth < 1 or self.smooth % 2 == 0 or self.least < 0 or self.deviations < 0:
            raise InputError(
                f"reach {self.reach}, smooth {self.smooth}, least {self.least}, deviations {self.deviations}: "
                "out of range.",
                "reach is at least 1, smooth odd, the others are not negative.",
            )
        if self.evidence not in get_args(Evidence):
            raise InputError(f"Unknown evidence {self.evidence!r}.", f"Choose one of: {', '.join(get_args(Evidence))}.")


@dataclass(frozen=True, eq=False)
class DynamicMasks:
    """Which pixels of some frames move."""

    mask: Bool[np.ndarray, "n h w"]  # True = moves
    score: Float32[np.ndarray, "n h w"]  # displacement over what would count as moving: above 1 = moves
    displacement: Float32[np.ndarray, "n h w"]  # per frame step, largest over the reach, unit of the video
    frames: Int64[np.ndarray, "n"]


def find_dynamic(
    video: AnswersQueries, options: DynamicOptions | None = None, *, frames: Sequence[int] | int | None = None,
    size: tuple[int, int] | None = None,
) -> DynamicMasks:  # fmt: skip
    """Masks of what moves, per frame, on a grid of any size.

    A pixel's point is asked for at nearby times in the camera of its own frame, so that camera motion plays no part.
    How uncertain the answers are is measured in the video itself: most pixels stand still, and the median displacement
    over depth at each time distance is the noise. Pixels of low confidence need a larger displacement.

    Args:
        frames: frame numbers; None: all.
        size: (height, width) of the masks; None: that of the original frames, at most 64 cells on the longer side.

    Raises:
        InputError: a frame that does not exist.
    """
    options, chosen = options or DynamicOptions(), chosen_frames(video, frames)
    height, width = check_size(size) if size is not None else moderate_size(video.original_size, 64)
    u, v = cell_centers(height, width)
    own = chosen[:, None, None]
    now = ask(video, u, v, own, own, own, keep=("points", "confidence"))
    gaps = np.unique([(options.reach + 1) // 2, options.reach])
    steps = np.r_[-gaps, gaps]
    later = chosen[:, None] + steps
    exists = (later >= 0) & (later < video.frame_count)
    asked = np.where(exists, later, chosen[:, None])[:, :, None, None]
    field = "points" if options.evidence == "points" else "motion"
    then = ask(video, u, v, own[:, None], asked, own[:, None], keep=(field, "confidence"))
    shift = then.points - now.points[:, None] if field == "points" else then.motion
    usable = exists[:, :, None, None] & (now.points[..., 2] > 0)[:, None] & np.isfinite(shift).all(-1)
    distance = np.where(usable, np.linalg.norm(now.points, axis=-1)[:, None], np.nan)
    unit = _noise(np.linalg.norm(shift, axis=-1) / distance, np.abs(steps))
    if options.deviations * unit.max() > options.least and options.smooth > 1:
        shift = _smoothed(shift, options.smooth)
        unit = _noise(np.linalg.norm(shift, axis=-1) / distance, np.abs(steps))
    moved = np.linalg.norm(shift, axis=-1)  # [n, step, h, w]
    doubt = _doubt(np.minimum(now.confidence[:, None], then.confidence), usable)
    tolerated = np.maximum(options.deviations * unit, options.least)[:, None, None] * doubt
    share = moved / distance
    score = np.where(usable, share / tolerated, 0.0).max(1)
    speed = np.where(usable, moved / np.abs(steps)[:, None, None], 0.0).max(1)
    return DynamicMasks(score > 1, score.astype(np.float32), speed.astype(np.float32), chosen)


def _smoothed(shift: np.ndarray, edge: int) -> np.ndarray:
    """Median of every component over a square of neighbours of [n, step, h, w, 3]."""
    from scipy.ndimage import median_filter

    return median_filter(np.nan_to_num(shift), size=(1, 1, edge, edge, 1), mode="nearest")


def _noise(share: np.ndarray, gap: Int64[np.ndarray, "s"]) -> Float64[np.ndarray, "s"]:
    """Standard deviation of displacement over distance per axis, as most pixels show it, for each step."""
    unit = np.full(len(gap), 1e-6)
    for distance in np.unique(gap):  # times equally far away are equally uncertain
        rows = gap == distance
        known = share[:, rows][np.isfinite(share[:, rows])]
        if len(known):
            unit[rows] = max(1e-6, _MEDIAN_LENGTH * float(np.median(known)))
    return unit


def _doubt(confidence: np.ndarray, usable: np.ndarray) -> np.ndarray:
    """Factor by which pixels of less than the typical confidence are less certain."""
    typical = float(np.median(confidence[usable])) if usable.any() else 1.0
    return np.maximum(1.0, typical / np.maximum(confidence, 1e-12))
