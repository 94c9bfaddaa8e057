"""The folder that exports go to: every file whole or not at all, and never over a file that is not ours."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from worldline.errors import OutputError
from worldline.files import make_folder, replacing_file, reporting, temporary_folder

MANIFEST = ".worldline-exports.json"  # names of the files that we wrote here and may therefore replace
_FORMAT = "worldline-exports"


class OutputFolder:
    """Gives writers temporary files and puts them in place; remembers in a manifest which files are ours."""

    def __init__(self, root: Path) -> None:
        self.root = root
        make_folder(root)
        self._ours = _written_before(root)

    @contextmanager
    def file(self, relative: str) -> Iterator[Path]:
        """Yield a temporary path for the file ``relative`` ("colmap/images/a.jpg"); put in place if all goes well.

        Raises:
            OutputError: no permission, full disk, or a file of that name that we did not write.
        """
        target = self.root / relative
        self._claim(relative)
        make_folder(target.parent)
        with reporting(target), replacing_file(target) as temporary:
            yield temporary

    @contextmanager
    def workspace(self, relative: str) -> Iterator[Path]:
        """Yield an empty folder for a writer that wants to write several files itself; see :meth:`take`."""
        target = self.root / relative
        make_folder(target.parent)
        with reporting(target), temporary_folder(target) as temporary:
            yield temporary

    def take(self, workspace: Path, relative: str) -> None:
        """Move every file of ``workspace`` to the folder ``relative``."""
        for path in sorted(workspace.iterdir()):
            if shutil.disk_usage(workspace).free < 4096:  # foreign writers do not always say that the disk is full
                raise OSError(errno.ENOSPC, "No space left on device")
            with self.file(f"{relative}/{path.name}") as temporary:
                path.rename(temporary)

    def _claim(self, relative: str) -> None:
        target = self.root / relative
        if relative in self._ours:
            return
        if target.exists() or target.is_symlink():
            raise OutputError(
                f"{target} exists and was not written by worldline.", "Move it away or choose another folder."
            )
        self._ours.add(relative)
        with reporting(self.root / MANIFEST), replacing_file(self.root / MANIFEST) as temporary:
            document = {"format": _FORMAT, "version": 1, "files": sorted(self._ours)}
            temporary.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def check_files_are_ours(root: Path, names: Sequence[str]) -> None:
    """Find out before the work whether files of the user's are in the way; ``root`` need not exist.

    Raises:
        OutputError: some of the files ``names`` in ``root`` exist and we did not write them; lists them all.
    """
    foreign = [str(root / name) for name in names if (root / name).exists() and name not in _written_before(root)]
    if foreign:
        verb = "exists and was" if len(foreign) == 1 else "exist and were"
        raise OutputError(
            f"{', '.join(foreign)} {verb} not written by worldline.", "Move it away or choose another folder."
        )


def _written_before(root: Path) -> set[str]:
    try:
        document = json.loads((root / MANIFEST).read_text(encoding="utf-8"))
        return set(document["files"]) if document["format"] == _FORMAT else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()  # without it nothing here counts as ours
