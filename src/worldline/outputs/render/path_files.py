"""Camera paths as JSON files: written by hand, by another program, or by ``worldline render --save-path``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from worldline.errors import InputError
from worldline.files import write_json
from worldline.outputs.facts.viewpoint import look_at, up_direction
from worldline.outputs.render.motion import CameraSpline
from worldline.outputs.render.paths import CameraPath, PathOptions, fitted, frame_count
from worldline.outputs.render.surroundings import lens, posed_views
from worldline.scene import Scene
from worldline.types import Camera

_HELP = "See docs/rendering.md for the format."


def write_path(path: CameraPath, file: Path) -> Path:
    """Write the cameras of a film, and the moments that they show; :func:`read_path` gives the same film again.

    Raises:
        OutputError: the file cannot be written.
    """
    moments = path.moments or (None,) * len(path)
    entries: list[dict[str, object]] = []
    for camera, moment in zip(path.cameras, moments, strict=True):
        entry: dict[str, object] = {
            "world_from_cam": camera.world_from_cam.tolist(),
            "intrinsics": camera.intrinsics.tolist(),
            "size": [camera.height, camera.width],
        }
        entries.append(entry if moment is None else {**entry, "moment": moment})
    write_json(file, {"cameras": entries} if path.seconds is None else {"seconds": path.seconds, "cameras": entries})
    return file


def read_path(file: Path, scene: Scene, options: PathOptions) -> CameraPath:
    """Read a path; the lens and the up direction of cameras that have none are the scene's.

    With ``"interpolate": true`` in the file the cameras are keys, and the film goes through them on a smooth curve at
    constant speed; otherwise each is one frame.

    Raises:
        InputError: not a path, with the place of what is wrong.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{file} cannot be read as JSON: {error}.", _HELP) from error
    document = {"cameras": document} if isinstance(document, list) else document
    entries = document.get("cameras") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise InputError(f"{file} has no list of cameras.", _HELP)
    views = posed_views(scene)
    up = up_direction([view.camera.world_from_cam for view in views])
    common = lens(views, options.size, options.field)
    cameras, moments = [], []
    for number, entry in enumerate(entries):
        place = f"{file}: camera {number}"
        if not isinstance(entry, dict):
            raise InputError(f"{place} is not an object.", _HELP)
        cameras.append(_camera(entry, place, common, up, options))
        moments.append(_number(entry["moment"], f"{place}: moment") if "moment" in entry else None)
    seconds = options.seconds or (_number(document["seconds"], f"{file}: seconds") if "seconds" in document else None)
    if not document.get("interpolate", False):
        known = tuple(moment for moment in moments if moment is not None)
        return CameraPath(tuple(cameras), known if len(known) == len(cameras) else None, seconds=seconds)
    poses = np.stack([camera.world_from_cam for camera in cameras])
    away = np.linalg.norm(np.concatenate([v.points[v.mask][::97] for v in views]) - poses[0, :3, 3], axis=1)
    curve = CameraSpline(poses, unit=float(np.median(away)) if len(away) else 1.0)
    found = curve.at(curve.even(frame_count(options, seconds or 1.2 * (len(cameras) - 1))))
    return CameraPath(tuple(Camera(cameras[0].intrinsics, pose, *options.size) for pose in found), seconds=seconds)


def _camera(
    entry: dict[str, Any], place: str, common: Float64[np.ndarray, "3 3"], up: Float64[np.ndarray, "3"],
    options: PathOptions,
) -> Camera:  # fmt: skip
    """One entry of a path, for the size of the film."""
    if "world_from_cam" in entry:
        pose = _numbers(entry["world_from_cam"], (4, 4), f"{place}: world_from_cam")
        if not np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-4) or np.linalg.det(pose[:3, :3]) < 0:
            raise InputError(f"{place}: world_from_cam does not hold a rotation.", _HELP)
    elif "eye" in entry and "target" in entry:
        eye, target = (_numbers(entry[name], (3,), f"{place}: {name}") for name in ("eye", "target"))
        own_up = _numbers(entry["up"], (3,), f"{place}: up") if "up" in entry else up
        pose = look_at(eye, target, own_up)
    else:
        raise InputError(f"{place} has neither world_from_cam nor eye and target.", _HELP)
    if "intrinsics" in entry:
        matrix = _numbers(entry["intrinsics"], (3, 3), f"{place}: intrinsics")
        size = _numbers(entry.get("size"), (2,), f"{place}: size")
        if not (size >= 1).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
            raise InputError(f"{place}: intrinsics or size are not positive.", _HELP)
        return fitted(Camera(matrix, pose, int(size[0]), int(size[1])), options.size)
    if "field" in entry:
        common = lens((), options.size, _number(entry["field"], f"{place}: field"))
    return Camera(common, pose, *options.size)


def _numbers(values: object, shape: tuple[int, ...], place: str) -> Float64[np.ndarray, "..."]:
    try:
        found = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        found = np.zeros(0)
    if found.shape != shape or not np.isfinite(found).all():
        raise InputError(f"{place} is not {'x'.join(map(str, shape))} finite numbers.", _HELP)
    return found


def _number(value: object, place: str) -> float:
    return float(_numbers(value, (), place))
