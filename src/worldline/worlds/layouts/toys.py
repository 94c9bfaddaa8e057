"""Toys of several parts each, in their usual sizes (metres, standing on z = 0)."""

from __future__ import annotations

import numpy as np

from worldline.worlds.appearance.materials import material
from worldline.worlds.layouts.shapes import fine, settle
from worldline.worlds.layouts.solids import ball, box, gable, prism, tube, upright, wheel
from worldline.worlds.layouts.tableware import print_
from worldline.worlds.world import BOX, Builder, Part, Thing, yaw_matrix


def toy_car(builder: Builder, rng: np.random.Generator) -> Thing:
    """A toy car or lorry."""
    half, wide, radius = rng.uniform(0.05, 0.1), rng.uniform(0.025, 0.04), rng.uniform(0.012, 0.018)
    body, other, tyre = material(builder, rng, "toy"), material(builder, rng, "toy"), fine(builder, rng, "dark", 0.1)
    parts = [box((-half, -wide, radius), (half, wide, radius + 0.03), body)]
    low = radius + 0.03
    if rng.random() < 0.5:
        glass = fine(builder, rng, "glass", 0.1)
        parts += [
            prism(
                [(-0.7 * half, low), (0.5 * half, low), (0.25 * half, low + 0.026), (-0.5 * half, low + 0.026)],
                0.85 * wide,
                glass,
            ),
            box((-0.5 * half, -0.85 * wide, low + 0.026), (0.25 * half, 0.85 * wide, low + 0.03), body),
        ]
    else:
        parts += [
            box((0.45 * half, -wide, low), (0.95 * half, wide, low + 0.035), other),
            box((-half, -wide, low), (0.35 * half, wide, low + 0.05), print_(builder, rng)),
        ]
    for x in (-0.6, 0.6):
        for side in (-1, 1):
            parts.append(wheel(x * half, side * wide, radius, radius, 0.012, tyre))
    return settle(parts)


def blocks(builder: Builder, rng: np.random.Generator) -> Thing:
    """A tower, a little house or a stacking toy of coloured pieces."""
    choice, unit = rng.integers(3), rng.uniform(0.03, 0.05)
    parts: list[Part] = []
    if choice == 0:
        for index in range(int(rng.integers(3, 7))):
            turn = yaw_matrix(rng.normal(0, 0.25))
            size = np.array([0.5 * unit * rng.uniform(0.9, 1.3), 0.5 * unit, 0.5 * unit])
            shift = np.array([*rng.normal(0, 0.08 * unit, 2), (index + 0.5) * unit])
            parts.append(Part(BOX, shift, size, material(builder, rng, "toy"), turn))
    elif choice == 1:
        wall, cover, dark = (
            material(builder, rng, "toy"),
            fine(builder, rng, "tiles", 0.08),
            fine(builder, rng, "door", 0.1),
        )
        half, tall = (2 * unit, 1.4 * unit), 2 * unit
        parts = [
            box((-half[0], -half[1], 0), (half[0], half[1], tall), wall),
            gable((1.1 * half[0], 1.1 * half[1]), tall, 1.3 * unit, cover),
            box((-0.35 * unit, half[1], 0), (0.35 * unit, half[1] + 0.003, 1.2 * unit), dark),
        ]
        for x in (-1.2, 1.2):
            parts.append(
                box(
                    ((x - 0.4) * unit, half[1], 0.7 * unit),
                    ((x + 0.4) * unit, half[1] + 0.002, 1.5 * unit),
                    fine(builder, rng, "glass", 0.1),
                )
            )
    else:
        top, radius = 0.0, 1.3 * unit
        for _ in range(int(rng.integers(4, 7))):
            parts.append(ball((0, 0, top + 0.4 * unit), (radius, radius, 0.4 * unit), fine(builder, rng, "hue", 0.1)))
            parts.append(upright(0, 0, top, top + 0.7 * unit, 0.55 * radius, parts[-1].material))
            top, radius = top + 0.68 * unit, 0.87 * radius
        parts.append(
            ball((0, 0, top + 0.3 * unit), (0.4 * unit, 0.4 * unit, 0.45 * unit), fine(builder, rng, "red", 0.1))
        )
    return settle(parts)


def figure(builder: Builder, rng: np.random.Generator) -> Thing:
    """A sitting bear, a duck, or a robot."""
    skin, other, dark = (
        fine(builder, rng, "cloth", 0.5),
        fine(builder, rng, "hue", 0.2),
        fine(builder, rng, "dark", 0.1),
    )
    choice, s = rng.integers(3), rng.uniform(0.7, 1.5)
    if choice == 0:
        parts = [
            ball((0, 0, 0.06 * s), (0.05 * s, 0.045 * s, 0.06 * s), skin),
            ball((0, 0, 0.14 * s), (0.042 * s, 0.04 * s, 0.038 * s), skin),
            ball((0, 0.036 * s, 0.132 * s), (0.018 * s, 0.016 * s, 0.015 * s), other),
            ball((0, 0.05 * s, 0.136 * s), (0.006 * s,) * 3, dark),
        ]
        for side in (-1, 1):
            parts += [
                ball((side * 0.034 * s, 0, 0.176 * s), (0.015 * s, 0.009 * s, 0.015 * s), skin),
                ball((side * 0.014 * s, 0.036 * s, 0.152 * s), (0.005 * s,) * 3, dark),
                ball((side * 0.035 * s, 0.06 * s, 0.02 * s), (0.02 * s, 0.042 * s, 0.02 * s), skin),
                ball((side * 0.055 * s, 0.015 * s, 0.085 * s), (0.016 * s, 0.02 * s, 0.035 * s), skin),
            ]
    elif choice == 1:
        yellow = fine(builder, rng, "yellow" if rng.random() < 0.5 else "hue", 0.1)
        parts = [
            ball((0, 0, 0.035 * s), (0.04 * s, 0.06 * s, 0.035 * s), yellow),
            ball((0, 0.035 * s, 0.085 * s), (0.028 * s,) * 3, yellow),
            ball((0, 0.065 * s, 0.08 * s), (0.012 * s, 0.014 * s, 0.005 * s), fine(builder, rng, "red", 0.1)),
            ball((0, -0.06 * s, 0.05 * s), (0.015 * s, 0.02 * s, 0.012 * s), yellow),
        ]
        parts += [ball((side * 0.02 * s, 0.05 * s, 0.096 * s), (0.005 * s,) * 3, dark) for side in (-1, 1)]
    else:
        metal = fine(builder, rng, "metal", 0.3)
        parts = [
            box((-0.035 * s, -0.025 * s, 0.05 * s), (0.035 * s, 0.025 * s, 0.13 * s), other),
            box((-0.025 * s, -0.02 * s, 0.138 * s), (0.025 * s, 0.02 * s, 0.18 * s), metal),
            upright(0, 0, 0.13 * s, 0.14 * s, 0.01 * s, dark),
            upright(0, 0, 0.18 * s, 0.205 * s, 0.002 * s, metal),
            box((-0.02 * s, 0.025 * s, 0.07 * s), (0.02 * s, 0.027 * s, 0.11 * s), print_(builder, rng)),
        ]
        for side in (-1, 1):
            parts += [
                box(
                    (side * 0.02 * s - 0.012 * s, -0.02 * s, 0),
                    (side * 0.02 * s + 0.012 * s, 0.028 * s, 0.05 * s),
                    metal,
                ),
                tube((side * 0.043 * s, 0, 0.12 * s), (side * 0.05 * s, 0.01 * s, 0.06 * s), 0.008 * s, metal),
                ball((side * 0.011 * s, 0.02 * s, 0.162 * s), (0.006 * s,) * 3, dark),
            ]
    return settle(parts)


TOYS = ((toy_car, 1.0), (blocks, 1.2), (figure, 1.2))
