"""Films on disk, written frame by frame: MP4, and for short ones GIF and WebP, which every page shows by itself."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from jaxtyping import UInt8

from worldline.errors import InputError

ENDINGS = (".mp4", ".gif", ".webp")
CODECS = ("libx264", "h264", "libopenh264", "mpeg4")  # the first that this installation of PyAV can write
_TICKS = 30_000  # per second: 29.97 frames per second are exact, and MPEG-4 takes no more than 65535
_BT709, _LIMITED = 1, 1  # numbers of ISO 23091-2: BT.709; luma from 16 to 235
_LAST = 1 / 24  # seconds for which the last frame of an animation is shown


class FilmFile:
    """An MP4 file that is written frame by frame; whole once its block has ended.

    Width and height must be even, as codecs want it. Colours are BT.709 and the file says so: players take films
    without a word for BT.709 or for BT.601 by their size. The index stands in front, so that pages play it at once.

    Raises:
        InputError: PyAV of this machine can write no film.
    """

    def __init__(self, path: Path) -> None:
        import av

        self.codec = next((name for name in CODECS if _writes(name)), "")
        if not self.codec:
            raise InputError("PyAV of this machine can write no film.", "Install it anew: pip install --upgrade av")
        self.container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        self.stream: Any = None

    def __enter__(self) -> Self:
        return self

    def add(self, picture: UInt8[np.ndarray, "h w 3"], seconds: float) -> None:
        """The next frame, shown from ``seconds`` (since the beginning) on."""
        import av

        if self.stream is None:
            self.stream = self._open(picture.shape[0], picture.shape[1])
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_LIMITED)
        frame.pts, frame.time_base = round(seconds * _TICKS), Fraction(1, _TICKS)
        self.container.mux(self.stream.encode(frame))

    def _open(self, height: int, width: int) -> Any:
        """The stream of the pictures."""
        stream: Any = self.container.add_stream(self.codec, rate=30)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        context = stream.codec_context
        context.time_base = Fraction(1, _TICKS)
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = _LIMITED
        if self.codec == "libx264":
            stream.options = {"crf": "18", "preset": "veryfast"}
        else:
            stream.bit_rate = 8_000_000
        return stream

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is None and self.stream is not None:
            self.container.mux(self.stream.encode())
        self.container.close()


class AnimationFile:
    """A GIF or WebP animation, by the ending, that repeats for ever. All frames stay in memory until it is written."""

    def __init__(self, path: Path) -> None:
        self.path, self.codec = path, path.suffix.lower().lstrip(".")
        self._pictures: list[Any] = []
        self._seconds: list[float] = []

    def __enter__(self) -> Self:
        return self

    def add(self, picture: UInt8[np.ndarray, "h w 3"], seconds: float) -> None:
        """The next frame, shown from ``seconds`` (since the beginning) on."""
        from PIL import Image

        image = Image.fromarray(picture)
        if self.codec == "gif":  # colours of each frame's own: one palette for all would band
            image = image.quantize(256, dither=Image.Dither.FLOYDSTEINBERG)
        self._pictures.append(image)
        self._seconds.append(seconds)

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is not None or not self._pictures:
            return
        shown = np.diff(self._seconds)
        shown = np.append(shown, shown[-1] if len(shown) else _LAST)
        durations = [max(20, round(1000 * each)) for each in shown]  # browsers slow GIFs down below 20 ms
        first, rest = self._pictures[0], self._pictures[1:]
        options = {"quality": 82, "method": 4} if self.codec == "webp" else {"optimize": False}
        first.save(self.path, save_all=True, append_images=rest, duration=durations, loop=0, **options)


def open_film(path: Path) -> FilmFile | AnimationFile:
    """The writer for a film, by its ending.

    Raises:
        InputError: an ending that is not in :data:`ENDINGS`, or no codec.
    """
    ending = path.suffix.lower()
    if ending not in ENDINGS:
        raise InputError(f"No film is written as {path.name}.", f"Choose one of the endings {', '.join(ENDINGS)}.")
    return FilmFile(path) if ending == ".mp4" else AnimationFile(path)


def _writes(name: str) -> bool:
    import av

    try:
        av.codec.Codec(name, "w")
    except (av.error.FFmpegError, ValueError):
        return False
    return True
