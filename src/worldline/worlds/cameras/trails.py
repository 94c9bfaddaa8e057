"""Ways through free space, drawn knot after knot: every new knot leaves room to brake to a stop behind it.

A world at rest therefore never traps the camera; among moving things it looks two seconds ahead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64

from worldline.errors import NoPlaceError
from worldline.worlds.cameras.clearance import Surroundings
from worldline.worlds.cameras.curves import spline
from worldline.worlds.cameras.photos import PhotoPlan

KNOT = 0.7  # seconds between knots
_LEAD = 3  # knots before the first instant, so that a clip begins in the middle of a movement
_AHEAD = 5  # knots that a candidate is followed: three to come to a stop, two to stand there
_SAMPLES = 4  # checked places per knot
_DRAW = 0.4  # radians of turning that a walker takes upon himself for a metre of free way
_NEAR = 2.5  # metres within which a moving thing is well seen
_BEYOND = 2.0  # seconds that the way goes on behind the last instant

_STEPS = np.arange(1, _AHEAD * _SAMPLES + 1) / _SAMPLES
_BASIS = spline(np.eye(_AHEAD + 3), np.minimum(_STEPS, _AHEAD - 1e-9))  # of [three knots, then the candidate repeated]


@dataclass(frozen=True)
class Space:
    """Where the camera's centre may be."""

    around: Surroundings
    low: Float64[np.ndarray, "3"]
    high: Float64[np.ndarray, "3"]
    keep: float  # metres to everything
    legs: bool = False  # whether a person stands below the camera, who needs room as well

    @classmethod
    def of(cls, around: Surroundings, plan: PhotoPlan, keep: float, slack: float) -> Space:
        """The plan's box without what is near walls, ceiling and ground; ``slack`` metres are left for the shake."""
        world, margin = around.world, keep + slack
        low, high = plan.low + slack, plan.high - slack
        if world.sky is None:
            low, high = np.maximum(low, world.room_low + margin), np.minimum(high, world.room_high - margin)
        else:
            low[2] = max(low[2], world.room_low[2] + margin)
        if np.any(low > high):
            raise NoPlaceError("The scene is too narrow for a moving camera.", "Use another seed or a larger size.")
        return cls(around, low, high, margin)

    def free(self, points: Float64[np.ndarray, "n 3"], clock: Float64[np.ndarray, "n"]) -> Bool[np.ndarray, "n"]:
        """Whether the camera may be at the points at those moments."""
        good = ((points >= self.low - 1e-9) & (points <= self.high + 1e-9)).all(1)
        good &= self.around.clear(points, clock, self.keep)
        if self.legs:
            for height in (0.35, 0.9):
                good &= self.around.clear(np.c_[points[:, :2], np.full(len(points), height)], clock, 0.3)
        return good


@dataclass(frozen=True)
class Trail:
    """A way as a spline, with the direction in which somebody who walks it would face."""

    knots: Float64[np.ndarray, "n 3"]
    heading: Float64[np.ndarray, "n"]  # radians, not wrapped

    def at(self, clock: Float64[np.ndarray, "t"]) -> Float64[np.ndarray, "t 3"]:
        """Places at some moments."""
        return spline(self.knots, clock / KNOT + _LEAD)

    def facing(self, clock: float) -> float:
        """Heading at a moment, radians, not wrapped."""
        return float(np.interp(clock / KNOT + _LEAD + 1, np.arange(len(self.heading)), self.heading))


# What comes next: (places so far, headings so far) -> candidates in the order of preference, with their headings.
_Propose = Callable[[list[np.ndarray], list[float]], tuple[np.ndarray, np.ndarray]]


def _extend(space: Space, start: np.ndarray, heading: float, end: float, propose: _Propose) -> Trail:
    knots, headings = [start] * 3, [heading] * 3
    while len(knots) - 3 < (end + _BEYOND) / KNOT + _LEAD + 1:
        candidates, faces = propose(knots, headings)
        best = _first_clear(space, knots, candidates)
        knots.append(candidates[best])
        headings.append(float(faces[best]))
    return Trail(np.array(knots), np.array(headings))


def _first_clear(space: Space, knots: list[np.ndarray], candidates: Float64[np.ndarray, "n 3"]) -> int:
    """The first candidate behind which the camera can come to a stop, or the one that gets farthest."""
    clock = np.maximum((len(knots) - 3 - _LEAD + _STEPS) * KNOT, 0.0)
    runs: list[int] = []
    for some in (candidates[:3], candidates[3:]):  # mostly the first few will do
        past = np.broadcast_to(np.array(knots[-3:]), (len(some), 3, 3))
        future = np.repeat(some[:, None], _AHEAD, 1)
        way = np.einsum("sk,nkj->nsj", _BASIS, np.concatenate([past, future], 1))
        free = space.free(way.reshape(-1, 3), np.tile(clock, len(some))).reshape(len(some), -1)
        runs += np.cumprod(free, 1).sum(1).tolist()
        if max(runs) == len(_STEPS):
            break
    best = int(np.argmax(runs))
    if runs[best] < _SAMPLES:
        raise NoPlaceError("A moving thing leaves the camera no way out.", "Use another seed.")
    return best


def _start(rng: np.random.Generator, space: Space, height: float | None) -> np.ndarray:
    """A free place; those with free space around them and with moving things nearby are preferred."""
    points = rng.uniform(space.low, space.high, (160, 3))
    if height is not None:
        points[:, 2] = np.clip(height, space.low[2], space.high[2])
    clock = _STEPS[::2] * KNOT
    free = space.free(points, np.zeros(len(points)))
    points = points[free][:24]
    stays = space.free(np.repeat(points, len(clock), 0), np.tile(clock, len(points))) if len(points) else free[:0]
    points = points[stays.reshape(len(points), -1).all(1)] if len(points) else points
    if len(points) == 0:
        raise NoPlaceError("The scene has no free place for a moving camera.", "Use another seed or a larger size.")
    angle = np.arange(8) * np.pi / 4
    ring = np.concatenate([r * np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1) for r in (0.5, 1.1)])
    near = (points[:, None] + ring).reshape(-1, 3)
    weight = (space.free(near, np.zeros(len(near))).reshape(len(points), -1).mean(1) + 0.02) ** 2
    actors = space.around.centers(np.zeros(1))[0]
    if len(actors):  # where something happens
        away = np.linalg.norm(points[:, None] - actors, axis=-1).min(1)
        weight *= np.where(away < _NEAR, 1.0, (_NEAR / away) ** 4)
    return points[rng.choice(len(points), p=weight / weight.sum())]


def wander(rng: np.random.Generator, space: Space, end: float, pace: float) -> Trail:
    """A hand-held camera's way: it keeps its direction for a while, slows down and turns at obstacles.

    Args:
        rng: consumed per knot.
        space: where it may go.
        end: last moment of the clock, seconds.
        pace: usual speed, metres per second.
    """
    count = 20

    def propose(knots: list[np.ndarray], headings: list[float]) -> tuple[np.ndarray, np.ndarray]:
        last = knots[-1] - knots[-2]
        noise = rng.normal(size=(count, 3)) * np.array([1.0, 1.0, 0.35])
        step = pace * KNOT * rng.choice([0.2, 1.0, 1.0, 1.4])
        wish = 1.1 * last / max(float(np.linalg.norm(last)), 1e-3 + 0.3 * pace * KNOT) + 0.8 * noise
        wish[:, 2] -= 0.3 * np.sign(last[2]) * (np.arange(count) > 3)
        wish[count // 2 :] = 1.2 * noise[count // 2 :]  # any direction where straight on does not go
        wish *= step / np.maximum(np.linalg.norm(wish, axis=1, keepdims=True), 1.0)
        candidates = np.clip(knots[-1] + wish, space.low, space.high)
        return np.concatenate([candidates, knots[-1][None]]), np.zeros(count + 1)

    return _extend(space, _start(rng, space, None), 0.0, end, propose)


def stroll(rng: np.random.Generator, space: Space, end: float, pace: float, eye: float) -> Trail:
    """A walker's way at eye height: straight on with slow turns, sharper ones before obstacles; see :func:`wander`."""
    roomy = replace(space, legs=True)
    try:
        start = _start(rng, roomy, eye)
        space = roomy
    except NoPlaceError:  # nobody could walk here; a camera on a boom can
        start = _start(rng, space, eye)
    bends = np.radians([0, 15, -15, 30, -30, 50, -50, 75, -75, 100, -100, 130, -130, 165, -165])

    def propose(knots: list[np.ndarray], headings: list[float]) -> tuple[np.ndarray, np.ndarray]:
        drift, side = rng.normal(0, np.radians(14)), rng.choice([-1.0, 1.0])
        bend = drift + side * bends
        bend = bend[np.argsort(np.abs(bend) - _DRAW * _open_ahead(space, knots[-1], headings[-1] + bend))]
        angles = headings[-1] + np.tile(bend, 2)
        steps = pace * KNOT * np.repeat([1.0, 0.4], len(bends)) * np.tile(1.0 - 0.2 * np.abs(bend), 2)
        candidates = knots[-1] + np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1) * steps[:, None]
        # where no step is possible the walker turns on the spot
        angles, candidates = np.append(angles, headings[-1] + side * 0.7), np.concatenate([candidates, knots[-1:]])
        return candidates, angles

    around = rng.uniform(0, 2 * np.pi) + np.arange(12) * np.pi / 6
    return _extend(space, start, float(around[_open_ahead(space, start, around).argmax()]), end, propose)


def _open_ahead(
    space: Space, place: Float64[np.ndarray, "3"], angles: Float64[np.ndarray, "n"]
) -> Float64[np.ndarray, "n"]:
    """Metres to the first obstacle at rest or to the edge of the space, in some directions; 4 at most."""
    radii = np.arange(1, 11) * 0.4
    offset = np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1)[:, None] * radii[:, None]
    points = (place + offset).reshape(-1, 3)
    free = replace(space, around=replace(space.around, poses=None), legs=False).free(points, np.zeros(len(points)))
    return 0.4 * np.cumprod(free.reshape(len(angles), -1), 1).sum(1)
