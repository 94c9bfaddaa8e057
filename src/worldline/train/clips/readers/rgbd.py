"""RGB-D recordings with poses, laid out as the exporter of ScanNet does.

A scene is a folder with ``color/0.jpg`` (also ``rgb/``, PNG), ``depth/0.png`` (16 bits, millimetres, 0 = unknown),
``pose/0.txt`` (4 x 4, ``world_from_cam``, OpenCV axes) and ``intrinsic/intrinsic_depth.txt`` with
``intrinsic/intrinsic_color.txt`` (3 x 3 or 4 x 4).

Traps: colour and depth differ in size and lens, so colours are resampled onto the pixels of the depth map, which stays
as it was measured; frames at which tracking was lost have infinite poses and are left out.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8
from PIL import Image

from worldline.errors import InputError
from worldline.train.clips.readers.files import (
    REMEDY,
    Files,
    folders_with,
    numbered,
    read_color,
    read_gray16,
    read_numbers,
)  # fmt: skip
from worldline.train.clips.readers.sequence import Frame, FrameSequence, VideoSequence

RATE = 30.0
_UNITS_PER_METRE = 1000.0
_NONE = 65535  # some exporters write it where nothing was measured


class Recording(FrameSequence):
    """A scene that stands still, seen by an RGB-D camera."""

    smoothing = 2

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.colors = folder / ("color" if (folder / "color").is_dir() else "rgb")
        present = (self._images.keys(), self._depths.keys(), numbered(folder / "pose", "*.txt").keys())
        super().__init__(str(folder), sorted(set.intersection(*map(set, present))), RATE)

    def usable(self) -> Int[np.ndarray, "n"]:
        return np.flatnonzero(np.isfinite(self.world_from_cam).all((1, 2)))

    def frame(self, index: int) -> Frame:
        number = int(self.numbers[index])
        raw = read_gray16(self._depths[number])
        depth = np.where(raw == _NONE, 0, raw).astype(np.float32) / np.float32(_UNITS_PER_METRE)
        image = read_color(self._images[number])
        if image.shape[:2] != depth.shape or not np.allclose(*self.lenses):
            image = onto_depth(image, *self.lenses, *depth.shape)
        return Frame(image, depth)

    def cameras(
        self, index: Int[np.ndarray, "frame"], height: int, width: int
    ) -> tuple[Float[np.ndarray, "frame 3 3"], Float[np.ndarray, "frame 4 4"]]:
        return np.repeat(self.lenses[1][None], len(index), 0), self.world_from_cam[index]

    @cached_property
    def world_from_cam(self) -> Float[np.ndarray, "frame 4 4"]:
        """Poses of all frames; not finite where tracking was lost."""
        files = numbered(self.folder / "pose", "*.txt")
        return np.stack([_matrix(files[int(number)], 4) for number in self.numbers])

    @property
    def _images(self) -> Files:
        return numbered(self.colors, "*.jpg", "*.png")

    @property
    def _depths(self) -> Files:
        return numbered(self.folder / "depth", "*.png")

    @cached_property
    def lenses(self) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "3 3"]]:
        """Intrinsics of the colour and of the depth images; one lens where only one file is there."""
        for folder in (self.folder / "intrinsic", self.folder):
            files = [folder / "intrinsic_color.txt", folder / "intrinsic_depth.txt"]
            present = [path for path in files if path.is_file()]
            if present:
                color, depth = (_matrix(path, 3, 4)[:3, :3] for path in (present[0], present[-1]))
                return color, depth
        raise InputError(f"{self.folder / 'intrinsic' / 'intrinsic_depth.txt'} is missing.", REMEDY)


def _matrix(path: Path, *sizes: int) -> Float[np.ndarray, "n n"]:
    """A square matrix of one of some sizes."""
    matrix = read_numbers(path)
    if matrix.shape not in [(size, size) for size in sizes]:
        raise InputError(f"{path} is no matrix of {' x '.join(map(str, matrix.shape))} numbers.", REMEDY)
    return matrix


def onto_depth(
    image: UInt8[np.ndarray, "rows columns 3"],
    color: Float[np.ndarray, "3 3"],
    depth: Float[np.ndarray, "3 3"],
    height: int,
    width: int,
) -> UInt8[np.ndarray, "height width 3"]:
    """The image that the colour camera would have taken through the lens of the depth camera, at the same place.

    The two lenses differ by a scale and a shift, and an image is reduced with a filter as wide as the scale. Where the
    colour image ends, its last pixels are repeated.
    """
    scale = color[[0, 1], [0, 1]] / depth[[0, 1], [0, 1]]  # colour pixels per depth pixel
    low = (np.array([-0.5, -0.5]) - depth[:2, 2]) * scale + color[:2, 2] + 0.5  # counted from the corner
    high = low + np.array([width, height]) * scale
    rows, columns = image.shape[:2]
    before = np.ceil(np.maximum(-low, 0)).astype(int)
    after = np.ceil(np.maximum(high - [columns, rows], 0)).astype(int)
    if (np.maximum(before, after) > 0.25 * np.array([columns, rows])).any():
        raise InputError("The lenses of colour and depth show different parts of the scene.", "Check the intrinsics.")
    padded = np.pad(image, ((before[1], after[1]), (before[0], after[0]), (0, 0)), mode="edge")
    box = (*(low + before), *(high + before))
    picture = Image.fromarray(padded).resize((width, height), Image.Resampling.BILINEAR, box=box)
    return np.asarray(picture)


def find(folder: Path) -> list[VideoSequence]:
    """All scenes below a folder."""
    return [Recording(each) for each in folders_with(folder, "pose")]
