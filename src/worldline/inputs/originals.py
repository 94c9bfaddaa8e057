"""The photo behind a view, upright and at full size: for exports that come with images, and for texturing."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8

from worldline.errors import InputError
from worldline.inputs.decode import MAX_PIXELS, BadImageError, read_upright
from worldline.inputs.sources import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from worldline.inputs.zips import ZipMember


def read_original(
    source: Path | str, timestamp: float | None = None, *, max_pixels: int = MAX_PIXELS
) -> UInt8[np.ndarray, "height width 3"]:
    """The pixels that "original coordinates" mean, for ``View.source`` and ``View.timestamp``.

    Args:
        source: a photo, a photo inside a zip ("photos.zip/inner/a.jpg"), or a video.
        timestamp: seconds since the first frame; videos need it.

    Raises:
        InputError: the file is gone or cannot be read any more.
    """
    source = Path(source)
    if source.suffix.lower() in VIDEO_SUFFIXES or (
        timestamp is not None and source.suffix.lower() not in IMAGE_SUFFIXES
    ):
        from worldline.inputs.video import read_frame

        return read_frame(source, timestamp or 0.0)
    try:
        return read_upright(_opened(source), max_pixels)
    except BadImageError as error:
        raise InputError(
            f"The original photo {source} {error.reason}.", "Put the file back where it was when the scene was made."
        ) from error


def _opened(source: Path) -> Path | BinaryIO:
    for parent in source.parents:
        if parent.is_file():
            return ZipMember(parent, source.relative_to(parent).as_posix()).open()
    return source
