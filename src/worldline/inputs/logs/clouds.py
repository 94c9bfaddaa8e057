"""Point clouds of LiDAR files: raw float32 rows, numpy arrays and PLY."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from worldline.errors import InputError

CLOUD_SUFFIXES = (".bin", ".npy", ".npz", ".ply")
_INTENSITY = ("intensity", "reflectance", "scalar_intensity", "i")


def read_cloud(path: Path, columns: int) -> Float32[np.ndarray, "n columns"]:
    """Rows x, y, z and, where the file has it, intensity and more; rows with a coordinate that is not finite left out.

    Args:
        path: .bin holds float32 rows of ``columns`` numbers (little-endian), .npy an array [n, 3 or more], .npz such an
            array as its only member or as ``data``, .ply vertices with x, y, z.

    Raises:
        InputError: the file is gone, damaged, or holds something else.
    """
    try:
        rows = _rows(path, columns)
    except FileNotFoundError as error:
        raise InputError(f"The LiDAR file {path} does not exist.", "Copy it again from the source.") from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"The LiDAR file {path} is damaged ({error}).", "Copy it again from the source.") from error
    return rows[np.isfinite(rows[:, :3]).all(axis=1)]


def _rows(path: Path, columns: int) -> Float32[np.ndarray, "n columns"]:
    suffix = path.suffix.lower()
    if suffix == ".ply":
        return _ply_rows(path)
    if suffix == ".bin":
        values = np.frombuffer(path.read_bytes(), "<f4")
        if values.size % columns:
            raise ValueError(f"{values.size} numbers are no rows of {columns}")
        return values.reshape(-1, columns).astype(np.float32)
    values = np.load(path, allow_pickle=False)
    if suffix == ".npz":
        values = values["data"] if "data" in values.files else values[values.files[0]]
    if values.ndim != 2 or values.shape[1] < 3:
        raise ValueError(f"an array of shape {values.shape} is no list of points")
    return values.astype(np.float32)


def _ply_rows(path: Path) -> Float32[np.ndarray, "n columns"]:
    from plyfile import PlyData, PlyParseError

    try:
        vertices = PlyData.read(str(path))["vertex"]
    except PlyParseError as error:
        raise ValueError(str(error)) from error
    names = [prop.name for prop in vertices.properties]
    extra = [name for name in _INTENSITY if name in names][:1]
    return np.stack([np.asarray(vertices[name], np.float32) for name in ("x", "y", "z", *extra)], axis=1)
