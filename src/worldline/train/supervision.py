"""Depth that a stream model learns from, where it is not exact: files of another network, and errors made on purpose.

Driv3R (arXiv 2412.06777) learns from the depth that R3D3 predicts for photos of nuScenes, and asks how the errors of
such a teacher propagate. :func:`read_teacher` and :func:`teacher_depth` read the teacher's files;
:func:`corrupt` gives exact depth errors of chosen kinds and sizes, so that the question can be answered one by one.

Depth is along the optical axis, in metres, 0 where it is unknown.
"""

from __future__ import annotations

import math
import zipfile
import zlib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Float, Float32, Float64

from worldline.errors import InputError
from worldline.inputs.logs.crops import crop_depth
from worldline.types import ImageTransform

Reading = Literal["resized", "padded"]

TEACHER_SIZE = (448, 768)  # height and width of R3D3's maps
_PADDED_SIZE = (450, 800)  # the frame in whose middle the published code puts them
_MIDDLE = 10.0  # metres, the depth that a stretch leaves as it is
_CELLS = 5  # of smooth random fields, along the height of the image


def teacher_file(folder: str | Path, sensor: str, image: str | Path) -> Path:
    """Where R3D3's depth of a photo lies, e.g. ``CAM_FRONT/n015-…_depth(0)_pred.npz`` for ``…/n015-….jpg``."""
    return Path(folder) / sensor / f"{Path(image).stem}_depth(0)_pred.npz"


def read_teacher(path: str | Path) -> Float32[np.ndarray, "height width"]:
    """The array ``depth`` of an ``.npz`` file (448 x 768 from R3D3), metres; 0 where it is not finite or not positive.

    Raises:
        InputError: there is no such file, or it holds no depth map.
    """
    path = Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            depth = np.asarray(file["depth"])
    except FileNotFoundError:
        raise InputError(f"There is no depth file {path}.", "Check the folder and the name of the sensor.") from None
    except KeyError:
        raise InputError(f"{path} has no array called depth.", "Give .npz files as R3D3 writes them.") from None
    except (OSError, ValueError, AttributeError, TypeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path} cannot be read: {error}.", "Give .npz files as R3D3 writes them.") from None
    while depth.ndim > 2 and depth.shape[0] == 1:
        depth = depth[0]
    if depth.ndim != 2 or depth.size == 0 or not np.issubdtype(depth.dtype, np.floating):
        raise InputError(
            f"The depth in {path} has shape {depth.shape} and type {depth.dtype}.", "Give one map of floats per photo."
        )
    depth = depth.astype(np.float32)
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))


def teacher_depth(
    depth: Float[np.ndarray, "height width"],
    transform: ImageTransform,
    *,
    reading: Reading = "resized",
    official: bool = False,
    range_m: tuple[float, float] = (0.1, 80.0),
) -> Float32[np.ndarray, "model_height model_width"]:
    """A teacher's map -> depth of the pixels that the network sees.

    Args:
        depth: as :func:`read_teacher` returns it.
        transform: from the photo to the network's pixels.
        reading: which part of the photo the map shows. ``resized``: all of it, as R3D3's own configuration makes it.
            ``padded``: the middle 448 x 768 of 450 x 800, as Driv3R's published code has it. The contents differ by up
            to 2 % of the width.
        official: as published: always ``padded``, resized twice by Lanczos over 8 x 8 pixels, without a limit of depth.
            This mixes near and far at edges, and beside the padding it leaves small positive values that count as
            known. Otherwise every pixel takes the one value at its centre, so that no depth is invented.
        range_m: nearest and farthest depth to trust, R3D3's own range of evaluation; without effect on ``official``.

    Raises:
        InputError: an unknown reading, or a map that cannot be padded.
    """
    if reading not in ("resized", "padded"):
        raise InputError(f"There is no reading of depth maps called {reading!r}.", "Choose resized or padded.")
    if official or reading == "padded":
        if depth.shape != TEACHER_SIZE:
            raise InputError(
                f"A depth map of {depth.shape[1]}x{depth.shape[0]} is no middle part of 800x450.",
                "Use reading='resized' for maps of other sizes than 768x448.",
            )
        (rows, columns), (height, width) = TEACHER_SIZE, _PADDED_SIZE
        depth = np.pad(depth, (((height - rows) // 2,) * 2, ((width - columns) // 2,) * 2))
    if official:
        return _twice_resized(depth, transform)
    values = _at_centers(depth, transform)
    return np.where((values >= range_m[0]) & (values <= range_m[1]), values, np.float32(0))


def _twice_resized(
    depth: Float[np.ndarray, "height width"], transform: ImageTransform
) -> Float32[np.ndarray, "model_height model_width"]:
    """To the size of the photo, then to the network's; both as the published code does."""
    height, width = depth.shape
    full = transform.original_size
    photo = crop_depth(depth.astype(np.float32), ImageTransform((height, width), full, (0, 0), full))
    values = crop_depth(photo, transform)
    return np.where(np.isfinite(values) & (values > 0), values, np.float32(0))


def _at_centers(
    depth: Float[np.ndarray, "height width"], transform: ImageTransform
) -> Float32[np.ndarray, "model_height model_width"]:
    """The value at the centre of every model pixel; the map covers the whole photo. 0 in padding."""
    height, width = transform.model_size
    places = transform.to_original(np.stack([np.arange(max(height, width))] * 2, -1))
    lines = []
    for axis, count in ((1, height), (0, width)):
        scale = depth.shape[1 - axis] / transform.original_size[1 - axis]
        line = np.floor((places[:count, axis] + 0.5) * scale).astype(int)
        lines.append(np.clip(line, 0, depth.shape[1 - axis] - 1))
    return np.where(transform.inside, depth[np.ix_(*lines)], 0).astype(np.float32)


@dataclass(frozen=True)
class Corruption:
    """Errors of a teacher, each off at its default. All but the last two multiply the depth, so it stays positive."""

    bias: float = 0.0  # of all depths alike: 0.1 = 10 % too far. A loss that divides by the scale hardly sees it
    stretch: float = 0.0  # depth becomes depth · (depth / 10 m) ** stretch: far things too far, near ones too near
    wander: float = 0.0  # standard deviation of log depth, changing smoothly over the image, new in every image
    noise: float = 0.0  # standard deviation of log depth, of every pixel on its own
    holes: float = 0.0  # share of the pixels without depth, in blobs
    farthest: float = math.inf  # metres; there is no depth beyond (of the wrong depths)

    def __post_init__(self) -> None:
        known = all(math.isfinite(getattr(self, field.name)) for field in fields(self) if field.name != "farthest")
        if not known or self.bias <= -1 or min(self.wander, self.noise) < 0 or not 0 <= self.holes <= 1:
            raise InputError(
                f"Depth cannot be corrupted by {self}.", "Use bias > -1, wander and noise >= 0, holes from 0 to 1."
            )
        if not self.farthest > 0:
            raise InputError(f"The farthest depth is {self.farthest}.", "Give metres above 0.")

    @classmethod
    def parse(cls, text: str) -> Corruption:
        """For instance ``bias=0.1,holes=0.2``; ``none`` or nothing is no error. The inverse of ``str``.

        Raises:
            InputError: an unknown kind, or no number.
        """
        names = [field.name for field in fields(cls)]
        values: dict[str, float] = {}
        for part in text.split(",") if text.strip() not in ("", "none") else []:
            name, _, number = (word.strip() for word in part.partition("="))
            if name not in names or name in values:
                raise InputError(f"{part.strip()!r} is no error of depth.", f"Give NAME=NUMBER of {', '.join(names)}.")
            try:
                values[name] = float(number)
            except ValueError:
                raise InputError(f"{name} is {number!r}, which is no number.", f"Write {name}=0.1.") from None
        return cls(**values)

    def __str__(self) -> str:
        changed = [field.name for field in fields(self) if getattr(self, field.name) != field.default]
        return ",".join(f"{name}={getattr(self, name):g}" for name in changed) or "none"


def corrupt(
    depth: Float[np.ndarray, "*image height width"], errors: Corruption, rng: np.random.Generator
) -> Float[np.ndarray, "*image height width"]:
    """Exact depth -> depth as a teacher with these errors would give it. Unknown pixels (0) stay unknown.

    Every image has its own pattern. The pattern depends on ``rng`` and the shape alone: with the same generator, a
    larger error of a kind is the same error, enlarged, and holes grow.
    """
    if errors == Corruption():
        return depth
    *images, height, width = depth.shape
    count = math.prod(images)
    # a stream of random numbers per kind: one that is off does not shift the others
    wander, missing, noise = (np.random.default_rng(seed) for seed in rng.integers(2**63, size=3))
    exact = depth.reshape(count, height, width).astype(np.float64)
    known = np.isfinite(exact) & (exact > 0)
    factor = np.where(known, exact / _MIDDLE, 1.0) ** errors.stretch * (1 + errors.bias)
    if errors.wander:
        factor *= np.exp(errors.wander * _smooth_fields(wander, count, height, width))
    if errors.noise:
        factor *= np.exp(errors.noise * noise.standard_normal((count, height, width)))
    found = np.where(known, exact, 0) * factor
    found[found > errors.farthest] = 0
    if errors.holes:
        field = _smooth_fields(missing, count, height, width).reshape(count, -1)
        missed = round(errors.holes * height * width)
        lowest = np.argpartition(field, max(missed - 1, 0), axis=1)[:, :missed]
        np.put_along_axis(found.reshape(count, -1), lowest, 0, axis=1)
    return found.reshape(depth.shape).astype(depth.dtype)


def _smooth_fields(
    rng: np.random.Generator, count: int, height: int, width: int
) -> Float64[np.ndarray, "count height width"]:
    """Random fields of mean 0 and variance 1 at every pixel, which change over about a fifth of the image's height."""
    rows = _blend(height, height / _CELLS)
    columns = _blend(width, height / _CELLS)
    knots = rng.standard_normal((count, rows.shape[1], columns.shape[1]))
    return rows @ knots @ columns.T


def _blend(length: int, cell: float) -> Float64[np.ndarray, "length knot"]:
    """Weights of knots that are ``cell`` pixels apart; the squares of every row add up to 1."""
    place = (np.arange(length) + 0.5) / cell
    first = np.floor(place).astype(int)
    share = place - first
    angle = np.pi / 2 * share * share * (3 - 2 * share)  # smooth at the knots
    weights = np.zeros((length, first[-1] + 2))
    weights[np.arange(length), first] = np.cos(angle)
    weights[np.arange(length), first + 1] = np.sin(angle)
    return weights
