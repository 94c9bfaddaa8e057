"""Depth maps on disk: PNG, NPY and PFM, whatever their unit, as metres along the optical axis."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64
from PIL import Image

from worldline.errors import InputError
from worldline.types import Camera

MILLIMETRE = 1e-3


@dataclass(frozen=True)
class DepthMap:
    """One file and what its numbers mean."""

    path: Path
    unit: float = MILLIMETRE  # metres (or the world's unit) per stored unit
    camera: Camera | None = None  # the camera that measured it; None: the photo's own, at any resolution
    unknown: float | None = None  # a stored value that means "no value", besides 0 and what is not finite

    def read(self) -> Float64[np.ndarray, "height width"]:
        """Depth in metres (the world's unit), 0 where it is not known.

        Raises:
            InputError: the file is missing, damaged or of another kind.
        """
        try:
            stored = _READERS[self.path.suffix.lower()](self.path)
        except KeyError as error:
            raise InputError(
                f"{self.path} is no depth map of a known kind.", f"Known are: {', '.join(_READERS)}."
            ) from error
        except (OSError, ValueError) as error:
            raise InputError(f"The depth map {self.path} cannot be read ({error}).", "Export it again.") from error
        known = np.isfinite(stored) & (stored > 0)
        if self.unknown is not None:
            known &= stored != self.unknown
        return np.where(known, stored, 0.0) * self.unit


def _read_png(path: Path) -> Float64[np.ndarray, "height width"]:
    with Image.open(path) as image:
        return _flat(np.asarray(image, dtype=np.float64))


def _read_npy(path: Path) -> Float64[np.ndarray, "height width"]:
    return _flat(np.load(path, allow_pickle=False).astype(np.float64))


def read_pfm(path: Path) -> Float64[np.ndarray, "height width"]:
    """A grey Portable FloatMap: rows from the bottom up, byte order by the sign of the scale."""
    with path.open("rb") as file:
        kind = file.readline().strip()
        size = re.fullmatch(rb"(\d+)\s+(\d+)\s*", file.readline())
        if kind != b"Pf" or size is None:
            raise ValueError("no grey PFM")
        width, height = int(size[1]), int(size[2])
        order = "<" if float(file.readline()) < 0 else ">"
        values = np.frombuffer(file.read(), dtype=order + "f4")
    return values.reshape(height, width)[::-1].astype(np.float64)


def _flat(values: np.ndarray) -> Float64[np.ndarray, "height width"]:
    if values.ndim == 3 and values.shape[2] == 1:  # Habitat's sensors keep a channel axis
        values = values[..., 0]
    if values.ndim != 2:
        raise ValueError(f"its shape is {values.shape}")
    return values


_READERS = {".png": _read_png, ".npy": _read_npy, ".pfm": read_pfm}
