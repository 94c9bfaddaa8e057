"""The pictures that go with an export, and the cameras that belong to exactly these pictures.

A photo that lies upright in its file is copied byte for byte; a turned one is written upright, because half of the
readers ignore EXIF. Where there is no photo (arrays, video frames) the picture is the one that the network saw, and the
camera is the one of that picture.
"""

from __future__ import annotations

import re
import shutil
import unicodedata
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from worldline.scene import Scene, SceneView
from worldline.types import Camera

_COPIED_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")  # every reader knows them
_IMAGE_SUFFIXES = (*_COPIED_SUFFIXES, ".webp", ".heic", ".heif", ".avif", ".gif", ".ppm", ".pgm", ".jp2")
_EXIF_ORIENTATION = 274


@dataclass(frozen=True)
class ExportImage:
    """One picture to be written, with its camera."""

    index: int  # of the view in the scene
    view: SceneView
    file_name: str  # unique, plain ASCII without spaces
    camera: Camera  # of the picture, pixel centres at integers
    picture_from_model: Float64[np.ndarray, "3 3"]  # pixel map
    photo: Path | None  # file to take it from; None = the picture at model size
    copied: bool  # same bytes as the photo

    def write(self, path: Path) -> None:
        """Write the picture, upright."""
        if self.photo is None:
            from PIL import Image

            Image.fromarray(self.view.image).save(path)
        elif self.copied:
            shutil.copyfile(self.photo, path)
        else:
            _write_upright(self.photo, self.view.transform.orientation, path)


def export_images(scene: Scene) -> list[ExportImage]:
    """Pictures and cameras of all views whose pose is known, in input order, with names that cannot collide."""
    images = []
    for index, (view, stem) in enumerate(zip(scene.views, export_stems(scene), strict=True)):
        if view.pose_status == "failed":
            continue
        photo, copied, suffix = _photo_of(view)
        if photo is None:
            camera, picture_from_model = view.model_camera, np.eye(3)
        else:
            camera, picture_from_model = view.camera, view.transform.original_from_model
        images.append(ExportImage(index, view, stem + suffix, camera, picture_from_model, photo, copied))
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


def _photo_of(view: SceneView) -> tuple[Path | None, bool, str]:
    """(photo file, may it be copied as it is, suffix of the copy); no file where it is not the one we were given."""
    from PIL import Image

    nothing = (None, False, ".png")
    if view.source is None or not Path(view.source).is_file():
        return nothing
    photo = Path(view.source)
    suffix = photo.suffix.lower()
    if suffix in (".heic", ".heif"):
        _register_heif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # only the header is read
            with Image.open(photo) as picture:
                size, tag = (picture.height, picture.width), picture.getexif().get(_EXIF_ORIENTATION, 1)
                kind = picture.format
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return nothing
    if size != tuple(view.transform.stored_size):
        return nothing
    if view.transform.orientation == 1 and tag in (0, 1) and suffix in _COPIED_SUFFIXES:
        return photo, True, suffix
    return photo, False, ".jpg" if kind in ("JPEG", "MPO", "HEIF", "WEBP", "AVIF") else ".png"


def _register_heif() -> None:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return  # the picture at model size is used instead
    register_heif_opener()


def _write_upright(photo: Path, orientation: int, path: Path) -> None:
    """Decode, turn, and encode without the orientation tag."""
    from PIL import Image

    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    with Image.open(photo) as stored:
        profile = stored.info.get("icc_profile")
        picture = stored.transpose(turn[orientation]) if orientation in turn else stored.copy()
    if path.suffix == ".jpg":
        if picture.mode not in ("RGB", "L"):
            picture, profile = picture.convert("RGB"), profile if picture.mode != "CMYK" else None
        picture.save(path, quality=95, subsampling=0, icc_profile=profile, exif=b"")
    else:
        if picture.mode == "CMYK":
            picture, profile = picture.convert("RGB"), None
        picture.save(path, icc_profile=profile, exif=b"")
