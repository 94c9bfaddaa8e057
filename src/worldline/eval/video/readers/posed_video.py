"""A video with true depth, cameras, or both, as the suites measure it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float64, UInt8
from PIL import Image

from worldline.errors import InputError

ReadDepth = Callable[[Path], Float[np.ndarray, "height width"]]


@dataclass(frozen=True, eq=False)
class PosedVideo:
    """Chosen frames of one sequence; files are read when asked for."""

    name: str
    images: tuple[Path, ...]
    depths: tuple[Path, ...] | None = None
    read_depth: ReadDepth | None = None  # file -> depth in metres, 0 where it is not known
    world_from_cam: Float64[np.ndarray, "t 4 4"] | None = None  # NaN where the data set has none
    intrinsics: Float64[np.ndarray, "t 3 3"] | None = None  # of the depth maps, in their pixels (centres at integers)

    def __len__(self) -> int:
        return len(self.images)

    def frames(self) -> UInt8[np.ndarray, "t h w 3"]:
        """All photos.

        Raises:
            InputError: a photo is damaged, or they differ in size.
        """
        photos = [_photo(path) for path in self.images]
        sizes = {photo.shape for photo in photos}
        if len(sizes) != 1:
            raise InputError(f"The photos of {self.name} differ in size: {sorted(sizes)}.", "A video has one size.")
        return np.stack(photos)

    def depth(self) -> Float[np.ndarray, "t height width"]:
        """All depth maps; 0 where it is not known.

        Raises:
            InputError: there are none, one is damaged, or they differ in size.
        """
        if self.depths is None or self.read_depth is None:
            raise InputError(f"{self.name} has no depth.", "It has cameras only.")
        maps = [np.asarray(self.read_depth(path), np.float32) for path in self.depths]
        if len({depth.shape for depth in maps}) != 1:
            raise InputError(f"The depth maps of {self.name} differ in size.", "A video has one size.")
        return np.stack(maps)


def sorted_files(folder: Path, *suffixes: str) -> list[Path]:
    """Files of a folder with one of some suffixes, by name."""
    wanted = suffixes or (".png", ".jpg", ".jpeg")
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in wanted) if folder.is_dir() else []


def _photo(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except OSError as error:
        raise InputError(f"The photo {path} cannot be read ({error}).", "Copy it again.") from error
