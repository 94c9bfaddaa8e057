"""How large points must be drawn so that surfaces are closed, and not larger: from a sample of each view's pixels."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Float32, Float64, Int

_SLANTED = 1.3  # neighbours in a photo are so much farther apart on a surface at 40 degrees to it
_SCATTERED = 2.4  # of points thrown at random, discs of so many times their mean distance leave 1 % of a surface bare
_MOST_OVERLAP = 16.0


def diameters(
    footprints: Float64[np.ndarray, "view"], overlaps: Float64[np.ndarray, "view"], share: float
) -> Float64[np.ndarray, "view"]:
    """Diameters of the points of each view.

    Args:
        footprints: distance of neighbouring points of a view, in units of the scene.
        overlaps: how many of the views that are drawn show the same surface, itself among them.
        share: of the points that is drawn.
    """
    grid = _SLANTED * footprints
    scattered = _SCATTERED * footprints / np.sqrt(np.clip(overlaps, 1, _MOST_OVERLAP))
    return np.minimum(grid, scattered) / np.sqrt(max(share, 1e-6))


def view_footprints(
    depth: Float32[np.ndarray, "n"], view: Int[np.ndarray, "n"], focal: Float[np.ndarray, "view"]
) -> Float64[np.ndarray, "view"]:
    """Size of a pixel at the median depth of each view; that of the median view where nothing is known of one.

    Args:
        depth, view: depth of some pixels and the view that each belongs to.
        focal: focal length of each view in pixels.
    """
    found = np.array([np.median(depth[view == each]) if (view == each).any() else np.nan for each in range(len(focal))])
    found = found / focal
    usual = np.nanmedian(found) if np.isfinite(found).any() else 0.01
    return np.where(np.isfinite(found) & (found > 0), found, usual)


def view_overlaps(
    points: Float32[np.ndarray, "n 3"], view: Int[np.ndarray, "n"], views: int, cell: float
) -> Float64[np.ndarray, "view"]:
    """In how many views a piece of surface that a view shows is seen, in the mean: at least 1.

    Args:
        points, view: some points and the view that each belongs to.
        views: their number.
        cell: edge of the cubes in which points count as the same surface; several times the points' distance.
    """
    if not len(points):
        return np.ones(views)
    cells = np.floor((points - points.min(axis=0)) / cell).astype(np.int64)
    sizes = cells.max(axis=0) + 1
    keys = (cells[:, 0] * sizes[1] + cells[:, 1]) * sizes[2] + cells[:, 2]
    cube = np.unique(keys, return_inverse=True)[1]
    pairs = np.unique(cube * np.int64(views) + view)  # each view once per cube
    cubes, owners = np.divmod(pairs, views)
    seen = np.bincount(cubes)[cubes]
    total = np.bincount(owners, weights=seen, minlength=views)
    return np.maximum(total / np.maximum(np.bincount(owners, minlength=views), 1), 1.0)
