"""The pictures that go with an export, and the cameras that belong to exactly these pictures.

A photo that lies upright in its file is copied byte for byte. Others (turned by EXIF, in a zip, frames of a video) are
written upright at full size, because half of the readers ignore EXIF. Where there is no original any more (arrays,
moved files) the picture is the one that the network saw, and the camera is the one of that picture.
"""

from __future__ import annotations

import re
import shutil
import unicodedata
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from worldline.errors import InputError
from worldline.outputs.export.folder import OutputFolder
from worldline.scene import Scene, SceneView
from worldline.types import Camera

_VISIBLE_SKEW = 0.1  # pixels, at 45 degrees from the optical axis
_COPIED_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")  # every reader knows them
_LOSSLESS_SUFFIXES = (".png", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif")
_IMAGE_SUFFIXES = (*_COPIED_SUFFIXES, *_LOSSLESS_SUFFIXES, ".webp", ".heic", ".heif", ".avif", ".jp2")
_EXIF_ORIENTATION = 274


@dataclass(frozen=True)
class ExportImage:
    """A picture that was written, with its camera."""

    index: int  # of the view in the scene
    view: SceneView
    file_name: str  # unique, plain ASCII without spaces
    camera: Camera  # of the picture, pixel centres at integers
    picture_from_model: Float64[np.ndarray, "3 3"]  # pixel map


def write_images(scene: Scene, folder: OutputFolder, relative: str) -> list[ExportImage]:
    """Write the pictures of all views that have a pose to the folder ``relative``; in input order.

    Warns of views whose photo should be there and is not.
    """
    images, missing = [], []
    for index, (view, stem) in enumerate(zip(scene.views, export_stems(scene), strict=True)):
        if view.pose_status == "failed":
            continue
        suffix = _write_original(view, folder, f"{relative}/{stem}")
        if suffix is not None:
            camera, picture_from_model = view.camera, view.transform.original_from_model
        else:
            missing += [] if view.source is None else [view.source]
            suffix, camera, picture_from_model = ".png", view.model_camera, np.eye(3)
            _write_pixels(view.image, folder, f"{relative}/{stem}{suffix}")
        images.append(ExportImage(index, view, stem + suffix, camera, picture_from_model))
    if missing:
        warnings.warn(
            f"{len(missing)} photos are not where they were or have changed (first: {missing[0]}); {relative} has "
            "pictures and cameras at the network's size for them.",
            stacklevel=2,
        )
    skewed = [image.view.name for image in images if abs(image.camera.intrinsics[0, 1]) > _VISIBLE_SKEW]
    if skewed:
        warnings.warn(
            f"{len(skewed)} cameras have skewed pixels (first: {skewed[0]}), which this format cannot hold; {relative} "
            "leaves the skew out.",
            stacklevel=2,
        )
    return images


def export_stems(scene: Scene) -> list[str]:
    """File name without suffix for every view of a scene: the same in all formats, unique without regard to case."""
    stems: list[str] = []
    taken: set[str] = set()
    for view in scene.views:
        plain = _plain_stem(view.name)
        candidates = (plain if number == 1 else f"{plain}_{number}" for number in range(1, len(scene.views) + 1))
        stem = next(candidate for candidate in candidates if candidate.lower() not in taken)
        taken.add(stem.lower())
        stems.append(stem)
    return stems


def map_pixels(affine: Float64[np.ndarray, "3 3"], pixels: Float64[np.ndarray, "n 2"]) -> Float64[np.ndarray, "n 2"]:
    """Apply an affine pixel map to (x, y) positions."""
    return np.asarray(pixels, np.float64) @ affine[:2, :2].T + affine[:2, 2]


def _plain_stem(name: str) -> str:
    """A view's name as a file name that every format and file system takes: ASCII, no spaces, no folders."""
    path = name.replace("\\", "/")
    if Path(path).suffix.lower() in _IMAGE_SUFFIXES:
        path = path[: -len(Path(path).suffix)]
    ascii_only = unicodedata.normalize("NFKD", path).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9.-]+", "_", ascii_only).strip("._") or "view"


def _write_original(view: SceneView, folder: OutputFolder, stem: str) -> str | None:
    """Write the photo as shown, at full size; returns the suffix of the file, None where there is no such photo."""
    from worldline.inputs.originals import read_original

    if view.source is None:
        return None
    suffix = Path(view.source).suffix.lower()
    if suffix in _COPIED_SUFFIXES and _is_upright(Path(view.source), view):
        with folder.file(stem + suffix) as path:
            shutil.copyfile(view.source, path)
        return suffix
    try:
        pixels = read_original(view.source, view.timestamp)
    except (InputError, OSError):
        return None
    if pixels.shape[:2] != view.transform.original_size:
        return None  # not the picture that we were given
    suffix = ".png" if suffix in _LOSSLESS_SUFFIXES else ".jpg"
    _write_pixels(pixels, folder, stem + suffix)
    return suffix


def _is_upright(photo: Path, view: SceneView) -> bool:
    """Whether the file's pixels are, as they are stored, the photo as shown; decodes nothing."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # only the header is read
            with Image.open(photo) as picture:
                size, tag = (picture.height, picture.width), picture.getexif().get(_EXIF_ORIENTATION, 1)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False
    return view.transform.orientation == 1 and tag in (0, 1) and size == tuple(view.transform.stored_size)


def _write_pixels(pixels: UInt8[np.ndarray, "height width 3"], folder: OutputFolder, relative: str) -> None:
    from PIL import Image

    options: dict[str, Any] = {"quality": 95, "subsampling": 0} if relative.endswith(".jpg") else {}
    with folder.file(relative) as path:
        Image.fromarray(pixels).save(path, **options)
