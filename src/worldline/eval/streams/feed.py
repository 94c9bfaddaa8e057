"""What a session is given of a drive: everything exact, or with errors and gaps as real rigs have them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, UInt8
from scipy.spatial.transform import Rotation

from worldline.errors import InputError
from worldline.eval.streams.drives import StreamDrive
from worldline.eval.streams.lighting import add_glare, add_rain, sun_direction
from worldline.types import Rig


@dataclass(frozen=True)
class Disturbance:
    """Errors of poses, calibration and images. All zeros: none. Angles and offsets are root mean squares of vectors."""

    pose_turn: float = 0.0  # degrees, of the rig's poses, drawn anew at every step
    pose_move: float = 0.0  # metres, likewise
    poses: bool = True  # False: the session gets none
    mount_turn: float = 0.0  # degrees, of the cameras on the rig, the same during a drive
    mount_move: float = 0.0  # metres, likewise
    focal: float = 0.0  # relative, of the focal lengths, likewise
    calibrated: bool = True  # False: the session gets the names of the cameras and no more
    lost: float = 0.0  # share of the images that do not arrive, at random
    missing: tuple[str, ...] = ()  # cameras that never give an image
    rain: float = 0.0  # strength, see add_rain

    def __post_init__(self) -> None:
        numbers = (self.pose_turn, self.pose_move, self.mount_turn, self.mount_move, self.focal, self.rain)
        if min(numbers) < 0 or not 0 <= self.lost < 1:
            raise InputError("A disturbance is out of range.", "Errors are 0 or more, the lost share is in [0, 1).")


UNDISTURBED = Disturbance()


class Push(NamedTuple):
    """Arguments of ``StreamSession.push``."""

    timestamp: float
    images: dict[str, UInt8[np.ndarray, "height width 3"]]
    world_from_rig: Float64[np.ndarray, "4 4"] | None


def given_rig(drive: StreamDrive, disturbance: Disturbance) -> Rig:
    """What the session is told about the cameras."""
    true = drive.rig
    if not disturbance.calibrated:
        return Rig(true.sensors, sizes=true.sizes)
    rng = np.random.default_rng([drive.spec.seed, 1])
    mounts = np.stack([
        pose @ _small(rng, disturbance.mount_turn, disturbance.mount_move) for pose in drive.rig_from_cam
    ])  # fmt: skip
    intrinsics = drive.intrinsics.copy()
    factors = 1.0 + disturbance.focal * rng.normal(size=len(intrinsics))
    intrinsics[:, 0, 0] *= factors
    intrinsics[:, 1, 1] *= factors
    return Rig(true.sensors, intrinsics, mounts, true.sizes, true.ground)


def pushes(drive: StreamDrive, disturbance: Disturbance) -> Iterator[Push]:
    """The drive step by step. The random numbers depend on the seed of the drive alone."""
    rng = np.random.default_rng([drive.spec.seed, 2])
    for step, timestamp in enumerate(drive.times):
        error = _small(rng, disturbance.pose_turn, disturbance.pose_move)
        arrives = rng.random(len(drive.spec.sensors)) >= disturbance.lost
        images = {
            name: _image(drive, step, row, disturbance)
            for row, name in enumerate(drive.spec.sensors)
            if arrives[row] and name not in disturbance.missing
        }
        pose = drive.world_from_rig[step] @ error if disturbance.poses else None
        yield Push(float(timestamp), images, pose)


def _image(
    drive: StreamDrive, step: int, row: int, disturbance: Disturbance
) -> UInt8[np.ndarray, "height width 3"]:  # fmt: skip
    image = drive.images[step, row]
    if drive.spec.light == "glare":
        sky = drive.depth[step, row] <= 0
        image = add_glare(image, drive.camera(step, row), sun_direction(drive.world_from_rig), sky)
    return add_rain(image, disturbance.rain, drive.spec.seed + 1000 * step + row)


def _small(rng: np.random.Generator, degrees: float, metres: float) -> Float64[np.ndarray, "4 4"]:
    """A rigid motion whose rotation vector and translation have these root mean squares."""
    motion = np.eye(4)
    turn, move = rng.normal(size=3), rng.normal(size=3)
    motion[:3, :3] = Rotation.from_rotvec(turn * np.radians(degrees) / np.sqrt(3)).as_matrix()
    motion[:3, 3] = move * metres / np.sqrt(3)
    return motion
