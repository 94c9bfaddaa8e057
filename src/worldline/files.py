"""Writing files so that a failure leaves what was there before: temporary sibling first, then one rename."""

from __future__ import annotations

import errno
import json
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worldline.errors import OutputError, WorldlineError

_CAUSES = {
    errno.ENOSPC: ("the disk is full", "Free some space or choose a folder on another disk."),
    errno.EDQUOT: ("your disk quota is used up", "Free some space or choose a folder on another disk."),
    errno.EACCES: ("there is no permission to write there", "Choose a folder that you may write to."),
    errno.EPERM: ("there is no permission to write there", "Choose a folder that you may write to."),
    errno.EROFS: ("the file system is read-only", "Choose a folder that you may write to."),
    errno.ENOTDIR: ("a part of the path is a file, not a folder", "Choose another folder or move that file."),
    errno.ENOENT: ("nothing can be made in that place", "Choose another folder."),
    errno.EEXIST: ("a file is where a folder is needed", "Choose another folder or move that file."),
    errno.EISDIR: ("a folder is where a file is needed", "Choose another folder or move the one in the way."),
    errno.ENAMETOOLONG: ("the name is too long for this file system", "Choose a folder with a shorter path."),
}


def output_error(error: Exception, path: Path) -> OutputError:
    """The sentence and remedy for an operating-system error met while writing ``path``."""
    number = getattr(error, "errno", None)
    if number is None and (found := re.search(r"os error (\d+)", str(error))):  # safetensors wraps them in text
        number = int(found.group(1))
    cause, remedy = _CAUSES.get(number or 0, (str(error) or type(error).__name__, "Check the path and the disk."))
    return OutputError(f"Cannot write {path}: {cause}.", remedy)


@contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Turn operating-system errors of the block into :class:`OutputError` about ``path``."""
    try:
        yield
    except WorldlineError:
        raise
    except OSError as error:
        raise output_error(error, path) from error
    except Exception as error:
        if re.search(r"os error \d+", str(error)):
            raise output_error(error, path) from error
        raise


def make_folder(path: Path) -> None:
    """Make a folder with its parents; an existing one is fine.

    Raises:
        OutputError: a file is in the way, or no permission.
    """
    with reporting(path):
        path.mkdir(parents=True, exist_ok=True)


def temporary_sibling(path: Path) -> Path:
    """A fresh hidden name beside ``path``, with the same suffix (some writers choose the format by it)."""
    return path.with_name(f".partial-{uuid.uuid4().hex[:12]}{path.suffix}")


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; it takes the place of ``path`` only if the block succeeds."""
    temporary = temporary_sibling(path)
    try:
        yield temporary
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def readable(path: Path) -> None:
    """Give a file the permissions of this user's new files; safetensors makes files that only the owner can read."""
    fresh = temporary_sibling(path)
    fresh.touch()
    try:
        path.chmod(fresh.stat().st_mode)
    finally:
        fresh.unlink()


def write_json(path: Path, values: object) -> None:
    """Write JSON so that readers see the old file or the new one, never a part; missing parents are made."""
    with reporting(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(path) as temporary:
            text = json.dumps(values, indent=2, ensure_ascii=False, default=str)
            temporary.write_text(text + "\n", encoding="utf-8")


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Yield a fresh folder beside ``path``, removed with its contents afterwards unless it was renamed away."""
    temporary = temporary_sibling(path)
    try:
        temporary.mkdir(parents=True)
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_writable(path: Path) -> None:
    """Find out before the work, not after it, whether a folder can be made and written at ``path``.

    Raises:
        OutputError: no permission, a file in the way, a read-only or full disk.
    """
    existing = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    with reporting(path):
        if not existing.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "is a file")
        probe = temporary_sibling(existing / "probe")
        probe.write_bytes(b"\0")
        probe.unlink()
