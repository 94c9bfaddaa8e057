"""Where things move: a room, a hall with a high ceiling, or a yard between houses, garden walls and trees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from worldline.worlds.appearance.materials import material
from worldline.worlds.cameras import photos
from worldline.worlds.cameras.photos import PhotoPlan
from worldline.worlds.layouts import furniture, roadside
from worldline.worlds.layouts.facades import building
from worldline.worlds.layouts.paints import paint
from worldline.worlds.layouts.rooms import Lights, Maker, Room, _choose, _lights
from worldline.worlds.layouts.solids import box
from worldline.worlds.world import Builder, Part, Sky, Thing, yaw_matrix

_GROUND = 45.0  # metres from the middle of a yard to where the ground ends
_SUN = 800.0  # metres


@dataclass(frozen=True)
class Place:
    """An empty place, ready for things."""

    room: Room  # the ground on which things may stand, and what already stands there
    low: Float64[np.ndarray, "3"]  # of the world's shell
    high: Float64[np.ndarray, "3"]
    shell: np.ndarray
    lights: Lights
    radius: Float64[np.ndarray, "l"]  # of the lights, metres
    ambient: Float64[np.ndarray, "3"]
    sky: Sky | None

    @property
    def plan(self) -> PhotoPlan:
        """Somebody on foot who looks at what happens in the middle."""
        room = self.room
        margin = photos.CLEARANCE
        low = np.array([*(room.low[:2] + margin), 0.8])
        high = np.array([*(room.high[:2] - margin), min(2.0, room.high[2] - margin)])
        targets = np.array([*(0.6 * room.low[:2]), 0.2]), np.array([*(0.6 * room.high[:2]), 1.4])
        return PhotoPlan(low, high, *targets, slope=(-0.65, 0.25))


def draw_place(rng: np.random.Generator, scale: float) -> Place:
    """One of the three, in fixed shares."""
    kind = rng.random()
    if kind < 0.4:
        return _indoors(rng, 1.05 * scale, None)
    return _indoors(rng, 1.3 * scale, rng.uniform(3.2, 5.0)) if kind < 0.7 else _yard(rng, scale)


def _indoors(rng: np.random.Generator, scale: float, height: float | None) -> Place:
    room = Room(rng, scale)
    if height is not None:
        room.high[2] = height
    shell = room.shell_materials()
    room.add_skirting()
    window = room.add_window() if rng.random() < 0.85 else None
    lights = _lights(room, rng, window)
    warmth = rng.uniform(-0.1, 0.15)
    ambient = rng.uniform(0.3, 0.6) * np.array([1 + warmth, 1.0, 1 - warmth])
    return Place(room, room.low, room.high, shell, lights, np.zeros(len(lights.focus)), ambient, None)


def furnish(place: Place, objects: int | None) -> None:
    """What rests, on the ground that is left."""
    room, rng = place.room, place.room.rng
    target = int(rng.integers(5, 16)) if objects is None else objects
    if place.sky is not None:
        for _ in range(target):
            room.put_free(_choose(rng, _OUTDOORS))
        return
    for _ in range(int(rng.integers(1, 5))):
        if room.count < target:
            room.put_against_wall(_choose(rng, furniture.AGAINST_WALL))
    for _ in range(int(rng.integers(1, 4))):
        if room.count < target:
            room.put_free(_choose(rng, furniture.FREE))
    if room.count < target:
        room.add_pictures()
    room.put_on_surfaces(max(0, target - room.count))
    for _ in range(2 * target):
        if room.count >= target:
            break
        room.put_free(furniture.loose_solid)


def _crates(builder: Builder, rng: np.random.Generator) -> Thing:
    """Two crates, one on the other."""
    parts, z, half = [], 0.0, rng.uniform(0.25, 0.45)
    for _ in range(int(rng.integers(1, 4))):
        size = half * rng.uniform(0.75, 1.0)
        turn = yaw_matrix(rng.normal(0, 0.15))
        blank = box(
            (-size * 0.8, -size * 0.8, z), (size * 0.8, size * 0.8, z + 0.9 * size), material(builder, rng, "furniture")
        )
        parts.append(Part(blank.kind, blank.center, blank.half, blank.material, turn))
        z += 0.9 * size
    return Thing(parts, (half, half), z)


_OUTDOORS: list[tuple[Maker, float]] = [
    (_crates, 2.0), (furniture.loose_solid, 2.0), (furniture.table, 0.6), (furniture.chair, 0.8),
    (furniture.plant, 0.8), (roadside.bush, 1.0), (roadside.bench, 1.0), (roadside.bin_, 0.5),
]  # fmt: skip


def _yard(rng: np.random.Generator, scale: float) -> Place:
    """Open ground with a border of houses, walls and trees; the first light is the sun."""
    room = Room(rng, scale)
    half = scale * rng.uniform(3.5, 6.5, 2)
    room.low, room.high = np.array([*-half, 0.0]), np.array([*half, 6.0])
    ground = paint(room.builder, rng, str(rng.choice(["paving", "asphalt", "ground", "grass", "concrete"])))
    for side in range(4):
        _border(room, rng, side)
    lights, radius, ambient, sky = _daylight(rng)
    low, high = np.array([-_GROUND, -_GROUND, 0.0]), np.array([_GROUND, _GROUND, 40.0])
    return Place(room, low, high, np.full(6, ground, np.int64), lights, radius, ambient, sky)


def _border(room: Room, rng: np.random.Generator, side: int) -> None:
    """What stands behind one side of a yard: a house, a garden wall or a row of trees."""
    middle, half_length, yaw = room.wall_frame(side)
    turn = yaw_matrix(yaw)

    def stand(thing: Thing, along: float, behind: float) -> None:
        room.builder.place(thing, np.array([*middle, 0.0]) + turn @ np.array([along, -behind, 0.0]), yaw)

    kind = rng.random()
    if kind < 0.45:
        depth = rng.uniform(4.0, 7.0)
        width = 2 * half_length * rng.uniform(0.75, 1.0)
        style = str(rng.choice(["house", "townhouse", "house", "shed"]))
        stand(building(room.builder, rng, width, depth, style, storeys=None if style != "townhouse" else 1, plain=True),
              0.0, 0.5 * depth + 0.35)  # fmt: skip
    elif kind < 0.8:
        tall, wall, cap = (
            rng.uniform(1.0, 2.4),
            paint(room.builder, rng, str(rng.choice(["brick", "stone", "plaster"]))),
            0.06,
        )
        top = paint(room.builder, rng, "concrete")
        parts = [box((-half_length, -0.12, 0.0), (half_length, 0.12, tall), wall),
                 box((-half_length, -0.16, tall), (half_length, 0.16, tall + cap), top)]  # fmt: skip
        stand(Thing(parts, (half_length, 0.16), tall), 0.0, 0.2)
    if kind >= 0.6:
        for along in np.arange(-half_length + 1.5, half_length, rng.uniform(3.0, 5.0)):
            stand(roadside.tree(room.builder, rng, rng.uniform(0.7, 1.1)), along, rng.uniform(2.5, 6.0))


def _daylight(rng: np.random.Generator) -> tuple[Lights, Float64[np.ndarray, "1"], Float64[np.ndarray, "3"], Sky]:
    """A sun between 20 and 65 degrees, more or less behind clouds: lights, their radius, ambient light, sky."""
    azimuth, height = rng.uniform(-np.pi, np.pi), np.radians(rng.uniform(20.0, 65.0))
    towards = np.array([np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)])
    clouds = 0.0 if rng.random() < 0.6 else rng.uniform(0.2, 0.95)
    tint = np.array([1.1, 1.0, 0.88])
    strength = rng.uniform(2.1, 2.8) * (1.0 - 0.9 * clouds)
    lights = Lights(_SUN * towards[None], strength * tint[None] * _SUN**2, -towards[None], np.zeros(1))
    grey = np.array([0.75, 0.8, 0.86])
    zenith = (1 - clouds) * np.array([0.18, 0.36, 0.78]) + clouds * 0.85 * grey
    horizon = (1 - clouds) * np.array([0.64, 0.8, 0.96]) + clouds * grey
    ambient = (0.55 + 0.5 * clouds) * ((1 - clouds) * np.array([0.87, 0.97, 1.15]) + clouds)
    sky = Sky(zenith, horizon, float(np.clip(rng.uniform(0.0, 0.4) + 0.6 * clouds, 0.0, 1.0)), int(rng.integers(2**31)))
    return lights, np.full(1, _SUN * np.tan(np.radians(0.27))), ambient, sky
