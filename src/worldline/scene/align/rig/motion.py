"""Motion of a rig from the motions that its cameras estimate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float64

from worldline.geometry import nearest_rotation
from worldline.scene.align.rig.records import inverse, rigid

_ROUNDS = 5
_ANGLE = np.radians(0.3)  # usual disagreement of two cameras
_PLACE = 0.05  # metres


class Claim(NamedTuple):
    """Where one camera says that the rig is."""

    world_from_rig: Float64[np.ndarray, "4 4"]
    weight: float


def scaled(pose: Float64[np.ndarray, "4 4"], scale: float) -> Float64[np.ndarray, "4 4"]:
    """A pose in another unit of length."""
    return rigid(pose[:3, :3], scale * pose[:3, 3])


def rig_motion(
    reference: Float64[np.ndarray, "4 4"],
    pose: Float64[np.ndarray, "4 4"],
    scale: float,
    rig_from_cam: Float64[np.ndarray, "4 4"],
) -> Float64[np.ndarray, "4 4"]:
    """Motion of the rig (metres) from two poses of one of its cameras in a common frame (units)."""
    moved = scaled(inverse(reference) @ pose, scale)
    return rig_from_cam @ moved @ inverse(rig_from_cam)


def average_poses(claims: Sequence[Claim]) -> Float64[np.ndarray, "4 4"]:
    """Robust mean of poses: chordal mean of rotations, mean of places, both with Cauchy's influence."""
    rotations = np.stack([claim.world_from_rig[:3, :3] for claim in claims])
    places = np.stack([claim.world_from_rig[:3, 3] for claim in claims])
    base = np.array([claim.weight for claim in claims])
    turn, place = base.copy(), base.copy()
    rotation, center = rotations[0], np.median(places, axis=0)
    for _ in range(_ROUNDS):
        rotation = nearest_rotation(torch.from_numpy((rotations * turn[:, None, None]).sum(0))).numpy()
        angle = np.linalg.norm(rotations - rotation, axis=(1, 2)) / np.sqrt(2)
        turn = base / (1 + np.square(angle / max(_ANGLE, 1.5 * float(np.median(angle)))))
        away = np.linalg.norm(places - center, axis=1)
        place = base / (1 + np.square(away / max(_PLACE, 1.5 * float(np.median(away)))))
        center = (places * place[:, None]).sum(0) / place.sum()
    return rigid(rotation, center)
