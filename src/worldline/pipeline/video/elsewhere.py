"""Answers to queries whose three times lie in different windows of a long video."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float64, Int64

from worldline.scene.video.answers import VideoAnswers
from worldline.scene.video.asking import ask
from worldline.scene.video.relay import LEAST_CONFIDENCE, placed_points
from worldline.scene.video.windows import hand_over

if TYPE_CHECKING:
    from worldline.pipeline.video.windows import LongVideo, WindowVideo

Rows = Int64[np.ndarray, "m"]


class Elsewhere:
    """Flat queries to a long video on their way to an answer. What stays unanswered is zeros and hardly confident."""

    def __init__(self, video: LongVideo, parts: list[np.ndarray]) -> None:
        """``parts``: u, v, t_src, t_tgt, t_cam, flat and checked. The seams of the video must be known."""
        self.video, self.windows = video, video.windows
        u, v, src, tgt, cam = parts
        self.uv: Float64[np.ndarray, "n 2"] = np.stack([u, v], -1).astype(np.float64)  # moves with hand-overs
        self.time = src.copy()  # frame that ``uv`` is in
        self.src, self.tgt, self.cam = src, tgt, cam
        count = len(u)
        self.points, self.motion = np.zeros((count, 3), np.float32), np.zeros((count, 3), np.float32)
        self.normal, self.seen_at = np.zeros((count, 3), np.float32), np.zeros((count, 2), np.float32)
        self.visibility = np.zeros(count, np.float32)
        self.confidence = np.full(count, LEAST_CONFIDENCE, np.float32)
        self.start = np.full((count, 3), np.nan)  # where the point was at t_src, in the frame of the whole video
        self.starts, self.stops = (
            np.array([getattr(each, name) for each in self.windows], np.int64) for name in ("start", "stop")
        )  # both rise

    def answers(self) -> list[np.ndarray]:
        """All of them, in the order of :class:`VideoAnswers`."""
        home, far = self._homes()
        for number, video in self.video.walk(only=lambda n: bool((home == n).any())):
            self._ask_here(number, video, np.flatnonzero(home == number))
        if len(far):
            poses = self.video.cameras().world_from_cam
            self._travel(far[self.tgt[far] >= self.src[far]], 1, poses)
            self._travel(far[self.tgt[far] < self.src[far]], -1, poses)
        return [self.points, self.seen_at, self.visibility, self.motion, self.normal, self.confidence]

    def _homes(self) -> tuple[Int64[np.ndarray, "n"], Rows]:
        """Windows that answer alone, and the queries that no window has all times of.

        Of the windows with all three times it is the one with its ends farthest away. Those beyond a seam that failed
        cannot answer in the unit of the video: queries that only they could answer have window -1, and are not among
        the others. Memory is that of some numbers per query, however many windows there are.
        """
        whole = np.array([self.video.whole(number) for number in range(len(self.windows))])
        early, late = np.minimum(self.src, self.tgt), np.maximum(self.src, self.tgt)
        early, late = np.minimum(early, self.cam), np.maximum(late, self.cam)
        first, last = self._first_with(late), self._last_with(early)
        home, best = np.full(len(early), -1), np.full(len(early), -1)
        for step in range(int((last - first).max(initial=-1)) + 1):
            number = np.minimum(first + step, last)
            margin = np.minimum(early - self.starts[number], self.stops[number] - 1 - late)
            better = whole[number] & (margin > best)
            home[better], best[better] = number[better], margin[better]
        return home, np.flatnonzero(first > last)

    def _first_with(self, frames: Rows) -> Rows:
        """The first window that has a frame."""
        return np.searchsorted(self.stops, frames, side="right")

    def _last_with(self, frames: Rows) -> Rows:
        """The last window that has a frame."""
        return np.searchsorted(self.starts, frames, side="right") - 1

    def _ask_here(self, number: int, video: WindowVideo, rows: Rows) -> None:
        """Queries whose times are all in one window."""
        first, scale = self.windows[number].start, np.float32(self.video.placement(number)[0].scale)
        src, tgt, cam = (each[rows] - first for each in (self.src, self.tgt, self.cam))
        answers = ask(video, self.uv[rows, 0], self.uv[rows, 1], src, tgt, cam)
        self._keep(rows, answers)
        self.points[rows], self.motion[rows] = answers.points * scale, answers.motion * scale
        self.normal[rows] = answers.normal

    def _keep(self, rows: Rows, answers: VideoAnswers) -> None:
        self.seen_at[rows], self.visibility[rows] = answers.uv, answers.visibility
        self.confidence[rows] = np.maximum(answers.confidence, LEAST_CONFIDENCE)

    def _travel(self, rows: Rows, step: int, poses: Float64[np.ndarray, "t 4 4"]) -> None:
        """Hand points over, window by window, until that of their t_tgt."""
        at = np.full(len(self.src), -1)  # the window of each row; of those of t_src the one that reaches farthest
        at[rows] = self._last_with(self.time[rows]) if step > 0 else self._first_with(self.time[rows])
        for number, video in self.video.walk(step, lambda n: bool((at == n).any())):
            window, here = self.windows[number], np.flatnonzero(at == number)
            fresh = here[np.isnan(self.start[here, 0])]
            self.start[fresh] = self._position(number, video, fresh)
            ends = (self.tgt[here] >= window.start) & (self.tgt[here] < window.stop)
            self._arrive(number, video, here[ends], poses)
            at[here[ends]] = -1
            onward, following = here[~ends], number + step
            if len(onward):
                alive = self._hand_over(number, following, video, onward)
                at[onward] = np.where(alive, following, -1)

    def _position(self, number: int, video: WindowVideo, rows: Rows) -> Float64[np.ndarray, "m 3"]:
        """Where points are at t_src, in the frame of the whole video."""
        time = self.src[rows] - self.windows[number].start
        found = ask(video, self.uv[rows, 0], self.uv[rows, 1], time, time, np.int64(0), keep=("points",))
        return placed_points(found.points, self.video.placement(number)[0], world=True).astype(np.float64)

    def _arrive(self, number: int, video: WindowVideo, rows: Rows, poses: Float64[np.ndarray, "t 4 4"]) -> None:
        """The answers of points that have reached the window of their t_tgt."""
        if len(rows) == 0:
            return
        window, (placement, piece) = self.windows[number], self.video.placement(number)
        cam = self.cam[rows]
        own = (cam >= window.start) & (cam < window.stop)
        src, tgt = self.time[rows] - window.start, self.tgt[rows] - window.start
        answers = ask(video, self.uv[rows, 0], self.uv[rows, 1], src, tgt, np.where(own, cam - window.start, 0))
        inverse = np.linalg.inv(poses[cam])
        turn = placement.rotation.numpy()

        def seen_from(points: np.ndarray) -> np.ndarray:
            return np.einsum("nij,nj->ni", inverse[:, :3, :3], points) + inverse[:, :3, 3]

        moved = seen_from(placed_points(answers.points, placement, world=True))
        points = np.where(own[:, None], placed_points(answers.points, placement, world=False), moved)
        turned = np.einsum("nij,nj->ni", inverse[:, :3, :3], answers.normal @ turn.T)
        normal = np.where(own[:, None], answers.normal, turned)
        motion = points - seen_from(self.start[rows])
        known = np.isfinite(points).all(-1) & np.isfinite(motion).all(-1) & (piece == 0)
        self._keep(rows[known], VideoAnswers(*(getattr(answers, name)[known] for name in VideoAnswers.__annotations__)))
        for store, values in ((self.points, points), (self.motion, motion), (self.normal, normal)):
            store[rows[known]] = values[known]

    def _hand_over(self, number: int, following: int, video: WindowVideo, rows: Rows) -> Bool[np.ndarray, "m"]:
        """Move points to a frame that the next window has as well; whether there is one."""
        if not self.video.joined(following, following - number):
            return np.zeros(len(rows), np.bool_)
        here, there = self.windows[number], self.windows[following]
        shared = np.arange(max(here.start, there.start), min(here.stop, there.stop)) - here.start
        source = (self.time[rows] - here.start)[:, None]
        answers = ask(
            video, self.uv[rows, :1], self.uv[rows, 1:], source, shared, shared, keep=("uv", "visibility", "confidence")
        )
        best, alive = hand_over(answers.visibility, answers.confidence)
        self.uv[rows] = answers.uv[np.arange(len(rows)), best].clip(0, 1)
        self.time[rows] = shared[best] + here.start
        return alive
