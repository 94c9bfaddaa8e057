"""What a scene folder holds: which files are ours, which names are free, thumbnails."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from worldline.errors import OutputError
from worldline.files import make_folder, replacing_file
from worldline.scene.storage.arrays import FORMAT

DOCUMENT = "scene.json"
ARRAYS = "arrays.safetensors"
_THUMBNAILS = "thumbnails"
_THUMBNAIL_SIZE = 256  # pixels, longer side


def check_replaceable(directory: Path) -> None:
    """Find out before the work whether a scene can be saved to ``directory`` without replacing a file of the user's.

    Raises:
        OutputError: its scene.json is not one of ours.
    """
    earlier_files(directory)


def earlier_files(directory: Path) -> frozenset[str]:
    """The files, besides scene.json, of a scene that we saved here before.

    Raises:
        OutputError: its scene.json is not one of ours.
    """
    path = directory / DOCUMENT
    if not path.exists():
        return frozenset()
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        ours = document["format"] == FORMAT
        arrays = document["arrays"]
        names = [arrays] if isinstance(arrays, str) else [each["file"] for each in arrays]
        names += [view["thumbnail"] for view in document["views"]]
    except (ValueError, KeyError, TypeError):
        ours, names = False, []
    if not ours:
        raise OutputError(f"{path} exists and was not written by worldline.", "Choose another folder or move the file.")
    texts = [name for name in names if isinstance(name, str)]  # a view may have no thumbnail
    return frozenset(name for name in texts if is_plain_name(name.removeprefix(f"{_THUMBNAILS}/")))


def remove_files(directory: Path, names: Iterable[str]) -> None:
    """Remove files that no scene refers to any more."""
    for name in names:
        # a system may refuse it while somebody has the file open; a file too many does no harm
        with contextlib.suppress(PermissionError):
            (directory / name).unlink(missing_ok=True)


def free_name(directory: Path) -> str:
    """A name for the array file of a whole scene that does not exist yet."""
    names = itertools.chain([ARRAYS], (f"arrays-{number}.safetensors" for number in itertools.count(1)))
    return next(name for name in names if not (directory / name).exists())


def free_shard_name(directory: Path, number: int) -> tuple[str, int]:
    """A name that does not exist yet for the array file of a part of a stream, and its number, at least ``number``."""
    numbers = itertools.count(number)
    return next(
        (name, each) for each in numbers if not (directory / (name := f"arrays-{each:05d}.safetensors")).exists()
    )


def is_plain_name(name: str) -> bool:
    """Whether a name read from a file names something directly in the folder, and nothing else."""
    return bool(re.fullmatch(r"[\w\-][\w\-.]*", name))


def write_thumbnail(
    image: UInt8[np.ndarray, "height width 3"], name: str, index: int, directory: Path, replaceable: frozenset[str]
) -> str:
    """Write the small picture of view ``index``; returns its name within ``directory``.

    A file that exists is only written over if it is one of ``replaceable``.
    """
    from PIL import Image

    stem = f"{index:04d}_" + (re.sub(r"[^A-Za-z0-9._-]+", "_", Path(name).stem)[:60] or "view")
    relative = f"{_THUMBNAILS}/{stem}.jpg"
    while relative not in replaceable and (directory / relative).exists():  # somebody else's picture
        stem += "_"
        relative = f"{_THUMBNAILS}/{stem}.jpg"
    make_folder(directory / _THUMBNAILS)
    picture = Image.fromarray(image)
    picture.thumbnail((_THUMBNAIL_SIZE, _THUMBNAIL_SIZE))
    with replacing_file(directory / relative) as temporary:
        picture.save(temporary, quality=85)
    return relative
