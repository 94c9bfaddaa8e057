"""The focal length that a camera wrote into its photo, as a hint; nothing uses it unless asked to."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

_FILM_DIAGONAL = math.hypot(36.0, 24.0)  # millimetres; "35 mm equivalent" compares diagonals (CIPA DCG-001)
_MILLIMETRES = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # EXIF resolution unit -> millimetres
_CROPPED = 0.02  # aspect ratios that differ by more mean that the photo was cropped after it was taken


def focal_from_exif(path: Path | str) -> float | None:
    """Focal length in original pixels (square pixels assumed), or None where the file does not tell.

    The 35 mm equivalent is relative to the diagonal: ``focal = equivalent * diagonal / 43.27``. Else the focal length
    in millimetres and the sensor's pixels per unit are used, scaled when the photo was resized after it was taken.
    A photo that was cropped since (another aspect ratio than EXIF says) gives None: its focal length is unknown.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            tags = dict(image.getexif().get_ifd(ExifTags.IFD.Exif))
    except (OSError, ValueError, SyntaxError, KeyError, Image.DecompressionBombError):
        return None
    taken_width = _number(tags.get(ExifTags.Base.ExifImageWidth))
    taken_height = _number(tags.get(ExifTags.Base.ExifImageHeight))
    scale = 1.0
    if taken_width and taken_height:
        # sizes are compared long side to long side: some programs turn the pixels and forget these tags
        taken, now = sorted((taken_width, taken_height)), sorted((width, height))
        scale = now[1] / taken[1]
        if abs(now[0] / taken[0] / scale - 1) > _CROPPED:
            return None
    equivalent = _number(tags.get(ExifTags.Base.FocalLengthIn35mmFilm))
    if equivalent:
        return equivalent * math.hypot(width, height) / _FILM_DIAGONAL
    focal = _number(tags.get(ExifTags.Base.FocalLength))
    per_unit = _number(tags.get(ExifTags.Base.FocalPlaneXResolution))
    unit = _MILLIMETRES.get(int(_number(tags.get(ExifTags.Base.FocalPlaneResolutionUnit)) or 2))
    if focal and per_unit and unit:
        return focal * per_unit / unit * scale
    return None


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) and number > 0 else None
