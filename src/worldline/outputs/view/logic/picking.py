"""Which point of a cloud a click means."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float64

CONES = (2.0, 4.0, 8.0, 16.0)  # pixels around the click, tried in this order
_BEHIND = 0.02  # share of the distance within which a point still belongs to the surface in front


def pick(
    clouds: Sequence[Float[np.ndarray, "_ 3"]],
    origin: Float[np.ndarray, "3"] | Sequence[float],
    direction: Float[np.ndarray, "3"] | Sequence[float],
    *,
    pixel: float,
    radius: float | Sequence[float] = 0.0,
) -> Float64[np.ndarray, "3"] | None:
    """The point that a ray from the eye hits.

    A point is hit when the ray passes through the disc as which it is drawn, or within a few pixels of its centre; the
    smallest such cone that holds any point decides. In it the foremost surface counts, and of that surface the point
    nearest to the ray.

    Args:
        clouds: what is visible, in the world frame.
        origin: the eye.
        direction: of the ray, of any length above zero.
        pixel: angle between two neighbouring pixels, in radians.
        radius: of the discs, in units of the world; one number, or one per cloud.

    Returns:
        its position; None where nothing is near the ray.
    """
    start, along = np.asarray(origin, np.float64), np.asarray(direction, np.float64)
    along = along / np.linalg.norm(along)
    radii = [radius] * len(clouds) if isinstance(radius, int | float) else list(radius)
    near = [
        _near(cloud, start, along, CONES[-1] * pixel, own)
        for cloud, own in zip(clouds, radii, strict=True)
        if len(cloud)
    ]
    if not near:
        return None
    points, depth, off, size = (np.concatenate(parts) for parts in zip(*near, strict=True))
    for cone in CONES:
        inside = off <= np.maximum(cone * pixel * depth, size)
        if inside.any():
            front = inside & (depth <= depth[inside].min() * (1 + _BEHIND))
            return points[front][np.argmin((off / depth)[front])]
    return None


def _near(
    cloud: Float[np.ndarray, "n 3"],
    start: Float64[np.ndarray, "3"],
    along: Float64[np.ndarray, "3"],
    cone: float,
    radius: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of the points in the widest cone: position, depth along the ray, distance from it, radius of the disc."""
    # a coarse test in float32 first: of millions of points a few hundred are left for exact numbers
    offset = np.asarray(cloud, np.float32) - start.astype(np.float32)
    depth = offset @ along.astype(np.float32)
    squares = np.einsum("ij,ij->i", offset, offset)
    reach = np.maximum(1.05 * cone * depth, 1.05 * radius) + 1e-3 * depth
    kept = (depth > 0) & (squares - depth * depth <= reach * reach)
    points = np.asarray(cloud[kept], np.float64)
    exact = (points - start) @ along
    off = np.linalg.norm(points - start - exact[:, None] * along, axis=1)
    keep = exact > 0
    return points[keep], exact[keep], off[keep], np.full(int(keep.sum()), radius, np.float64)


def pixel_angle(fov: float, height: int) -> float:
    """Angle between two neighbouring pixels in the middle of the picture, in radians.

    Args:
        fov: vertical field of view, in radians.
        height: of the picture, in pixels.
    """
    return float(2 * np.tan(fov / 2) / max(1, height))


def length_text(length: float, *, metric: bool) -> str:
    """A length for people, with its unit: a scene of unknown scale has only units of its own."""
    if not metric:
        return f"{length:.3g} units"
    return f"{length:.{3 if length < 10 else 2 if length < 100 else 1}f} m"
