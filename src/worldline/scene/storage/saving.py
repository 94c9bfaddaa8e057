"""Saving a scene as a whole.

A scene appears whole or not at all. A new folder is filled under a temporary name and renamed. In an existing folder
every new file gets a free name first and scene.json, which names the array file that belongs to it, is replaced last:
whenever the program dies, the folder holds a complete scene, the old or the new one. Files that are not ours stay.
"""

from __future__ import annotations

from pathlib import Path

from worldline.files import make_folder, reporting, temporary_folder
from worldline.scene.scene import Scene
from worldline.scene.storage.arrays import Arrays, arrays_of_objects, arrays_of_record, arrays_of_view, write_arrays
from worldline.scene.storage.document import Head, Shard, object_records, version_of, view_text, write_document
from worldline.scene.storage.folder import ARRAYS, DOCUMENT, earlier_files, free_name, remove_files, write_thumbnail


def save_scene(scene: Scene, directory: Path) -> Path:
    """Write ``scene`` as a folder; see :meth:`Scene.save`."""
    with reporting(directory):
        if directory.exists():
            _save_into(scene, directory)
        else:
            make_folder(directory.parent)
            with temporary_folder(directory) as temporary:
                _write_files(scene, temporary, ARRAYS, frozenset())
                temporary.rename(directory)
    return directory


def _save_into(scene: Scene, directory: Path) -> None:
    """Save into a folder that exists, with whatever is in it."""
    make_folder(directory)  # says so when it is a file
    earlier = earlier_files(directory)
    arrays = free_name(directory)
    try:
        written = _write_files(scene, directory, arrays, earlier)
    except BaseException:
        (directory / arrays).unlink(missing_ok=True)
        raise
    remove_files(directory, earlier - written)  # only now does nothing refer to them any more


def _write_files(scene: Scene, directory: Path, arrays: str, earlier: frozenset[str]) -> frozenset[str]:
    """Write everything, scene.json last; returns the names of the other files."""
    version = version_of(scene)
    write_arrays(directory / arrays, _arrays_of(scene), version)
    thumbnails = [
        write_thumbnail(view.image, view.name, index, directory, earlier) for index, view in enumerate(scene.views)
    ]
    head = Head(
        version=version,
        shards=(Shard(arrays, len(scene.views)),),
        scale=scene.scale,
        provenance=scene.provenance,
        warnings=scene.warnings,
        gaussians=scene.gaussians is not None,
        tracks=scene.tracks is not None,
        rig=scene.rig,
        objects=object_records(scene.objects),
    )
    texts = (view_text(view, thumbnail) for view, thumbnail in zip(scene.views, thumbnails, strict=True))
    write_document(directory / DOCUMENT, head, texts)
    return frozenset([arrays, *thumbnails])


def _arrays_of(scene: Scene) -> Arrays:
    arrays: Arrays = {}
    for index, view in enumerate(scene.views):
        arrays |= arrays_of_view(view, index)
    return (
        arrays | arrays_of_record(scene.gaussians) | arrays_of_record(scene.tracks) | arrays_of_objects(scene.objects)
    )
