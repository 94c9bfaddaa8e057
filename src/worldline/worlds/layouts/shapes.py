"""Composed shapes, things that stand on their lowest point, and plots of ground that are filled without collisions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, pairwise

import numpy as np
from jaxtyping import Float, Float64

from worldline.worlds.layouts.paints import paint
from worldline.worlds.layouts.solids import box, polytope, tube, upright
from worldline.worlds.world import (
    BOX,
    CONE,
    CYLINDER,
    ELLIPSOID,
    POLYTOPE,
    Builder,
    Part,
    Surface,
    Thing,
    cone,
    material_slices,
    yaw_matrix,
)

_SCALE = material_slices()["scale"]


def fine(builder: Builder, rng: np.random.Generator, name: str, factor: float, *, emission: float = 0.0) -> int:
    """A paint whose pattern is ``factor`` as large as outdoors."""
    mat = paint(builder, rng, name, emission=emission)
    builder.material_rows[mat][_SCALE] *= factor
    return mat


def polytope_corners(planes: Float[np.ndarray, "f 4"]) -> Float64[np.ndarray, "c 3"]:
    """Corners of the solid normal . x <= offset: the meets of three planes that violate no other."""
    triples = np.array(list(combinations(range(len(planes)), 3)))
    normals, offsets = planes[triples, :3], planes[triples, 3]
    proper = np.abs(np.linalg.det(normals)) > 1e-9
    meets = np.linalg.solve(normals[proper], offsets[proper][..., None])[..., 0]
    return meets[(meets @ planes[:, :3].T <= planes[:, 3] + 1e-7).all(1)]


def extent(part: Part) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]:
    """Exact axis-aligned bounds (low, high) of a part in the frame of its thing."""
    turn = part.rotation
    if part.kind == POLYTOPE and part.planes is not None:
        corners = part.center + polytope_corners(part.planes) @ turn.T
        return corners.min(0), corners.max(0)
    if part.kind == CONE and part.planes is not None:
        axis, spread = turn[:, 2] * part.half[2], np.sqrt(np.clip(1 - turn[:, 2] ** 2, 0, 1))
        rims = [(-axis, part.planes[0, 0]), (axis, part.planes[0, 1])]
        low = np.minimum(*(middle - radius * spread for middle, radius in rims))
        return part.center + low, part.center + np.maximum(*(middle + radius * spread for middle, radius in rims))
    if part.kind == BOX:
        reach = np.abs(turn) @ part.half
    elif part.kind == ELLIPSOID:
        reach = np.sqrt(turn**2 @ part.half**2)
    elif part.kind == CYLINDER:
        reach = part.half[0] * np.sqrt(np.clip(1 - turn[:, 2] ** 2, 0, 1)) + part.half[2] * np.abs(turn[:, 2])
    else:
        reach = np.abs(turn) @ part.half
    return part.center - reach, part.center + reach


def settle(parts: Sequence[Part], surfaces: Sequence[Surface] = ()) -> Thing:
    """A thing of these parts, moved so that it stands on its lowest point with its bounds around the origin."""
    bounds = np.array([extent(part) for part in parts])
    low, high = bounds[:, 0].min(0), bounds[:, 1].max(0)
    shift = -np.array([0.5 * (low[0] + high[0]), 0.5 * (low[1] + high[1]), low[2]])
    size = high - low
    return Thing(
        [replace(part, center=part.center + shift) for part in parts],
        (float(0.5 * size[0]), float(0.5 * size[1])),
        float(size[2]),
        [Surface(surface.center + shift, surface.half, surface.headroom) for surface in surfaces],
    )


def turned(thing: Thing, turn: Float[np.ndarray, "3 3"]) -> Thing:
    """The thing rotated about its origin and settled again; nothing can stand on it any more."""
    return settle([replace(p, center=turn @ p.center, rotation=turn @ p.rotation) for p in thing.parts])


def pitched(angle: float) -> Float64[np.ndarray, "3 3"]:
    """Rotation about the y axis that takes z towards x."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])


def frustum(x: float, y: float, low: float, high: float, radii: tuple[float, float], mat: int, sides: int = 10) -> Part:
    """An upright truncated cone, or a pyramid with few sides: radius at its foot and at its top (inscribed)."""
    rise = high - low
    if sides > 8:
        return cone(np.array([x, y, 0.5 * (low + high)]), *radii, 0.5 * rise, mat)
    length = np.hypot(rise, radii[0] - radii[1])
    angles = np.arange(sides) * 2 * np.pi / sides
    out = np.stack([np.cos(angles), np.sin(angles)], -1)
    rows = np.zeros((sides + 2, 4))
    rows[:sides, :2] = out * rise / length
    rows[:sides, 2] = (radii[0] - radii[1]) / length
    rows[:sides, 3] = out @ np.array([x, y]) * rise / length + radii[0] * rise / length + rows[:sides, 2] * low
    rows[sides], rows[sides + 1] = [0, 0, -1, -low], [0, 0, 1, high]
    wide = max(radii) / np.cos(np.pi / sides)
    return polytope(rows, np.array([x - wide, y - wide, low]), np.array([x + wide, y + wide, high]), mat)


def vessel(radii: tuple[float, float], height: float, wall: float, mat: int, staves: int = 12) -> list[Part]:
    """An open round vessel: a ring of staves on a floor; outer radius at its foot and at its rim."""
    lean = np.arctan2(radii[1] - radii[0], height)
    length = height / np.cos(lean)
    parts = [upright(0, 0, 0, wall, radii[0] - 0.5 * wall, mat)]
    half = np.array([0.5 * wall, max(radii) * np.tan(np.pi / staves), 0.5 * length])
    middle = np.array([0.5 * sum(radii) - 0.5 * wall, 0.0, 0.5 * height])
    for index in range(staves):
        turn = yaw_matrix(index * 2 * np.pi / staves)
        parts.append(Part(BOX, turn @ middle, half, mat, turn @ pitched(lean)))
    return parts


def hoop(
    center: np.ndarray, radius: float, thick: float, mat: int, span: tuple[float, float], yaw: float
) -> list[Part]:
    """An arc of tubes in an upright plane: ``span`` in radians from the horizontal, ``yaw`` of the plane."""
    count = max(3, round((span[1] - span[0]) / 0.7))
    angles = np.linspace(*span, count + 1)
    flat = np.stack([np.cos(angles), np.zeros(count + 1), np.sin(angles)], -1) * radius
    points = center + flat @ yaw_matrix(yaw).T
    return [tube(tuple(a), tuple(b), thick, mat) for a, b in pairwise(points)]


def flight(half: float, depth: float, rise: float, steps: int, mat: int) -> list[Part]:
    """Stairs along +y that climb towards -y: each step is one solid down to the ground."""
    step = rise / steps
    return [
        box((-half, 0.0, 0.0), (half, depth * (steps - index) / steps, step * (index + 1)), mat)
        for index in range(steps)
    ]


class Plot:
    """A rectangle of ground or table top, and what stands on it already."""

    def __init__(self, half: tuple[float, float], *, round_: bool = False) -> None:
        self.half = half
        self.round = round_
        self.taken: list[tuple[Float64[np.ndarray, "2"], tuple[float, float], float]] = []

    def take(self, position: np.ndarray, half: tuple[float, float], yaw: float) -> None:
        """Mark a footprint as occupied."""
        self.taken.append((np.asarray(position, float), half, yaw))

    def is_free(self, position: np.ndarray, half: tuple[float, float], yaw: float, gap: float) -> bool:
        """Whether a footprint lies inside and meets no other (separating axes of rectangles)."""
        axes, reach = yaw_matrix(yaw)[:2, :2], np.array(half)
        if self.round:
            corners = position + np.array([[a, b] for a in (-1, 1) for b in (-1, 1)]) * reach @ axes.T
            if (np.linalg.norm(corners, axis=1) > self.half[0]).any():
                return False
        elif (np.abs(position) + np.abs(axes) @ reach > np.array(self.half)).any():
            return False
        for other, other_half, other_yaw in self.taken:
            x, y = position[0] - other[0], position[1] - other[1]
            if math.hypot(x, y) > math.hypot(*half) + math.hypot(*other_half) + gap:  # far apart, the usual case
                continue
            if _meet(np.array([x, y]), axes, reach, yaw_matrix(other_yaw)[:2, :2], np.array(other_half), gap):
                return False
        return True

    def seek(
        self, rng: np.random.Generator, half: tuple[float, float], yaw: float, gap: float, tries: int = 12
    ) -> Float64[np.ndarray, "2"] | None:
        """A free place for a footprint; ``gap`` metres away from all others; takes it."""
        room = np.array(self.half) - np.abs(yaw_matrix(yaw)[:2, :2]) @ np.array(half)
        if (room < 0).any():
            return None
        for _ in range(tries):
            position = rng.uniform(-room, room)
            if self.is_free(position, half, yaw, gap):
                self.take(position, half, yaw)
                return position
        return None


def _meet(
    offset: np.ndarray, axes: np.ndarray, reach: np.ndarray, other_axes: np.ndarray, other_reach: np.ndarray, gap: float
) -> bool:
    """Whether two rectangles overlap or come closer than the gap along every separating axis."""
    for axis in (*axes.T, *other_axes.T):
        if abs(axis @ offset) > np.abs(axis @ axes) @ reach + np.abs(axis @ other_axes) @ other_reach + gap:
            return False
    return True
