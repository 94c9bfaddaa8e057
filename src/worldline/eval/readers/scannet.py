"""ScanNet as exported from its .sens files.

::

    color/0.jpg     depth/0.png (uint16 millimetres, registered to the colour camera but of another resolution)
    pose/0.txt      4x4 camera to world, -inf where tracking was lost
    intrinsic/      intrinsic_color.txt and intrinsic_depth.txt, 4x4
"""

from __future__ import annotations

from pathlib import Path

from worldline.errors import InputError
from worldline.eval.depth_maps import DepthMap
from worldline.eval.readers.parts import camera_for, is_pose, matrix_from, photo_named, photo_size, sequence_name
from worldline.eval.sequences import Sequence
from worldline.types import Camera


def recognizes(folder: Path) -> bool:
    """A folder with color/, pose/ and intrinsic/."""
    return all((folder / name).is_dir() for name in ("color", "pose", "intrinsic"))


def read(folder: Path) -> Sequence:
    """Frames in the order of their numbers; those without tracking are left out."""
    for_color = matrix_from(folder / "intrinsic" / "intrinsic_color.txt")[:3, :3]
    for_depth = folder / "intrinsic" / "intrinsic_depth.txt"
    if not for_depth.is_file():
        raise InputError(f"{folder} has no intrinsic/intrinsic_depth.txt.", "Export the intrinsics of both cameras.")
    depth_intrinsics = matrix_from(for_depth)[:3, :3]
    images, cameras, depths = [], [], []
    for file in sorted((folder / "pose").glob("*.txt"), key=lambda path: (len(path.stem), path.stem)):
        photo, depth = photo_named(folder / "color", file.stem), folder / "depth" / f"{file.stem}.png"
        pose = matrix_from(file)
        if photo is None or not depth.is_file() or not is_pose(pose):
            continue
        images.append(photo)
        cameras.append(camera_for(photo, for_color, pose))
        depths.append(DepthMap(depth, camera=Camera(depth_intrinsics, pose, *photo_size(depth))))
    return Sequence(sequence_name(folder), tuple(images), tuple(cameras), tuple(depths), format="scannet")
