"""Spinning LiDAR sweeps: exact ranges along the beams of a sensor on a rig, or anywhere.

A sweep belongs to one instant: the scanner does not move while it turns, and neither does the world (real sweeps take
50-100 ms; rolling within a sweep is not modelled).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int32, Int64

from worldline.errors import InputError
from worldline.worlds.cameras.rigs import RIG_FROM_LIDAR
from worldline.worlds.truth.rays import Instants
from worldline.worlds.world import World, material_slices


@dataclass(frozen=True)
class LidarModel:
    """A scanner that turns about its z axis. LiDAR axes: x right, y forward, z up, as nuScenes has them."""

    elevations: tuple[float, ...]  # degrees above the horizon, by ring: the lowest beam first
    azimuths: int  # firings per turn
    reach: tuple[float, float] = (1.0, 100.0)  # metres between which a return is recorded
    noise: float = 0.0  # standard deviation of the range, metres
    dropout: float = 0.0  # share of returns that get lost

    def __post_init__(self) -> None:
        if not self.elevations or self.azimuths < 1 or not 0 <= self.reach[0] < self.reach[1]:
            raise InputError("This LiDAR has no beams or no reach.", "Give elevations, azimuths and 0 <= near < far.")
        if self.noise < 0 or not 0 <= self.dropout <= 1:
            raise InputError("The LiDAR's noise or drop-out is out of range.", "Noise is in metres, drop-out in 0..1.")

    def beams(self) -> tuple[Float64[np.ndarray, "n 3"], Int64[np.ndarray, "n"]]:
        """Unit directions in LiDAR axes, ring by ring and clockwise from straight ahead, and their rings."""
        elevation = np.radians(self.elevations)[:, None]
        azimuth = (2 * np.pi / self.azimuths) * np.arange(self.azimuths)[None]
        rows = np.stack(
            np.broadcast_arrays(
                np.cos(elevation) * np.sin(azimuth), np.cos(elevation) * np.cos(azimuth), np.sin(elevation)
            ),
            -1,
        )
        return rows.reshape(-1, 3), np.repeat(np.arange(len(self.elevations)), self.azimuths)


# 32 beams from -30.67 to +10.67 degrees in steps of 4/3, about 0.33 degrees between firings, good to 100 m
HDL32E = LidarModel(tuple(-30.67 + 4.0 / 3.0 * ring for ring in range(32)), 1084)


@dataclass(frozen=True)
class Sweep:
    """The returns of one turn; beams that met the sky, something too near or too far are left out."""

    points: Float32[np.ndarray, "n 3"]  # metres, LiDAR axes
    world: Float64[np.ndarray, "n 3"]  # the same points in the world frame
    intensity: Float32[np.ndarray, "n"]  # 0..255: mean albedo of the surface times the cosine of incidence
    ring: Int32[np.ndarray, "n"]
    instance: Int32[np.ndarray, "n"]
    body: Int32[np.ndarray, "n"]
    world_from_lidar: Float64[np.ndarray, "4 4"]
    time: float  # seconds


def sweep(
    world: World, frame: int = 0, *, model: LidarModel = HDL32E, world_from_lidar: np.ndarray | None = None,
    rig_from_lidar: np.ndarray = RIG_FROM_LIDAR, seed: int = 0, instants: Instants | None = None,
) -> Sweep:  # fmt: skip
    """One turn of a LiDAR at an instant.

    Args:
        frame: instant, row of ``world.motion.times``.
        world_from_lidar: where the scanner is; None: on the world's rig, at ``rig_from_lidar``.
        seed: of noise and drop-out, together with the world's own and the frame.

    Raises:
        InputError: no such instant, or a world without a rig and no place given.
    """
    if not 0 <= frame < len(world.motion.times):
        raise InputError(
            f"This world has no instant {frame}.", f"Choose one between 0 and {len(world.motion.times) - 1}."
        )
    if world_from_lidar is None:
        if world.world_from_rig is None:
            raise InputError(
                "This world has no rig that carries a LiDAR.", "Give world_from_lidar, or shoot with a rig."
            )
        world_from_lidar = world.world_from_rig[frame] @ rig_from_lidar
    pose = np.asarray(world_from_lidar, np.float64)
    beams, ring = model.beams()
    rays = beams @ pose[:3, :3].T
    instants = instants or Instants(world)
    strikes = instants.cast(np.array([frame]), pose[None, :3, 3], np.zeros(len(rays), np.int64), rays)
    rng = np.random.default_rng([world.seed, frame, seed])
    noise, lost = rng.normal(size=len(rays)), rng.random(len(rays)) < model.dropout  # drawn per beam, hit or not
    hit = strikes.hit & ~lost & (strikes.distance >= model.reach[0]) & (strikes.distance <= model.reach[1])
    reach = strikes.distance[hit] + model.noise * noise[hit]
    facing = np.abs((strikes.normal[hit] * rays[hit]).sum(-1))
    points = beams[hit] * reach[:, None]
    return Sweep(
        points.astype(np.float32),
        points @ pose[:3, :3].T + pose[:3, 3],
        (255.0 * np.clip(_albedo(world)[strikes.surface[hit]] * facing, 0.0, 1.0)).astype(np.float32),
        ring[hit].astype(np.int32),
        strikes.instance[hit].astype(np.int32),
        strikes.body[hit].astype(np.int32),
        pose,
        float(world.motion.times[frame]),
    )


def _albedo(world: World) -> Float64[np.ndarray, "s"]:
    """Mean of the first colour of every surface: the patterns on it are finer than a beam."""
    color = world.material_table[:, material_slices()["color_a"]].mean(1)
    return color[np.concatenate([world.shell_material, world.primitives.material])].astype(np.float64)
