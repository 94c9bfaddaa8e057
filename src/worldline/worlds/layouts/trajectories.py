"""How single things move, as functions of continuous time: exact, defined for all t >= 0, vectorized over moments.

Metres, seconds, radians. Nothing here knows about frames of a clip, so any rate samples the same motion.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float64

GRAVITY = 9.81

Times = Float64[np.ndarray, "t"]


@dataclass(frozen=True)
class Drive:
    """Travel of a motor: rests until ``begin``, then goes in cycles of ramp, cruise, ramp and pause."""

    speed: float  # of the cruise, signed; any unit per second
    begin: float = 0.0
    ramp: float = 0.5  # seconds in which the speed is reached
    cruise: float = np.inf  # seconds at full speed; infinite: it never stops
    pause: float = 0.0

    def travel(self, t: Times) -> Times:
        """Distance since the start; its second derivative is continuous."""
        since = np.maximum(t - self.begin, 0.0)
        if np.isinf(self.cruise):
            return self.speed * self._ramped(since)
        cycle = 2 * self.ramp + self.cruise + self.pause
        whole, rest = np.divmod(since, cycle)
        done = self._ramped(rest) - self._ramped(np.maximum(rest - self.ramp - self.cruise, 0.0))
        return self.speed * (whole * (self.ramp + self.cruise) + done)

    def rate(self, t: Times) -> Times:
        """Speed."""
        since = np.maximum(t - self.begin, 0.0)
        if np.isinf(self.cruise):
            return self.speed * self._share(since)
        rest = since % (2 * self.ramp + self.cruise + self.pause)
        return self.speed * (self._share(rest) - self._share(rest - self.ramp - self.cruise))

    def _ramped(self, t: Times) -> Times:
        """Integral of the smooth step of the speed."""
        u = np.clip(t / self.ramp, 0.0, 1.0)
        return self.ramp * (u**3 - 0.5 * u**4) + np.maximum(t - self.ramp, 0.0)

    def _share(self, t: Times) -> Times:
        u = np.clip(t / self.ramp, 0.0, 1.0)
        return 3 * u**2 - 2 * u**3


@dataclass(frozen=True)
class Shuttle:
    """To and fro between 0 and ``length`` with least jerk, resting at both ends."""

    length: float
    going: float  # seconds of a way
    rest: float  # seconds at each end
    begin: float = 0.0

    def travel(self, t: Times) -> Times:
        """Distance from the first end."""
        phase = np.maximum(t - self.begin, 0.0) % (2 * (self.going + self.rest))
        out = np.clip(phase / self.going, 0.0, 1.0)
        back = np.clip((phase - self.going - self.rest) / self.going, 0.0, 1.0)
        return self.length * (_least_jerk(out) - _least_jerk(back))


def _least_jerk(u: Times) -> Times:
    return u**3 * (10.0 - 15.0 * u + 6.0 * u**2)


@dataclass(frozen=True)
class Slide:
    """A push at ``begin`` with ``speed``, stopped by friction."""

    speed: float
    friction: float  # coefficient
    begin: float = 0.0

    @property
    def length(self) -> float:
        """The whole way."""
        return self.speed**2 / (2 * self.friction * GRAVITY)

    def travel(self, t: Times) -> Times:
        """Distance from the start."""
        brake = self.friction * GRAVITY
        since = np.clip(t - self.begin, 0.0, self.speed / brake)
        return self.speed * since - 0.5 * brake * since**2


@dataclass(frozen=True)
class Bounces:
    """A ball that falls, bounces with exact contact times, and comes to rest.

    Height is that of its lowest point above the ground. It rests at ``height`` until ``begin``, then leaves with the
    speeds ``up`` and ``along``; every contact keeps the share ``restitution`` of the upward speed and ``grip`` of the
    speed along the ground, on which it finally rolls out.
    """

    height: float
    up: float
    along: float = 0.0
    restitution: float = 0.75
    grip: float = 0.9
    begin: float = 0.0
    least: float = 0.25  # upward speed (m/s) below which it stops bouncing
    slowing: float = 0.5  # deceleration of the final roll, m/s^2

    @cached_property
    def flights(self) -> Float64[np.ndarray, "n 5"]:
        """One row per flight: start, height, upward speed, distance and speed along the ground. The last: the roll."""
        rows = [(self.begin, self.height, self.up, 0.0, self.along)]
        while True:
            start, height, up, far, along = rows[-1]
            last = (up + np.sqrt(up**2 + 2 * GRAVITY * height)) / GRAVITY  # seconds in the air
            impact = (GRAVITY * last - up) * self.restitution
            over = impact < self.least
            rows.append((start + last, 0.0, 0.0 if over else impact, far + along * last, along * self.grip))
            if over:
                return np.array(rows)

    @property
    def reach(self) -> float:
        """Distance along the ground in the end."""
        far, along = self.flights[-1, 3:]
        return float(far + np.sign(along) * along**2 / (2 * self.slowing))

    @property
    def top(self) -> float:
        """The greatest height."""
        return self.height + max(self.up, 0.0) ** 2 / (2 * GRAVITY)

    def at(self, t: Times) -> tuple[Times, Times]:
        """(distance along the ground, height of the lowest point)."""
        rows = self.flights
        flight = np.clip(np.searchsorted(rows[:, 0], t, side="right") - 1, 0, len(rows) - 1)
        start, height, up, far, along = rows[flight].T
        since = np.maximum(t - start, 0.0)
        rolls = flight == len(rows) - 1
        stop = np.minimum(since, np.abs(along) / self.slowing)
        way = np.where(rolls, along * stop - 0.5 * np.sign(along) * self.slowing * stop**2, along * since)
        air = np.where(rolls, 0.0, up * since - 0.5 * GRAVITY * since**2)
        return far + way, np.maximum(height + air, 0.0)


@dataclass(frozen=True)
class Tosses:
    """A ball that is thrown straight up again and again and bounces to rest in between."""

    throw: Bounces
    period: float

    def height(self, t: Times) -> Times:
        """Height of its lowest point."""
        since = np.maximum(t - self.throw.begin, 0.0) % self.period
        return np.where(t < self.throw.begin, self.throw.height, self.throw.at(since + self.throw.begin)[1])


@dataclass(frozen=True)
class Pendulum:
    """A swing without friction: the period grows with the amplitude (series up to its fourth power)."""

    length: float
    amplitude: float  # radians, up to about 1
    phase: float = 0.0
    begin: float = 0.0  # held at its place until then

    @property
    def period(self) -> float:
        """Seconds of a full swing."""
        a = self.amplitude
        return float(2 * np.pi * np.sqrt(self.length / GRAVITY) * (1 + a**2 / 16 + 11 * a**4 / 3072))

    def angle(self, t: Times) -> Times:
        """Deflection; let go at rest where it was held."""
        phase = (0.0 if self.begin > 0 else self.phase) + 2 * np.pi * np.maximum(t - self.begin, 0.0) / self.period
        third = -(self.amplitude**3) / 192  # of the exact motion's third harmonic
        return (self.amplitude - third) * np.cos(phase) + third * np.cos(3 * phase)


@dataclass(frozen=True)
class Loop:
    """A closed way: a rectangle of half extents ``a`` and ``b`` with corners of ``radius``, counter-clockwise."""

    a: float
    b: float
    radius: float

    @cached_property
    def _pieces(self) -> Float64[np.ndarray, "8"]:
        straight = 2 * np.array([self.a - self.radius, self.b - self.radius] * 2)
        return np.stack([straight, np.full(4, 0.5 * np.pi * self.radius)], 1).reshape(-1)

    @property
    def length(self) -> float:
        """Metres once round."""
        return float(self._pieces.sum())

    def at(self, travel: Times) -> tuple[Float64[np.ndarray, "t 2"], Times]:
        """(place, direction of travel) after some metres from the middle of a long side."""
        ends = np.cumsum(self._pieces)
        s = (travel + 0.5 * self._pieces[0]) % self.length
        piece = np.minimum(np.searchsorted(ends, s, side="right"), 7)
        rest = s - (ends - self._pieces)[piece]
        side, bend = piece // 2, piece % 2 == 1
        r = self.radius
        start = np.array(
            [[-(self.a - r), -self.b], [self.a, -(self.b - r)], [self.a - r, self.b], [-self.a, self.b - r]]
        )
        corner = np.array([[self.a - r, -(self.b - r)], [self.a - r, self.b - r], [-(self.a - r), self.b - r],
                           [-(self.a - r), -(self.b - r)]])  # fmt: skip
        yaw = 0.5 * np.pi * side + np.where(bend, rest / max(r, 1e-9), 0.0)
        forward = np.stack([np.cos(yaw), np.sin(yaw)], -1)
        outward = np.stack([np.sin(yaw), -np.cos(yaw)], -1)
        place = np.where(bend[:, None], corner[side] + r * outward, start[side] + rest[:, None] * forward)
        return place, yaw


def moved(position: Float[np.ndarray, "*t 3"]) -> Float64[np.ndarray, "*t 4 4"]:
    """Poses without rotation."""
    poses = np.broadcast_to(np.eye(4), (*position.shape[:-1], 4, 4)).copy()
    poses[..., :3, 3] = position
    return poses


def turned(angle: Float[np.ndarray, "*t"], axis: int) -> Float64[np.ndarray, "*t 4 4"]:
    """Rotations about the x, y or z axis (0, 1, 2)."""
    angle = np.asarray(angle, float)
    poses = np.broadcast_to(np.eye(4), (*angle.shape, 4, 4)).copy()
    first, second = (axis + 1) % 3, (axis + 2) % 3
    poses[..., first, first] = poses[..., second, second] = np.cos(angle)
    poses[..., second, first] = np.sin(angle)
    poses[..., first, second] = -np.sin(angle)
    return poses


def standing(position: Float[np.ndarray, "3"], yaw: float) -> Float64[np.ndarray, "4 4"]:
    """Pose of something that stands upright."""
    return moved(np.asarray(position, float)) @ turned(np.array(yaw), 2)
