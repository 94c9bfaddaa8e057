"""The layout "outdoor": courts, squares, gardens and temples in the open air, with what stands in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from worldline.worlds.appearance.materials import material
from worldline.worlds.cameras import paths
from worldline.worlds.cameras.photos import PhotoPlan
from worldline.worlds.layouts import landmarks, roadside, wings, yard
from worldline.worlds.layouts.daylight import draw_daylight
from worldline.worlds.layouts.landmarks import QUARTERS
from worldline.worlds.layouts.paints import paint
from worldline.worlds.layouts.shapes import Plot
from worldline.worlds.layouts.solids import box
from worldline.worlds.options import Streams, WorldOptions
from worldline.worlds.world import Builder, CameraSet, PhotoEffects, Thing, World, choose_rows

_FAR = 160.0  # half side of the ground, metres
_SLAB = 0.008  # metres by which lawns and paths lie above the ground: they hide it and still feel level
_OUT = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, -1.0], [-1.0, 0.0]])  # of the sides +y, +x, -y, -x


@dataclass
class Site:
    """A place in the open while it is being built. The place for people is the rectangle ``half`` about the origin."""

    builder: Builder
    rng: np.random.Generator
    half: tuple[float, float]
    look: wings.Look
    plot: Plot
    ground: int  # material of the ground
    loose: list[int] = field(default_factory=list)  # ids of the things that stand about
    slabs: list[tuple[float, float, float, float]] = field(default_factory=list)  # low x, low y, high x, high y

    def put(self, thing: Thing, place: np.ndarray, yaw: float) -> int:
        """Stand a thing on the ground, or on the slab that covers it."""
        x, y = float(place[0]), float(place[1])
        on = any(a <= x <= c and b <= y <= d for a, b, c, d in self.slabs)
        return self.builder.place(thing, np.array([x, y, _SLAB if on else 0.0]), yaw)

    def lay(self, low: tuple[float, float], high: tuple[float, float], mat: int) -> None:
        """A lawn, a path or a carpet of setts; it must not overlap another."""
        self.slabs.append((*low, *high))
        self.builder.place(Thing([box((*low, 0.0), (*high, _SLAB), mat)], (0, 0), _SLAB), np.zeros(3), 0.0)


def _wing(site: Site, side: int, width: float, depth: float, along: float, storeys: int, look: wings.Look) -> None:
    """A wing on a side of the place (0..3: +y, +x, -y, -x), shifted along it."""
    ground = wings.GROUNDS[int(site.rng.choice(4, p=[0.25, 0.3, 0.1, 0.35]))]
    thing = wings.wing(site.builder, site.rng, look, width, depth, storeys, ground)
    out, line = _OUT[side], np.array([_OUT[side][1], -_OUT[side][0]])
    place = out * (site.half[1 - side % 2] + 0.5 * depth) + along * line
    site.put(thing, place, QUARTERS[side])


def court(site: Site) -> None:
    """Two to four wings of one building around a paved court; the other sides are walls with gates."""
    rng, depth, storeys = site.rng, site.rng.uniform(5.0, 9.0), int(site.rng.integers(1, 4))
    built = rng.permutation(4)[: int(rng.choice([2, 3, 4], p=[0.25, 0.4, 0.35]))]
    for side in range(4):
        along = site.half[side % 2]
        if side in built:
            width = 2 * along + (2 * depth if side % 2 == 0 else 0.0)
            _wing(site, side, width, depth, 0.0, max(0, storeys - int(rng.random() < 0.3)), site.look)
        else:
            fence = landmarks.gate(site.builder, rng, site.look, along)
            site.put(fence, _OUT[side] * (site.half[1 - side % 2] + 0.6), QUARTERS[side])
    _lawns(site, "grass" if rng.random() < 0.5 else "pavement")


def square(site: Site) -> None:
    """Rows of different houses on one to three sides of a square."""
    rng = site.rng
    rows = rng.permutation(4)[: int(rng.integers(1, 4))]
    for side in rows:
        length = site.half[side % 2]
        left = -length
        while left < length - 3.5:
            width = min(rng.uniform(6.0, 13.0), length - left)
            look = site.look if rng.random() < 0.15 else wings.draw_look(site.builder, rng)
            _wing(site, int(side), width, rng.uniform(6.0, 10.0), left + 0.5 * width, int(rng.integers(1, 4)), look)
            left += width
    for side in set(range(4)) - set(rows.tolist()):
        _border(site, side)
    _lawns(site, "pavement")


def garden(site: Site) -> None:
    """A villa in a garden with hedges or walls."""
    rng = site.rng
    half = (rng.uniform(4.0, 6.0), rng.uniform(3.5, 5.0))
    villa = landmarks.house(site.builder, rng, site.look, half, int(rng.integers(1, 3)))
    place = rng.uniform(-0.25, 0.25, 2) * np.array(site.half)
    site.put(villa, place, 0.0)
    site.plot.take(place, (half[0] + 1.6, half[1] + 1.6), 0.0)
    for side in range(4):
        _border(site, side)
    path = paint(site.builder, rng, "paving")
    x = float(place[0])
    site.lay((x - 1.0, float(place[1]) + half[1] + 1.0), (x + 1.0, site.half[1]), path)


def sanctuary(site: Site) -> None:
    """A temple or a tower in a park."""
    rng = site.rng
    thing = (
        landmarks.temple(site.builder, rng, 1.0)
        if rng.random() < 0.7
        else landmarks.tower(site.builder, rng, site.look)
    )
    place = rng.uniform(-0.2, 0.2, 2) * np.array(site.half)
    yaw = rng.normal(0, 0.3)
    site.put(thing, place, yaw)
    site.plot.take(place, (thing.half[0] + 0.8, thing.half[1] + 0.8), yaw)
    side = int(rng.integers(4))
    site.put(landmarks.stair(site.builder, rng, rng.uniform(1.2, 2.5), int(rng.integers(4, 10))),
             _OUT[side] * (site.half[1 - side % 2] + 1.0), QUARTERS[side])  # fmt: skip
    for other in set(range(4)) - {side}:
        _border(site, other)


def _border(site: Site, side: int) -> None:
    """Hedges, fences, walls with gates or rows of trees along an open side."""
    rng, along, out = site.rng, site.half[side % 2], _OUT[side] * (site.half[1 - side % 2] + 0.6)
    choice = rng.random()
    if choice < 0.2:
        site.put(landmarks.gate(site.builder, rng, site.look, along), out, QUARTERS[side])
    elif choice < 0.7:
        site.put(roadside.barrier(site.builder, rng, 2 * along), out, QUARTERS[side])
    if choice > 0.45:
        line = np.array([_OUT[side][1], -_OUT[side][0]])
        alike = yard.tree(site.builder, rng) if rng.random() < 0.6 else yard.conifer(site.builder, rng)
        for place in np.arange(-along + 1.5, along - 1.0, rng.uniform(4.0, 7.0)):
            site.put(alike, out + 2.2 * _OUT[side] + place * line, rng.uniform(-np.pi, np.pi))


def _lawns(site: Site, family: str) -> None:
    """Beds beside crossing paths, or one field in the middle, or nothing."""
    rng, (x, y) = site.rng, (0.8 * site.half[0], 0.8 * site.half[1])
    choice, mat = rng.random(), material(site.builder, rng, family)
    if choice < 0.35:
        gap = rng.uniform(0.8, 1.5)
        for sx in (-1, 1):
            for sy in (-1, 1):
                (a, c), (b, d) = sorted((sx * gap, sx * x)), sorted((sy * gap, sy * y))
                site.lay((a, b), (c, d), mat)
    elif choice < 0.7:
        share = rng.uniform(0.4, 0.9)
        site.lay((-share * x, -share * y), (share * x, share * y), mat)


def _furnish(site: Site, count: int) -> None:
    """What stands about: a centre piece, then loose things of few kinds, some of them in pairs."""
    rng = site.rng
    kinds = rng.permutation(len(yard.LOOSE))[: int(rng.integers(4, 9))]
    weights = np.array([yard.LOOSE[k][1] for k in kinds])
    centres = np.array([weight for _, weight in yard.CENTRES])
    for attempt in range(5 * count):
        if len(site.loose) >= count:
            break
        if attempt == 0 and rng.random() < 0.7:
            make = yard.CENTRES[rng.choice(len(centres), p=centres / centres.sum())][0]
            thing, yaw = make(site.builder, rng), rng.uniform(-np.pi, np.pi)
            place = rng.normal(0, 0.1, 2) * np.array(site.half)
            if site.plot.is_free(place, thing.half, yaw, 0.3):
                site.plot.take(place, thing.half, yaw)
                site.loose.append(site.put(thing, place, yaw))
            continue
        materials = len(site.builder.material_kind)
        make = yard.LOOSE[kinds[rng.choice(len(kinds), p=weights / weights.sum())]][0]
        thing, before = make(site.builder, rng), len(site.loose)
        for _ in range(int(rng.integers(1, 4))):
            yaw = float(rng.choice(QUARTERS)) + rng.normal(0, 0.1) if rng.random() < 0.6 else rng.uniform(-np.pi, np.pi)
            spot = site.plot.seek(rng, thing.half, yaw, 0.25)
            if spot is not None and len(site.loose) < count:
                site.loose.append(site.put(thing, spot, yaw))
        if len(site.loose) == before:
            del site.builder.material_kind[materials:], site.builder.material_rows[materials:]


_KINDS: tuple[tuple[Callable[[Site], None], float], ...] = (
    (court, 0.4),
    (square, 0.28),
    (garden, 0.18),
    (sanctuary, 0.14),
)


def arrange(rng: np.random.Generator, options: WorldOptions) -> Site:
    """Draw a place with its buildings and everything in it."""
    builder = Builder()
    make = _KINDS[rng.choice(len(_KINDS), p=[weight for _, weight in _KINDS])][0]
    low = 11.0 if make in (garden, sanctuary) else 7.0
    half = (options.size * rng.uniform(low, low + 6.0), options.size * rng.uniform(low, low + 6.0))
    green = make in (garden, sanctuary) and rng.random() < 0.75
    family = "grass" if green else ("pavement", "pavement", "ground")[int(rng.integers(3))]
    site = Site(builder, rng, half, wings.draw_look(builder, rng), Plot((half[0] - 1.3, half[1] - 1.3)),
                material(builder, rng, family))  # fmt: skip
    make(site)
    _furnish(site, int(rng.integers(6, 19)) if options.objects is None else options.objects)
    around = landmarks.slopes(builder, rng, half) if make in (garden, sanctuary) and rng.random() < 0.6 else []
    for thing in around + landmarks.backdrop(builder, rng, max(half) + 22.0, _FAR):
        builder.place(thing, np.zeros(3), 0.0)
    return site


def plan_of(rng: np.random.Generator, site: Site) -> PhotoPlan:
    """Somebody on foot in the place, now and then with the camera on a pole."""
    inner = np.array(site.half) - 0.9
    top = 2.0 if rng.random() < 0.75 else 4.0
    low, high = np.array([*-inner, 1.4]), np.array([*inner, top])
    reach = np.array(site.half) + 0.5
    return PhotoPlan(
        low, high, np.array([*-reach, 0.5]), np.array([*reach, 4.5]), step=1.5, apart=0.5, slope=(-0.3, 0.35),
        fov=(50.0, 100.0), nearest=0.7, middle=3.0, things=0.3, clearance=0.7, wander=1.5,
        attract=(np.array([*(-reach - 1.0), 0.3]), np.array([*(reach + 1.0), 6.0])),
    )  # fmt: skip


def build(streams: Streams, options: WorldOptions) -> World:
    """Draw a place in the open and photograph it."""
    rng = streams.scene
    site, light = arrange(rng, options), draw_daylight(rng)
    draft = World(
        "outdoor", 0, np.array([-_FAR, -_FAR, 0.0]), np.array([_FAR, _FAR, 120.0]), np.full(6, site.ground), light.sky,
        site.builder.primitives(), paths.resting(options), np.array(site.builder.material_kind),
        np.stack(site.builder.material_rows), light.position, light.color, light.axis, np.zeros(1), light.radius,
        light.ambient, CameraSet.photos(np.zeros((0, 4, 4)), np.zeros(0), np.zeros((0, 2))), PhotoEffects.none(0),
    )  # fmt: skip
    plan = plan_of(streams.cameras, site)
    return replace(draft, cameras=paths.shoot(streams, _coarse(draft, plan), plan, options))


def _coarse(world: World, plan: PhotoPlan) -> World:
    """Without the fine parts of facades, which nobody can walk into: the choice of places takes half the time."""
    solids = world.primitives
    thin = np.sort(solids.half, axis=1)[:, 1] < 0.13
    beyond = (np.maximum(plan.low - solids.center, solids.center - plan.high) > 1.0).any(1)
    return replace(world, primitives=choose_rows(solids, ~(thin & beyond)))
