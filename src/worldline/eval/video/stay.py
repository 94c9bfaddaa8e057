"""Answers about a video by somebody who has not looked at it: what every method must beat."""

from __future__ import annotations

from typing import Any

import numpy as np

from worldline.scene.video.answers import VideoAnswers
from worldline.scene.video.asking import checked_queries
from worldline.scene.video.intrinsics import FALLBACK_VIEW

STAY = "stay"


class StayVideo:
    """A video about which nothing is known (an ``AnswersQueries``): every pixel stays in its place, one unit away."""

    def __init__(self, frame_count: int, original_size: tuple[int, ...]) -> None:
        self.frame_count = frame_count
        self.original_size = (int(original_size[0]), int(original_size[1]))

    def query(self, u: Any, v: Any, t_src: Any, t_tgt: Any, t_cam: Any) -> VideoAnswers:
        """The same for all times."""
        parts, shape = checked_queries(u, v, t_src, t_tgt, t_cam, self.frame_count)
        uv = np.stack(parts[:2], -1).astype(np.float64)
        height, width = self.original_size
        focal = 0.5 * max(height, width) / np.tan(FALLBACK_VIEW / 2)
        slope = (uv - 0.5) * (width, height) / focal
        points = np.concatenate([slope, np.ones_like(slope[:, :1])], 1).astype(np.float32)
        ahead = np.broadcast_to(np.array([0, 0, -1], np.float32), points.shape)
        sure = np.ones(len(points), np.float32)
        each = (points, uv.astype(np.float32), sure, np.zeros_like(points), ahead, sure)
        return VideoAnswers(*(values.reshape((*shape, *values.shape[1:])) for values in each))
