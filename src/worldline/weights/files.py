"""Folders and files of the weights room: where they live, their digests, and replacing them without half-states."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from worldline.errors import WeightsError
from worldline.files import reporting

HOME_VARIABLE = "WORLDLINE_HOME"


def home() -> Path:
    """The user's folder of pins and converted weights: ``$WORLDLINE_HOME``, else ``~/.cache/worldline``."""
    chosen = os.environ.get(HOME_VARIABLE)
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "worldline"


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's content; remembered within the process while size and times stay the same."""
    path = path.resolve()
    state = path.stat()
    return _sha256(path, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)


@lru_cache(maxsize=64)
def _sha256(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def combined_sha256(digests: dict[str, str]) -> str:
    """One digest for a set of files: that of the only file, else of the lines ``digest  name`` sorted by name."""
    if len(digests) == 1:
        return next(iter(digests.values()))
    lines = "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises WeightsError if it is missing, unreadable or something else."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise WeightsError(f"{path} is missing.", "Give a folder written by `worldline models convert`.") from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.", "Check the permissions of the file.") from error
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"{path} is damaged: it is not JSON.", "Get or convert the model again.") from error
    if not isinstance(values, dict):
        raise WeightsError(f"{path} is damaged: it holds no JSON object.", "Get or convert the model again.")
    return values


@contextmanager
def replacing_folder(directory: Path) -> Iterator[Path]:
    """Yield a fresh folder beside ``directory`` that takes its place if the block succeeds, else is removed.

    Files of the earlier folder that are no part of a model (a README, a licence) are carried over.
    """
    directory, token = directory.resolve(), uuid.uuid4().hex[:8]
    fresh, former = (directory.with_name(f".{directory.name}-{kind}-{token}") for kind in ("new", "old"))
    try:
        with reporting(directory):
            fresh.mkdir(parents=True)
            yield fresh
            if directory.exists():
                directory.rename(former)
            try:
                fresh.rename(directory)
            except OSError:
                if former.exists():
                    former.rename(directory)
                raise
            if former.exists():
                _carry_over(former, directory)
                shutil.rmtree(former, ignore_errors=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _carry_over(former: Path, directory: Path) -> None:
    for entry in former.iterdir():
        if not entry.name.startswith("model") and not (directory / entry.name).exists():
            entry.rename(directory / entry.name)
