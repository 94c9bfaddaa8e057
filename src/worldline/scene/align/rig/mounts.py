"""Mountings along a stream: motions are gathered per sensor, mountings estimated from them, given ones checked.

The body that sensors are calibrated against is the rig whose poses are given, or the first sensor (the *base*).
Motions are counted between key steps, far enough apart to say something, and kept in two rings of fixed size, one for
straight ways and one for turns: a long straight road then does not push out the few turns that show the lever arm.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from jaxtyping import Float64

from worldline.scene.align.rig.evidence import Seen, Vote, ground_vote
from worldline.scene.align.rig.mounting import (
    Motions,
    Mounting,
    estimate_mounting,
    rotation_matrix,
    rotation_vector,
    unobserved,
)
from worldline.scene.align.rig.records import AlignOptions, inverse
from worldline.scene.align.rig.state import METRIC, StreamState, pack, unpack
from worldline.types import Rig

RIG, UNSET = -1, -2
_RING = 48
_ROW = 20
_KEY_WAY, _KEY_TURN = 0.25, np.radians(7.0)  # a motion is complete: median depths, radians
_LEAST_WAY, _LEAST_TURN = 0.05, np.radians(1.5)  # and worth keeping where a fragment ends
_TURNING = np.radians(2.0)
_CENTER_SIGMA = 0.004 * 2**0.5  # of the way between two estimated camera centres, per axis, median depths
_LEVER, _LEVER_DEPTHS = 2.0, 0.2  # usual lever arm: metres, or median depths where the unit is arbitrary
_USUAL_LEVERS = 0.15  # part of it that may be uncertain where the unit is arbitrary
_ALARM, _ALARM_DEGREES, _ALARM_METRES = 3.0, 1.0, 0.3
_ENOUGH = 8
_UPRIGHT = np.radians(3.0)  # uncertainty of the rotation from which on a height above the road means anything
_FOCALS = 16
_NANS = partial(np.full, fill_value=np.nan)


def _ring() -> np.ndarray:
    return np.full((_RING, _ROW), np.nan)


@dataclass
class MountState:
    """One sensor.

    Rows: turn and way of the body, turn and way of the sensor, noise of both, fragments of both, log unit of the body,
    height above the road and its variance, time.
    """

    straight: Float64[np.ndarray, "ring row"] = field(default_factory=_ring)
    turning: Float64[np.ndarray, "ring row"] = field(default_factory=_ring)
    pending: Float64[np.ndarray, "row"] = field(default_factory=partial(_NANS, _ROW))
    key: Float64[np.ndarray, "34"] = field(default_factory=partial(_NANS, 34))  # fragments, pose of sensor, of body
    guess: Float64[np.ndarray, "4 4"] = field(default_factory=partial(_NANS, (4, 4)))  # latest estimate
    guess_covariance: Float64[np.ndarray, "6 6"] = field(default_factory=partial(_NANS, (6, 6)))
    mount: Float64[np.ndarray, "4 4"] = field(default_factory=partial(_NANS, (4, 4)))  # the one in use
    covariance: Float64[np.ndarray, "6 6"] = field(default_factory=partial(_NANS, (6, 6)))  # of the one in use
    focals: Float64[np.ndarray, "anchor"] = field(default_factory=partial(_NANS, _FOCALS))  # original pixels
    matrix: Float64[np.ndarray, "3 3"] = field(default_factory=partial(_NANS, (3, 3)))  # original pixels, latest
    size: Float64[np.ndarray, "2"] = field(default_factory=partial(_NANS, 2))
    alarm: Float64[np.ndarray, "3"] = field(default_factory=partial(_NANS, 3))  # degrees, metres, sigmas
    changed: int = 0  # motions came since the last estimate

    @property
    def rows(self) -> Float64[np.ndarray, "n row"]:
        """All motions, oldest first."""
        rows = np.concatenate([self.straight, self.turning, self.pending[None]])
        rows = rows[np.isfinite(rows[:, 0])]
        return rows[np.argsort(rows[:, 19], kind="stable")]

    def keep(self) -> None:
        """The pending motion is complete."""
        if np.isfinite(self.pending[0]):
            ring = self.turning if np.linalg.norm(self.pending[:3]) > _TURNING else self.straight
            ring[:-1], ring[-1] = ring[1:].copy(), self.pending
        self.pending[:] = np.nan


@dataclass
class MountsState:
    """What all sensors share."""

    base: int = UNSET  # what sensors are calibrated against: a sensor, or RIG


class Mounts:
    """Mountings of the sensors of one rig: those that are given, and those that motions show."""

    def __init__(self, rig: Rig, options: AlignOptions) -> None:
        self.rig, self.options = rig, options
        self.base = UNSET
        self.sensors = [MountState() for _ in rig.sensors]

    @property
    def given(self) -> bool:
        """Whether the calibration is given."""
        return self.rig.rig_from_cam is not None

    def in_use(self) -> dict[int, Float64[np.ndarray, "4 4"]]:
        """rig_from_cam of all sensors that have one; the rig is the base sensor where there are no given poses."""
        if self.rig.rig_from_cam is not None:
            return dict(enumerate(self.rig.rig_from_cam))
        found = {index: each.mount for index, each in enumerate(self.sensors) if np.isfinite(each.mount).all()}
        if self.base >= 0:
            found[self.base] = np.eye(4)
        return found

    @property
    def waiting(self) -> bool:
        """Whether the world is no more than the base sensor's own frame, for want of another known mounting."""
        return not self.given and self.base >= 0 and len(self.rig) > 1 and len(self.in_use()) < 2

    def choose_base(self, posed: bool, seen: Sequence[int]) -> bool:
        """What the sensors are calibrated against; given poses win. Whether this has changed."""
        base = RIG if posed else (min(seen) if self.base == UNSET and seen else self.base)
        if base == self.base:
            return False
        first, self.base = self.base == UNSET, base
        if not first:
            kept = [(each.focals, each.matrix, each.size) for each in self.sensors]
            self.sensors = [MountState(focals=f, matrix=m, size=s) for f, m, s in kept]
        return not first

    def gather(
        self,
        time: float,
        streams: Sequence[StreamState],
        seen: Mapping[int, Seen],
        given: Mapping[int, Float64[np.ndarray, "4 4"]],
    ) -> None:
        """Count the motions of this step."""
        if self.options.mounting == "off":
            return
        for index, each in seen.items():
            if index == self.base or each.camera.failed:
                continue
            body = self._body(index, time, streams, seen, given)
            if body is not None:
                self._count(index, each, time, streams, *body)
        if self.base >= 0:
            base = streams[self.base]
            for sensor in self.sensors:  # the unit of the base becomes better known
                for rows in (sensor.straight, sensor.turning, sensor.pending[None]):
                    rows[rows[:, 14] == base.fragment, 16] = base.mean

    def _body(
        self,
        index: int,
        time: float,
        streams: Sequence[StreamState],
        seen: Mapping[int, Seen],
        given: Mapping[int, Float64[np.ndarray, "4 4"]],
    ) -> tuple[Float64[np.ndarray, "4 4"], int, float] | None:
        """Pose of the body, its fragment, and the noise of a way (its unit)."""
        if self.base == RIG:
            return (given[index], 0, 0.0) if index in given else None
        base = streams[self.base]
        if self.base in seen and not seen[self.base].camera.failed:
            now = seen[self.base]
            return now.camera.anchor_from_cam, base.fragment, _CENTER_SIGMA * now.median
        return None

    def _count(
        self,
        index: int,
        seen: Seen,
        time: float,
        streams: Sequence[StreamState],
        body: np.ndarray,
        fragment: int,
        noise: float,
    ) -> None:
        sensor, pose = self.sensors[index], seen.camera.anchor_from_cam
        key = np.r_[fragment, streams[index].fragment, pose.reshape(-1), body.reshape(-1)]
        if not np.array_equal(sensor.key[:2], key[:2]):  # another unit begins
            if np.isfinite(sensor.pending[0]) and not self._enough(sensor.pending, _LEAST_WAY, _LEAST_TURN):
                sensor.pending[:] = np.nan
            sensor.keep()
            sensor.key = key
            return
        own = inverse(sensor.key[2:18].reshape(4, 4)) @ pose
        other = inverse(sensor.key[18:].reshape(4, 4)) @ body
        row = np.r_[
            rotation_vector(other[:3, :3]), other[:3, 3], rotation_vector(own[:3, :3]), own[:3, 3],
            noise, _CENTER_SIGMA * seen.median, key[:2], streams[self.base].mean if self.base >= 0 else 0.0,
            self._height(sensor, seen), time,
        ]  # fmt: skip
        if not self._enough(row, _LEAST_WAY, _LEAST_TURN):
            return
        sensor.pending, sensor.changed = row, 1
        if self._enough(row, _KEY_WAY, _KEY_TURN):
            sensor.keep()
            sensor.key = key

    @staticmethod
    def _enough(row: np.ndarray, way: float, turn: float) -> bool:
        depth = row[13] / _CENTER_SIGMA
        return bool(np.linalg.norm(row[9:12]) > way * depth or np.linalg.norm(row[:3]) > turn)

    def _height(self, sensor: MountState, seen: Seen) -> np.ndarray:
        """Height above the road in the unit of the map, and its relative variance, once it is known where up is."""
        nothing = np.full(2, np.nan)
        if self.given or self.base != RIG or self.rig.ground is None or not np.isfinite(sensor.guess).all():
            return nothing
        if np.linalg.eigvalsh(sensor.guess_covariance[:3, :3])[-1] > _UPRIGHT**2:
            return nothing
        points, usable, rows = seen.sample()
        vote = ground_vote(points[usable & (rows > 0.45)], sensor.guess[2, :3], 1.0, 0.03)
        return nothing if vote is None else np.array([np.exp(-vote.mean), vote.variance])

    def estimate(
        self, index: int, metric: bool, rows: np.ndarray | None = None, around: Mounting | None = None
    ) -> Mounting | None:
        """What the motions of a sensor say of its mounting on the body; None: too few of them."""
        rows = self.sensors[index].rows if rows is None else rows
        if len(rows) < 3:
            return None
        unit = np.exp(rows[:, 16:17])
        _, group = np.unique(rows[:, 14:16], axis=0, return_inverse=True)
        motions = Motions(
            rows[:, :3], unit * rows[:, 3:6], rows[:, 6:9], rows[:, 9:12], unit[:, 0] * rows[:, 12], rows[:, 13],
            group.reshape(-1), rows[:, 17:19],
        )  # fmt: skip
        ground = self.rig.ground if self.base == RIG and not self.given else None
        return estimate_mounting(motions, self.usual_lever(rows, metric), ground, around)

    def usual_lever(self, rows: np.ndarray, metric: bool) -> float:
        """Standard deviation of lever arms before anything is known, in the unit of the world."""
        if metric or self.base == RIG or not len(rows):
            return _LEVER
        return float(_LEVER_DEPTHS * np.median(np.exp(rows[:, 16]) * rows[:, 12]) / _CENTER_SIGMA)

    def is_metric(self, streams: Sequence[StreamState]) -> bool:
        """Whether lever arms are metres."""
        return self.base == RIG or (self.base >= 0 and streams[self.base].status == METRIC)

    def refresh(self, step: int, streams: Sequence[StreamState]) -> dict[int, Vote]:
        """Estimate what has changed.

        Returns:
            the sensors whose mounting is known from now on, with the log scale of their current fragment.
        """
        if self.options.mounting == "off" or self.base == UNSET:
            return {}
        joined, metric, count = {}, self.is_metric(streams), len(self.sensors)
        for index, sensor in enumerate(self.sensors):
            settled = self.given or bool(np.isfinite(sensor.mount).all())
            if not sensor.changed or (settled and step % (2 * count) != 2 * index):
                continue
            sensor.changed = 0
            mounting = self.estimate(index, metric)
            if mounting is None:
                continue
            if self.given:
                self.check(index, mounting, metric)
                continue
            sensor.guess, sensor.guess_covariance = mounting.a_from_b, mounting.covariance
            unit = self._unit(index, mounting, streams)
            if unit is None or not self._good(index, mounting, metric) or not self._better(sensor, mounting):
                continue
            if not settled:
                joined[index] = unit
            sensor.mount, sensor.covariance = mounting.a_from_b.copy(), mounting.covariance.copy()
        return joined

    def _unit(self, index: int, mounting: Mounting, streams: Sequence[StreamState]) -> Vote | None:
        """Log scale of a sensor's current fragment; None where no motion of it was seen yet."""
        fragments = self.sensors[index].rows[:, 14:16]
        now = (streams[self.base].fragment if self.base >= 0 else 0, streams[index].fragment)
        if not np.array_equal(fragments[-1], now):
            return None
        group = int(np.unique(fragments, axis=0, return_inverse=True)[1].reshape(-1)[-1])
        return Vote(float(mounting.log_scales[group]), float(mounting.log_sigmas[group] ** 2))

    def limits(self, index: int, metric: bool) -> tuple[float, float]:
        """Uncertainties from which on a mounting is used: radians, and the unit of the lever arm."""
        usual = self.usual_lever(self.sensors[index].rows, metric)
        lever = self.options.mounting_metres if usual == _LEVER else _USUAL_LEVERS * usual
        return float(np.radians(self.options.mounting_degrees)), lever

    def _good(self, index: int, mounting: Mounting, metric: bool) -> bool:
        rotation, lever = self.limits(index, metric)
        known = mounting.rotation_sigma < rotation
        return known and (self.options.mounting == "assumed" or bool((mounting.lever_sigmas < lever).all()))

    @staticmethod
    def _better(sensor: MountState, mounting: Mounting) -> bool:
        """Not every step: what has been placed should stay where it is."""
        if not np.isfinite(sensor.mount).all():
            return True
        before, after = np.sqrt(np.diag(sensor.covariance)), np.sqrt(np.diag(mounting.covariance))
        return bool((after < 0.85 * before).any() or mounting.difference(sensor.mount)[2] > 1.0)

    def expected(self, index: int) -> Float64[np.ndarray, "4 4"]:
        """Given pose of the sensor on the body."""
        mounts = self.rig.rig_from_cam
        assert mounts is not None
        return mounts[index] if self.base == RIG else inverse(mounts[self.base]) @ mounts[index]

    def check(self, index: int, mounting: Mounting, metric: bool) -> None:
        """Compare a given mounting with what the motion says."""
        sensor, expected = self.sensors[index], self.expected(index).copy()
        if not metric:
            expected[:3, 3] = mounting.a_from_b[:3, 3]  # no metres to compare
        sensor.alarm = np.array(mounting.difference(expected))
        if len(sensor.rows) < _ENOUGH:
            sensor.alarm[2] = 0.0

    def wrong(self, index: int) -> bool:
        """Whether the motion contradicts the given mounting."""
        degrees, metres, sigmas = self.sensors[index].alarm
        return bool(sigmas > _ALARM and (degrees > _ALARM_DEGREES or metres > _ALARM_METRES))

    def note(self, index: int, streams: Sequence[StreamState]) -> str:
        """What a user should know about the mounting of a sensor; empty where all is well."""
        if self.given:
            if not self.wrong(index):
                return ""
            degrees, metres, sigmas = self.sensors[index].alarm
            against = "given poses" if self.base == RIG else self.rig.sensors[self.base]
            return (
                f"The given mounting disagrees with the motion ({against}) by {degrees:.1f}° and {metres:.2f} m "
                f"({sigmas:.0f} standard deviations): check rig_from_cam."
            )
        if index == self.base:
            return "The frame is that of this camera until the mounting of another is known." if self.waiting else ""
        if index in self.in_use():
            return ""
        missing = self.missing(index, streams)
        return f"The mounting of this camera is not known: it stays in a frame of its own. {missing}".strip()

    def missing(self, index: int, streams: Sequence[StreamState]) -> str:
        """What the motions so far do not show."""
        if self.options.mounting == "off":
            return "It is not estimated (mounting='off')."
        sensor = self.sensors[index]
        if not np.isfinite(sensor.guess).all():
            return "There has been too little motion to estimate it."
        way = sensor.rows[:, 3:6].sum(0)
        way = way / max(float(np.linalg.norm(way)), 1e-12)
        vague = unobserved(sensor.guess_covariance, way, *self.limits(index, self.is_metric(streams)))
        if not vague:
            return ""
        hint = " mounting='assumed' takes such lever arms as zero." if "lever" in vague else ""
        return f"The motion so far does not show {vague}.{hint}"

    def displacements(self, index: int, fragment: int) -> Float64[np.ndarray, "n 6"]:
        """Ways of a camera of estimated mounting in a fragment: its own (units), and those of given poses (metres)."""
        rows, mount = self.sensors[index].rows, self.sensors[index].mount
        rows = rows[rows[:, 15] == fragment]
        levers = np.array([rotation_matrix(turn) @ mount[:3, 3] - mount[:3, 3] for turn in rows[:, :3]]).reshape(-1, 3)
        return np.c_[rows[:, 9:12], (rows[:, 3:6] + levers) @ mount[:3, :3]]

    def learn_focal(self, index: int, matrix: np.ndarray, size: tuple[int, int]) -> None:
        """Remember the intrinsics (original pixels) of an anchor."""
        sensor = self.sensors[index]
        sensor.focals[:-1], sensor.focals[-1] = sensor.focals[1:].copy(), matrix[0, 0]
        sensor.matrix, sensor.size = matrix.copy(), np.array(size, np.float64)

    def state(self) -> dict[str, np.ndarray]:
        """Arrays of fixed sizes."""
        arrays = pack("mounts", MountsState(self.base))
        for name, each in zip(self.rig.sensors, self.sensors, strict=True):
            arrays |= pack(f"mount.{name}", each)
        return arrays

    def restore(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Continue from :meth:`state`.

        Raises:
            InputError: the state belongs to another rig.
        """
        sensors = [MountState() for _ in self.rig.sensors]
        for name, each in zip(self.rig.sensors, sensors, strict=True):
            unpack(f"mount.{name}", each, arrays)
        shared = MountsState()
        unpack("mounts", shared, arrays)
        self.base, self.sensors = shared.base, sensors
