"""How the photos of a rig become network inputs: whole at one size per camera, or as overlapping squares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, UInt8
from PIL import Image

from worldline.errors import InputError
from worldline.inputs.fit import PATCH, apply_fit
from worldline.inputs.logs.crops import square_crops
from worldline.types import ImageTransform

_LONGEST_SIDE = 64  # patches


@dataclass(frozen=True)
class Framing:
    """The network inputs that one camera's photo gives: one whole, or several squares that overlap."""

    parts: tuple[ImageTransform, ...]
    merged: ImageTransform  # of the map that is returned: the whole photo at the scale of the parts

    @property
    def offsets(self) -> tuple[tuple[int, int], ...]:
        """(row, column) of every part in the merged map."""
        top, left = self.merged.crop_offset
        return tuple((part.crop_offset[0] - top, part.crop_offset[1] - left) for part in self.parts)


def whole(size: tuple[int, int], pixels: int) -> Framing:
    """A photo of (height, width), as much of it as multiples of the patch allow, in about so many pixels.

    The photo is shrunk until it just covers the network's image and its margins are cut, at most a few per cent. A
    photo with fewer pixels is not enlarged beyond the next multiple of the patch.
    """
    height, width = size
    budget = min(pixels, max(height * width, PATCH * PATCH))
    best = min(
        ((rows, columns) for rows in range(1, _LONGEST_SIDE + 1) for columns in range(1, _LONGEST_SIDE + 1)),
        key=lambda grid: _misfit(grid, size, budget),
    )
    target = best[0] * PATCH, best[1] * PATCH
    scale = max(target[0] / height, target[1] / width)
    resized = max(target[0], round(height * scale)), max(target[1], round(width * scale))
    offset = (resized[0] - target[0]) // 2, (resized[1] - target[1]) // 2
    transform = ImageTransform(size, resized, offset, target)
    return Framing((transform,), transform)


def _misfit(grid: tuple[int, int], size: tuple[int, int], budget: int) -> float:
    shape = math.log(grid[1] / grid[0] * size[0] / size[1])
    area = math.log(grid[0] * grid[1] * PATCH * PATCH / budget)
    return abs(shape) + (0.5 if area <= 0 else 0.7) * abs(area)


def squares(size: tuple[int, int], side: int) -> Framing:
    """A photo of (height, width) in squares of ``side`` pixels that overlap, as the published code cuts it."""
    parts = tuple(square_crops(size, side))
    if not parts:
        raise InputError(f"A photo of {size[1]}x{size[0]} pixels gives no squares.", "Use whole images.")
    resized = parts[0].resized_size
    return Framing(parts, ImageTransform(size, resized, (0, 0), resized))


def cut(image: UInt8[np.ndarray, "height width 3"], transform: ImageTransform) -> UInt8[np.ndarray, "h w 3"]:
    """A photo as the network sees it."""
    return apply_fit(Image.fromarray(image), transform)


class Part(NamedTuple):
    """Maps of one network input."""

    points: Float32[np.ndarray, "height width 3"]  # all parts in one frame
    depth: Float32[np.ndarray, "height width"]
    confidence: Float32[np.ndarray, "height width"]
    valid: Bool[np.ndarray, "height width"]


def blend(framing: Framing, parts: Sequence[Part]) -> tuple[Part, float | None]:
    """The parts of a photo as one map.

    Where parts overlap their points are averaged with weights that fall to 0 at the border of a part, so that no edge
    appears; pixels of one ray stay on it.

    Returns:
        the merged map, and the seam: the median of |difference| / mean of the depths where two parts see the same.
    """
    if len(parts) == 1:
        return parts[0], None
    height, width = framing.merged.model_size
    points, depth = np.zeros((height, width, 3)), np.zeros((height, width))
    confidence, weight = np.zeros((height, width)), np.zeros((height, width))
    first, seams = np.zeros((height, width), np.float32), []
    for (top, left), part in zip(framing.offsets, parts, strict=True):
        place = slice(top, top + part.depth.shape[0]), slice(left, left + part.depth.shape[1])
        both = (first[place] > 0) & part.valid
        seams.append(np.abs(first[place] - part.depth)[both] * 2 / (first[place] + part.depth)[both])
        share = np.where(part.valid, _tent(*part.depth.shape), 0.0)
        points[place] += share[..., None] * part.points
        depth[place] += share * part.depth
        confidence[place] += share * part.confidence
        weight[place] += share
        first[place] = np.where((first[place] == 0) & part.valid, part.depth, first[place])
    known, safe = weight > 0, np.maximum(weight, 1e-12)
    merged = Part(
        (points / safe[..., None]).astype(np.float32),
        (depth / safe).astype(np.float32),
        np.where(known, confidence / safe, 1e-6).astype(np.float32),
        known,
    )
    disagreement = np.concatenate(seams)
    return merged, float(np.median(disagreement)) if len(disagreement) else None


def _tent(height: int, width: int) -> Float64[np.ndarray, "height width"]:
    """1 at the centre, nearly 0 at the border."""
    rows, columns = (1 - np.abs((np.arange(n) + 0.5) * 2 / n - 1) for n in (height, width))
    return np.outer(rows, columns) + 1e-3
