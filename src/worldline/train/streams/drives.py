"""Drives: what a rig of cameras saw on its way, with exact depth, as rendered once and kept in a pool.

One safetensors file per drive, named after layout and seed like the scenes of :mod:`worldline.train.data`::

    images [T,S,H,W,3] uint8 · depth [T,S,H,W] float16, metres along the optical axis, 0 = invalid
    dynamic [T,S,H,W] bool · intrinsics [S,3,3] · world_from_cam [T,S,4,4] float32 · times [T] float64, seconds

Steps are in time order, sensors in ring order: counter-clockwise seen from above, so neighbours are adjacent and the
last one is a neighbour of the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, UInt8
from safetensors import SafetensorError
from safetensors.numpy import save_file

from worldline.errors import InputError
from worldline.train.data import mapped_arrays, shrink_pixels

if TYPE_CHECKING:
    from worldline.worlds import WorldSample

STEPS = (8, 10)  # fewest and most steps of a rendered drive: short enough to render, long enough to choose from
ASPECT = 16 / 9  # width of the images divided by their height, before it is rounded to whole patches
RATE = (2.0, 6.0)  # steps per second: the key frames of nuScenes, and half of its sweeps
_OPTIONS = 10  # separates this random stream from other uses of the seed


@dataclass(frozen=True)
class Drive:
    """Images of all sensors at all steps with exact depth and cameras."""

    images: UInt8[np.ndarray, "step sensor height width 3"]
    depth: Float[np.ndarray, "step sensor height width"]  # along the optical axis; 0 = invalid
    dynamic: Bool[np.ndarray, "step sensor height width"]  # shows something that moves during the drive
    intrinsics: Float[np.ndarray, "sensor 3 3"]  # pixels of exactly these images
    world_from_cam: Float[np.ndarray, "step sensor 4 4"]
    times: Float[np.ndarray, "step"]  # seconds

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        height, width = self.depth.shape[2:]
        return height, width

    def choose(self, steps: Sequence[int], sensors: Sequence[int]) -> Drive:
        """The given steps and sensors, in the given orders."""
        pairs = np.ix_(list(steps), list(sensors))
        return Drive(
            self.images[pairs], self.depth[pairs], self.dynamic[pairs], self.intrinsics[list(sensors)],
            self.world_from_cam[pairs], self.times[list(steps)],
        )  # fmt: skip


def wide_shape(height: int, aspect: float = ASPECT, patch: int = 16) -> tuple[int, int]:
    """Height and width of images of so many rows, the width in whole patches."""
    return height, max(1, round(height * aspect / patch)) * patch


def check_rigs(layouts: Sequence[tuple[str, float]]) -> None:
    """Raise InputError unless all layouts can be shot by a rig."""
    from worldline.worlds import LAYOUTS

    for name, _ in layouts:
        if "rig" not in LAYOUTS[name].shooting:
            able = [other for other, kind in LAYOUTS.items() if "rig" in kind.shooting]
            raise InputError(f"The layout {name} has no rig of cameras.", f"Choose from: {', '.join(able)}.")


def from_stream(sample: WorldSample) -> Drive:
    """A sample of shooting "rig" or "video" as the pool stores it."""
    sensors = len(sample.world.sensors)
    steps = len(sample.images) // sensors
    poses = sample.world_from_cam.cpu().numpy().reshape(steps, sensors, 4, 4)
    ring = ring_order(poses[0])

    def arranged(values: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(values.reshape(steps, sensors, *values.shape[1:])[:, ring])

    depth = np.where(sample.valid.cpu().numpy(), sample.depth.cpu().numpy(), 0)
    return Drive(
        arranged(sample.images.cpu().numpy()),
        arranged(depth),
        arranged(sample.dynamic.cpu().numpy()),
        arranged(sample.intrinsics.float().cpu().numpy())[0],
        poses[:, ring].astype(np.float32),
        sample.times.reshape(steps, sensors)[:, 0],
    )


def ring_order(world_from_cam: Float[np.ndarray, "sensor 4 4"]) -> list[int]:
    """Sensors by the azimuth of their optical axes, counter-clockwise seen from above, beginning with the first."""
    azimuth = np.arctan2(world_from_cam[:, 1, 2], world_from_cam[:, 0, 2])
    return [int(row) for row in np.argsort((azimuth - azimuth[0] + 1e-6) % (2 * np.pi), kind="stable")]


def render_drive(
    layout: str, seed: int, size: tuple[int, int], device: str = "cpu", steps: int | None = None, compile: bool = False
) -> Drive:
    """Drive through a world with its six-camera rig; length and rate follow from the seed.

    Args:
        layout: one that can be shot as a "rig".
        size: height and width of the images.
        steps: another length than the seed's.

    Raises:
        InputError: the layout has no rig.
        NoPlaceError: the seed has no place for it.
    """
    from worldline import worlds
    from worldline.worlds.cameras.rigs import RIG_SENSORS

    rng = np.random.default_rng([_OPTIONS, seed])
    drawn, rate = int(rng.integers(STEPS[0], STEPS[1] + 1)), float(np.exp(rng.uniform(*np.log(RATE))))
    views = (drawn if steps is None else steps) * len(RIG_SENSORS)
    height, width = size
    (sample,) = worlds.sample_batch(
        layout, [seed], views=views, height=height, width=width, device=device, compile=compile, shooting="rig",
        rate=rate,
    )  # fmt: skip
    return from_stream(sample)


def shrink_drive(drive: Drive, size: tuple[int, int]) -> Drive:
    """Reduce the images to so many rows and columns by an integer factor. What moves stays visible in the mask.

    Raises:
        InputError: there is no such factor.
    """
    height, width = drive.size
    if drive.size == size:
        return drive
    factor = height // size[0]
    if not factor or (height, width) != (factor * size[0], factor * size[1]):
        raise InputError(
            f"Drives of {height}×{width} pixels cannot be reduced to {size[0]}×{size[1]}.",
            "Render them at a multiple of the size.",
        )
    images, depth, intrinsics = shrink_pixels(drive.images, drive.depth, drive.intrinsics, factor)
    dynamic = np.logical_or.reduce(
        [drive.dynamic[..., row::factor, column::factor] for row, column in np.ndindex(factor, factor)]
    )
    return Drive(images, depth, dynamic, intrinsics, drive.world_from_cam, drive.times)


def mirror_drive(drive: Drive) -> Drive:
    """The drive seen in a mirror: images flipped left to right, cameras with x negated, the ring turned around."""
    flip = np.diag([-1.0, 1.0, 1.0, 1.0]).astype(np.float32)
    intrinsics = drive.intrinsics[::-1].copy()
    intrinsics[:, 0, 2] = drive.size[1] - 1 - intrinsics[:, 0, 2]
    images, depth, dynamic = (
        np.ascontiguousarray(np.flip(values, (1, 3))) for values in (drive.images, drive.depth, drive.dynamic)
    )
    poses = flip @ drive.world_from_cam[:, ::-1] @ flip
    return Drive(images, depth, dynamic, intrinsics, poses, drive.times)


def save_drive(drive: Drive, path: Path) -> None:
    """Write one drive; the file appears complete or not at all."""
    tensors = {name: np.ascontiguousarray(value) for name, value in vars(drive).items()}
    tensors["depth"] = tensors["depth"].astype(np.float16)
    partial = path.with_suffix(".partial")
    save_file(tensors, partial)
    partial.replace(path)


def load_drive(path: Path) -> Drive:
    """Read one drive of a pool.

    Raises:
        InputError: the file is no drive.
    """
    try:
        return Drive(**mapped_arrays(path))
    except (SafetensorError, TypeError) as error:
        raise InputError(f"{path} is not a drive of a training pool ({error}).", "Delete the file.") from error
