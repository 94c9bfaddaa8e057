"""Cars, vans, trucks and buses as assemblies of convex solids with turning wheels.

Panes span the whole width of a body, as slabs that stick out of it by a centimetre: one solid gives the windows of
both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from worldline.worlds.layouts.movers import Assembly, Joints, translation, turn_y
from worldline.worlds.layouts.paints import paint
from worldline.worlds.layouts.solids import box, prism, wheel
from worldline.worlds.world import Builder, Part


def _axles(
    builder: Builder, rng: np.random.Generator, places: Sequence[float], radius: float, half_width: float
) -> tuple[list[list[Part]], Joints]:
    """Two wheels per axle, each axle in its own frame, and how they turn. A bar across the rims shows it."""
    tyre, rim, dark = paint(builder, rng, "tyre"), paint(builder, rng, "chrome"), paint(builder, rng, "dark")
    width = rng.uniform(0.18, 0.24)
    groups = []
    for _ in places:
        outer = half_width + 0.012
        sides = [wheel(0.0, side * (half_width - 0.5 * width), 0.0, radius, width, tyre) for side in (-1, 1)]
        bar = 0.62 * radius
        groups.append([*sides, wheel(0.0, 0.0, 0.0, 0.64 * radius, 2 * outer, rim),
                       box((-bar, -outer - 0.004, -0.035), (bar, outer + 0.004, 0.035), dark)])  # fmt: skip
    anchors = np.stack([translation(x, 0.0, radius) for x in places])

    def joints(travelled: np.ndarray, speed: np.ndarray) -> np.ndarray:
        root = np.broadcast_to(np.eye(4), (len(travelled), 1, 4, 4))
        return np.concatenate([root, anchors @ turn_y(travelled / radius)[:, None]], 1)

    return groups, joints


def _arch(x: float, radius: float, half_width: float, low: float, mat: int) -> Part:
    """A dark half disc around the wheels of an axle."""
    angles = np.linspace(0, np.pi, 5)
    outer = 1.17 * radius
    corners = [(x - outer, low), (x + outer, low)]
    corners += [(x + outer * np.cos(a), radius + outer * np.sin(a)) for a in angles]
    return prism(corners, half_width + 0.006, mat)


def _ends(
    builder: Builder, rng: np.random.Generator, front: float, back: float, half_width: float, head: float, tail: float
) -> list[Part]:
    """Head lamps, tail lamps, number plates and a dark grille; heights of the lamps in metres."""
    lamp, red, plate = paint(builder, rng, "chrome"), paint(builder, rng, "red"), paint(builder, rng, "white")
    size, tall = rng.uniform(0.22, 0.36), rng.uniform(0.1, 0.17)
    parts = []
    for side in (-1, 1):
        y = side * (half_width - 0.5 * size - 0.06)
        parts.append(
            box((front - 0.25, y - 0.5 * size, head - 0.5 * tall), (front, y + 0.5 * size, head + 0.5 * tall), lamp)
        )
        parts.append(box((back, y - 0.4 * size, tail - tall), (back + 0.2, y + 0.4 * size, tail + tall), red))
    grille = half_width - size - 0.12
    parts += [
        box((front - 0.2, -grille, head - 0.2), (front - 0.005, grille, head + 0.04), paint(builder, rng, "dark")),
        box((front - 0.1, -0.26, head - 0.26), (front + 0.01, 0.26, head - 0.15), plate),
        box((back - 0.01, -0.26, tail - 0.18), (back + 0.1, 0.26, tail - 0.07), plate),
    ]
    return parts


def car(builder: Builder, rng: np.random.Generator) -> Assembly:
    """A hatchback, saloon, estate or off-road car."""
    kind = rng.choice(["hatch", "saloon", "estate", "suv"], p=[0.35, 0.25, 0.15, 0.25])
    spans = {"hatch": ((3.6, 4.2), (1.65, 1.8), (1.42, 1.55)), "saloon": ((4.3, 4.9), (1.75, 1.88), (1.4, 1.48)),
             "estate": ((4.4, 4.9), (1.75, 1.88), (1.43, 1.52)),
             "suv": ((4.3, 4.9), (1.8, 1.95), (1.62, 1.82))}[kind]  # fmt: skip
    length, width, height = (rng.uniform(*span) for span in spans)
    tall, half, nose = kind == "suv", 0.5 * width, 0.5 * length
    clear, belt = (0.3, 0.62 * height) if tall else (0.2, 0.65 * height)
    body, pane, dark = paint(builder, rng, "car"), paint(builder, rng, "glass"), paint(builder, rng, "dark")
    hood = belt - rng.uniform(0.12, 0.26)  # height of its front edge
    foot = nose - rng.uniform(0.22, 0.27) * length  # of the windscreen
    rear = -nose + (rng.uniform(0.13, 0.17) * length if kind == "saloon" else 0.06)
    screen, back = (
        rng.uniform(0.55, 0.8),
        rng.uniform(0.4, 0.6) if kind in ("hatch", "saloon") else rng.uniform(0.12, 0.3),
    )
    lean, inner = rng.uniform(0.22, 0.34), half - 0.03
    roof = height - 0.05
    tip, tail = foot - screen, rear + back
    parts = [
        prism([(-nose + 0.12, clear), (nose - 0.16, clear), (nose, clear + 0.2), (nose - 0.06, hood), (foot, belt),
               (-nose + 0.05, belt), (-nose, clear + 0.3)], half, body, 0.05),
        prism([(rear, belt - 0.02), (foot, belt - 0.02), (tip, roof), (tail, roof)], inner, pane, lean),
        prism([(tail - 0.05, roof - 0.06), (tip + 0.06, roof - 0.06), (tip - 0.1, height), (tail + 0.1, height)],
              inner - lean * (roof - belt - 0.06) + 0.012, body, lean),
        box((-nose + 0.02, -half - 0.004, clear), (nose - 0.1, half + 0.004, clear + 0.08), dark),
    ]  # fmt: skip
    middle = 0.5 * (tip + tail) + rng.uniform(-0.1, 0.2)
    for low, high, thick in (
        (foot - 0.12, tip - 0.1, 0.07),
        (middle, middle - 0.02, 0.09),
        (rear + 0.1, tail + 0.1, 0.16),
    ):
        slab = [
            (low - thick, belt - 0.02),
            (low + thick, belt - 0.02),
            (high + thick, roof - 0.01),
            (high - thick, roof - 0.01),
        ]
        parts.append(prism(slab, inner + 0.01, body, lean))
    radius = rng.uniform(0.34, 0.39) if tall else rng.uniform(0.29, 0.34)
    axles = (-nose + rng.uniform(0.17, 0.2) * length, nose - rng.uniform(0.19, 0.215) * length)
    parts += [_arch(x, radius, half, clear, dark) for x in axles]
    parts += _ends(builder, rng, nose - 0.02, -nose + 0.02, half, hood - 0.08, belt - 0.14)
    for side in (-1, 1):  # mirrors
        y = side * (half + 0.05)
        parts.append(box((foot - 0.32, y - 0.09, belt), (foot - 0.2, y + 0.09, belt + 0.13), body))
    groups, joints = _axles(builder, rng, axles, radius, half)
    return Assembly([parts, *groups], joints, (nose + 0.02, half + 0.14), height)


def van(builder: Builder, rng: np.random.Generator) -> Assembly:
    """A delivery van or a minibus."""
    length, width, height = rng.uniform(4.7, 5.9), rng.uniform(1.9, 2.05), rng.uniform(1.95, 2.6)
    nose, half, clear = 0.5 * length, 0.5 * width, 0.28
    body, pane, dark = paint(builder, rng, "car"), paint(builder, rng, "glass"), paint(builder, rng, "dark")
    hood, foot, screen = 1.05, nose - rng.uniform(0.55, 0.85), rng.uniform(0.65, 0.9)
    tip, lean = foot - screen, 0.06
    belt = hood + 0.18
    parts = [
        prism([(-nose, clear), (nose - 0.1, clear), (nose, clear + 0.3), (nose - 0.05, hood), (foot, belt),
               (tip, height), (-nose + 0.08, height)], half, body, lean),
        box((-nose + 0.02, -half - 0.004, clear), (nose - 0.1, half + 0.004, clear + 0.15), dark),
    ]  # fmt: skip
    along = np.array([tip - foot, height - belt])
    out = 0.02 * np.array([along[1], -along[0]]) / np.linalg.norm(along)
    low, high = np.array([foot, belt]) + 0.1 * along + out, np.array([foot, belt]) + 0.88 * along + out
    thick = 0.1 * np.array([along[1], -along[0]]) / np.linalg.norm(along)
    corners = [tuple(low - thick), tuple(low), tuple(high), tuple(high - thick)]
    parts.append(prism(corners, half - 0.12 - lean * (low[1] - clear), pane, 0.1))  # windscreen
    door = foot - 0.95
    side = [
        (door - 0.2, belt + 0.02),
        (foot - 0.2, belt + 0.02),
        (tip + 0.02, height - 0.3),
        (door - 0.2, height - 0.3),
    ]
    inner = half + 0.012 - lean * (belt - clear)
    parts.append(prism(side, inner, pane, lean))
    if rng.random() < 0.45:
        parts.append(prism([(-nose + 0.3, belt + 0.02), (door - 0.5, belt + 0.02), (door - 0.5, height - 0.3),
                            (-nose + 0.3, height - 0.3)], inner, pane, lean))  # fmt: skip
    else:
        parts.append(
            box((-nose + 0.6, -half - 0.002, 0.75), (door - 0.5, half + 0.002, 1.2), paint(builder, rng, "lettering"))
        )
    parts.append(box((-nose - 0.012, -0.7 * half, belt + 0.1), (-nose + 0.2, 0.7 * half, height - 0.35), pane))
    radius, axles = rng.uniform(0.33, 0.38), (-nose + 0.2 * length, nose - 0.19 * length)
    parts += [_arch(x, radius, half, clear, dark) for x in axles]
    parts += _ends(builder, rng, nose, -nose, half, hood - 0.2, 1.0)
    for y in (-half - 0.06, half + 0.06):
        parts.append(box((foot - 0.35, y - 0.08, belt), (foot - 0.22, y + 0.08, belt + 0.3), dark))
    groups, joints = _axles(builder, rng, axles, radius, half)
    return Assembly([parts, *groups], joints, (nose + 0.03, half + 0.15), height)


def truck(builder: Builder, rng: np.random.Generator) -> Assembly:
    """A lorry with a box or an open bed."""
    length, width, tall = rng.uniform(6.2, 9.5), rng.uniform(2.2, 2.5), rng.uniform(2.4, 2.9)
    nose, half, chassis = 0.5 * length, 0.5 * width, 0.95
    cab, pane, dark = paint(builder, rng, "car"), paint(builder, rng, "glass"), paint(builder, rng, "dark")
    depth = rng.uniform(1.6, 2.1)
    rear = nose - depth
    parts = [
        prism([(rear, 0.4), (nose - 0.05, 0.4), (nose, 1.4), (nose - 0.25, tall), (rear, tall)], half, cab, 0.02),
        prism([(nose - 0.5, 1.45), (nose + 0.005, 1.45), (nose - 0.2, tall - 0.25), (nose - 0.6, tall - 0.25)],
              half - 0.15, pane, 0.02),
        box((rear + 0.35, -half - 0.002, 1.4), (nose - 0.65, half + 0.002, tall - 0.3), pane),
        box((-nose, -0.4 * half, 0.6), (rear, 0.4 * half, chassis), dark),
        box((-nose + 0.1, -half + 0.05, 0.45), (rear - 0.2, half - 0.05, 0.5), dark),
    ]  # fmt: skip
    cargo = rng.uniform(2.7, 3.7) if rng.random() < 0.75 else 1.5
    hold = paint(builder, rng, "white" if rng.random() < 0.5 else "car")
    parts.append(box((-nose, -half, chassis), (rear - 0.15, half, cargo), hold))
    if cargo > 2 and rng.random() < 0.7:
        sign, z = paint(builder, rng, "lettering"), 0.5 * (chassis + cargo)
        parts.append(box((-nose + 0.5, -half - 0.01, z - 0.5), (rear - 0.7, half + 0.01, z + 0.5), sign))
    for x in (-nose + 0.02, rear - 0.2):
        parts.append(box((x - 0.03, -half - 0.012, chassis), (x + 0.03, half + 0.012, cargo), dark))
    parts += _ends(builder, rng, nose - 0.02, -nose, half, 0.8, 0.8)
    for y in (-half - 0.1, half + 0.1):
        parts.append(box((nose - 0.4, y - 0.07, 1.6), (nose - 0.3, y + 0.07, 2.2), dark))
    radius = rng.uniform(0.42, 0.5)
    axles = [-nose + 0.2 * length, nose - 0.55 * depth - 0.35] + ([-nose + 0.2 * length + 1.15] if length > 8 else [])
    parts += [_arch(axles[1], radius, half, 0.42, dark)]
    groups, joints = _axles(builder, rng, axles, radius, half)
    return Assembly([parts, *groups], joints, (nose + 0.02, half + 0.18), max(tall, cargo))


def bus(builder: Builder, rng: np.random.Generator) -> Assembly:
    """A city bus."""
    length, width, height = rng.uniform(9.5, 12.0), 2.5, rng.uniform(2.9, 3.2)
    nose, half, low = 0.5 * length, 0.5 * width, rng.uniform(1.0, 1.3)
    body, pane, dark = paint(builder, rng, "car"), paint(builder, rng, "glass"), paint(builder, rng, "dark")
    stripe = paint(builder, rng, "hue")
    parts = [
        prism([(-nose, 0.3), (nose - 0.05, 0.3), (nose, 1.0), (nose - 0.15, height), (-nose + 0.05, height)],
              half, body, 0.01),
        box((-nose + 0.4, -half - 0.006, low), (nose - 0.5, half + 0.006, height - 0.5), pane),
        prism([(nose - 0.4, 1.0), (nose + 0.012, 1.0), (nose - 0.11, height - 0.4), (nose - 0.4, height - 0.4)],
              half - 0.12, pane, 0.01),
        box((-nose - 0.01, -half + 0.25, 1.5), (-nose + 0.3, half - 0.25, height - 0.5), pane),
        box((-nose + 0.02, -half - 0.008, 0.55), (nose - 0.06, half + 0.008, 0.75), stripe),
        box((-0.5 * nose, -0.6 * half, height), (0.1 * nose, 0.6 * half, height + 0.22), paint(builder, rng, "white")),
        box((nose - 0.3, -0.7 * half, height - 0.38), (nose - 0.06, 0.7 * half, height - 0.12),
            paint(builder, rng, "lettering")),
    ]  # fmt: skip
    for x in np.linspace(-nose + 0.4, nose - 0.5, 6)[1:-1]:
        parts.append(box((x - 0.05, -half - 0.01, low), (x + 0.05, half + 0.01, height - 0.5), body))
    for x in (nose - 1.1, -0.05 * nose):  # doors on the right side
        parts.append(box((x - 0.6, -half - 0.014, 0.35), (x + 0.6, 0.0, height - 0.55), pane))
        parts.append(box((x - 0.03, -half - 0.018, 0.35), (x + 0.03, 0.0, height - 0.55), body))
    parts += _ends(builder, rng, nose, -nose, half, 0.75, 0.95)
    radius, axles = 0.48, (-nose + 0.27 * length, nose - 0.24 * length)
    parts += [_arch(x, radius, half + 0.008, 0.32, dark) for x in axles]
    for y in (-half - 0.12, half + 0.12):
        parts.append(box((nose - 0.15, y - 0.08, 1.9), (nose + 0.05, y + 0.08, 2.4), dark))
    groups, joints = _axles(builder, rng, axles, radius, half + 0.008)
    return Assembly([parts, *groups], joints, (nose + 0.06, half + 0.21), height + 0.22)


VEHICLES: list[tuple[Callable[[Builder, np.random.Generator], Assembly], float, float]] = [
    (car, 0.76, 0.8), (van, 0.12, 0.15), (truck, 0.07, 0.05), (bus, 0.05, 0.0),
]  # maker, share among the moving, share among the parked  # fmt: skip


def vehicle(builder: Builder, rng: np.random.Generator, parked: bool) -> Assembly:
    """Any vehicle, as often as it is seen in a street."""
    shares = [still if parked else moving for _, moving, still in VEHICLES]
    return VEHICLES[int(rng.choice(len(shares), p=shares))][0](builder, rng)
