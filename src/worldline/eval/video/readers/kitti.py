"""KITTI: depth completion's validation drives, and the poses of the odometry benchmark.

::

    val/2011_09_26_drive_0002_sync/proj_depth/groundtruth/image_02/0000000005.png     16-bit PNG, 256 = 1 metre
    2011_09_26/2011_09_26_drive_0002_sync/image_02/data/0000000005.png                photos, of the raw data
    groundtruth_depth_gathered/<drive>_02/*.png  image_gathered/<drive>_02/*.png      both, as MonST3R gathers them
    sequences/00/image_2/000000.png  poses/00.txt                                     odometry: no depth
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from worldline.errors import InputError
from worldline.eval.depth_maps import DepthMap
from worldline.eval.video.readers.posed_video import PosedVideo, sorted_files
from worldline.eval.video.trajectory_files import read_matrices

MOST_FRAMES = 110
ODOMETRY_FRAMES = 1000  # of the trajectories in figure 8 of arXiv 2512.08924
_CAMERA = "image_02"


def read_depth_png(path: Path) -> Float64[np.ndarray, "height width"]:
    """Depth in metres (256 = 1 metre), 0 where it is not known."""
    return DepthMap(path, unit=1 / 256.0).read()


def read_kitti(folder: Path) -> list[PosedVideo]:
    """The first 110 frames with ground truth of every validation drive; or the odometry sequences with poses.

    Raises:
        InputError: none of the layouts, or photos missing.
    """
    videos = [*_annotated(folder), *_gathered(folder), *_odometry(folder)]
    if not videos:
        raise InputError(
            f"{folder} has no drive with ground truth.",
            "Expected are val/<drive>/proj_depth/groundtruth/image_02/ and the raw photos, or sequences/ and poses/.",
        )
    return videos


def _annotated(folder: Path) -> list[PosedVideo]:
    videos = []
    for truth in _below(folder, f"*_sync/proj_depth/groundtruth/{_CAMERA}", ("", "val/", "*/val/")):
        drive = truth.parents[2]
        depths = sorted_files(truth, ".png")[:MOST_FRAMES]
        places = [
            base / _CAMERA / "data"
            for base in (drive, folder / drive.name, folder / drive.name[:10] / drive.name, folder / "raw" / drive.name,
                         folder / "raw" / drive.name[:10] / drive.name)
        ]  # fmt: skip
        photos = next((place for place in places if place.is_dir()), None)
        if photos is None:
            raise InputError(
                f"The photos of {drive.name} are missing.",
                f"Put the raw drive at {folder / drive.name[:10] / drive.name / _CAMERA / 'data'}.",
            )
        videos.append(_with_depth(drive.name, [photos / path.name for path in depths], depths))
    return videos


def _gathered(folder: Path) -> list[PosedVideo]:
    videos = []
    for truth in _below(folder, "groundtruth_depth_gathered/*", ("", "*/", "*/*/")):
        depths = sorted_files(truth, ".png")[:MOST_FRAMES]
        photos = truth.parents[1] / "image_gathered" / truth.name
        videos.append(_with_depth(truth.name, [photos / path.name for path in depths], depths))
    return videos


def _odometry(folder: Path) -> list[PosedVideo]:
    root = folder / "dataset" if (folder / "dataset").is_dir() else folder
    videos = []
    for sequence in sorted(root.glob("sequences/*")):
        truth = root / "poses" / f"{sequence.name}.txt"
        photos = sorted_files(sequence / "image_2")[:ODOMETRY_FRAMES]
        if truth.is_file() and photos:
            poses = read_matrices(truth)[:ODOMETRY_FRAMES]
            if len(poses) < len(photos):
                raise InputError(f"{truth} has {len(poses)} poses for {len(photos)} photos.", "Copy it again.")
            videos.append(PosedVideo(sequence.name, tuple(photos), world_from_cam=poses[: len(photos)]))
    return videos


def _below(folder: Path, pattern: str, places: tuple[str, ...]) -> list[Path]:
    """Matches in the first of some places that has any; a search of everything below would take minutes."""
    found = (sorted(folder.glob(place + pattern)) for place in places)
    return next((paths for paths in found if paths), [])


def _with_depth(name: str, photos: list[Path], depths: list[Path]) -> PosedVideo:
    missing = next((path for path in photos if not path.is_file()), None)
    if missing is not None or not photos:
        raise InputError(f"{name} lacks the photo {missing}.", "Every depth map needs its photo, by the same name.")
    return PosedVideo(name, tuple(photos), tuple(depths), read_depth_png)
