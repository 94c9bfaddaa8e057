"""TAP-Vid's pickles: videos with points followed through them.

::

    tapvid_davis.pkl           {name: {"video": uint8 [T, H, W, 3], "points": float [N, T, 2], "occluded": bool [N, T]}}
    tapvid_rgb_stacking.pkl    [{…}, …]     and the shards of Kinetics, whose frames may be JPEG files in bytes

Points are x, y as shares of width and height, counted from the corner of the image.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, UInt8
from PIL import Image

from worldline.errors import InputError
from worldline.eval.video.readers.safe_pickle import load_arrays
from worldline.eval.video.tracks2d import RASTER


@dataclass(frozen=True, eq=False)
class TapVidVideo:
    """One annotated video."""

    name: str
    frames: UInt8[np.ndarray, "t h w 3"]
    points: Float32[np.ndarray, "n t 2"]  # x, y in [0, 1], from the corner
    visible: Bool[np.ndarray, "n t"]

    @property
    def on_raster(self) -> Float32[np.ndarray, "n t 2"]:
        """Points in pixels of the benchmark's 256 x 256 raster."""
        return self.points * np.float32(RASTER)


def find_pickles(folder: Path) -> list[Path]:
    """The pickle itself, or all of a folder, sorted.

    Raises:
        InputError: there is none.
    """
    found = [folder] if folder.is_file() else sorted(folder.glob("*.pkl"))
    if not found:
        raise InputError(f"{folder} holds no .pkl file.", "Give TAP-Vid's pickle or the folder it lies in.")
    return found


def read_videos(path: Path) -> Iterator[TapVidVideo]:
    """All videos of a pickle, in its order. The names of a list's videos are their numbers.

    Raises:
        InputError: the pickle is refused (:mod:`.safe_pickle`) or holds something else.
    """
    content = load_arrays(path)
    if not isinstance(content, dict | list):
        raise InputError(f"{path} holds no videos.", "Give a pickle of TAP-Vid.")
    entries = content.items() if isinstance(content, dict) else enumerate(content)
    for name, entry in entries:
        yield _video(f"{path.stem}/{name}", entry, path)


def _video(name: str, entry: Any, path: Path) -> TapVidVideo:
    try:
        frames = _frames(entry["video"])
        points, occluded = np.asarray(entry["points"], np.float32), np.asarray(entry["occluded"], bool)
    except (KeyError, TypeError, OSError, ValueError) as error:
        raise InputError(f"{path}: the video {name} is incomplete ({error!r}).", "Download it again.") from error
    if frames.ndim != 4 or points.shape != (*occluded.shape, 2) or points.shape[1:2] != frames.shape[:1]:
        raise InputError(
            f"{path}: the video {name} has frames {frames.shape}, points {points.shape}, occluded {occluded.shape}.",
            "They must be [T, H, W, 3], [N, T, 2] and [N, T].",
        )
    return TapVidVideo(name, frames, points, ~occluded)


def _frames(stored: Any) -> UInt8[np.ndarray, "t h w 3"]:
    if isinstance(stored, np.ndarray) and stored.dtype == np.uint8:
        return stored
    return np.stack([np.asarray(Image.open(io.BytesIO(frame)).convert("RGB")) for frame in stored])
