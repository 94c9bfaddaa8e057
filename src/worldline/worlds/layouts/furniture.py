"""Furniture and clutter as compositions of convex solids, with the surfaces that smaller things can stand on.

Frame of a thing: origin on the ground below its centre, z up, its back towards -y (so it can stand against a wall).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64

from worldline.worlds.appearance.materials import material
from worldline.worlds.world import (
    BOX,
    CYLINDER,
    ELLIPSOID,
    POLYTOPE,
    Builder,
    Part,
    Surface,
    Thing,
    random_rotation,
    yaw_matrix,
)


def _box(low: tuple[float, float, float], high: tuple[float, float, float], mat: int) -> Part:
    lower, upper = np.array(low, float), np.array(high, float)
    return Part(BOX, 0.5 * (lower + upper), 0.5 * np.maximum(upper - lower, 2e-3), mat)


def _upright(x: float, y: float, low: float, high: float, radius: float, mat: int) -> Part:
    return Part(CYLINDER, np.array([x, y, 0.5 * (low + high)]), np.array([radius, radius, 0.5 * (high - low)]), mat)


def _legs(rng: np.random.Generator, half: tuple[float, float], height: float, mat: int) -> list[Part]:
    width = rng.uniform(0.02, 0.04)
    round_legs = rng.random() < 0.4
    parts = []
    for sx in (-1, 1):
        for sy in (-1, 1):
            x, y = sx * (half[0] - width - 0.01), sy * (half[1] - width - 0.01)
            if round_legs:
                parts.append(_upright(x, y, 0.0, height, width, mat))
            else:
                parts.append(_box((x - width, y - width, 0.0), (x + width, y + width, height), mat))
    return parts


def table(builder: Builder, rng: np.random.Generator) -> Thing:
    """A dining, coffee or round table."""
    low = rng.random() < 0.3
    height = rng.uniform(0.35, 0.5) if low else rng.uniform(0.68, 0.8)
    half = (rng.uniform(0.4, 0.95), rng.uniform(0.3, 0.5))
    top, leg = material(builder, rng, "furniture"), material(builder, rng, "furniture")
    thick = rng.uniform(0.02, 0.06)
    if rng.random() < 0.25:
        radius = rng.uniform(0.35, 0.6)
        parts = [
            _upright(0, 0, height - thick, height, radius, top),
            _upright(0, 0, 0.02, height - thick, rng.uniform(0.03, 0.08), leg),
            _upright(0, 0, 0.0, 0.03, radius * 0.55, leg),
        ]
        return Thing(parts, (radius, radius), height, [Surface(np.array([0, 0, height]), (radius * 0.65,) * 2, 1.0)])
    parts = [_box((-half[0], -half[1], height - thick), (half[0], half[1], height), top)]
    parts += _legs(rng, half, height - thick, leg)
    if rng.random() < 0.5:
        apron = height - thick - rng.uniform(0.05, 0.12)
        parts.append(
            _box((-half[0] + 0.06, -half[1] + 0.05, apron), (half[0] - 0.06, half[1] - 0.05, height - thick), leg)
        )
    return Thing(parts, half, height, [Surface(np.array([0, 0, height]), half, 1.0)])


def chair(builder: Builder, rng: np.random.Generator) -> Thing:
    """Seat, legs and a back at -y."""
    half, seat = (rng.uniform(0.19, 0.25), rng.uniform(0.19, 0.25)), rng.uniform(0.42, 0.48)
    wood, cover = (
        material(builder, rng, "furniture"),
        material(builder, rng, "fabric" if rng.random() < 0.5 else "furniture"),
    )
    back = seat + rng.uniform(0.35, 0.55)
    parts = [
        _box((-half[0], -half[1], seat - 0.05), (half[0], half[1], seat), cover),
        *_legs(rng, half, seat - 0.05, wood),
    ]
    if rng.random() < 0.5:
        parts.append(_box((-half[0], -half[1], seat + 0.05), (half[0], -half[1] + 0.03, back), cover))
    else:
        for z in np.linspace(seat + 0.15, back - 0.04, int(rng.integers(2, 4))):
            parts.append(_box((-half[0], -half[1], z - 0.03), (half[0], -half[1] + 0.025, z + 0.03), wood))
    for side in (-1, 1):
        x = side * (half[0] - 0.02)
        parts.append(_box((x - 0.02, -half[1] - 0.005, seat), (x + 0.02, -half[1] + 0.03, back), wood))
    return Thing(parts, half, back)


def sofa(builder: Builder, rng: np.random.Generator) -> Thing:
    """Base, back, arms and cushions."""
    half, seat = (rng.uniform(0.55, 1.05), rng.uniform(0.38, 0.48)), rng.uniform(0.38, 0.46)
    cover, cushion = material(builder, rng, "fabric", gloss=0.0), material(builder, rng, "fabric", gloss=0.0)
    arm, back = rng.uniform(0.1, 0.2), seat + rng.uniform(0.3, 0.45)
    parts = [
        _box((-half[0], -half[1], 0.08), (half[0], half[1], seat - 0.14), cover),
        _box((-half[0], -half[1], seat - 0.14), (half[0], -half[1] + 0.2, back), cover),
    ]
    for side in (-1, 1):
        inner, outer = side * (half[0] - arm), side * half[0]
        parts.append(
            _box((min(inner, outer), -half[1] + 0.2, seat - 0.14), (max(inner, outer), half[1], seat + 0.18), cover)
        )
    seats = 2 if half[0] < 0.8 else 3
    width = 2 * (half[0] - arm) / seats
    for index in range(seats):
        x = -half[0] + arm + width * index
        parts.append(_box((x + 0.005, -half[1] + 0.2, seat - 0.14), (x + width - 0.005, half[1] + 0.02, seat), cover))
    for _ in range(int(rng.integers(0, 3))):
        turn = yaw_matrix(rng.uniform(-0.5, 0.5))
        lean = np.array([[1, 0, 0], [0, np.cos(0.5), -np.sin(0.5)], [0, np.sin(0.5), np.cos(0.5)]]) @ np.eye(3)
        center = np.array([rng.uniform(-half[0] + arm + 0.2, half[0] - arm - 0.2), -half[1] + 0.33, seat + 0.2])
        parts.append(Part(ELLIPSOID, center, np.array([0.22, 0.09, 0.2]), cushion, turn @ lean))
    return Thing(parts, half, back, [Surface(np.array([0, 0.1, seat]), (half[0] - arm - 0.1, 0.15), 0.4)])


def shelf(builder: Builder, rng: np.random.Generator) -> Thing:
    """An open case whose boards carry books or things."""
    half, height = (rng.uniform(0.35, 0.8), rng.uniform(0.13, 0.2)), rng.uniform(0.8, 2.1)
    wood = material(builder, rng, "furniture")
    back = material(builder, rng, "furniture" if rng.random() < 0.5 else "plain")
    levels = max(2, round(height / rng.uniform(0.3, 0.45)))
    board = 0.012
    parts = [
        _box((-half[0], -half[1], 0), (-half[0] + 0.02, half[1], height), wood),
        _box((half[0] - 0.02, -half[1], 0), (half[0], half[1], height), wood),
        _box((-half[0] + 0.02, -half[1], 0.03), (half[0] - 0.02, -half[1] + 0.01, height - 0.01), back),
    ]
    surfaces = []
    step = (height - 0.06) / levels
    for level in range(levels + 1):
        z = 0.05 + level * step
        parts.append(
            _box((-half[0] + 0.02, -half[1] + 0.01, z - board), (half[0] - 0.02, half[1], z + board * 0.5), wood)
        )
        if level == levels:
            surfaces.append(Surface(np.array([0, 0, height]), half, 0.5))
        elif rng.random() < 0.6:  # a row of books that does not fill the board
            left = -half[0] + 0.03
            right = left + (2 * half[0] - 0.06) * rng.uniform(0.35, 1.0)
            tall = z + board + (step - 0.05) * rng.uniform(0.6, 0.9)
            parts.append(_box((left, -half[1] + 0.02, z), (right, half[1] - rng.uniform(0.01, 0.06), tall),
                              material(builder, rng, "books")))  # fmt: skip
            if right < half[0] - 0.25:
                free = 0.5 * (half[0] - 0.03 - right)
                surfaces.append(Surface(np.array([right + free, 0, z + board]), (free, half[1]), step - 0.04))
        else:
            surfaces.append(Surface(np.array([0, 0, z + board]), (half[0] - 0.04, half[1]), step - 0.04))
    return Thing(parts, half, height, surfaces)


def cupboard(builder: Builder, rng: np.random.Generator) -> Thing:
    """A closed case with doors or drawers and handles."""
    tall = rng.random() < 0.4
    half, height = (
        (rng.uniform(0.3, 0.8), rng.uniform(0.2, 0.32)),
        rng.uniform(1.6, 2.1) if tall else rng.uniform(0.5, 1.0),
    )
    body, front, metal = (material(builder, rng, family) for family in ("furniture", "furniture", "plain"))
    parts = [
        _box((-half[0], -half[1], 0.06), (half[0], half[1], height), body),
        _box((-half[0] + 0.03, -half[1], 0.0), (half[0] - 0.03, half[1] - 0.04, 0.06), metal),
    ]
    columns, rows = int(rng.integers(1, 4)), 1 if tall else int(rng.integers(1, 4))
    width, tallness = 2 * half[0] / columns, (height - 0.08) / rows
    for i in range(columns):
        for j in range(rows):
            x, z = -half[0] + i * width, 0.07 + j * tallness
            parts.append(
                _box((x + 0.008, half[1], z + 0.008), (x + width - 0.008, half[1] + 0.018, z + tallness - 0.008), front)
            )
            if rng.random() < 0.7 and columns * rows <= 6:
                mid, top = x + 0.5 * width, z + tallness * (0.5 if tall else 0.75)
                parts.append(
                    _box((mid - 0.05, half[1] + 0.018, top - 0.008), (mid + 0.05, half[1] + 0.045, top + 0.008), metal)
                )
    return Thing(parts, (half[0], half[1] + 0.03), height, [Surface(np.array([0, 0, height]), half, 0.8)])


def bed(builder: Builder, rng: np.random.Generator) -> Thing:
    """Frame, mattress, head board and pillows."""
    half, top = (rng.uniform(0.45, 0.85), rng.uniform(0.95, 1.02)), rng.uniform(0.4, 0.55)
    wood = material(builder, rng, "furniture")
    sheet, cover, pillow = (material(builder, rng, "fabric", gloss=0.0) for _ in range(3))
    parts = [
        _box((-half[0], -half[1], 0.12), (half[0], half[1], top - 0.2), wood),
        _box((-half[0], -half[1] - 0.04, 0.0), (half[0], -half[1], top + rng.uniform(0.2, 0.5)), wood),
        _box((-half[0] + 0.03, -half[1], top - 0.2), (half[0] - 0.03, half[1] - 0.03, top), sheet),
        _box((-half[0] + 0.005, -half[1] + 0.6, top - 0.12), (half[0] - 0.005, half[1] - 0.01, top + 0.03), cover),
    ]
    for side in (-1, 1) if half[0] > 0.6 else (0,):
        parts.append(Part(ELLIPSOID, np.array([side * half[0] * 0.45, -half[1] + 0.25, top + 0.06]),
                          np.array([0.3, 0.2, 0.09]), pillow))  # fmt: skip
    parts += _legs(rng, half, 0.12, wood)
    return Thing(
        parts,
        (half[0], half[1] + 0.04),
        top + 0.3,
        [Surface(np.array([0, 0.3, top + 0.03]), (half[0] - 0.1, 0.4), 1.0)],
    )


def floor_lamp(builder: Builder, rng: np.random.Generator) -> Thing:
    """Foot, pole and a bright shade."""
    metal, shade = material(builder, rng, "plain"), material(builder, rng, "plain", emission=rng.uniform(0.3, 1.5))
    height, radius = rng.uniform(1.2, 1.7), rng.uniform(0.14, 0.22)
    parts = [
        _upright(0, 0, 0.0, 0.03, 0.15, metal),
        _upright(0, 0, 0.03, height - 0.1, 0.013, metal),
        _upright(0, 0, height - 0.15, height + rng.uniform(0.08, 0.2), radius, shade),
    ]
    return Thing(parts, (radius, radius), height + 0.2)


def plant(builder: Builder, rng: np.random.Generator) -> Thing:
    """A pot with leaves as tilted ellipsoids."""
    pot, leaf = material(builder, rng, "thing"), material(builder, rng, "thing")
    radius, tall = rng.uniform(0.1, 0.2), rng.uniform(0.2, 0.4)
    parts = [_upright(0, 0, 0.0, tall, radius, pot)]
    size = rng.uniform(0.2, 0.4)
    for index in range(int(rng.integers(5, 10))):
        turn = yaw_matrix(index * 2.4 + rng.normal(0, 0.3))
        lift = rng.uniform(0.5, 1.4)
        tilt = np.array([[np.cos(lift), 0, -np.sin(lift)], [0, 1, 0], [np.sin(lift), 0, np.cos(lift)]])
        axes = turn @ tilt
        parts.append(
            Part(
                ELLIPSOID, np.array([0, 0, tall]) + axes[:, 0] * size, np.array([size, size * 0.25, 0.012]), leaf, axes
            )
        )
    return Thing(parts, (radius + 0.1, radius + 0.1), tall + 2 * size)


def _polytope_planes(rng: np.random.Generator, half: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "f 4"]:
    """A box with cut corners: the bound's six faces and up to six random ones."""
    normals = np.concatenate([np.eye(3), -np.eye(3)])
    offsets = np.concatenate([half, half])
    cuts = rng.normal(size=(int(rng.integers(3, 7)), 3))
    cuts[:, 2] = np.abs(cuts[:, 2])  # it still stands on its lower face
    cuts /= np.linalg.norm(cuts, axis=1, keepdims=True)
    reach = np.abs(cuts) @ half * rng.uniform(0.55, 0.85, len(cuts))
    return np.concatenate([np.c_[normals, offsets], np.c_[cuts, reach]])


def _lying(radius: float, length: float, mat: int) -> Part:
    axes = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])  # local z -> world x
    return Part(CYLINDER, np.array([0, 0, radius]), np.array([radius, radius, 0.5 * length]), mat, axes)


def clutter(builder: Builder, rng: np.random.Generator, limit: float, headroom: float) -> Thing:
    """A small thing whose footprint radius is at most ``limit`` and height at most ``headroom``."""
    size = min(limit, rng.uniform(0.05, 0.3), headroom * 0.9)
    mat, other = material(builder, rng, "thing"), material(builder, rng, "thing")
    tall = min(size * rng.uniform(0.8, 2.5), headroom * 0.9)
    choice = rng.integers(0, 8)
    if choice == 0:  # box, perhaps with a smaller one on top
        half = (size * rng.uniform(0.5, 0.7), size * rng.uniform(0.4, 0.7))
        parts = [_box((-half[0], -half[1], 0), (half[0], half[1], tall * 0.6), mat)]
        if rng.random() < 0.4:
            parts.append(
                _box((-half[0] * 0.7, -half[1] * 0.6, tall * 0.6), (half[0] * 0.5, half[1] * 0.7, tall * 0.9), other)
            )
    elif choice == 1:  # ball or egg
        radii = size * rng.uniform(0.6, 1.0, 3)
        radii[2] = min(radii[2], headroom * 0.45)
        parts = [Part(ELLIPSOID, np.array([0, 0, radii[2]]), radii, mat)]
    elif choice == 2:  # tin, with a lid
        parts = [
            _upright(0, 0, 0, tall * 0.85, size * 0.6, mat),
            _upright(0, 0, tall * 0.85, tall * 0.95, size * 0.64, other),
        ]
    elif choice == 3:  # bottle
        parts = [_upright(0, 0, 0, tall * 0.65, size * 0.35, mat),
                 Part(ELLIPSOID, np.array([0, 0, tall * 0.65]), np.array([size * 0.35, size * 0.35, tall * 0.15]), mat),
                 _upright(0, 0, tall * 0.65, tall, size * 0.12, other)]  # fmt: skip
    elif choice == 4 and headroom > size:
        parts = [_lying(size * 0.4, size * 1.6, mat)]
    elif choice == 5:  # stack of books
        parts, z = [], 0.0
        for _ in range(int(rng.integers(2, 5))):
            thick = rng.uniform(0.02, 0.045)
            extent = np.array([size * rng.uniform(0.55, 0.75), size * rng.uniform(0.4, 0.6), thick / 2])
            parts.append(Part(BOX, np.array([0, 0, z + thick / 2]), extent, material(builder, rng, "thing"),
                              yaw_matrix(rng.normal(0, 0.2))))  # fmt: skip
            z += thick
            if z + 0.05 > headroom:
                break
    else:  # a faceted solid
        extent = np.array([size * rng.uniform(0.45, 0.7), size * rng.uniform(0.45, 0.7), 0.5 * tall])
        parts = [Part(POLYTOPE, np.array([0, 0, extent[2]]), extent, mat, np.eye(3), _polytope_planes(rng, extent))]
    return Thing(parts, (size, size), tall)


def loose_solid(builder: Builder, rng: np.random.Generator) -> Thing:
    """A larger plain solid on the floor: crate, pouf, ball, faceted block, tilted box."""
    size, mat = rng.uniform(0.15, 0.35), material(builder, rng, "thing")
    choice = rng.integers(0, 5)
    if choice == 0:
        extent = size * rng.uniform(0.6, 1.0, 3)
        part = Part(BOX, np.array([0, 0, extent[2]]), extent, mat)
    elif choice == 1:
        part = _upright(0, 0, 0, size * rng.uniform(0.8, 1.6), size, mat)
    elif choice == 2:
        radii = size * rng.uniform(0.6, 1.0, 3)
        part = Part(ELLIPSOID, np.array([0, 0, radii[2]]), radii, mat)
    elif choice == 3:
        extent = size * rng.uniform(0.6, 1.0, 3)
        part = Part(POLYTOPE, np.array([0, 0, extent[2]]), extent, mat, np.eye(3), _polytope_planes(rng, extent))
    else:
        extent, turn = size * rng.uniform(0.35, 0.7, 3), random_rotation(rng)
        part = Part(BOX, np.array([0, 0, np.abs(turn[2]) @ extent]), extent, mat, turn)
    return Thing([part], (size, size), 2 * size)


AGAINST_WALL: list[tuple[Callable[[Builder, np.random.Generator], Thing], float]] = [
    (shelf, 2.0), (cupboard, 2.0), (sofa, 1.5), (bed, 0.8), (floor_lamp, 0.6), (plant, 0.8), (table, 0.7),
]  # fmt: skip
FREE: list[tuple[Callable[[Builder, np.random.Generator], Thing], float]] = [
    (table, 2.0), (chair, 2.0), (loose_solid, 2.0), (plant, 0.5), (sofa, 0.5), (cupboard, 0.3),
]  # fmt: skip
