"""3D Gaussians as .spz, version 2 of Niantic's public format: a gzip stream of quantised columns."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8

from worldline.outputs.export.folder import OutputFolder
from worldline.outputs.export.splats import SH_C0, splats_of, unit_quaternions
from worldline.scene import Scene

_MAGIC, _VERSION, _SH_DEGREE, _FLAGS = 0x5053474E, 2, 0, 0
_MOST_FRACTIONAL_BITS = 20  # one millionth of a unit is enough
_AXES = np.array([1.0, -1.0, -1.0])  # the format's axes are x right, y up, z back


def write_spz(scene: Scene, folder: OutputFolder) -> Path:
    """scene.spz: the world frame turned by half a turn about x (y up, z back), as the format prescribes.

    Steps: position 2^-fractionalBits (as fine as the scene's extent allows), colour 1/38 of a spherical-harmonic
    coefficient (1/136 of the range), scale 1/16 in the logarithm, quaternion 1/127.5, opacity 1/255.
    """
    splats = splats_of(scene)
    positions = splats.means.astype(np.float64) * _AXES
    bits = _fractional_bits(positions)
    w_x_y_z = unit_quaternions(splats.rotations)
    columns = [
        _int24(np.rint(positions * 2.0**bits)),
        _bytes(splats.opacities.astype(np.float64) * 255),
        _bytes((splats.colors.astype(np.float64) - 0.5) / SH_C0 * (0.15 * 255) + 0.5 * 255),
        _bytes((np.log(splats.scales.astype(np.float64).clip(1e-30, None)) + 10) * 16),
        _bytes(w_x_y_z[:, 1:] * _AXES * 127.5 + 127.5),
    ]
    header = struct.pack("<IIIBBBB", _MAGIC, _VERSION, len(positions), _SH_DEGREE, bits, _FLAGS, 0)
    content = b"".join([header, *(column.tobytes() for column in columns)])
    with folder.file("scene.spz") as path:
        path.write_bytes(gzip.compress(content, compresslevel=6, mtime=0))
    return folder.root / "scene.spz"


def _fractional_bits(positions: Float[np.ndarray, "n 3"]) -> int:
    """As many as leave room for the farthest coordinate in a signed 24-bit number."""
    farthest = max(float(np.abs(positions).max(initial=0.0)), 1e-6)
    return int(np.clip(np.floor(np.log2((2**23 - 1) / farthest)), 0, _MOST_FRACTIONAL_BITS))


def _int24(values: Float[np.ndarray, "n 3"]) -> UInt8[np.ndarray, "n 9"]:
    """Signed integers as three bytes each, little endian, two's complement."""
    whole = values.clip(-(2**23), 2**23 - 1).astype("<i4")
    return np.ascontiguousarray(whole).view(np.uint8).reshape(-1, 3, 4)[:, :, :3].reshape(-1, 9)


def _bytes(values: Float[np.ndarray, "*n"]) -> UInt8[np.ndarray, "*n"]:
    return np.rint(values).clip(0, 255).astype(np.uint8)
