"""Points followed through the photos of a sensor, as TAP-Vid and TAPVid-3D define tracks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int, Int64

from worldline.errors import InputError
from worldline.worlds.truth.queries import TOLERANCE, Shots, carry, see
from worldline.worlds.truth.rays import Instants
from worldline.worlds.world import World

_TRIES = 32  # pixels looked at per track: moving things are often small


@dataclass(frozen=True)
class PointTracks:
    """Physical points at every instant of a video. All of them lie on a surface: queries into the sky are left out."""

    queries: Float64[np.ndarray, "n 3"]  # x, y in pixels (centres at integers) and t
    position: Float64[np.ndarray, "t n 3"]  # metres, in the camera of the same t (OpenCV axes)
    world: Float64[np.ndarray, "t n 3"]  # metres, world frame
    pixel: Float64[np.ndarray, "t n 2"]  # projections; 0 where the point is behind the camera
    visible: Bool[np.ndarray, "t n"]
    instance: Int64[np.ndarray, "n"]
    body: Int64[np.ndarray, "n"]
    moves: Bool[np.ndarray, "n"]  # carried by something that moves between the instants


def track(
    world: World, x: Float[np.ndarray, "n"], y: Float[np.ndarray, "n"], t: Int[np.ndarray, "n"], *, height: int,
    width: int, sensor: int | str | None = 0, tolerance: float = TOLERANCE, instants: Instants | None = None,
) -> PointTracks:  # fmt: skip
    """Follow the points that are seen at pixels (x, y) of photos t through all photos of a sensor.

    Args:
        x, y: pixels of the photo, centres at integers; between -0.5 and W - 0.5, H - 0.5.
        t: number of the photo, as in :func:`worldline.worlds.truth.query`.

    Raises:
        InputError: a pixel outside the photo or a photo that does not exist.
    """
    shots = Shots.of(world, height=height, width=width, sensor=sensor)
    x, y, t = (np.atleast_1d(np.asarray(a)) for a in (x, y, t))
    pixel = np.stack([x, y], -1).astype(np.float64)
    if not shots.inside(pixel).all():
        raise InputError(
            "A track starts outside the photo.",
            f"Pixels are within 0..{width - 1} and 0..{height - 1}, half a pixel more.",
        )
    if not np.issubdtype(t.dtype, np.integer) or (t.size and (t.min() < 0 or t.max() >= len(shots))):
        raise InputError(f"A track starts outside of 0..{len(shots) - 1}.", "t counts the photos of a sensor, from 0.")
    instants = instants or Instants(world)
    centers, rays = shots.world_from_cam[:, :3, 3], shots.directions(t, pixel)
    strikes = instants.cast(shots.frame, centers, t, rays)
    kept = np.flatnonzero(strikes.hit)
    met = (centers[t] + np.where(strikes.hit, strikes.distance, 0.0)[:, None] * rays)[kept]
    start, body = t[kept].astype(np.int64), strikes.body[kept]
    count, length = len(kept), len(shots)
    every = np.repeat(np.arange(length), count)  # t-major
    moved, _ = carry(
        world, np.tile(body, length), np.tile(shots.frame[start], length), shots.frame[every], np.tile(met, (length, 1))
    )
    (projected, _), visible = see(shots, instants, every, shots.frame[every], moved, tolerance)
    visible = visible.reshape(length, count)
    visible[start, np.arange(count)] = True  # it was seen there, whatever round-off says at grazing angles
    return PointTracks(
        queries=np.column_stack([pixel[kept], start]),
        position=shots.to_camera(every, moved).reshape(length, count, 3),
        world=moved.reshape(length, count, 3),
        pixel=projected.reshape(length, count, 2),
        visible=visible,
        instance=strikes.instance[kept],
        body=body,
        moves=world.motion.moves[body],
    )


def sample_tracks(
    world: World, count: int, *, height: int, width: int, sensor: int | str | None = 0, seed: int = 0,
    moving_share: float = 0.5, first_only: bool = False, instants: Instants | None = None,
) -> PointTracks:  # fmt: skip
    """Tracks that start at random pixels of random photos.

    Args:
        count: tracks; fewer come back only where most of the photos is sky.
        seed: of the choice of pixels; world, sensor and seed determine the tracks.
        moving_share: share of the tracks that is on moving things, as far as there are any in sight.
        first_only: start all of them in the first photo.
    """
    shots = Shots.of(world, height=height, width=width, sensor=sensor)
    if count < 1:
        raise InputError(f"{count} tracks were asked for.", "Ask for at least 1.")
    instants = instants or Instants(world)
    rng = np.random.default_rng([world.seed, seed])
    tries = _TRIES * count
    t = np.zeros(tries, np.int64) if first_only else rng.integers(0, len(shots), tries)
    x, y = rng.integers(0, width, tries), rng.integers(0, height, tries)
    pixel = np.stack([x, y], -1).astype(np.float64)
    strikes = instants.cast(shots.frame, shots.world_from_cam[:, :3, 3], t, shots.directions(t, pixel))
    moves = strikes.hit & world.motion.moves[np.maximum(strikes.body, 0)]
    moving, still = np.flatnonzero(moves), np.flatnonzero(strikes.hit & ~moves)
    wanted = min(len(moving), max(round(moving_share * count), count - len(still)))
    chosen = np.sort(np.concatenate([moving[:wanted], still[: count - wanted]]))
    return track(
        world, x[chosen], y[chosen], t[chosen], height=height, width=width, sensor=sensor, instants=instants
    )  # fmt: skip
