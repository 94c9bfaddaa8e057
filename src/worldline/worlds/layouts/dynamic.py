"""The layout "dynamic": a room, a hall or a yard in which three to a dozen things move between others that rest.

All motion is a function of the world's clock, see :mod:`worldline.worlds.layouts.trajectories`. What moves on the
ground has all the ground that it ever sweeps for itself, and what flies is checked in time, so nothing passes through
anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np
from jaxtyping import Float64

from worldline.errors import NoPlaceError
from worldline.worlds.cameras import paths
from worldline.worlds.cameras.clearance import Surroundings
from worldline.worlds.layouts import actors, fliers, machines
from worldline.worlds.layouts.actors import Cast
from worldline.worlds.layouts.places import Place, draw_place, furnish
from worldline.worlds.options import Streams, WorldOptions
from worldline.worlds.world import CameraSet, Motion, PhotoEffects, World

Maker = TypeVar("Maker", bound=Callable[..., bool])

_GROUND: list[tuple[Callable[[Cast], bool], float]] = [
    (actors.sliding, 1.2), (actors.thrown, 1.5), (actors.tossed, 1.2), (actors.rolling, 1.5), (actors.swinging, 1.0),
    (actors.turntable, 1.0), (actors.fan, 0.7), (actors.spinning_top, 0.5), (machines.person, 2.0), (machines.dog, 1.2),
    (machines.train, 1.2), (machines.carousel, 0.8), (machines.robot_arm, 1.2), (machines.cabinet, 1.0),
]  # fmt: skip
_YARD: list[tuple[Callable[[Cast], bool], float]] = [(machines.vehicle, 4.0), (machines.person, 2.0)]
_AIR: list[tuple[Callable[[Cast, Surroundings], bool], float]] = [
    (fliers.drone, 1.0), (fliers.bird, 1.0), (fliers.balloons, 0.7),
]  # fmt: skip


def build(streams: Streams, options: WorldOptions) -> World:
    """Draw a place, what moves in it and what rests in it, and film it."""
    rng = streams.scene
    place = draw_place(rng, options.size)
    cast = Cast(place.room, streams.motion)
    _set_up(cast, place, int(rng.integers(4, 11)))
    furnish(place, options.objects)
    for _ in range(int(rng.integers(0, 3))):
        _choose(rng, _AIR)(cast, Surroundings(_draft(place), cast.world_from_body))
    if not cast.actors:
        raise NoPlaceError("Nothing that moves fits into this place.", "Use another seed or a larger size.")
    shift = streams.motion.uniform(0.0, 2.5)  # a clip begins in the middle of things

    def motion(clock: Float64[np.ndarray, "t"]) -> Float64[np.ndarray, "t b 4 4"]:
        return cast.world_from_body(clock + shift)

    draft = replace(_draft(place), motion=Motion(paths.instants(options), motion(paths.clock_of(options))))
    return replace(draft, cameras=paths.shoot(streams, draft, place.plan, options, motion))


def _set_up(cast: Cast, place: Place, wanted: int) -> None:
    """Set moving things up until there are as many as wanted, or the ground is full."""
    kinds = _GROUND if place.sky is None else _GROUND + _YARD
    for _ in range(4 * wanted):
        if len(cast.actors) >= wanted:
            return
        _choose(cast.rng, kinds)(cast)


def _choose(rng: np.random.Generator, makers: list[tuple[Maker, float]]) -> Maker:
    weights = np.array([weight for _, weight in makers])
    return makers[rng.choice(len(makers), p=weights / weights.sum())][0]


def _draft(place: Place) -> World:
    """What has been built so far, without motion and cameras."""
    builder, lights = place.room.builder, place.lights
    return World(
        "dynamic", 0, place.low, place.high, place.shell, place.sky, builder.primitives(), Motion.still(builder.bodies),
        np.array(builder.material_kind), np.stack(builder.material_rows),
        lights.position, lights.color, lights.axis, lights.focus, place.radius, place.ambient,
        CameraSet.photos(np.zeros((0, 4, 4)), np.zeros(0), np.zeros((0, 2))), PhotoEffects.none(0),
    )  # fmt: skip
