"""Loading a scene folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from worldline.errors import InputError
from worldline.scene.scene import Scene, SceneView
from worldline.scene.storage.arrays import Arrays, objects_from, read_arrays, record_from, view_arrays_from
from worldline.scene.storage.document import REMAKE, Head, Shard, damaged, head_from, read_document, view_from
from worldline.scene.storage.folder import DOCUMENT
from worldline.types import Gaussians, Tracks

_WRONG = (KeyError, TypeError, ValueError, AttributeError)


def load_scene(directory: Path, *, lazy: bool = False, partial: bool = False) -> Scene:
    """Read a scene folder; see :meth:`Scene.load`."""
    document = read_document(directory)
    try:
        head, records = head_from(document, directory), document["views"]
    except _WRONG as error:
        raise damaged(directory, error) from error
    views: list[SceneView] = []
    rest: Arrays = {}  # what belongs to no single view
    losses: list[str] = []
    start = 0
    for shard in head.shards:
        try:
            arrays = read_arrays(directory / shard.file, lazy=lazy)
            views += _views_from(records, range(start, start + shard.views), arrays, directory / shard.file)
            rest |= {name: value for name, value in arrays.items() if not name.startswith("views.")}
        except InputError as error:
            if not partial:
                raise _with_loss(error, head, shard, len(records)) from error
            losses.append(f"{error.cause} Left out: {_content(shard, len(records))}.")
        start += shard.views
    if losses and not views:
        raise InputError(f"Nothing of the scene in {directory} can be read: {losses[0]}", REMAKE)
    try:
        return _scene(head, views, rest, losses)
    except _WRONG as error:
        raise damaged(directory, error) from error


def _scene(head: Head, views: list[SceneView], rest: Arrays, losses: list[str]) -> Scene:
    objects = head.objects
    if losses and any(f"objects.{index:04d}.size" not in rest for index in range(len(objects))):
        objects = ()
    notes = list(losses)
    if not head.finished:
        notes.append(f"The stream that wrote this scene did not end properly, or goes on: {len(views)} views so far.")
    return Scene(
        views=tuple(views),
        gaussians=record_from(Gaussians, rest) if head.gaussians else None,
        tracks=record_from(Tracks, rest) if head.tracks else None,
        scale=head.scale,
        provenance=head.provenance,
        warnings=(*head.warnings, *notes),
        objects=objects_from(objects, rest),
        rig=head.rig,
    )


def _views_from(records: list[dict[str, Any]], indices: range, arrays: Arrays, path: Path) -> list[SceneView]:
    try:
        return [view_from(records[index], view_arrays_from(arrays, index)) for index in indices]
    except _WRONG as error:
        raise damaged(path.parent, error, f"{path.name} or what {DOCUMENT} says of its views: ") from error


def _with_loss(error: InputError, head: Head, shard: Shard, total: int) -> InputError:
    """The error about one array file; where there are several it says what is lost and how to load the rest."""
    if len(head.shards) == 1:
        return error
    remedy = f"{error.remedy} Or load the rest with Scene.load(folder, partial=True)."
    return InputError(f"{error.cause} That file holds {_content(shard, total)}.", remedy)


def _content(shard: Shard, total: int) -> str:
    return f"{shard.views} of {total} views" if shard.views else "the moving objects"
