"""Points for a web page: an even subset of a scene's pixels, packed into about five bytes each.

A point is stored as seen from the camera that made it: direction and logarithm of the distance, 16 bits each, so its
error is the same share of a pixel and of the distance near and far, and one stray point cannot coarsen the others.
Neighbouring pixels hardly differ, so it is the differences that are compressed.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8

from worldline.scene import Scene, SceneView

STEPS = 65535  # of a coordinate
LEVELS = 256  # of confidence
_BASE64 = 4 / 3
_LEAST_BYTES = 3.0  # per point, compressed: no scene packs tighter
_ATTEMPTS = 8
_CLOSEST = 1e-9  # times the distance of a view's farthest point; nearer ones are taken to be there
_PLANE = np.array([0.7548776662466927, 0.5698402909980532])  # R2 sequence: any share of it covers the plane evenly


@dataclass(frozen=True)
class Block:
    """The points of one view: first those that stand still, then those that move."""

    view: int  # index in the scene
    still: int
    moving: int
    log_near: float  # natural logarithm of the distances from the camera's centre that 0 and STEPS stand for
    log_far: float


@dataclass(frozen=True)
class PackedPoints:
    """What a page needs to draw the points; :func:`pack_points` says how ``data`` is laid out."""

    data: bytes  # zlib
    blocks: tuple[Block, ...]
    levels: Float64[np.ndarray, "256"]  # confidence k of LEVELS is at least levels[k]
    total: int  # valid pixels of the scene, of which count were taken
    share: float  # chance of a pixel to be taken

    @property
    def count(self) -> int:
        """Points in ``data``."""
        return sum(block.still + block.moving for block in self.blocks)


def pack_within(scene: Scene, max_bytes: int) -> PackedPoints:
    """As many of a scene's points as fit into ``max_bytes`` of base64, evenly chosen; the same for the same scene."""
    total = sum(int(view.mask.sum()) for view in scene.views)
    share = min(1.0, max(max_bytes, 1) / (_BASE64 * _LEAST_BYTES * max(total, 1)))
    for _ in range(_ATTEMPTS):
        packed = pack_points(scene, share, total)
        size = _BASE64 * len(packed.data)
        if size <= max_bytes or not packed.count:
            return packed
        share *= 0.97 * max_bytes / size
    return pack_points(scene, 0.0, total)


def pack_points(scene: Scene, share: float, total: int) -> PackedPoints:
    """Take ``share`` of the valid pixels of every view.

    ``data`` is zlib of ten planes of one byte per point, views in input order: low bytes of the three coordinates,
    high bytes of the three, then G, R - G, B - G and the level of confidence. All hold differences to the point
    before; those of coordinates are 0, -1, 1, -2, … -> 0, 1, 2, 3, … modulo 2^16, the others are modulo 2^8.
    """
    blocks, coordinates, colors, confidences = [], [], [], []
    for index, view in enumerate(scene.views):
        order, moving = _chosen(view, index, share)
        steps, near, far = _steps(view.points[order].astype(np.float64) - view.camera.center)
        blocks.append(Block(index, len(steps) - moving, moving, near, far))
        coordinates.append(steps)
        colors.append(view.image[order])
        confidences.append(view.confidence[order])
    confidence = np.concatenate([np.zeros(0, np.float32), *confidences])
    levels = confidence_levels(confidence)
    ranks = (np.searchsorted(levels, confidence, side="right") - 1).clip(0, LEVELS - 1)
    steps = np.concatenate([np.zeros((0, 3), np.int64), *coordinates])
    rgb = np.concatenate([np.zeros((0, 3), np.uint8), *colors])
    data = zlib.compress(b"".join(_planes(steps, rgb, ranks)), 6)
    return PackedPoints(data, tuple(blocks), levels, total, share)


def confidence_levels(confidence: Float32[np.ndarray, "n"]) -> Float64[np.ndarray, "256"]:
    """Thresholds that cut a set of confidences into LEVELS equal parts; ``levels[0]`` is the smallest confidence."""
    if not len(confidence):
        return np.ones(LEVELS)
    levels = np.quantile(confidence.astype(np.float64), np.arange(LEVELS) / LEVELS, method="lower")
    levels[0] = confidence.min()
    return levels


def _chosen(view: SceneView, index: int, share: float) -> tuple[tuple[Int64[np.ndarray, "n"], ...], int]:
    """Rows and columns of the pixels to take, those that move last, and the number of those."""
    rows, columns = np.mgrid[0 : view.mask.shape[0], 0 : view.mask.shape[1]]
    lottery = (columns * _PLANE[0] + rows * _PLANE[1] + 0.618 * index) % 1.0
    take = view.mask & (lottery < share)
    moves: Bool[np.ndarray, "h w"] = np.zeros_like(take) if view.dynamic is None else take & view.dynamic
    still_at, moving_at = np.nonzero(take & ~moves), np.nonzero(moves)
    rows, columns = (np.concatenate(pair) for pair in zip(still_at, moving_at, strict=True))
    return (rows, columns), len(moving_at[0])


def _steps(offsets: Float64[np.ndarray, "n 3"]) -> tuple[Int64[np.ndarray, "n 3"], float, float]:
    """Points relative to a camera's centre -> whole steps of (octahedral x, octahedral y, log distance), log range."""
    if not len(offsets):
        return np.zeros((0, 3), np.int64), 0.0, 0.0
    distance = np.linalg.norm(offsets, axis=1)
    distance = np.maximum(distance, max(_CLOSEST * float(distance.max()), 1e-30))
    logs = np.log(distance)
    near, far = float(logs.min()), float(logs.max())
    height = (logs - near) / max(far - near, 1e-12)
    unit = np.concatenate([0.5 + 0.5 * octahedral(offsets / distance[:, None]), height[:, None]], axis=1)
    return np.rint(unit * STEPS).astype(np.int64), near, far


def octahedral(directions: Float[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 2"]:
    """Unit vectors -> the square [-1, 1]^2: the sphere projected onto an octahedron and unfolded."""
    folded = directions / np.maximum(np.abs(directions).sum(axis=1, keepdims=True), 1e-30)
    plane = folded[:, :2]
    sign = np.where(plane < 0, -1.0, 1.0)
    return np.where(folded[:, 2:] < 0, (1 - np.abs(plane[:, ::-1])) * sign, plane)


def _planes(
    steps: Int64[np.ndarray, "n 3"], rgb: UInt8[np.ndarray, "n 3"], ranks: Int64[np.ndarray, "n"]
) -> Iterator[bytes]:
    change = (np.diff(steps, axis=0, prepend=0) + 32768) % 65536 - 32768
    folded = np.where(change < 0, -2 * change - 1, 2 * change)
    yield from _bytes(folded.T & 255)
    yield from _bytes(folded.T >> 8)
    red, green, blue = rgb.astype(np.int64).T
    yield from _bytes(np.diff([green, red - green, blue - green, ranks], axis=1, prepend=0) & 255)


def _bytes(rows: Sequence[np.ndarray] | np.ndarray) -> Iterator[bytes]:
    return (row.astype(np.uint8).tobytes() for row in rows)
