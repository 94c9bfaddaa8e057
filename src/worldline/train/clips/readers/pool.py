"""Our own pool files: clips of procedural worlds, see :mod:`worldline.train.clips.clips`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from worldline.errors import InputError
from worldline.train.clips.clips import Clip, load_clip
from worldline.train.clips.readers.files import REMEDY
from worldline.train.clips.readers.sequence import Frame, VideoSequence, thinned, thinned_intrinsics, thinning


class PoolClip(VideoSequence):
    """A clip of a pool, or a part of it. Pool files are short, so they are read whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with safe_open(path, "np") as file:
                count = file.get_slice("images").get_shape()[0]
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path} is not a clip of a training pool ({error}).", REMEDY) from error
        super().__init__(str(path), count)

    def read(self, index: Sequence[int], longest: int | None = None) -> Clip:
        """See :class:`~worldline.train.clips.readers.sequence.VideoSequence`."""
        clip = load_clip(self.path).choose(index)
        factor = thinning(max(clip.size), longest)
        return clip if factor == 1 else thinned_clip(clip, factor)


def thinned_clip(clip: Clip, factor: int) -> Clip:
    """A smaller clip, see :func:`worldline.train.clips.readers.sequence.thinned`."""
    depth = clip.depth if clip.depth is not None else np.zeros(clip.images.shape[:3], np.float32)
    parts = [
        thinned(
            Frame(
                image,
                depth[place],
                None if clip.body is None else clip.body[place],
                None if clip.normals is None else clip.normals[place],
            ),
            factor,
        )
        for place, image in enumerate(clip.images)
    ]

    def stacked(name: str) -> np.ndarray:
        return np.stack([getattr(part, name) for part in parts])

    return replace(
        clip,
        images=stacked("image"),
        depth=None if clip.depth is None else stacked("depth"),
        body=None if clip.body is None else stacked("labels"),
        normals=None if clip.normals is None else stacked("normals"),
        intrinsics=thinned_intrinsics(clip.intrinsics, factor),
    )


def find(folder: Path) -> list[VideoSequence]:
    """All clips of a pool."""
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise InputError(f"{folder} holds no clips.", "Name a folder of clips that a training rendered.")
    return [PoolClip(path) for path in files]
