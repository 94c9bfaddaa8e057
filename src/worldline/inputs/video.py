"""A video -> a few views, evenly spread in time and each the sharpest frame of its time slot.

Two passes: the first reads only the packets' time stamps (frame rates vary, headers lie), the second decodes and keeps
one candidate at a time, so that memory does not grow with the length of the video.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Int64, UInt8
from PIL import Image

from worldline.errors import InputError
from worldline.inputs.decode import MAX_PIXELS, turned_upright
from worldline.inputs.fit import apply_fit, plan_fit
from worldline.types import ImageTransform, View

if TYPE_CHECKING:
    import av

DEFAULT_VIEWS = 12
_SHARPNESS_WIDTH = 320  # pixels of the grey copy on which sharpness is measured
_KEYFRAMES_PER_SLOT = 3  # with this many in every slot, nothing else needs to be decoded
_COVERED_SHARE = 0.9  # a file whose frames end before this share of its declared duration is cut off


@dataclass(frozen=True)
class Timeline:
    """When each frame is shown, in presentation order."""

    stamps: Int64[np.ndarray, "frame"]  # in units of ``tick``
    is_key: Bool[np.ndarray, "frame"]
    tick: float  # seconds
    counted: bool  # the file has no time stamps: ``stamps`` are frame numbers
    declared: float | None  # duration that the file claims, seconds
    pixel_aspect: float = 1.0  # width of a stored pixel over its height

    @property
    def duration(self) -> float:
        """Seconds from the first frame to the end of the last."""
        steps = np.diff(self.stamps)
        last = float(np.median(steps)) if len(steps) else 0.0
        return (float(self.stamps[-1] - self.stamps[0]) + last) * self.tick

    def seconds(self, index: int) -> float:
        """Time of a frame since the first one."""
        return float(self.stamps[index] - self.stamps[0]) * self.tick


@dataclass(frozen=True)
class VideoViews:
    """What was taken from a video."""

    views: tuple[View, ...]
    notes: tuple[str, ...]
    skipped: tuple[str, ...]


def choose_frames_published(total: int, count: int) -> list[int]:
    """Frame numbers that MV-DUSt3R's demo takes of a video: ``floor(total * i / count)``. Repeats if total < count."""
    if total < 1 or count < 1:
        raise InputError(f"{count} frames cannot be taken of {total}.", "Both numbers must be at least 1.")
    return [total * i // count for i in range(count)]


def read_video(
    path: Path,
    *,
    size: int = 224,
    fit: str = "crop",
    max_views: int | None = None,
    fps: float | None = None,
    skip_bad: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> VideoViews:
    """Take the sharpest frame of each time slot.

    Args:
        max_views: number of slots, spread over the whole video; 12 if neither this nor ``fps`` is given.
        fps: slots per second; ``max_views`` then is the upper limit.
        skip_bad: go on when some frames of the video are damaged or the file is cut off.

    Raises:
        InputError: no video, damaged, cut off, or frames with more than ``max_pixels`` pixels.
    """
    timeline = _read_timeline(path)
    slots = _time_slots(timeline, _slot_count(timeline, max_views, fps))
    damaged: list[str] = []
    covered, declared = timeline.duration, timeline.declared
    if declared and covered < _COVERED_SHARE * declared:
        damaged.append(f"it ends after {covered:.1f} of {declared:.1f} seconds")
    views = []
    for index, frame in _sharpest_frames(path, timeline, slots, damaged):
        if frame.width * frame.height > max_pixels:
            raise InputError(
                f"The frames of {path} have {frame.width}x{frame.height} pixels, more than the limit.",
                "Raise max_pixels.",
            )
        views.append(_frame_view(path, frame, index, timeline, size, fit))
    if not views:
        raise InputError(f"No frame of {path} can be decoded.", "Copy the video again, or convert it to H.264 MP4.")
    if damaged and not skip_bad:
        raise InputError(
            f"The video {path} is damaged: {'; '.join(damaged)}.",
            "Copy it again, or go on with what can be read: --skip-bad (skip_bad=True).",
        )
    chosen = f"{len(views)} of {len(timeline.stamps)} frames ({covered:.1f} s) of {path.name} are used"
    return VideoViews(
        tuple(views),
        (f"{chosen}, the sharpest of each time slot.",),
        tuple(f"{path.name}: {reason}" for reason in damaged),
    )


def read_frame(path: Path, seconds: float) -> UInt8[np.ndarray, "height width 3"]:
    """The frame shown ``seconds`` after the first one, upright and at full size.

    Raises:
        InputError: no video, or it has no such frame.
    """
    timeline = _read_timeline(path)
    times = (timeline.stamps - timeline.stamps[0]) * timeline.tick
    wanted = int(np.abs(times - seconds).argmin())
    with _opened(path) as (container, stream):
        if not timeline.counted:
            container.seek(int(timeline.stamps[wanted]), stream=stream, backward=True)
        for index, frame in _decoded(container, stream, timeline, []):
            if index == wanted:
                return np.array(turned_upright(_rgb(frame), _orientation(frame)))
    raise InputError(f"{path} has no frame that can be decoded at {seconds:.3f} s.", "Copy the video again.")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Any, Any]]:
    import av

    try:
        with av.open(str(path), metadata_errors="ignore") as container:
            if not container.streams.video:
                raise InputError(f"{path} has no video track.", "Give a video, or a folder of photos.")
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            yield container, stream
    except (av.error.FFmpegError, OSError) as error:
        empty = path.is_file() and path.stat().st_size == 0
        cause = "is empty" if empty else f"cannot be read as a video ({error.strerror or error})"
        raise InputError(f"{path} {cause}.", "Copy it again, or convert it to H.264 MP4.") from error


def _read_timeline(path: Path) -> Timeline:
    import av

    stamps: list[int | None] = []
    keys: list[bool] = []
    with _opened(path) as (container, stream):
        declared = float(stream.duration * stream.time_base) if stream.duration else None
        rate = float(stream.average_rate or stream.guessed_rate or 30)
        tick, aspect = float(stream.time_base), float(stream.sample_aspect_ratio or 1)
        try:
            for packet in container.demux(stream):
                if packet.size and not packet.is_discard:
                    stamps.append(packet.pts)
                    keys.append(bool(packet.is_keyframe))
        except av.error.InvalidDataError:
            pass  # the end is missing: the duration will tell
    if not stamps:
        raise InputError(f"{path} holds no frames.", "Copy the video again, or convert it to H.264 MP4.")
    if any(stamp is None for stamp in stamps):
        return Timeline(np.arange(len(stamps)), np.array(keys), 1 / rate, True, declared, aspect)
    in_order = np.argsort(np.array(stamps, np.int64), kind="stable")
    return Timeline(np.array(stamps, np.int64)[in_order], np.array(keys)[in_order], tick, False, declared, aspect)


def _slot_count(timeline: Timeline, max_views: int | None, fps: float | None) -> int:
    if fps is None:
        return max_views or DEFAULT_VIEWS
    wanted = max(1, int(np.ceil(timeline.duration * fps - 1e-6)))
    return min(wanted, max_views or wanted)


def _time_slots(timeline: Timeline, count: int) -> Int64[np.ndarray, "frame"]:
    """Slot of every frame: equal lengths of time, or one per frame where there are not more frames than slots."""
    if len(timeline.stamps) <= count:
        return np.arange(len(timeline.stamps))
    since_start = (timeline.stamps - timeline.stamps[0]) * timeline.tick
    return np.minimum((since_start / timeline.duration * count).astype(np.int64), count - 1)


def _sharpest_frames(
    path: Path, timeline: Timeline, slots: Int64[np.ndarray, "frame"], damaged: list[str]
) -> Iterator[tuple[int, av.VideoFrame]]:
    """One (frame number, frame) per slot, in order of time."""
    keys_per_slot = np.bincount(slots[timeline.is_key], minlength=int(slots[-1]) + 1)
    best: tuple[float, int, Any] | None = None
    current = -1
    with _opened(path) as (container, stream):
        if not timeline.counted and keys_per_slot[np.unique(slots)].min() >= _KEYFRAMES_PER_SLOT:
            stream.codec_context.skip_frame = "NONKEY"
        for index, frame in _decoded(container, stream, timeline, damaged):
            if slots[index] != current:
                if best is not None:
                    yield best[1], best[2]
                best, current = None, int(slots[index])
            sharpness = _sharpness(frame)
            if best is None or sharpness > best[0]:
                best = (sharpness, index, frame)
    if best is not None:
        yield best[1], best[2]


def _decoded(
    container: Any, stream: Any, timeline: Timeline, damaged: list[str]
) -> Iterator[tuple[int, av.VideoFrame]]:
    """(frame number, frame) of everything that can be decoded; what cannot is added to ``damaged``."""
    import av

    failed = number = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except av.error.InvalidDataError:
            break
        if packet is None:
            break
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            failed += 1
            continue
        for frame in frames:
            stamp = number if timeline.counted or frame.pts is None else frame.pts
            index = min(int(np.searchsorted(timeline.stamps, stamp)), len(timeline.stamps) - 1)
            number += 1
            if frame.is_corrupt:
                failed += 1
            else:
                yield index, frame
    if failed:
        damaged.append(f"{failed} of {len(timeline.stamps)} frames cannot be decoded")


def _sharpness(frame: av.VideoFrame) -> float:
    """Variance of the Laplacian of a small grey copy: large where there are edges, small where motion blurred them."""
    width = min(_SHARPNESS_WIDTH, frame.width)
    height = max(3, round(frame.height * width / frame.width))
    grey = frame.reformat(width=width, height=height, format="gray").to_ndarray().astype(np.float32)
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * grey[1:-1, 1:-1]
    return float(laplacian.var())


def _frame_view(path: Path, frame: av.VideoFrame, index: int, timeline: Timeline, size: int, fit: str) -> View:
    orientation = _orientation(frame)
    stored = (frame.height, frame.width)
    aspect = 1 / timeline.pixel_aspect if orientation > 4 else timeline.pixel_aspect
    transform = plan_fit(stored, orientation, size, fit, aspect)
    image = apply_fit(turned_upright(_rgb(frame), orientation), transform)
    return View(f"frame_{index:06d}", image, transform, source=path, timestamp=timeline.seconds(index))


def _rgb(frame: av.VideoFrame) -> Image.Image:
    return Image.fromarray(frame.to_ndarray(format="rgb24"))


def _orientation(frame: av.VideoFrame) -> int:
    """The EXIF orientation that says what the display matrix of the video says."""
    data: Any = frame.side_data.get("DISPLAYMATRIX")
    if data is None:
        return 1
    a, b, _, c, d = np.frombuffer(memoryview(data), np.int32)[:5].tolist()
    upright_from_stored = np.sign(np.array([[a, c], [b, d]])) * (np.abs([[a, c], [b, d]]) > 1 << 15)
    unit = ImageTransform.identity(1, 1)
    for orientation in range(1, 9):
        if np.array_equal(replace(unit, orientation=orientation).stored_from_original[:2, :2].T, upright_from_stored):
            return orientation
    return 1  # a matrix that is no quarter turn: players ignore it too
