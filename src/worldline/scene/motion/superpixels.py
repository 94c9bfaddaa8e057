"""Superpixels of an image with depth: small regions that stop at edges of either (SLIC, Achanta et al., TPAMI 2012)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Int32, Int64, UInt8

_ROUNDS = 4
_COLOR = 12.0  # grey levels that weigh as much as one region's side
_LOG_DEPTH = 0.08  # log depth that does
_SKY = 3.0  # log depth of what has none, above the furthest


@dataclass(frozen=True)
class Superpixels:
    """A partition of an image. Regions need not be connected."""

    label: Int32[np.ndarray, "height width"]
    count: int
    pairs: Int64[np.ndarray, "n 2"]  # neighbours, the smaller label first, rising
    border: Int64[np.ndarray, "n"]  # pixel edges between them
    step: Float32[np.ndarray, "n"]  # mean change of log depth across that border

    def share(self, mask: Bool[np.ndarray, "height width"]) -> Float[np.ndarray, "count"]:
        """Share of every region's pixels that are in a mask."""
        inside = np.bincount(self.label[mask], minlength=self.count)
        return inside / np.maximum(np.bincount(self.label.ravel(), minlength=self.count), 1)

    def mean(
        self, values: Float[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"]
    ) -> Float[np.ndarray, "count"]:
        """Mean of a map over the masked pixels of every region; 0 where there are none."""
        total = np.bincount(self.label[mask], values[mask], minlength=self.count)
        return total / np.maximum(np.bincount(self.label[mask], minlength=self.count), 1)


def superpixels(
    image: UInt8[np.ndarray, "height width 3"], depth: Float[np.ndarray, "height width"], side: int = 8
) -> Superpixels:
    """Partition of an image into regions of about ``side`` x ``side`` pixels.

    Args:
        image: RGB.
        depth: not positive where unknown (those pixels keep together).
        side: of a region, pixels.
    """
    height, width = depth.shape
    rows, columns = max(1, round(height / side)), max(1, round(width / side))
    log = _log_depth(depth)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    row, column = (y * rows / height).astype(np.int32), (x * columns / width).astype(np.int32)
    smooth = image.astype(np.float32)
    features = np.concatenate(
        [smooth / _COLOR, log[..., None] / _LOG_DEPTH, x[..., None] / side, y[..., None] / side], -1
    )
    flat = features.reshape(-1, 6)
    label = row * columns + column
    candidates = [
        np.clip(row + dy, 0, rows - 1) * columns + np.clip(column + dx, 0, columns - 1)
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    ]
    count = rows * columns
    for _ in range(_ROUNDS):
        members = np.maximum(np.bincount(label.ravel(), minlength=count), 1)
        centers = np.stack([np.bincount(label.ravel(), f, minlength=count) for f in flat.T], -1) / members[:, None]
        centers = centers.astype(np.float32)
        best = np.full((height, width), np.inf, np.float32)
        chosen = label
        for candidate in candidates:
            difference = features - centers[candidate]
            distance = np.einsum("hwf,hwf->hw", difference, difference)
            closer = distance < best
            best, chosen = np.where(closer, distance, best), np.where(closer, candidate, chosen)
        label = chosen
    pairs, border, step = _neighbours(label, log, count)
    return Superpixels(label.astype(np.int32), count, pairs, border, step)


def _log_depth(depth: Float[np.ndarray, "height width"]) -> Float32[np.ndarray, "height width"]:
    known = depth > 0
    log = np.log(np.where(known, depth, 1.0)).astype(np.float32)
    return np.where(known, log, (log[known].max() if known.any() else 0.0) + _SKY).astype(np.float32)


def _neighbours(
    label: np.ndarray, log: Float32[np.ndarray, "height width"], count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    ends = [(label[:, :-1], label[:, 1:], log[:, :-1], log[:, 1:]), (label[:-1], label[1:], log[:-1], log[1:])]
    first, second, jump = (
        np.concatenate([part(e).ravel() for e in ends])
        for part in (lambda e: e[0], lambda e: e[1], lambda e: np.abs(e[2] - e[3]))
    )
    apart = first != second
    low, high = np.minimum(first, second)[apart].astype(np.int64), np.maximum(first, second)[apart]
    keys, index, border = np.unique(low * count + high, return_inverse=True, return_counts=True)
    step = np.bincount(index, jump[apart]) / np.maximum(border, 1)
    return np.stack([keys // count, keys % count], -1), border, step.astype(np.float32)
