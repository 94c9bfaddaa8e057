"""The calibration of a rig as the aligner knows it: what was given, what the motion showed, and whether both agree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float64

from worldline.scene.align.rig.mounting import Mounting, rotation_vector
from worldline.scene.align.rig.mounts import RIG, Mounts
from worldline.scene.align.rig.state import StreamState
from worldline.types import Rig

_BLOCKS = 4  # parts of the stream that are compared


@dataclass(frozen=True)
class SensorCalibration:
    """One sensor. What is not known is None or NaN. Lengths in metres where :attr:`RigCalibration.metric`."""

    mounting: Literal["given", "estimated", "base", "unknown"]  # "base": the frame that the others refer to
    rig_from_cam: Float64[np.ndarray, "4 4"] | None
    degrees: float  # standard uncertainty of the rotation that the motion shows, about its least known axis
    lever: Float64[np.ndarray, "3"]  # standard uncertainties of the place, along the axes of the rig
    motions: int  # that the estimate rests on
    spread_degrees: float  # of estimates from parts of the stream about the estimate from all of it, RMS
    spread_lever: float
    turn_error: float  # degrees between the turns of camera and rig, median
    way_error: float  # length between their ways, median
    disagreement: tuple[float, float, float] | None  # of a given mounting with the motion: degrees, metres, sigmas
    wrong: bool  # the disagreement is beyond three sigmas, and large
    note: str = ""  # what is wrong or missing, for people


@dataclass(frozen=True)
class RigCalibration:
    """What :meth:`RigAligner.calibration` returns."""

    rig: Rig | None  # the sensors whose mounting is known; None: not even one
    frame: str  # of rig_from_cam: "rig", or the name of the sensor whose camera frame it is
    metric: bool  # whether lengths are metres
    sensors: Mapping[str, SensorCalibration]

    @property
    def consistent(self) -> bool:
        """No given mounting disagrees with the motion."""
        return not any(each.wrong for each in self.sensors.values())


def calibration_of(mounts: Mounts, streams: Sequence[StreamState]) -> RigCalibration:
    """Report on all sensors."""
    metric = mounts.is_metric(streams)
    sensors = {name: _sensor(mounts, index, metric, streams) for index, name in enumerate(mounts.rig.sensors)}
    frame = "rig" if mounts.given or mounts.base < 0 else mounts.rig.sensors[mounts.base]
    return RigCalibration(_rig(mounts), frame, metric, sensors)


def _rig(mounts: Mounts) -> Rig | None:
    """The rig of all sensors with a mounting; intrinsics averaged over the anchors where they were not given."""
    if mounts.given and mounts.rig.intrinsics is not None:
        return mounts.rig
    known = mounts.in_use()
    chosen = [index for index in sorted(known) if np.isfinite(mounts.sensors[index].size).all()]
    if not chosen:
        return mounts.rig if mounts.given else None
    matrices, sizes = [], []
    for index in chosen:
        sensor = mounts.sensors[index]
        focal = float(np.nanmedian(sensor.focals))
        matrices.append(sensor.matrix @ np.diag([focal / sensor.matrix[0, 0], focal / sensor.matrix[0, 0], 1.0]))
        sizes.append((int(sensor.size[0]), int(sensor.size[1])))
    return Rig(
        tuple(mounts.rig.sensors[index] for index in chosen), np.stack(matrices),
        np.stack([known[index] for index in chosen]), tuple(sizes),
        mounts.rig.ground if mounts.given or mounts.base == RIG else None,
    )  # fmt: skip


def _sensor(mounts: Mounts, index: int, metric: bool, streams: Sequence[StreamState]) -> SensorCalibration:
    off = mounts.options.mounting == "off"
    is_base = index == mounts.base and not mounts.given
    whole = None if off or index == mounts.base else mounts.estimate(index, metric)
    known = mounts.in_use().get(index)
    source: Literal["given", "estimated", "base", "unknown"] = "unknown"
    if known is not None:
        source = "given" if mounts.given else "base" if is_base else "estimated"
    if whole is None:
        nothing = np.zeros(3) if is_base else np.full(3, np.nan)
        return SensorCalibration(
            source, known, 0.0 if is_base else np.nan, nothing, 0, np.nan, np.nan, np.nan, np.nan, None, False,
            "" if is_base else mounts.note(index, streams),
        )  # fmt: skip
    if mounts.given:
        mounts.check(index, whole, metric)
    return SensorCalibration(
        source, known, _degrees(whole), whole.lever_sigmas, len(mounts.sensors[index].rows),
        *_spread(mounts, index, metric, whole), float(np.degrees(whole.turn_error)), whole.way_error,
        tuple(map(float, mounts.sensors[index].alarm)) if mounts.given else None,  # type: ignore[arg-type]
        mounts.given and mounts.wrong(index), mounts.note(index, streams),
    )  # fmt: skip


def _spread(mounts: Mounts, index: int, metric: bool, whole: Mounting) -> tuple[float, float]:
    """How far estimates from parts of the stream lie from the whole: degrees, unit of the lever arm."""
    rows = mounts.sensors[index].rows
    apart = []
    for block in np.array_split(rows, min(_BLOCKS, len(rows) // 4)) if len(rows) >= 8 else []:
        part = mounts.estimate(index, metric, block, whole)
        if part is not None:
            turn = part.a_from_b[:3, :3] @ whole.a_from_b[:3, :3].T
            lever = part.a_from_b[:3, 3] - whole.a_from_b[:3, 3]
            apart.append((np.degrees(np.linalg.norm(rotation_vector(turn))), np.linalg.norm(lever)))
    if len(apart) < 2:
        return np.nan, np.nan
    degrees, metres = np.sqrt(np.mean(np.square(apart), axis=0))
    return float(degrees), float(metres)


def _degrees(mounting: Mounting) -> float:
    return float(np.degrees(mounting.rotation_sigma))
