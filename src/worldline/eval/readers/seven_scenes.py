"""7-Scenes (Microsoft Research): Kinect v1, one folder per sequence.

::

    frame-000000.color.png   frame-000000.depth.png (uint16 millimetres, 0 and 65535 = no value)
    frame-000000.pose.txt    4x4 *depth* camera to world

Colour and depth are not registered, and the poses are those of the depth camera. The data set gives one focal length,
585 pixels, which is the depth camera's. The colour camera's numbers below are a photometric fit to frames of RedKitchen
(correlation 0.94 with them, 0.84 when the two cameras are taken to be one); they agree with what is known of the
sensor, a Kinect v1.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from worldline.eval.depth_maps import DepthMap
from worldline.eval.readers.parts import camera_for, is_pose, matrix_from, photo_named, photo_size, sequence_name
from worldline.eval.sequences import Sequence, pinhole
from worldline.types import Camera

DEPTH_INTRINSICS = pinhole(585.0, 585.0, 320.0, 240.0)  # 640x480, as the data set states
COLOR_INTRINSICS = pinhole(523.4, 523.4, 320.5, 237.1)  # 640x480, fitted
BASELINE = 0.0249  # metres from the depth to the colour camera, along the depth camera's x axis
NO_DEPTH = 65535.0


def recognizes(folder: Path) -> bool:
    """A folder with frame-NNNNNN.pose.txt files."""
    return next(folder.glob("frame-*.pose.txt"), None) is not None


def read(folder: Path) -> Sequence:
    """Photos with the colour camera, depth maps with the depth camera beside it."""
    depth_from_color = np.eye(4)
    depth_from_color[0, 3] = BASELINE
    images, cameras, depths = [], [], []
    for file in sorted(folder.glob("frame-*.pose.txt")):
        stem = file.name.removesuffix(".pose.txt")
        photo, depth = photo_named(folder, f"{stem}.color"), folder / f"{stem}.depth.png"
        pose = matrix_from(file)
        if photo is None or not depth.is_file() or not is_pose(pose):
            continue
        images.append(photo)
        cameras.append(camera_for(photo, COLOR_INTRINSICS, pose @ depth_from_color))
        sensor = Camera(DEPTH_INTRINSICS, pose, *photo_size(depth))
        depths.append(DepthMap(depth, camera=sensor, unknown=NO_DEPTH))
    return Sequence(sequence_name(folder), tuple(images), tuple(cameras), tuple(depths), format="7scenes")
