"""What several readers share: names, sizes of photos, small text files, rotations."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float64
from PIL import Image

from worldline.errors import InputError
from worldline.geometry import matrix_from_quaternion
from worldline.types import Camera

PHOTO_SUFFIXES = (".png", ".jpg", ".jpeg", ".ppm", ".JPG", ".PNG")


def sequence_name(folder: Path) -> str:
    """``parent/folder``: enough to tell sequences of one data set apart."""
    folder = folder.resolve()
    return f"{folder.parent.name}/{folder.name}"


def photo_size(path: Path) -> tuple[int, int]:
    """(height, width) from the header of an image file."""
    with Image.open(path) as image:
        return image.height, image.width


def photo_named(folder: Path, stem: str) -> Path | None:
    """The photo of that name, whatever its suffix."""
    return next((path for suffix in PHOTO_SUFFIXES if (path := folder / f"{stem}{suffix}").is_file()), None)


def first_folder(folder: Path, names: Iterable[str]) -> Path | None:
    """The first of some subfolders that exists."""
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def matrix_from(path: Path, rows: int = 4, columns: int = 4) -> Float64[np.ndarray, "rows columns"]:
    """Numbers of a text file as a matrix."""
    values = np.array(path.read_text(encoding="utf-8").split(), dtype=np.float64)
    if values.size != rows * columns:
        raise InputError(f"{path} holds {values.size} numbers.", f"A {rows}x{columns} matrix was expected.")
    return values.reshape(rows, columns)


def is_pose(matrix: Float[np.ndarray, "4 4"]) -> bool:
    """Whether a matrix is a rigid motion; lost tracking is often written as -inf."""
    rotation = matrix[:3, :3]
    if not np.isfinite(matrix).all():
        return False
    return bool(np.allclose(rotation @ rotation.T, np.eye(3), atol=5e-3) and np.linalg.det(rotation) > 0)


def rotation_from_quaternion(w: float, x: float, y: float, z: float) -> Float64[np.ndarray, "3 3"]:
    """Rotation of a quaternion of any length but zero, scalar first."""
    return matrix_from_quaternion(torch.tensor([w, x, y, z], dtype=torch.float64)).numpy()


def pose_from(rotation: Float[np.ndarray, "3 3"], center: Float[np.ndarray, "3"]) -> Float64[np.ndarray, "4 4"]:
    """``world_from_cam`` from the axes of a camera and its centre."""
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation, center
    return pose


def camera_for(photo: Path, intrinsics: Float[np.ndarray, "3 3"], world_from_cam: Float[np.ndarray, "4 4"]) -> Camera:
    """A camera for a photo of full size.

    Raises:
        InputError: the principal point lies far from the middle, so the intrinsics are those of another resolution.
    """
    height, width = photo_size(photo)
    center = intrinsics[0, 2] / width, intrinsics[1, 2] / height
    if not all(0.2 < share < 0.8 for share in center):
        raise InputError(
            f"The intrinsics of {photo} do not fit its {width}x{height} pixels (principal point {center[0]:.2f}, "
            f"{center[1]:.2f} of its size).",
            "Give the intrinsics of the images in that folder, not of another resolution.",
        )
    return Camera(np.asarray(intrinsics, np.float64), np.asarray(world_from_cam, np.float64), height, width)
