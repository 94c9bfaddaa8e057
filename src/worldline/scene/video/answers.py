"""The question that all recipes of a video ask, and its answer; independent of who answers it.

A network answers from its memory (:mod:`worldline.pipeline.video`), a procedural world from its exact truth. So every
recipe can be tested with perfect answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float32


@dataclass(frozen=True, eq=False)
class VideoAnswers:
    """Answers to queries, in the broadcast shape of the queries (arXiv 2512.08924, section 2.1)."""

    points: Float32[np.ndarray, "*q 3"]  # position at t_tgt, in the camera of t_cam (OpenCV axes), unit of the video
    uv: Float32[np.ndarray, "*q 2"]  # image coordinates in the view of t_tgt; (x + 0.5) / W, (y + 0.5) / H
    visibility: Float32[np.ndarray, "*q"]  # probability in [0, 1] of being seen in the view of t_tgt
    motion: Float32[np.ndarray, "*q 3"]  # way from t_src to t_tgt, in the axes of the camera of t_cam
    normal: Float32[np.ndarray, "*q 3"]  # unit vectors in the axes of the camera of t_cam
    confidence: Float32[np.ndarray, "*q"]  # > 0, larger is better

    @property
    def visible(self) -> Bool[np.ndarray, "*q"]:
        """Seen rather than hidden or outside: a visibility above one half."""
        return self.visibility > 0.5


class AnswersQueries(Protocol):
    """A video that answers queries. Times count its frames from 0."""

    @property
    def frame_count(self) -> int:
        """Number of frames T."""

    @property
    def original_size(self) -> tuple[int, int]:
        """(height, width) of the frames as shown."""

    def query(self, u: Any, v: Any, t_src: Any, t_tgt: Any, t_cam: Any) -> VideoAnswers:
        """Answers to queries whose five parts broadcast together.

        Args:
            u, v: (x + 0.5) / W and (y + 0.5) / H of a point in frame ``t_src``, in [0, 1].
            t_src, t_tgt, t_cam: whole numbers of frames, 0 … T - 1.

        Raises:
            InputError: a time or coordinate out of range, or shapes that do not broadcast.
        """
