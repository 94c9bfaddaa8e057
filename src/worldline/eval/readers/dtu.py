"""DTU, BlendedMVS, Tanks and Temples in MVSNet's layout.

::

    images/00000000.jpg  (or blended_images/)
    cams/00000000_cam.txt      extrinsic 4x4 (world to camera), intrinsic 3x3 of the images
    depths/00000000.pfm        (or rendered_depth_maps/, depth_gt/; also depth_map_0000.pfm), optional

DTU's lengths are millimetres; they are kept, since no figure here depends on the unit except ND and CD.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float64

from worldline.eval.depth_maps import DepthMap
from worldline.eval.readers.parts import camera_for, first_folder, photo_named, sequence_name
from worldline.eval.sequences import Sequence

_CAMERAS = ("cams", "cams_1", "Cameras")
_IMAGES = ("images", "blended_images", "images_post")
_DEPTHS = ("depths", "rendered_depth_maps", "depth_gt", "Depths", "depth")


def recognizes(folder: Path) -> bool:
    """A folder with cams/*_cam.txt."""
    cameras = first_folder(folder, _CAMERAS)
    return cameras is not None and next(cameras.glob("*_cam.txt"), None) is not None


def read(folder: Path) -> Sequence:
    """All images with a camera, with their depth map where there is one."""
    places = [first_folder(folder, names) for names in (_CAMERAS, _IMAGES, _DEPTHS)]
    camera_folder, image_folder = places[0] or folder, places[1] or folder
    images, cameras, depths = [], [], []
    for file in sorted(camera_folder.glob("*_cam.txt")):
        stem = file.name.removesuffix("_cam.txt")
        photo = photo_named(image_folder, stem)
        if photo is None:
            continue
        intrinsics, cam_from_world = _read_camera(file)
        images.append(photo)
        cameras.append(camera_for(photo, intrinsics, np.linalg.inv(cam_from_world)))
        depths.append(_depth_map(places[2], stem))
    return Sequence(sequence_name(folder), tuple(images), tuple(cameras), tuple(depths), format="dtu")


def _read_camera(file: Path) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, "4 4"]]:
    words = file.read_text(encoding="utf-8").split()
    at = {name: words.index(name) + 1 for name in ("extrinsic", "intrinsic")}
    extrinsic = np.array(words[at["extrinsic"] : at["extrinsic"] + 16], dtype=np.float64).reshape(4, 4)
    intrinsic = np.array(words[at["intrinsic"] : at["intrinsic"] + 9], dtype=np.float64).reshape(3, 3)
    return intrinsic, extrinsic


def _depth_map(folder: Path | None, stem: str) -> DepthMap | None:
    if folder is None:
        return None
    names = (f"{stem}.pfm", f"depth_map_{stem[-4:]}.pfm", f"{stem}.npy", f"{stem}_init.pfm")
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    return None if found is None else DepthMap(found, unit=1.0)
