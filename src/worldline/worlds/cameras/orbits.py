"""Circles around a target, full or in part, with a height and a distance that breathe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from worldline.errors import NoPlaceError
from worldline.worlds.cameras.curves import angles_to, poses
from worldline.worlds.cameras.photos import PhotoPlan
from worldline.worlds.cameras.trails import Space

_BATCHES, _BATCH = 24, 16
_HORIZON = 12.0  # seconds that are checked at least, so that a longer clip keeps the circle of a shorter one
_STEP = 0.15  # seconds between checked places
_FASTEST = 0.8  # radians per second
_TRIALS = 4  # clear circles of which the one with the best views is taken


@dataclass(frozen=True)
class Circle:
    """An orbit as a function of the clock."""

    target: Float64[np.ndarray, "3"]
    radius: float
    height: float
    start: float  # azimuth, radians
    rate: float  # radians per second, signed
    swing: float  # amplitude of going to and fro, radians; infinite: round and round
    breath: Float64[np.ndarray, "2 3"]  # of radius and height: amplitude in metres, radians per second, phase

    def at(self, clock: Float64[np.ndarray, "t"]) -> Float64[np.ndarray, "t 3"]:
        """Places at some moments."""
        angle = self.start + (
            self.rate * clock if np.isinf(self.swing) else self.swing * np.sin(self.rate * clock / self.swing)
        )
        far, up = (a * np.sin(w * clock + p) for a, w, p in self.breath)
        radius = self.radius + far
        return np.stack(
            [
                self.target[0] + radius * np.cos(angle),
                self.target[1] + radius * np.sin(angle),
                self.height + up,
            ],
            -1,
        )


def circle(rng: np.random.Generator, space: Space, plan: PhotoPlan, fov: float, end: float) -> Circle:
    """A clear circle with good views.

    Raises:
        NoPlaceError: none fits between the things.
    """
    clock = np.arange(0.0, max(end, _HORIZON) + _STEP, _STEP)
    clear: list[Circle] = []
    for batch in range(_BATCHES):
        drawn = [_draw(rng, space, plan, batch / _BATCHES) for _ in range(_BATCH)]
        places = np.stack([c.at(clock) for c in drawn])
        inside = ((places >= space.low) & (places <= space.high)).all((1, 2))
        for index in np.flatnonzero(inside):
            if space.free(places[index], clock).all():
                clear.append(drawn[index])
        if len(clear) >= _TRIALS:
            break
    if not clear:
        raise NoPlaceError("No orbit fits between the things of this scene.", "Use another seed or a larger size.")
    return max(clear[:_TRIALS], key=lambda c: _merit(c, space, plan, fov))


def _draw(rng: np.random.Generator, space: Space, plan: PhotoPlan, narrow: float) -> Circle:
    """A random circle; with ``narrow`` from 0 to 1 the arcs become shorter."""
    solids = space.around.world.primitives
    target = rng.uniform(plan.target_low, plan.target_high)
    pick, share = rng.random(), rng.random()
    actors = space.around.centers(np.zeros(1))[0]
    if pick < 0.75 and len(actors):
        target = np.clip(actors[int(share * len(actors))], plan.target_low, plan.target_high)
    elif pick < 0.5 and len(solids.center):
        thing = solids.center[int(share * len(solids.center))]
        if ((thing >= plan.target_low) & (thing <= plan.target_high)).all():
            target = thing
    least = 0.9 * plan.middle
    room = np.minimum(target[:2] - space.low[:2], space.high[:2] - target[:2])
    widest = max(least * 1.1, float(np.max(room)) if narrow > 0.3 else float(np.min(room)))
    radius = rng.uniform(least, max(widest, least * 1.05))
    height = rng.uniform(space.low[2], space.high[2])
    full = rng.random() < 0.5 * (1.0 - 1.5 * narrow)
    swing = np.inf if full else np.radians(rng.uniform(20.0, 100.0)) * (1.0 - 0.75 * narrow)
    rate = min(np.exp(rng.uniform(np.log(0.15), np.log(1.2))) / radius, _FASTEST) * rng.choice([-1.0, 1.0])
    depth = rng.uniform(0.0, 0.15, 2) * (1.0 - narrow) * np.array([radius, min(radius, height)])
    breath = np.stack([depth, rng.uniform(0.3, 1.0, 2), rng.uniform(0, 2 * np.pi, 2)], 1)
    aim = np.array([*target[:2], np.clip(target[2], height + plan.slope[0] * radius, height + plan.slope[1] * radius)])
    return Circle(aim, radius, height, rng.uniform(0, 2 * np.pi), rate, swing, breath)


def _merit(path: Circle, space: Space, plan: PhotoPlan, fov: float) -> float:
    """How good the views along the way are, 0..3."""
    places = path.at(np.linspace(0.0, 4.0, 4))
    yaw, pitch = angles_to(path.target - places)
    seen = space.around.judge(poses(places, yaw, pitch, 0 * yaw), 0.0, fov)
    good = np.minimum(seen.things / plan.things, 1.0) + np.minimum(seen.middle / plan.middle, 1.0)
    good += np.minimum(seen.moving / 0.05, 1.0)
    return float(good.mean())
