"""Parts of street things: boxes, tubes, balls, prisms and roofs in the frame of the thing (metres, z up)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64

from worldline.worlds.world import BOX, CYLINDER, ELLIPSOID, POLYTOPE, Part

Triple = tuple[float, float, float]


def box(low: Triple, high: Triple, mat: int) -> Part:
    """An axis-aligned box between two corners."""
    lower, upper = np.array(low, float), np.array(high, float)
    return Part(BOX, 0.5 * (lower + upper), 0.5 * np.maximum(upper - lower, 2e-3), mat)


def upright(x: float, y: float, low: float, high: float, radius: float, mat: int) -> Part:
    """A standing cylinder."""
    return Part(CYLINDER, np.array([x, y, 0.5 * (low + high)]), np.array([radius, radius, 0.5 * (high - low)]), mat)


def ball(center: Triple, radii: Triple, mat: int) -> Part:
    """An ellipsoid with its axes along those of the thing."""
    return Part(ELLIPSOID, np.array(center, float), np.array(radii, float), mat)


def tube(start: Triple, end: Triple, radius: float, mat: int) -> Part:
    """A cylinder from one point to another."""
    first, last = np.array(start, float), np.array(end, float)
    length = float(np.linalg.norm(last - first))
    axis = (last - first) / length
    side = np.cross(axis, np.eye(3)[np.abs(axis).argmin()])
    side /= np.linalg.norm(side)
    turn = np.stack([side, np.cross(axis, side), axis], 1)
    return Part(CYLINDER, 0.5 * (first + last), np.array([radius, radius, 0.5 * length]), mat, turn)


def wheel(x: float, y: float, z: float, radius: float, width: float, mat: int) -> Part:
    """A cylinder whose axis runs along y."""
    return tube((x, y - 0.5 * width, z), (x, y + 0.5 * width, z), radius, mat)


def polytope(planes: Float64[np.ndarray, "f 4"], low: np.ndarray, high: np.ndarray, mat: int) -> Part:
    """Half-spaces in the frame of the thing, cut to a bounding box.

    Args:
        planes: unit normals and offsets, normal . x <= offset.
        low: corner of a box that holds the solid.
        high: opposite corner.
        mat: material.
    """
    center = 0.5 * (low + high)
    local = planes.copy()
    local[:, 3] -= planes[:, :3] @ center
    return Part(POLYTOPE, center, 0.5 * (high - low), mat, np.eye(3), local)


def prism(profile: Sequence[tuple[float, float]], half_width: float, mat: int, lean: float = 0.0) -> Part:
    """A convex outline in the x-z plane, extruded along y.

    Args:
        profile: corners (x, z), counter-clockwise when seen from -y (x to the right, z up).
        half_width: half extent along y at the lowest corner.
        mat: material.
        lean: how much the sides come in per metre of height.
    """
    corners = np.array(profile, float)
    low_z = corners[:, 1].min()
    rows = []
    for start, end in zip(corners, np.roll(corners, -1, 0), strict=True):
        along = (end - start) / np.linalg.norm(end - start)
        normal = np.array([along[1], 0.0, -along[0]])
        rows.append([*normal, normal[0] * start[0] + normal[2] * start[1]])
    length = np.hypot(1.0, lean)
    for side in (-1.0, 1.0):
        rows.append([0.0, side / length, lean / length, (half_width + lean * low_z) / length])
    low = np.array([corners[:, 0].min(), -half_width, low_z])
    high = np.array([corners[:, 0].max(), half_width, corners[:, 1].max()])
    return polytope(np.array(rows), low, high, mat)


def gable(half: tuple[float, float], low: float, rise: float, mat: int, along_x: bool = True) -> Part:
    """A saddle roof over a rectangle around the origin; its ridge runs along x or along y."""
    across = half[1] if along_x else half[0]
    slope = np.array([rise, across]) / np.hypot(rise, across)
    rows = [[0.0, 0.0, -1.0, -low]]
    for side in (-1.0, 1.0):
        tilted = [0.0, side * slope[0], slope[1]] if along_x else [side * slope[0], 0.0, slope[1]]
        flat = [side, 0.0, 0.0] if along_x else [0.0, side, 0.0]
        rows.append([*tilted, slope[1] * (low + rise)])
        rows.append([*flat, half[0] if along_x else half[1]])
    return polytope(np.array(rows), np.array([-half[0], -half[1], low]), np.array([*half, low + rise]), mat)


def tapered(half: tuple[float, float], low: float, high: float, inset: tuple[float, float], mat: int) -> Part:
    """A block over a rectangle around the origin whose sides lean in by ``inset`` metres up to its top."""
    rise = high - low
    rows = [[0.0, 0.0, -1.0, -low], [0.0, 0.0, 1.0, high]]
    for axis in (0, 1):
        length = np.hypot(rise, inset[axis])
        for side in (-1.0, 1.0):
            normal = np.zeros(3)
            normal[axis], normal[2] = side * rise / length, inset[axis] / length
            rows.append([*normal, half[axis] * rise / length + low * inset[axis] / length])
    return polytope(np.array(rows), np.array([-half[0], -half[1], low]), np.array([*half, high]), mat)
