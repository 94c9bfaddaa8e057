"""The small moving world, seen by a rig of six cameras: four instants a second, of which two are key frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from moving_world import INSTANTS, moving_world
from worldline.worlds.cameras.rigs import RIG_SENSORS, draw_calibration, rig_cameras
from worldline.worlds.world import Motion, PhotoEffects, World

HEIGHT, WIDTH = 64, 112
RATE = 4.0  # instants per second


def ring_world(seed: int = 7) -> World:
    """Its poses are exact; the calibration is drawn from the seed."""
    world = moving_world(rig=True, open_air=True)
    cameras = rig_cameras(draw_calibration(np.random.default_rng(seed)), world.world_from_rig)
    return replace(
        world, seed=seed, cameras=cameras, sensors=RIG_SENSORS, photo=PhotoEffects.none(len(cameras.fov)),
        motion=Motion(np.arange(INSTANTS) / RATE, world.motion.world_from_body),
    )  # fmt: skip
