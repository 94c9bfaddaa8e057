"""A scene folder that another program is writing: what is new in it since the last look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from worldline.errors import InputError
from worldline.scene import Scene, SceneView
from worldline.scene.storage.arrays import objects_from, read_arrays, view_arrays_from
from worldline.scene.storage.document import Head, Shard, head_from, read_document, view_from
from worldline.scene.storage.folder import DOCUMENT

MOST_MOMENTS = 200  # newest moments that are shown
_WRONG = (KeyError, TypeError, ValueError, AttributeError)

Kind = Literal["waiting", "same", "grown", "restarted"]


@dataclass(frozen=True, eq=False)
class News:
    """What a look into the folder found."""

    kind: Kind  # restarted: what was shown before belongs to an earlier stream
    message: str  # for the user: what is there, or what is waited for
    scene: Scene | None = field(default=None, repr=False)  # the views that are new; objects, rig and scale of the whole
    finished: bool = False  # the stream has ended; a later look may find that it was resumed
    left_out: int = 0  # views of the folder that were passed over, since newer moments fill the budget


class SceneFollower:
    """Looks into a scene folder again and again; a view is read once, and only when it will be shown.

    Arrays are mapped into memory, not read, and only those of new views. But a look that finds scene.json changed
    parses all of it, about 12 microseconds per view of the stream; one that does not asks for its date only.
    """

    def __init__(self, directory: str | Path, *, most_moments: int = MOST_MOMENTS) -> None:
        """Begin with nothing seen.

        Args:
            directory: may not exist yet.
            most_moments: of what is new, only so many of the newest moments are read.
        """
        self.directory = Path(directory)
        self.most_moments = most_moments
        self._stamp: tuple[int, int, int] | None = None  # of the scene.json that was read last
        self._shards: tuple[Shard, ...] = ()  # of which all views were reported
        self._created = ""  # when the stream that was read last began
        self._finished = False

    def poll(self) -> News:
        """Look once. Never raises for what a half-written or absent folder may look like: that is "waiting"."""
        path = self.directory / DOCUMENT
        try:
            status = path.stat()
        except OSError:
            return News("waiting", f"Waiting for a scene in {self.directory} …")
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if stamp == self._stamp:
            return News("same", self._message(), finished=self._finished)
        try:
            news = self._read()
        except InputError as error:  # the writer has just replaced or removed something; the next look will tell
            return News("waiting", f"Waiting for a scene in {self.directory}: {error.cause}")
        self._stamp = stamp
        return news

    def _read(self) -> News:
        document = read_document(self.directory)
        try:
            head, records = head_from(document, self.directory), document["views"]
            times = [record["timestamp"] for record in records]
        except _WRONG as error:
            raise InputError(f"{DOCUMENT} is damaged ({error!r}).", "Start the stream again.") from error
        shards = tuple(shard for shard in head.shards if shard.views)
        same = head.provenance.created == self._created or not self._shards
        grown = same and shards[: len(self._shards)] == self._shards
        old = sum(shard.views for shard in self._shards) if grown else 0
        chosen = [index for index in _newest(times, self.most_moments) if index >= old]
        views = self._views(shards, records, chosen)
        objects = self._objects(head)
        kind: Kind = "same" if grown and not views else "grown" if grown else "restarted"
        self._shards, self._finished, self._created = shards, head.finished, head.provenance.created
        scene = Scene(
            views=tuple(views),
            scale=head.scale,
            provenance=head.provenance,
            warnings=head.warnings,
            objects=objects,
            rig=head.rig,
        )
        left_out = len(records) - old - len(chosen)
        return News(kind, self._message(), scene, head.finished, left_out)

    def _views(self, shards: Sequence[Shard], records: list[Any], chosen: list[int]) -> list[SceneView]:
        views: list[SceneView] = []
        start = 0
        for shard in shards:
            wanted = [index for index in chosen if start <= index < start + shard.views]
            start += shard.views
            if not wanted:
                continue
            arrays = read_arrays(self.directory / shard.file, lazy=True)
            try:
                views += [view_from(records[index], view_arrays_from(arrays, index)) for index in wanted]
            except _WRONG as error:
                raise InputError(f"{shard.file} is damaged ({error!r}).", "Start the stream again.") from error
        return views

    def _objects(self, head: Head) -> tuple[Any, ...]:
        """Moving objects, which a stream writes when it ends."""
        if not head.objects:
            return ()
        rest: dict[str, Any] = {}
        for shard in head.shards:
            if not shard.views or len(head.shards) == 1:
                rest |= read_arrays(self.directory / shard.file, lazy=True)
        try:
            return objects_from(head.objects, rest)
        except _WRONG:
            return ()

    def _message(self) -> str:
        count = sum(shard.views for shard in self._shards)
        return f"{count} views, the stream has ended" if self._finished else f"{count} views, the stream goes on"


def _newest(times: Sequence[float | None], most: int) -> list[int]:
    """The numbers of the views of the newest ``most`` moments; views without a time count as a moment each."""
    known = sorted({time for time in times if time is not None})
    if not known:
        return list(range(max(0, len(times) - most), len(times)))
    cut = known[-most] if len(known) > most else known[0]
    return [index for index, time in enumerate(times) if time is None or time >= cut]
