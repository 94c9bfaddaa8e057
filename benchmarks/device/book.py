"""What was measured, on disk after every row; what failed, and why; what there was no time for."""

from __future__ import annotations

import json
import math
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldline.errors import InputError
from worldline.files import make_folder, replacing_file, write_json

from .bench import Row, Values

MEASURED, FAILED, BEGUN = "measured", "failed", "begun"


@dataclass
class Book:
    """The file OUT/cuda.json."""

    folder: Path
    contents: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Book:
        """What an earlier call left there, or a new one.

        Raises:
            InputError: the file is not ours.
        """
        make_folder(folder)
        path = folder / "cuda.json"
        contents: dict[str, Any] = {"sections": {}}
        if path.exists():
            try:
                contents = json.loads(path.read_text(encoding="utf-8"))
                contents["sections"].values()
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise InputError(f"{path} was not written by this program.", "Choose another folder.") from error
        book = cls(folder, contents)
        for rows in contents["sections"].values():
            for row in rows.values():
                if row["state"] == BEGUN:  # the process was ended in the middle of it
                    row |= {"state": FAILED, "reason": "interrupted: the process ended while it was being measured"}
        return book

    def rows(self, section: str) -> dict[str, Values]:
        """Of a section, by key."""
        rows: dict[str, Values] = self.contents["sections"].setdefault(section, {})
        return rows

    def forget(self, section: str) -> None:
        """Measure a section anew."""
        self.contents["sections"].pop(section, None)

    def missing(self, section: str, rows: Sequence[Row]) -> list[Row]:
        """Rows that are not there yet, not even as failures."""
        return [row for row in rows if row.key not in self.rows(section)]

    def begin(self, section: str, key: str) -> None:
        """A row that ends the process shall not do so again in the next call."""
        self._put(section, key, {"state": BEGUN})

    def measured(self, section: str, key: str, values: Mapping[str, Any], seconds: float) -> None:
        """A row is there."""
        plain = {name: _plain(value) for name, value in values.items()}
        self._put(section, key, {"state": MEASURED, "took s": round(seconds, 2), **plain})

    def failed(self, section: str, key: str, error: BaseException, seconds: float) -> None:
        """A row cannot be had, for this reason."""
        lines = "".join(traceback.format_exception(error)).splitlines()
        reason = f"{type(error).__name__}: {error}".strip()
        self._put(
            section, key, {"state": FAILED, "took s": round(seconds, 2), "reason": reason[:2000], "trace": lines[-30:]}
        )

    def note(self, **values: Any) -> None:
        """Facts about the call as a whole."""
        self.contents |= values
        self.write()

    def _put(self, section: str, key: str, values: Values) -> None:
        self.rows(section)[key] = values
        self.write()

    def write(self) -> None:
        """Whole or not at all."""
        write_json(self.folder / "cuda.json", self.contents)

    def write_text(self, text: str) -> None:
        """The tables."""
        with replacing_file(self.folder / "cuda.md") as path:
            path.write_text(text, encoding="utf-8")


def _plain(value: Any) -> Any:
    """JSON knows no infinities."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


class Deadline:
    """Seconds that may still be used."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """0 or less: none."""
        return self._end - time.monotonic()
