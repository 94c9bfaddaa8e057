"""Readers of public video data sets, as clips with exact targets; see docs/video_data.md.

Every reader knows one format and gives :class:`~worldline.train.clips.clips.Clip` in our conventions: OpenCV cameras,
pixel centres at whole numbers, metres, depth along the optical axis, normals in the world.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from worldline.errors import InputError
from worldline.train.clips.readers.windows import FRAMES, STRIDES, ClipWindows

if TYPE_CHECKING:
    from worldline.train.clips.readers.sequence import VideoSequence

__all__ = ["READERS", "ClipWindows", "Reader", "open_clips"]


@dataclass(frozen=True)
class Reader:
    """A format: the module whose ``find`` lists the videos in a folder, and what it is in a few words."""

    module: str
    says: str

    def find(self, folder: Path) -> list[VideoSequence]:
        """The videos of a folder."""
        find: Callable[[Path], list[VideoSequence]] = import_module(f"{__name__}.{self.module}").find
        return find(folder)


READERS: dict[str, Reader] = {
    "kubric": Reader("kubric", "Kubric and MOVi scenes: frames with metadata.json, rigid things"),
    "pointodyssey": Reader("point_odyssey", "PointOdyssey sequences: frames with anno.npz, deforming things"),
    "dynamicreplica": Reader("dynamic_replica", "Dynamic Replica sequences with trajectories, deforming things"),
    "tartanair": Reader("tartanair", "TartanAir (V2) trajectories, still"),
    "vkitti": Reader("vkitti", "Virtual KITTI 2 drives, rigid vehicles"),
    "rgbd": Reader("rgbd", "ScanNet-like RGB-D recordings with poses, still"),
    "pool": Reader("pool", "clips that a training rendered"),
}


def open_clips(
    kind: str,
    folder: Path | str,
    *,
    frames: int = FRAMES,
    strides: tuple[int, int] = STRIDES,
) -> ClipWindows:
    """Clips of a data set on disk, window by window.

    Args:
        kind: a name in ``READERS``.
        folder: where the data set was unpacked, or a part of it.
        frames: length of the windows.
        strides: fewest and most frames of the data set from one frame of a clip to the next.

    Raises:
        InputError: unknown kind, no such data there, or no video long enough.
    """
    if kind not in READERS:
        choices = "; ".join(f"{name} ({reader.says})" for name, reader in READERS.items())
        raise InputError(f"There is no reader of {kind!r}.", f"Choose one of: {choices}.")
    place = Path(folder)
    return ClipWindows(kind, place, READERS[kind].find(place), frames=frames, strides=strides)
