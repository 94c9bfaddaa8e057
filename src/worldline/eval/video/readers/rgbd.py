"""Bonn RGB-D Dynamic and TUM RGB-D: photos, depth and poses with time stamps of their own.

::

    rgbd_bonn_balloon2/  rgb/ depth/ rgb.txt depth.txt groundtruth.txt        depth: 16-bit PNG, 5000 = 1 metre
    rgbd_bonn_balloon2/  rgb_110/ depth_110/ groundtruth_110.txt              chosen already, as MonST3R prepares it

The published Bonn protocol takes items 30 … 139 of each of the three *sorted lists*, whatever their time stamps say:
``pairing="index"``. By default a photo takes the depth and the pose nearest in time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float64

from worldline.errors import InputError
from worldline.eval.depth_maps import DepthMap
from worldline.eval.video.readers.posed_video import PosedVideo, sorted_files
from worldline.eval.video.trajectory import Trajectory
from worldline.eval.video.trajectory_files import read_tum

BONN = ("balloon2", "crowd2", "crowd3", "person_tracking2", "synchronous")
BONN_FRAMES = slice(30, 140)
TUM_EVERY, TUM_MOST = 3, 90
LONGEST_GAP = 0.02  # seconds between a photo and its depth or pose
Pairing = Literal["time", "index"]


def read_depth_png(path: Path) -> Float64[np.ndarray, "height width"]:
    """Depth in metres (5000 = 1 metre), 0 where it is not known."""
    return DepthMap(path, unit=1 / 5000.0).read()


def read_bonn(folder: Path, *, pairing: Pairing = "time") -> list[PosedVideo]:
    """The five sequences of the published tables that are there; the folder may be one sequence itself.

    Raises:
        InputError: no such sequence, or files missing or damaged.
    """
    named = [path for name in BONN for path in (folder / f"rgbd_bonn_{name}", folder / name) if path.is_dir()]
    chosen = named or ([folder] if _is_sequence(folder) else [])
    if not chosen:
        raise InputError(
            f"{folder} has no sequence of Bonn.", f"Expected are folders such as rgbd_bonn_{BONN[0]} with rgb/, depth/."
        )
    return [_bonn(path, pairing) for path in chosen]


def read_tum_dynamics(folder: Path) -> list[PosedVideo]:
    """Every TUM sequence below a folder: photos with a pose within 0.02 s, every 3rd of them, the first 90.

    Raises:
        InputError: no sequence, or files missing or damaged.
    """
    chosen = [folder] if _is_sequence(folder) else sorted(path for path in folder.glob("*") if _is_sequence(path))
    if not chosen:
        raise InputError(f"{folder} has no TUM sequence.", "Expected are rgb/ and groundtruth.txt.")
    videos = []
    for path in chosen:
        photos, truth = _photos(path), read_tum(path / "groundtruth.txt")
        nearest = [_nearest(truth.times, time) for time in _times(photos)]
        known = [(photo, row) for photo, row in zip(photos, nearest, strict=True) if row is not None]
        known = known[::TUM_EVERY][:TUM_MOST]
        poses = truth.world_from_cam[[row for _, row in known]]
        videos.append(PosedVideo(path.name, tuple(photo for photo, _ in known), world_from_cam=poses))
    return videos


def _bonn(folder: Path, pairing: Pairing) -> PosedVideo:
    if (folder / "rgb_110").is_dir():
        photos, depths = sorted_files(folder / "rgb_110"), sorted_files(folder / "depth_110")
        poses = _numbered(read_tum(folder / "groundtruth_110.txt"), range(len(photos)))
        return _paired(folder.name, photos, depths, poses)
    photos, depths, truth = _photos(folder), sorted_files(folder / "depth"), read_tum(folder / "groundtruth.txt")
    chosen = photos[BONN_FRAMES]
    if pairing == "index":
        return _paired(folder.name, chosen, depths[BONN_FRAMES], truth.world_from_cam[BONN_FRAMES])
    times, depth_times = _times(chosen), _times(depths)
    of_depth = [_nearest(depth_times, time) for time in times]
    kept = [index for index, depth in enumerate(of_depth) if depth is not None]
    poses = _numbered(truth, [_nearest(truth.times, times[index]) for index in kept])
    return _paired(folder.name, [chosen[i] for i in kept], [depths[of_depth[i] or 0] for i in kept], poses)


def _paired(name: str, photos: list[Path], depths: list[Path], poses: Float64[np.ndarray, "t 4 4"]) -> PosedVideo:
    if not photos or not len(photos) == len(depths) == len(poses):
        raise InputError(
            f"{name} has {len(photos)} photos, {len(depths)} depth maps and {len(poses)} poses to be paired.",
            "Check that the sequence is complete.",
        )
    return PosedVideo(name, tuple(photos), tuple(depths), read_depth_png, poses)


def _numbered(truth: Trajectory, rows: Sequence[int | None]) -> Float64[np.ndarray, "t 4 4"]:
    """Poses of some rows; NaN where there is none."""
    lost = np.full((4, 4), np.nan)
    return np.stack([lost if row is None else truth.world_from_cam[row] for row in rows])


def _is_sequence(folder: Path) -> bool:
    return ((folder / "rgb").is_dir() and (folder / "groundtruth.txt").is_file()) or (folder / "rgb_110").is_dir()


def _photos(folder: Path) -> list[Path]:
    return sorted_files(folder / "rgb")


def _times(files: list[Path]) -> Float64[np.ndarray, "n"]:
    """Seconds; the names of the files are their time stamps."""
    try:
        return np.array([float(path.stem) for path in files])
    except ValueError as error:
        raise InputError(f"A photo's name is no time stamp ({error}).", "Keep the names of the data set.") from error


def _nearest(times: Float64[np.ndarray, "n"], time: float) -> int | None:
    """Row of the nearest time stamp (the earlier of two as near), None if it is too far."""
    if len(times) == 0:
        return None
    best = int(np.abs(times - time).argmin())
    return best if abs(times[best] - time) <= LONGEST_GAP else None
