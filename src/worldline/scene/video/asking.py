"""Grids of questions, asked in blocks that bound the memory of the answers; shared by all recipes of a video."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64

from worldline.errors import InputError
from worldline.scene.video.answers import AnswersQueries, VideoAnswers

BLOCK = 1 << 18  # questions per call: their answers take some 14 MB, what a network needs for them is its own affair

FIELDS = ("points", "uv", "visibility", "motion", "normal", "confidence")
_WIDTHS = {"points": 3, "uv": 2, "motion": 3, "normal": 3}


def ask(
    video: AnswersQueries, u: Any, v: Any, t_src: Any, t_tgt: Any, t_cam: Any, *,
    keep: Sequence[str] = FIELDS, block: int = BLOCK,
) -> VideoAnswers:  # fmt: skip
    """Answers in the broadcast shape of the queries; fields that are not kept are zeros that take no memory.

    Args:
        keep: the fields of :class:`VideoAnswers` that will be read.
        block: queries per call; the answers do not depend on it.
    """
    parts = np.broadcast_arrays(*(np.asarray(part) for part in (u, v, t_src, t_tgt, t_cam)))
    shape, flat = parts[0].shape, [part.reshape(-1) for part in parts]
    count = len(flat[0])
    kept = {name: np.empty((count, _WIDTHS.get(name, 1)), np.float32) for name in keep}
    for start in range(0, count, block):
        rows = slice(start, start + block)
        answers = video.query(*(part[rows] for part in flat))
        for name, values in kept.items():
            values[rows] = getattr(answers, name).reshape(-1, values.shape[1])
    empty = np.zeros((), np.float32)

    def shaped(name: str) -> np.ndarray:
        tail = (_WIDTHS[name],) if name in _WIDTHS else ()
        return kept[name].reshape(*shape, *tail) if name in kept else np.broadcast_to(empty, (*shape, *tail))

    return VideoAnswers(*(shaped(name) for name in FIELDS))


def cell_centers(height: int, width: int) -> tuple[Float64[np.ndarray, "h w"], Float64[np.ndarray, "h w"]]:
    """(u, v) of the centres of a grid of equal cells: the pixels of an image of this size, whatever the video's."""
    u, v = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    return u, v


def chosen_frames(video: AnswersQueries, frames: Sequence[int] | int | None) -> Int64[np.ndarray, "n"]:
    """Frame numbers as an array; None: all.

    Raises:
        InputError: a frame that does not exist, or none at all.
    """
    if frames is None:
        return np.arange(video.frame_count)
    chosen = np.atleast_1d(np.asarray(frames))
    if chosen.ndim != 1 or chosen.size == 0 or not np.issubdtype(chosen.dtype, np.integer):
        raise InputError(f"{frames!r} names no frames.", "Give whole numbers from 0, or None for all frames.")
    for frame in chosen:
        check_frame(video, frame)
    return chosen.astype(np.int64)


def check_frame(video: AnswersQueries, frame: Any, label: str = "frame") -> int:
    """The number of an existing frame, as an int.

    Raises:
        InputError: it does not exist.
    """
    whole = isinstance(frame, int | np.integer) and not isinstance(frame, bool)
    if not whole or not 0 <= frame < video.frame_count:
        named = frame.item() if isinstance(frame, np.generic) else frame
        raise InputError(
            f"There is no {label} {named!r}: the video has {video.frame_count} frames.",
            f"Choose a whole number from 0 to {video.frame_count - 1}.",
        )
    return int(frame)


def check_size(size: Any) -> tuple[int, int]:
    """(height, width) of a grid, checked.

    Raises:
        InputError: not two whole numbers, or one below 1.
    """
    sides = tuple(size) if isinstance(size, Iterable) else ()
    whole = all(isinstance(side, int | np.integer) and not isinstance(side, bool) for side in sides)
    if len(sides) != 2 or not whole:
        raise InputError(f"{size!r} is no size of a grid.", "Give (height, width): two whole numbers.")
    height, width = int(sides[0]), int(sides[1])
    if min(height, width) < 1:
        raise InputError(f"A grid of size {(height, width)} has no cells.", "Give (height, width), at least 1 each.")
    return height, width


def checked_queries(
    u: Any, v: Any, t_src: Any, t_tgt: Any, t_cam: Any, count: int
) -> tuple[list[np.ndarray], tuple[int, ...]]:
    """The five parts of queries, flat and contiguous, and their common shape.

    Raises:
        InputError: shapes that do not broadcast, coordinates outside of [0, 1], times that are no whole numbers or no
            frames of a video of ``count`` frames. Nothing is clamped.
    """
    arrays = [np.asarray(part) for part in (u, v, t_src, t_tgt, t_cam)]
    try:
        shape = np.broadcast_shapes(*(array.shape for array in arrays))
    except ValueError as error:
        shapes = ", ".join(str(array.shape) for array in arrays)
        raise InputError(f"The queries' shapes {shapes} do not broadcast together.", "Give equal shapes.") from error
    for name, array in zip(("u", "v"), arrays, strict=False):
        if not np.issubdtype(array.dtype, np.number) or not ((array >= 0) & (array <= 1)).all():  # NaN is not inside
            raise InputError(
                f"{name} of a query is outside of [0, 1].", "u and v are (x + 0.5) / W and (y + 0.5) / H of a pixel."
            )
    for name, array in zip(("t_src", "t_tgt", "t_cam"), arrays[2:], strict=True):
        if not np.issubdtype(array.dtype, np.integer):
            raise InputError(f"{name} has type {array.dtype}.", "Times are whole numbers of frames, from 0.")
        if array.size and (array.min() < 0 or array.max() >= count):
            raise InputError(
                f"{name} reaches from {array.min()} to {array.max()}; the video has frames 0 to {count - 1}.",
                "Times count the frames of the video from 0; nothing is clamped.",
            )
    return [np.ascontiguousarray(np.broadcast_to(array, shape)).reshape(-1) for array in arrays], shape
