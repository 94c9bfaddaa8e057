"""Strecha's benchmark (fountain-P11, Herz-Jesu-P8, ...): photos with ``.camera`` files; poses are the truth.

::

    0000.jpg  0000.jpg.camera     side by side, or in images/ and gt_dense_cameras/

A ``.camera`` file holds K (3x3), a line of distortion, the rotation from camera to world (3x3), the camera's centre,
and width and height. The laser scan is not read: figures of points and depth are left empty.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from worldline.errors import InputError
from worldline.eval.readers.parts import camera_for, pose_from, sequence_name
from worldline.eval.sequences import Sequence
from worldline.types import Camera

_CAMERA_FOLDERS = (".", "gt_dense_cameras", "cameras")
_NUMBERS = 9 + 3 + 9 + 3 + 2


def recognizes(folder: Path) -> bool:
    """A folder with .camera files, itself or in gt_dense_cameras/."""
    return bool(_camera_files(folder))


def read(folder: Path) -> Sequence:
    """All photos that have a camera file."""
    images, cameras = [], []
    for file in _camera_files(folder):
        name = file.name.removesuffix(".camera")
        photo = next((path for path in (folder / "images" / name, folder / name) if path.is_file()), None)
        if photo is not None:
            images.append(photo)
            cameras.append(_read_camera(file, photo))
    return Sequence(sequence_name(folder), tuple(images), tuple(cameras), (None,) * len(images), format="strecha")


def _camera_files(folder: Path) -> list[Path]:
    for name in _CAMERA_FOLDERS:
        if files := sorted((folder / name).glob("*.camera")):
            return files
    return []


def _read_camera(file: Path, photo: Path) -> Camera:
    values = np.array(file.read_text(encoding="utf-8").split(), dtype=np.float64)
    if len(values) < _NUMBERS:
        raise InputError(
            f"{file} holds {len(values)} numbers.", f"A .camera file has {_NUMBERS}: K, distortion, R, centre, size."
        )
    intrinsics, rotation, center = values[:9].reshape(3, 3), values[12:21].reshape(3, 3), values[21:24]
    camera = camera_for(photo, intrinsics, pose_from(rotation, center))
    width, height = values[24:26].astype(int)
    if (camera.height, camera.width) != (height, width):
        raise InputError(
            f"{photo} has {camera.width}x{camera.height} pixels, its camera file speaks of {width}x{height}.",
            "Use the photos that the camera files belong to.",
        )
    return camera
