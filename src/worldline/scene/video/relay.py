"""Tracks across the windows of a long video: each window hands its tracks to the next where it sees them best.

A track that is hidden in all frames that two windows share is lost there, and stays lost: a later window that shows
the same point again starts no continuation of it, because nothing would say that it is the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64

from worldline.errors import MemoryPlanError
from worldline.geometry import Similarity
from worldline.scene.video.answers import AnswersQueries, VideoAnswers
from worldline.scene.video.asking import ask
from worldline.scene.video.tracks import VideoTracks
from worldline.scene.video.windows import Window, hand_over, owners

LEAST_CONFIDENCE = 1e-6  # of what is not known; confidences are above 0
_FIELDS = ("points", "uv", "visibility", "confidence")
_ROWS = 4096  # tracks that are written at a time
TRACK_BYTES = 120  # per track and frame, the most of a run: while one window is asked, and while tracks.npz is written


@dataclass(frozen=True, eq=False)
class LongTracks(VideoTracks):
    """Tracks that may begin late and end early. Where a track is not ``known``, it is not visible, and zeros stand."""

    known: Bool[np.ndarray, "n t"]  # frames in which a window follows it
    handed: Int64[np.ndarray, "n"]  # times that it went from one window to the next


class Relay:
    """Tracks that travel through windows. The windows may be visited forwards, then backwards, each one once."""

    def __init__(
        self, queries: Float64[np.ndarray, "n 3"], windows: Sequence[Window], size: tuple[int, int], *,
        world: bool = False,
    ) -> None:  # fmt: skip
        """
        Args:
            queries: x, y in original pixels and frame of the video.
            size: (height, width) of the frames.
            world: points in the frame of the whole video, asked for with one camera per window; else in the camera of
                each moment.
        """
        self.queries, self.windows, self.size, self.world = queries, tuple(windows), size, world
        count, frames = len(queries), windows[-1].stop
        self.points = np.zeros((count, frames, 3), np.float32)
        self.uv = np.zeros((count, frames, 2), np.float32)
        self.visibility = np.zeros((count, frames), np.float32)
        self.confidence = np.full((count, frames), LEAST_CONFIDENCE, np.float32)
        self.known = np.zeros((count, frames), np.bool_)
        self.handed = np.zeros(count, np.int64)
        self.home = owners(windows)[queries[:, 2].astype(np.int64)]
        self.reach = {1: np.full(count, -1), -1: np.full(count, -1)}  # last window that follows it, per direction
        self.asked = 0

    def waits_for(self, number: int, step: int) -> bool:
        """Whether a visit of this window, going in direction ``step``, could change anything."""
        starts = step > 0 and bool((self.home == number).any())
        return starts or bool((self.reach[step] == number - step).any())

    def visit(
        self, number: int, video: AnswersQueries, placement: Similarity, *, step: int = 1, joined: bool = True
    ) -> None:
        """Follow through a window what starts there and what the window before hands over.

        Args:
            placement: takes the window's points to the frame and unit of the whole video.
            step: 1 when windows are visited in their order, -1 when they are visited back from the last.
            joined: False: there is no seam to the window before, so nothing is handed over.
        """
        if step > 0 and (new := np.flatnonzero(self.home == number)).size:
            uv = (self.queries[new, :2] + 0.5) / self.size[::-1]
            answers = self._follow(video, number, uv, self.queries[new, 2].astype(np.int64))
            self.start(number, new, answers, placement)
        before = number - step
        rows = np.flatnonzero(self.reach[step] == before)
        if not joined or len(rows) == 0:
            return
        here, there = self.windows[number], self.windows[before]
        shared = np.arange(max(here.start, there.start), min(here.stop, there.stop))
        visibility = np.where(self.known[rows[:, None], shared], self.visibility[rows[:, None], shared], 0)
        best, alive = hand_over(visibility, self.confidence[rows[:, None], shared])
        rows, frame = rows[alive], shared[best[alive]]
        if len(rows) == 0:
            return
        answers = self._follow(video, number, self.uv[rows, frame].clip(0, 1), frame)
        every = np.arange(here.start, here.stop)
        onward = (every - frame[:, None]) * step > 0
        self._write(rows, here, answers, placement, onward)
        self.reach[step][rows] = number
        self.handed[rows] += 1

    def start(self, number: int, rows: Int64[np.ndarray, "m"], answers: VideoAnswers, placement: Similarity) -> None:
        """Take the answers [m, frames of the window] for tracks that start in a window."""
        here = self.windows[number]
        self._write(rows, here, answers, placement, np.ones((len(rows), len(here)), np.bool_))
        self.reach[1][rows] = self.reach[-1][rows] = number

    def tracks(self) -> LongTracks:
        """What is known now."""
        size = np.array(self.size[::-1], np.float32)
        pixels = np.where(self.known[..., None], self.uv * size - np.float32(0.5), 0).astype(np.float32)
        return LongTracks(
            self.points, pixels, self.visibility, self.confidence, self.queries, 0 if self.world else None,
            self.known, self.handed,
        )  # fmt: skip

    def _follow(
        self, video: AnswersQueries, number: int, uv: Float[np.ndarray, "m 2"], frame: Int64[np.ndarray, "m"]
    ) -> VideoAnswers:
        window = self.windows[number]
        every = np.arange(len(window))
        self.asked += len(uv) * len(window)
        source = (frame - window.start)[:, None]
        return ask(
            video, uv[:, :1], uv[:, 1:], source, every, np.int64(0) if self.world else every, keep=_FIELDS
        )  # fmt: skip

    def _write(
        self, rows: Int64[np.ndarray, "m"], window: Window, answers: VideoAnswers, placement: Similarity,
        where: Bool[np.ndarray, "m k"],
    ) -> None:  # fmt: skip
        """Keep answers of a window for some of its frames."""
        for start in range(0, len(rows), _ROWS):  # the numbers of all places at once would take more than the answers
            row, frame = np.nonzero(where[start : start + _ROWS])
            row += start
            at, points, uv = (rows[row], frame + window.start), answers.points[row, frame], answers.uv[row, frame]
            self.points[at] = placed_points(points, placement, world=self.world)
            self.uv[at] = uv
            self.visibility[at] = answers.visibility[row, frame]
            self.confidence[at] = np.maximum(np.nan_to_num(answers.confidence[row, frame]), LEAST_CONFIDENCE)
            self.known[at] = np.isfinite(points).all(-1) & np.isfinite(uv).all(-1)


def check_track_memory(tracks: int, frames: int, limit: int | None, remedy: str) -> None:
    """Refuse work whose tracks would not fit: every track has a place for every frame, followed there or not.

    Args:
        limit: bytes that the tracks may take; None: any.
        remedy: what the user can do about it.

    Raises:
        MemoryPlanError: they need more.
    """
    needed = tracks * frames * TRACK_BYTES
    if limit is not None and needed > limit:
        raise MemoryPlanError(
            f"{tracks:,} tracks through {frames} frames need about {needed / 1e9:.2f} GB; {limit / 1e9:.2f} GB are "
            "free.",
            remedy,
        )


def placed_points(
    points: Float32[np.ndarray, "*n 3"], placement: Similarity, *, world: bool
) -> Float32[np.ndarray, "*n 3"]:
    """Points of a window in the unit of the whole video: in its frame (``world``), or still in the cameras' own."""
    if not world:
        return (points * np.float32(placement.scale)).astype(np.float32)
    matrix = placement.matrix.numpy()
    return (points.astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.float32)
