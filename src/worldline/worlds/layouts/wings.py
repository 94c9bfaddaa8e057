"""Wings of buildings around courts and squares: arcades, windows in relief, shutters, balconies, cornices, roofs.

Frame of a wing: origin on the ground below its centre, x along its front, its front towards +y. Bands and piers stand
before a pane that covers a whole storey, so a window costs no solid of its own and still has a real depth.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from worldline.worlds.appearance.materials import material
from worldline.worlds.layouts.paints import paint
from worldline.worlds.layouts.shapes import frustum
from worldline.worlds.layouts.solids import box, gable, prism, tapered, upright
from worldline.worlds.world import Builder, Part, Thing

RELIEF = 0.25  # metres from the front of a wall to its panes
GROUNDS = ("arcade", "doors", "columns", "plain")


@dataclass(frozen=True)
class Look:
    """What the wings of one place share: materials, measures and habits."""

    wall: int
    base: int
    trim: int
    roof: int
    pane: int
    door: int
    shutter: int
    rail: int
    ground: float  # height of the ground floor, metres
    storey: float
    pitch: float  # metres between windows
    window: tuple[float, float]  # share of a window's cell that is open, across and up
    roof_kind: str  # gable, mansard, flat, hip, none
    shutters: bool
    surrounds: bool
    bars: bool
    quoins: bool


def draw_look(builder: Builder, rng: np.random.Generator) -> Look:
    """The style of a place."""
    wall = ("plaster", "brick", "stone", "painted", "concrete")[int(rng.choice(5, p=[0.35, 0.2, 0.2, 0.15, 0.1]))]
    chance = rng.random(4)
    return Look(
        wall=paint(builder, rng, wall) if rng.random() < 0.5 else material(builder, rng, "facade"),
        base=paint(builder, rng, "stone"),
        trim=paint(builder, rng, "trim" if rng.random() < 0.7 else "kerb"),
        roof=paint(builder, rng, "tiles") if rng.random() < 0.5 else material(builder, rng, "roof"),
        pane=paint(builder, rng, "glass"),
        door=paint(builder, rng, "door"),
        shutter=paint(builder, rng, "door" if rng.random() < 0.5 else "hue"),
        rail=paint(builder, rng, "metal" if rng.random() < 0.7 else "trim"),
        ground=rng.uniform(3.0, 4.4),
        storey=rng.uniform(2.7, 3.7),
        pitch=rng.uniform(2.1, 3.4),
        window=(rng.uniform(0.34, 0.55), rng.uniform(0.5, 0.68)),
        roof_kind=("gable", "hip", "flat", "mansard")[int(rng.choice(4, p=[0.4, 0.2, 0.28, 0.12]))],
        shutters=bool(chance[0] < 0.35),
        surrounds=bool(chance[1] < 0.5),
        bars=bool(chance[2] < 0.75),
        quoins=bool(chance[3] < 0.35),
    )


@dataclass(frozen=True)
class Front:
    """The grid of a front: ``y`` is the plane of the wall, cells of equal width between -half and half."""

    half: float
    y: float
    columns: int
    storeys: int
    look: Look

    @property
    def cell(self) -> float:
        """Width of a cell, metres."""
        return 2 * self.half / self.columns

    @property
    def top(self) -> float:
        """Height of the eaves, metres."""
        return self.look.ground + self.storeys * self.look.storey

    def middle(self, column: int) -> float:
        """x of a cell's middle."""
        return -self.half + (column + 0.5) * self.cell

    def opening(self, row: int) -> tuple[float, float]:
        """Heights between which the windows of a storey above the ground floor are open."""
        low = self.look.ground + row * self.look.storey
        spare = (1.0 - self.look.window[1]) * self.look.storey
        return low + 0.62 * spare, low + self.look.storey - 0.38 * spare


def wing(
    builder: Builder, rng: np.random.Generator, look: Look, width: float, depth: float, storeys: int, ground: str
) -> Thing:
    """A wing with ``storeys`` floors above a ground floor of one of the ``GROUNDS``."""
    columns = int(np.clip(round(width / look.pitch), 2, 11))
    front = Front(0.5 * width, 0.5 * depth, columns, storeys, look)
    open_ = ground in ("arcade", "columns")
    back = -0.5 * depth
    inner = front.y - (min(2.6, 0.4 * depth) if open_ else RELIEF)
    parts = [box((-front.half, back, 0.0), (front.half, inner, look.ground), look.wall)]
    if storeys:
        parts.append(box((-front.half, back, look.ground), (front.half, front.y - RELIEF, front.top), look.wall))
        parts += _windows(front)
    if open_:
        below = replace(front, columns=min(columns, 7))
        parts += _arcade(below, inner) if ground == "arcade" else _colonnade(below, inner)
    else:
        parts += _ground_floor(rng, front, ground)
    if storeys and rng.random() < 0.5:
        parts += _balconies(rng, front)
    parts += _ornaments(front)
    roof, top = _roof(builder, rng, front, back)
    return Thing(parts + roof, (front.half, 0.5 * depth), top)


def _holes(front: Front, low: float, high: float, bottom: float, top: float, share: float, mat: int) -> list[Part]:
    """A wall between two heights with an opening of the given heights in every cell: piers, a band below, a lintel."""
    deep = front.y - RELIEF
    parts = [box((-front.half, deep, top), (front.half, front.y, high), mat)]
    if bottom > low:
        parts.append(box((-front.half, deep, low), (front.half, front.y, bottom), mat))
    solid = 0.5 * front.cell * (1.0 - share)
    for column in range(front.columns + 1):
        x = -front.half + column * front.cell
        left, right = max(x - solid, -front.half), min(x + solid, front.half)
        parts.append(box((left, deep, bottom), (right, front.y, top), mat))
    return parts


def _windows(front: Front) -> list[Part]:
    """All storeys above the ground floor: panes, piers over the whole height, bands that stand a little before them."""
    look, deep, parts = front.look, front.y - RELIEF, []
    heights = [front.opening(row) for row in range(front.storeys)]
    edges = [look.ground, *(z for pair in heights for z in pair), front.top]
    for low, high in zip(edges[::2], edges[1::2], strict=True):
        parts.append(box((-front.half, deep, low), (front.half, front.y, high), look.wall))
    half = 0.5 * front.cell * look.window[0]
    for column in range(front.columns + 1):
        x = -front.half + column * front.cell
        left, right = max(x - 0.5 * front.cell + half, -front.half), min(x + 0.5 * front.cell - half, front.half)
        parts.append(box((left, deep, heights[0][0]), (right, front.y - 0.012, heights[-1][1]), look.wall))
    for low, high in heights:
        parts.append(box((-front.half, deep, low), (front.half, deep + 0.02, high), look.pane))
        if look.bars:
            bar = low + 0.65 * (high - low)
            parts.append(box((-front.half, deep, bar), (front.half, deep + 0.06, bar + 0.05), look.trim))
        if not look.shutters:
            parts.append(box((-front.half, front.y, low - 0.09), (front.half, front.y + 0.09, low), look.trim))
    if look.bars:
        for column in range(front.columns):
            x = front.middle(column)
            parts.append(box((x - 0.03, deep, heights[0][0]), (x + 0.03, deep + 0.07, heights[-1][1]), look.trim))
    if front.columns * front.storeys <= 18:  # more would cost more than they show
        parts += [
            part
            for low, high in heights
            for x in map(front.middle, range(front.columns))
            for part in _dressing(front, x, half, low, high)
        ]
    return parts


def _dressing(front: Front, x: float, half: float, low: float, high: float) -> list[Part]:
    """Lintel and shutters of one window."""
    look, parts = front.look, []
    if look.surrounds:
        parts.append(box((x - half - 0.1, front.y, high), (x + half + 0.1, front.y + 0.06, high + 0.16), look.trim))
    if look.shutters:
        for side in (-1, 1):
            a, b = sorted((x + side * half, x + side * min(1.95 * half, 0.48 * front.cell)))
            parts.append(box((a, front.y, low), (b, front.y + 0.05, high), look.shutter))
    return parts


def _ground_floor(rng: np.random.Generator, front: Front, kind: str) -> list[Part]:
    """Windows and one or more doors with steps."""
    look, deep = front.look, front.y - RELIEF
    low, high = (0.9, look.ground - 0.75) if kind == "plain" else (0.15, look.ground - 0.7)
    share = look.window[0] * (1.0 if kind == "plain" else 1.15)
    parts = [box((-front.half, deep, low), (front.half, deep + 0.02, high), look.pane)]
    parts += _holes(front, 0.0, look.ground, low, high, share, look.wall)
    half = 0.5 * front.cell * share
    for column in range(front.columns):
        x = front.middle(column)
        parts.append(box((x - 0.03, deep, low), (x + 0.03, deep + 0.07, high), look.trim))
    doors = range(front.columns) if kind == "doors" and rng.random() < 0.4 else [int(rng.integers(front.columns))]
    for column in doors:
        x = front.middle(column)
        wide = min(half, 0.8)
        parts += [
            box((x - wide - 0.16, deep, 0.0), (x + wide + 0.16, front.y + 0.07, 2.55), look.trim),
            box((x - wide, deep, 0.0), (x + wide, front.y + 0.085, 2.35), look.door),
            box((x - wide - 0.3, front.y, 0.0), (x + wide + 0.3, front.y + 0.75, 0.15), look.base),
            box((x - wide - 0.3, front.y, 0.15), (x + wide + 0.3, front.y + 0.4, 0.3), look.base),
            box((x + 0.75 * wide, front.y + 0.085, 1.1), (x + 0.85 * wide, front.y + 0.13, 1.2), look.rail),
        ]
        if rng.random() < 0.5:
            parts.append(box((x - wide - 0.4, front.y, 2.75), (x + wide + 0.4, front.y + 0.9, 2.87), look.trim))
    if kind == "plain":
        parts.append(box((-front.half, front.y, 0.0), (front.half, front.y + 0.05, 0.6), look.base))
    return parts


def _gallery(front: Front, inner: float) -> list[Part]:
    """What lies behind an open ground floor: ceiling, doors into the wall, end walls."""
    look = front.look
    parts = [box((-front.half, inner, look.ground - 0.2), (front.half, front.y - RELIEF, look.ground), look.wall)]
    for x in (-front.half, front.half):
        parts.append(box((x - 0.2, inner, 0.0), (x + 0.2, front.y - 0.4, look.ground - 0.2), look.wall))
    for column in range(front.columns):
        x, mat = front.middle(column), look.door if column % 2 else look.pane
        parts.append(box((x - 0.55, inner, 0.0 if column % 2 else 0.9), (x + 0.55, inner + 0.06, 2.3), mat))
    return parts


def _arcade(front: Front, inner: float, pieces: int = 6) -> list[Part]:
    """Round arches on piers or columns; each arch is a row of trapezoids between its curve and the storey above."""
    look, pier = front.look, 0.22
    radius = min(0.5 * front.cell - pier, look.ground - 1.2)
    spring, top, thick = look.ground - 0.35 - radius, look.ground, 0.5 * RELIEF
    parts = _gallery(front, inner)
    angles = np.linspace(np.pi, 0.0, pieces + 1)
    for column in range(front.columns):
        x = front.middle(column)
        curve = np.stack([x + radius * np.cos(angles), spring + radius * np.sin(angles)], -1)
        for first, second in pairwise(curve):
            outline = [tuple(first), tuple(second), (second[0], top), (first[0], top)]
            piece = prism(outline, thick, look.wall)
            piece.center[1] += front.y - thick
            parts.append(piece)
    for column in range(front.columns + 1):
        x, half = -front.half + column * front.cell, 0.5 * front.cell - radius
        left, right = max(x - half, -front.half), min(x + half, front.half)
        parts.append(box((left, front.y - RELIEF, spring), (right, front.y, top), look.wall))
        if half > 0.45:
            parts.append(box((left, front.y - RELIEF - 0.1, 0.0), (right, front.y, spring), look.wall))
        else:
            parts += _column(min(max(x, half - front.half), front.half - half), front.y - thick, spring, look.base)
    return parts


def _column(x: float, y: float, high: float, mat: int) -> list[Part]:
    """Base, shaft and capital."""
    return [
        box((x - 0.24, y - 0.24, 0.0), (x + 0.24, y + 0.24, 0.22), mat),
        upright(x, y, 0.22, high - 0.3, 0.16, mat),
        frustum(x, y, high - 0.34, high - 0.12, (0.16, 0.25), mat, 8),
        box((x - 0.26, y - 0.26, high - 0.12), (x + 0.26, y + 0.26, high), mat),
    ]


def _colonnade(front: Front, inner: float) -> list[Part]:
    """Columns under a straight beam."""
    look, parts = front.look, _gallery(front, inner)
    parts.append(box((-front.half, front.y - 0.5, look.ground - 0.5), (front.half, front.y, look.ground), look.trim))
    for column in range(front.columns + 1):
        x = np.clip(-front.half + column * front.cell, 0.3 - front.half, front.half - 0.3)
        parts += _column(float(x), front.y - 0.25, look.ground - 0.5, look.base)
    return parts


def _balconies(rng: np.random.Generator, front: Front) -> list[Part]:
    """Slabs with balusters or parapets before some windows, with a glass door each."""
    look, parts = front.look, []
    wide, out, chosen = 0.46 * front.cell, rng.uniform(0.7, 1.2), rng.random(front.columns) < 0.4
    solid = rng.random() < 0.4
    for row in range(front.storeys):
        floor = look.ground + row * look.storey
        for column in np.flatnonzero(chosen)[: max(1, 4 // front.storeys)]:
            x, far = front.middle(int(column)), front.y + out
            parts += [
                box((x - wide, front.y, floor - 0.14), (x + wide, far, floor + 0.02), look.trim),
                box(
                    (x - 0.45, front.y - RELIEF, floor + 0.02),
                    (x + 0.45, front.y + 0.03, front.opening(row)[1]),
                    look.pane,
                ),
                box((x - wide, far - 0.05, floor + 0.95), (x + wide, far, floor + 1.02), look.rail),
            ]
            for side in (-1, 1):
                parts.append(
                    box(
                        (x + side * wide - 0.02, front.y, floor + 0.95),
                        (x + side * wide + 0.02, far, floor + 1.02),
                        look.rail,
                    )
                )
            if solid:
                parts.append(box((x - wide, far - 0.04, floor + 0.02), (x + wide, far - 0.01, floor + 0.95), look.rail))
            else:
                for bar in np.linspace(-wide + 0.02, wide - 0.02, max(5, round(2 * wide / 0.3))):
                    parts.append(
                        box(
                            (x + bar - 0.012, far - 0.035, floor),
                            (x + bar + 0.012, far - 0.01, floor + 0.95),
                            look.rail,
                        )
                    )
    return parts


def _ornaments(front: Front) -> list[Part]:
    """String courses between the storeys, a cornice, stones at the corners."""
    look, parts = front.look, []
    for row in range(front.storeys):
        z = look.ground + row * look.storey
        parts.append(box((-front.half, front.y, z - 0.1), (front.half, front.y + 0.08, z + 0.06), look.trim))
    for low, out in ((0.42, 0.1), (0.22, 0.26)):
        parts.append(
            box(
                (-front.half, front.y - 0.1, front.top - low),
                (front.half, front.y + out, front.top - low + 0.22),
                look.trim,
            )
        )
    if look.quoins:
        for index in range(int((front.top - 0.5) / 0.8)):
            long = 0.5 if index % 2 else 0.32
            for x in (-front.half, front.half - long):
                parts.append(
                    box((x, front.y - 0.1, 0.8 * index), (x + long, front.y + 0.035, 0.8 * index + 0.74), look.base)
                )
    return parts


def _roof(builder: Builder, rng: np.random.Generator, front: Front, back: float) -> tuple[list[Part], float]:
    """Cover of the wing and what stands on it; returns the highest point too."""
    look, top, half = front.look, front.top, (front.half + 0.15, front.y + 0.4)
    rise = rng.uniform(0.4, 0.75) * front.y
    if look.roof_kind == "none":
        return [], top
    if look.roof_kind == "flat":
        parts = [
            box((-front.half, back, top), (front.half, front.y + 0.05, top + 0.35), look.wall),
            box((-front.half, front.y - 0.3, top + 0.35), (front.half, front.y + 0.12, top + 0.45), look.trim),
        ]
        return parts, top + 0.45
    if look.roof_kind == "gable":
        parts = [gable(half, top, rise, look.roof)]
    elif look.roof_kind == "hip":
        parts = [tapered(half, top, top + rise, (0.8 * half[1], 0.97 * half[1]), look.roof)]
    else:
        rise = 2.4
        parts = [tapered(half, top, top + rise, (0.6, 0.7), look.roof)]
    slope = rise / half[1] if look.roof_kind != "mansard" else rise / 0.7
    for column in range(front.columns):
        if rng.random() < (0.6 if look.roof_kind == "mansard" else 0.2) and rise > 1.6:
            x, z = front.middle(column), top + 0.35
            y = half[1] - 0.35 / slope - 0.25
            parts += [
                box((x - 0.55, y - 1.1, z - 0.1), (x + 0.55, y, z + 1.1), look.trim),
                box((x - 0.42, y, z + 0.08), (x + 0.42, y + 0.02, z + 0.95), look.pane),
            ]
            cap = gable((0.66, 0.66), z + 1.1, 0.35, look.roof, along_x=False)
            parts.append(replace(cap, center=cap.center + np.array([x, y - 0.55, 0.0])))
    for _ in range(int(rng.integers(0, 3))):
        x, y, mat = rng.uniform(-0.8, 0.8) * front.half, rng.uniform(-0.3, 0.3) * front.y, paint(builder, rng, "brick")
        parts.append(box((x - 0.3, y - 0.25, top), (x + 0.3, y + 0.25, top + rise + 0.9), mat))
    return parts, top + rise + 0.9
