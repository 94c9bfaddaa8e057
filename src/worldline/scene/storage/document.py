"""scene.json: the readable part of a scene, and back."""

from __future__ import annotations

import json
import math
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from worldline.errors import InputError
from worldline.files import replacing_file
from worldline.scene.scene import Scene, SceneView
from worldline.scene.storage.arrays import FORMAT
from worldline.scene.storage.folder import DOCUMENT, is_plain_name
from worldline.types import Camera, ImageTransform, MovingObject, Provenance, Rig

VERSION = 2  # of scenes with motion, objects, a rig or several array files; all others are written as version 1
REMAKE = "Save the scene again, or choose another folder."
_GIVE = "Give the folder that Scene.save or `worldline reconstruct -o` wrote."


@dataclass(frozen=True)
class Shard:
    """One array file and how many of the scene's views it holds; views stand in the order of the files."""

    file: str
    views: int


@dataclass(frozen=True)
class Head:
    """Everything in scene.json but the views."""

    version: int
    shards: tuple[Shard, ...]
    scale: str
    provenance: Provenance
    warnings: tuple[str, ...] = ()
    gaussians: bool = False
    tracks: bool = False
    rig: Rig | None = None
    objects: tuple[dict[str, Any], ...] = ()  # as object_record makes them
    finished: bool = True  # False: a stream that is, or was, still being written


def version_of(scene: Scene) -> int:
    """The oldest version that can hold a scene, so that older programs read what they can."""
    new = scene.objects or scene.rig is not None or any(view.dynamic is not None for view in scene.views)
    return 2 if new else 1


def write_document(path: Path, head: Head, views: Iterable[str]) -> None:
    """Write scene.json, whole or not at all. Views come as :func:`view_text` and are not held in memory together."""
    text = _as_text(_head_record(head))
    text = re.sub(r'\{\s*("file": "[\w\-.]+"),\s*("views": \d+)\s*\}', r"{\1, \2}", text)  # a line per array file
    opening, closing = text.rsplit("[]", 1)  # the views come last
    with replacing_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(opening + "[")
        separator = ""
        for text in views:
            file.write(separator + "\n" + textwrap.indent(text, "    "))
            separator = ","
        file.write(("\n  ]" if separator else "]") + closing + "\n")


def view_text(view: SceneView, thumbnail: str | None) -> str:
    """The record of one view in scene.json."""
    transform, camera = view.transform, view.camera
    record = {
        "name": view.name,
        "source": None if view.source is None else str(view.source),
        "timestamp": None if view.timestamp is None else float(view.timestamp),
        "sensor": view.sensor,
        "pose_status": view.pose_status,
        "thumbnail": thumbnail,
        "camera": {
            "height": int(camera.height),
            "width": int(camera.width),
            "intrinsics": _numbers(camera.intrinsics),
            "world_from_cam": _numbers(camera.world_from_cam),
        },
        "transform": {
            "stored_size": [int(size) for size in transform.stored_size],
            "orientation": int(transform.orientation),
            "resized_size": [int(size) for size in transform.resized_size],
            "crop_offset": [int(size) for size in transform.crop_offset],
            "model_size": [int(size) for size in transform.model_size],
        },
    }
    return record_text(record)


def record_text(record: dict[str, Any]) -> str:
    """A record of a view as it stands in scene.json."""
    return _as_text(record)


def object_records(objects: Sequence[MovingObject]) -> tuple[dict[str, Any], ...]:
    """What scene.json says of moving objects; ``times`` is there for people, the arrays know it exactly."""
    return tuple({"id": int(each.id), "sensors": list(each.sensors), "times": len(each.timestamps)} for each in objects)


def _as_text(record: dict[str, Any]) -> str:
    return compact_matrices(json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False))


def _head_record(head: Head) -> dict[str, Any]:
    provenance = head.provenance
    record: dict[str, Any] = {"format": FORMAT, "version": head.version}
    if head.version == 1:
        record["arrays"] = head.shards[0].file
    else:
        record["finished"] = head.finished
        record["arrays"] = [{"file": shard.file, "views": shard.views} for shard in head.shards]
    record |= {
        "scale": head.scale,
        "warnings": list(head.warnings),
        "provenance": {
            "model": provenance.model,
            "weights_sha256": provenance.weights_sha256,
            "license": provenance.license,
            "created": provenance.created,
            "arguments": _plain(provenance.arguments),
            "versions": _plain(provenance.versions),
            "timings": _plain(provenance.timings),
        },
        "gaussians": head.gaussians,
        "tracks": head.tracks,
    }
    if head.version > 1:
        record["rig"] = None if head.rig is None else _rig_record(head.rig)
        record["objects"] = list(head.objects)
    return {**record, "views": []}


def _rig_record(rig: Rig) -> dict[str, Any]:
    sensors = [
        {
            "name": name,
            "size": None if rig.sizes is None else list(rig.sizes[row]),
            "intrinsics": None if rig.intrinsics is None else _numbers(rig.intrinsics[row]),
            "rig_from_cam": None if rig.rig_from_cam is None else _numbers(rig.rig_from_cam[row]),
        }
        for row, name in enumerate(rig.sensors)
    ]
    return {"ground": None if rig.ground is None else float(rig.ground), "sensors": sensors}


def _numbers(matrix: Float64[np.ndarray, "rows columns"]) -> list[list[float | str]]:
    """Nested lists that give back the very same float64: JSON writes the shortest text that does."""
    return [[float(x) if math.isfinite(x) else repr(float(x)) for x in row] for row in np.asarray(matrix, np.float64)]


def compact_matrices(text: str) -> str:
    """One line per row of numbers instead of one per number, for people who read the file."""
    number = r"-?[\d.]+(?:[eE][-+]?\d+)?"
    # strings of a JSON text never hold a line break, so only lists of numbers can match
    rows = re.compile(rf"\[\n\s*({number}(?:,\n\s*{number})*)\n\s*\]")
    return rows.sub(lambda row: "[" + re.sub(r"\s+", " ", row.group(1)) + "]", text)


def _plain(value: Any) -> Any:
    """Any argument of a run as JSON: numbers and text as they are, the rest as its text."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def read_document(directory: Path) -> dict[str, Any]:
    """The document of a scene folder, checked as far as that it is one that this version reads.

    Raises:
        InputError: not a scene, damaged, or of a newer version.
    """
    path = directory / DOCUMENT
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(f"{directory} is not a saved scene: it has no {DOCUMENT}.", _GIVE) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "Check the permissions of the file.") from error
    except ValueError as error:
        raise InputError(f"{path} is damaged: it is not JSON ({error}).", REMAKE) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"{path} is not a worldline scene: its format is not {FORMAT!r}.", _GIVE)
    version = document.get("version")
    if not isinstance(version, int) or version < 1:
        raise InputError(f"{path} has no valid version number ({version!r}).", REMAKE)
    if version > VERSION:
        raise InputError(
            f"{path} has version {version}; this worldline reads versions up to {VERSION}.",
            "Update worldline: pip install -U worldline",
        )
    return document


def head_from(document: dict[str, Any], directory: Path) -> Head:
    """Everything but the views.

    Raises:
        InputError: it names no array files.
        KeyError, TypeError, ValueError: it is damaged.
    """
    rig = document.get("rig")
    return Head(
        version=document["version"],
        shards=_shards_from(document.get("arrays"), len(document["views"]), directory),
        scale=document["scale"],
        provenance=Provenance(**document["provenance"]),
        warnings=tuple(document["warnings"]),
        gaussians=bool(document["gaussians"]),
        tracks=bool(document["tracks"]),
        rig=None if rig is None else _rig_from(rig),
        objects=tuple(document.get("objects", ())),
        finished=bool(document.get("finished", True)),
    )


def _shards_from(arrays: Any, views: int, directory: Path) -> tuple[Shard, ...]:
    records: Any = [{"file": arrays, "views": views}] if isinstance(arrays, str) else arrays
    try:
        shards = tuple(Shard(str(each["file"]), int(each["views"])) for each in records)
        sound = all(is_plain_name(shard.file) and shard.views >= 0 for shard in shards)
    except (KeyError, TypeError, ValueError):
        shards, sound = (), False
    if not sound or sum(shard.views for shard in shards) != views:
        raise InputError(f"{directory / DOCUMENT} names no array file, or not those of its views.", REMAKE)
    return shards


def view_from(record: dict[str, Any], arrays: dict[str, Any]) -> SceneView:
    """A view from its record and its arrays by field name.

    Raises:
        KeyError, TypeError, ValueError: the record is damaged.
    """
    camera, transform = record["camera"], record["transform"]
    return SceneView(
        name=record["name"],
        transform=ImageTransform(
            stored_size=tuple(transform["stored_size"]),
            resized_size=tuple(transform["resized_size"]),
            crop_offset=tuple(transform["crop_offset"]),
            model_size=tuple(transform["model_size"]),
            orientation=transform["orientation"],
        ),
        camera=Camera(
            _matrix(camera["intrinsics"], 3), _matrix(camera["world_from_cam"], 4), camera["height"], camera["width"]
        ),
        source=record["source"],
        timestamp=record["timestamp"],
        sensor=record["sensor"],
        pose_status=record["pose_status"],
        **arrays,
    )


def _rig_from(record: dict[str, Any]) -> Rig:
    sensors = record["sensors"]

    def each(key: str) -> list[Any] | None:
        values = [sensor[key] for sensor in sensors]
        return None if values[0] is None else values

    intrinsics, rig_from_cam, sizes = each("intrinsics"), each("rig_from_cam"), each("size")
    return Rig(
        sensors=tuple(sensor["name"] for sensor in sensors),
        intrinsics=None if intrinsics is None else np.array([_matrix(rows, 3) for rows in intrinsics]),
        rig_from_cam=None if rig_from_cam is None else np.array([_matrix(rows, 4) for rows in rig_from_cam]),
        sizes=None if sizes is None else tuple((height, width) for height, width in sizes),
        ground=record["ground"],
    )


def _matrix(rows: list[list[float | str]], size: int) -> Float64[np.ndarray, "size size"]:
    matrix = np.array([[float(x) for x in row] for row in rows], dtype=np.float64)
    if matrix.shape != (size, size):
        raise ValueError(f"matrix of shape {matrix.shape}")
    return matrix


def damaged(directory: Path, error: Exception, where: str = "") -> InputError:
    """The sentence for a document or an array file whose contents are not those of a scene."""
    return InputError(f"The scene in {directory} is damaged ({where}{error!r} is wrong or missing).", REMAKE)
