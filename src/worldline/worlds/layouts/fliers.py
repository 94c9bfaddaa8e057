"""Things that fly on closed ways through the free air: drones, birds, balloons. Drawn last, clear of everything."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float64

from worldline.worlds.cameras.clearance import Surroundings
from worldline.worlds.layouts.actors import Cast
from worldline.worlds.layouts.solids import ball, box, tube, upright
from worldline.worlds.layouts.trajectories import moved, turned
from worldline.worlds.world import Part

_HORIZON = 20.0  # seconds in which the air is checked
_TRIES = 20

Times = Float64[np.ndarray, "t"]


class Flight:
    """A sum of two sines per axis around a middle, and the direction that a flier faces."""

    def __init__(self, rng: np.random.Generator, middle: np.ndarray, reach: np.ndarray, pace: float) -> None:
        self.middle = middle
        self.amplitude = reach * np.array([[0.7], [0.3]]) * rng.uniform(0.6, 1.0, (2, 3))
        self.frequency = pace / max(float(np.linalg.norm(reach)), 0.2) * rng.uniform(0.6, 1.3, (2, 3)) * [[1.0], [2.0]]
        self.phase = rng.uniform(0, 2 * np.pi, (2, 3))
        self.yaw, self.sweep = rng.uniform(0, 2 * np.pi), rng.uniform(0.3, 1.5)

    def poses(self, t: Times) -> Float64[np.ndarray, "t 4 4"]:
        """Places and headings; it leans into its acceleration."""
        angle = self.frequency * t[:, None, None] + self.phase
        place = self.middle + (self.amplitude * np.sin(angle)).sum(1)
        push = -(self.amplitude * self.frequency**2 * np.sin(angle)).sum(1) / 9.81
        yaw = self.yaw + self.sweep * np.sin(angle[:, 0, 2])
        ahead = push[:, 0] * np.cos(yaw) + push[:, 1] * np.sin(yaw)
        aside = push[:, 1] * np.cos(yaw) - push[:, 0] * np.sin(yaw)
        return moved(place) @ turned(yaw, 2) @ turned(np.arctan(ahead), 1) @ turned(-np.arctan(aside), 0)


def _flight(cast: Cast, around: Surroundings, radius: float) -> Flight | None:
    """A way that keeps clear of everything."""
    room, m = cast.place, cast.motion
    low, high = room.low + radius + 0.1, room.high - radius - 0.1
    low[2], high[2] = 0.9, min(high[2], 3.2)
    if np.any(low >= high):
        return None
    clock = np.arange(0.0, _HORIZON, 0.08)
    for attempt in range(_TRIES):
        reach = m.uniform(0.2, 1.0, 3) * np.array([1.8, 1.8, 0.5]) * (1.0 - 0.7 * attempt / _TRIES)
        reach = np.minimum(reach, 0.45 * (high - low))
        flight = Flight(m, m.uniform(low + reach, high - reach), reach, m.uniform(0.4, 2.0))
        if around.clear(flight.poses(clock)[:, :3, 3], clock, radius).all():
            return flight
    return None


def drone(cast: Cast, around: Surroundings) -> bool:
    """A quadcopter with turning rotors."""
    rng = cast.rng
    arm = rng.uniform(0.12, 0.22)
    flight = _flight(cast, around, 1.8 * arm + 0.1)
    if flight is None:
        return False
    shell, other = cast.mat(), cast.mat("plain")
    hull = [ball((0, 0, 0), (0.6 * arm, 0.45 * arm, 0.25 * arm), shell),
            box((0.4 * arm, -0.1 * arm, -0.3 * arm), (0.65 * arm, 0.1 * arm, -0.1 * arm), other)]  # fmt: skip
    corners = [(sx * arm, sy * arm) for sx in (-1, 1) for sy in (-1, 1)]
    for x, y in corners:
        hull += [tube((0, 0, 0), (x, y, 0.05), 0.09 * arm, other), upright(x, y, -0.12 * arm, 0.1, 0.13 * arm, shell)]
    rotor = [box((-0.6 * arm, -0.05 * arm, -0.004), (0.6 * arm, 0.05 * arm, 0.004), other)]
    speed = cast.motion.uniform(6.0, 20.0)

    def poses(t: Times) -> Float64[np.ndarray, "t 5 4 4"]:
        body = flight.poses(t)
        turns = [body @ moved(np.array([x, y, 0.11])) @ turned(np.sign(x * y) * speed * t + x, 2) for x, y in corners]
        return np.stack([body, *turns], 1)

    cast.add([hull, *[rotor] * 4], poses)
    return True


def bird(cast: Cast, around: Surroundings) -> bool:
    """A bird, or a toy of one, with beating wings."""
    size = cast.rng.uniform(0.12, 0.25)
    flight = _flight(cast, around, 2.2 * size)
    if flight is None:
        return False
    coat, other = cast.mat(), cast.mat()
    trunk = [ball((0, 0, 0), (size, 0.4 * size, 0.35 * size), coat),
             ball((size, 0, 0.2 * size), (0.32 * size,) * 3, coat),
             tube((1.2 * size, 0, 0.2 * size), (1.6 * size, 0, 0.15 * size), 0.06 * size, other),
             box((-1.6 * size, -0.25 * size, -0.01), (-0.8 * size, 0.25 * size, 0.01), other)]  # fmt: skip

    def wing(side: int) -> list[Part]:
        return [
            box((-0.5 * size, min(0, side * 1.7 * size), -0.008), (0.5 * size, max(0, side * 1.7 * size), 0.008), other)
        ]

    beat = cast.motion.uniform(5.0, 12.0)

    def poses(t: Times) -> Float64[np.ndarray, "t 3 4 4"]:
        body, angle = flight.poses(t), 0.2 + 0.7 * np.sin(beat * t)
        left, right = (body @ moved(np.array([0, s * 0.3 * size, 0.1])) @ turned(s * angle, 0) for s in (1, -1))
        return np.stack([body, left, right], 1)

    cast.add([trunk, wing(1), wing(-1)], poses)
    return True


def balloons(cast: Cast, around: Surroundings) -> bool:
    """A bunch of balloons that drifts."""
    size = cast.rng.uniform(0.12, 0.2)
    flight = _flight(cast, around, 3.2 * size)
    if flight is None:
        return False
    parts = []
    for x, y, z in ((0.0, 0.0, 1.2), (1.0, 0.4, 0.6), (-0.9, 0.5, 0.5), (0.1, -1.0, 0.7))[
        : int(cast.rng.integers(1, 5))
    ]:
        parts.append(ball((x * size, y * size, z * size), (0.8 * size, 0.8 * size, 0.95 * size), cast.mat()))
        knot = (x * size, y * size, (z - 0.9) * size)
        parts.append(tube((0, 0, -2 * size), knot, 0.006, cast.mat("plain")))
    cast.add([parts], lambda t: moved(flight.poses(t)[:, None, :3, 3]))
    return True
