"""From scores of pixels to masks of whole objects."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from scipy import ndimage

from worldline.scene.motion.superpixels import Superpixels, superpixels


@dataclass(frozen=True)
class ClassicOptions:
    """Thresholds of the classical refiner, chosen on validation streets of ``worlds`` (docs/motion.md)."""

    seed: float = 4.0  # standard deviations from which a pixel may found an object
    grow: float = 2.0  # from which it may join one
    seed_share: float = 0.5  # of a region's pixels that are seeds, to found an object
    grow_share: float = 0.5  # of a region's known pixels, to join one
    surrounded: float = 0.6  # share of a border that lies on the object, for a region about which nothing is known
    depth_step: float = 0.05  # mean change of log depth across a border that stops growth
    side: int = 6  # pixels of a superpixel
    least: float = 0.0008  # share of the image that an object has at least


def refine(
    score: Float32[np.ndarray, "height width"],
    known: Bool[np.ndarray, "height width"],
    image: UInt8[np.ndarray, "height width 3"],
    depth: Float[np.ndarray, "height width"],
    options: ClassicOptions | None = None,
) -> Bool[np.ndarray, "height width"]:
    """Whole moving objects by growing superpixels from the surest ones; edges of the depth stop it.

    Args:
        score: standard deviations from a still world, see :func:`worldline.scene.motion.motion_score`.
        known: where the score means something; elsewhere only the surroundings can tell.
        image, depth: of the same frame; depth not positive where unknown.
        options: thresholds.
    """
    options = options or ClassicOptions()
    if not (known & (score > options.seed)).any():
        return np.zeros_like(known)
    regions = superpixels(image, depth, options.side)
    usable = regions.share(depth > 0) > 0.5
    informed = regions.share(known)
    hot = regions.mean((score > options.seed).astype(np.float32), known)
    warm = regions.mean((score > options.grow).astype(np.float32), known)
    seeds = usable & (hot >= options.seed_share) & (informed >= 0.4)
    may = usable & (warm >= options.grow_share) & (informed >= 0.4)
    chosen = _grow(regions, seeds, may, options)
    chosen = _fill(regions, chosen, usable & (informed < 0.4), options)
    mask = chosen[regions.label] & (depth > 0)
    return _large(mask, options.least)


def _grow(regions: Superpixels, seeds: np.ndarray, may: np.ndarray, options: ClassicOptions) -> np.ndarray:
    """All regions that can be reached from the seeds through others that may, without crossing a depth edge."""
    open_ = regions.step < options.depth_step
    a, b = regions.pairs[open_].T
    chosen = seeds.copy()
    while True:
        reached = np.zeros_like(chosen)
        reached[a[chosen[b]]] = True
        reached[b[chosen[a]]] = True
        new = reached & may & ~chosen
        if not new.any():
            return chosen
        chosen |= new


def _fill(regions: Superpixels, chosen: np.ndarray, unknown: np.ndarray, options: ClassicOptions) -> np.ndarray:
    """Regions about which nothing is known join the object that surrounds them at their own depth."""
    a, b = regions.pairs.T
    smooth = regions.step < options.depth_step
    weight = np.where(smooth, regions.border, 0)
    around = np.bincount(a, weight, minlength=regions.count) + np.bincount(b, weight, minlength=regions.count)
    chosen = chosen.copy()
    for _ in range(8):
        on = np.bincount(a, weight * chosen[b], minlength=regions.count)
        on += np.bincount(b, weight * chosen[a], minlength=regions.count)
        new = unknown & ~chosen & (on >= options.surrounded * around) & (around > 0)
        if not new.any():
            break
        chosen |= new
    return chosen


def _large(mask: Bool[np.ndarray, "height width"], least: float) -> Bool[np.ndarray, "height width"]:
    """Without components that are too small to be an object."""
    label, count = ndimage.label(mask, np.ones((3, 3), bool))
    if count == 0:
        return mask
    size = np.bincount(label.ravel())
    size[0] = 0
    return size[label] >= max(4.0, least * mask.size)
