"""Videos longer than a network's window: overlapping windows and what joins them (arXiv 2512.08924, appendix B).

Every window has a frame and a unit of its own: the camera of its first photo and whatever unit its network chose.
Points of the photos that two windows share give the similarity between them. What cannot be joined is said to be
apart: nothing is replaced by an identity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from torch import Tensor

from worldline.errors import InputError
from worldline.geometry import Similarity, fit_similarity, fit_similarity_robust
from worldline.scene.video.answers import AnswersQueries

_THIN = 1e-3  # a point set less wide than this share of its length is a line: it leaves a turn about itself open
_LEAST_SCALE, _LARGEST_SCALE = 1e-4, 1e4  # between neighbours; beyond, one of the two collapsed

# positions [k m 3], confidence [k m], and where there is something to see [k m]
OverlapPoints = tuple[Float32[np.ndarray, "k m 3"], Float32[np.ndarray, "k m"], Bool[np.ndarray, "k m"]]


@dataclass(frozen=True)
class WindowOptions:
    """How a long video is cut and joined. ``share`` is the paper's; the other values are ours (docs/tracking.md)."""

    window: int | None = None  # frames per window; None: as many as the network takes
    overlap: int | None = None  # frames that neighbours share; None: half of the window
    share: float = 0.85  # of the overlap's points: the most confident ones that the similarity is fitted to
    robust: bool = True  # weigh those down that do not fit, treat both windows alike; False: plain least squares
    grid: int = 16  # points per side of every frame of the overlap
    least_points: int = 16  # fewer are not trusted with seven unknowns

    def __post_init__(self) -> None:
        if self.window is not None and self.window < 2:
            raise InputError(f"A window of {self.window} frames shows no motion.", "Choose 2 or more.")
        if self.overlap is not None and self.overlap < 1:
            raise InputError(f"Windows that share {self.overlap} frames cannot be joined.", "Choose 1 or more.")
        if not 0 < self.share <= 1:
            raise InputError(f"The share {self.share} is not in (0, 1].", "The paper takes 0.85.")
        if self.grid < 2 or self.least_points < 3:
            raise InputError("A similarity needs 3 points or more.", "Choose a grid of 2, least_points of 3, or more.")


@dataclass(frozen=True)
class Window:
    """Frames ``start`` … ``stop - 1`` of a video."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def __contains__(self, frame: int) -> bool:
        return self.start <= frame < self.stop


def plan_windows(frames: int, window: int, overlap: int | None = None) -> tuple[Window, ...]:
    """Windows of equal length over a video, each sharing at least ``overlap`` frames with the next.

    The last one ends with the video, so its overlap may be larger. A video that fits into one window is one.

    Raises:
        InputError: no frames, or windows that do not advance.
    """
    overlap = window // 2 if overlap is None else overlap
    if frames < 1 or window < 1:
        raise InputError(f"{frames} frames cannot be cut into windows of {window}.", "Both must be 1 or more.")
    if frames <= window:
        return (Window(0, frames),)
    if not 1 <= overlap < window:
        raise InputError(
            f"Windows of {window} frames cannot share {overlap}.", f"Choose an overlap from 1 to {window - 1}."
        )
    starts = [*range(0, frames - window, window - overlap), frames - window]
    return tuple(Window(start, start + window) for start in starts)


def owners(windows: Sequence[Window]) -> Int64[np.ndarray, "t"]:
    """The window that answers for each frame: the one in which it is farthest from an end; the earlier of equals."""
    frames = np.arange(windows[-1].stop)
    margin = np.stack([np.minimum(frames - each.start, each.stop - 1 - frames) for each in windows])
    return margin.argmax(0)


@dataclass(frozen=True, eq=False)
class Seam:
    """How two neighbouring windows fit together."""

    previous_from_current: Similarity  # meaningless where ``failure`` is set
    error: float  # median distance of the used points after the fit, as a share of their median depth
    used: int  # points that were fitted
    offered: int  # points that both windows know
    failure: str | None = None  # why there is no similarity

    def sentence(self, number: int, frame: int) -> str | None:
        """What a user should know about this seam; None where all is well."""
        if self.failure is None:
            return None
        return f"The video falls apart before frame {frame} (seam {number}): {self.failure}."


def overlap_points(video: AnswersQueries, frames: Int64[np.ndarray, "k"], grid: int) -> OverlapPoints:
    """Points of a ``grid`` x ``grid`` raster of some frames, in the camera of the window's first frame.

    Args:
        frames: numbers within the window.

    Returns:
        points, confidence, and where there is something to see: not the sky, as far as the answers know.
    """
    line = (np.arange(grid) + 0.5) / grid
    v, u = (each.ravel() for each in np.meshgrid(line, line, indexing="ij"))
    shown = frames[:, None]
    answers = video.query(u, v, shown, shown, 0)
    return answers.points, answers.confidence, answers.visible & np.isfinite(answers.points).all(-1)


def fit_seam(
    previous: Float[np.ndarray, "*n 3"], current: Float[np.ndarray, "*n 3"], confidence: Float[np.ndarray, "*n"],
    options: WindowOptions | None = None, *, valid: Bool[np.ndarray, "*n"] | None = None,
) -> Seam:  # fmt: skip
    """The similarity that takes a window's points to those of the window before it.

    Args:
        previous, current: the same physical points at the same moments, each in its window's frame.
        confidence: the smaller of the two windows' confidences, larger is better; only its order matters.
        valid: points that may be used; by default all that are finite.

    Returns:
        the seam, with ``failure`` set instead of a guess where the points do not determine it.
    """
    options = options or WindowOptions()
    usable = np.isfinite(previous).all(-1) & np.isfinite(current).all(-1) & np.isfinite(confidence)
    usable &= True if valid is None else valid
    offered = int(np.count_nonzero(usable))
    if offered < options.least_points:
        return _apart(offered, offered, f"only {offered} points are known in both windows")
    keep = max(options.least_points, int(np.ceil(options.share * offered)))
    best = np.argsort(-confidence[usable], kind="stable")[:keep]
    source, target = (torch.from_numpy(each[usable][best].astype(np.float64)) for each in (current, previous))
    for points, whose in ((source, "later"), (target, "earlier")):
        spread = torch.linalg.svdvals(points - points.mean(0))
        if not spread[1] > _THIN * spread[0]:
            return _apart(len(best), offered, f"the points of the {whose} window lie on a line or in one place")
    fit = _fit_both_ways(source, target) if options.robust else fit_similarity(source, target)
    scale = float(fit.scale)
    if not _LEAST_SCALE < scale < _LARGEST_SCALE:
        return _apart(len(best), offered, f"their units differ by a factor of {scale:.1e}")
    distance = (fit.apply(source) - target).norm(dim=-1).median()
    return Seam(fit, float(distance / target.norm(dim=-1).median()), len(best), offered)


def join(
    previous: AnswersQueries, current: AnswersQueries, windows: tuple[Window, Window], options: WindowOptions
) -> Seam:
    """The seam between two windows of one video, from what both say about the frames that they share."""
    shared = np.arange(windows[1].start, windows[0].stop)
    before = overlap_points(previous, shared - windows[0].start, options.grid)
    after = overlap_points(current, shared - windows[1].start, options.grid)
    return join_known(before, after, options)


def join_known(before: OverlapPoints, after: OverlapPoints, options: WindowOptions) -> Seam:
    """As :func:`join`, where the windows are gone and only their :func:`overlap_points` were kept."""
    valid = np.logical_and(before[2], after[2])
    return fit_seam(before[0], after[0], np.minimum(before[1], after[1]), options, valid=valid)


def place(seams: Sequence[Seam]) -> tuple[tuple[Similarity, int], ...]:
    """Where every window stands: (similarity to the frame of its piece's first window, number of the piece).

    A seam that failed starts a new piece, whose frame and unit have nothing to do with those of the others.
    """
    placed = [(Similarity.identity(), 0)]
    for seam in seams:
        above, piece = placed[-1]
        if seam.failure is not None:
            placed.append((Similarity.identity(), piece + 1))
            continue
        step = seam.previous_from_current
        placed.append(
            (Similarity(above.scale * step.scale, above.rotation @ step.rotation,
                        above.apply(step.translation[None])[0]), piece)
        )  # fmt: skip
    return tuple(placed)


def hand_over(
    visibility: Float32[np.ndarray, "n k"], confidence: Float32[np.ndarray, "n k"], threshold: float = 0.5
) -> tuple[Int64[np.ndarray, "n"], Bool[np.ndarray, "n"]]:
    """The frame of an overlap from which the next window takes a track on: the most confident where it is visible.

    Returns:
        index of the frame in 0 … k - 1, and whether there is one: a track that is hidden in the whole overlap is lost.
    """
    seen = visibility > threshold
    return np.where(seen, confidence, -np.inf).argmax(1), np.asarray(seen.any(1))


def _fit_both_ways(source: Float[Tensor, "n 3"], target: Float[Tensor, "n 3"]) -> Similarity:
    """Robust similarity without preference for one of the two sets.

    Least squares takes the source to be exact, so noise in it makes the scale too small, a little at every seam of a
    long video. The fits in both directions are wrong by the same factor where the windows are equally good.
    """
    forward, backward = fit_similarity_robust(source, target), fit_similarity_robust(target, source)
    scale = (forward.scale / backward.scale).sqrt()
    rotation = forward.rotation
    return Similarity(scale, rotation, (target - scale * source @ rotation.mT).median(0).values)


def _apart(used: int, offered: int, failure: str) -> Seam:
    return Seam(Similarity.identity(), float("inf"), used, offered, failure)
