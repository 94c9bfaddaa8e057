"""Endless synthetic drives: a few rendered instants of a street, or noise, shown forwards and backwards in turn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64, UInt8

from worldline.errors import InputError
from worldline.types import Rig

INTERVAL = 0.5  # seconds between steps: key frames of nuScenes


@dataclass(frozen=True, eq=False)
class BenchDrive:
    """Images of a calibrated rig with its poses; :meth:`step` repeats them for ever without a jump."""

    kind: str  # what the images show
    rig: Rig
    images: UInt8[np.ndarray, "instant sensor height width 3"]
    world_from_rig: Float64[np.ndarray, "instant 4 4"]

    @property
    def period(self) -> int:
        """Steps after which the images repeat."""
        return 2 * (len(self.images) - 1)

    def step(
        self, number: int
    ) -> tuple[float, dict[str, UInt8[np.ndarray, "height width 3"]], Float64[np.ndarray, "4 4"]]:
        """Timestamp in seconds, images by sensor and world_from_rig of a step: there and back again."""
        last = len(self.images) - 1
        place = last - abs(number % self.period - last)
        shown = dict(zip(self.rig.sensors, self.images[place], strict=True))
        return number * INTERVAL, shown, self.world_from_rig[place]

    def cameras(self, count: int) -> BenchDrive:
        """The drive as its first cameras see it: front, front left, front right, back, back left, back right."""
        if not 1 <= count <= len(self.rig):
            raise InputError(f"A rig of {count} cameras was asked for.", f"Choose 1 to {len(self.rig)}.")
        rig = self.rig
        assert rig.intrinsics is not None and rig.rig_from_cam is not None and rig.sizes is not None
        chosen = Rig(
            rig.sensors[:count], rig.intrinsics[:count], rig.rig_from_cam[:count], rig.sizes[:count], rig.ground
        )
        return replace(self, rig=chosen, images=self.images[:, :count])


def street_drive(size: tuple[int, int], instants: int = 8, seed: int = 0) -> BenchDrive:
    """A drive through a test street of :mod:`worldline.worlds` with six cameras, two images per second and camera.

    Args:
        size: height and width of the images.
        instants: rendered moments, 2 or more.
        seed: which street of the test split.
    """
    from worldline import worlds

    _check(instants)
    views = 6 * instants
    sample = worlds.sample(
        "street", worlds.TEST_SEEDS[seed], views=views, height=size[0], width=size[1], shooting="rig", rate=1 / INTERVAL
    )
    world, sensors = sample.world, sample.world.sensors
    assert world.world_from_rig is not None
    images = sample.images.numpy().reshape(instants, len(sensors), *size, 3)
    poses = np.asarray(world.world_from_rig, np.float64)
    mounts = np.linalg.inv(poses[0]) @ sample.world_from_cam[: len(sensors)].numpy()
    intrinsics = sample.intrinsics[: len(sensors)].numpy()
    rig = Rig(sensors, intrinsics, mounts, (size,) * len(sensors), ground=0.0)
    return BenchDrive(f"street {sample.seed}", rig, images, poses)


def noise_drive(size: tuple[int, int], instants: int = 8, seed: int = 0) -> BenchDrive:
    """Random pixels on the rig of a street, which moves 5 m per step: for the time of the network alone."""
    from worldline.worlds.cameras.rigs import draw_calibration

    _check(instants)
    rng = np.random.default_rng(seed)
    calibration = draw_calibration(rng)
    count = len(calibration.sensors)
    intrinsics = np.tile(np.eye(3), (count, 1, 1))
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = size[1] / (2 * np.tan(calibration.fov / 2))
    intrinsics[:, :2, 2] = (size[1] - 1) / 2, (size[0] - 1) / 2
    poses = np.tile(np.eye(4), (instants, 1, 1))
    poses[:, 0, 3] = 5.0 * np.arange(instants)
    images = rng.integers(0, 256, (instants, count, *size, 3), dtype=np.uint8)
    rig = Rig(calibration.sensors, intrinsics, calibration.rig_from_cam, (size,) * count, ground=0.0)
    return BenchDrive("noise", rig, images, poses)


def _check(instants: int) -> None:
    if instants < 2:
        raise InputError(f"A drive of {instants} instants does not move.", "Give 2 or more.")
