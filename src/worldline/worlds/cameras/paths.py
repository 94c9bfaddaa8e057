"""Moving single cameras: a hand-held video, a walk at eye height, an orbit around something.

A path is a smooth function of the world's clock, which runs ``options.speed`` seconds per second; the photos are taken
at clock = speed * k / rate. So another rate sees the same path, and a longer clip begins with the shorter one: paths
are drawn knot after knot, and a knot is accepted by what is near it in space and time, whatever the clip's length.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64

from worldline.errors import InputError
from worldline.worlds.cameras import photos
from worldline.worlds.cameras.clearance import Poses, Surroundings, keep_away
from worldline.worlds.cameras.curves import Shake, angles_to, poses
from worldline.worlds.cameras.gaze import watch
from worldline.worlds.cameras.orbits import circle
from worldline.worlds.cameras.photos import PhotoPlan
from worldline.worlds.cameras.trails import Space, Trail, stroll, wander
from worldline.worlds.options import Streams, WorldOptions
from worldline.worlds.world import CameraSet, Motion, World

_WIDEST = 80.0  # degrees; films are not shot with the widest lenses of photo sets


def shoot(
    streams: Streams, world: World, plan: PhotoPlan, options: WorldOptions, motion: Poses | None = None
) -> CameraSet:
    """Cameras for any ``options.shooting`` but "rig": photos, or one pose per instant along a moving path.

    Args:
        streams: of the attempt; only ``cameras`` is drawn from.
        world: what stands where; its own cameras and motion are not looked at. Give the finished world
            ``motion=paths.resting(options)`` where nothing moves: one row per instant.
        plan: where the camera may be and what is worth looking at.
        options: see :class:`WorldOptions`.
        motion: ``world_from_body`` at moments of the clock, where bodies move.

    Raises:
        InputError: the scene has no place for the camera.
    """
    around, rng = Surroundings(world, motion), streams.cameras
    if options.shooting == "photos":
        return photos.sample_cameras(rng, around.at(0.0), plan, options)
    films: dict[str, Callable[..., CameraSet]] = {"video": video, "walk": walk, "orbit": orbit}
    if options.shooting not in films:
        raise InputError(f"A single camera cannot shoot {options.shooting!r}.", f"Choose one of: {', '.join(films)}.")
    return films[options.shooting](rng, around, plan, options)


def clock_of(options: WorldOptions) -> Float64[np.ndarray, "t"]:
    """Moments of the world's clock at which the instants of a clip are taken."""
    return options.speed * instants(options)


def instants(options: WorldOptions) -> Float64[np.ndarray, "t"]:
    """Seconds at which the instants of a clip are taken."""
    return np.arange(options.instants) / options.rate


def resting(options: WorldOptions, bodies: int = 1) -> Motion:
    """The motion of a world in which nothing moves: one row per instant."""
    return Motion(instants(options), np.broadcast_to(np.eye(4), (options.instants, bodies, 4, 4)).copy())


def video(rng: np.random.Generator, around: Surroundings, plan: PhotoPlan, options: WorldOptions) -> CameraSet:
    """A hand-held film: a wandering path, the gaze on things (moving ones first), slow sway and tremor."""
    clock, fov = clock_of(options), _lens(rng, plan)
    steadiness = rng.uniform(0.3, 1.0)
    pace = np.exp(rng.uniform(np.log(0.15), np.log(1.0)))
    move = Shake.draw(rng, 0.03 * steadiness, 0.0008 * steadiness)
    turn = Shake.draw(rng, np.radians(2.0) * steadiness, np.radians(0.15) * steadiness)
    looks, ways = rng.spawn(2)
    space = Space.of(around, plan, keep_away(plan, fov), slack=0.04)
    trail = wander(ways, space, clock[-1], pace)
    yaw, pitch = watch(looks, around, plan, fov, trail, clock)
    sway = turn.at(clock)
    return CameraSet.video(
        poses(trail.at(clock) + move.at(clock), yaw + sway[:, 0], pitch + sway[:, 1], sway[:, 2]), fov
    )


def walk(rng: np.random.Generator, around: Surroundings, plan: PhotoPlan, options: WorldOptions) -> CameraSet:
    """A person who walks and looks ahead, now and then aside: eye height, the bobbing of the gait, turns."""
    clock, fov = clock_of(options), _lens(rng, plan)
    eye, pace = rng.uniform(1.45, 1.75), rng.uniform(0.5, 1.3)
    stride, bob = rng.uniform(1.2, 1.5), rng.uniform(0.5, 1.0) * np.array([0.012, 0.025])  # metres: sideways, up
    turn = Shake.draw(rng, np.radians(1.2), np.radians(0.1))
    looks, ways = rng.spawn(2)
    space = Space.of(around, plan, keep_away(plan, fov), slack=0.03)
    trail = stroll(ways, space, clock[-1], pace, eye)
    yaw, pitch = watch(looks, around, plan, fov, trail, clock, ahead=True)
    phase, share = _gait(trail, clock, stride)
    place = trail.at(clock)
    aside = share * bob[0] * np.sin(phase)
    place += np.stack([np.sin(yaw) * aside, -np.cos(yaw) * aside, share * bob[1] * np.sin(2 * phase)], -1)
    sway = turn.at(clock)
    roll = sway[:, 2] + share * np.radians(0.5) * np.sin(phase)
    return CameraSet.video(poses(place, yaw + sway[:, 0], pitch + sway[:, 1], roll), fov)


def _gait(
    trail: Trail, clock: Float64[np.ndarray, "t"], stride: float
) -> tuple[Float64[np.ndarray, "t"], Float64[np.ndarray, "t"]]:
    """Phase of the double step by the way that was gone, and how fully it is stepped (0 standing, 1 walking)."""
    grid = np.arange(0.0, clock[-1] + 0.1, 1.0 / 60)
    steps = np.linalg.norm(np.diff(trail.at(grid), axis=0), axis=1)
    gone = np.concatenate([[0.0], np.cumsum(steps)])
    speed = np.concatenate([steps[:1], steps]) * 60
    return 2 * np.pi * np.interp(clock, grid, gone) / stride, np.tanh(np.interp(clock, grid, speed) / 0.5)


def orbit(rng: np.random.Generator, around: Surroundings, plan: PhotoPlan, options: WorldOptions) -> CameraSet:
    """Around a target: a full circle or to and fro on a part of it, at a varying height and distance."""
    clock, fov = clock_of(options), _lens(rng, plan)
    sway = Shake.draw(rng, np.radians(1.0), np.radians(0.05))
    space = Space.of(around, plan, keep_away(plan, fov), slack=0.0)
    path = circle(rng, space, plan, fov, clock[-1])
    place = path.at(clock)
    yaw, pitch = angles_to(path.target - place)
    lean = sway.at(clock)
    return CameraSet.video(poses(place, yaw + lean[:, 0], pitch + lean[:, 1], lean[:, 2]), fov)


def _lens(rng: np.random.Generator, plan: PhotoPlan) -> float:
    """Field of view of a film, radians."""
    return float(np.radians(rng.uniform(min(plan.fov[0], _WIDEST), min(plan.fov[1], _WIDEST))))
