"""Contact sheets: many samples on one picture, to look at what a layout makes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from worldline.worlds.sampling import WorldSample


def contact_sheet(samples: Sequence[WorldSample], *, gap: int = 2, truth: bool = False) -> UInt8[np.ndarray, "y x 3"]:
    """One row per sample with its photos side by side.

    Args:
        samples: equally many views of equal size each.
        gap: white pixels between pictures.
        truth: append depth, normals and instances of the first view to each row.
    """
    rows = []
    for sample in samples:
        pictures = list(sample.images.cpu().numpy())
        if truth:
            pictures += _truth(sample)
        rows.append(np.concatenate([_framed(p, gap) for p in pictures], 1))
    return np.concatenate(rows, 0)


def _framed(picture: UInt8[np.ndarray, "y x 3"], gap: int) -> UInt8[np.ndarray, "y2 x2 3"]:
    return np.pad(picture, ((0, gap), (0, gap), (0, 0)), constant_values=255)


def _truth(sample: WorldSample) -> list[UInt8[np.ndarray, "y x 3"]]:
    """Depth (near is bright), normals (axes as colours) and instances (random colours) of the first view."""
    depth = sample.depth[0].cpu().numpy()
    near = depth.min() / np.maximum(depth, 1e-6)
    normals = sample.normals[0].cpu().numpy() * 0.5 + 0.5
    instance = sample.instance[0].cpu().numpy()
    palette = np.random.default_rng(7).uniform(0.15, 1.0, (int(instance.max()) + 2, 3))
    maps = (np.repeat(near[..., None], 3, -1), normals, palette[instance + 1])
    return [(m * 255).astype(np.uint8) for m in maps]
