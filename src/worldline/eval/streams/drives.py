"""Drives: what a rig saw on its way through a street of the data engine, with everything that is true of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float16, Float32, Float64, UInt8
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from worldline.errors import InputError
from worldline.eval.motion import point_motion
from worldline.eval.streams.lighting import LIGHTS, relit
from worldline.eval.worlds_truth import worlds_version
from worldline.files import make_folder, replacing_file, reporting
from worldline.types import Camera, Rig
from worldline.worlds import WorldSample, describe, render
from worldline.worlds.cameras.rigs import RIG_SENSORS
from worldline.worlds.world import World, choose_rows

RATE = 4.0  # steps per second: twice the key frames of nuScenes
HEIGHT, WIDTH = 128, 224  # what the embedded weights were trained at


@dataclass(frozen=True)
class DriveSpec:
    """Which drive. Equal specs give equal pixels."""

    seed: int  # from worldline.worlds.TEST_SEEDS
    steps: int = 8
    rate: float = RATE  # steps per second
    height: int = HEIGHT
    width: int = WIDTH
    sensors: tuple[str, ...] = RIG_SENSORS
    light: str = "own"  # one of LIGHTS; own: the daylight that the seed drew

    def __post_init__(self) -> None:
        if self.light not in LIGHTS:
            raise InputError(f"There is no light {self.light!r}.", f"Choose one of: {', '.join(LIGHTS)}.")
        if unknown := sorted(set(self.sensors) - set(RIG_SENSORS)):
            raise InputError(f"The rig has no sensor {unknown[0]!r}.", f"It has: {', '.join(RIG_SENSORS)}.")
        if self.steps < 2 or self.rate <= 0 or not self.sensors:
            raise InputError("A drive has 2 or more steps, a positive rate and a camera.", "Ask for more.")

    @property
    def name(self) -> str:
        """For files and messages."""
        cameras = "rig" if self.sensors == RIG_SENSORS else "-".join(self.sensors)
        size = f"{self.height}x{self.width}"
        return f"street-{self.seed}-{self.steps}at{self.rate:g}Hz-{size}-{self.light}-{cameras}"


@dataclass(frozen=True, eq=False)
class StreamDrive:
    """A rendered drive. World frame: metres, z up; rig frame as :class:`worldline.types.Rig`."""

    spec: DriveSpec
    images: UInt8[np.ndarray, "step sensor height width 3"]
    depth: Float32[np.ndarray, "step sensor height width"]  # along the optical axis, metres; 0 in the sky
    speed: Float16[np.ndarray, "step sensor height width"]  # m/s of the surface point, since the step before (0: to 1)
    seen: Bool[np.ndarray, "step sensor height width"]  # that step's image of the same sensor shows it as well
    intrinsics: Float64[np.ndarray, "sensor 3 3"]
    rig_from_cam: Float64[np.ndarray, "sensor 4 4"]
    world_from_rig: Float64[np.ndarray, "step 4 4"]
    times: Float64[np.ndarray, "step"]  # seconds

    @property
    def rig(self) -> Rig:
        """Everything calibrated, the road at height 0."""
        size = self.spec.height, self.spec.width
        return Rig(self.spec.sensors, self.intrinsics, self.rig_from_cam, (size,) * len(self.spec.sensors), 0.0)

    def camera(self, step: int, sensor: int) -> Camera:
        """The true camera of an image."""
        pose = self.world_from_rig[step] @ self.rig_from_cam[sensor]
        return Camera(self.intrinsics[sensor], pose, self.spec.height, self.spec.width)

    def first(self, steps: int) -> StreamDrive:
        """The drive cut short."""
        parts = ("images", "depth", "speed", "seen", "world_from_rig", "times")
        cut = {name: getattr(self, name)[:steps] for name in parts}
        return replace(self, spec=replace(self.spec, steps=steps), **cut)

    def way(self) -> Float64[np.ndarray, "step"]:
        """Metres driven since the first step."""
        return np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(self.world_from_rig[:, :3, 3], axis=0), axis=1))]

    def heading(self) -> Float64[np.ndarray, "step"]:
        """Degrees by which the car has turned in all since the first step, to either side."""
        yaw = np.unwrap(np.arctan2(self.world_from_rig[:, 1, 0], self.world_from_rig[:, 0, 0]))
        return np.degrees(np.r_[0.0, np.cumsum(np.abs(np.diff(yaw)))])


_TENSORS = ("images", "depth", "speed", "seen", "intrinsics", "rig_from_cam", "world_from_rig", "times")


def render_drive(spec: DriveSpec) -> StreamDrive:
    """Drive through the street of a seed.

    Raises:
        NoPlaceError: the seed has no place for the rig.
    """
    world = describe("street", spec.seed, views=len(RIG_SENSORS) * spec.steps, shooting="rig", rate=spec.rate)
    world = _only(relit(world, spec.light), spec.sensors)
    sample = render([world], height=spec.height, width=spec.width)[0]
    count = len(spec.sensors)
    shape = (spec.steps, count)

    def grid(values: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(values.reshape(*shape, *values.shape[1:]))

    motion = list(_motion(sample, count))
    poses = grid(sample.world_from_cam.numpy())
    assert world.world_from_rig is not None
    return StreamDrive(
        spec,
        images=grid(sample.images.numpy()),
        depth=grid(np.where(sample.valid.numpy(), sample.depth.numpy(), 0).astype(np.float32)),
        speed=grid(np.stack([speed for speed, _ in motion]).astype(np.float16)),
        seen=grid(np.stack([seen for _, seen in motion])),
        intrinsics=sample.intrinsics.numpy()[:count].astype(np.float64),
        rig_from_cam=np.linalg.inv(world.world_from_rig[0]) @ poses[0],
        world_from_rig=world.world_from_rig.astype(np.float64),
        times=world.motion.times.astype(np.float64),
    )


def _only(world: World, sensors: tuple[str, ...]) -> World:
    """Photos of some of the cameras, in the order of their names here, instants first."""
    if sensors == RIG_SENSORS:
        return world
    wanted = [RIG_SENSORS.index(name) for name in sensors]
    rows = np.arange(world.views).reshape(-1, len(RIG_SENSORS))[:, wanted].ravel()
    return replace(world, cameras=choose_rows(world.cameras, rows), photo=choose_rows(world.photo, rows))


def _motion(sample: WorldSample, count: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Speed and "was seen before" of every view; the first step is compared with the second."""
    for view in range(len(sample.images)):
        yield point_motion(sample, view, view - count if view >= count else view + count)


@dataclass
class DriveStore:
    """Drives that are rendered once: kept in memory, and in a folder where one is given."""

    folder: Path | None = None
    most: int = 24  # drives in memory
    _kept: dict[DriveSpec, StreamDrive] = field(default_factory=dict)

    def get(self, spec: DriveSpec) -> StreamDrive:
        """A drive, from memory, from disk, or rendered now.

        Raises:
            NoPlaceError: the seed has no place for the rig.
            OutputError: the folder cannot be written.
        """
        drive = self._kept.pop(spec, None) or self._read(spec) or self._render(spec)
        self._kept[spec] = drive
        while len(self._kept) > self.most:
            del self._kept[next(iter(self._kept))]
        return drive

    def _render(self, spec: DriveSpec) -> StreamDrive:
        drive = render_drive(spec)
        if self.folder is not None:
            make_folder(self.folder)
            path = self._path(spec)
            with reporting(path), replacing_file(path) as temporary:
                save_file({name: np.ascontiguousarray(getattr(drive, name)) for name in _TENSORS}, temporary)
        return drive

    def _read(self, spec: DriveSpec) -> StreamDrive | None:
        """None where there is no such file, or a damaged one, which is then written anew."""
        if self.folder is None or not self._path(spec).is_file():
            return None
        try:
            stored = load_file(self._path(spec))
            return StreamDrive(spec, **{name: stored[name] for name in _TENSORS})
        except (OSError, SafetensorError, KeyError, ValueError):
            return None

    def _path(self, spec: DriveSpec) -> Path:
        assert self.folder is not None
        return self.folder / f"{spec.name}-{worlds_version()}.safetensors"
