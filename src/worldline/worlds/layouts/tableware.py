"""Things of a kitchen and a dining table, of several parts each, in their usual sizes (metres, standing on z = 0)."""

from __future__ import annotations

import numpy as np

from worldline.worlds.appearance.materials import material
from worldline.worlds.layouts.shapes import fine, frustum, hoop, pitched, settle, turned, vessel
from worldline.worlds.layouts.solids import ball, box, tube, upright
from worldline.worlds.world import Builder, Part, Surface, Thing, yaw_matrix


def glaze(builder: Builder, rng: np.random.Generator) -> int:
    """Ceramics, enamel, plastic: plain and bright, or decorated."""
    family = ("ceramic", "plastic", "thing", "toy")[int(rng.choice(4, p=[0.4, 0.25, 0.25, 0.1]))]
    return material(builder, rng, family)


def print_(builder: Builder, rng: np.random.Generator) -> int:
    """Printed paper or card: labels, packages, covers."""
    return fine(builder, rng, "lettering" if rng.random() < 0.7 else "shopglass", rng.uniform(0.25, 0.6))


def mug(builder: Builder, rng: np.random.Generator) -> Thing:
    """A mug or cup with a handle, often with something to drink in it."""
    radius, height = rng.uniform(0.032, 0.046), rng.uniform(0.07, 0.11)
    body = glaze(builder, rng)
    foot = radius * rng.uniform(0.65, 1.0)
    parts = vessel((foot, radius), height, 0.004, body, 14)
    if rng.random() < 0.7:
        level = rng.uniform(0.6, 0.88)
        inner = foot + (radius - foot) * level - 0.004
        parts.append(upright(0, 0, 0.004, level * height, inner, fine(builder, rng, "bark", 0.2)))
    ring = height * rng.uniform(0.24, 0.34)
    parts += hoop(
        np.array([0.5 * (foot + radius), 0, 0.52 * height]), ring, 0.0045, body, (-0.5 * np.pi, 0.5 * np.pi), 0.0
    )
    if rng.random() < 0.25:  # a spoon that stands in it
        parts.append(
            tube((-0.3 * radius, 0, 0.006), (0.75 * radius, 0, 1.45 * height), 0.002, fine(builder, rng, "chrome", 0.2))
        )
    return settle(parts)


def bottle(builder: Builder, rng: np.random.Generator) -> Thing:
    """A bottle with shoulder, neck, cap and label."""
    radius, height = rng.uniform(0.028, 0.045), rng.uniform(0.18, 0.33)
    body, cap = glaze(builder, rng), fine(builder, rng, "hue" if rng.random() < 0.6 else "metal", 0.2)
    shoulder, neck = height * rng.uniform(0.5, 0.68), radius * rng.uniform(0.3, 0.45)
    label = shoulder * rng.uniform(0.2, 0.35), shoulder * rng.uniform(0.7, 0.9)
    parts = [
        upright(0, 0, 0, shoulder, radius, body),
        ball((0, 0, shoulder), (radius, radius, radius * rng.uniform(0.8, 1.6)), body),
        upright(0, 0, shoulder, 0.93 * height, neck, body),
        upright(0, 0, 0.92 * height, height, neck * 1.25, cap),
        upright(0, 0, *label, radius + 0.0006, print_(builder, rng)),
    ]
    thing = settle(parts)
    return turned(thing, pitched(0.5 * np.pi)) if rng.random() < 0.12 else thing


def can(builder: Builder, rng: np.random.Generator) -> Thing:
    """A drink or food can with its rims and label; now and then lying on its side."""
    radius, height = (
        (rng.uniform(0.03, 0.034), rng.uniform(0.11, 0.15))
        if rng.random() < 0.5
        else (rng.uniform(0.036, 0.06), rng.uniform(0.06, 0.14))
    )
    metal = fine(builder, rng, "chrome", 0.2)
    parts = [
        upright(0, 0, 0.002, height - 0.002, radius, print_(builder, rng)),
        upright(0, 0, 0, 0.005, 0.96 * radius, metal),
        upright(0, 0, height - 0.006, height, 0.95 * radius, metal),
        box((-0.005, -0.012, height), (0.005, 0.012, height + 0.0015), metal),
    ]
    thing = settle(parts)
    if rng.random() < 0.2:
        return turned(thing, pitched(0.5 * np.pi))
    thing.surfaces = [Surface(np.array([0, 0, height + 0.0015]), (0.6 * radius, 0.6 * radius), 0.3)]
    return thing


def jar(builder: Builder, rng: np.random.Generator) -> Thing:
    """A jar with a lid, or a canister."""
    radius, height = rng.uniform(0.03, 0.065), rng.uniform(0.07, 0.2)
    body, lid = glaze(builder, rng), fine(builder, rng, "hue" if rng.random() < 0.5 else "wood", 0.3)
    parts = [
        upright(0, 0, 0, 0.86 * height, radius, body),
        upright(0, 0, 0.86 * height, height, radius * rng.uniform(0.8, 1.06), lid),
        upright(0, 0, 0.25 * height, 0.65 * height, radius + 0.0006, print_(builder, rng)),
    ]
    surfaces = [Surface(np.array([0, 0, height]), (0.5 * radius, 0.5 * radius), 0.3)]
    if rng.random() < 0.3:
        parts.append(ball((0, 0, height + 0.008), (0.011, 0.011, 0.011), lid))
        surfaces = []
    return settle(parts, surfaces)


def _fruit(builder: Builder, rng: np.random.Generator, at: np.ndarray, radius: float) -> list[Part]:
    hue = ("red", "yellow", "green")[int(rng.integers(3))]
    skin = fine(builder, rng, hue, 0.1)
    squash = rng.uniform(0.85, 1.1)
    top = at + np.array([0, 0, radius * squash])
    parts = [ball(tuple(at), (radius, radius, radius * squash), skin)]
    if rng.random() < 0.6:
        parts.append(
            tube(
                tuple(top - np.array([0, 0, 0.004])),
                tuple(top + np.array([0.004, 0.002, 0.012])),
                0.0016,
                fine(builder, rng, "bark", 0.1),
            )
        )
    return parts


def fruit(builder: Builder, rng: np.random.Generator) -> Thing:
    """An apple, an orange, a lemon, or a pear of two balls."""
    radius = rng.uniform(0.025, 0.045)
    parts = _fruit(builder, rng, np.array([0, 0, radius]), radius)
    if rng.random() < 0.25:
        parts.append(ball((0, 0, 2.0 * radius), (0.6 * radius, 0.6 * radius, 0.8 * radius), parts[0].material))
    return settle(parts)


def bowl(builder: Builder, rng: np.random.Generator) -> Thing:
    """A bowl with fruit, or with something to eat, or empty."""
    radius, height = rng.uniform(0.07, 0.15), rng.uniform(0.045, 0.09)
    foot = radius * rng.uniform(0.45, 0.75)
    parts = vessel((foot, radius), height, 0.005, glaze(builder, rng), 16)
    choice = rng.random()
    if choice < 0.5:
        size = min(0.04, 0.38 * radius)
        inner = foot + (radius - foot) * 0.3 - size
        count = 3 if inner < 1.2 * size else 4
        ring = max(size * 1.02 / np.sin(np.pi / count), 0.5 * inner)
        for index in range(count):
            angle = index * 2 * np.pi / count
            at = np.array([ring * np.cos(angle), ring * np.sin(angle), 0.005 + 1.1 * size + 0.25 * height])
            parts += _fruit(builder, rng, at, size)
        parts += _fruit(builder, rng, np.array([0, 0, 0.005 + 2.5 * size + 0.25 * height]), size)
    elif choice < 0.8:
        level = rng.uniform(0.5, 0.8)
        parts.append(
            upright(
                0, 0, 0.004, level * height, foot + (radius - foot) * level - 0.004, fine(builder, rng, "ground", 0.1)
            )
        )
    return settle(parts)


def plate(builder: Builder, rng: np.random.Generator) -> Thing:
    """A plate with a rim, sometimes with a cake or bread on it."""
    radius = rng.uniform(0.08, 0.14)
    dish = glaze(builder, rng)
    parts = [
        frustum(0, 0, 0, 0.014, (0.6 * radius, radius), dish, 14),
        upright(0, 0, 0.014, 0.0145, 0.7 * radius, dish),
    ]
    choice = rng.random()
    if choice < 0.35:
        cake, icing = fine(builder, rng, "ground", 0.2), glaze(builder, rng)
        parts += [upright(0, 0, 0.014, 0.06, 0.6 * radius, cake), upright(0, 0, 0.06, 0.068, 0.61 * radius, icing)]
        for index in range(int(rng.integers(3, 7))):
            place = yaw_matrix(index * 1.1) @ np.array([0.4 * radius, 0, 0.075])
            parts.append(ball(tuple(place), (0.009, 0.009, 0.009), fine(builder, rng, "red", 0.1)))
    elif choice < 0.6:
        crust = fine(builder, rng, "ground", 0.2)
        parts.append(ball((0, 0, 0.04), (0.65 * radius, 0.4 * radius, 0.026), crust))
    surfaces = [Surface(np.array([0, 0, 0.0145]), (0.5 * radius, 0.5 * radius), 0.2)] if choice >= 0.6 else []
    return settle(parts, surfaces)


def teapot(builder: Builder, rng: np.random.Generator) -> Thing:
    """A teapot, kettle or jug: belly, spout, handle, lid."""
    radius = rng.uniform(0.055, 0.085)
    tall = radius * rng.uniform(0.8, 1.2)
    body = glaze(builder, rng) if rng.random() < 0.7 else fine(builder, rng, "chrome", 0.3)
    lid = body if rng.random() < 0.6 else fine(builder, rng, "wood", 0.2)
    parts = [
        upright(0, 0, 0, 0.4 * tall, 0.75 * radius, body),
        ball((0, 0, tall), (radius, radius, tall), body),
        tube((0.75 * radius, 0, 0.8 * tall), (1.6 * radius, 0, 1.7 * tall), 0.16 * radius, body),
        upright(0, 0, 1.8 * tall, 2.06 * tall, 0.45 * radius, lid),
        ball((0, 0, 2.15 * tall), (0.14 * radius, 0.14 * radius, 0.14 * radius), lid),
    ]
    if rng.random() < 0.5:
        parts += hoop(
            np.array([-0.9 * radius, 0, 1.05 * tall]), 0.6 * tall, 0.007, lid, (0.5 * np.pi, 1.5 * np.pi), 0.0
        )
    else:
        parts += hoop(np.array([0, 0, 1.7 * tall]), 0.9 * radius, 0.007, lid, (0.0, np.pi), 0.0)
    return settle(parts)


def pan(builder: Builder, rng: np.random.Generator) -> Thing:
    """A pot with a lid and two handles, or a frying pan with a long one."""
    radius = rng.uniform(0.08, 0.13)
    steel = fine(builder, rng, ("chrome", "dark", "red", "metal")[int(rng.integers(4))], 0.3)
    grip = fine(builder, rng, "dark", 0.3)
    if rng.random() < 0.5:
        height = rng.uniform(0.04, 0.055)
        parts = vessel((0.85 * radius, radius), height, 0.004, steel, 16)
        parts.append(tube((0.9 * radius, 0, 0.8 * height), (0.9 * radius + 0.19, 0, height + 0.02), 0.01, grip))
        return settle(parts)
    height = rng.uniform(0.09, 0.16)
    parts = [
        upright(0, 0, 0, height, radius, steel),
        upright(0, 0, height, height + 0.008, 1.03 * radius, steel),
        upright(0, 0, height + 0.008, height + 0.025, 0.012, grip),
        upright(0, 0, height + 0.025, height + 0.035, 0.025, grip),
    ]
    for side in (-1, 1):
        parts.append(
            box((side * radius - 0.02, -0.03, 0.75 * height), (side * radius + 0.02, 0.03, 0.75 * height + 0.012), grip)
        )
    return settle(parts)


def toaster(builder: Builder, rng: np.random.Generator) -> Thing:
    """A toaster with slots, lever and bread."""
    half, height = (rng.uniform(0.11, 0.15), rng.uniform(0.07, 0.09)), rng.uniform(0.16, 0.2)
    body, dark = (
        fine(builder, rng, ("chrome", "hue", "white")[int(rng.integers(3))], 0.4),
        fine(builder, rng, "dark", 0.3),
    )
    bread = fine(builder, rng, "ground", 0.15)
    parts = [
        box((-half[0], -half[1], 0.015), (half[0], half[1], height), body),
        box((-half[0] + 0.01, -half[1] + 0.01, 0), (half[0] - 0.01, half[1] - 0.01, 0.015), dark),
        box((half[0], -0.012, 0.6 * height), (half[0] + 0.03, 0.012, 0.6 * height + 0.015), dark),
        upright(half[0] - 0.03, 0, height, height + 0.002, 0.01, dark),
    ]
    for side in (-1, 1):
        y = 0.45 * side * half[1]
        parts.append(box((-half[0] + 0.025, y - 0.014, height), (half[0] - 0.045, y + 0.014, height + 0.002), dark))
        if rng.random() < 0.6:
            parts.append(box((-half[0] + 0.04, y - 0.008, height), (half[0] - 0.06, y + 0.008, height + 0.045), bread))
    return settle(parts)


def candle(builder: Builder, rng: np.random.Generator) -> Thing:
    """A candle on a stick or a saucer."""
    stick, wax = fine(builder, rng, "metal" if rng.random() < 0.5 else "wood", 0.2), fine(builder, rng, "hue", 0.2)
    foot, stem = rng.uniform(0.035, 0.055), rng.uniform(0.01, 0.16)
    tall = stem + rng.uniform(0.05, 0.18)
    parts = [
        frustum(0, 0, 0, 0.014, (foot, 0.6 * foot), stick, 10),
        upright(0, 0, 0.012, stem + 0.01, 0.008, stick),
        upright(0, 0, stem + 0.005, stem + 0.015, 0.022, stick),
        upright(0, 0, stem + 0.01, tall, 0.012, wax),
        ball((0, 0, tall + 0.012), (0.004, 0.004, 0.012), fine(builder, rng, "yellow", 0.1, emission=2.0)),
    ]
    return settle(parts)


def board(builder: Builder, rng: np.random.Generator) -> Thing:
    """A chopping board with bread or vegetables and a knife."""
    half = (rng.uniform(0.14, 0.2), rng.uniform(0.1, 0.13))
    wood = fine(builder, rng, "wood", rng.uniform(0.3, 0.6))
    parts = [box((-half[0], -half[1], 0), (half[0], half[1], 0.02), wood)]
    parts += [
        box(
            (-0.5 * half[0], -half[1] + 0.015, 0.02),
            (0.2 * half[0], -half[1] + 0.04, 0.0225),
            fine(builder, rng, "chrome", 0.2),
        ),
        box(
            (0.2 * half[0], -half[1] + 0.015, 0.02),
            (0.8 * half[0], -half[1] + 0.038, 0.036),
            fine(builder, rng, "dark", 0.2),
        ),
    ]
    if rng.random() < 0.5:
        parts.append(
            ball(
                (-0.1 * half[0], 0.2 * half[1], 0.055),
                (0.6 * half[0], 0.4 * half[1], 0.036),
                fine(builder, rng, "ground", 0.2),
            )
        )
    else:
        for x in (-0.5, 0.05, 0.55):
            radius = rng.uniform(0.022, 0.035)
            at = np.array([x * half[0], 0.3 * half[1] * rng.uniform(0.5, 1.0), 0.02 + 0.98 * radius])
            parts += _fruit(builder, rng, at, radius)
    return settle(parts)


TABLEWARE = (
    (mug, 2.0),
    (bottle, 2.0),
    (can, 1.6),
    (jar, 1.5),
    (fruit, 1.6),
    (bowl, 1.6),
    (plate, 1.0),
    (teapot, 1.2),
    (pan, 1.0),
    (toaster, 0.6),
    (candle, 0.8),
    (board, 0.7),
)
