"""Tracks drawn over their video: a film in which one sees at a glance whether points stay on their surfaces."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from worldline.errors import InputError
from worldline.outputs.facts.spread import spread
from worldline.outputs.film_file import FilmFile

_FINER = 2  # lines are drawn so many times finer and then averaged
_UNTIMED = 24.0  # frames per second of photos without times


@dataclass(frozen=True)
class OverlayOptions:
    """How tracks are drawn. Lengths are in pixels of the film."""

    trail: float = 0.75  # seconds of the past that each track draws behind it
    radius: float | None = None  # of a point; None: by the size of the film and the number of tracks
    dim: float = 0.75  # brightness of the video below the tracks
    shortest: int = 512  # the longer side is enlarged to at least this, by a whole factor: tiny dots say nothing
    longest: int = 1280  # and reduced to at most this
    most: int = 2048  # tracks that are drawn, spread over all


def write_overlay(
    path: Path, frames: Iterable[UInt8[np.ndarray, "height width 3"]], pixels: Float[np.ndarray, "n t 2"],
    visible: Bool[np.ndarray, "n t"], seconds: Float[np.ndarray, "t"], *, known: Bool[np.ndarray, "n t"] | None = None,
    timed: bool = True, options: OverlayOptions | None = None, progress: Callable[[], None] | None = None,
) -> str:  # fmt: skip
    """Write an MP4 whose frames are shown at the same times as those of the video.

    Every track has a colour of its own, by the place where it is first seen. A point is filled where it is visible and
    a ring where it is hidden.

    Args:
        frames: as shown, one after the other; one is in memory at a time.
        pixels: (x, y) of every track in original pixels, centres at integers; may lie outside.
        seconds: when the frames are shown; rising.
        known: False where a track is not followed at all: nothing is drawn there. By default always True.
        timed: False: ``seconds`` counts photos, which are shown 24 to the second.
        progress: called after every frame.

    Returns:
        name of the codec that was used.

    Raises:
        InputError: PyAV of this machine can write no film, or there are fewer frames than times.
    """
    options = options or OverlayOptions()
    known = np.ones(visible.shape, bool) if known is None else known
    times = np.asarray(seconds, np.float64) if timed else np.arange(len(seconds)) / _UNTIMED
    chosen = spread(len(pixels), options.most)
    painter: Painter | None = None
    count = 0
    with FilmFile(path) as film:
        for number, frame in enumerate(frames):
            if painter is None:
                painter = Painter(frame.shape[:2], pixels[chosen], visible[chosen], known[chosen], times, options)
            film.add(painter.draw(frame, number), times[number] - times[0])
            count = number + 1
            if progress is not None:
                progress()
    if count != len(times):
        raise InputError(f"The video has {count} frames, its tracks {len(times)}.", "Give the frames of the tracks.")
    return film.codec


class Painter:
    """Draws tracks over frames of one size."""

    def __init__(
        self, size: tuple[int, int], pixels: Float[np.ndarray, "n t 2"], visible: Bool[np.ndarray, "n t"],
        known: Bool[np.ndarray, "n t"], times: Float[np.ndarray, "t"], options: OverlayOptions,
    ) -> None:  # fmt: skip
        self.options, self.visible, self.times = options, visible, times
        self.size = film_size(size, options)
        scale = np.array([self.size[1] / size[1], self.size[0] / size[0]])
        finite = np.isfinite(pixels).all(-1)
        self.known = known & finite
        self.place = np.where(finite[..., None], (pixels + 0.5) * scale * _FINER, 0.0)
        self.colors = track_colors(self.place / (self.size[1] * _FINER, self.size[0] * _FINER), self.known & visible)
        crowd = np.sqrt(self.size[0] * self.size[1] / max(1, len(pixels)))  # distance of neighbours on a grid
        fitting = float(np.clip(min(0.16 * crowd, 0.007 * max(self.size)), 1.0, 8.0))
        self.radius = options.radius or fitting
        self.strength = float(np.clip(crowd / 24, 0.35, 1.0))  # trails of a crowd would hide the video

    def draw(self, frame: UInt8[np.ndarray, "height width 3"], number: int) -> UInt8[np.ndarray, "h w 3"]:
        """The frame with what the tracks did until now."""
        from PIL import Image, ImageDraw

        picture = Image.fromarray(frame).resize(self.size[::-1], Image.Resampling.LANCZOS)
        picture = Image.eval(picture, lambda value: round(value * self.options.dim))
        layer = Image.new("RGBA", (self.size[1] * _FINER, self.size[0] * _FINER), (0, 0, 0, 0))
        pen = ImageDraw.Draw(layer)
        for track, start, end, strength in self._trail(number):
            line = [tuple(self.place[track, start]), tuple(self.place[track, end])]
            pen.line(line, fill=(*self.colors[track], strength), width=max(1, round(0.9 * self.radius * _FINER)))
        self._points(pen, number)
        layer = layer.resize(self.size[::-1], Image.Resampling.BOX)
        return np.asarray(Image.alpha_composite(picture.convert("RGBA"), layer).convert("RGB"))

    def _trail(self, number: int) -> Iterator[tuple[int, int, int, int]]:
        """(track, from frame, to frame, opacity) of what is visible of the recent past, the oldest first."""
        since = int(np.searchsorted(self.times, self.times[number] - self.options.trail))
        for start in range(min(since, number), number):
            seen = self.known[:, start] & self.known[:, start + 1] & self.visible[:, start] & self.visible[:, start + 1]
            age = (self.times[number] - self.times[start]) / max(self.options.trail, 1e-9)
            strength = round(self.strength * (40 + 170 * float(np.clip(1 - age, 0, 1))))
            for track in np.flatnonzero(seen):
                yield int(track), start, start + 1, strength

    def _points(self, pen: Any, number: int) -> None:
        radius = self.radius * _FINER
        now = self.known[:, number]
        for track in np.flatnonzero(now & ~self.visible[:, number]):  # below those that are visible
            x, y = self.place[track, number]
            box = (x - radius, y - radius, x + radius, y + radius)
            pen.ellipse(box, outline=(*self.colors[track], 190), width=max(1, round(0.35 * radius)))
        for track in np.flatnonzero(now & self.visible[:, number]):
            x, y = self.place[track, number]
            rim = radius + max(1.0, 0.25 * radius)
            pen.ellipse((x - rim, y - rim, x + rim, y + rim), fill=(0, 0, 0, 150))
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(*self.colors[track], 255))


def film_size(size: tuple[int, int], options: OverlayOptions) -> tuple[int, int]:
    """(height, width) of the film: even, as codecs want it."""
    long = max(size)
    factor = float(-(-options.shortest // long)) if long < options.longest else options.longest / long
    height, width = (max(2, 2 * round(side * factor / 2)) for side in size)
    return height, width


def track_colors(place: Float[np.ndarray, "n t 2"], seen: Bool[np.ndarray, "n t"]) -> list[tuple[int, int, int]]:
    """One colour per track: the hue goes with the column where it is first seen, the lightness with the row."""
    first = np.where(seen.any(1), seen.argmax(1), 0)
    colors = []
    for x, y in place[np.arange(len(place)), first].clip(0, 1):
        red, green, blue = colorsys.hls_to_rgb(0.85 * float(x), 0.45 + 0.25 * float(y), 1.0)
        colors.append((round(255 * red), round(255 * green), round(255 * blue)))
    return colors
