"""The frames of a video on their way to the network: read one by one, squashed to its square, kept small for colour."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from torch.nn.functional import interpolate

from worldline.errors import InputError
from worldline.inputs.clip import Clip, open_clip
from worldline.inputs.known_cameras import KnownCamera, attach_cameras
from worldline.types import ImageTransform, View, Views

PREVIEW = 512  # longer side of the frames that are kept for colours and exports
Frame = UInt8[np.ndarray, "height width 3"]


@dataclass(frozen=True, eq=False)
class Footage:
    """Frames to encode and what is known of them. ``clip`` or ``array`` holds the pixels."""

    size: tuple[int, int]  # (height, width) as shown
    seconds: Float64[np.ndarray, "t"] | None  # since the first frame of the file; None: not known
    names: tuple[str, ...]
    pixel_aspect: float = 1.0  # width of a pixel over its height
    source: Path | None = None
    notes: tuple[str, ...] = ()
    clip: Clip | None = None
    array: UInt8[np.ndarray, "t height width 3"] | None = None

    def __len__(self) -> int:
        return len(self.names)

    @property
    def aspect_ratio(self) -> float:
        """True width over height, as on a screen."""
        return self.size[1] * self.pixel_aspect / self.size[0]

    def frames(self) -> Iterator[Frame]:
        """One after the other, upright, at full size."""
        return iter(self.array) if self.array is not None else self.clip.frames() if self.clip else iter(())


def open_footage(
    source: Any, *, fps: float | None = None, max_frames: int | None = None, spread: bool = False
) -> Footage:
    """What a user may hand over as a video -> its frames; nothing but arrays is decoded yet.

    Args:
        source: video file, folder or list of photos, or array ``[T, H, W, 3]``, uint8 or floating point in [0, 1].
        fps: frames per second to take of a video; None: all. For photos and arrays: how many were taken.
        max_frames: at most so many: the first, or with ``spread`` evenly over the whole.

    Raises:
        InputError: nothing that can be read as a video.
    """
    if hasattr(source, "detach"):
        source = source.detach().cpu().numpy()
    if isinstance(source, Footage):
        return source
    if isinstance(source, np.ndarray) and source.ndim == 4 and source.shape[-1] == 3 and len(source):
        return _of_array(source, fps, max_frames, spread)
    clip = open_clip(source, fps=fps, max_frames=None if spread else max_frames)
    rows = _chosen(len(clip), max_frames, spread)
    if len(rows) < len(clip):
        note = f"{len(rows)} of {len(clip)} frames are used, spread evenly."
        clip = replace(clip, numbers=clip.numbers[rows], seconds=clip.seconds[rows], notes=(*clip.notes, note))
    return Footage(
        clip.size, clip.seconds if clip.timed else None, clip.names, clip.pixel_aspect, clip.source, clip.notes, clip
    )


def squash(frames: UInt8[np.ndarray, "t h w 3"], size: tuple[int, int]) -> UInt8[np.ndarray, "t H W 3"]:
    """Frames stretched to a size, smoothed where they shrink; edges stay in place, so (u, v) do not change.

    The same filter as in training.
    """
    if frames.shape[1:3] == size:
        return np.ascontiguousarray(frames)
    pixels = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)
    resized = interpolate(pixels, size, mode="bilinear", antialias=True, align_corners=False)
    return np.ascontiguousarray(resized.permute(0, 2, 3, 1).numpy())


def collect(
    frames: Iterable[Frame], size: tuple[int, int], preview: tuple[int, int], keep_originals: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Squares for the network, small frames for colours, and on request the frames themselves, [t, h, w, 3] each."""
    squares, small, originals = [], [], []
    for frame in frames:
        squares.append(squash(frame[None], size)[0])
        small.append(squash(frame[None], preview)[0])
        if keep_originals:
            originals.append(frame)
    return np.stack(squares), np.stack(small), np.stack(originals) if keep_originals else None


def squashed_views(
    images: UInt8[np.ndarray, "t h w 3"], original: tuple[int, int], size: tuple[int, int], *,
    names: tuple[str, ...] | None = None, seconds: Float64[np.ndarray, "t"] | None = None, source: Path | None = None,
) -> tuple[View, ...]:  # fmt: skip
    """Views of whole frames at a size, for :func:`worldline.scene.video.assembly.video_scene`.

    Args:
        images: the frames, of any size.
        original: (height, width) of the frames as shown.
        size: (height, width) of the views; its shape may differ from the frames'.
    """
    transform = ImageTransform(original, size, (0, 0), size)
    names = names or tuple(f"frame_{index:06d}" for index in range(len(images)))
    times = [None] * len(images) if seconds is None else [float(each) for each in seconds]
    return tuple(
        View(name, image, transform, source, timestamp=time)
        for name, image, time in zip(names, squash(images, size), times, strict=True)
    )


def cameras_by_name(footage: Footage, known: dict[str, KnownCamera]) -> tuple[np.ndarray | None, list[Any]]:
    """Intrinsics of all frames, or None, and the pose of each frame, or None, from what is known by image name.

    Raises:
        InputError: no name fits, or only some frames have intrinsics.
    """
    blank = np.zeros((len(footage), 1, 1, 3), np.uint8)
    views = squashed_views(blank, footage.size, (1, 1), names=footage.names, source=footage.source)
    told = attach_cameras(Views(views), known)
    matrices = [view.intrinsics for view in told]
    missing = sum(matrix is None for matrix in matrices)
    if 0 < missing < len(matrices):
        raise InputError(
            f"The intrinsics of {missing} of {len(matrices)} frames are not known.", "Give those of all frames or none."
        )
    return None if missing else np.stack([each for each in matrices if each is not None]), [
        view.world_from_cam for view in told
    ]


def _of_array(array: np.ndarray, fps: float | None, max_frames: int | None, spread: bool) -> Footage:
    if fps is not None and not fps > 0:
        raise InputError(f"{fps} frames per second cannot be taken.", "Give a number above 0.")
    if 0 in array.shape:
        raise InputError(f"Frames of shape {array.shape} have no pixels.", "Give an array [T, H, W, 3].")
    rows = _chosen(len(array), max_frames, spread)
    array = array[rows]
    if array.dtype != np.uint8:
        if not np.issubdtype(array.dtype, np.floating) or not (array.min() >= 0 and array.max() <= 1):
            raise InputError(
                f"Frames of type {array.dtype} from {array.min():g} to {array.max():g} are no colours.",
                "Give uint8, or floating point from 0 to 1.",
            )
        array = (array * 255 + 0.5).astype(np.uint8)
    names = tuple(f"frame_{index:06d}" for index in rows)
    return Footage((array.shape[1], array.shape[2]), None if fps is None else rows / fps, names, array=array)


def _chosen(count: int, most: int | None, spread: bool) -> np.ndarray:
    if most is not None and (not isinstance(most, int | np.integer) or most < 1):
        raise InputError(f"A video of {most} frames shows nothing.", "Ask for a whole number of frames, 1 or more.")
    if most is None or count <= most:
        return np.arange(count)
    return np.linspace(0, count - 1, most).round().astype(np.int64) if spread else np.arange(most)
