"""A video frame by frame: which frames, when each is shown, and their pixels upright at full size, read as needed.

Other than :mod:`worldline.inputs.video`, which picks a few sharp views, nothing is skipped here but what a frame rate
asks for, and no more frames are in memory than are asked for at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from worldline.errors import InputError
from worldline.inputs.decode import MAX_PIXELS, BadImageError, read_upright, turned_upright
from worldline.inputs.sources import Entry, find_source
from worldline.inputs.video import (
    _COVERED_SHARE,
    Timeline,
    _decoded,
    _opened,
    _orientation,
    _read_timeline,
    _rgb,
)

_ROUND_OFF = 1e-4  # seconds: time stamps are rounded to ticks of the file


@dataclass(frozen=True, eq=False)
class Clip:
    """The chosen frames of a video, or of photos in their order. Nothing is decoded before it is asked for."""

    name: str  # of the file, folder or array, for messages
    size: tuple[int, int]  # (height, width) of the frames as shown: turned upright
    numbers: Int64[np.ndarray, "t"]  # of the frames in the file
    seconds: Float64[np.ndarray, "t"]  # when they are shown, since the first frame of the file
    timed: bool = True  # False: photos without times; ``seconds`` then counts them
    pixel_aspect: float = 1.0  # width of a pixel as shown over its height
    source: Path | None = None  # of a video
    notes: tuple[str, ...] = ()
    timeline: Timeline | None = field(default=None, repr=False)
    entries: tuple[Entry, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.numbers)

    @property
    def aspect_ratio(self) -> float:
        """Width over height of the frames on a screen."""
        return self.size[1] * self.pixel_aspect / self.size[0]

    @property
    def names(self) -> tuple[str, ...]:
        """One per frame: that of the photo, or frame_000012."""
        if self.entries:
            return tuple(self.entries[number].name for number in self.numbers)
        return tuple(f"frame_{number:06d}" for number in self.numbers)

    def frames(self, start: int = 0, stop: int | None = None) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        """The chosen frames ``start`` … ``stop - 1``, one after the other, RGB.

        Raises:
            InputError: a frame cannot be decoded.
        """
        stop = len(self) if stop is None else stop
        if not 0 <= start <= stop <= len(self):
            raise InputError(f"{self.name} has no frames {start} to {stop}.", f"It has {len(self)} frames.")
        if start < stop:
            yield from self._photos(start, stop) if self.entries else self._film(start, stop)

    def read(self, start: int = 0, stop: int | None = None) -> UInt8[np.ndarray, "n height width 3"]:
        """The same as one array."""
        frames = list(self.frames(start, stop))
        return np.stack(frames) if frames else np.zeros((0, *self.size, 3), np.uint8)

    def _photos(self, start: int, stop: int) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        for number in self.numbers[start:stop]:
            pixels = _photo(self.entries[number])
            if pixels.shape[:2] != self.size:
                raise InputError(
                    f"{self.entries[number].label} has {pixels.shape[1]}x{pixels.shape[0]} pixels, "
                    f"the photos before it {self.size[1]}x{self.size[0]}.",
                    "The frames of a video have one size: leave the others out.",
                )
            yield pixels

    def _film(self, start: int, stop: int) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
        assert self.timeline is not None and self.source is not None
        wanted = iter(self.numbers[start:stop].tolist())
        number, damaged = next(wanted), list[str]()
        with _opened(self.source) as (container, stream):
            if not self.timeline.counted and number:
                container.seek(int(self.timeline.stamps[number]), stream=stream, backward=True)
            for index, frame in _decoded(container, stream, self.timeline, damaged):
                if index > number:
                    break
                if index == number:
                    yield np.array(turned_upright(_rgb(frame), _orientation(frame)))
                    following = next(wanted, None)
                    if following is None:
                        return
                    number = following
        raise InputError(
            f"Frame {number} of {self.source} cannot be decoded.", "Copy the video again, or convert it to H.264 MP4."
        )


def open_clip(
    source: Any, *, fps: float | None = None, max_frames: int | None = None, max_pixels: int = MAX_PIXELS
) -> Clip:
    """Choose the frames of a video; decodes the first one only.

    Args:
        source: a video; or a folder, zip, list or array of photos, which count as frames in their order.
        fps: take the frame that is shown at every 1 / fps seconds; None: all. Frames are never repeated. For photos,
            it is how many were taken per second.
        max_frames: end after so many.

    Raises:
        InputError: nothing that can be read, cut off, fewer than two frames, or senseless numbers.
    """
    if fps is not None and not 0 < fps < np.inf:
        raise InputError(f"{fps} frames per second cannot be taken.", "Give a number above 0.")
    if max_frames is not None and max_frames < 2:
        raise InputError(f"A video of {max_frames} frames shows no motion.", "Ask for 2 or more.")
    found = find_source(source)
    if found.video is None and len(found.entries) == 1 and isinstance(found.entries[0].item, Path):
        found = _maybe_video(found)
    clip = _of_video(found.video, fps, max_frames) if found.video else _of_photos(source, found, fps, max_frames)
    if len(clip) < 2:
        raise InputError(f"{clip.name} has a single frame.", "Give a video, or two photos or more.")
    if clip.size[0] * clip.size[1] > max_pixels:
        raise InputError(
            f"The frames of {clip.name} have {clip.size[1]}x{clip.size[0]} pixels, more than the limit.",
            "Make the video smaller.",
        )
    return clip


def _maybe_video(found: Any) -> Any:
    """A single file whose name says neither photo nor video is tried as a video."""
    from worldline.inputs.sources import IMAGE_SUFFIXES, Found

    path = found.entries[0].item
    return found if path.suffix.lower() in IMAGE_SUFFIXES else Found(video=path)


def _of_video(path: Path, fps: float | None, max_frames: int | None) -> Clip:
    timeline = _read_timeline(path)
    if len(timeline.stamps) > 1 and timeline.declared and timeline.duration < _COVERED_SHARE * timeline.declared:
        raise InputError(
            f"The video {path} is damaged: it ends after {timeline.duration:.1f} of {timeline.declared:.1f} seconds.",
            "Copy it again.",
        )
    seconds = (timeline.stamps - timeline.stamps[0]) * timeline.tick
    numbers = _at_rate(seconds, fps)[:max_frames]
    with _opened(path) as (container, stream):
        first = next(_decoded(container, stream, timeline, []), None)
        if first is None:
            raise InputError(f"No frame of {path} can be decoded.", "Copy it again, or convert it to H.264 MP4.")
        frame = first[1]
        turned = _orientation(frame) > 4
        size = (frame.width, frame.height) if turned else (frame.height, frame.width)
    aspect = 1 / timeline.pixel_aspect if turned else timeline.pixel_aspect
    notes = () if len(numbers) == len(seconds) else (f"{len(numbers)} of {len(seconds)} frames are used.",)
    return Clip(path.name, size, numbers, seconds[numbers], True, aspect, path, notes, timeline)


def _of_photos(source: Any, found: Any, fps: float | None, max_frames: int | None) -> Clip:
    numbers = np.arange(len(found.entries))[:max_frames]
    name = str(source) if isinstance(source, str | Path) else "the array of frames"
    size = _photo(found.entries[0]).shape[:2]
    notes = found.notes if fps else (*found.notes, "The photos have no times: they are counted.")
    return Clip(name, size, numbers, numbers / (fps or 1.0), fps is not None, notes=notes, entries=found.entries)


def _at_rate(seconds: Float64[np.ndarray, "t"], fps: float | None) -> Int64[np.ndarray, "n"]:
    """Frames that are shown at k / fps: the last that has begun by then."""
    if fps is None:
        return np.arange(len(seconds))
    ticks = np.arange(int(np.floor(seconds[-1] * fps + 1e-6)) + 1) / fps
    return np.unique(np.searchsorted(seconds, ticks + _ROUND_OFF, side="right") - 1)


def _photo(entry: Entry) -> UInt8[np.ndarray, "height width 3"]:
    try:
        return read_upright(entry.open())
    except BadImageError as error:
        raise InputError(f"{entry.label} {error.reason}.", "Leave it out, or copy it again.") from error
