"""Depth of a video: Z of queries whose three times are the same frame (arXiv 2512.08924, table 1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int64

from worldline.scene.video.answers import AnswersQueries
from worldline.scene.video.asking import ask, cell_centers, check_size, chosen_frames
from worldline.scene.video.robust import NORMAL


@dataclass(frozen=True, eq=False)
class DepthMaps:
    """Depth of some frames on a grid of equal cells over the whole image."""

    depth: Float32[np.ndarray, "n h w"]  # along the optical axis, in the unit of the video; <= 0 where there is none
    confidence: Float32[np.ndarray, "n h w"]  # > 0, larger is better
    frames: Int64[np.ndarray, "n"]  # frame numbers

    @property
    def valid(self) -> Bool[np.ndarray, "n h w"]:
        """Finite and in front of the camera."""
        return np.isfinite(self.depth) & (self.depth > 0)


def depth_maps(
    video: AnswersQueries, *, frames: Sequence[int] | int | None = None, size: tuple[int, int] | None = None
) -> DepthMaps:
    """Depth of frames at any resolution: the grid may be finer than what the network saw (appendix C).

    Args:
        frames: frame numbers; None: all.
        size: (height, width) of the maps; None: that of the original frames, at most 128 cells on the longer side.

    Raises:
        InputError: a frame that does not exist, or a grid without cells.
    """
    chosen = chosen_frames(video, frames)
    u, v = cell_centers(*(check_size(size) if size is not None else moderate_size(video.original_size)))
    time = chosen[:, None, None]
    answers = ask(video, u, v, time, time, time, keep=("points", "confidence"))
    return DepthMaps(np.ascontiguousarray(answers.points[..., 2]), answers.confidence, chosen)


def moderate_size(original: tuple[int, int], longest: int = 128) -> tuple[int, int]:
    """A grid of the shape of the frames, small enough to be asked for without a thought."""
    factor = min(1.0, longest / max(original))
    return max(1, round(original[0] * factor)), max(1, round(original[1] * factor))


def discontinuities(depth: Float[np.ndarray, "*n h w"], threshold: float = 0.04) -> Bool[np.ndarray, "*n h w"]:
    """Pixels beside a jump of depth, whose own depth may be that of neither side.

    Over a plane the inverse depth is linear in the pixel, however steeply the plane is seen; so its second difference
    times the depth is zero there, and about the relative jump where two surfaces meet. Where depth is noisy, only what
    stands out of the noise of its frame is an edge.

    Args:
        threshold: second difference of the inverse depth, as a share of the inverse depth.
    """
    inverse = 1 / np.where(depth > 0, depth, np.inf)
    edge = np.zeros(depth.shape, bool)
    for axis in (-2, -1):
        if depth.shape[axis] < 3:
            continue
        middle = [slice(None)] * depth.ndim
        middle[axis] = slice(1, -1)
        bend = np.abs(np.diff(inverse, n=2, axis=axis)) / np.maximum(inverse[tuple(middle)], 1e-30)
        noise = 4 * NORMAL * np.median(bend, axis=(-2, -1), keepdims=True)
        edge[tuple(middle)] |= bend > np.maximum(threshold, noise)
    return edge
