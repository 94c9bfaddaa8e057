"""What a log of a camera rig is, whatever data set it came from: steps in time, each with photos of some sensors.

Frames: OpenCV camera axes; rig x forward, y left, z up; metres; ``a_from_b`` as 4x4 float64. Every recording keeps its
own time, and the pose of the rig that goes with it is the pose at that time. Nothing is decoded until it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Float32, Float64, UInt8

from worldline.errors import InputError
from worldline.inputs.decode import BadImageError, read_upright
from worldline.inputs.logs.clouds import read_cloud
from worldline.types import Rig


@dataclass(frozen=True, eq=False)
class LogImage:
    """One photo of one sensor, not yet read."""

    sensor: str
    timestamp: float  # seconds, of this photo
    path: Path
    world_from_rig: Float64[np.ndarray, "4 4"] | None = None  # pose of the rig at ``timestamp``, None where unknown

    def read(self) -> UInt8[np.ndarray, "height width 3"]:
        """RGB pixels of the photo as shown (EXIF orientation applied), at full size; grey photos become RGB.

        Raises:
            InputError: the file is gone or damaged; says which.
        """
        try:
            return read_upright(self.path)
        except BadImageError as error:
            raise InputError(
                f"The photo {self.path} of {self.sensor} {error.reason}.",
                "Copy it again from the source, or remove it.",
            ) from error


@dataclass(frozen=True, eq=False)
class LidarSweep:
    """One turn of a LiDAR, not yet read."""

    timestamp: float  # seconds
    path: Path  # .bin (float32 rows), .npy, .npz or .ply
    frame: str  # frame of :meth:`points`: "world", or "rig" where the log has no pose at this time
    frame_from_file: Float64[np.ndarray, "4 4"] = field(default_factory=lambda: np.eye(4))
    columns: int = 4  # of a .bin file: x, y, z, intensity, ...

    def points(self) -> Float32[np.ndarray, "n 3"]:
        """Metres in the frame named by ``frame``, in the order of the file; rows that are not finite are left out.

        Raises:
            InputError: the file is gone or damaged; says which.
        """
        rows = read_cloud(self.path, self.columns)[:, :3].astype(np.float64)
        return (rows @ self.frame_from_file[:3, :3].T + self.frame_from_file[:3, 3]).astype(np.float32)

    def intensity(self) -> Float32[np.ndarray, "n"] | None:
        """Returned intensity in the unit of the data set, one per point; None where the file has none.

        Raises:
            InputError: as :meth:`points`.
        """
        rows = read_cloud(self.path, self.columns)
        return rows[:, 3] if rows.shape[1] > 3 else None


@dataclass(frozen=True, eq=False)
class LogStep:
    """What belongs to one moment."""

    timestamp: float  # seconds
    images: Mapping[str, LogImage]  # sensors without a photo at this moment are absent
    world_from_rig: Float64[np.ndarray, "4 4"] | None = None  # at ``timestamp``, None where unknown
    lidar: LidarSweep | None = None
    speed: float | None = None  # m/s from the vehicle's bus or odometry, None where the log has none


@dataclass(frozen=True, eq=False, repr=False)
class Log:
    """A drive (or a walk) of a rig: its calibration and its steps in order of time."""

    name: str
    rig: Rig
    steps: Sequence[LogStep]
    source: str  # kind and path
    license: str  # terms of the data, "" where unknown
    notes: tuple[str, ...] = ()  # what a user should know: missing files, photos without pose, distortion

    def __len__(self) -> int:
        return len(self.steps)

    def __repr__(self) -> str:
        seconds = self.steps[-1].timestamp - self.steps[0].timestamp if self.steps else 0.0
        return (
            f"Log({self.name}: {len(self)} steps in {seconds:.1f} s, sensors {', '.join(self.sensors)}; {self.source})"
        )

    @property
    def sensors(self) -> tuple[str, ...]:
        """Names of the cameras, in the order of ``rig``."""
        return self.rig.sensors

    @property
    def image_count(self) -> int:
        """Number of photos in all steps."""
        return sum(len(step.images) for step in self.steps)

    def choose(
        self, sensors: Sequence[str] | None = None, start: int = 0, stop: int | None = None, every: int = 1
    ) -> Log:
        """A part of the log.

        Args:
            sensors: the cameras to keep, in the order wanted; None: all.
            start, stop: first step, and the one before which to end (None: the end); counted from 0.
            every: take each ``every``-th of them.

        Raises:
            InputError: an unknown sensor, or no step is left.
        """
        if start < 0 or every < 1 or (stop is not None and stop <= start) or start >= len(self.steps):
            raise InputError(
                f"No step is left of {self.name} with start={start}, stop={stop}, every={every}.",
                f"The log has {len(self.steps)} steps; choose 0 <= start < stop and every >= 1.",
            )
        rig = self.rig if sensors is None else self.rig.choose(list(sensors))
        return replace(
            self, rig=rig, steps=tuple(_with_sensors(step, rig.sensors) for step in self.steps[start:stop:every])
        )


def _with_sensors(step: LogStep, sensors: Sequence[str]) -> LogStep:
    return replace(step, images=MappingProxyType({name: step.images[name] for name in sensors if name in step.images}))
