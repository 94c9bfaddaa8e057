"""COLMAP reconstructions, also ETH3D and whatever else is given as one: the sparse points are the truth.

::

    sparse/0/ (or sparse/, or the folder itself)    cameras, images, points3D as .bin or .txt
    images/                                         undistorted photos, named as in the reconstruction
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from worldline.errors import InputError
from worldline.eval.readers.parts import camera_for, first_folder, sequence_name
from worldline.eval.sequences import Sequence

if TYPE_CHECKING:
    import pycolmap

_MODELS = ("sparse/0", "sparse", "dslr_calibration_undistorted", ".")
_IMAGES = ("images", "dslr_images_undistorted", ".")
_UNDISTORT = "Undistort first: colmap image_undistorter."


def recognizes(folder: Path) -> bool:
    """A folder with cameras.bin or cameras.txt in one of the usual places."""
    return _model_folder(folder) is not None


def read(folder: Path) -> Sequence:
    """Photos with a pose, in the order of their names, and the points that they see."""
    import pycolmap

    model = pycolmap.Reconstruction(str(_model_folder(folder)))
    place = first_folder(folder, _IMAGES) or folder
    registered = [image for image in model.images.values() if image.has_pose and (place / image.name).is_file()]
    if not registered:
        raise InputError(
            f"None of the {len(model.images)} images of the reconstruction in {folder} lies in {place}.",
            "Put the photos into images/ under the names that the reconstruction gives them.",
        )
    registered.sort(key=lambda image: image.name)
    numbers = {point: number for number, point in enumerate(model.points3D)}
    observations, cameras = [], []
    for frame, image in enumerate(registered):
        cameras.append(camera_for(place / image.name, _intrinsics(model.cameras[image.camera_id]), _pose(image)))
        for seen in image.points2D:
            if seen.has_point3D() and seen.point3D_id in numbers:
                observations.append((numbers[seen.point3D_id], frame, *(seen.xy - 0.5)))  # centres at integers here
    return Sequence(
        name=sequence_name(folder),
        images=tuple(place / image.name for image in registered),
        cameras=tuple(cameras),
        depths=(None,) * len(registered),
        points=np.array([point.xyz for point in model.points3D.values()], dtype=np.float64).reshape(-1, 3),
        observations=np.array(observations, dtype=np.float64).reshape(-1, 4),
        format="colmap",
    )


def _model_folder(folder: Path) -> Path | None:
    for name in _MODELS:
        if any((folder / name / f"cameras.{suffix}").is_file() for suffix in ("bin", "txt")):
            return folder / name
    return None


def _pose(image: pycolmap.Image) -> Float64[np.ndarray, "4 4"]:
    pose = np.eye(4)
    pose[:3] = image.cam_from_world().inverse().matrix()
    return pose


def _intrinsics(camera: pycolmap.Camera) -> Float64[np.ndarray, "3 3"]:
    """Pinhole intrinsics with pixel centres at integers; COLMAP puts them at halves."""
    focal_or_center = set(camera.focal_length_idxs()) | set(camera.principal_point_idxs())
    distortion = [value for index, value in enumerate(camera.params) if index not in focal_or_center]
    if any(abs(value) > 1e-12 for value in distortion):
        raise InputError(f"The photos have lens distortion ({camera.model.name}).", _UNDISTORT)
    intrinsics = np.asarray(camera.calibration_matrix(), dtype=np.float64).copy()
    intrinsics[:2, 2] -= 0.5
    return intrinsics
