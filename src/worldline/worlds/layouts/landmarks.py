"""Free-standing buildings seen from all sides, walls with gates, and what lies far behind an open place."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np

from worldline.worlds.appearance.materials import material
from worldline.worlds.layouts import wings
from worldline.worlds.layouts.paints import paint
from worldline.worlds.layouts.shapes import flight, frustum, settle
from worldline.worlds.layouts.solids import ball, box, gable, prism, tapered, upright
from worldline.worlds.layouts.wings import Look
from worldline.worlds.layouts.yard import masonry
from worldline.worlds.world import Builder, Part, Thing, height_field, yaw_matrix

QUARTERS = (np.pi, np.pi / 2, 0.0, -np.pi / 2)  # yaw of what looks towards the origin from +y, +x, -y, -x


def shifted(thing: Thing, x: float, y: float, yaw: float) -> list[Part]:
    """The parts of a thing, turned and moved over the ground."""
    turn, shift = yaw_matrix(yaw), np.array([x, y, 0.0])
    return [replace(p, center=turn @ p.center + shift, rotation=turn @ p.rotation) for p in thing.parts]


def house(builder: Builder, rng: np.random.Generator, look: Look, half: tuple[float, float], storeys: int) -> Thing:
    """A villa with windows all around, a hipped or saddle roof, and a stair to its door."""
    strip = replace(look, roof_kind="none")
    parts: list[Part] = []
    for side, yaw in enumerate(QUARTERS):
        along = half[side % 2] if side % 2 == 0 else half[1] - 0.8
        out = half[1] if side % 2 == 0 else half[0]
        kind = ("plain", "plain", "doors", "columns")[int(rng.integers(3))] if side == 0 else "plain"
        front = wings.wing(builder, rng, strip, 2 * along, 0.8, storeys, kind)
        direction = (
            np.array([0.0, 1.0])
            if side == 0
            else np.array([1.0, 0.0])
            if side == 1
            else (np.array([0.0, -1.0]) if side == 2 else np.array([-1.0, 0.0]))
        )
        place = direction * (out - 0.4)
        parts += shifted(front, float(place[0]), float(place[1]), yaw + np.pi)
    top = look.ground + storeys * look.storey
    parts.append(box((0.8 - half[0], 0.8 - half[1], 0.0), (half[0] - 0.8, half[1] - 0.8, top), look.wall))
    eaves, rise = (half[0] + 0.5, half[1] + 0.5), rng.uniform(0.45, 0.8) * min(half)
    if rng.random() < 0.5:
        parts.append(gable(eaves, top, rise, look.roof, along_x=half[0] > half[1]))
        parts.append(gable(half, top, 0.95 * rise, look.wall, along_x=half[0] > half[1]))
    else:
        short = min(eaves)
        parts.append(tapered(eaves, top, top + rise, (0.85 * short, 0.85 * short), look.roof))
    x = rng.uniform(-0.4, 0.4) * half[0]
    parts.append(box((x - 0.3, -0.3, top), (x + 0.3, 0.3, top + rise + 0.8), paint(builder, rng, "brick")))
    return Thing(parts, half, top + rise)


def temple(builder: Builder, rng: np.random.Generator, size: float) -> Thing:
    """Steps, a row of columns around a walled room, a beam and a pediment; sometimes a ruin without its roof."""
    stone, wall = masonry(builder, rng), masonry(builder, rng)
    across, along = int(rng.integers(4, 7)), int(rng.integers(5, 8))
    pitch, radius, high = size * rng.uniform(1.4, 1.9), size * rng.uniform(0.24, 0.34), size * rng.uniform(3.2, 5.0)
    half = (0.5 * pitch * (across - 1) + 0.7, 0.5 * pitch * (along - 1) + 0.7)
    parts, base = [], 0.0
    for step in range(3):
        grow = 0.38 * (3 - step)
        parts.append(box((-half[0] - grow, -half[1] - grow, base), (half[0] + grow, half[1] + grow, base + 0.2), stone))
        base += 0.2
    ruin = rng.random() < 0.35
    for i in range(across):
        for j in range(along):
            if 0 < i < across - 1 and 0 < j < along - 1:
                continue
            x, y = (i - 0.5 * (across - 1)) * pitch, (j - 0.5 * (along - 1)) * pitch
            top = base + (high * rng.uniform(0.25, 1.0) if ruin and rng.random() < 0.5 else high)
            parts.append(frustum(x, y, base, top - 0.2, (radius, 0.82 * radius), stone, 12))
            parts.append(
                box((x - 1.3 * radius, y - 1.3 * radius, top - 0.2), (x + 1.3 * radius, y + 1.3 * radius, top), stone)
            )
    top = base + high
    room = (half[0] - 0.9 * pitch - 0.3, half[1] - 0.9 * pitch - 0.3)
    if min(room) > 0.5:
        parts.append(box((-room[0], -room[1], base), (room[0], room[1], top * (0.6 if ruin else 1.0)), wall))
        parts.append(box((-0.7, -room[1], base), (0.7, room[1] + 0.04, base + 2.4), paint(builder, rng, "door")))
    if not ruin:
        parts.append(box((-half[0], -half[1], top), (half[0], half[1], top + 0.55), stone))
        parts.append(
            box((-half[0] - 0.15, -half[1] - 0.15, top + 0.55), (half[0] + 0.15, half[1] + 0.15, top + 0.72), stone)
        )
        parts.append(
            gable(
                (half[0] + 0.1, half[1] + 0.1), top + 0.72, 0.4 * half[0], material(builder, rng, "roof"), along_x=False
            )
        )
    return settle(parts)


def tower(builder: Builder, rng: np.random.Generator, look: Look) -> Thing:
    """A round or square tower with slits, a gallery and a pointed roof."""
    radius, high = rng.uniform(1.5, 2.6), rng.uniform(8.0, 14.0)
    round_ = rng.random() < 0.6
    body = (
        upright(0, 0, 0, high, radius, look.wall)
        if round_
        else box((-radius, -radius, 0), (radius, radius, high), look.wall)
    )
    parts = [
        body,
        upright(0, 0, 0, 0.6, 1.45 * radius, look.base)
        if round_
        else box((-1.1 * radius, -1.1 * radius, 0), (1.1 * radius, 1.1 * radius, 0.6), look.base),
    ]
    sides = 12 if round_ else 4
    parts += [
        upright(0, 0, high - 1.2, high - 0.9, 1.12 * radius * (1 if round_ else 1.42), look.trim),
        frustum(0, 0, high, high + 2.2 * radius, (1.2 * radius, 0.03), look.roof, sides),
    ]
    for index in range(4):
        turn = yaw_matrix(index * np.pi / 2)
        for z in np.arange(2.8, high - 2.0, 2.6):
            slit = box((radius - 0.1, -0.3, z), (radius + 0.03, 0.3, z + 1.1), look.pane)
            parts.append(replace(slit, center=turn @ slit.center, rotation=turn))
    door = box((radius - 0.2, -0.55, 0), (radius + 0.6 if round_ else radius + 0.3, 0.55, 2.2), look.door)
    parts.append(door)
    return settle(parts)


def gate(builder: Builder, rng: np.random.Generator, look: Look, half: float) -> Thing:
    """A wall of the given half length with an arched passage between two posts."""
    high, thick, open_ = rng.uniform(2.0, 3.4), 0.3, rng.uniform(1.1, 1.6)
    parts: list[Part] = []
    for side in (-1, 1):
        a, b = sorted((side * (open_ + 0.7), side * half))
        parts += [
            box((a, -thick, 0), (b, thick, high), look.wall),
            box((a, -thick - 0.08, high), (b, thick + 0.08, high + 0.12), look.trim),
        ]
        a, b = sorted((side * open_, side * (open_ + 0.7)))
        parts += [
            box((a, -0.45, 0), (b, 0.45, high + 0.9), look.base),
            box((a - 0.08, -0.53, high + 0.9), (b + 0.08, 0.53, high + 1.05), look.trim),
            ball((0.5 * (a + b), 0, high + 1.3), (0.28, 0.28, 0.28), look.base),
        ]
    angles = np.linspace(np.pi, 0.0, 9)
    spring, top = high - 0.5, high - 0.4 + open_
    curve = np.stack([open_ * np.cos(angles), spring + 0.75 * open_ * np.sin(angles)], -1)
    for first, second in pairwise(curve):
        parts.append(prism([tuple(first), tuple(second), (second[0], top), (first[0], top)], 0.3, look.base))
    return Thing(parts, (half, 0.53), top)


def stair(builder: Builder, rng: np.random.Generator, half: float, steps: int) -> Thing:
    """A flight of stairs up to a terrace with a parapet."""
    stone, wall = masonry(builder, rng), masonry(builder, rng)
    rise, run = 0.16 * steps, 0.34 * steps
    parts = flight(half, run, rise, steps, stone)
    parts.append(box((-half - 3.0, -3.0, 0), (half + 3.0, 0.0, rise), wall))
    for side in (-1, 1):
        a, b = sorted((side * half, side * (half + 0.35)))
        parts.append(box((a, 0, 0), (b, run, rise + 0.25), wall))
        a, b = sorted((side * (half + 0.1), side * (half + 3.0)))
        parts.append(box((a, -0.25, rise), (b, 0.0, rise + 0.85), wall))
    return settle(parts)


def slopes(builder: Builder, rng: np.random.Generator, half: tuple[float, float]) -> list[Thing]:
    """Rolling ground around a place of the given half extents: on every side a field that rises from the level and
    falls back to it, sin(k y) (b + 2 a cos(m x))."""
    mat, things = material(builder, rng, "grass"), []
    for side, yaw in enumerate(QUARTERS):
        depth, rise = rng.uniform(25.0, 45.0), rng.uniform(1.0, 3.5)
        k, m, shift, a = (
            np.pi / depth,
            2 * np.pi / rng.uniform(25.0, 60.0),
            rng.uniform(0, 6.3),
            rng.uniform(0.2, 0.45) * rise,
        )
        waves = np.array([[0, k, np.pi / 2, rise], [m, k, np.pi / 2 + shift, a], [-m, k, np.pi / 2 - shift, a]])
        turn = yaw_matrix(yaw)
        place = -(half[1 - side % 2] + 7.0 + 0.5 * depth) * turn[:, 1] - np.array([0, 0, 0.01])
        things.append(Thing([height_field(place, (110.0, 0.5 * depth), waves, mat, turn)], (1, 1), 2 * rise))
    return things


def backdrop(builder: Builder, rng: np.random.Generator, near: float, far: float) -> list[Thing]:
    """Hills, rows of trees and distant blocks around a place; positions are within the things."""
    things: list[Thing] = []
    for _ in range(int(rng.integers(2, 6))):
        angle, away = rng.uniform(-np.pi, np.pi), rng.uniform(0.75, 0.95) * far
        wide, high = rng.uniform(25.0, 60.0, 2), rng.uniform(6.0, 22.0)
        place = (away * np.cos(angle), away * np.sin(angle), 0.0)
        things.append(Thing([ball(place, (wide[0], wide[1], high), paint(builder, rng, "grass"))], (1, 1), high))
    count = int(rng.integers(8, 22))
    for index in range(count):
        angle = 2 * np.pi * (index + rng.uniform(0, 0.8)) / count
        away = rng.uniform(near, 0.6 * far)
        x, y = away * np.cos(angle), away * np.sin(angle)
        if rng.random() < 0.5:
            half, high = rng.uniform(4.0, 9.0, 2), rng.uniform(5.0, 18.0)
            body = box((-half[0], -half[1], 0), (half[0], half[1], high), material(builder, rng, "windows"))
            roof = gable(
                (half[0] + 0.3, half[1] + 0.3), high, rng.uniform(0.2, 0.8) * half[1], paint(builder, rng, "tiles")
            )
            things.append(
                Thing(shifted(Thing([body, roof], (1, 1), high), x, y, rng.uniform(-np.pi, np.pi)), (1, 1), high)
            )
        else:
            leaf, high = material(builder, rng, "foliage"), rng.uniform(2.5, 6.0)
            crown = [
                ball(
                    (x + rng.normal(0, 3), y + rng.normal(0, 3), 0.8 * high),
                    (rng.uniform(2, 4), rng.uniform(2, 4), high),
                    leaf,
                )
                for _ in range(2)
            ]
            things.append(Thing(crown, (1, 1), 2 * high))
    return things
