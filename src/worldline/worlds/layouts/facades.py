"""Buildings along a street: facades with storeys, windows in relief, doors, shops, balconies, and roofs.

Frame of a building: origin on the ground below its centre, x along the street, its front towards +y. Windows cost one
solid per row and one per column, not one each: a pane covers the whole front, and bands and piers stand before it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from worldline.worlds.layouts.paints import paint
from worldline.worlds.layouts.solids import box, gable, tapered, upright
from worldline.worlds.world import Builder, Part, Thing

STYLES = ("townhouse", "block", "office", "house", "shed")
RELIEF = 0.22  # metres from the front of the wall to the pane behind it


@dataclass(frozen=True)
class Facade:
    """Measures of a front: a grid of windows, perhaps above shops."""

    half: float  # half width of the building
    front: float  # y of the pane
    ground: float  # height of the ground floor
    storey: float
    storeys: int  # above the ground floor
    columns: int
    window: tuple[float, float]  # share of a cell's width and height that is glass
    sill: float  # height of the window's lower edge, as a share of what is not glass

    @property
    def top(self) -> float:
        """Height of the eaves."""
        return self.ground + self.storeys * self.storey

    def levels(self, shops: bool) -> list[tuple[float, float]]:
        """Lower and upper edge of every row of windows."""
        floors = [] if shops else [(0.0, self.ground)]
        floors += [(self.ground + row * self.storey, self.storey) for row in range(self.storeys)]
        rest = 1.0 - self.window[1]
        return [(z + self.sill * rest * high, z + (self.sill * rest + self.window[1]) * high) for z, high in floors]


# style -> storeys above the ground floor, metres per column of windows, materials of the wall
_STYLES: dict[str, tuple[tuple[int, int], tuple[float, float], tuple[str, ...]]] = {
    "townhouse": ((1, 4), (1.8, 2.8), ("plaster", "brick", "brick", "stone", "painted")),
    "block": ((2, 7), (2.4, 4.0), ("concrete", "plaster", "brick")),
    "office": ((2, 9), (1.6, 3.4), ("concrete", "cladding", "stone")),
    "house": ((0, 1), (2.2, 3.4), ("plaster", "brick", "cladding", "painted")),
    "shed": ((0, 0), (3.0, 4.0), ("cladding", "concrete", "brick")),
}


def _wall(builder: Builder, rng: np.random.Generator, style: str) -> int:
    families = _STYLES[style][2]
    return paint(builder, rng, families[int(rng.integers(len(families)))])


def building(
    builder: Builder, rng: np.random.Generator, width: float, depth: float, style: str, storeys: int | None = None,
    plain: bool = False,
) -> Thing:  # fmt: skip
    """A building of one of the ``STYLES``.

    Args:
        builder: gets the materials.
        rng: source of everything random.
        width: extent along the street, metres.
        depth: extent away from it.
        style: name in ``STYLES``.
        storeys: floors above the ground floor; None: drawn.
        plain: for the background: windows are painted or fewer, no shops, ledges or balconies.
    """
    if style == "shed":
        return _shed(builder, rng, width, depth)
    span, pitch, _ = _STYLES[style]
    storeys = int(rng.integers(span[0], span[1] + 1)) if storeys is None else storeys
    ground = rng.uniform(2.6, 3.0) if style == "house" else rng.uniform(3.0, 4.4)
    columns = max(1, round(width / (rng.uniform(*pitch) * (1.6 if plain else 1.0))))
    glass = (rng.uniform(0.35, 0.6), rng.uniform(0.42, 0.62))
    if style == "office":
        glass = rng.uniform(0.7, 0.93), rng.uniform(0.5, 0.75)
    plan = Facade(0.5 * width, 0.5 * depth - RELIEF, ground, rng.uniform(2.5, 3.5), storeys, columns, glass,
                  rng.uniform(0.5, 0.75))  # fmt: skip
    wall, trim = _wall(builder, rng, style), paint(builder, rng, "trim")
    shop = style != "house" and not plain and rng.random() < 0.55
    painted = plain and rng.random() < 0.6
    if painted:
        wall = paint(builder, rng, "windows")
    parts = [box((-plan.half, -0.5 * depth, 0.0), (plan.half, plan.front, plan.top), wall)]
    if not painted:
        parts += _window_grid(builder, rng, plan, wall, trim, shop, plain)
    if shop:
        parts += _shops(builder, rng, plan, trim)
    else:
        cell = 2 * plan.half / plan.columns
        parts += _door(
            builder, rng, -plan.half + (int(rng.integers(plan.columns)) + 0.5) * cell, plan.front + RELIEF, trim
        )
    if style in ("townhouse", "block") and not plain and storeys >= 1 and rng.random() < 0.25:
        parts += _balconies(builder, rng, plan, trim)
    roof, top = _roof(builder, rng, plan, depth, style, wall, trim)
    return Thing(parts + roof, (plan.half, 0.5 * depth), top)


def _window_grid(
    builder: Builder, rng: np.random.Generator, plan: Facade, wall: int, trim: int, shop: bool, plain: bool
) -> list[Part]:
    """A pane over the whole front; piers and bands before it leave the windows open."""
    levels = plan.levels(shop)
    if not levels:
        return []
    half, back, low = plan.half, plan.front, plan.ground if shop else 0.0
    front, pier_front = back + RELIEF, back + RELIEF - rng.uniform(0.01, 0.06)
    parts = [box((-half, back, low), (half, back + 0.02, plan.top), paint(builder, rng, "glass"))]
    cell = 2 * half / plan.columns
    solid = 0.5 * cell * (1.0 - plan.window[0])
    for column in range(plan.columns + 1):
        x = -half + column * cell
        parts.append(box((max(x - solid, -half), back, low), (min(x + solid, half), pier_front, plan.top), wall))
    edges = [low, *(edge for level in levels for edge in level), plan.top]
    for lower, upper in zip(edges[::2], edges[1::2], strict=True):
        parts.append(box((-half, back, lower), (half, front, upper), wall))
    if plain:
        return parts
    if rng.random() < 0.3:  # window sills as one ledge per storey
        parts += [box((-half, back, z - 0.06), (half, front + 0.07, z), trim) for z, _ in levels]
    if rng.random() < 0.35:  # a cross bar through all panes of a row
        parts += [box((-half, back, z), (half, back + 0.06, z + 0.05), trim)
                  for z in (low + 0.7 * (high - low) for low, high in levels)]  # fmt: skip
    if rng.random() < 0.35 and cell > 1.6:  # a bar in the middle of every window
        for x in -half + (np.arange(plan.columns) + 0.5) * cell:
            parts.append(box((x - 0.03, back, low), (x + 0.03, back + 0.07, plan.top), trim))
    if not shop and rng.random() < 0.4:
        parts.append(box((-half, back, 0.0), (half, front + 0.03, rng.uniform(0.3, 0.6)), paint(builder, rng, "stone")))
    return parts


def _door(builder: Builder, rng: np.random.Generator, x: float, front: float, trim: int) -> list[Part]:
    """A door in its frame, a step and sometimes a canopy."""
    half, high, leaf = rng.uniform(0.45, 0.8), rng.uniform(2.0, 2.4), paint(builder, rng, "door")
    parts = [
        box((x - half - 0.12, front - RELIEF, 0.0), (x + half + 0.12, front + 0.06, high + 0.12), trim),
        box((x - half, front - RELIEF, 0.15), (x + half, front + 0.075, high), leaf),
        box((x - half - 0.2, front, 0.0), (x + half + 0.2, front + 0.35, 0.15), paint(builder, rng, "kerb")),
    ]
    if rng.random() < 0.3:
        parts.append(box((x - half - 0.3, front, high + 0.25), (x + half + 0.3, front + 0.8, high + 0.37), trim))
    return parts


def _shops(builder: Builder, rng: np.random.Generator, plan: Facade, trim: int) -> list[Part]:
    """Shop windows between pillars, with signs above and now and then an awning."""
    half, back, front = plan.half, plan.front, plan.front + RELIEF
    count = max(1, round(2 * half / rng.uniform(5.0, 9.0)))
    width, frame, high = 2 * half / count, paint(builder, rng, "shopfront"), plan.ground - rng.uniform(0.7, 1.0)
    parts = [box((-half, back, 0.0), (half, front - 0.02, rng.uniform(0.2, 0.6)), frame),
             box((-half, back, high), (half, front, plan.ground - 0.1), frame),
             box((-half, back, plan.ground - 0.1), (half, front + 0.12, plan.ground + 0.12), trim)]  # fmt: skip
    for x in -half + width * np.arange(count + 1):
        parts.append(box((max(x - 0.25, -half), back, 0.0), (min(x + 0.25, half), front - 0.01, high), frame))
    for left in -half + width * np.arange(count):
        right, door = left + width, left + rng.uniform(0.3, 0.7) * width
        parts += [
            box((left, back, 0.0), (right, back + 0.03, high), paint(builder, rng, "shopglass")),
            box(
                (left + 0.4, front, high + 0.1),
                (right - 0.4, front + 0.08, plan.ground - 0.15),
                paint(builder, rng, "lettering"),
            ),
            box((door - 0.55, back, 0.0), (door + 0.55, back + 0.1, 2.25), paint(builder, rng, "door")),
        ]
        if rng.random() < 0.35:
            out = rng.uniform(0.7, 1.3)
            cloth = box(
                (left + 0.3, front, high - 0.08), (right - 0.3, front + out, high - 0.04), paint(builder, rng, "cloth")
            )
            tilt = rng.uniform(0.2, 0.45)
            cosine, sine = np.cos(tilt), np.sin(tilt)
            cloth.rotation = np.array([[1.0, 0.0, 0.0], [0.0, cosine, sine], [0.0, -sine, cosine]])
            parts.append(cloth)
    return parts


def _balconies(builder: Builder, rng: np.random.Generator, plan: Facade, trim: int) -> list[Part]:
    """Slabs with parapets before some columns."""
    front, rail = plan.front + RELIEF, paint(builder, rng, "metal" if rng.random() < 0.6 else "trim")
    cell, out = 2 * plan.half / plan.columns, rng.uniform(0.8, 1.3)
    column, parts = int(rng.integers(plan.columns)), []
    for row in range(plan.storeys):
        x, z = -plan.half + (column + 0.5) * cell, plan.ground + row * plan.storey
        half = 0.48 * cell
        parts += [
            box((x - half, front, z - 0.15), (x + half, front + out, z), trim),
            box((x - half, front + out - 0.05, z), (x + half, front + out, z + 0.95), rail),
        ]
    return parts


def _roof(
    builder: Builder, rng: np.random.Generator, plan: Facade, depth: float, style: str, wall: int, trim: int
) -> tuple[list[Part], float]:
    """Flat with a parapet and a plant room, saddle, or mansard; returns its parts and the height of the building."""
    over, top = rng.uniform(0.1, 0.5), plan.top
    pitched = style == "house" or (style == "townhouse" and rng.random() < 0.65)
    half = (plan.half + (over if style == "house" else 0.0), 0.5 * depth + over)
    if pitched:
        cover = paint(builder, rng, "tiles" if rng.random() < 0.65 else "slate")
        rise = rng.uniform(0.35, 0.85) * min(half[1], 6.0)
        if style == "townhouse" and rng.random() < 0.3:
            rise = rng.uniform(2.0, 3.0)
            parts = [tapered(half, top, top + rise, (0.02, rng.uniform(0.8, 1.6)), cover)]
        else:
            along = style == "townhouse" or rng.random() < 0.6
            parts = [gable(half, top, rise, cover, along)]
        if rng.random() < 0.6:
            x = rng.uniform(-0.7, 0.7) * plan.half
            parts.append(box((x - 0.3, -0.5, top), (x + 0.3, 0.1, top + rise + 0.8), paint(builder, rng, "brick")))
        if style == "townhouse":
            parts.append(box((-plan.half, 0.5 * depth, top - 0.3), (plan.half, half[1], top), trim))
        return parts, top + rise
    parapet = rng.uniform(0.3, 1.0)
    parts = [box((-plan.half, -0.5 * depth, top), (plan.half, 0.5 * depth, top + parapet), wall)]
    if rng.random() < 0.7:  # cornice
        parts.append(
            box((-plan.half, 0.0, top + parapet - 0.25), (plan.half, 0.5 * depth + over, top + parapet + 0.05), trim)
        )
    if rng.random() < 0.6:
        x, size = rng.uniform(-0.5, 0.5) * plan.half, rng.uniform(1.0, 2.5)
        concrete = paint(builder, rng, "concrete")
        parts.append(
            box((x - size, -size, top), (x + size, 0.5 * size, top + parapet + rng.uniform(1.0, 2.8)), concrete)
        )
        if rng.random() < 0.4:
            parts.append(upright(x, 0.0, top, top + parapet + 5.0, 0.05, paint(builder, rng, "metal")))
    return parts, top + parapet


def _shed(builder: Builder, rng: np.random.Generator, width: float, depth: float) -> Thing:
    """A garage or a store: one storey, roller doors."""
    high, wall = rng.uniform(2.6, 5.0), _wall(builder, rng, "shed")
    half = (0.5 * width, 0.5 * depth)
    parts = [box((-half[0], -half[1], 0.0), (half[0], half[1], high), wall)]
    count = max(1, int(width / rng.uniform(3.2, 4.5)))
    cell, gate = width / count, paint(builder, rng, "shopfront")
    for index in range(count):
        x = -half[0] + (index + 0.5) * cell
        parts.append(
            box((x - 0.38 * cell, half[1], 0.0), (x + 0.38 * cell, half[1] + 0.04, min(2.4, high - 0.3)), gate)
        )
    trim = paint(builder, rng, "trim")
    parts.append(box((-half[0] - 0.1, -half[1], high), (half[0] + 0.1, half[1] + 0.2, high + 0.2), trim))
    return Thing(parts, half, high + 0.2)
