"""Streams of pointmaps as a network would give them, made from exact depth: own unit per sensor and fragment, noise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from worldline.scene.align.rig import SensorMap
from worldline.types import ImageTransform, Rig


@dataclass(frozen=True)
class Noise:
    """Errors of a network, relative where not said otherwise; zeros are exact maps."""

    smooth: float = 0.0  # depth, a random surface of a few bumps per image, anew in every frame
    lasting: float = 0.0  # depth, the same kind of surface, the same in all frames of a fragment
    pixel: float = 0.0  # depth, independent per pixel
    sideways: float = 0.0  # of the depth, in all directions, per pixel
    drift: float = 0.0  # camera centre, of the way since the anchor
    wobble: float = 0.0  # camera centre, of the median depth
    turn: float = 0.0  # degrees, per axis
    focal: float = 0.0  # per fragment
    outliers: float = 0.0  # share of the pixels with a wrong depth

    @classmethod
    def realistic(cls) -> Noise:
        """What docs/rig_alignment.md measures with."""
        return cls(0.04, 0.04, 0.02, 0.005, 0.015, 0.002, 0.1, 0.02, 0.05)


@dataclass(frozen=True)
class Drive:
    """Exact depth along a drive. World frame: metres, z up."""

    depth: np.ndarray  # [step, sensor, height, width], 0 in the sky
    intrinsics: np.ndarray  # [sensor, 3, 3]
    world_from_rig: np.ndarray  # [step, 4, 4]
    rig_from_cam: np.ndarray  # [sensor, 4, 4]
    times: np.ndarray  # [step]
    sensors: tuple[str, ...]
    lidar: np.ndarray | None = None  # [step, n, 3], rig frame

    @property
    def rig(self) -> Rig:
        """Everything calibrated, the road at height 0."""
        size = self.depth.shape[2:]
        return Rig(self.sensors, self.intrinsics, self.rig_from_cam, (size,) * len(self.sensors), 0.0)

    def choose(self, rows: list[int]) -> Drive:
        """Some of the cameras."""
        return Drive(
            self.depth[:, rows], self.intrinsics[rows], self.world_from_rig, self.rig_from_cam[rows], self.times,
            tuple(self.sensors[row] for row in rows), self.lidar,
        )  # fmt: skip

    def speeds(self) -> np.ndarray:
        """Metres per second of the rig's origin between steps, as the wheels say."""
        way = np.linalg.norm(np.diff(self.world_from_rig[:, :3, 3], axis=0), axis=1) / np.diff(self.times)
        middle = 0.5 * (way[1:] + way[:-1]) if len(way) > 1 else way[:0]
        return np.r_[way[0], middle, way[-1]]


@dataclass(frozen=True)
class Push:
    """What one update of the aligner is given, and the truth."""

    step: int
    maps: dict[str, SensorMap]
    scales: dict[str, float]  # metres per unit


def street_drive(seed: int, steps: int, *, height: int = 64, width: int = 112, rate: float = 4.0) -> Drive:
    """A drive through a street of the data engine, all six cameras."""
    from worldline.worlds.cameras.rigs import RIG_FROM_LIDAR
    from worldline.worlds.sampling import sample
    from worldline.worlds.truth import sweep

    shot = sample("street", seed, views=6 * steps, height=height, width=width, rate=rate, shooting="rig", effects=0.0)
    world = shot.world
    poses = world.world_from_rig
    assert poses is not None
    mounts = np.linalg.inv(poses[0]) @ shot.world_from_cam.numpy()[:6]
    turns = [sweep(world, step).points[::16] for step in range(steps)]
    count = min(map(len, turns))
    lidar = np.stack([t[np.linspace(0, len(t) - 1, count).astype(int)] for t in turns])
    return Drive(
        shot.depth.numpy().reshape(steps, 6, height, width), shot.intrinsics.numpy()[:6], poses, mounts,
        world.motion.times, world.sensors, lidar @ RIG_FROM_LIDAR[:3, :3].T + RIG_FROM_LIDAR[:3, 3],
    )  # fmt: skip


def pushes(
    drive: Drive, *, noise: Noise = Noise(), seed: int = 0, every: int | None = None, shared: bool = True,
    spread: float = 1.0,
) -> Iterator[Push]:  # fmt: skip
    """The stream of a drive.

    Args:
        every: steps after which a fragment ends; None: never.
        shared: the last image of a fragment comes again as the first of the next.
        spread: standard deviation of the logarithm of the units.
    """
    rng = np.random.default_rng(seed)
    fragment, start, truth = -1, 0, None
    for step in range(len(drive.times)):
        new = fragment < 0 or (every is not None and step - start >= every)
        if not new or (fragment >= 0 and shared):
            yield _push(drive, truth, fragment, start, step, noise, rng)
        if new:
            fragment, start = fragment + 1, step
            truth = _Fragment.draw(drive, noise, spread, rng)
            yield _push(drive, truth, fragment, start, step, noise, rng)


@dataclass(frozen=True)
class _Fragment:
    """What stays the same within a fragment."""

    scales: np.ndarray  # metres per unit
    focals: np.ndarray  # factors
    surfaces: np.ndarray  # log depth errors
    drifts: np.ndarray  # vectors of drift per metre

    @classmethod
    def draw(cls, drive: Drive, noise: Noise, spread: float, rng: np.random.Generator) -> _Fragment:
        sensors, (height, width) = len(drive.sensors), drive.depth.shape[2:]
        return cls(
            np.exp(rng.normal(1.0, spread, sensors)), np.exp(noise.focal * rng.normal(size=sensors)),
            np.stack([noise.lasting * _surface(height, width, rng) for _ in range(sensors)]),
            noise.drift * rng.normal(size=(sensors, 3)),
        )  # fmt: skip


def _surface(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A smooth random field of unit variance: bumps of about a quarter of the image."""
    coarse = rng.normal(size=(5, 8))
    rows, columns = np.linspace(0, 3.999, height), np.linspace(0, 6.999, width)
    i, j = rows.astype(int), columns.astype(int)
    fy, fx = (rows - i)[:, None], (columns - j)[None]
    field = (coarse[i][:, j] * (1 - fx) + coarse[i][:, j + 1] * fx) * (1 - fy)
    field = field + (coarse[i + 1][:, j] * (1 - fx) + coarse[i + 1][:, j + 1] * fx) * fy
    return field / 0.67


def _push(
    drive: Drive, truth: _Fragment, fragment: int, start: int, step: int, noise: Noise, rng: np.random.Generator
) -> Push:
    maps, scales = {}, {}
    for row, name in enumerate(drive.sensors):
        maps[name] = _map(drive, truth, row, fragment, start, step, noise, rng)
        scales[name] = float(truth.scales[row])
    return Push(step, maps, scales)


def _map(
    drive: Drive, truth: _Fragment, row: int, fragment: int, start: int, step: int, noise: Noise,
    rng: np.random.Generator,
) -> SensorMap:  # fmt: skip
    depth = drive.depth[step, row].astype(np.float64)
    height, width = depth.shape
    sky = depth <= 0
    depth = np.where(sky, 200.0 * np.exp(rng.normal(0, 0.5, depth.shape)) if noise != Noise() else 200.0, depth)
    logs = (
        truth.surfaces[row] + noise.smooth * _surface(height, width, rng) + noise.pixel * rng.normal(size=depth.shape)
    )
    wrong = rng.random(depth.shape) < noise.outliers
    depth = depth * np.exp(logs) * np.where(wrong, np.exp(rng.normal(0, 0.7, depth.shape)), 1.0)
    matrix = drive.intrinsics[row].copy()
    matrix[0, 0] *= truth.focals[row]
    matrix[1, 1] *= truth.focals[row]
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(matrix).T
    points = depth[..., None] * (rays + noise.sideways * rng.normal(size=rays.shape))
    pose = _relative(drive, row, start, step)
    if step != start:
        pose = _disturb(pose, truth.drifts[row], float(np.median(depth[~sky])), noise, rng)
    points = points @ pose[:3, :3].T + pose[:3, 3]
    confidence = np.where(sky, 1.0, 1.0 + np.exp(rng.normal(1.0, 0.5, depth.shape)))
    return SensorMap(
        (points / truth.scales[row]).astype(np.float32), confidence.astype(np.float32),
        ImageTransform.identity(height, width), fragment, step == start,
    )  # fmt: skip


def _relative(drive: Drive, row: int, start: int, step: int) -> np.ndarray:
    """anchor_from_cam, metres."""
    mount = drive.rig_from_cam[row]
    return np.linalg.inv(drive.world_from_rig[start] @ mount) @ drive.world_from_rig[step] @ mount


def _disturb(pose: np.ndarray, drift: np.ndarray, depth: float, noise: Noise, rng: np.random.Generator) -> np.ndarray:
    a, b, c = np.radians(noise.turn) * rng.normal(size=3)
    small = np.array([[1, -c, b], [c, 1, -a], [-b, a, 1]])
    left, _, right = np.linalg.svd(small)
    result = pose.copy()
    result[:3, :3] = left @ right @ pose[:3, :3]
    result[:3, 3] += drift * np.linalg.norm(pose[:3, 3]) + noise.wobble * depth * rng.normal(size=3)
    return result
