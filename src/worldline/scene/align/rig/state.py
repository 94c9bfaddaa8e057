"""What the aligner remembers: a fixed number of arrays of fixed size, whatever the length of the stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64

from worldline.errors import InputError
from worldline.scene.align.rig.evidence import FLOOR, SAMPLES, Vote, robust_mean
from worldline.scene.align.rig.factors import Factor

VOTED = ("ground", "lidar", "speed")  # sources that vote anew at every step
_FRAMES = 32  # displacements kept for the ego source
_VOTES = 16
_PATH = 12  # poses kept for speed and turns
_FORGET = 0.9  # per step, for factors of camera pairs
_FRESH_STEPS = 6.0  # independent steps among those that a ring holds, at most
_FRESH_FACTORS = 3.0  # and among the factors of a pair

NOTHING, UNIT, METRIC = range(3)  # what is known of a scale


def _nans(*shape: int) -> partial[np.ndarray]:
    return partial(np.full, shape, np.nan)


_POSE = _nans(4, 4)
_EGO, _RINGS, _STEPS = _nans(_FRAMES, 6), _nans(len(VOTED), _VOTES, 2), _nans(_PATH, 18)


@dataclass
class StreamState:
    """One sensor. Lengths are in the unit of the current fragment unless metres are said."""

    fragment: int = 0
    started: int = 0  # 0 until the first map has arrived
    focal: float = np.nan  # of this fragment's anchor, model pixels
    time: float = np.nan
    status: int = NOTHING  # of ``mean``
    mean: float = 0.0  # log scale
    variance: float = np.inf
    previous_status: int = NOTHING
    previous_mean: float = 0.0
    previous_variance: float = np.inf
    pose: Float64[np.ndarray, "4 4"] = field(default_factory=_POSE)  # last anchor_from_cam
    placed: Float64[np.ndarray, "4 4"] = field(default_factory=_POSE)  # last world_from_cam, metres
    reference: Float64[np.ndarray, "4 4"] = field(
        default_factory=_POSE
    )  # anchor_from_cam where the motion is counted from
    reference_rig: Float64[np.ndarray, "4 4"] = field(default_factory=_POSE)  # world_from_rig there, metres
    ego_reference: Float64[np.ndarray, "4 4"] = field(
        default_factory=_POSE
    )  # anchor_from_cam of the first frame with a given pose
    ego_known: Float64[np.ndarray, "4 4"] = field(default_factory=_POSE)  # its given world_from_cam, metres
    ego: Float64[np.ndarray, "frame 6"] = field(
        default_factory=_EGO
    )  # displacements since then: estimated, given (metres)
    votes: Float64[np.ndarray, "source vote 2"] = field(default_factory=_RINGS)
    path: Float64[np.ndarray, "step 18"] = field(default_factory=_STEPS)  # time, odometer (metres), anchor_from_cam
    points: Float32[np.ndarray, "sample 3"] = field(default_factory=lambda: np.zeros((SAMPLES, 3), np.float32))

    def open(self, fragment: int) -> None:
        """Start a fragment; what the last one knew becomes ``previous``."""
        for name in ("reference", "reference_rig", "ego_reference", "ego_known", "ego", "votes", "path"):
            getattr(self, name)[:] = np.nan
        self.focal, self.fragment, self.started = np.nan, fragment, 1
        self.previous_status, self.previous_mean, self.previous_variance = NOTHING, 0.0, np.inf

    def vote(self, source: str, vote: Vote) -> None:
        """Remember one vote; the oldest is forgotten."""
        _push(self.votes[VOTED.index(source)], np.array(vote))

    def step(self, time: float, odometer: float, pose: np.ndarray) -> None:
        """Remember a pose of this fragment."""
        _push(self.path, np.r_[time, odometer, pose.reshape(-1)])

    def displace(self, estimated: np.ndarray, known: np.ndarray, spacing: float) -> None:
        """Remember a displacement; one that hardly differs from the last replaces it, so standing forgets nothing."""
        row = np.r_[estimated, known]
        last = self.ego[-1]
        if np.isfinite(last).all() and np.linalg.norm(last[3:] - known) < spacing:
            self.ego[-1] = row
        else:
            _push(self.ego, row)

    def past(self) -> tuple[float, float, Float64[np.ndarray, "4 4"]] | None:
        """(time, odometer, pose) of the oldest remembered step of this fragment."""
        rows = self.path[np.isfinite(self.path).all(1)]
        return None if not len(rows) else (float(rows[0, 0]), float(rows[0, 1]), rows[0, 2:].reshape(4, 4))

    def poll(self, source: str) -> Vote | None:
        """All remembered votes of a source as one."""
        rows = self.votes[VOTED.index(source)]
        rows = rows[np.isfinite(rows).all(1)]
        if not len(rows):
            return None
        weights = 1.0 / rows[:, 1]
        mean, spread = robust_mean(rows[:, 0], weights)
        independent = min(len(rows), _FRESH_STEPS) ** 0.5  # the same surfaces, the same habits of a network
        typical = max(1.0 / float(weights.mean()), spread**2 if len(rows) > 2 else 0.0)
        return Vote(mean, typical / independent + FLOOR[source] ** 2)


@dataclass
class RigState:
    """What all sensors share."""

    steps: int = 0
    time: float = np.nan
    speed: float = np.nan  # last one given, m/s
    odometer: float = 0.0  # metres
    posed: int = 0  # 1 once the rig has a place in the world
    kind: int = 0  # index into SCALES of what fixed the unit last
    rig: Float64[np.ndarray, "4 4"] = field(default_factory=lambda: np.eye(4))  # last world_from_rig
    pairs: Float64[np.ndarray, "source sensor sensor 2 3"] = field(
        default_factory=partial(np.zeros, (2, 0, 0, 2, 3))
    )  # information | vector of overlap and turn

    def add(self, source: int, a: int, b: int, factor: Factor) -> None:
        """Add a factor to what is remembered of a pair, with older steps fading."""
        self.pairs[source, a, b] += (1 - _FORGET) * _FRESH_FACTORS * np.c_[factor.information, factor.vector]

    def tie(self, a: int, b: int, ratio: float, variance: float) -> None:
        """Remember the ratio of two scales (difference of the logarithms) as what the motion of the pair told."""
        jacobian = np.array([1.0, -1.0])
        self.pairs[1, a, b] = np.c_[np.outer(jacobian, jacobian), ratio * jacobian] / variance

    def fade(self, source: int, a: int, b: int) -> None:
        """A step has passed in which the pair could be seen."""
        self.pairs[source, a, b] *= _FORGET

    def forget(self, sensor: int) -> None:
        """A sensor has a new unit."""
        self.pairs[:, sensor] = 0.0
        self.pairs[:, :, sensor] = 0.0


def _push(ring: np.ndarray, row: np.ndarray) -> None:
    ring[:-1] = ring[1:]
    ring[-1] = row


def pack(prefix: str, record: Any) -> dict[str, np.ndarray]:
    """Arrays of a record (a dataclass of arrays and numbers), by name."""
    return {f"{prefix}.{f.name}": np.array(getattr(record, f.name)) for f in fields(record)}


def unpack(prefix: str, record: Any, arrays: Mapping[str, np.ndarray]) -> None:
    """Fill a record with what :func:`pack` gave.

    Raises:
        InputError: an array is missing or has another shape.
    """
    for f in fields(record):
        name, current = f"{prefix}.{f.name}", getattr(record, f.name)
        if name not in arrays or np.shape(arrays[name]) != np.shape(current):
            raise InputError(
                f"The saved state does not fit this aligner: {name} is missing or has another shape.",
                "Restore it with the rig (the same sensors) that it was saved with.",
            )
        value = np.asarray(arrays[name])
        if isinstance(current, np.ndarray):
            setattr(record, f.name, value.astype(current.dtype).copy())
        else:
            setattr(record, f.name, type(current)(value))
