"""Saving the views of a stream as they come, at bounded memory."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from worldline.errors import InputError, WorldlineError
from worldline.files import check_writable, make_folder, reporting
from worldline.scene.scene import SCALES, SceneView
from worldline.scene.storage.arrays import Arrays, arrays_of_objects, arrays_of_view, write_arrays
from worldline.scene.storage.document import (
    REMAKE,
    VERSION,
    Head,
    Shard,
    damaged,
    head_from,
    object_records,
    read_document,
    record_text,
    view_text,
    write_document,
)
from worldline.scene.storage.folder import DOCUMENT, earlier_files, free_shard_name, remove_files, write_thumbnail
from worldline.types import MovingObject, Provenance, Rig

SHARD_BYTES = 64 * 2**20
log = logging.getLogger("worldline")


class SceneWriter:
    """Appends views to a scene folder; use it as a context manager.

    Views are collected until they fill an array file of about 64 MiB (a *shard*); then the shard is written and
    scene.json replaced, so the folder is at every moment a scene that :meth:`Scene.load` reads: an earlier scene in
    that folder until the first shard is complete, all complete shards from then on. What a crash can lose is the views
    since the last shard; an exception in the block loses none. Memory: two shards, and about 1 kB per view.
    """

    def __init__(
        self,
        directory: str | Path,
        *,
        provenance: Provenance,
        scale: str = "arbitrary",
        rig: Rig | None = None,
        thumbnails: bool = True,
        shard_bytes: int = SHARD_BYTES,
    ) -> None:
        """Begin a new scene; an earlier one in the folder is replaced once the first shard is complete.

        Args:
            directory: made when absent; files of the user in it stay.
            provenance: where the views come from.
            scale: how the unit of length was fixed, one of ``worldline.scene.scene.SCALES``.
            rig: the cameras that the sensors of the views belong to.
            thumbnails: write a JPEG per view.
            shard_bytes: largest size of an array file; a single larger view still gets one. Smaller ones make for
                shorter pauses of the stream, and for less that a killed program loses.

        Raises:
            InputError: unknown scale.
            OutputError: the folder cannot be written, or holds a scene.json that is not ours.
        """
        self.directory = Path(directory)
        _check_scale(scale)
        check_writable(self.directory)
        make_folder(self.directory)
        self._stale = earlier_files(self.directory)  # removed as soon as scene.json does not name them any more
        self._head = Head(VERSION, (), scale, provenance, rig=rig, finished=False)
        self._extras: tuple[Shard, ...] = ()  # hold no views but moving objects
        self._texts: list[str] = []  # records of the views written
        self._names: dict[str, None] = {}
        self._pending: list[SceneView] = []
        self._pending_bytes = 0
        self._number = 0  # of the next shard
        self._thumbnails, self._shard_bytes = thumbnails, shard_bytes

    @classmethod
    def resume(cls, directory: str | Path, *, thumbnails: bool = True, shard_bytes: int = SHARD_BYTES) -> SceneWriter:
        """Go on with a scene after its last complete shard; :attr:`names` says which views it has.

        Raises:
            InputError: no scene, a damaged or incomplete one, or one with Gaussians or tracks, which belong to a fixed
                set of views.
        """
        directory = Path(directory)
        document = read_document(directory)
        try:
            head = head_from(document, directory)
            names = dict.fromkeys(str(record["name"]) for record in document["views"])
        except (KeyError, TypeError, ValueError) as error:
            raise damaged(directory, error) from error
        if head.gaussians or head.tracks:
            raise InputError(
                f"The scene in {directory} has Gaussians or tracks of a fixed set of views.",
                "Write the stream to another folder.",
            )
        for shard in head.shards:
            if not (directory / shard.file).is_file():
                raise InputError(f"The scene in {directory} is incomplete: {shard.file} is missing.", REMAKE)
        writer = cls(
            directory,
            provenance=head.provenance,
            scale=head.scale,
            rig=head.rig,
            thumbnails=thumbnails,
            shard_bytes=shard_bytes,
        )
        writer._stale = frozenset()
        writer._extras = tuple(shard for shard in head.shards if not shard.views)
        with_views = tuple(shard for shard in head.shards if shard.views)
        writer._head = replace(head, version=VERSION, shards=with_views, finished=False)
        writer._texts, writer._names = [record_text(record) for record in document["views"]], names
        return writer

    def __len__(self) -> int:
        return len(self._names)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all views, those that wait for their shard to be complete included."""
        return tuple(self._names)

    @property
    def finished(self) -> bool:
        """Whether :meth:`finish` was called."""
        return self._head.finished

    def add(self, view: SceneView) -> None:
        """Append a view. Its arrays are copied, so the caller may use them again.

        Raises:
            InputError: a view of that name is there already, or the scene is finished.
            OutputError: a shard cannot be written; nothing is lost, and :meth:`flush` may be tried again.
        """
        if self.finished:
            raise InputError(f"The scene in {self.directory} is finished.", "Go on with SceneWriter.resume.")
        if view.name in self._names:
            raise InputError(f"Two views of a scene have the same name: {view.name}.", "Give every view its own name.")
        values = {each.name: getattr(view, each.name) for each in fields(view)}
        copies: dict[str, Any] = {name: value.copy() for name, value in values.items() if isinstance(value, np.ndarray)}
        size = sum(value.nbytes for value in copies.values())
        if self._pending_bytes + size > self._shard_bytes:
            self.flush()
        self._pending.append(replace(view, **copies))
        self._pending_bytes += size
        self._names[view.name] = None

    def add_many(self, views: Iterable[SceneView]) -> None:
        """Append views in their order; see :meth:`add`."""
        for view in views:
            self.add(view)

    def flush(self) -> None:
        """Write the views that wait as a shard of their own now; no crash can lose them any more.

        Raises:
            OutputError: no permission or full disk; the scene so far is as it was.
        """
        if not self._pending:
            return
        start = len(self._texts)
        arrays: Arrays = {}
        for offset, view in enumerate(self._pending):
            arrays |= arrays_of_view(view, start + offset)
        with reporting(self.directory), self._undoing() as written:
            shard = self._write_shard(arrays, len(self._pending), written)
            texts = [self._write_record(view, start + offset, written) for offset, view in enumerate(self._pending)]
            head = replace(self._head, shards=(*self._head.shards, shard))
            self._publish(head, self._extras, texts, written)

    def finish(
        self,
        *,
        objects: Sequence[MovingObject] | None = None,
        warnings: Sequence[str] = (),
        scale: str | None = None,
    ) -> Path:
        """Write what is left and mark the scene as finished.

        Args:
            objects: what moves; None keeps those that a resumed scene has.
            warnings: what a user should know, added to those of a resumed scene.
            scale: how the unit of length was fixed, where that is known only now.

        Returns:
            the folder.

        Raises:
            InputError: unknown scale, or finished already.
            OutputError: no permission or full disk.
        """
        if self.finished:
            raise InputError(f"The scene in {self.directory} is finished already.", "Call finish only once.")
        scale = self._head.scale if scale is None else scale
        _check_scale(scale)
        self.flush()
        every = tuple(dict.fromkeys((*self._head.warnings, *warnings)))
        head, extras = replace(self._head, scale=scale, warnings=every, finished=True), self._extras
        with reporting(self.directory), self._undoing() as written:
            if objects is not None:
                extras = (self._write_shard(arrays_of_objects(objects), 0, written),) if objects else ()
                head = replace(head, objects=object_records(objects))
            self._publish(head, extras, [], written)
        return self.directory

    def __enter__(self) -> SceneWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finish; after an exception only write what waits, and leave the scene unfinished."""
        if kind is None:
            if not self.finished:
                self.finish()
            return
        try:
            self.flush()
        except WorldlineError as second:
            log.warning("The last %d views are lost. %s", len(self._pending), second)

    def _write_shard(self, arrays: Arrays, views: int, written: list[str]) -> Shard:
        name, self._number = free_shard_name(self.directory, self._number)
        written.append(name)
        write_arrays(self.directory / name, arrays, VERSION)
        return Shard(name, views)

    def _write_record(self, view: SceneView, index: int, written: list[str]) -> str:
        """Write the thumbnail of a view; returns its record in scene.json."""
        thumbnail = None
        if self._thumbnails:
            thumbnail = write_thumbnail(view.image, view.name, index, self.directory, frozenset())
            written.append(thumbnail)
        return view_text(view, thumbnail)

    def _publish(self, head: Head, extras: tuple[Shard, ...], texts: list[str], written: list[str]) -> None:
        """Replace scene.json; from here on the new files belong to the scene and those it named before do not."""
        whole = replace(head, shards=(*head.shards, *extras))
        write_document(self.directory / DOCUMENT, whole, itertools.chain(self._texts, texts))
        written.clear()
        stale = self._stale | {each.file for each in self._extras if each not in extras}
        self._head, self._extras, self._stale = head, extras, frozenset()
        self._texts += texts
        self._pending, self._pending_bytes = [], 0
        remove_files(self.directory, stale)

    @contextmanager
    def _undoing(self) -> Iterator[list[str]]:
        """Yield a list for the names of new files; after an error those that are still in it are removed."""
        written: list[str] = []
        try:
            yield written
        except Exception:
            remove_files(self.directory, written)
            raise


def _check_scale(scale: str) -> None:
    if scale not in SCALES:
        raise InputError(f"Unknown scale {scale!r}.", f"Choose one of {', '.join(SCALES)}.")
