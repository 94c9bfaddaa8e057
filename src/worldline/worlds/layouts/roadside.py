"""What stands beside a road: trees, hedges, lamps, lights, signs, bins, benches.

Origin on the ground, x along the road, which lies towards +y.
"""

from __future__ import annotations

import numpy as np

from worldline.worlds.layouts.paints import paint
from worldline.worlds.layouts.solids import ball, box, tube, upright
from worldline.worlds.world import ELLIPSOID, Builder, Part, Thing, random_rotation


def tree(builder: Builder, rng: np.random.Generator, scale: float = 1.0) -> Thing:
    """A broad-leaved tree, or a slim one in tiers."""
    height, trunk = scale * rng.uniform(4.0, 9.0), scale * rng.uniform(0.08, 0.22)
    bark = paint(builder, rng, "bark")
    leaves = [paint(builder, rng, "autumn" if rng.random() < 0.1 else "leaves")]
    leaves.append(leaves[0] if rng.random() < 0.6 else paint(builder, rng, "leaves"))
    parts: list[Part] = []
    if rng.random() < 0.2:  # tiers
        base, width = 0.12 * height, rng.uniform(0.18, 0.26) * height
        parts.append(upright(0.0, 0.0, 0.0, 0.5 * height, trunk, bark))
        for tier in range(4):
            share = 1.0 - 0.22 * tier
            z = base + (tier + 0.8) * 0.21 * height
            parts.append(ball((0.0, 0.0, z), (width * share, width * share, 0.2 * height), leaves[0]))
        return Thing(parts, (width, width), height)
    clear = max(0.3 * height, 2.3 * scale)
    crown = 0.5 * (height - clear)
    parts.append(upright(0.0, 0.0, 0.0, clear + 0.6 * crown, trunk, bark))
    wide = crown * rng.uniform(0.75, 1.15)
    parts.append(ball((0.0, 0.0, clear + crown), (0.8 * wide, 0.8 * wide, crown), leaves[0]))
    for index in range(int(rng.integers(3, 6))):
        angle = 2.4 * index + rng.uniform(0, 1)
        radii = wide * rng.uniform(0.4, 0.62, 3)
        at = np.array([0.55 * wide * np.cos(angle), 0.55 * wide * np.sin(angle), clear + crown * rng.uniform(0.6, 1.5)])
        parts.append(Part(ELLIPSOID, at, radii, leaves[index % 2], random_rotation(rng)))
        if index < 2:
            end = 0.8 * at + np.array([0.0, 0.0, 0.2 * at[2]])
            parts.append(tube((0.0, 0.0, 0.85 * clear), (end[0], end[1], end[2]), 0.5 * trunk, bark))
    return Thing(parts, (trunk + 0.05, trunk + 0.05), height)


def bush(builder: Builder, rng: np.random.Generator) -> Thing:
    """A shrub of a few overlapping balls."""
    leaves, size = paint(builder, rng, "leaves"), rng.uniform(0.4, 1.0)
    parts = []
    for _ in range(int(rng.integers(2, 4))):
        x, y = rng.uniform(-0.4, 0.4, 2) * size
        radii = size * rng.uniform(0.5, 0.85, 3)
        parts.append(ball((x, y, 0.8 * radii[2]), (radii[0], radii[1], radii[2]), leaves))
    return Thing(parts, (1.2 * size, 1.2 * size), 1.5 * size)


def barrier(builder: Builder, rng: np.random.Generator, length: float) -> Thing:
    """A hedge, a garden wall, or a fence of posts and rails, along x."""
    half, choice = 0.5 * length, rng.integers(3)
    if choice == 0:
        high, thick = rng.uniform(0.8, 1.9), rng.uniform(0.25, 0.45)
        parts = [box((-half, -thick, 0.0), (half, thick, high), paint(builder, rng, "leaves"))]
    elif choice == 1:
        high, thick = rng.uniform(0.6, 2.0), 0.12
        wall = paint(builder, rng, ("brick", "stone", "plaster", "concrete")[int(rng.integers(4))])
        parts = [
            box((-half, -thick, 0.0), (half, thick, high), wall),
            box((-half, -thick - 0.05, high), (half, thick + 0.05, high + 0.08), paint(builder, rng, "kerb")),
        ]
    else:
        high, thick = rng.uniform(0.8, 1.3), 0.06
        mat = paint(builder, rng, "wood" if rng.random() < 0.5 else "trim")
        parts = [box((-half, -0.02, z), (half, 0.02, z + 0.1), mat) for z in np.linspace(0.2, high - 0.15, 3)]
        for x in np.linspace(-half + 0.05, half - 0.05, max(2, min(12, int(length / 1.5)))):
            parts.append(box((x - 0.05, -thick, 0.0), (x + 0.05, thick, high), mat))
    return Thing(parts, (half, thick), high)


def street_lamp(builder: Builder, rng: np.random.Generator) -> Thing:
    """A pole with an arm over the road, or a lantern on a post."""
    metal, glow = paint(builder, rng, "metal"), paint(builder, rng, "white")
    if rng.random() < 0.35:
        high = rng.uniform(3.2, 4.2)
        parts = [
            upright(0, 0, 0, high, 0.05, metal),
            upright(0, 0, 0, 0.8, 0.09, metal),
            ball((0, 0, high + 0.22), (0.2, 0.2, 0.26), glow),
            upright(0, 0, high + 0.4, high + 0.5, 0.2, metal),
        ]
        return Thing(parts, (0.2, 0.2), high + 0.5)
    high, out = rng.uniform(6.0, 9.0), rng.uniform(0.8, 2.0)
    parts = [
        upright(0, 0, 0, high, 0.07, metal),
        upright(0, 0, 0, 1.1, 0.11, metal),
        tube((0, 0, high - 0.05), (0, out, high + 0.25), 0.04, metal),
        box((-0.13, out - 0.1, high + 0.2), (0.13, out + 0.55, high + 0.32), metal),
        box((-0.1, out, high + 0.18), (0.1, out + 0.45, high + 0.21), glow),
    ]
    return Thing(parts, (0.12, 0.12), high + 0.4)


def traffic_light(builder: Builder, rng: np.random.Generator, red: bool) -> Thing:
    """Three lamps on a pole; they face -x. The lit one shines."""
    metal, dark = paint(builder, rng, "metal"), paint(builder, rng, "dark")
    high = rng.uniform(3.0, 3.5)
    parts = [
        upright(0, 0, 0, high, 0.06, metal),
        box((-0.12, -0.16, high - 0.95), (0.1, 0.16, high + 0.05), dark),
        box((-0.1, -0.24, high - 1.02), (-0.08, 0.24, high + 0.12), paint(builder, rng, "dark")),
    ]
    for index, name in enumerate(("red", "yellow", "green")):
        lit = (name == "red") if red else (name == "green")
        lamp = paint(builder, rng, name if lit else "dark", emission=3.0 if lit else 0.0)
        parts.append(ball((-0.12, 0, high - 0.15 - 0.3 * index), (0.05, 0.1, 0.1), lamp))
    return Thing(parts, (0.12, 0.12), high + 0.1)


def sign(builder: Builder, rng: np.random.Generator) -> Thing:
    """A traffic sign on a post, facing -x."""
    metal, high = paint(builder, rng, "metal"), rng.uniform(2.1, 2.8)
    edge, field = (("red", "white"), ("blue", "white"), ("red", "yellow"), ("white", "blue"))[int(rng.integers(4))]
    outer, inner = paint(builder, rng, edge), paint(builder, rng, field if rng.random() < 0.4 else "traffic sign")
    parts = [upright(0, 0, 0, high + 0.3, 0.035, metal)]
    if rng.random() < 0.5:
        parts += [
            tube((-0.05, 0, high), (-0.03, 0, high), 0.32, outer),
            tube((-0.06, 0, high), (-0.04, 0, high), 0.25, inner),
        ]
    else:
        wide, tall = rng.uniform(0.25, 0.5), rng.uniform(0.2, 0.4)
        parts += [
            box((-0.05, -wide, high - tall), (-0.03, wide, high + tall), outer),
            box((-0.06, -wide + 0.05, high - tall + 0.05), (-0.045, wide - 0.05, high + tall - 0.05), inner),
        ]
    return Thing(parts, (0.08, 0.3), high + 0.5)


def bin_(builder: Builder, rng: np.random.Generator) -> Thing:
    """A litter bin or a wheelie bin."""
    mat, lid = paint(builder, rng, "hue" if rng.random() < 0.5 else "metal"), paint(builder, rng, "dark")
    if rng.random() < 0.5:
        parts = [upright(0, 0, 0.05, 0.85, 0.22, mat), upright(0, 0, 0.85, 0.95, 0.24, lid)]
        return Thing(parts, (0.24, 0.24), 0.95)
    parts = [
        box((-0.28, -0.3, 0.05), (0.28, 0.3, 1.0), mat),
        box((-0.3, -0.32, 1.0), (0.3, 0.34, 1.08), lid),
        tube((-0.3, -0.28, 0.1), (0.3, -0.28, 0.1), 0.1, lid),
    ]
    return Thing(parts, (0.3, 0.38), 1.08)


def bench(builder: Builder, rng: np.random.Generator) -> Thing:
    """A seat with slats whose back is away from the road."""
    wood, leg, half = paint(builder, rng, "wood"), paint(builder, rng, "metal"), rng.uniform(0.7, 1.0)
    parts = [box((-half, y - 0.07, 0.42), (half, y + 0.07, 0.46), wood) for y in (-0.16, 0.0, 0.16)]
    parts += [box((-half, -0.27, z), (half, -0.23, z + 0.12), wood) for z in (0.56, 0.74)]
    for x in (-0.8 * half, 0.8 * half):
        parts += [
            box((x - 0.03, -0.25, 0.0), (x + 0.03, 0.22, 0.42), leg),
            box((x - 0.03, -0.25, 0.42), (x + 0.03, -0.2, 0.88), leg),
        ]
    return Thing(parts, (half, 0.3), 0.9)


def bollard(builder: Builder, rng: np.random.Generator) -> Thing:
    """A post that keeps cars off the pavement."""
    high = rng.uniform(0.7, 1.0)
    parts = [
        upright(0, 0, 0, high, 0.06, paint(builder, rng, "metal")),
        upright(0, 0, high - 0.2, high - 0.1, 0.065, paint(builder, rng, "white")),
    ]
    return Thing(parts, (0.08, 0.08), high)


def shelter(builder: Builder, rng: np.random.Generator) -> Thing:
    """A bus stop: roof, back wall, seat, poster."""
    metal, pane, half = paint(builder, rng, "metal"), paint(builder, rng, "glass"), rng.uniform(1.6, 2.2)
    parts = [
        box((-half, -0.55, 2.35), (half, 0.75, 2.45), metal),
        box((-half, -0.52, 0.25), (half, -0.49, 2.1), pane),
        box((-0.6 * half, -0.45, 0.45), (0.6 * half, -0.1, 0.5), metal),
        box((half - 0.08, -0.5, 0.2), (half, 0.55, 2.0), paint(builder, rng, "lettering")),
    ]
    for x in (-half + 0.05, 0.0, half - 0.05):
        parts.append(upright(x, -0.46, 0.0, 2.4, 0.04, metal))
    return Thing(parts, (half, 0.65), 2.45)
