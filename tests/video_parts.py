"""Windows of an exactly known video, each in a unit of its own, as a network would answer for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from worldline.errors import InputError
from worldline.scene.video.answers import AnswersQueries, VideoAnswers


@dataclass
class Part:
    """Frames ``start`` … ``stop - 1`` of another video; times count from its own first frame."""

    video: AnswersQueries
    start: int
    stop: int
    scale: float = 1.0  # of all lengths: the unit that this window chose
    asked: int = 0

    @property
    def frame_count(self) -> int:
        return self.stop - self.start

    @property
    def original_size(self) -> tuple[int, int]:
        return self.video.original_size

    def query(self, u: Any, v: Any, t_src: Any, t_tgt: Any, t_cam: Any) -> VideoAnswers:
        times = [np.asarray(each) for each in (t_src, t_tgt, t_cam)]
        if any(each.size and (each.min() < 0 or each.max() >= self.frame_count) for each in times):
            raise InputError("A time is outside of the window.", "Times count from the window's first frame.")
        exact = self.video.query(u, v, *(each + self.start for each in times))
        self.asked += exact.visibility.size
        return replace(
            exact,
            points=exact.points * np.float32(self.scale),
            motion=exact.motion * np.float32(self.scale),
        )
