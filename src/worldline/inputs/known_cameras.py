"""Known intrinsics and poses that come with photos, read from a JSON file and matched by image name."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from jaxtyping import Float64

from worldline.errors import InputError
from worldline.types import View, Views

_LAYOUT = '{"frames": [{"image": "a.jpg", "width": 640, "height": 480, "K": [fx, fy, cx, cy], "T_c2w": 4x4}, ...]}'


@dataclass(frozen=True)
class KnownCamera:
    """What a user knows about one photo; either part may be missing."""

    intrinsics: Float64[np.ndarray, "3 3"] | None  # pixels of an image of ``size``
    world_from_cam: Float64[np.ndarray, "4 4"] | None  # OpenCV axes
    size: tuple[int, int] | None = None  # (height, width) that the intrinsics belong to; None = the photo's own


def read_known_cameras(path: str | Path) -> dict[str, KnownCamera]:
    """Read ``{"frames": [...]}``: image as it is named there -> :class:`KnownCamera`.

    Raises:
        InputError: the file is missing, is not JSON of that layout, or holds numbers that are no camera.
    """
    path = Path(path)
    try:
        frames = json.loads(path.read_text(encoding="utf-8"))["frames"]
        return {PurePath(str(frame["image"])).as_posix(): _camera(frame) for frame in frames}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "Check the path of the cameras file.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} does not describe cameras ({error}).", f"Expected: {_LAYOUT}") from error


def attach_cameras(views: Views, known: dict[str, KnownCamera]) -> Views:
    """The same views with what is known of their cameras; intrinsics are scaled to the size of each photo.

    A photo is matched by its path as far as the name in ``known`` goes ("left/a.jpg"), else by its file name alone.

    Raises:
        InputError: no name matches, a file name alone does not say which photo is meant, or intrinsics are of another
            aspect ratio than their photo.
    """
    keys = _matches(views, known)
    matched = [key for key in keys if key is not None]
    if not matched:
        raise InputError(
            f"None of the {len(known)} names in the cameras file is among the photos (first photo: {views[0].name}).",
            "Name each frame's image as its file is named.",
        )
    attached = tuple(_attached(view, known, key) for view, key in zip(views, keys, strict=True))
    missing = len(views) - len(matched)
    notes = (
        (f"{missing} of {len(views)} photos have no entry in the cameras file; theirs are estimated",)
        if missing
        else ()
    )
    return replace(views, views=attached, notes=(*views.notes, *notes))


def _camera(frame: dict[str, Any]) -> KnownCamera:
    intrinsics = pose = None
    if frame.get("K") is not None:
        fx, fy, cx, cy = (float(value) for value in frame["K"])
        if min(fx, fy) <= 0:
            raise ValueError(f"focal length {fx}, {fy} of {frame['image']}")
        intrinsics = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    if frame.get("T_c2w") is not None:
        pose = np.array(frame["T_c2w"], dtype=np.float64).reshape(4, 4)
        if not np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-3) or np.linalg.det(pose[:3, :3]) < 0:
            raise ValueError(f"T_c2w of {frame['image']} is no rigid motion")
    size = (int(frame["height"]), int(frame["width"])) if "height" in frame and "width" in frame else None
    return KnownCamera(intrinsics, pose, size)


def _matches(views: Views, known: dict[str, KnownCamera]) -> list[str | None]:
    """For every view the name in ``known`` that means it, or None."""
    paths = [PurePath(view.source if view.source is not None else view.name) for view in views]
    keys = [_key_by_path(view.name, path, known) for view, path in zip(views, paths, strict=True)]
    by_path = set(keys)
    for index, path in enumerate(paths):
        named_alike = [key for key in known if PurePath(key).name == path.name and key not in by_path]
        if keys[index] is not None or not named_alike:
            continue
        if len(named_alike) > 1 or [other.name for other in paths].count(path.name) > 1:
            raise InputError(
                f"It is not clear which camera belongs to {path}: several photos or frames are called {path.name}.",
                "Name the images in the cameras file with their folders, as the photos are stored.",
            )
        keys[index] = named_alike[0]
    return keys


def _key_by_path(name: str, path: PurePath, known: dict[str, KnownCamera]) -> str | None:
    if name in known and (name != path.name or len(PurePath(name).parts) > 1):
        return name  # the view's own, longer name
    tails = ["/".join(path.parts[start:]) for start in range(len(path.parts) - 1)]
    return next((tail for tail in tails if tail in known), None)


def _attached(view: View, known: dict[str, KnownCamera], key: str | None) -> View:
    if key is None:
        return view
    camera = known[key]
    return replace(view, intrinsics=_scaled(camera, view), world_from_cam=camera.world_from_cam)


def _scaled(camera: KnownCamera, view: View) -> Float64[np.ndarray, "3 3"] | None:
    height, width = view.transform.original_size
    if camera.intrinsics is None or camera.size in (None, (height, width)):
        return camera.intrinsics
    known_height, known_width = camera.size
    scale_x, scale_y = width / known_width, height / known_height
    if abs(scale_x / scale_y - 1) > 0.02:
        raise InputError(
            f"The intrinsics of {view.name} are for {known_width}x{known_height} pixels, not {width}x{height}.",
            "Give the intrinsics of the photo as it is shown (EXIF orientation applied).",
        )
    # edges of the image stay edges: pixel centres are at integers, so shift by half a pixel around the scaling
    resize = np.array([[scale_x, 0, 0.5 * scale_x - 0.5], [0, scale_y, 0.5 * scale_y - 0.5], [0, 0, 1]])
    return resize @ camera.intrinsics
