"""What stands in courts, squares and gardens, of several parts each; origin on the ground, front towards +y."""

from __future__ import annotations

import numpy as np

from worldline.worlds.appearance import palettes
from worldline.worlds.appearance.materials import material
from worldline.worlds.layouts import roadside
from worldline.worlds.layouts.paints import paint
from worldline.worlds.layouts.shapes import frustum, pitched, settle, vessel
from worldline.worlds.layouts.solids import ball, box, gable, tube, upright
from worldline.worlds.world import ELLIPSOID, Builder, Part, Thing, material_slices, random_rotation, yaw_matrix

_COLUMNS = material_slices()


def leafy(builder: Builder, rng: np.random.Generator) -> int:
    """Leaves that are green for once, whatever the season."""
    mat = material(builder, rng, "foliage")
    row, colors = builder.material_rows[mat], palettes.draw(rng, "leaves")
    for name, color in zip(("color_a", "color_b", "color_c"), colors, strict=True):
        row[_COLUMNS[name]] = color
    return mat


def masonry(builder: Builder, rng: np.random.Generator) -> int:
    """What monuments, basins and columns are made of: mostly calm and pale."""
    if rng.random() < 0.35:
        return material(builder, rng, "stone")
    return paint(builder, rng, ("stone", "plaster", "concrete")[int(rng.integers(3))])


def _statue(rng: np.random.Generator, z: float, mat: int, s: float) -> list[Part]:
    """A standing figure in a robe, or an abstract stack, from height z on."""
    if rng.random() < 0.35:
        parts, top = [], z
        for size in s * rng.uniform(0.2, 0.4, int(rng.integers(2, 5))):
            parts.append(
                Part(
                    ELLIPSOID,
                    np.array([0, 0, top + 0.9 * size]),
                    size * np.array([1.0, 0.7, 1.0]),
                    mat,
                    yaw_matrix(9 * size),
                )
            )
            top += 1.75 * size
        return parts
    arm = rng.uniform(-0.4, 1.2, 2)
    parts = [
        frustum(0, 0, z, z + 0.95 * s, (0.26 * s, 0.15 * s), mat),
        ball((0, 0, z + 1.1 * s), (0.24 * s, 0.16 * s, 0.33 * s), mat),
        ball((0, 0, z + 1.58 * s), (0.11 * s, 0.12 * s, 0.15 * s), mat),
        upright(0, 0, z + 1.35 * s, z + 1.5 * s, 0.06 * s, mat),
    ]
    for side, lift in zip((-1, 1), arm, strict=True):
        elbow = (side * 0.34 * s, 0.1 * s, z + (1.1 + 0.2 * lift) * s)
        hand = (side * 0.3 * s, 0.3 * s, z + (1.05 + 0.5 * lift) * s)
        parts += [tube((side * 0.2 * s, 0, z + 1.3 * s), elbow, 0.055 * s, mat), tube(elbow, hand, 0.045 * s, mat)]
    return parts


def fountain(builder: Builder, rng: np.random.Generator) -> Thing:
    """A basin with water, and a column with bowls or a figure in its middle."""
    stone, water = masonry(builder, rng), material(builder, rng, "water")
    radius, rim = rng.uniform(1.3, 2.6), rng.uniform(0.45, 0.7)
    parts = vessel((radius, radius), rim, 0.18, stone, 16)
    parts += [upright(0, 0, 0, 0.75 * rim, radius - 0.15, water), upright(0, 0, 0, 0.06, radius + 0.35, stone)]
    if rng.random() < 0.5:
        parts += [
            upright(0, 0, 0, 1.3, 0.22, stone),
            frustum(0, 0, 1.2, 1.5, (0.25, 0.8), stone, 14),
            upright(0, 0, 1.5, 1.51, 0.74, water),
            upright(0, 0, 1.5, 2.2, 0.12, stone),
            frustum(0, 0, 2.1, 2.3, (0.12, 0.4), stone, 12),
            ball((0, 0, 2.4), (0.15, 0.15, 0.18), stone),
        ]
    else:
        parts += [
            upright(0, 0, 0, 0.9, 0.5, stone),
            box((-0.4, -0.4, 0.9), (0.4, 0.4, 1.5), stone),
            *_statue(rng, 1.5, stone, 0.9),
        ]
    return settle(parts)


def monument(builder: Builder, rng: np.random.Generator) -> Thing:
    """A figure or an obelisk on a stepped pedestal."""
    stone = masonry(builder, rng)
    bronze = material(builder, rng, "metal") if rng.random() < 0.5 else stone
    half, high = rng.uniform(0.5, 0.8), rng.uniform(0.9, 1.8)
    parts = [
        box((-half - 0.6, -half - 0.6, 0), (half + 0.6, half + 0.6, 0.18), stone),
        box((-half - 0.3, -half - 0.3, 0.18), (half + 0.3, half + 0.3, 0.36), stone),
        box((-half, -half, 0.36), (half, half, high), stone),
        box((-half - 0.1, -half - 0.1, high), (half + 0.1, half + 0.1, high + 0.15), stone),
        box((-0.6 * half, half, 0.6), (0.6 * half, half + 0.03, high - 0.15), material(builder, rng, "sign")),
    ]
    if rng.random() < 0.25:
        parts.append(frustum(0, 0, high + 0.15, high + 4.5, (0.5 * half, 0.25 * half), bronze, 4))
        parts.append(frustum(0, 0, high + 4.5, high + 4.9, (0.25 * half, 0.01), bronze, 4))
    else:
        parts += _statue(rng, high + 0.15, bronze, rng.uniform(0.9, 1.3))
    return settle(parts)


def planter(builder: Builder, rng: np.random.Generator) -> Thing:
    """A tub or a trough with a bush, flowers or a clipped ball."""
    pot, leaf, soil = (
        material(builder, rng, "stone" if rng.random() < 0.5 else "ceramic"),
        material(builder, rng, "foliage"),
        paint(builder, rng, "bark"),
    )
    if rng.random() < 0.4:
        half = (rng.uniform(0.5, 1.2), rng.uniform(0.22, 0.35))
        parts = [
            box((-half[0], -half[1], 0), (half[0], half[1], 0.5), pot),
            box((-half[0] + 0.06, -half[1] + 0.06, 0.5), (half[0] - 0.06, half[1] - 0.06, 0.51), soil),
        ]
        for x in np.linspace(-0.75, 0.75, int(rng.integers(3, 6))) * half[0]:
            radii = half[1] * rng.uniform(0.7, 1.2, 3)
            parts.append(ball((float(x), 0, 0.5 + 0.7 * radii[2]), tuple(radii), leaf))
            parts.append(ball((float(x), 0.1, 0.5 + 1.45 * radii[2]), (0.09, 0.09, 0.07), paint(builder, rng, "hue")))
        return settle(parts)
    radius, high = rng.uniform(0.25, 0.5), rng.uniform(0.4, 0.7)
    parts = [
        frustum(0, 0, 0, high, (0.7 * radius, radius), pot, 12),
        upright(0, 0, high - 0.08, high, 1.08 * radius, pot),
        upright(0, 0, high, high + 0.01, 0.9 * radius, soil),
    ]
    if rng.random() < 0.5:
        stem = rng.uniform(0.0, 0.9)
        parts += [
            upright(0, 0, high, high + stem + radius, 0.04, soil),
            ball((0, 0, high + stem + 0.9 * radius), (radius, radius, radius), leaf),
        ]
        if stem > 0.5:
            parts.append(ball((0, 0, high + stem + 2.2 * radius), (0.7 * radius,) * 3, leaf))
    else:
        for index in range(7):
            axes = yaw_matrix(index * 2.4) @ pitched(-rng.uniform(0.7, 1.4))
            parts.append(
                Part(
                    ELLIPSOID,
                    np.array([0, 0, high]) + axes[:, 0] * 1.2 * radius,
                    np.array([1.2 * radius, 0.3 * radius, 0.03]),
                    leaf,
                    axes,
                )
            )
    return settle(parts)


def conifer(builder: Builder, rng: np.random.Generator) -> Thing:
    """A fir in tiers or a slim cypress."""
    leaf, bark, high = leafy(builder, rng), material(builder, rng, "bark"), rng.uniform(3.0, 8.0)
    if rng.random() < 0.4:
        wide = rng.uniform(0.07, 0.12) * high
        parts = [
            upright(0, 0, 0, 0.3 * high, 0.1, bark),
            frustum(0, 0, 0.06 * high, 0.5 * high, (0.75 * wide, wide), leaf, 10),
            frustum(0, 0, 0.5 * high, high, (wide, 0.1 * wide), leaf, 10),
        ]
        return settle(parts)
    wide, tiers = rng.uniform(0.2, 0.28) * high, int(rng.integers(3, 6))
    parts = [upright(0, 0, 0, 0.5 * high, 0.03 * high, bark)]
    for tier in range(tiers):
        low = (0.12 + 0.8 * tier / tiers) * high
        size = wide * (1.0 - 0.8 * tier / tiers)
        parts.append(frustum(0, 0, low, min(high, low + 1.5 * 0.8 * high / tiers), (size, 0.12 * size), leaf, 10))
    return settle(parts)


def tree(builder: Builder, rng: np.random.Generator) -> Thing:
    """A broad-leaved tree: a trunk, boughs, and a crown of many clumps."""
    if rng.random() < 0.35:
        return roadside.tree(builder, rng, 0.8)
    high, trunk = rng.uniform(3.5, 7.5), rng.uniform(0.1, 0.25)
    bark, leaf = material(builder, rng, "bark"), material(builder, rng, "foliage")
    other = leaf if rng.random() < 0.7 else leafy(builder, rng)
    clear = rng.uniform(0.3, 0.45) * high
    crown = np.array([rng.uniform(0.22, 0.36) * high, rng.uniform(0.22, 0.36) * high, 0.5 * (high - clear)])
    middle = np.array([0, 0, clear + crown[2]])
    parts = [frustum(0, 0, 0, clear + 0.5 * crown[2], (1.2 * trunk, 0.6 * trunk), bark, 8)]
    for index in range(int(rng.integers(7, 14))):
        z = 1 - 2 * (index + 0.5) / 12
        ring, angle = np.sqrt(max(0.05, 1 - z * z)), 2.4 * index + rng.uniform(0, 0.8)
        at = middle + crown * np.array([ring * np.cos(angle), ring * np.sin(angle), z]) * 0.62
        radii = crown.min() * rng.uniform(0.45, 0.75) * rng.uniform(0.8, 1.2, 3)
        parts.append(Part(ELLIPSOID, at, radii, leaf if index % 2 else other, random_rotation(rng)))
        if index % 4 == 0:
            parts.append(tube((0, 0, 0.9 * clear), tuple(at), 0.3 * trunk, bark))
    parts.append(ball(tuple(middle), tuple(0.6 * crown), leaf))
    return Thing(parts, (trunk + 0.15, trunk + 0.15), high)


def cafe(builder: Builder, rng: np.random.Generator) -> Thing:
    """A round table with chairs, and sometimes a parasol."""
    metal, top, cloth = material(builder, rng, "metal"), paint(builder, rng, "wood"), paint(builder, rng, "hue")
    parts = [
        upright(0, 0, 0, 0.03, 0.25, metal),
        upright(0, 0, 0.03, 0.7, 0.03, metal),
        upright(0, 0, 0.7, 0.73, 0.4, top),
    ]
    if rng.random() < 0.6:
        parts += [upright(0, 0, 0.73, 2.4, 0.025, metal), frustum(0, 0, 2.05, 2.5, (1.4, 0.05), cloth, 8)]
    for index in range(int(rng.integers(2, 5))):
        turn = yaw_matrix(index * 1.57 + rng.normal(0, 0.15))
        chair = [box((-0.2, 0.5, 0.42), (0.2, 0.9, 0.46), top), box((-0.2, 0.87, 0.6), (0.2, 0.9, 0.88), top)]
        chair += [
            box((x - 0.02, y - 0.02, 0), (x + 0.02, y + 0.02, h), metal)
            for x in (-0.18, 0.18)
            for y, h in ((0.52, 0.42), (0.88, 0.86))
        ]
        parts += [Part(p.kind, turn @ p.center, p.half, p.material, turn) for p in chair]
    return settle(parts)


def pavilion(builder: Builder, rng: np.random.Generator) -> Thing:
    """A pergola, a well house, or a market stall: posts under a cover."""
    wood, half, high = (
        paint(builder, rng, "wood"),
        (rng.uniform(0.9, 1.8), rng.uniform(0.7, 1.2)),
        rng.uniform(2.1, 2.6),
    )
    parts = [
        box((sx * half[0] - 0.06, sy * half[1] - 0.06, 0), (sx * half[0] + 0.06, sy * half[1] + 0.06, high), wood)
        for sx in (-1, 1)
        for sy in (-1, 1)
    ]
    choice = rng.integers(3)
    if choice == 0:
        parts += [
            box((-half[0] - 0.3, sy * half[1] - 0.05, high), (half[0] + 0.3, sy * half[1] + 0.05, high + 0.14), wood)
            for sy in (-1, 1)
        ]
        for x in np.linspace(-half[0] - 0.1, half[0] + 0.1, 7):
            parts.append(
                box((float(x) - 0.04, -half[1] - 0.3, high + 0.14), (float(x) + 0.04, half[1] + 0.3, high + 0.24), wood)
            )
        leaf = material(builder, rng, "foliage")
        for _ in range(4):
            place = (rng.uniform(-1, 1) * half[0], rng.uniform(-1, 1) * half[1], high + 0.25)
            parts.append(ball(place, (rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.5), 0.18), leaf))
    elif choice == 1:
        parts.append(gable((half[0] + 0.3, half[1] + 0.3), high, 0.8, material(builder, rng, "roof")))
        parts += [
            upright(0, 0, 0, 0.8, 0.55, masonry(builder, rng)),
            upright(0, 0, 0.8, 0.81, 0.45, paint(builder, rng, "dark")),
            tube((-half[0], 0, 1.5), (half[0], 0, 1.5), 0.06, wood),
            upright(0, 0, 0.9, 1.2, 0.14, paint(builder, rng, "wood")),
        ]
    else:
        parts.append(gable((half[0] + 0.35, half[1] + 0.35), high, 0.5, material(builder, rng, "cloth")))
        parts.append(box((-half[0], half[1] - 0.4, 0.0), (half[0], half[1] + 0.1, 0.85), paint(builder, rng, "wood")))
        for x in np.linspace(-0.8, 0.8, 5) * half[0]:
            parts.append(
                box(
                    (float(x) - 0.14, half[1] - 0.35, 0.85),
                    (float(x) + 0.14, half[1], 1.0),
                    paint(builder, rng, "wood"),
                )
            )
            for _ in range(2):
                parts.append(
                    ball(
                        (float(x) + rng.uniform(-0.08, 0.08), half[1] - rng.uniform(0.08, 0.28), 1.02),
                        (0.08, 0.08, 0.07),
                        paint(builder, rng, "hue"),
                    )
                )
    return settle(parts)


def urn(builder: Builder, rng: np.random.Generator) -> Thing:
    """A vase on a post, or a stone ball."""
    stone, high = masonry(builder, rng), rng.uniform(0.6, 1.2)
    parts = [
        box((-0.22, -0.22, 0), (0.22, 0.22, high), stone),
        box((-0.27, -0.27, high), (0.27, 0.27, high + 0.08), stone),
    ]
    if rng.random() < 0.5:
        parts.append(ball((0, 0, high + 0.3), (0.23, 0.23, 0.23), stone))
    else:
        parts += [
            frustum(0, 0, high + 0.08, high + 0.2, (0.14, 0.07), stone),
            frustum(0, 0, high + 0.2, high + 0.6, (0.08, 0.28), stone),
            ball((0, 0, high + 0.62), (0.3, 0.3, 0.2), material(builder, rng, "foliage")),
        ]
    return settle(parts)


CENTRES = ((fountain, 1.5), (monument, 1.2), (tree, 0.8), (pavilion, 0.6))
LOOSE = (
    (tree, 2.0),
    (conifer, 0.8),
    (planter, 2.0),
    (roadside.bench, 1.6),
    (roadside.bush, 1.0),
    (cafe, 1.2),
    (roadside.street_lamp, 0.8),
    (urn, 0.8),
    (pavilion, 0.5),
    (monument, 0.4),
)
