"""Files of public data sets, read so that a bad one is named in one sentence."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8, UInt16
from PIL import Image

from worldline.errors import InputError

REMEDY = "Download the sequence again, or move its folder away."
_CHUNK = 1 << 20  # bytes that are read at once where an archive is skipped through


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn whatever goes wrong while ``path`` is read into an :class:`InputError` about it."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing.", REMEDY) from error
    except (OSError, ValueError, KeyError, TypeError, IndexError, SyntaxError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read ({error or type(error).__name__}).", REMEDY) from error


def read_color(path: Path) -> UInt8[np.ndarray, "height width 3"]:
    """An image without its transparency."""
    with naming(path), Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def read_gray16(path: Path) -> UInt16[np.ndarray, "height width"]:
    """A PNG with 16 bits per pixel. One of 8 bits is refused: somebody has converted it, and the depth is gone."""
    with naming(path), Image.open(path) as image:
        values = np.asarray(image)
        if values.ndim != 2 or image.mode not in ("I;16", "I;16B", "I"):
            raise ValueError(f"pixels are {image.mode}, not 16-bit gray")
        return values.astype(np.uint16)


def read_labels(path: Path) -> Int[np.ndarray, "height width"]:
    """A label map. Of an image with a palette the labels are the indices, not the colours."""
    with naming(path), Image.open(path) as image:
        values = np.asarray(image)
        if values.ndim != 2:
            raise ValueError(f"pixels are {image.mode}, not labels")
        return values.astype(np.int32)


def read_floats(path: Path) -> Float[np.ndarray, "height width"]:
    """A map of floats: a NumPy file or a TIFF."""
    with naming(path):
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
        else:
            with Image.open(path) as image:
                values = np.asarray(image)
        if values.ndim != 2 or values.dtype.kind != "f":
            raise ValueError(f"it holds {values.dtype} of shape {values.shape}, not a map of floats")
        return values.astype(np.float32)


def read_numbers(path: Path, columns: int | None = None) -> Float[np.ndarray, "row column"]:
    """A text file of numbers, equally many in every line."""
    with naming(path):
        values = np.loadtxt(path, dtype=np.float64, ndmin=2)
        if columns is not None and values.shape[1] != columns:
            raise ValueError(f"lines have {values.shape[1]} numbers, not {columns}")
        return values


def read_table(path: Path, columns: Sequence[str]) -> dict[str, Float[np.ndarray, "row"]]:
    """Some columns of a text table whose first line names them; true and false become 1 and 0."""
    with naming(path):
        header, *lines = path.read_text(encoding="utf-8").splitlines()
        names, rows = header.split(), [line.split() for line in lines if line.strip()]
        truth = {"True": "1", "False": "0"}
        places = {name: names.index(name) for name in columns}
        return {name: np.array([float(truth.get(row[at], row[at])) for row in rows]) for name, at in places.items()}


def read_json(path: Path) -> Any:
    """A JSON document."""
    with naming(path):
        return json.loads(path.read_text(encoding="utf-8"))


def npz_names(path: Path) -> set[str]:
    """Names of the arrays of a NumPy archive."""
    with naming(path), zipfile.ZipFile(path) as archive:
        return {name.removesuffix(".npy") for name in archive.namelist()}


def npz_rows(path: Path, name: str, rows: Sequence[int]) -> Shaped[np.ndarray, "row ..."]:
    """Some rows of an array in a NumPy archive, in constant memory: the rest is skipped, never held.

    Args:
        rows: in any order; the answer has the same.
    """
    with naming(path), zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(file)
        if dtype.hasobject or fortran or not shape:
            raise ValueError(f"{name} is not a plain array of rows")
        if min(rows) < 0 or max(rows) >= shape[0]:
            raise ValueError(f"{name} has {shape[0]} rows, frame {max(rows)} was asked for")
        length, at, parts = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize, 0, {}
        for row in sorted(set(rows)):
            _skip(file, (row - at) * length)
            parts[row] = np.frombuffer(_exactly(file, length), dtype).reshape(shape[1:])
            at = row + 1
        return np.stack([parts[row] for row in rows])


def _skip(file: Any, count: int) -> None:
    while count > 0:
        count -= len(_exactly(file, min(count, _CHUNK)))


def _exactly(file: Any, count: int) -> bytes:
    data: bytes = file.read(count)
    if len(data) != count:
        raise EOFError("it ends too early")
    return data


class Files(dict[int, Path]):
    """Files of a folder by the number in their names. One that is asked for and missing is an :class:`InputError`."""

    def __init__(self, folder: Path, files: dict[int, Path]) -> None:
        super().__init__(files)
        self.folder = folder

    def __missing__(self, number: int) -> Path:
        raise InputError(f"{self.folder} has no file of frame {number} any more.", REMEDY)


@lru_cache(maxsize=64)  # a data set may have a million files: videos remember numbers, and list their folder to read
def numbered(folder: Path, *patterns: str) -> Files:
    """Files of a folder by the last whole number in their names, in rising order; of the first pattern that has any."""
    for pattern in patterns:
        found: dict[int, Path] = {}
        for path in folder.glob(pattern):
            digits = "".join(c if c.isdigit() else " " for c in path.stem).split()
            if digits:
                found[int(digits[-1])] = path
        if found:
            return Files(folder, dict(sorted(found.items())))
    return Files(folder, {})


def folders_with(root: Path, *markers: str, depth: int = 3) -> list[Path]:
    """Folders that hold one of some files or folders: ``root`` itself or at most ``depth`` levels below it, in order.

    Raises:
        InputError: no such folder, or none in it.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder.", "Name the folder into which the data set was unpacked.")
    levels = ["*/" * level for level in range(depth + 1)]
    found = {path.parent for level in levels for marker in markers for path in root.glob(level + marker)}
    if not found:
        raise InputError(
            f"{root} has no {' or '.join(markers)} in itself or {depth} levels below.",
            "Name the folder into which the data set was unpacked; docs/video_data.md shows what it must look like.",
        )
    return sorted(found)
