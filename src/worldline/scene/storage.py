"""The scene folder: scene.json (readable), arrays.safetensors (exact) and thumbnails/ (to look at).

A scene appears whole or not at all. A new folder is filled under a temporary name and renamed. In an existing folder
every new file gets a free name first and scene.json, which names the array file that belongs to it, is replaced last:
whenever the program dies, the folder holds a complete scene, the old or the new one. Files that are not ours stay.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from worldline.errors import InputError, OutputError
from worldline.files import make_folder, replacing_file, reporting, temporary_folder
from worldline.scene.scene import Scene, SceneView
from worldline.types import Camera, Gaussians, ImageTransform, Provenance, Tracks

FORMAT = "worldline-scene"
VERSION = 1
_DOCUMENT = "scene.json"
_ARRAYS = "arrays.safetensors"
_THUMBNAILS = "thumbnails"
_THUMBNAIL_SIZE = 256  # pixels, longer side
_VIEW_ARRAYS = ("image", "points", "depth", "confidence", "mask")
_GAUSSIAN_ARRAYS = ("means", "scales", "rotations", "opacities", "colors")
_TRACK_ARRAYS = ("points", "pixels", "visible", "colors")
_REMAKE = "Save the scene again, or choose another folder."


def save_scene(scene: Scene, directory: Path) -> Path:
    """Write ``scene`` as a folder; see :meth:`Scene.save`."""
    with reporting(directory):
        if directory.exists():
            _save_into(scene, directory)
        else:
            make_folder(directory.parent)
            with temporary_folder(directory) as temporary:
                _write_files(scene, temporary, _ARRAYS, frozenset())
                temporary.rename(directory)
    return directory


def check_replaceable(directory: Path) -> None:
    """Find out before the work whether a scene can be saved to ``directory`` without replacing a file of the user's.

    Raises:
        OutputError: its scene.json is not one of ours.
    """
    _earlier_files(directory)


def _save_into(scene: Scene, directory: Path) -> None:
    """Save into a folder that exists, with whatever is in it."""
    make_folder(directory)  # says so when it is a file
    earlier = _earlier_files(directory)
    arrays = _free_name(directory)
    try:
        written = _write_files(scene, directory, arrays, earlier)
    except BaseException:
        (directory / arrays).unlink(missing_ok=True)
        raise
    for name in earlier - written:  # only now does nothing refer to them any more
        (directory / name).unlink(missing_ok=True)


def _earlier_files(directory: Path) -> frozenset[str]:
    """The files, besides scene.json, of a scene that we saved here before."""
    path = directory / _DOCUMENT
    if not path.exists():
        return frozenset()
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        ours = document["format"] == FORMAT
        names = [document["arrays"], *(view["thumbnail"] for view in document["views"])]
    except (ValueError, KeyError, TypeError):
        ours, names = False, []
    if not ours:
        raise OutputError(f"{path} exists and was not written by worldline.", "Choose another folder or move the file.")
    return frozenset(name for name in names if _is_plain_name(str(name).removeprefix(f"{_THUMBNAILS}/")))


def _free_name(directory: Path) -> str:
    names = (_ARRAYS if number == 0 else f"arrays-{number}.safetensors" for number in range(1_000_000))
    return next(name for name in names if not (directory / name).exists())


def _is_plain_name(name: str) -> bool:
    return bool(re.fullmatch(r"[\w\-][\w\-.]*", name))


def _write_files(scene: Scene, directory: Path, arrays: str, earlier: frozenset[str]) -> frozenset[str]:
    """Write everything, scene.json last; returns the names of the other files."""
    from safetensors.numpy import save_file

    with replacing_file(directory / arrays) as temporary:
        save_file(_arrays_of(scene), str(temporary), metadata={"format": FORMAT, "version": str(VERSION)})
    thumbnails = [_write_thumbnail(view, index, directory, earlier) for index, view in enumerate(scene.views)]
    document = _document_of(scene, arrays, thumbnails)
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    with replacing_file(directory / _DOCUMENT) as temporary:
        temporary.write_text(_compact_matrices(text) + "\n", encoding="utf-8")
    return frozenset([arrays, *thumbnails])


def _write_thumbnail(view: SceneView, index: int, directory: Path, earlier: frozenset[str]) -> str:
    from PIL import Image

    stem = f"{index:04d}_" + (re.sub(r"[^A-Za-z0-9._-]+", "_", Path(view.name).stem)[:60] or "view")
    relative = f"{_THUMBNAILS}/{stem}.jpg"
    while relative not in earlier and (directory / relative).exists():  # somebody else's picture
        stem += "_"
        relative = f"{_THUMBNAILS}/{stem}.jpg"
    make_folder(directory / _THUMBNAILS)
    picture = Image.fromarray(view.image)
    picture.thumbnail((_THUMBNAIL_SIZE, _THUMBNAIL_SIZE))
    with replacing_file(directory / relative) as temporary:
        picture.save(temporary, quality=85)
    return relative


def _arrays_of(scene: Scene) -> dict[str, np.ndarray]:
    arrays = {}
    for index, view in enumerate(scene.views):
        for name in _VIEW_ARRAYS:
            arrays[f"views.{index:04d}.{name}"] = getattr(view, name)
    for group, names in (("gaussians", _GAUSSIAN_ARRAYS), ("tracks", _TRACK_ARRAYS)):
        record = getattr(scene, group)
        for name in names if record is not None else ():
            if getattr(record, name) is not None:
                arrays[f"{group}.{name}"] = getattr(record, name)
    return {
        key: np.ascontiguousarray(value.astype(np.uint8) if value.dtype == bool else value)
        for key, value in arrays.items()
    }


def _document_of(scene: Scene, arrays: str, thumbnails: list[str]) -> dict[str, Any]:
    provenance = scene.provenance
    return {
        "format": FORMAT,
        "version": VERSION,
        "arrays": arrays,
        "scale": scene.scale,
        "warnings": list(scene.warnings),
        "provenance": {
            "model": provenance.model,
            "weights_sha256": provenance.weights_sha256,
            "license": provenance.license,
            "created": provenance.created,
            "arguments": _plain(provenance.arguments),
            "versions": _plain(provenance.versions),
            "timings": _plain(provenance.timings),
        },
        "gaussians": scene.gaussians is not None,
        "tracks": scene.tracks is not None,
        "views": [_view_document(view, thumbnail) for view, thumbnail in zip(scene.views, thumbnails, strict=True)],
    }


def _view_document(view: SceneView, thumbnail: str) -> dict[str, Any]:
    transform, camera = view.transform, view.camera
    return {
        "name": view.name,
        "source": None if view.source is None else str(view.source),
        "timestamp": view.timestamp,
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


def _numbers(matrix: Float64[np.ndarray, "rows columns"]) -> list[list[float | str]]:
    """Nested lists that give back the very same float64: JSON writes the shortest text that does."""
    return [[float(x) if math.isfinite(x) else repr(float(x)) for x in row] for row in np.asarray(matrix, np.float64)]


def _compact_matrices(text: str) -> str:
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


def load_scene(directory: Path) -> Scene:
    """Read a scene folder; see :meth:`Scene.load`."""
    document = _read_document(directory)
    arrays = _read_arrays(directory, document)
    try:
        views = tuple(_view_from(record, index, arrays) for index, record in enumerate(document["views"]))
        groups = {
            "gaussians": _record_from(Gaussians, "gaussians", _GAUSSIAN_ARRAYS, arrays)
            if document["gaussians"]
            else None,
            "tracks": _record_from(Tracks, "tracks", _TRACK_ARRAYS, arrays) if document["tracks"] else None,
        }
        return Scene(
            views=views,
            scale=document["scale"],
            provenance=Provenance(**document["provenance"]),
            warnings=tuple(document["warnings"]),
            **groups,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"The scene in {directory} is damaged ({error!r} is wrong or missing).", _REMAKE) from error


def _read_document(directory: Path) -> dict[str, Any]:
    path = directory / _DOCUMENT
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            f"{directory} is not a saved scene: it has no {_DOCUMENT}.",
            "Give the folder that Scene.save or `worldline reconstruct -o` wrote.",
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "Check the permissions of the file.") from error
    except ValueError as error:
        raise InputError(f"{path} is damaged: it is not JSON ({error}).", _REMAKE) from error
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(
            f"{path} is not a worldline scene: its format is not {FORMAT!r}.",
            "Give the folder that Scene.save or `worldline reconstruct -o` wrote.",
        )
    version = document.get("version")
    if not isinstance(version, int) or version < 1:
        raise InputError(f"{path} has no valid version number ({version!r}).", _REMAKE)
    if version > VERSION:
        raise InputError(
            f"{path} has version {version}; this worldline reads versions up to {VERSION}.",
            "Update worldline: pip install -U worldline",
        )
    return document


def _read_arrays(directory: Path, document: dict[str, Any]) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    name = document.get("arrays")
    if not isinstance(name, str) or not _is_plain_name(name):
        raise InputError(f"{directory / _DOCUMENT} names no array file.", _REMAKE)
    path = directory / name
    if not path.is_file():
        raise InputError(f"The scene in {directory} is incomplete: {name} is missing.", "Copy the whole scene folder.")
    try:
        return load_file(str(path))
    except SafetensorError as error:
        raise InputError(
            f"{path} is damaged or cut short ({error}).", "Copy the whole scene folder again, or save the scene again."
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "Check the permissions of the file.") from error


def _view_from(record: dict[str, Any], index: int, arrays: dict[str, np.ndarray]) -> SceneView:
    camera, transform = record["camera"], record["transform"]
    pixels = {name: arrays[f"views.{index:04d}.{name}"] for name in _VIEW_ARRAYS}
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
        **{**pixels, "mask": pixels["mask"].astype(bool)},
    )


def _matrix(rows: list[list[float | str]], size: int) -> Float64[np.ndarray, "size size"]:
    matrix = np.array([[float(x) for x in row] for row in rows], dtype=np.float64)
    if matrix.shape != (size, size):
        raise ValueError(f"matrix of shape {matrix.shape}")
    return matrix


def _record_from(kind: Any, group: str, names: tuple[str, ...], arrays: dict[str, np.ndarray]) -> Any:
    found = {name: arrays[f"{group}.{name}"] for name in names if f"{group}.{name}" in arrays}
    if "visible" in found:
        found["visible"] = found["visible"].astype(bool)
    return kind(**found)
