"""The layout "objects": things on a table, a desk, a sideboard, a worktop or a rug, seen from close by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from worldline.worlds.appearance.materials import material
from worldline.worlds.cameras import paths
from worldline.worlds.cameras.photos import PhotoPlan
from worldline.worlds.layouts import furniture
from worldline.worlds.layouts.rooms import Room
from worldline.worlds.layouts.shapes import Plot, fine, frustum, pitched
from worldline.worlds.layouts.solids import box, upright
from worldline.worlds.layouts.tableware import TABLEWARE, print_
from worldline.worlds.layouts.toys import TOYS
from worldline.worlds.layouts.trinkets import TRINKETS, package
from worldline.worlds.options import Streams, WorldOptions
from worldline.worlds.world import BOX, Builder, CameraSet, Part, PhotoEffects, Surface, Thing, World, yaw_matrix

Maker = Callable[[Builder, np.random.Generator], Thing]

# Shares of tableware, trinkets and toys in a scene.
_THEMES = ((0.9, 0.1, 0.0), (0.1, 0.85, 0.05), (0.1, 0.25, 0.65), (0.4, 0.4, 0.2))


@dataclass
class Base:
    """What carries the objects: its thing, whether it stands at a wall, and whether its top is round."""

    thing: Thing
    at_wall: bool
    round: bool = False

    @property
    def top(self) -> Surface:
        """Where the objects stand."""
        return self.thing.surfaces[0]


@dataclass
class Spot:
    """A patch of the carrying surface in the world while it is being filled."""

    builder: Builder
    rng: np.random.Generator
    origin: Float64[np.ndarray, "3"]  # middle of the patch
    yaw: float
    plot: Plot
    placed: list[int]  # object ids
    perches: list[tuple[Surface, Float64[np.ndarray, "3"], float]]  # tops of things, with their pose on the patch

    def put(self, thing: Thing, local: np.ndarray, yaw: float) -> None:
        """Place a thing at (x, y, z) of the patch."""
        position = self.origin + yaw_matrix(self.yaw) @ local
        self.placed.append(self.builder.place(thing, position, self.yaw + yaw))
        self.perches += [(surface, local, yaw) for surface in thing.surfaces]

    def add(self, make: Maker) -> bool:
        """Put one more thing onto the patch: on another, against another, or anywhere."""
        rng, materials = self.rng, len(self.builder.material_kind)
        thing, choice = make(self.builder, rng), rng.random()
        yaw = rng.uniform(-np.pi, np.pi) if rng.random() < 0.6 else rng.normal(0, 0.2)
        if choice < 0.3 and self._stack(thing, yaw):
            return True
        place = self._nestle(thing.half, yaw) if choice < 0.6 else None
        if place is None:
            place = self.plot.seek(rng, thing.half, yaw, rng.uniform(0.004, 0.03))
        if place is None:
            del self.builder.material_kind[materials:], self.builder.material_rows[materials:]
            return False
        self.put(thing, np.array([*place, 0.0]), yaw)
        return True

    def _stack(self, thing: Thing, yaw: float) -> bool:
        """Onto the top of something that is large enough, which is then taken."""
        for index in self.rng.permutation(len(self.perches)):
            surface, local, turn = self.perches[index]
            reach = np.abs(yaw_matrix(yaw)[:2, :2]) @ np.array(thing.half)
            spare = np.array(surface.half) - reach
            if (spare >= 0).all() and thing.height <= surface.headroom:
                shift = surface.center + np.array([*self.rng.uniform(-spare, spare), 0.0])
                del self.perches[index]
                self.put(thing, local + yaw_matrix(turn) @ shift, turn + yaw)
                return True
        return False

    def _nestle(self, half: tuple[float, float], yaw: float) -> Float64[np.ndarray, "2"] | None:
        """Slide towards something that stands there until the two nearly touch."""
        if not self.plot.taken:
            return None
        goal, _, _ = self.plot.taken[int(self.rng.integers(len(self.plot.taken)))]
        angle = self.rng.uniform(-np.pi, np.pi)
        line = np.array([np.cos(angle), np.sin(angle)])
        for way in np.arange(0.02, 0.5, 0.006):
            place = goal + way * line
            if self.plot.is_free(place, half, yaw, 0.0015):
                self.plot.take(place, half, yaw)
                return place
        return None

    def lean(self) -> bool:
        """A book or board that leans at a package: two objects. The board turns about its lower edge at x = 0."""
        rng, prop = self.rng, package(self.builder, self.rng)
        length, thick, wide = rng.uniform(0.14, 0.26), rng.uniform(0.006, 0.03), rng.uniform(0.05, 0.09)
        angle = rng.uniform(0.2, 0.5)
        away = min(prop.height * np.tan(angle), length * np.sin(angle)) + 0.0005
        left, right = -thick * np.cos(angle), max(away + 2 * prop.half[0], length * np.sin(angle))
        half, yaw = (0.5 * (right - left), max(wide, prop.half[1])), rng.uniform(-np.pi, np.pi)
        place = self.plot.seek(rng, half, yaw, 0.004)
        if place is None:
            return False
        turn, middle = pitched(angle), 0.5 * (left + right)
        cover = print_(self.builder, rng) if rng.random() < 0.6 else fine(self.builder, rng, "wood", 0.4)
        center = turn @ np.array([-0.5 * thick, 0, 0.5 * length]) - np.array([middle, 0, 0])
        slab = Part(BOX, center, np.array([0.5 * thick, wide, 0.5 * length]), cover, turn)
        local = np.array([*place, 0.0])
        self.put(Thing([slab], half, length), local, yaw)
        prop.surfaces = []
        self.put(prop, local + yaw_matrix(yaw) @ np.array([away + prop.half[0] - middle, 0, 0]), yaw)
        return True


def _legs(rng: np.random.Generator, half: tuple[float, float], height: float, mat: int) -> list[Part]:
    """Four legs at the corners of a rectangle, square, round or pointed."""
    wide, kind, parts = rng.uniform(0.02, 0.04), rng.integers(3), []
    for sx, sy in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        x, y = sx * (half[0] - wide - 0.01), sy * (half[1] - wide - 0.01)
        if kind == 0:
            parts.append(box((x - wide, y - wide, 0.0), (x + wide, y + wide, height), mat))
        else:
            parts.append(frustum(x, y, 0.0, height, (wide if kind == 1 else 0.5 * wide, wide), mat, 12))
    return parts


def _table(builder: Builder, rng: np.random.Generator, scale: float) -> Base:
    """A dining, coffee or round table, or a desk, perhaps with a cloth or a mat."""
    height = rng.uniform(0.36, 0.5) if rng.random() < 0.25 else rng.uniform(0.68, 0.8)
    top, leg = material(builder, rng, "furniture"), material(builder, rng, "furniture")
    thick, at_wall = rng.uniform(0.02, 0.05), rng.random() < 0.35
    if not at_wall and rng.random() < 0.3:
        radius = scale * rng.uniform(0.4, 0.65)
        parts = [
            upright(0, 0, height - thick, height, radius, top),
            upright(0, 0, 0.03, height - thick, 0.05, leg),
            upright(0, 0, 0.0, 0.03, 0.55 * radius, leg),
        ]
        return Base(
            Thing(parts, (radius, radius), height, [Surface(np.array([0, 0, height]), (radius,) * 2, 1)]), False, True
        )
    half = (scale * rng.uniform(0.45, 0.9), scale * rng.uniform(0.32, 0.5))
    parts = [box((-half[0], -half[1], height - thick), (half[0], half[1], height), top)]
    parts += _legs(rng, half, height - thick, leg)
    if rng.random() < 0.4:
        inset, cloth = rng.uniform(0.02, 0.2), material(builder, rng, "fabric", gloss=0.0)
        width = half[0] - inset if rng.random() < 0.75 else min(half[0], 0.25)
        parts.append(box((-width, inset - half[1], height), (width, half[1] - inset, height + 0.003), cloth))
        half, height = (width, half[1] - inset), height + 0.003
    if rng.random() < 0.4:
        parts.append(
            box((-half[0], 0.03 - half[1], height - 0.14), (half[0], half[1] - 0.03, height - thick - 0.003), leg)
        )
    return Base(Thing(parts, half, height, [Surface(np.array([0, 0, height]), half, 1.0)]), at_wall)


def _worktop(builder: Builder, rng: np.random.Generator, scale: float) -> Base:
    """A row of kitchen cupboards with a worktop, a splash-back and sometimes a wall shelf."""
    half, height = (scale * rng.uniform(0.8, 1.4), 0.31), rng.uniform(0.84, 0.94)
    slab, front, grip = (
        material(builder, rng, "floor"),
        material(builder, rng, "furniture"),
        material(builder, rng, "plain"),
    )
    parts = [
        box((-half[0], -half[1], 0.1), (half[0], half[1] - 0.04, height - 0.035), front),
        box((-half[0], -half[1], 0.0), (half[0], half[1] - 0.1, 0.1), grip),
        box((-half[0], -half[1], height - 0.035), (half[0], half[1], height), slab),
        box(
            (-half[0], -half[1], height),
            (half[0], 0.012 - half[1], height + rng.uniform(0.1, 0.55)),
            material(builder, rng, "wall"),
        ),
    ]
    count = max(2, round(2 * half[0] / 0.55))
    for index in range(count):
        left, right = (-half[0] + 2 * half[0] * (index + k) / count for k in (0, 1))
        parts.append(box((left + 0.004, half[1] - 0.04, 0.104), (right - 0.004, half[1] - 0.022, height - 0.05), front))
        parts.append(
            box((left + 0.1, half[1] - 0.022, height - 0.13), (right - 0.1, half[1] - 0.008, height - 0.115), grip)
        )
    surface = Surface(np.array([0, 0.006, height]), (half[0], half[1] - 0.006), 0.5)
    return Base(Thing(parts, half, height, [surface]), True)


def _sideboard(builder: Builder, rng: np.random.Generator, scale: float) -> Base:
    """A chest of drawers or the seat of a bench."""
    half, height = (scale * rng.uniform(0.4, 0.8), rng.uniform(0.2, 0.28)), rng.uniform(0.45, 0.95)
    body, front, grip = (
        material(builder, rng, "furniture"),
        material(builder, rng, "furniture"),
        fine(builder, rng, "metal", 0.3),
    )
    parts = [
        box((-half[0], -half[1], 0.08), (half[0], half[1] - 0.02, height - 0.02), body),
        box((-half[0] - 0.01, -half[1], height - 0.02), (half[0] + 0.01, half[1], height), body),
    ]
    parts += _legs(rng, half, 0.08, body)
    rows = int(rng.integers(1, 4))
    for row in range(rows):
        low, high = (0.09 + (height - 0.12) * (row + k) / rows for k in (0, 1))
        parts += [
            box((0.01 - half[0], half[1] - 0.02, low), (half[0] - 0.01, half[1] - 0.004, high - 0.008), front),
            box(
                (-0.08, half[1] - 0.004, 0.5 * (low + high)), (0.08, half[1] + 0.012, 0.5 * (low + high) + 0.012), grip
            ),
        ]
    return Base(Thing(parts, half, height, [Surface(np.array([0, 0, height]), half, 0.8)]), True)


def _rug(builder: Builder, rng: np.random.Generator, scale: float) -> Base:
    """A patch of the floor: a rug with a border."""
    half = (scale * rng.uniform(0.5, 0.8), scale * rng.uniform(0.45, 0.7))
    parts = [
        box((-half[0], -half[1], 0.0), (half[0], half[1], 0.006), material(builder, rng, "fabric", gloss=0.0)),
        box(
            (0.06 - half[0], 0.06 - half[1], 0.0),
            (half[0] - 0.06, half[1] - 0.06, 0.0075),
            material(builder, rng, "fabric", gloss=0.0),
        ),
    ]
    inner = (half[0] - 0.06, half[1] - 0.06)
    return Base(Thing(parts, half, 0.0075, [Surface(np.array([0, 0, 0.0075]), inner, 1.0)]), False)


_BASES = ((_table, 0.55), (_worktop, 0.15), (_sideboard, 0.15), (_rug, 0.15))


def arrange(rng: np.random.Generator, options: WorldOptions) -> tuple[Room, Spot, np.ndarray]:
    """Draw the surrounding room, what carries the objects, and the objects on it.

    Returns:
        The room, the filled patch with the ids of its objects, and the materials of the room's shell.
    """
    room = Room(rng, 0.75 * max(1.0, options.size))
    shell = room.shell_materials()
    room.add_skirting()
    if rng.random() < 0.8:
        room.add_window()
    make = _BASES[rng.choice(len(_BASES), p=[weight for _, weight in _BASES])][0]
    base = make(room.builder, rng, options.size)
    position, yaw = _place_base(room, rng, base)
    room.put(base.thing, position, yaw)
    room.surfaces.clear()
    top = base.top
    reach = rng.uniform(0.35, 0.75) * options.size
    half = (min(top.half[0], reach), min(top.half[1], reach))
    free = np.array(top.half) - half
    middle = top.center + np.array([*rng.uniform(-free, free), 0.0])
    origin = np.array([*position, 0.0]) + yaw_matrix(yaw) @ middle
    plot = Plot(half, round_=base.round and reach >= top.half[0])
    if base.round and not plot.round:
        plot.half = (min(half[0], 0.68 * top.half[0]),) * 2
        origin = np.array([*position, top.center[2]])
    spot = Spot(room.builder, rng, origin, yaw, plot, [], [])
    _fill(spot, int(rng.integers(5, 21)) if options.objects is None else options.objects)
    for _ in range(int(rng.integers(2, 5))):
        room.put_against_wall(furniture.AGAINST_WALL[int(rng.integers(len(furniture.AGAINST_WALL)))][0])
    if rng.random() < 0.5:
        room.put_free(furniture.chair)
    room.add_pictures()
    return room, spot, shell


def _place_base(room: Room, rng: np.random.Generator, base: Base) -> tuple[np.ndarray, float]:
    """Where the carrying thing stands: near the middle, or with its back at a wall."""
    if not base.at_wall:
        free = np.maximum(room.high[:2] - 0.9 - max(base.thing.half), 0.0)
        return rng.uniform(-free, free) * 0.6, rng.uniform(-np.pi, np.pi) if rng.random() < 0.5 else 0.0
    wall = int(rng.integers(4))
    middle, half_length, yaw = room.wall_frame(wall)
    spare = max(half_length - base.thing.half[0] - 0.1, 0.0)
    along = rng.uniform(-spare, spare)
    place = middle + yaw_matrix(yaw)[:2, :2] @ np.array([along, base.thing.half[1] + 0.02])
    return place, yaw


def _fill(spot: Spot, count: int) -> None:
    """Objects of one theme until there are enough; the patch grows no further than its plot."""
    rng = spot.rng
    shares = _THEMES[int(rng.choice(len(_THEMES), p=[0.3, 0.3, 0.15, 0.25]))]
    for attempt in range(6 * count):
        missing = count - len(spot.placed)
        if missing <= 0:
            break
        if missing >= 2 and attempt % 9 == 1 and rng.random() < 0.5:
            spot.lean()
            continue
        choices = (TABLEWARE, TRINKETS, TOYS)[int(rng.choice(3, p=shares))]
        weights = np.array([weight for _, weight in choices])
        spot.add(choices[rng.choice(len(choices), p=weights / weights.sum())][0])


def _lights(rng: np.random.Generator, room: Room, spot: Spot) -> tuple[np.ndarray, ...]:
    """Position, intensity, axis, focus of one to three lamps or windows around the patch."""
    count, rows = int(rng.integers(1, 4)), []
    for index in range(count):
        angle, out = rng.uniform(-np.pi, np.pi), rng.uniform(0.2, 1.8)
        place = spot.origin + np.array([out * np.cos(angle), out * np.sin(angle), rng.uniform(0.9, 2.2)])
        place = np.clip(place, room.low + 0.1, room.high - 0.05)
        axis = (spot.origin - place) / np.linalg.norm(spot.origin - place)
        warmth = rng.uniform(-0.2, 0.3)
        share = rng.uniform(0.8, 1.8) if index == 0 else rng.uniform(0.1, 0.6)
        power = share * (0.5 + np.sum((spot.origin - place) ** 2))
        rows.append((place, power * np.array([1 + warmth, 1.0, 1 - warmth]), axis, rng.uniform(0.0, 0.9)))
    return tuple(np.array([row[i] for row in rows], np.float64) for i in range(4))


def plan_of(room: Room, spot: Spot) -> PhotoPlan:
    """Someone who leans over the table and walks around it."""
    half = np.abs(yaw_matrix(spot.yaw)[:2, :2]) @ np.array(spot.plot.half)
    top, middle = spot.origin[2], spot.origin[:2]
    around = half + 0.9
    low = np.maximum(np.array([*(middle - around), top + 0.14]), room.low + 0.25)
    high = np.minimum(np.array([*(middle + around), top + 1.15]), room.high - 0.25)
    low[2] = top + 0.14
    target = np.array([*(middle - 0.7 * half), top]), np.array([*(middle + 0.7 * half), top + 0.12])
    attract = np.array([*(middle - half), top]), np.array([*(middle + half), top + 0.5])
    return PhotoPlan(
        low,
        high,
        *target,
        step=0.25,
        apart=0.08,
        slope=(-1.5, 0.1),
        fov=(50.0, 85.0),
        nearest=0.15,
        middle=0.35,
        things=0.4,
        clearance=0.14,
        wander=0.12,
        attract=attract,
    )


def build(streams: Streams, options: WorldOptions) -> World:
    """Draw a table with things on it and photograph them."""
    rng = streams.scene
    room, spot, shell = arrange(rng, options)
    position, color, axis, focus = _lights(rng, room, spot)
    warmth = rng.uniform(-0.1, 0.15)
    ambient = rng.uniform(0.25, 0.6) * np.array([1 + warmth, 1.0, 1 - warmth])
    radius = np.where(rng.random(len(focus)) < 0.5, rng.uniform(0.0, 0.15, len(focus)), 0.0)
    draft = World(
        "objects",
        0,
        room.low,
        room.high,
        shell,
        None,
        room.builder.primitives(),
        paths.resting(options),
        np.array(room.builder.material_kind),
        np.stack(room.builder.material_rows),
        position,
        color,
        axis,
        focus,
        radius,
        ambient,
        CameraSet.photos(np.zeros((0, 4, 4)), np.zeros(0), np.zeros((0, 2))),
        PhotoEffects.none(0),
    )
    return replace(draft, cameras=paths.shoot(streams, draft, plan_of(room, spot), options))
