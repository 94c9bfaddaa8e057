"""One image file of any kind -> upright 8-bit RGB pixels at model size, and the transform that leads back to the file.

Everything that differs between files ends here: EXIF orientation, 16 bits, palettes, CMYK, transparency, HEIC, and
photos so large that a JPEG is decoded at a fraction of its size. At most one full-size image is in memory.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8, UInt16
from PIL import ExifTags, Image, UnidentifiedImageError

from worldline.errors import InputError
from worldline.inputs.fit import apply_fit, plan_fit, upright_extent
from worldline.types import ImageTransform

MAX_PIXELS = 200_000_000  # the largest camera sensors in phones have 200 million
_DRAFT_PIXELS = 40_000_000  # larger JPEG files are decoded at 1/2, 1/4 or 1/8 of their size
_HEIC_EXTRA = "heic"
_HEIC_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")

# What Pillow's readers are known to raise on damaged files, besides UnidentifiedImageError (an OSError).
_DECODE_ERRORS = (
    OSError, SyntaxError, ValueError, TypeError, EOFError, KeyError, IndexError,
    AttributeError, OverflowError, ArithmeticError, struct.error, zlib.error,
)  # fmt: skip
# JPEG may be drafted before it is loaded; loading a TIFF applies its orientation and drops the tag
_READ_TAGS_FIRST = ("JPEG", "MPO", "TIFF")
_limit_lock = threading.RLock()


class BadImageError(Exception):
    """One image cannot be used; ``reason`` completes the sentence "this file ..."."""

    def __init__(self, reason: str, extra: str | None = None) -> None:
        self.reason = reason
        self.extra = extra  # the optional dependency that would read it
        super().__init__(reason)


def read_fitted(
    file: Path | BinaryIO | Image.Image, size: int, fit: str, max_pixels: int = MAX_PIXELS
) -> tuple[UInt8[np.ndarray, "height width 3"], ImageTransform]:
    """Decode one image and fit it to the model.

    Raises:
        BadImageError: it cannot be decoded, or has more than ``max_pixels`` pixels.
    """
    with _opened(file, max_pixels) as image:
        orientation = _orientation(image)
        stored = _stored_size(image, orientation)
        try:
            transform = plan_fit(stored, orientation, size, fit)
        except InputError as error:
            raise BadImageError(
                f"is too long and narrow for a crop at size {size} (--fit pad keeps it whole)"
            ) from error
        # an image object belongs to the caller, and drafting would change it
        extent = None if image is file else _draft(image, transform)
        upright = _upright_rgb(image, orientation)
        return apply_fit(upright, transform, extent), transform


def read_upright(
    file: Path | BinaryIO | Image.Image, max_pixels: int = MAX_PIXELS
) -> UInt8[np.ndarray, "height width 3"]:
    """The photo as shown, at full size.

    Raises:
        BadImageError: as :func:`read_fitted`.
    """
    with _opened(file, max_pixels) as image:
        return np.array(_upright_rgb(image, _orientation(image)))


def turned_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Stored pixels -> the photo as shown, for EXIF orientations 1..8."""
    if orientation == 1:
        return image
    method = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }[orientation]
    return image.transpose(method)


@contextmanager
def _opened(file: Path | BinaryIO | Image.Image, max_pixels: int) -> Iterator[Image.Image]:
    """Open an image with our pixel limit instead of Pillow's, and turn what readers raise into a reason."""
    _register_heif(file)
    with _limit_lock:
        pillow_limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = file if isinstance(file, Image.Image) else Image.open(file)
            width, height = image.size
            if width * height > max_pixels:
                raise BadImageError(
                    f"has {width}x{height} = {width * height / 1e6:.0f} million pixels, more than the limit of "
                    f"{max_pixels / 1e6:.0f} million (shrink it, or raise max_pixels)"
                )
            try:
                yield image
            finally:
                if image is not file:
                    image.close()
        except UnidentifiedImageError as error:
            raise _explained(file) from error
        except _DECODE_ERRORS as error:
            raise _damage(file, error) from error
        finally:
            Image.MAX_IMAGE_PIXELS = pillow_limit


def _orientation(image: Image.Image) -> int:
    if image.format not in _READ_TAGS_FIRST:
        image.load()  # PNG tags may follow the pixels; asking for them would load, and hide that the pixels are damaged
    try:
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DECODE_ERRORS:
        return 1  # damaged metadata does not make a photo unreadable
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def _turns_by_itself(image: Image.Image) -> bool:
    """Pillow's TIFF reader applies the orientation while loading; newer ones announce the upright size before."""
    return image.format == "TIFF" and hasattr(image, "tag_v2")


def _stored_size(image: Image.Image, orientation: int) -> tuple[int, int]:
    if _turns_by_itself(image):
        image.load()
        return image.size if orientation > 4 else image.size[::-1]
    return image.size[::-1]


def _draft(image: Image.Image, transform: ImageTransform) -> tuple[float, float, float, float] | None:
    """Let a huge JPEG be decoded at a fraction of its size, still twice what is needed; the box of the photo in it."""
    height, width = transform.stored_size
    if height * width <= _DRAFT_PIXELS or not hasattr(image, "draft"):
        return None
    turned = transform.original_size != transform.stored_size
    needed_height, needed_width = transform.resized_size[::-1] if turned else transform.resized_size
    drafted = image.draft(image.mode, (2 * needed_width, 2 * needed_height))
    if drafted is None:
        return None
    # a size that is no multiple of the fraction is rounded up: the photo ends within the last pixel
    return upright_extent(drafted[1], (image.size[1], image.size[0]), transform.orientation)


def _upright_rgb(image: Image.Image, orientation: int) -> Image.Image:
    turned_by_pillow = _turns_by_itself(image)
    image.load()
    rgb = _as_rgb(image)
    return rgb if turned_by_pillow else turned_upright(rgb, orientation)


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    if image.mode == "I":
        return _from_integers(image)
    if image.mode == "F":
        return _from_floats(image)
    if image.has_transparency_data:
        layered = image.convert("RGBA")
        paper = Image.new("RGB", image.size, "white")
        paper.paste(layered, mask=layered.getchannel("A"))
        return paper
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(pixels: UInt16[np.ndarray, "*n"]) -> UInt8[np.ndarray, "*n"]:
    return ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _from_integers(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image)
    if pixels.min() < 0 or pixels.max() > 65535:
        raise BadImageError("has 32-bit pixels that are no colours (save it with 8 or 16 bits)")
    return Image.fromarray(_eight_bits(pixels.astype(np.uint16))).convert("RGB")


def _from_floats(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image)
    if not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() > 1:
        raise BadImageError("has floating-point pixels outside 0 to 1 (save it with 8 or 16 bits)")
    return Image.fromarray((pixels * 255 + 0.5).astype(np.uint8)).convert("RGB")


def _head(file: Path | BinaryIO | Image.Image, length: int = 512) -> bytes:
    if isinstance(file, Image.Image):
        return b""
    if isinstance(file, Path):
        with file.open("rb") as stream:
            return stream.read(length)
    file.seek(0)
    head = file.read(length)
    file.seek(0)
    return head


def _is_heic(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS


def _register_heif(file: Path | BinaryIO | Image.Image) -> None:
    try:
        if not _is_heic(_head(file, 16)):
            return
    except OSError:
        return  # opening it properly gives the reason
    try:
        import pillow_heif
    except ImportError:
        return
    pillow_heif.register_heif_opener()


def _explained(file: Path | BinaryIO | Image.Image) -> BadImageError:
    """Say what a file that no image reader knows really is."""
    head = _head(file)
    if not head:
        return BadImageError("is empty")
    if _is_heic(head):
        return _heic_reason()
    if head[:4] == b"PK\x03\x04":
        return BadImageError("is a zip archive, not a photo")
    if head[:4] == b"%PDF":
        return BadImageError("is a PDF document, not a photo")
    start = head.lstrip().lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return BadImageError("is a web page, not a photo")
    if b"\0" not in head and _is_text(head):
        return BadImageError("is a text file, not a photo")
    return BadImageError("is damaged, or no image format that can be read")


def _heic_reason() -> BadImageError:
    try:
        import pillow_heif  # noqa: F401
    except ImportError:
        return BadImageError("is a HEIC photo, which needs pip install 'worldline[heic]'", _HEIC_EXTRA)
    return BadImageError("is a damaged HEIC photo")


def _is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4  # only the last character was cut
    return True


def _damage(file: Path | BinaryIO | Image.Image, error: Exception) -> BadImageError:
    if isinstance(error, FileNotFoundError):
        return BadImageError("does not exist")
    if isinstance(error, PermissionError):
        return BadImageError("may not be read (no permission)")
    if isinstance(error, IsADirectoryError):
        return BadImageError("is a folder")
    if "truncated" in str(error).lower() or isinstance(error, EOFError):
        return BadImageError("is truncated: the end of the file is missing")
    return BadImageError(f"is damaged ({error})")
