"""The layout "rooms": a furnished box room with a window, skirting, pictures and clutter on every surface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from worldline.worlds.appearance.materials import material
from worldline.worlds.cameras import paths, photos
from worldline.worlds.cameras.photos import PhotoPlan
from worldline.worlds.layouts import furniture
from worldline.worlds.options import Streams, WorldOptions
from worldline.worlds.world import (
    BOX,
    Builder,
    CameraSet,
    Motion,
    Part,
    PhotoEffects,
    Surface,
    Thing,
    World,
    yaw_matrix,
)

Maker = Callable[[Builder, np.random.Generator], Thing]


class Room:
    """A room while it is being furnished: what stands where on its floor."""

    def __init__(self, rng: np.random.Generator, scale: float = 1.0) -> None:
        self.rng = rng
        self.builder = Builder()
        size = np.array([rng.uniform(3.0, 8.0), rng.uniform(3.0, 8.0), rng.uniform(2.3, 3.2)])
        size[:2] *= scale
        if max(size[:2]) / min(size[:2]) > 2.0:
            size[:2] = np.clip(size[:2], None, 2.0 * min(size[:2]))
        self.low = np.array([-size[0] / 2, -size[1] / 2, 0.0])
        self.high = np.array([size[0] / 2, size[1] / 2, size[2]])
        self.footprints: list[tuple[Float64[np.ndarray, "2"], tuple[float, float], float]] = []
        self.surfaces: list[tuple[Surface, Float64[np.ndarray, "3"], float]] = []
        self.on_wall: list[tuple[int, float, float, float, float]] = []  # wall, low u, high u, low z, high z
        self.count = 0

    def shell_materials(self) -> np.ndarray:
        """Materials of the six faces; usually one wall paper, sometimes a wall that differs."""
        wall = material(self.builder, self.rng, "wall")
        walls = [wall if self.rng.random() < 0.6 else material(self.builder, self.rng, "wall") for _ in range(4)]
        return np.array(
            [*walls, material(self.builder, self.rng, "floor"), material(self.builder, self.rng, "ceiling")], np.int64
        )

    def wall_frame(self, wall: int) -> tuple[Float64[np.ndarray, "2"], float, float]:
        """(middle of the wall, half length, yaw of a thing whose back touches it) for walls -x, +x, -y, +y."""
        middles = np.array([[self.low[0], 0], [self.high[0], 0], [0, self.low[1]], [0, self.high[1]]])
        half = self.high[1] if wall < 2 else self.high[0]
        return middles[wall], float(half), (-np.pi / 2, np.pi / 2, 0.0, np.pi)[wall]

    def is_free(self, position: np.ndarray, half: tuple[float, float], yaw: float, gap: float = 0.03) -> bool:
        """Whether a footprint lies inside the room and meets no other (separating axes of rectangles)."""
        axes = yaw_matrix(yaw)[:2, :2]
        reach = np.abs(axes) @ np.array(half)
        if np.any(position - reach < self.low[:2] - 1e-6) or np.any(position + reach > self.high[:2] + 1e-6):
            return False
        for other, other_half, other_yaw in self.footprints:
            other_axes = yaw_matrix(other_yaw)[:2, :2]
            apart = False
            for axis in (*axes.T, *other_axes.T):
                extent = np.abs(axis @ axes) @ np.array(half) + np.abs(axis @ other_axes) @ np.array(other_half)
                if abs(axis @ (position - other)) > extent + gap:
                    apart = True
                    break
            if not apart:
                return False
        return True

    def put(self, thing: Thing, position: np.ndarray, yaw: float) -> None:
        """Stand a thing on the floor."""
        origin = np.array([position[0], position[1], 0.0])
        self.builder.place(thing, origin, yaw)
        self.footprints.append((np.asarray(position, float), thing.half, yaw))
        self.surfaces += [(surface, origin, yaw) for surface in thing.surfaces]
        self.count += 1

    def put_against_wall(self, make: Maker) -> bool:
        """Try some places along random walls."""
        thing = make(self.builder, self.rng)
        for _ in range(8):
            wall = int(self.rng.integers(4))
            middle, half_length, yaw = self.wall_frame(wall)
            room_left = half_length - thing.half[0]
            if room_left <= 0:
                continue
            turn = yaw_matrix(yaw)[:2, :2]
            gap = 0.02 + (0.06 * self.rng.random() if self.rng.random() < 0.3 else 0.0)
            position = middle + turn @ np.array([self.rng.uniform(-room_left, room_left), thing.half[1] + gap])
            along = float(position[1] if wall < 2 else position[0])
            span = (along - thing.half[0], along + thing.half[0], 0.0, thing.height)
            if self.is_free(position, thing.half, yaw) and self.wall_is_free(wall, span):
                self.put(thing, position, yaw)
                self.on_wall.append((wall, *span))
                return True
        return False

    def put_free(self, make: Maker) -> bool:
        """Try some places anywhere on the floor."""
        thing = make(self.builder, self.rng)
        for _ in range(8):
            yaw = self.rng.uniform(-np.pi, np.pi) if self.rng.random() < 0.6 else 0.5 * np.pi * self.rng.integers(4)
            position = self.rng.uniform(self.low[:2] + 0.2, self.high[:2] - 0.2)
            if self.is_free(position, thing.half, yaw, gap=0.08):
                self.put(thing, position, yaw)
                if make is furniture.table and thing.height > 0.6:
                    self.put_chairs(position, thing, yaw)
                return True
        return False

    def put_chairs(self, position: np.ndarray, table: Thing, yaw: float) -> None:
        """One to four equal chairs around a table, facing it."""
        seat = furniture.chair(self.builder, self.rng)
        for side, turn in ((-1, 0.0), (1, np.pi)):
            for x in (-0.45, 0.45):
                if self.rng.random() < 0.45:
                    continue
                away = table.half[1] + seat.half[1] + self.rng.uniform(0.05, 0.15)
                local = np.array([x * table.half[0] * 1.1, side * away])
                place = position + yaw_matrix(yaw)[:2, :2] @ local
                angle = yaw + turn + self.rng.normal(0, 0.15)
                if self.is_free(place, seat.half, angle, gap=0.0):
                    self.put(seat, place, angle)

    def put_on_surfaces(self, budget: int) -> None:
        """Clutter on tables, boards and cupboards, each at its own place."""
        order = self.rng.permutation(len(self.surfaces))
        for index in order:
            surface, origin, yaw = self.surfaces[index]
            taken: list[tuple[np.ndarray, float]] = []
            for _ in range(int(self.rng.integers(0, 4))):
                limit = 0.95 * min(surface.half)
                if budget <= 0 or limit < 0.04 or surface.headroom < 0.08:
                    break
                thing = furniture.clutter(self.builder, self.rng, limit, surface.headroom)
                radius = thing.half[0]
                local = self.rng.uniform(-1, 1, 2) * np.maximum(np.array(surface.half) - radius, 0.0)
                if any(np.linalg.norm(local - other) < radius + r for other, r in taken):
                    continue
                taken.append((local, radius))
                place = origin + yaw_matrix(yaw) @ (surface.center + np.array([*local, 0.0]))
                upright = self.rng.uniform(-np.pi, np.pi) if limit > 0.25 else 0.0
                self.builder.place(thing, place, yaw + upright)
                budget -= 1
                self.count += 1

    def wall_is_free(self, wall: int, span: tuple[float, float, float, float]) -> bool:
        """Whether nothing hangs on or stands before (low u, high u, low z, high z) of a wall."""
        left, right, low, high = span
        return all(w != wall or right < a or left > b or high < c or low > d for w, a, b, c, d in self.on_wall)

    def hang(self, wall: int, half: tuple[float, float], low: float, high: float) -> tuple[float, float] | None:
        """A free place (along, height) on a wall for a rectangle, or None."""
        _, half_length, _ = self.wall_frame(wall)
        for _ in range(12):
            if half_length - half[0] < 0.1 or high - low < 2 * half[1]:
                return None
            u = self.rng.uniform(-half_length + half[0] + 0.05, half_length - half[0] - 0.05)
            z = self.rng.uniform(low + half[1], high - half[1])
            box = (u - half[0] - 0.05, u + half[0] + 0.05, z - half[1] - 0.05, z + half[1] + 0.05)
            if self.wall_is_free(wall, box):
                self.on_wall.append((wall, *box))
                return u, z
        return None

    def wall_box(self, wall: int, low: tuple[float, float, float], high: tuple[float, float, float], mat: int) -> Part:
        """A box given as (along the wall, out of the wall, up), in world axes."""
        middle, _, yaw = self.wall_frame(wall)
        lower, upper = np.array(low, float), np.array(high, float)
        center = 0.5 * (lower + upper)
        # local x runs along the wall in the direction of the yaw frame; mirror so that u means world x or y
        sign = -1.0 if wall in (0, 3) else 1.0
        world = np.array([*middle, 0.0]) + yaw_matrix(yaw) @ np.array([sign * center[0], center[1], center[2]])
        return Part(BOX, world, 0.5 * (upper - lower), mat, yaw_matrix(yaw))

    def add_window(self) -> tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]] | None:
        """A bright pane with frame and sill; returns where its light comes from and goes to."""
        wall = int(self.rng.integers(4))
        half = (self.rng.uniform(0.4, 0.9), self.rng.uniform(0.4, 0.65))
        place = self.hang(wall, half, 0.75, self.high[2] - 0.15)
        if place is None:
            return None
        u, z = place
        frame = material(self.builder, self.rng, "plain")
        pane = material(self.builder, self.rng, "window", emission=self.rng.uniform(1.2, 2.5), gloss=0.0)
        w, h, bar = half[0], half[1], 0.04
        parts = [self.wall_box(wall, (u - w, 0.0, z - h), (u + w, 0.01, z + h), pane)]
        for a, b, c, d in ((-w - bar, -w, -h - bar, h + bar), (w, w + bar, -h - bar, h + bar),
                           (-w, w, h, h + bar), (-w, w, -h - bar, -h), (-0.02, 0.02, -h, h)):  # fmt: skip
            parts.append(self.wall_box(wall, (u + a, 0.0, z + c), (u + b, 0.035, z + d), frame))
        parts.append(self.wall_box(wall, (u - w - 0.1, 0.0, z - h - 0.08), (u + w + 0.1, 0.12, z - h - 0.04), frame))
        self.builder.place(Thing(parts, (0, 0), 0), np.zeros(3), 0.0)
        middle, _, yaw = self.wall_frame(wall)
        inward = yaw_matrix(yaw) @ np.array([0.0, 1.0, 0.0])
        along = np.array([0.0, u, 0.0]) if wall < 2 else np.array([u, 0.0, 0.0])
        return np.array([*middle, z + 0.2]) + 0.15 * inward + along, inward

    def add_pictures(self) -> None:
        """Framed prints and wall boards."""
        for _ in range(int(self.rng.integers(1, 6))):
            wall = int(self.rng.integers(4))
            half = (self.rng.uniform(0.15, 0.6), self.rng.uniform(0.15, 0.45))
            place = self.hang(wall, half, 0.9, self.high[2] - 0.1)
            if place is None:
                continue
            u, z = place
            print_, frame = material(self.builder, self.rng, "poster"), material(self.builder, self.rng, "furniture")
            edge = self.rng.uniform(0.015, 0.05)
            parts = [
                self.wall_box(wall, (u - half[0], 0, z - half[1]), (u + half[0], 0.015, z + half[1]), frame),
                self.wall_box(wall, (u - half[0] + edge, 0.015, z - half[1] + edge),
                              (u + half[0] - edge, 0.018, z + half[1] - edge), print_),
            ]  # fmt: skip
            self.builder.place(Thing(parts, (0, 0), 0), np.zeros(3), 0.0)
            self.count += 1

    def add_skirting(self) -> None:
        """Boards along the foot of the walls, and a door now and then."""
        mat, height = material(self.builder, self.rng, "plain"), self.rng.uniform(0.06, 0.12)
        parts = []
        for wall in range(4):
            _, half_length, _ = self.wall_frame(wall)
            parts.append(self.wall_box(wall, (-half_length, 0.0, 0.0), (half_length, 0.015, height), mat))
        self.builder.place(Thing(parts, (0, 0), 0), np.zeros(3), 0.0)
        if self.rng.random() < 0.6:
            wall = int(self.rng.integers(4))
            place = self.hang(wall, (0.45, 1.0), 0.0, 2.01)
            if place is not None:
                u, panel, frame = (
                    place[0],
                    material(self.builder, self.rng, "furniture"),
                    material(self.builder, self.rng, "plain"),
                )
                door = [self.wall_box(wall, (u - 0.42, 0, 0), (u + 0.42, 0.025, 2.0), panel)]
                for a, b, c in ((-0.5, -0.42, 2.0), (0.42, 0.5, 2.0)):
                    door.append(self.wall_box(wall, (u + a, 0, 0), (u + b, 0.04, c), frame))
                door.append(self.wall_box(wall, (u - 0.5, 0, 2.0), (u + 0.5, 0.04, 2.08), frame))
                self.builder.place(Thing(door, (0, 0), 0), np.zeros(3), 0.0)
                self.footprints.append((self._before_wall(wall, u, 0.5), (0.45, 0.45), 0.0))

    def _before_wall(self, wall: int, u: float, out: float) -> Float64[np.ndarray, "2"]:
        middle, _, yaw = self.wall_frame(wall)
        along = np.array([0.0, u]) if wall < 2 else np.array([u, 0.0])
        return middle + along + yaw_matrix(yaw)[:2, :2] @ np.array([0.0, out])


def _choose(rng: np.random.Generator, makers: list[tuple[Maker, float]]) -> Maker:
    weights = np.array([weight for _, weight in makers])
    return makers[rng.choice(len(makers), p=weights / weights.sum())][0]


@dataclass
class Lights:
    """Lamps of a room; the first one is the main light. See the fields of ``World``."""

    position: Float64[np.ndarray, "l 3"]
    color: Float64[np.ndarray, "l 3"]
    axis: Float64[np.ndarray, "l 3"]
    focus: Float64[np.ndarray, "l"]


def build(streams: Streams, options: WorldOptions) -> World:
    """Draw a room and photograph it from places where nothing is in the way."""
    room, shell, lights = furnish(streams.scene, options.size, options.objects)
    primitives = room.builder.primitives()
    warmth = streams.scene.uniform(-0.1, 0.15)
    ambient = streams.scene.uniform(0.25, 0.6) * np.array([1 + warmth, 1.0, 1 - warmth])
    draft = World(
        "rooms", 0, room.low, room.high, shell, None, primitives, Motion.still(),
        np.array(room.builder.material_kind), np.stack(room.builder.material_rows),
        lights.position, lights.color, lights.axis, lights.focus, np.zeros(len(lights.focus)), ambient,
        CameraSet.photos(np.zeros((0, 4, 4)), np.zeros(0), np.zeros((0, 2))), PhotoEffects.none(0),
    )  # fmt: skip
    cameras = paths.shoot(streams, draft, plan_of(room), options)
    return replace(draft, cameras=cameras, motion=paths.resting(options))


def plan_of(room: Room) -> PhotoPlan:
    """A photographer on foot who looks at the things in the room."""
    low = np.array([*(room.low[:2] + photos.CLEARANCE), 0.8])
    high = np.array([*(room.high[:2] - photos.CLEARANCE), min(2.0, room.high[2] - photos.CLEARANCE)])
    targets = np.array([*(0.5 * room.low[:2]), 0.3]), np.array([*(0.5 * room.high[:2]), 1.4])
    return PhotoPlan(low, high, *targets)


def furnish(
    rng: np.random.Generator, scale: float = 1.0, objects: int | None = None
) -> tuple[Room, np.ndarray, Lights]:
    """Draw a room. Returns it with the materials of its shell and its lights."""
    room = Room(rng, scale)
    shell = room.shell_materials()
    room.add_skirting()
    window = room.add_window() if rng.random() < 0.8 else None
    target = int(rng.integers(8, 26))
    target = target if objects is None else objects
    area = (room.high[0] - room.low[0]) * (room.high[1] - room.low[1])
    most = target if objects is not None else 99
    for _ in range(min(most, int(rng.integers(2, 5)) + int(area > 20))):
        room.put_against_wall(_choose(rng, furniture.AGAINST_WALL))
    for _ in range(min(most - room.count, int(rng.integers(1, 4)) + int(area > 30))):
        room.put_free(_choose(rng, furniture.FREE))
    if objects is None or room.count < target:
        room.add_pictures()
    room.put_on_surfaces(max(0, target - room.count))
    for _ in range(3 * target):
        if room.count >= target:
            break
        small = rng.random() < 0.6
        room.put_free((lambda b, r: furniture.clutter(b, r, 0.3, 1.0)) if small else furniture.loose_solid)
    return room, shell, _lights(room, rng, window)


def _lights(room: Room, rng: np.random.Generator, window: tuple[np.ndarray, np.ndarray] | None) -> Lights:
    """The main light (window or ceiling lamp) and up to two fill lights, sized to the room."""
    size = room.high - room.low
    lamp = np.array([*rng.uniform(room.low[:2] * 0.5, room.high[:2] * 0.5), size[2] - rng.uniform(0.05, 0.3)])
    lights = [(lamp, np.array([0.0, 0.0, -1.0]), rng.uniform(0.3, 0.9))]
    if window is not None:
        lights.insert(0 if rng.random() < 0.5 else 1, (*window, 1.0))
    if rng.random() < 0.4:
        place = rng.uniform(room.low * 0.8 + [0, 0, 1.2], room.high * 0.8)
        lights.append((place, np.array([0.0, 0.0, -1.0]), 0.0))
    power = 0.25 * (size[0] * size[1] + 4.0)
    colors = []
    for index, (_, _, focus) in enumerate(lights):
        warmth = rng.uniform(-0.2, 0.25)
        tint = np.array([1.0 + warmth, 1.0, 1.0 - warmth])
        share = rng.uniform(0.8, 1.5) if index == 0 else rng.uniform(0.1, 0.5)
        colors.append(tint * power * share * (1.0 + 0.8 * focus))
    columns = [np.array([light[i] for light in lights], np.float64) for i in range(3)]
    return Lights(columns[0], np.array(colors), columns[1], columns[2])
