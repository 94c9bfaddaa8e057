"""Where a filming person looks: from one thing to the next, turning with bounded speed and acceleration."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from worldline.worlds.cameras.clearance import Surroundings
from worldline.worlds.cameras.curves import angles_to, poses, spline, wrap
from worldline.worlds.cameras.photos import PhotoPlan
from worldline.worlds.cameras.trails import Trail

_KNOT = 0.2  # seconds
_CHOICES = 8  # targets of which the best is taken
_SOFT = 2.5  # per second: how quickly the gaze closes in on its target
_TURN = np.radians(220.0)  # per second squared
_ASIDE = np.radians(75.0)  # a walker looks no further aside


@dataclass(frozen=True)
class _Target:
    """A place or a body to look at; neither: straight ahead."""

    place: Float64[np.ndarray, "3"] | None = None
    body: int | None = None  # index into Surroundings.bodies


class _Watcher:
    """What a gaze needs to know at every knot, and how it chooses."""

    def __init__(
        self, rng: np.random.Generator, around: Surroundings, plan: PhotoPlan, fov: float, trail: Trail, ahead: bool,
        knots: int,
    ) -> None:  # fmt: skip
        self.rng, self.around, self.plan, self.fov, self.trail, self.ahead = rng, around, plan, fov, trail, ahead
        solids = around.world.primitives
        low, high = plan.attract or (2 * plan.target_low - 1, 2 * plan.target_high + 1)
        self.things = solids.center[(solids.body == 0) & ((solids.center >= low) & (solids.center <= high)).all(1)]
        first = around.centers(np.arange(0.0, 4.0, 0.7))
        self.moved = np.flatnonzero((np.linalg.norm(first - first[:1], axis=-1) > 0.05).any(0)).tolist()
        clock = np.arange(knots) * _KNOT
        self.bodies, self.eyes = around.centers(clock), trail.at(clock)
        self.curiosity = rng.uniform(0.5, 1.3) * (0.6 if ahead else 1.0)
        self.level = rng.normal(np.radians(-9.0), np.radians(4.0))  # pitch of a walker who looks ahead

    def place(self, target: _Target, knot: int) -> Float64[np.ndarray, "3"] | None:
        """Where a target is."""
        return self.bodies[knot, target.body] if target.body is not None else target.place

    def direction(self, target: _Target, knot: int) -> tuple[float, float]:
        """Yaw and pitch towards a target; the slope is that of the plan."""
        place = self.place(target, knot)
        facing = self.trail.facing(knot * _KNOT + 0.4) if self.ahead else 0.0
        if place is None:
            return facing, self.level
        yaw, pitch = (float(a[0]) for a in angles_to((place - self.eyes[knot])[None]))
        if self.ahead:
            yaw = facing + float(np.clip(wrap(yaw - facing), -_ASIDE, _ASIDE))
        return yaw, float(np.clip(pitch, *np.arctan(self.plan.slope)))

    def choose(self, knot: int, yaw: float | None) -> _Target:
        """The target of a few that makes the best picture from here and from where the camera will be."""
        rng, plan = self.rng, self.plan
        kind, pick = rng.random(_CHOICES), rng.random(_CHOICES)
        free = rng.uniform(plan.target_low, plan.target_high, (_CHOICES, 3))
        luck = rng.random(_CHOICES)
        targets: list[_Target] = []
        for k, p, place in zip(kind, pick, free, strict=True):
            if self.ahead and not targets:
                targets.append(_Target())
            elif k < 0.6 and self.moved:
                targets.append(_Target(body=self.moved[int(p * len(self.moved))]))
            elif k < 0.85 and len(self.things):
                targets.append(_Target(place=self.things[int(p * len(self.things))]))
            else:
                targets.append(_Target(place=place))
        angles = np.array([self.direction(t, knot) for t in targets])
        clock = knot * _KNOT
        eyes = self.trail.at(np.array([clock, clock + 1.0]))
        places = [self.place(t, knot) for t in targets]
        near = np.array([np.inf if p is None else np.linalg.norm(p - eyes[0]) for p in places])
        aims = np.tile(angles, (2, 1))
        seen = self.around.judge(
            poses(np.repeat(eyes, _CHOICES, 0), aims[:, 0], aims[:, 1], np.zeros(2 * _CHOICES)), clock, self.fov
        )
        good = 1.5 * np.minimum(seen.moving / 0.06, 1.0) if self.moved else 0.0
        good += np.minimum(seen.things / plan.things, 1.0) + np.minimum(seen.middle / plan.middle, 1.0)
        turn = 0.0 if yaw is None else np.abs([wrap(a - yaw) for a in angles[:, 0]]) / np.pi
        score = 2.0 * good.reshape(2, -1).min(0) - 0.6 * turn + 0.5 * luck - 1.5 * (near < 0.8 * min(1.0, plan.middle))
        score[0] += 0.5 * self.ahead
        return targets[int(np.argmax(score))]


def watch(
    rng: np.random.Generator, around: Surroundings, plan: PhotoPlan, fov: float, trail: Trail,
    clock: Float64[np.ndarray, "t"], *, ahead: bool = False,
) -> tuple[Float64[np.ndarray, "t"], Float64[np.ndarray, "t"]]:  # fmt: skip
    """Yaw and pitch along a trail, radians.

    Args:
        rng: consumed per target.
        around: what can be seen.
        plan: boxes of targets and the slope of the line of sight.
        fov: along the longer image side, radians.
        trail: where the camera is.
        clock: moments, rising from 0.
        ahead: look where the trail goes, and aside only now and then.
    """
    count = int(clock[-1] / _KNOT) + 4
    watcher = _Watcher(rng, around, plan, fov, trail, ahead, count)
    fastest = rng.uniform(np.radians(30.0), np.radians(90.0))
    target = watcher.choose(0, None)
    until = watcher.curiosity * rng.uniform(1.0, 4.0)
    yaw, pitch = watcher.direction(target, 0)
    angle, speed, before = np.array([yaw, pitch]), np.zeros(2), np.array([yaw, pitch])
    controls = [angle, angle]
    for knot in range(1, count):
        fresh = knot * _KNOT >= until
        if fresh:
            target = watcher.choose(knot, float(angle[0]))
            until = knot * _KNOT + watcher.curiosity * rng.uniform(1.0, 4.0)
        wish = np.array(watcher.direction(target, knot))
        lead = np.zeros(2) if fresh else np.array([wrap(wish[0] - before[0]), wish[1] - before[1]]) / _KNOT
        error = np.array([wrap(wish[0] - angle[0]), wish[1] - angle[1]])
        wanted = np.clip(_SOFT * error + lead, -fastest, fastest)
        speed = speed + np.clip(wanted - speed, -_TURN * _KNOT, _TURN * _KNOT)
        angle, before = angle + speed * _KNOT, wish
        controls.append(angle)
    smooth = spline(np.array(controls), clock / _KNOT)
    return smooth[:, 0], smooth[:, 1]
