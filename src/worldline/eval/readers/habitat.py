"""Exports of a simulator (Habitat with HM3D, Gibson, MP3D; or any other), in a simple layout of ours.

::

    poses.json   {"hfov": 90, "axes": "opengl", "frames": [{"rgb", "depth", ...pose}]}
    rgb/000000.png   depth/000000.npy (metres along the optical axis) or .png (uint16 millimetres); 0 = no value

The pose of a frame is ``"world_from_cam"`` (4x4), or ``"position"`` [x, y, z] and ``"rotation"`` [w, x, y, z] as
Habitat states those of a sensor. ``"axes"`` says which way a camera looks: ``"opengl"`` (Habitat's: y up, looks along
-z; the default) or ``"opencv"``. Intrinsics are ``"hfov"`` in degrees with square pixels, or ``"K"`` [fx, fy, cx, cy].
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from worldline.errors import InputError
from worldline.eval.depth_maps import MILLIMETRE, DepthMap
from worldline.eval.readers.parts import (
    camera_for,
    is_pose,
    photo_size,
    pose_from,
    rotation_from_quaternion,
    sequence_name,
)
from worldline.eval.sequences import Sequence, pinhole

_CAMERA_FROM_OPENCV = {"opencv": np.eye(4), "opengl": np.diag([1.0, -1.0, -1.0, 1.0])}


def recognizes(folder: Path) -> bool:
    """A folder with poses.json and rgb/."""
    return (folder / "poses.json").is_file() and (folder / "rgb").is_dir()


def read(folder: Path) -> Sequence:
    """All frames of poses.json."""
    content = json.loads((folder / "poses.json").read_text(encoding="utf-8"))
    axes = content.get("axes", "opengl")
    if axes not in _CAMERA_FROM_OPENCV:
        raise InputError(f"{folder}/poses.json speaks of axes '{axes}'.", "Choose opengl or opencv.")
    images, cameras, depths = [], [], []
    for frame in content["frames"]:
        photo, depth = folder / frame["rgb"], folder / frame["depth"]
        pose = _pose(frame) @ _CAMERA_FROM_OPENCV[axes]
        if not is_pose(pose):
            raise InputError(f"The pose of {photo} is no rigid motion.", "Give a 4x4 world_from_cam.")
        images.append(photo)
        cameras.append(camera_for(photo, _intrinsics({**content, **frame}, *photo_size(photo)), pose))
        depths.append(DepthMap(depth, unit=MILLIMETRE if depth.suffix.lower() == ".png" else 1.0))
    return Sequence(sequence_name(folder), tuple(images), tuple(cameras), tuple(depths), format="habitat")


def _pose(frame: dict[str, Any]) -> Float64[np.ndarray, "4 4"]:
    if "world_from_cam" in frame:
        return np.array(frame["world_from_cam"], dtype=np.float64).reshape(4, 4)
    return pose_from(rotation_from_quaternion(*frame["rotation"]), np.array(frame["position"], dtype=np.float64))


def _intrinsics(content: dict[str, Any], height: int, width: int) -> Float64[np.ndarray, "3 3"]:
    if "K" in content:
        return pinhole(*content["K"])
    focal = width / (2 * math.tan(math.radians(content["hfov"]) / 2))
    return pinhole(focal, focal, (width - 1) / 2, (height - 1) / 2)
