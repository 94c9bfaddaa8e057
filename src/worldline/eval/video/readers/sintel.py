"""MPI Sintel's training sequences with depth and cameras.

::

    training/final/alley_2/frame_0001.png          also clean/
    training/depth/alley_2/frame_0001.dpt          metres, sky very far
    training/camdata_left/alley_2/frame_0001.cam   K and world -> camera
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from worldline.errors import InputError
from worldline.eval.video.readers.posed_video import PosedVideo, sorted_files
from worldline.eval.video.readers.sintel_files import read_cam, read_dpt

# The 14 sequences of pose tables, and of the depth tables of CUT3R and π³; the others' cameras stand still or nearly so
MOVING = (
    "alley_2", "ambush_4", "ambush_5", "ambush_6", "cave_2", "cave_4", "market_2", "market_5", "market_6", "shaman_3",
    "sleeping_1", "sleeping_2", "temple_2", "temple_3",
)  # fmt: skip
Pass = Literal["final", "clean"]


def read_sintel(folder: Path, *, rendering: Pass = "final", all_sequences: bool = False) -> list[PosedVideo]:
    """The sequences that are there, of the 14 with a moving camera.

    Args:
        folder: the data set or its ``training`` folder.
        all_sequences: also the others, as MonST3R's depth table has them (23).

    Raises:
        InputError: no such sequence, or files missing or damaged.
    """
    root = folder / "training" if (folder / "training").is_dir() else folder
    scenes = sorted(path for path in (root / rendering).glob("*") if path.is_dir())
    chosen = [path for path in scenes if all_sequences or path.name in MOVING]
    if not chosen:
        raise InputError(
            f"{folder} has no sequence of Sintel's {rendering} pass.",
            f"Expected is training/{rendering}/<sequence>/frame_0001.png, sequences such as {MOVING[0]}.",
        )
    return [_sequence(root, path) for path in chosen]


def _sequence(root: Path, photos: Path) -> PosedVideo:
    images = sorted_files(photos)
    depths = [root / "depth" / photos.name / f"{image.stem}.dpt" for image in images]
    cameras = [root / "camdata_left" / photos.name / f"{image.stem}.cam" for image in images]
    missing = next((path for path in [*depths, *cameras] if not path.is_file()), None)
    if missing is not None or not images:
        raise InputError(f"The sequence {photos.name} lacks {missing or 'photos'}.", "Unpack depth and cameras, too.")
    lenses, poses = zip(*(read_cam(path) for path in cameras), strict=True)
    return PosedVideo(
        photos.name, tuple(images), tuple(depths), read_dpt, np.linalg.inv(np.stack(poses)), np.stack(lenses)
    )  # fmt: skip
