"""ScanNet's test scenes, every third frame, the first 90.

::

    scene0707_00/  color_90/ depth_90/ pose_90.txt        chosen already, as MonST3R prepares it
    scene0707_00/  color/0.jpg depth/0.png pose/0.txt     exported from .sens; intrinsic/intrinsic_depth.txt if there is

Depth: 16-bit PNG, 1000 = 1 metre. Poses: camera to world, 4x4 (or 12 or 16 numbers a line in pose_90.txt), -inf where
tracking was lost.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from worldline.errors import InputError
from worldline.eval.depth_maps import DepthMap
from worldline.eval.readers.parts import is_pose, matrix_from
from worldline.eval.video.readers.posed_video import PosedVideo, sorted_files
from worldline.eval.video.trajectory_files import read_matrices

EVERY, MOST = 3, 90


def read_depth_png(path: Path) -> Float64[np.ndarray, "height width"]:
    """Depth in metres (1000 = 1 metre), 0 where it is not known."""
    return DepthMap(path).read()


def read_scannet(folder: Path) -> list[PosedVideo]:
    """Every scene below a folder, or the folder itself.

    Raises:
        InputError: no scene, or files missing or damaged.
    """
    places = [folder, *sorted(path for path in folder.glob("*") if path.is_dir())]
    videos = [_prepared(path) for path in places if (path / "pose_90.txt").is_file()]
    if not videos:
        videos = [_exported(path) for path in places if (path / "color").is_dir() and (path / "pose").is_dir()]
    if not videos:
        raise InputError(f"{folder} has no scene of ScanNet.", "Expected are color_90/ depth_90/ pose_90.txt.")
    return videos


def _prepared(folder: Path) -> PosedVideo:
    photos, depths = _by_number(folder / "color_90"), _by_number(folder / "depth_90")
    return _scene(folder, photos, depths, read_matrices(folder / "pose_90.txt"))


def _exported(folder: Path) -> PosedVideo:
    photos = _by_number(folder / "color")[::EVERY][:MOST]
    depths = [folder / "depth" / f"{photo.stem}.png" for photo in photos]
    poses = np.stack([matrix_from(folder / "pose" / f"{photo.stem}.txt") for photo in photos])
    return _scene(folder, photos, depths, poses)


def _scene(folder: Path, photos: list[Path], depths: list[Path], poses: Float64[np.ndarray, "t 4 4"]) -> PosedVideo:
    if not photos or not len(photos) == len(depths) == len(poses):
        raise InputError(
            f"{folder} has {len(photos)} photos, {len(depths)} depth maps and {len(poses)} poses.",
            "One of each is needed per frame.",
        )
    known = np.array([is_pose(pose) for pose in poses])
    poses = np.where(known[:, None, None], poses, np.nan)
    lens = folder / "intrinsic" / "intrinsic_depth.txt"
    intrinsics = np.tile(matrix_from(lens)[:3, :3], (len(photos), 1, 1)) if lens.is_file() else None
    return PosedVideo(folder.name, tuple(photos), tuple(depths), read_depth_png, poses, intrinsics)


def _by_number(folder: Path) -> list[Path]:
    """Files in the order of their numbers: 2.jpg before 10.jpg."""
    return sorted(sorted_files(folder), key=lambda path: (len(path.stem), path.stem))
