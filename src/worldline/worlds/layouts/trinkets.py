"""Books, devices, lamps, plants and tools, of several parts each, in their usual sizes (standing on z = 0)."""

from __future__ import annotations

import numpy as np

from worldline.worlds.appearance.materials import material
from worldline.worlds.layouts.shapes import fine, frustum, hoop, pitched, settle, turned, vessel
from worldline.worlds.layouts.solids import ball, box, prism, tube, upright, wheel
from worldline.worlds.layouts.tableware import glaze, print_
from worldline.worlds.world import BOX, ELLIPSOID, Builder, Part, Surface, Thing, yaw_matrix


def _volume(builder: Builder, rng: np.random.Generator, half: tuple[float, float], thick: float) -> list[Part]:
    """One closed book that lies flat: two covers, a spine at -x, and pages."""
    cover = print_(builder, rng) if rng.random() < 0.6 else fine(builder, rng, "hue", 0.2)
    pages = fine(builder, rng, "white", 0.1)
    return [
        box((-half[0], -half[1], 0), (half[0], half[1], 0.0025), cover),
        box((-half[0], -half[1], thick - 0.0025), (half[0], half[1], thick), cover),
        box((-half[0], -half[1], 0.0025), (-half[0] + 0.003, half[1], thick - 0.0025), cover),
        box((-half[0] + 0.003, -half[1] + 0.004, 0.0025), (half[0] - 0.004, half[1] - 0.004, thick - 0.0025), pages),
    ]


def books(builder: Builder, rng: np.random.Generator) -> Thing:
    """A stack of books, each turned a little; something may stand on it."""
    half, top = (rng.uniform(0.07, 0.11), rng.uniform(0.1, 0.15)), 0.0
    parts: list[Part] = []
    for _ in range(int(rng.integers(1, 6))):
        thick, turn = rng.uniform(0.012, 0.045), yaw_matrix(rng.normal(0, 0.12))
        for part in _volume(builder, rng, half, thick):
            parts.append(Part(part.kind, turn @ part.center + np.array([0, 0, top]), part.half, part.material, turn))
        top += thick
        half = (half[0] * rng.uniform(0.88, 1.0), half[1] * rng.uniform(0.88, 1.0))
    return settle(parts, [Surface(np.array([0, 0, top]), (0.7 * half[0], 0.7 * half[1]), 0.35)])


def row_of_books(builder: Builder, rng: np.random.Generator) -> Thing:
    """Books that stand side by side between two ends."""
    end, x = fine(builder, rng, "wood" if rng.random() < 0.5 else "metal", 0.3), 0.0
    parts = [box((-0.012, -0.06, 0), (0, 0.06, 0.15), end)]
    for _ in range(int(rng.integers(4, 10))):
        thick, tall, deep = rng.uniform(0.014, 0.045), rng.uniform(0.18, 0.26), rng.uniform(0.12, 0.17)
        cover = print_(builder, rng) if rng.random() < 0.5 else fine(builder, rng, "hue", 0.2)
        parts += [
            box((x + 0.0005, -0.075, 0), (x + thick - 0.0005, -0.075 + deep, tall), cover),
            box(
                (x + 0.0025, -0.07, tall),
                (x + thick - 0.0025, -0.078 + deep, tall + 0.001),
                fine(builder, rng, "white", 0.1),
            ),
        ]
        x += thick
    parts.append(box((x, -0.06, 0), (x + 0.012, 0.06, 0.15), end))
    return settle(parts)


def open_book(builder: Builder, rng: np.random.Generator) -> Thing:
    """An open book or magazine."""
    half, thick, sheet = rng.uniform(0.09, 0.12), rng.uniform(0.006, 0.018), print_(builder, rng)
    other, cover, tall = print_(builder, rng), fine(builder, rng, "hue", 0.2), rng.uniform(0.11, 0.15)
    parts = [box((-2 * half - 0.003, -tall - 0.003, 0), (2 * half + 0.003, tall + 0.003, 0.003), cover)]
    parts += [
        prism(
            [(-2 * half, 0.003), (0, 0.003), (0, thick), (-0.25 * half, 1.2 * thick), (-2 * half, 0.8 * thick)],
            tall,
            sheet,
        ),
        prism(
            [(0, 0.003), (2 * half, 0.003), (2 * half, 0.8 * thick), (0.25 * half, 1.2 * thick), (0, thick)],
            tall,
            other,
        ),
    ]
    return settle(parts)


def package(builder: Builder, rng: np.random.Generator) -> Thing:
    """A printed package, a parcel with tape, or a gift with a ribbon; things may stand on it."""
    size = np.array([rng.uniform(0.03, 0.12), rng.uniform(0.02, 0.09), rng.uniform(0.04, 0.26)])
    choice = rng.random()
    card = print_(builder, rng) if choice < 0.55 else fine(builder, rng, "ground", 0.4)
    if choice > 0.8:
        card = glaze(builder, rng)
    parts = [box((-size[0], -size[1], 0), (size[0], size[1], size[2]), card)]
    band = fine(builder, rng, "hue" if choice > 0.8 else "kerb", 0.2)
    if choice >= 0.55:
        parts.append(box((-size[0] - 5e-4, -0.012, -0.0), (size[0] + 5e-4, 0.012, size[2] + 5e-4), band))
    if choice > 0.8:
        parts.append(box((-0.012, -size[1] - 5e-4, 0), (0.012, size[1] + 5e-4, size[2] + 5e-4), band))
        for side in (-1, 1):
            parts.append(ball((side * 0.018, 0, size[2] + 0.011), (0.018, 0.007, 0.011), band))
        return settle(parts)
    return settle(
        parts, [Surface(np.array([0, 0, size[2] + 5e-4 * (choice >= 0.55)]), (0.9 * size[0], 0.9 * size[1]), 0.35)]
    )


def table_lamp(builder: Builder, rng: np.random.Generator) -> Thing:
    """A lamp with a foot, a stem of balls or a pole, and a shade that glows a little."""
    foot, height = rng.uniform(0.05, 0.08), rng.uniform(0.26, 0.42)
    base = glaze(builder, rng) if rng.random() < 0.6 else fine(builder, rng, "metal", 0.3)
    shade = fine(builder, rng, "trim" if rng.random() < 0.5 else "hue", 0.3, emission=rng.uniform(0.2, 1.0))
    parts = [frustum(0, 0, 0, 0.02, (foot, 0.8 * foot), base), upright(0, 0, 0.02, 0.75 * height, 0.008, base)]
    if rng.random() < 0.6:
        for z in (0.2, 0.42):
            parts.append(ball((0, 0, z * height + 0.02), (0.6 * foot, 0.6 * foot, 0.11 * height), base))
    wide = rng.uniform(0.08, 0.13)
    parts.append(frustum(0, 0, 0.62 * height, height, (wide, wide * rng.uniform(0.5, 0.9)), shade, 12))
    return settle(parts)


def desk_lamp(builder: Builder, rng: np.random.Generator) -> Thing:
    """A lamp with a jointed arm and a small head."""
    metal, low, high = glaze(builder, rng), rng.uniform(0.15, 0.2), rng.uniform(0.3, 0.38)
    dark, glow = fine(builder, rng, "dark", 0.2), fine(builder, rng, "white", 0.2, emission=1.5)
    head = np.array([rng.uniform(0.06, 0.14), 0.0, high])
    parts = [
        upright(0, 0, 0, 0.022, rng.uniform(0.065, 0.085), metal),
        tube((0, 0, 0.02), (-0.07, 0, low), 0.006, metal),
        ball((-0.07, 0, low), (0.012, 0.012, 0.012), dark),
        tube((-0.07, 0, low), (head[0], 0, high), 0.006, metal),
        ball((head[0], 0, high), (0.016, 0.016, 0.016), dark),
    ]
    shade = frustum(0, 0, -0.085, 0.0, (0.055, 0.025), metal, 10)
    bulb = upright(0, 0, -0.0875, -0.0845, 0.045, glow)
    turn = pitched(-rng.uniform(0.1, 0.6))
    parts += [Part(p.kind, head + turn @ p.center, p.half, p.material, turn, p.planes) for p in (shade, bulb)]
    return settle(parts)


def plant(builder: Builder, rng: np.random.Generator) -> Thing:
    """A pot with leaves, a cactus, or a vase with flowers."""
    radius, height = rng.uniform(0.04, 0.075), rng.uniform(0.07, 0.14)
    pot, leaf = glaze(builder, rng), fine(builder, rng, "leaves", 0.12)
    parts = [
        frustum(0, 0, 0, height, (0.72 * radius, radius), pot, 12),
        upright(0, 0, height, height + 0.002, 0.9 * radius, fine(builder, rng, "bark", 0.2)),
    ]
    choice = rng.random()
    if choice < 0.25:
        tall = rng.uniform(0.06, 0.16)
        parts.append(ball((0, 0, height + 0.8 * tall), (0.55 * radius, 0.55 * radius, tall), leaf))
        for side in (-1, 1):
            at = (side * 0.62 * radius, 0.0, height + tall * rng.uniform(0.7, 1.2))
            parts.append(ball(at, (0.28 * radius, 0.28 * radius, 0.4 * tall), leaf))
    else:
        size, flowers = rng.uniform(0.06, 0.11), choice > 0.6
        for index in range(int(rng.integers(6, 12))):
            turn = yaw_matrix(index * 2.4 + rng.normal(0, 0.3))
            lift = rng.uniform(0.6, 1.45)
            axes = turn @ pitched(-lift)
            start = np.array([0, 0, height])
            parts.append(Part(ELLIPSOID, start + axes[:, 0] * size, np.array([size, size * 0.28, 0.004]), leaf, axes))
            if flowers and index % 2 == 0:
                end = start + (turn @ pitched(-1.2))[:, 0] * size * rng.uniform(1.8, 2.4)
                parts.append(tube(tuple(start), tuple(end), 0.002, leaf))
                parts.append(ball(tuple(end), (0.022, 0.022, 0.016), fine(builder, rng, "hue", 0.1)))
    return settle(parts)


def screen(builder: Builder, rng: np.random.Generator) -> Thing:
    """A monitor on a stand, or an open laptop."""
    half, dark = rng.uniform(0.14, 0.19), fine(builder, rng, "dark" if rng.random() < 0.6 else "chrome", 0.4)
    picture = fine(builder, rng, "lettering", rng.uniform(0.15, 0.3), emission=rng.uniform(0.3, 0.9))
    if rng.random() < 0.5:
        parts = [
            box((-half, -0.11, 0), (half, 0.12, 0.014), dark),
            box((-0.9 * half, -0.075, 0.014), (0.9 * half, 0.06, 0.0155), material(builder, rng, "books")),
            box((-0.25 * half, 0.07, 0.014), (0.25 * half, 0.11, 0.0148), fine(builder, rng, "metal", 0.2)),
        ]
        tilt, tall = rng.uniform(0.1, 0.5), 0.115
        turn = yaw_matrix(-0.5 * np.pi) @ pitched(-tilt) @ yaw_matrix(0.5 * np.pi)
        hinge = np.array([0, -0.11, 0.014])
        for inset, thick, mat in ((0.0, 0.004, dark), (0.012, 0.0052, picture)):
            shape = np.array([half - inset, thick, tall - inset])
            parts.append(Part(BOX, hinge + turn @ np.array([0, 0, tall]), shape, mat, turn))
        return settle(parts)
    tall = rng.uniform(0.2, 0.24)
    parts = [
        box((-0.1, -0.07, 0), (0.1, 0.07, 0.01), dark),
        box((-0.02, -0.03, 0.01), (0.02, -0.01, 0.3), dark),
        box((-1.3 * half, -0.01, 0.1), (1.3 * half, 0.012, 0.1 + tall), dark),
        box((-1.3 * half + 0.01, 0.012, 0.115), (1.3 * half - 0.01, 0.0132, 0.09 + tall), picture),
    ]
    return settle(parts)


def device(builder: Builder, rng: np.random.Generator) -> Thing:
    """A camera, a radio, a loudspeaker, a telephone that lies, or a game controller-like box with knobs."""
    body, dark = (
        glaze(builder, rng) if rng.random() < 0.5 else fine(builder, rng, "dark", 0.3),
        fine(builder, rng, "metal", 0.3),
    )
    choice = rng.integers(4)
    if choice == 0:
        parts = [
            box((-0.065, -0.03, 0), (0.065, 0.03, 0.08), body),
            box((-0.022, -0.02, 0.08), (0.022, 0.025, 0.1), body),
            wheel(0, 0.05, 0.04, 0.031, 0.045, dark),
            wheel(0, 0.075, 0.04, 0.025, 0.008, fine(builder, rng, "glass", 0.1)),
            upright(0.045, 0, 0.08, 0.088, 0.012, dark),
        ]
    elif choice == 1:
        half = rng.uniform(0.1, 0.16)
        parts = [
            box((-half, -0.04, 0.008), (half, 0.04, 0.15), body),
            box((-half + 0.012, 0.04, 0.02), (0.2 * half, 0.042, 0.138), material(builder, rng, "fabric")),
            wheel(0.6 * half, 0.045, 0.055, 0.022, 0.012, dark),
            box((0.3 * half, 0.04, 0.1), (half - 0.015, 0.042, 0.13), print_(builder, rng)),
            tube((0.9 * half, -0.02, 0.15), (0.4 * half, -0.02, 0.32), 0.0025, dark),
            box((-half + 0.02, -0.03, 0), (half - 0.02, 0.03, 0.008), dark),
        ]
    elif choice == 2:
        tall, half = rng.uniform(0.2, 0.34), rng.uniform(0.06, 0.085)
        parts = [box((-half, -0.08, 0), (half, 0.08, tall), body)]
        for z, radius in ((0.3, 0.8), (0.75, 0.5)):
            parts += [
                wheel(0, 0.08, z * tall, radius * half, 0.006, dark),
                ball(
                    (0, 0.082, z * tall),
                    (0.4 * radius * half, 0.008, 0.4 * radius * half),
                    fine(builder, rng, "dark", 0.2),
                ),
            ]
    else:
        parts = [
            box((-0.036, -0.075, 0), (0.036, 0.075, 0.008), body),
            box((-0.033, -0.07, 0.008), (0.033, 0.07, 0.0088), fine(builder, rng, "lettering", 0.08, emission=0.4)),
        ]
    return settle(parts)


def pencils(builder: Builder, rng: np.random.Generator) -> Thing:
    """A cup of pencils, brushes or cooking spoons."""
    radius, height = rng.uniform(0.033, 0.05), rng.uniform(0.085, 0.13)
    parts = vessel((0.92 * radius, radius), height, 0.004, glaze(builder, rng), 10)
    for index in range(int(rng.integers(3, 8))):
        turn = yaw_matrix(index * 2.4)
        start, lean = turn @ np.array([-0.4 * radius, 0, 0.008]), rng.uniform(0.3, 0.75)
        end = turn @ np.array([lean * radius, 0, height]) * rng.uniform(1.4, 1.8)
        end[:2] *= 0.8
        parts.append(tube(tuple(start), tuple(end), 0.0038, fine(builder, rng, "hue" if index % 2 else "wood", 0.1)))
        parts.append(ball(tuple(end), (0.005, 0.005, 0.008), fine(builder, rng, "hue", 0.1)))
    return settle(parts)


def tool(builder: Builder, rng: np.random.Generator) -> Thing:
    """A hammer, a screwdriver, a roll of tape, or a tool box."""
    steel, grip = fine(builder, rng, "metal", 0.3), fine(builder, rng, "hue" if rng.random() < 0.6 else "wood", 0.2)
    choice = rng.integers(4)
    if choice == 0:
        parts = [
            tube((-0.14, 0, 0.014), (0.13, 0, 0.014), 0.0125, grip),
            box((0.11, -0.05, 0), (0.14, 0.03, 0.028), steel),
            wheel(0.125, 0.045, 0.015, 0.015, 0.035, steel),
        ]
    elif choice == 1:
        parts = [
            tube((-0.1, 0, 0.014), (0.0, 0, 0.014), 0.014, grip),
            tube((0.0, 0, 0.014), (0.12, 0, 0.014), 0.0035, steel),
        ]
    elif choice == 2:
        parts = vessel((0.045, 0.045), rng.uniform(0.02, 0.05), 0.012, grip, 14)[1:]
    else:
        half, tall = rng.uniform(0.13, 0.19), rng.uniform(0.09, 0.13)
        parts = [
            box((-half, -0.08, 0), (half, 0.08, tall), grip),
            box((-half - 0.004, -0.084, tall), (half + 0.004, 0.084, tall + 0.03), steel),
        ]
        parts += hoop(np.array([0, 0, tall + 0.02]), 0.06, 0.008, steel, (0.0, np.pi), 0.0)
        for x in (-0.6, 0.6):
            parts.append(box((x * half - 0.015, 0.084, tall - 0.03), (x * half + 0.015, 0.09, tall + 0.02), steel))
    return settle(parts)


def clock(builder: Builder, rng: np.random.Generator) -> Thing:
    """A round clock on two feet."""
    radius = rng.uniform(0.045, 0.085)
    body, face, dark = glaze(builder, rng), fine(builder, rng, "white", 0.1), fine(builder, rng, "dark", 0.1)
    z = radius + 0.008
    parts = [wheel(0, 0, z, radius, 0.05, body), wheel(0, 0.026, z, 0.86 * radius, 0.002, face)]
    for angle, length in ((rng.uniform(0, 6.3), 0.5), (rng.uniform(0, 6.3), 0.75)):
        end = (length * radius * np.sin(angle), 0.029, z + length * radius * np.cos(angle))
        parts.append(tube((0, 0.029, z), end, 0.0018, dark))
    for side in (-1, 1):
        parts.append(tube((side * 0.6 * radius, 0, 0), (side * 0.4 * radius, 0, 0.4 * radius), 0.006, dark))
        if radius > 0.06:
            parts.append(ball((side * 0.6 * radius, 0, z + 0.95 * radius), (0.02, 0.014, 0.015), body))
    return settle(parts)


def frame(builder: Builder, rng: np.random.Generator) -> Thing:
    """A picture or a tablet that leans back on its strut."""
    half, tall = rng.uniform(0.06, 0.12), rng.uniform(0.08, 0.13)
    edge, picture = fine(builder, rng, "wood" if rng.random() < 0.5 else "metal", 0.3), material(builder, rng, "poster")
    tilt = rng.uniform(0.18, 0.4)
    turn = yaw_matrix(-0.5 * np.pi) @ pitched(-tilt) @ yaw_matrix(0.5 * np.pi)
    parts = [
        Part(BOX, turn @ np.array([0, 0, tall]), np.array([half, 0.007, tall]), edge, turn),
        Part(BOX, turn @ np.array([0, 0.001, tall]), np.array([half - 0.012, 0.0068, tall - 0.012]), picture, turn),
    ]
    top = turn @ np.array([0, -0.006, 1.5 * tall])
    parts.append(tube((0, top[1] - 0.9 * tall * np.sin(tilt + 0.15), 0.0), tuple(top), 0.004, edge))
    return turned(settle(parts), np.eye(3))


TRINKETS = (
    (books, 2.0), (row_of_books, 1.0), (open_book, 0.9), (package, 2.0), (table_lamp, 0.8), (desk_lamp, 0.6),
    (plant, 1.6), (screen, 0.7), (device, 1.4), (pencils, 1.1), (tool, 1.0), (clock, 0.8), (frame, 0.9),
)  # fmt: skip
