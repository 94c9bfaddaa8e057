"""What a user may hand over as photos -> a flat list of entries, each of which can be decoded on its own.

A source is a folder, a glob, a zip, one file, a list of files, arrays or PIL images, or one array. Nothing is decoded
here, so a thousand photos cost a thousand names.
"""

from __future__ import annotations

import glob
import re
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar

import numpy as np
from PIL import Image

from worldline.errors import InputError
from worldline.inputs.arrays import image_from_array, split_array
from worldline.inputs.zips import ZipMember, list_zip

# fmt: off
IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".heic", ".heif", ".hif", ".avif", ".webp",
    ".tif", ".tiff", ".bmp", ".gif", ".jp2", ".pgm", ".ppm", ".pnm", ".tga",
})
VIDEO_SUFFIXES = frozenset({
    ".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp", ".ts", ".mts", ".m2ts",
    ".ogv",
})
RAW_SUFFIXES = frozenset({".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".srw", ".pef"})
# fmt: on
_File = TypeVar("_File", Path, ZipMember)


@dataclass(frozen=True)
class Entry:
    """One photo that was found but not decoded."""

    label: str  # how messages call it
    name: str  # base name, not yet unique
    item: Path | ZipMember | Image.Image | np.ndarray
    source: Path | None  # file on disk; "photos.zip/inner/a.jpg" inside a zip; None for arrays

    def open(self) -> Path | BinaryIO | Image.Image:
        """What the decoder takes."""
        if isinstance(self.item, ZipMember):
            return self.item.open()
        return image_from_array(self.item) if isinstance(self.item, np.ndarray) else self.item


@dataclass(frozen=True)
class Found:
    """All entries of a source in input order, or the path of a video."""

    entries: tuple[Entry, ...] = ()
    video: Path | None = None
    notes: tuple[str, ...] = ()


def find_source(source: Any) -> Found:
    """Recognise a source and list its photos, in natural sort order where the source has no order of its own.

    Raises:
        InputError: nothing is there, or it is nothing that can hold photos.
    """
    if isinstance(source, str):
        return _from_text(source)
    if isinstance(source, Path):
        return _from_path(source.expanduser())
    if isinstance(source, Image.Image):
        return Found((_image_entry(0, source),))
    if hasattr(source, "detach") and hasattr(source, "cpu"):  # a torch tensor, without importing torch
        source = source.detach().cpu().numpy()
    if isinstance(source, np.ndarray):
        return Found(tuple(_array_entry(index, image) for index, image in enumerate(split_array(source))))
    if isinstance(source, Iterable):
        return _from_items(list(source))
    raise InputError(
        f"A {type(source).__name__} is no source of photos.",
        "Give a folder, files, a glob, a zip, a video or an array [V, H, W, 3].",
    )


def natural_key(text: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    """Sort key by which IMG_2 comes before IMG_10, upper and lower case together."""
    parts = re.split(r"(\d+)", text.casefold())
    return tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part), text


def _from_text(text: str) -> Found:
    if re.match(r"^(https?|ftp)://", text):
        raise InputError(f"{text} is a web address.", "Download it first and give the file or folder.")
    path = Path(text).expanduser()
    if path.exists() or not glob.has_magic(text):
        return _from_path(path)
    matches = sorted(glob.glob(str(path), recursive=True), key=natural_key)  # noqa: PTH207 (absolute patterns too)
    files = [Path(match) for match in matches if Path(match).is_file()]
    if len(files) == 1 and files[0].suffix.lower() in VIDEO_SUFFIXES:
        return Found(video=files[0])
    photos, notes = _only_photos(files)
    if not photos:
        raise InputError(
            f"No photo matches {text}.", "Check the pattern, and quote it so that the shell leaves it alone."
        )
    return Found(tuple(_file_entry(file) for file in photos), notes=notes)


def _from_path(path: Path) -> Found:
    if not path.exists():
        raise InputError(f"{path} does not exist.", "Check the spelling, or give an absolute path.")
    if path.is_dir():
        return _from_folder(path)
    if path.suffix.lower() in VIDEO_SUFFIXES:
        return Found(video=path)
    if path.suffix.lower() == ".zip" or (path.suffix.lower() not in IMAGE_SUFFIXES and zipfile.is_zipfile(path)):
        return _from_zip(path)
    return Found((_file_entry(path, label=str(path)),))


def _from_folder(folder: Path) -> Found:
    try:
        inside = sorted(folder.iterdir(), key=lambda path: natural_key(path.name))
    except OSError as error:
        raise InputError(f"The folder {folder} cannot be read: {error.strerror}.", "Check its permissions.") from error
    files = [path for path in inside if path.is_file() or not path.is_dir()]  # broken links are files that fail
    photos, notes = _only_photos(files)
    if photos:
        return Found(tuple(_file_entry(file, label=file.name) for file in photos), notes=notes)
    raise _no_photos(folder, inside)


def _no_photos(folder: Path, inside: Sequence[Path]) -> InputError:
    if not inside:
        return InputError(f"The folder {folder} is empty.", "Put photos into it, or give another folder.")
    videos = [path.name for path in inside if path.suffix.lower() in VIDEO_SUFFIXES]
    deeper = [path for path in inside if path.is_dir() and _holds_photos(path)]
    raw = [path.name for path in inside if path.suffix.lower() in RAW_SUFFIXES]
    remedy = f"Photos are files named {', '.join(sorted(IMAGE_SUFFIXES)[:4])}, .jpg, .png and the like."
    if videos:
        remedy = f"Give the video file itself: {folder / videos[0]}."
    elif deeper:
        remedy = f"Give the folder inside it that holds them: {', '.join(str(path) for path in deeper[:3])}."
    elif raw:
        remedy = f"Convert camera raw files such as {raw[0]} to JPEG or PNG first."
    return InputError(f"There are no photos in the folder {folder}.", remedy)


def _holds_photos(folder: Path) -> bool:
    try:
        return any(path.suffix.lower() in IMAGE_SUFFIXES for path in folder.iterdir())
    except OSError:
        return False


def _from_zip(path: Path) -> Found:
    members = sorted(list_zip(path), key=lambda member: natural_key(member.name))
    shown = [member for member in members if "__MACOSX" not in PurePosixPath(member.name).parts]
    photos, notes = _only_photos(shown)
    if not photos:
        raise InputError(f"There are no photos in the zip file {path}.", "Zip the photos themselves, then try again.")
    return Found(
        tuple(
            Entry(member.name, re.split(r"[\\/]", member.name)[-1], member, path / member.safe_name)
            for member in photos
        ),
        notes=notes,
    )


def _from_items(items: list[Any]) -> Found:
    if not items:
        raise InputError("The list of photos is empty.", "Give at least two photos.")
    if len(items) == 1 and isinstance(items[0], str | Path):
        return find_source(items[0])
    return Found(tuple(_item_entry(index, item) for index, item in enumerate(items)))


def _item_entry(index: int, item: Any) -> Entry:
    if isinstance(item, str | Path):
        path = Path(item).expanduser()
        return _file_entry(path, label=str(path))
    if isinstance(item, Image.Image):
        return _image_entry(index, item)
    if hasattr(item, "detach") and hasattr(item, "cpu"):
        item = item.detach().cpu().numpy()
    if isinstance(item, np.ndarray):
        return _array_entry(index, item)
    raise InputError(
        f"Item {index} of the list is a {type(item).__name__}, not a photo.",
        "Give files, arrays [H, W, 3] or PIL images.",
    )


def _file_entry(path: Path, label: str | None = None) -> Entry:
    return Entry(label or str(path), path.name, path, path)


def _image_entry(index: int, image: Image.Image) -> Entry:
    filename = str(getattr(image, "filename", "") or "")
    name = Path(filename).name or f"image_{index:06d}"
    return Entry(name, name, image, Path(filename) if filename else None)


def _array_entry(index: int, array: np.ndarray) -> Entry:
    return Entry(f"image_{index:06d}", f"image_{index:06d}", array, None)


def _only_photos(files: Sequence[_File]) -> tuple[list[_File], tuple[str, ...]]:
    """Those that are named like photos and not hidden; a note names the others."""

    def is_photo(file: _File) -> bool:
        name = PurePosixPath(file.name).name
        return not name.startswith(".") and PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES

    photos = [file for file in files if is_photo(file)]
    ignored = [PurePosixPath(file.name).name for file in files if not is_photo(file)]
    if not ignored:
        return photos, ()
    shown = ", ".join(ignored[:5]) + (", ..." if len(ignored) > 5 else "")
    what = "file that is no photo was" if len(ignored) == 1 else "files that are no photos were"
    return photos, (f"{len(ignored)} {what} ignored: {shown}.",)
