"""What arrives from outside, checked: a stream goes on whatever it is given, and says what was wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from worldline.errors import InputError
from worldline.types import Rig

Poses = Float64[np.ndarray, "4 4"] | dict[str, Float64[np.ndarray, "4 4"]] | None

_SAME_ASPECT = 0.01  # relative difference up to which a photo of another size is the same photo, resized


@dataclass(frozen=True)
class Intake:
    """The usable part of a push."""

    images: dict[str, UInt8[np.ndarray, "height width 3"]]
    issues: tuple[str, ...]


def take_images(rig: Rig, images: Mapping[str, Any]) -> Intake:
    """Photos that can be used, and a sentence for each that cannot.

    Args:
        rig: whose sensors may give photos.
        images: per sensor an RGB array [h, w, 3] uint8, a file, or anything with a ``read()`` that gives an array.
    """
    taken, issues = {}, []
    for name in images:
        if name not in rig.sensors:
            issues.append(f"{name}: the rig has no such sensor; its image was ignored.")
    for name in rig.sensors:
        if name not in images:
            issues.append(f"{name}: no image.")
            continue
        try:
            taken[name] = _pixels(images[name])
        except InputError as error:
            issues.append(f"{name}: {error.cause} {error.remedy}")
        except Exception as error:  # noqa: BLE001 — ``read`` may be anybody's code
            issues.append(f"{name}: the image cannot be read ({error}).")
    return Intake(taken, tuple(issues))


def _pixels(image: Any) -> UInt8[np.ndarray, "height width 3"]:
    if hasattr(image, "read") and not isinstance(image, Path):
        image = image.read()
    if isinstance(image, str | Path):
        from worldline.inputs.decode import BadImageError, read_upright

        try:
            return read_upright(Path(image))
        except BadImageError as error:
            raise InputError(f"{image} {error.reason}.", "Give another file.") from error
    if hasattr(image, "detach"):
        image = image.detach().cpu()
    array = np.asarray(image)
    if array.ndim == 2:
        array = np.repeat(array[..., None], 3, -1)
    if array.ndim != 3 or array.shape[-1] != 3 or array.dtype != np.uint8 or min(array.shape[:2]) < 16:
        raise InputError(
            f"the image is an array {list(array.shape)} of {array.dtype}.",
            "Give RGB [height, width, 3] uint8 of 16 pixels or more.",
        )
    return np.ascontiguousarray(array)


def take_poses(rig: Rig, poses: Any) -> tuple[Poses, tuple[str, ...]]:
    """Rig poses as one matrix or one per sensor (at each sensor's own time); what is no pose is left out."""
    if poses is None:
        return None, ()
    if isinstance(poses, Mapping):
        good = {name: _pose(value) for name, value in poses.items() if name in rig.sensors and value is not None}
        bad = tuple(f"{name}: the pose is no rigid 4x4 matrix; it was ignored." for name in good if good[name] is None)
        kept = {name: value for name, value in good.items() if value is not None}
        return kept or None, bad
    pose = _pose(poses)
    return pose, () if pose is not None else ("the pose of the rig is no rigid 4x4 matrix; it was ignored.",)


def _pose(value: Any) -> Float64[np.ndarray, "4 4"] | None:
    matrix = _numbers(value)
    if matrix is None:
        return None
    if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
        return None
    rotation = matrix[:3, :3]
    rigid = np.abs(rotation @ rotation.T - np.eye(3)).max() < 1e-3 and np.linalg.det(rotation) > 0
    return matrix if rigid and np.allclose(matrix[3], (0, 0, 0, 1)) else None


def take_measurements(
    lidar: Any, speed: Any
) -> tuple[Float64[np.ndarray, "n 3"] | None, float | None, tuple[str, ...]]:
    """Finite LiDAR points and speed, and what was wrong with them; what cannot be used is None."""
    issues = []
    if lidar is not None:
        points = _numbers(lidar)
        if points is None or points.ndim != 2 or points.shape[1] < 3:
            shape = "no numbers" if points is None else f"an array {list(points.shape)}"
            issues.append(f"the LiDAR points are {shape} instead of [n, 3]; they were ignored.")
            lidar = None
        else:
            lidar = points[np.isfinite(points[:, :3]).all(1), :3]
    if speed is not None:
        value = _numbers(speed)
        if value is None or value.size != 1 or not np.isfinite(value).all():
            issues.append(f"the speed {speed!r} is no finite number; it was ignored.")
            speed = None
        else:
            speed = float(value.reshape(()))
    return lidar, speed, tuple(issues)


def _numbers(value: Any) -> Float64[np.ndarray, "..."] | None:
    """As an array of numbers; None where that is not possible. Torch tensors may be anywhere."""
    try:
        return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value, np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        return None


def refused_time(timestamp: Any, last: float | None) -> str | None:
    """Why a timestamp cannot follow the last one; None where it can."""
    try:
        value = float(timestamp)
    except (TypeError, ValueError, OverflowError):
        return f"the timestamp {timestamp!r} is no number; the push was ignored."
    if not math.isfinite(value):
        return f"the timestamp {value} is not finite; the push was ignored."
    if last is not None and value == last:
        return f"the timestamp {value:.6f} was pushed already; the second push was ignored."
    if last is not None and value < last:
        return f"the timestamp {value:.6f} is {last - value:.6f} s before the last one; the late push was ignored."
    return None


def same_aspect(size: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether two (height, width) may be the same photo at two sizes."""
    ratio = size[1] * other[0] / (size[0] * other[1])
    return abs(ratio - 1) < _SAME_ASPECT


def another_size(name: str, size: tuple[int, int], expected: tuple[int, int]) -> tuple[bool, str]:
    """Whether a photo of another (height, width) than expected can be used, and a sentence about it."""
    what = f"{name}: the image has {size[1]}x{size[0]} pixels instead of {expected[1]}x{expected[0]}"
    if same_aspect(size, expected):
        return True, f"{what}; it was taken as the same photo at another size."
    return False, f"{what}, another aspect; it was ignored."
