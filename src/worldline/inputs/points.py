"""Points of a video that a user names in a CSV file: x, y and, if not the first frame, the frame."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from worldline.errors import InputError

_NAMES = {"x": 0, "y": 1, "frame": 2, "t": 2}
_REMEDY = (
    "Give a line x,y,frame per point, in pixels of the video; without a frame it is the first. A header may name them."
)


def read_points(path: Path) -> Float64[np.ndarray, "n 3"]:
    """Rows (x, y, frame), pixel centres at integers, frames counted from 0.

    Raises:
        InputError: no file, no points, or a line that is none; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The points {path} cannot be read: {_reason(error)}.", _REMEDY) from error
    rows = [(number, row) for number, row in enumerate(_split(lines), 1) if any(cell.strip() for cell in row)]
    columns = [0, 1, 2]
    if rows and not _is_number(rows[0][1][0]):
        columns = _header(path, rows.pop(0)[1])
    if not rows:
        raise InputError(f"{path} holds no points.", _REMEDY)
    points = np.zeros((len(rows), 3))
    for index, (number, row) in enumerate(rows):
        cells = [cell for cell in (each.strip() for each in row) if cell]
        if len(cells) not in (2, 3) or len(cells) > len(columns) or not all(_is_number(cell) for cell in cells):
            raise InputError(f"Line {number} of {path} is no point: {','.join(row)[:60]!r}.", _REMEDY)
        for column, cell in zip(columns, cells, strict=False):
            points[index, column] = float(cell)
    return points


def _split(lines: list[str]) -> list[list[str]]:
    """Cells, separated by commas, semicolons or tabs, whichever the first line has."""
    first = lines[0] if lines else ""
    separator = next((sign for sign in (",", ";", "\t") if sign in first), ",")
    return [row if row else [""] for row in csv.reader(lines, delimiter=separator)]


def _header(path: Path, row: list[str]) -> list[int]:
    names = [cell.strip().lower() for cell in row if cell.strip()]
    if any(name not in _NAMES for name in names) or not {0, 1} <= {_NAMES[name] for name in names}:
        raise InputError(f"The columns of {path} are {', '.join(names)}.", _REMEDY)
    return [_NAMES[name] for name in names]


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _reason(error: Exception) -> str:
    return "it is no text" if isinstance(error, UnicodeDecodeError) else str(getattr(error, "strerror", error))
