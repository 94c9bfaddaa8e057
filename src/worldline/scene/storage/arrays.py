"""Array files: numpy arrays by name in safetensors, read at once or mapped into memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worldline.errors import InputError
from worldline.files import readable, replacing_file
from worldline.scene.scene import SceneView
from worldline.types import Gaussians, MovingObject, Tracks

Arrays = dict[str, np.ndarray]

FORMAT = "worldline-scene"
VIEW_ARRAYS = ("image", "points", "depth", "confidence", "mask")
OPTIONAL_VIEW_ARRAYS = ("dynamic",)
_BOOLEAN = ("mask", "dynamic", "visible")  # stored as uint8, 0 or 1
_RECORDS = {
    Gaussians: ("gaussians", ("means", "scales", "rotations", "opacities", "colors")),
    Tracks: ("tracks", ("points", "pixels", "visible", "colors")),
}
_OBJECT_ARRAYS = ("timestamps", "centers", "velocities", "size")
_DTYPES = {
    "BOOL": "?", "U8": "u1", "I8": "i1", "U16": "<u2", "I16": "<i2", "U32": "<u4", "I32": "<i4",
    "U64": "<u8", "I64": "<i8", "F16": "<f2", "F32": "<f4", "F64": "<f8",
}  # fmt: skip


def arrays_of_view(view: SceneView, index: int) -> Arrays:
    """The arrays of a view under the names that they have in the file, not copied."""
    names = [name for name in (*VIEW_ARRAYS, *OPTIONAL_VIEW_ARRAYS) if getattr(view, name) is not None]
    return {f"views.{index:04d}.{name}": getattr(view, name) for name in names}


def view_arrays_from(arrays: Mapping[str, np.ndarray], index: int) -> dict[str, Any]:
    """Arguments of :class:`SceneView` from the arrays of a file.

    Raises:
        KeyError: an array is not there.
    """
    prefix = f"views.{index:04d}."
    found: dict[str, Any] = {name: arrays[prefix + name] for name in VIEW_ARRAYS}
    found |= {name: arrays[prefix + name] for name in OPTIONAL_VIEW_ARRAYS if prefix + name in arrays}
    return {name: _as_stored(name, value) for name, value in found.items()}


def arrays_of_record(record: Gaussians | Tracks | None) -> Arrays:
    """The arrays of Gaussians or tracks under the names that they have in the file; none of None."""
    if record is None:
        return {}
    group, names = _RECORDS[type(record)]
    return {f"{group}.{name}": getattr(record, name) for name in names if getattr(record, name) is not None}


def record_from(kind: type, arrays: Mapping[str, np.ndarray]) -> Any:
    """Gaussians or tracks from the arrays of a file."""
    group, names = _RECORDS[kind]
    found = {name: arrays[f"{group}.{name}"] for name in names if f"{group}.{name}" in arrays}
    return kind(**{name: _as_stored(name, value) for name, value in found.items()})


def arrays_of_objects(objects: Sequence[MovingObject]) -> Arrays:
    """The arrays of moving objects under the names that they have in the file."""
    return {
        f"objects.{index:04d}.{name}": getattr(each, name)
        for index, each in enumerate(objects)
        for name in _OBJECT_ARRAYS
    }


def objects_from(records: Iterable[Mapping[str, Any]], arrays: Mapping[str, np.ndarray]) -> tuple[MovingObject, ...]:
    """Moving objects from their records in scene.json and the arrays of a file."""
    return tuple(
        MovingObject(
            id=record["id"],
            sensors=tuple(record["sensors"]),
            **{name: arrays[f"objects.{index:04d}.{name}"] for name in _OBJECT_ARRAYS},
        )
        for index, record in enumerate(records)
    )


def _as_stored(name: str, value: np.ndarray) -> np.ndarray:
    if name not in _BOOLEAN:
        return value
    return value.view(np.bool_) if value.dtype == np.uint8 else value.astype(np.bool_)


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], version: int) -> None:
    """Write an array file; it appears complete or not at all. A Boolean is one byte, 0 or 1."""
    from safetensors.numpy import save_file

    plain = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
    plain = {name: value.view(np.uint8) if value.dtype == bool else value for name, value in plain.items()}
    with replacing_file(path) as temporary:
        save_file(plain, str(temporary), metadata={"format": FORMAT, "version": str(version)})
        readable(temporary)


def read_arrays(path: Path, *, lazy: bool) -> Arrays:
    """All arrays of a file; with ``lazy`` they are read-only windows into the file, read when touched.

    Raises:
        InputError: the file is missing, damaged or cannot be read.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not path.is_file():
        raise InputError(
            f"The scene in {path.parent} is incomplete: {path.name} is missing.", "Copy the whole scene folder."
        )
    try:
        return _map_file(path) if lazy else load_file(str(path))
    except SafetensorError as error:
        raise InputError(
            f"{path} is damaged or cut short ({error}).", "Copy the whole scene folder again, or save the scene again."
        ) from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "Check the permissions of the file.") from error


def _map_file(path: Path) -> Arrays:
    """Windows into a safetensors file: an 8-byte length, a JSON header, then the bytes of the arrays."""
    from safetensors import safe_open

    with safe_open(str(path), framework="numpy"):
        pass  # checks header and lengths, so that no window reaches beyond the end of the file
    data = np.memmap(path, np.uint8, mode="r")
    start = 8 + int.from_bytes(data[:8].tobytes(), "little")
    header = json.loads(data[8:start].tobytes())
    header.pop("__metadata__", None)
    return {
        name: np.ndarray(entry["shape"], _DTYPES[entry["dtype"]], data, start + entry["data_offsets"][0])
        for name, entry in header.items()
    }
