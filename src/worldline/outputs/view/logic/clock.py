"""Time in the viewer, without the viewer: ticks of one or more scenes, a clock that plays them, what is shown when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float64, Int, Int64

from worldline.errors import InputError

# mode -> what the panel calls it
MODES = {
    "still": "still things + moving ones now",
    "moment": "this moment",
    "until": "until now",
    "all": "all moments",
}
SPEEDS = ("0.25x", "0.5x", "1x", "2x", "4x")
_SAME = 1e-3  # seconds between two times that are one tick
_LONE_STEP = 1.0  # seconds that the only moment of a scene lasts
_LONGEST_GAP = 2.0  # seconds of playing that a pause in the recording takes at most


@dataclass(frozen=True, eq=False)
class Timeline:
    """The moments of some scenes on one axis."""

    seconds: Float64[np.ndarray, "tick"]  # of every tick since the first, ascending
    moments: tuple[Int64[np.ndarray, "tick"], ...]  # per scene: index into its times; -1 before the first of them
    start: float  # time of the first tick as the scenes have it

    def __len__(self) -> int:
        return len(self.seconds)

    @property
    def step(self) -> float:
        """Usual seconds between two ticks."""
        return float(np.median(np.diff(self.seconds))) if len(self) > 1 else _LONE_STEP

    @property
    def play_at(self) -> Float64[np.ndarray, "tick"]:
        """When each tick comes in playing, in seconds: as recorded, but long pauses are cut short."""
        gaps = np.minimum(np.diff(self.seconds), max(_LONGEST_GAP, 2 * self.step))
        return np.concatenate([[0.0], np.cumsum(gaps)])

    def nearest(self, time: float) -> int:
        """The last tick that is not after a time (as the scenes have it); 0 before all."""
        return max(0, int(np.searchsorted(self.seconds, time - self.start + _SAME, side="right")) - 1)


def timeline_of(times: Sequence[Sequence[float]]) -> Timeline | None:
    """One axis for the times of each scene, in seconds and ascending; None where no scene has any.

    Scenes whose recordings overlap share their clock. Scenes of different occasions all begin at 0.
    """
    known = [np.asarray(each, np.float64) for each in times]
    timed = [each for each in known if len(each)]
    if not timed:
        return None
    start = min(float(each[0]) for each in timed)
    overlap = max(each[0] for each in timed) <= min(each[-1] for each in timed) + _SAME
    shifted = [each - (start if overlap else each[0]) if len(each) else each for each in known]
    union = np.sort(np.concatenate([each for each in shifted if len(each)]))
    seconds = union[np.concatenate([[True], np.diff(union) > _SAME])]
    moments = tuple(
        np.searchsorted(each, seconds + _SAME, side="right").astype(np.int64) - 1
        if len(each)
        else np.zeros(0, np.int64)
        for each in shifted
    )
    return Timeline(seconds, moments, start)


def is_shown(mode: str, moments: Int[np.ndarray, "n"], now: int, *, moving: bool) -> Bool[np.ndarray, "n"]:
    """Which points are shown.

    Args:
        mode: one of MODES. "until" and "still" show of things that move only where they are now: their past would be a
            smear through the scene.
        moments: when the points were seen, as numbers of moments of their scene; -1: at no known time.
        now: the moment that the timeline stands at; -1: before the scene begins.
        moving: the points are of something that moves.

    Raises:
        InputError: unknown mode.
    """
    if mode not in MODES:
        raise InputError(f"Unknown mode of time {mode!r}.", f"Choose one of {', '.join(MODES)}.")
    timeless = moments < 0
    if mode == "all" or (mode == "still" and not moving):
        return np.ones_like(timeless)
    return timeless | ((moments == now) if mode == "moment" or moving else (moments <= now))


@dataclass
class Clock:
    """Plays a timeline: turns seconds that have passed into the tick to show."""

    timeline: Timeline
    tick: int = 0
    playing: bool = False
    speed: float = 1.0  # recorded seconds per second
    loop: bool = True
    _position: float = field(default=0.0, repr=False)  # seconds of Timeline.play_at

    def seek(self, tick: int) -> int:
        """Go to a tick (kept within the timeline), and return it."""
        self.tick = int(np.clip(tick, 0, len(self.timeline) - 1))
        self._position = float(self.timeline.play_at[self.tick])
        return self.tick

    def play(self) -> None:
        """Start; from the beginning when the end is reached."""
        if self.tick == len(self.timeline) - 1:
            self.seek(0)
        self.playing = len(self.timeline) > 1

    def advance(self, elapsed: float) -> bool:
        """Let so many seconds pass.

        Returns:
            whether there is another tick to show than before. Without ``loop`` the clock stops at the last one.
        """
        if not self.playing:
            return False
        when, before = self.timeline.play_at, self.tick
        self._position += elapsed * self.speed
        length = float(when[-1]) + self.timeline.step  # the last moment lasts as long as others do
        if self._position >= length:
            if self.loop:
                self._position %= length
            else:
                self._position, self.playing = float(when[-1]), False
        self.tick = int(np.searchsorted(when, self._position, side="right")) - 1
        return self.tick != before

    def extend(self, timeline: Timeline) -> None:
        """Go on with a timeline that has grown; the clock stays where it is."""
        time = self.timeline.start + float(self.timeline.seconds[self.tick])
        self.timeline = timeline
        self.seek(timeline.nearest(time))
