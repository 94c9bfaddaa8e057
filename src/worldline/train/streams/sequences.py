"""From drives to what a training step of a stream model sees: some neighbouring cameras over some steps.

As for still scenes, a *draft* is decided on the processor and *developed* on the device that trains.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from worldline.errors import InputError
from worldline.train.appearance import Appearance, ColorChange
from worldline.train.correspondence import Cameras, cameras_of, token_matches
from worldline.train.precise import turned
from worldline.train.streams.drives import Drive, mirror_drive, shrink_drive
from worldline.train.supervision import Corruption, corrupt

_COLOR_SHARES = (0.95, 0.15)  # of a drive, of a single image: one car's cameras differ little, and little in time


@dataclass(frozen=True)
class StreamBatch:
    """What one training step sees. Points of a sensor lie in the frame of its own camera at step 0, metres."""

    images: Float[Tensor, "drive sensor step 3 height width"]  # in [-1, 1]
    points: Float[Tensor, "drive sensor step height width 3"]
    valid: Bool[Tensor, "drive sensor step height width"]
    dynamic: Bool[Tensor, "drive sensor step height width"]  # shows something that moves
    relative: Float[Tensor, "drive sensor neighbor 3 4"]  # reader_from_neighbor, metres
    neighbors: Int[Tensor, "sensor neighbor"] | None  # rows of the sensors that a sensor reads; None: its own only
    keep: float  # share of the stored images that reads see
    focused: bool  # the loss sees moving things only
    matches: Int[Tensor, "drive view view token"] | None  # see token_matches; views are sensor-major

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device."""
        return replace(self, **_changed(self, lambda part: part.to(device)))


@dataclass(frozen=True)
class StreamDraft:
    """A batch before any pixel is computed."""

    images: UInt8[Tensor, "drive sensor step height width 3"]
    depth: Float[Tensor, "drive sensor step height width"]  # along the optical axis, as stored; 0 = invalid
    dynamic: Bool[Tensor, "drive sensor step height width"]
    start_from_pixel: Float[
        Tensor, "drive sensor step 3 3"
    ]  # turns pixels into rays of depth 1, in the frame of step 0
    start_from_cam: Float[Tensor, "drive sensor step 3"]  # where the camera is in that frame
    relative: Float[Tensor, "drive sensor neighbor 3 4"]
    neighbors: Int[Tensor, "sensor neighbor"] | None
    keep: float
    focused: bool
    farthest: float | None
    cameras: Cameras | None  # of all images, sensor-major, for their correspondences; None: those are not asked for
    colors: ColorChange | None  # None: as they are

    def to(self, device: torch.device | str) -> Self:
        """The same draft on another device."""
        return self._with(lambda part: part.to(device, non_blocking=True))

    def pinned(self) -> Self:
        """The same draft in page-locked memory, from where it moves to a CUDA device beside the computation."""
        return self._with(Tensor.pin_memory)

    def develop(self) -> StreamBatch:
        """Everything that a step needs, on the device of the draft."""
        depth = self.depth.float()
        valid = torch.isfinite(depth) & (depth > 0)
        if self.farthest is not None:
            valid = valid & (depth <= self.farthest)
        colors = self.images.float() / 255
        if self.colors is not None:
            colors = self.colors.apply(colors.flatten(1, 2)).view_as(colors)
        images = (2 * colors - 1).movedim(-1, -3).contiguous()
        points = pointmaps(torch.where(valid, depth, 0.0), self.start_from_pixel, self.start_from_cam)
        matches = None
        if self.cameras is not None:
            still = torch.where(valid & ~self.dynamic, depth, 0.0).flatten(1, 2)
            matches = token_matches(still, self.cameras)
        return StreamBatch(
            images, points, valid, self.dynamic & valid, self.relative, self.neighbors, self.keep, self.focused, matches
        )  # fmt: skip

    def _with(self, change: Callable[[Tensor], Tensor]) -> Self:
        colors = None if self.colors is None else self.colors.with_parts(change)
        cameras = None if self.cameras is None else Cameras(*map(change, self.cameras))
        return replace(self, **_changed(self, change), colors=colors, cameras=cameras)


def _changed(parts: object, change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Fields that are tensors, changed."""
    return {name: change(value) for name, value in vars(parts).items() if isinstance(value, Tensor)}


def pointmaps(
    depth: Float[Tensor, "*view height width"],
    start_from_pixel: Float[Tensor, "*view 3 3"],
    start_from_cam: Float[Tensor, "*view 3"],
) -> Float[Tensor, "*view height width 3"]:
    """Point of every pixel centre; that of the camera where the depth is 0."""
    height, width = depth.shape[-2:]
    rows, columns = torch.meshgrid(
        torch.arange(height, device=depth.device), torch.arange(width, device=depth.device), indexing="ij"
    )
    pixels = torch.stack([columns, rows, torch.ones_like(rows)], -1).to(depth.dtype)
    rays = turned(pixels, start_from_pixel[..., None, None, :, :])
    return rays * depth[..., None] + start_from_cam[..., None, None, :]


@dataclass(frozen=True)
class SequenceOptions:
    """What is drawn from drives; the fields are those of the stream recipe and its stages."""

    steps: int
    sensors: int
    size: tuple[int, int]  # height and width
    alone: float = 0.0
    keep: tuple[float, float] = (1.0, 1.0)
    focus: float = 0.0
    skip_steps: float = 0.0
    reverse: float = 0.0
    farthest: float | None = None
    corruption: Corruption = field(default_factory=Corruption)
    matched: float = 0.0
    augment: bool = True
    appearance: Appearance = field(default_factory=Appearance)


def draw_sequences(drives: Sequence[Drive], options: SequenceOptions, rng: np.random.Generator) -> StreamDraft:
    """Of every drive some cameras next to each other over some steps, some mirrored, all recoloured.

    Raises:
        InputError: a drive has too few steps or sensors, or its images cannot be reduced to the size.
    """
    drawn = [draw_sequence(drive, options, rng) for drive in drives]
    around = options.sensors == drives[0].world_from_cam.shape[1] and options.sensors > 2  # the ring closes
    neighbors = None if rng.random() < options.alone else ring_neighbors(options.sensors, around)
    rows = np.zeros((options.sensors, 0), int) if neighbors is None else neighbors
    rays, places = zip(*(start_frames(drive) for drive in drawn), strict=True)
    views, matched = options.sensors * options.steps, bool(rng.random() < options.matched)
    return StreamDraft(
        images=_sensor_major(drive.images for drive in drawn),
        depth=_sensor_major(corrupt(drive.depth, options.corruption, rng) for drive in drawn),
        dynamic=_sensor_major(drive.dynamic for drive in drawn),
        start_from_pixel=_single(rays),
        start_from_cam=_single(places),
        relative=_single([relative_poses(drive.world_from_cam[0], rows) for drive in drawn]),
        neighbors=None if neighbors is None else torch.from_numpy(neighbors),
        keep=1.0 if matched else float(rng.uniform(*options.keep)),
        focused=bool(rng.random() < options.focus),
        farthest=options.farthest,
        cameras=_cameras(drawn) if matched else None,
        colors=ColorChange.draw(len(drawn), views, rng, _COLOR_SHARES, options.appearance) if options.augment else None,
    )


def draw_sequence(drive: Drive, options: SequenceOptions, rng: np.random.Generator) -> Drive:
    """The part of a drive that a step sees, at the size of the step."""
    steps, sensors = drive.depth.shape[:2]
    if steps < options.steps or sensors < options.sensors:
        raise InputError(
            f"A step asks for {options.steps} steps of {options.sensors} sensors, a drive has {steps} of {sensors}.",
            "Render longer drives, or ask for less.",
        )
    stride = 2 if 2 * options.steps - 1 <= steps and rng.random() < options.skip_steps else 1
    start = int(rng.integers(steps - stride * (options.steps - 1)))
    times = [start + stride * step for step in range(options.steps)]
    if rng.random() < options.reverse:
        times.reverse()
    first = int(rng.integers(sensors)) if options.augment else 0
    part = shrink_drive(drive.choose(times, [(first + k) % sensors for k in range(options.sensors)]), options.size)
    return mirror_drive(part) if options.augment and rng.random() < 0.5 else part


def ring_neighbors(sensors: int, around: bool) -> Int[np.ndarray, "sensor neighbor"] | None:
    """For sensors in ring order the rows of the two nearest others of each (of one, where there are only two).

    Args:
        around: the last one stands beside the first; otherwise those at the ends read the two on their one side.
    """
    if sensors == 1:
        return None
    if sensors == 2:
        return np.array([[1], [0]])
    if around:
        return np.array([[(row - 1) % sensors, (row + 1) % sensors] for row in range(sensors)])
    middle = [[row - 1, row + 1] for row in range(1, sensors - 1)]
    return np.array([[1, 2], *middle, [sensors - 2, sensors - 3]])


def relative_poses(
    world_from_cam: Float[np.ndarray, "sensor 4 4"], neighbors: Int[np.ndarray, "sensor neighbor"]
) -> Float[np.ndarray, "sensor neighbor 3 4"]:
    """reader_from_neighbor of cameras at one moment."""
    reader_from_world = np.linalg.inv(world_from_cam.astype(np.float64))
    return (reader_from_world[:, None] @ world_from_cam[neighbors])[:, :, :3]


def start_frames(drive: Drive) -> tuple[Float[np.ndarray, "sensor step 3 3"], Float[np.ndarray, "sensor step 3"]]:
    """What :func:`pointmaps` needs, in double precision: drives may be far from the origin of their world."""
    poses = drive.world_from_cam.swapaxes(0, 1).astype(np.float64)
    start_from_cam = np.linalg.inv(poses[:, :1]) @ poses
    cam_from_pixel = np.linalg.inv(drive.intrinsics.astype(np.float64))[:, None]
    return start_from_cam[..., :3, :3] @ cam_from_pixel, start_from_cam[..., :3, 3]


def _cameras(drives: Sequence[Drive]) -> Cameras:
    """All images of every drive, sensor-major."""
    steps = len(drives[0].times)
    intrinsics = np.stack([np.repeat(drive.intrinsics, steps, 0) for drive in drives])
    poses = np.stack([drive.world_from_cam.swapaxes(0, 1).reshape(-1, 4, 4) for drive in drives])
    return cameras_of(intrinsics, poses)


def _sensor_major(parts: Iterable[np.ndarray]) -> Tensor:
    """Arrays [step, sensor, …] of drives as one tensor [drive, sensor, step, …]."""
    return torch.from_numpy(np.ascontiguousarray(np.stack([part.swapaxes(0, 1) for part in parts])))


def _single(parts: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(parts).astype(np.float32))
