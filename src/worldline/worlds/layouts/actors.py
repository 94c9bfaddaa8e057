"""Simple moving things: sliding, thrown, bouncing, rolling, swinging and spinning.

Every maker claims the ground that its thing will ever sweep and returns False where there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from worldline.worlds.appearance.materials import material
from worldline.worlds.layouts import furniture
from worldline.worlds.layouts.rooms import Room
from worldline.worlds.layouts.solids import ball, box, tube, upright
from worldline.worlds.layouts.trajectories import (
    Bounces,
    Drive,
    Pendulum,
    Shuttle,
    Slide,
    Tosses,
    moved,
    standing,
    turned,
)
from worldline.worlds.world import STILL, Part, Thing

Poses = Callable[[Float64[np.ndarray, "t"]], Float64[np.ndarray, "t k 4 4"]]


@dataclass(frozen=True)
class Actor:
    """Some bodies and where they are at moments of the clock."""

    bodies: tuple[int, ...]
    poses: Poses


class Cast:
    """Everything that moves in a place, while it is being set up."""

    def __init__(self, place: Room, motion: np.random.Generator) -> None:
        self.place, self.builder, self.rng, self.motion = place, place.builder, place.rng, motion
        self.actors: list[Actor] = []

    @property
    def height(self) -> float:
        """Metres up to which things may rise."""
        return float(self.place.high[2]) - 0.05

    @property
    def extent(self) -> float:
        """The shorter side of the ground, metres."""
        return float((self.place.high - self.place.low)[:2].min())

    def claim(self, half: tuple[float, float], *, tries: int = 12) -> Float64[np.ndarray, "4 4"] | None:
        """A free rectangle of the ground that is kept free from now on: world_from_rectangle, or None."""
        for _ in range(tries):
            yaw = self.rng.uniform(-np.pi, np.pi) if self.rng.random() < 0.5 else 0.5 * np.pi * self.rng.integers(4)
            position = self.rng.uniform(self.place.low[:2], self.place.high[:2])
            if self.place.is_free(position, half, yaw, gap=0.06):
                self.place.footprints.append((position, half, yaw))
                return standing(np.array([*position, 0.0]), yaw)
        return None

    def add(self, groups: Sequence[list[Part]], poses: Poses) -> int:
        """Put a moving thing into the world, one body per group of parts; returns its object id."""
        bodies, object_id = [], None
        for group in groups:
            bodies.append(self.builder.body())
            object_id = self.builder.place(
                Thing(group, (0, 0), 0), np.zeros(3), 0.0, body=bodies[-1], object_id=object_id
            )
        self.actors.append(Actor(tuple(bodies), poses))
        return int(object_id or 0)

    def stand(self, parts: list[Part], frame: Float64[np.ndarray, "4 4"]) -> int:
        """Put something that does not move at a claimed place."""
        yaw = float(np.arctan2(frame[1, 0], frame[0, 0]))
        return self.builder.place(Thing(parts, (0, 0), 0), frame[:3, 3], yaw, body=STILL)

    def world_from_body(self, clock: Float[np.ndarray, "t"]) -> Float64[np.ndarray, "t b 4 4"]:
        """Poses of all bodies at moments of the clock."""
        poses = np.broadcast_to(np.eye(4), (len(clock), self.builder.bodies, 4, 4)).copy()
        for actor in self.actors:
            poses[:, list(actor.bodies)] = actor.poses(np.asarray(clock, float))
        return poses

    def begin(self) -> float:
        """When something starts: most things at once, some during the first seconds."""
        return float(self.motion.uniform(0.3, 3.5)) if self.motion.random() < 0.35 else 0.0

    def mat(self, family: str = "thing") -> int:
        """A new material."""
        return material(self.builder, self.rng, family)


def sliding(cast: Cast) -> bool:
    """A crate or a pouf, pushed once and stopped by friction, or shuttled to and fro."""
    rng = cast.rng
    thing = (
        furniture.loose_solid(cast.builder, rng)
        if rng.random() < 0.5
        else furniture.clutter(cast.builder, rng, 0.3, 1.0)
    )
    way: Slide | Shuttle
    if cast.motion.random() < 0.4:
        way = Slide(cast.motion.uniform(1.0, 2.6), cast.motion.uniform(0.12, 0.3), cast.begin())
    else:
        length = cast.motion.uniform(0.5, 2.5)
        way = Shuttle(length, length / cast.motion.uniform(0.3, 1.2), cast.motion.uniform(0.0, 1.0), cast.begin())
    half = (0.5 * way.length + thing.half[0], thing.half[1])
    frame = cast.claim(half)
    if frame is None:
        return False

    def poses(t: Float64[np.ndarray, "t"]) -> Float64[np.ndarray, "t 1 4 4"]:
        x = way.travel(t) - 0.5 * way.length
        return (frame @ moved(np.stack([x, 0 * x, 0 * x], -1)))[:, None]

    cast.add([thing.parts], poses)
    return True


def _ball(cast: Cast, low: float = 0.07, high: float = 0.2) -> tuple[float, list[Part]]:
    """A patterned ball around the origin."""
    radius = float(cast.rng.uniform(low, high))
    return radius, [ball((0, 0, 0), (radius,) * 3, cast.mat())]


def thrown(cast: Cast) -> bool:
    """A ball that leaves a pedestal in an arc, bounces and rolls out."""
    radius, parts = _ball(cast)
    m = cast.motion
    stand = cast.rng.uniform(0.3, 1.1)
    flight = Bounces(stand, m.uniform(0.5, 3.0), m.uniform(0.5, 2.0), m.uniform(0.55, 0.8), 0.85, m.uniform(0.0, 3.0))
    if flight.top + 2 * radius > cast.height:
        return False
    foot = radius + 0.05
    half = (0.5 * (flight.reach + foot + radius), foot)
    frame = cast.claim(half)
    if frame is None:
        return False
    start = -half[0] + foot
    mat = cast.mat("furniture")
    cast.stand([upright(start, 0, 0.0, stand, radius * 0.7, mat), upright(start, 0, 0.0, 0.03, foot, mat)], frame)

    def poses(t: Float64[np.ndarray, "t"]) -> Float64[np.ndarray, "t 1 4 4"]:
        far, height = flight.at(t)
        place = moved(np.stack([start + far, 0 * far, height + radius], -1))
        return (frame @ place @ turned(far / radius, 1))[:, None]

    cast.add([parts], poses)
    return True


def tossed(cast: Cast) -> bool:
    """One to three balls that are thrown up again and again from a pad, each in its own time."""
    count = int(cast.rng.integers(1, 4))
    balls = [_ball(cast, 0.06, 0.13) for _ in range(count)]
    pitch = 2 * max(r for r, _ in balls) + 0.06
    pad = 0.06
    m = cast.motion
    half = (0.5 * pitch * count, 0.5 * pitch)
    frame = cast.claim(half)
    if frame is None:
        return False
    cast.stand([box((-half[0], -half[1], 0.0), (half[0], half[1], pad), cast.mat("furniture"))], frame)
    for index, (radius, parts) in enumerate(balls):
        highest = min(1.8, cast.height - pad - 2 * radius)
        up = float(np.sqrt(2 * 9.81 * m.uniform(0.4, 1.0) * highest))
        throw = Bounces(0.0, up, 0.0, m.uniform(0.5, 0.8), begin=cast.begin() * m.random())
        toss = Tosses(throw, float(throw.flights[-1, 0] - throw.begin) + m.uniform(0.05, 1.0))
        x = (index - 0.5 * (count - 1)) * pitch

        def poses(t: Float64[np.ndarray, "t"], x: float = x, toss: Tosses = toss, r: float = radius) -> np.ndarray:
            z = toss.height(t) + pad + r
            return (frame @ moved(np.stack([np.full_like(z, x), 0 * z, z], -1)))[:, None]

        cast.add([parts], poses)
    return True


def rolling(cast: Cast) -> bool:
    """A ball, a barrel or a wheel that rolls to and fro without slipping."""
    rng, m = cast.rng, cast.motion
    radius = float(rng.uniform(0.1, 0.3))
    kind, width = rng.integers(3), rng.uniform(0.2, 0.7)
    if kind == 0:
        parts, width = [ball((0, 0, 0), (radius,) * 3, cast.mat())], 2 * radius
    else:
        parts = [tube((0, -0.5 * width, 0), (0, 0.5 * width, 0), radius, cast.mat())]
        if kind == 2:  # dumb-bell: two discs and an axle
            disc = cast.mat()
            parts = [tube((0, -0.5 * width, 0), (0, 0.5 * width, 0), 0.4 * radius, cast.mat("furniture"))]
            parts += [tube((0, s * 0.5 * width, 0), (0, s * (0.5 * width - 0.06), 0), radius, disc) for s in (-1, 1)]
    length = m.uniform(0.6, 3.0)
    way = Shuttle(length, length / m.uniform(0.4, 1.6), m.uniform(0.0, 0.8), cast.begin())
    frame = cast.claim((0.5 * length + radius, 0.5 * width))
    if frame is None:
        return False

    def poses(t: Float64[np.ndarray, "t"]) -> Float64[np.ndarray, "t 1 4 4"]:
        x = way.travel(t)
        place = moved(np.stack([x - 0.5 * length, 0 * x, np.full_like(x, radius)], -1))
        return (frame @ place @ turned(x / radius, 1))[:, None]

    cast.add([parts], poses)
    return True


def swinging(cast: Cast) -> bool:
    """One to three pendulums on a gantry, each with its own length and beginning."""
    rng, m = cast.rng, cast.motion
    tall = min(rng.uniform(1.2, 2.4), cast.height - 0.05)
    count = int(rng.integers(1, 4))
    pitch = rng.uniform(0.3, 0.5)
    amplitude = np.radians(m.uniform(12, 42))
    bob = float(rng.uniform(0.07, 0.13))
    longest = tall - 2 * bob - 0.12
    span = 0.5 * count * pitch + 0.06
    half = (longest * np.sin(amplitude) + bob + 0.05, span + 0.04)
    frame = cast.claim(half)
    if frame is None:
        return False
    wood = cast.mat("furniture")
    parts = [tube((0, -span, tall), (0, span, tall), 0.03, wood)]
    for side in (-1, 1):
        for lean in (-0.35, 0.35):
            parts.append(tube((lean, side * span, 0.0), (0, side * span, tall), 0.025, wood))
    cast.stand(parts, frame)
    for index in range(count):
        length = longest * rng.uniform(0.6, 1.0)
        swing = Pendulum(length, amplitude * m.uniform(0.6, 1.0), m.uniform(0, 2 * np.pi), cast.begin())
        y = (index - 0.5 * (count - 1)) * pitch
        hang = [tube((0, 0, 0), (0, 0, -length), 0.008, wood)]
        size = bob * rng.uniform(0.7, 1.0)
        if rng.random() < 0.5:
            hang.append(ball((0, 0, -length), (size,) * 3, cast.mat()))
        else:
            hang.append(box((-size, -size * 0.8, -length - size), (size, size * 0.8, -length + size), cast.mat()))

        def poses(t: Float64[np.ndarray, "t"], y: float = y, swing: Pendulum = swing) -> np.ndarray:
            return (frame @ moved(np.array([0, y, tall])) @ turned(swing.angle(t), 1))[:, None]

        cast.add([hang], poses)
    return True


def _spin(cast: Cast, slow: float, fast: float) -> Drive:
    """A rotation that may begin later and pause."""
    m = cast.motion
    speed = float(np.exp(m.uniform(np.log(slow), np.log(fast))) * m.choice([-1, 1]))
    if m.random() < 0.4:
        return Drive(speed, cast.begin(), 0.6, m.uniform(1.0, 3.0), m.uniform(0.3, 1.5))
    return Drive(speed, cast.begin(), 0.8)


def turntable(cast: Cast) -> bool:
    """A turning platform with things on it."""
    rng = cast.rng
    radius, low = float(rng.uniform(0.3, 0.8)), float(rng.choice([0.08, 0.4, 0.7]))
    frame = cast.claim((radius, radius))
    if frame is None:
        return False
    cast.stand([upright(0, 0, 0, low, radius * 0.5, cast.mat("furniture"))], frame)
    parts = [upright(0, 0, 0.0, 0.04, radius, cast.mat("furniture"))]
    limit = 0.4 * radius
    for angle in np.arange(int(rng.integers(1, 5))) * 2.1 + rng.uniform(0, 6):
        thing = furniture.clutter(cast.builder, rng, limit, min(0.8, cast.height - low - 0.1))
        offset = np.array([np.cos(angle), np.sin(angle), 0]) * (radius - thing.half[0]) + np.array([0, 0, 0.04])
        parts += [Part(p.kind, p.center + offset, p.half, p.material, p.rotation, p.planes) for p in thing.parts]
    drive = _spin(cast, 0.3, 2.5)
    cast.add([parts], lambda t: (frame @ moved(np.array([0, 0, low])) @ turned(drive.travel(t), 2))[:, None])
    return True


def fan(cast: Cast) -> bool:
    """A fan or a small windmill on a pole that also looks from side to side."""
    rng, m = cast.rng, cast.motion
    height, blade = rng.uniform(0.9, 1.7), rng.uniform(0.2, 0.45)
    height = min(height, cast.height - blade - 0.05)
    frame = cast.claim((blade + 0.15, blade + 0.15))
    if frame is None:
        return False
    metal, leaf = cast.mat("plain"), cast.mat()
    cast.stand([upright(0, 0, 0, 0.03, 0.18, metal), upright(0, 0, 0.03, height - 0.05, 0.02, metal)], frame)
    head = [tube((0, 0, 0), (0.12, 0, 0), 0.05, metal)]
    wings = []
    count = int(rng.integers(2, 6))
    for index in range(count):
        turn = turned(np.array(2 * np.pi * index / count), 0)[:3, :3] @ turned(np.array(0.4), 2)[:3, :3]
        blank = box((-0.008, -0.07 * blade / 0.3, 0.04), (0.008, 0.07 * blade / 0.3, blade), leaf)
        wings.append(Part(blank.kind, turn @ blank.center + [0.14, 0, 0], blank.half, leaf, turn))
    wings.append(tube((0.12, 0, 0), (0.17, 0, 0), 0.03, metal))
    drive = _spin(cast, 1.0, 8.0)
    sweep, pace = m.choice([0.0, 0.5, 0.9]), m.uniform(0.4, 1.2)

    def poses(t: Float64[np.ndarray, "t"]) -> Float64[np.ndarray, "t 2 4 4"]:
        top = frame @ moved(np.array([0, 0, height])) @ turned(sweep * np.sin(pace * t), 2)
        return np.stack([top, top @ turned(drive.travel(t), 0)], 1)

    cast.add([head, wings], poses)
    return True


def spinning_top(cast: Cast) -> bool:
    """A top on the floor: it spins about a tilted axis that precesses about the vertical through its tip."""
    rng, m = cast.rng, cast.motion
    radius, tall = float(rng.uniform(0.1, 0.25)), float(rng.uniform(0.25, 0.5))
    frame = cast.claim((radius + 0.5 * tall, radius + 0.5 * tall))
    if frame is None:
        return False
    mat, other = cast.mat(), cast.mat()
    parts = [tube((0, 0, 0), (0, 0, tall), 0.02, other), upright(0, 0, 0.45 * tall, 0.6 * tall, radius, mat),
             upright(0, 0, 0.35 * tall, 0.45 * tall, 0.6 * radius, other),
             box((0.5 * radius, -0.03, 0.6 * tall), (0.9 * radius, 0.03, 0.66 * tall), other)]  # fmt: skip
    tilt = np.radians(m.uniform(3, 14))
    drive, around = _spin(cast, 4.0, 12.0), m.uniform(0.8, 2.5)

    def poses(t: Float64[np.ndarray, "t"]) -> Float64[np.ndarray, "t 1 4 4"]:
        lean = turned(around * t, 2) @ turned(np.full_like(t, tilt), 1)
        return (frame @ moved(np.array([0, 0, 0.02])) @ lean @ turned(drive.travel(t), 2))[:, None]

    cast.add([parts], poses)
    return True
