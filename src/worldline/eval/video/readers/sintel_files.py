"""Binary files of MPI Sintel: depth (.dpt), cameras (.cam) and flow (.flo); little-endian, tag 202021.25."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

from worldline.errors import InputError
from worldline.files import replacing_file, reporting

_TAG = struct.pack("<f", 202021.25)  # "PIEH"
_UNKNOWN = 1e9  # flow of larger magnitude is not known


def read_dpt(path: Path) -> Float32[np.ndarray, "height width"]:
    """Depth along the optical axis in metres; the sky is very far away.

    Raises:
        InputError: the file is missing, damaged, or of another kind.
    """
    return _read_raster(path, 1)[..., 0]


def write_dpt(path: Path, depth: Float[np.ndarray, "height width"]) -> None:
    """Write a depth map."""
    _write_raster(path, np.asarray(depth)[..., None])


def read_flo(path: Path) -> tuple[Float32[np.ndarray, "height width 2"], Bool[np.ndarray, "height width"]]:
    """Flow (u, v) in pixels, 0 where it is not known, and where it is.

    Raises:
        InputError: the file is missing, damaged, or of another kind.
    """
    flow = _read_raster(path, 2)
    with np.errstate(invalid="ignore"):
        known = (np.abs(flow) <= _UNKNOWN).all(-1)
    return np.where(known[..., None], flow, np.float32(0)), known


def write_flo(path: Path, flow: Float[np.ndarray, "height width 2"]) -> None:
    """Write a flow field (Middlebury's format)."""
    _write_raster(path, np.asarray(flow))


def read_cam(path: Path) -> tuple[Float64[np.ndarray, "3 3"], Float64[np.ndarray, "4 4"]]:
    """Intrinsics in pixels and ``cam_from_world``.

    Raises:
        InputError: the file is missing, damaged, or of another kind.
    """
    body = _body(path)
    if len(body) != 21 * 8:
        raise InputError(f"{path} holds {len(body) // 8} numbers.", "A .cam file holds K (9) and [R|t] (12).")
    values = np.frombuffer(body, "<f8")
    pose = np.eye(4)
    pose[:3] = values[9:].reshape(3, 4)
    return values[:9].reshape(3, 3).copy(), pose


def write_cam(path: Path, intrinsics: Float[np.ndarray, "3 3"], cam_from_world: Float[np.ndarray, "4 4"]) -> None:
    """Write a camera."""
    numbers = np.concatenate([np.ravel(intrinsics), np.ravel(np.asarray(cam_from_world)[:3])])
    _write(path, _TAG + numbers.astype("<f8").tobytes())


def _read_raster(path: Path, channels: int) -> Float32[np.ndarray, "height width channel"]:
    body = _body(path)
    width, height = struct.unpack("<ii", body[:8]) if len(body) >= 8 else (0, 0)
    values = np.frombuffer(body[8:], "<f4") if len(body) % 4 == 0 else np.zeros(0, np.float32)
    if width < 1 or height < 1 or values.size != width * height * channels:
        raise InputError(
            f"{path} says {width} x {height} pixels and holds {values.size} numbers.", "It is cut off: copy it again."
        )
    return values.reshape(height, width, channels).copy()


def _body(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).", "Check the path.") from error
    if content[:4] != _TAG:
        raise InputError(f"{path} is no file of Sintel's kind (its tag is wrong).", "Give .dpt, .cam or .flo files.")
    return content[4:]


def _write_raster(path: Path, values: Float[np.ndarray, "height width channel"]) -> None:
    height, width = values.shape[:2]
    _write(path, _TAG + struct.pack("<ii", width, height) + values.astype("<f4").tobytes())


def _write(path: Path, content: bytes) -> None:
    with reporting(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(path) as temporary:
            temporary.write_bytes(content)
