"""Recordings of sensors that run on their own clocks -> steps, and what the readers have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np
from jaxtyping import Float64, Int64
from PIL import Image

from worldline.errors import InputError
from worldline.inputs.decode import turned_upright
from worldline.inputs.logs.log import LidarSweep, LogImage, LogStep

PoseAt = Callable[[float], "Float64[np.ndarray, '4 4'] | None"]
_LONE_REACH = 0.5  # seconds around a single photo, where no interval can be measured
_GAP = 0.75  # intervals away from all steps: a recording there begins a step of its own


@dataclass(frozen=True)
class Request:
    """What a user asked a reader for."""

    scene: str
    sweeps: bool = False
    sensors: tuple[str, ...] | None = None


@dataclass(frozen=True, eq=False)
class Shot:
    """One recording as a data set lists it; the file need not exist."""

    timestamp: float
    path: Path
    pose: Float64[np.ndarray, "4 4"] | None = None  # of the rig, where the data set gives it per recording


@dataclass
class Moment:
    """Recordings that belong together."""

    timestamp: float
    shots: dict[str, Shot] = field(default_factory=dict)
    lidar: Shot | None = None


def chosen_sensors(available: Sequence[str], request: Request, where: str) -> tuple[str, ...]:
    """The sensors to read, in the order asked for.

    Raises:
        InputError: one of them is not there.
    """
    if request.sensors is None:
        return tuple(available)
    for name in request.sensors:
        if name not in available:
            raise InputError(f"{where} has no camera {name!r}.", f"It has: {', '.join(available)}.")
    if not request.sensors or len(set(request.sensors)) != len(request.sensors):
        raise InputError(f"The sensors asked for are {list(request.sensors)}.", "Name at least one, and each once.")
    return request.sensors


def only_existing(
    shots: Mapping[str, Sequence[Shot]], where: str, asked: bool
) -> tuple[dict[str, list[Shot]], list[str]]:
    """Shots whose files are there, and notes on the others; sensors without any file are left out.

    Raises:
        InputError: no photo is there, or none of a sensor that was asked for by name.
    """
    found: dict[str, list[Shot]] = {}
    notes = []
    for name, listed in shots.items():
        there = [shot for shot in listed if shot.path.is_file()]
        if there:
            found[name] = there
        if len(there) < len(listed) or not listed:
            notes.append(f"{name}: {len(listed) - len(there)} of {len(listed)} photos are missing")
        if asked and not there:
            raise InputError(f"{where} has no photo of {name}.", "Get its files, or ask for other sensors.")
    if not found:
        raise InputError(
            f"{where} lists photos, but none of the files is there.", "Unpack the images beside the tables."
        )
    return found, notes


def group(shots: Mapping[str, Sequence[Shot]], lidar: Sequence[Shot] = ()) -> tuple[list[Moment], list[str]]:
    """Moments around the photos of the first sensor.

    A photo of another sensor joins the moment nearest to it if it is also the nearest of its sensor there and no
    farther than half the usual interval. Where the first sensor has a gap, the next ones begin moments, so that no time
    is lost.

    Returns:
        The moments in order of time, and notes on photos that belong to none.
    """
    moments: list[Moment] = []
    notes = []
    interval = _usual_interval(next(iter(shots.values())))
    for name, listed in shots.items():
        left = _join(moments, name, sorted(listed, key=lambda shot: shot.timestamp), 0.5 * interval)
        times = np.array([moment.timestamp for moment in moments])
        idle = 0
        for shot in left:
            if len(times) and np.abs(times - shot.timestamp).min() <= _GAP * interval:
                idle += 1
            else:
                moments.append(Moment(shot.timestamp, {name: shot}))
        moments.sort(key=lambda moment: moment.timestamp)
        if idle:
            notes.append(f"{name}: {idle} of {len(listed)} photos belong to no step")
    joined: list[Moment] = [Moment(moment.timestamp) for moment in moments]
    _join(joined, "lidar", sorted(lidar, key=lambda shot: shot.timestamp), 0.5 * interval)
    for moment, sweep in zip(moments, joined, strict=True):
        moment.lidar = sweep.shots.get("lidar")
    return moments, notes


def _usual_interval(shots: Sequence[Shot]) -> float:
    times = np.sort([shot.timestamp for shot in shots])
    gaps = np.diff(times)
    return float(np.median(gaps)) if len(gaps) and np.median(gaps) > 0 else 2 * _LONE_REACH


def _join(moments: list[Moment], name: str, shots: Sequence[Shot], reach: float) -> list[Shot]:
    """Add shots to the moments that they are mutually nearest to; return those that found none."""
    if not moments or not shots:
        return list(shots)
    times = np.array([moment.timestamp for moment in moments])
    own = np.array([shot.timestamp for shot in shots])
    nearest_moment, nearest_shot = _nearest(times, own), _nearest(own, times)
    left = []
    for index, shot in enumerate(shots):
        moment = int(nearest_moment[index])
        if nearest_shot[moment] == index and abs(times[moment] - shot.timestamp) <= reach * (1 + 1e-9):
            moments[moment].shots[name] = shot
        else:
            left.append(shot)
    return left


def _nearest(times: Float64[np.ndarray, "n"], wanted: Float64[np.ndarray, "m"]) -> Int64[np.ndarray, "m"]:
    """Index of the time nearest to each wanted one; times in order, the earlier of two that are equally near."""
    after = np.clip(np.searchsorted(times, wanted), 1, max(1, len(times) - 1))
    return np.where(
        (len(times) == 1) | (wanted - times[after - 1] <= times[after % len(times)] - wanted), after - 1, after
    )


def build_steps(
    moments: Iterable[Moment], sensors: Sequence[str], *, pose_at: PoseAt | None = None,
    rig_from_lidar: Float64[np.ndarray, "4 4"] | None = None, columns: int = 4,
    speed_at: Callable[[float], float | None] | None = None,
) -> tuple[LogStep, ...]:  # fmt: skip
    """Steps of moments: every recording with the pose of the rig at its own time.

    Args:
        pose_at: where the rig was at a time, for recordings that bring no pose of their own.
        rig_from_lidar: LiDAR calibration; None: the points of the files are in the rig frame.
        columns: numbers per point in .bin files.
    """
    find = pose_at or (lambda _: None)
    mounted = np.eye(4) if rig_from_lidar is None else rig_from_lidar
    steps = []
    for moment in moments:
        images = {
            name: LogImage(
                name, shot.timestamp, shot.path, shot.pose if shot.pose is not None else find(shot.timestamp)
            )
            for name, shot in ((name, moment.shots[name]) for name in sensors if name in moment.shots)
        }
        steps.append(LogStep(
            moment.timestamp, MappingProxyType(images), find(moment.timestamp),
            _sweep(moment.lidar, find, mounted, columns), speed_at(moment.timestamp) if speed_at else None,
        ))  # fmt: skip
    return tuple(steps)


def _sweep(
    shot: Shot | None, find: PoseAt, rig_from_lidar: Float64[np.ndarray, "4 4"], columns: int
) -> LidarSweep | None:
    if shot is None:
        return None
    world_from_rig = shot.pose if shot.pose is not None else find(shot.timestamp)
    if world_from_rig is None:
        return LidarSweep(shot.timestamp, shot.path, "rig", rig_from_lidar, columns)
    return LidarSweep(shot.timestamp, shot.path, "world", world_from_rig @ rig_from_lidar, columns)


def without_pose(steps: Sequence[LogStep]) -> list[str]:
    """A note on photos whose time lies outside of the known poses, when the others have one."""
    images = [image for step in steps for image in step.images.values()]
    missing = sum(image.world_from_rig is None for image in images)
    if not 0 < missing < len(images):
        return []
    return [f"{missing} of {len(images)} photos lie before the first or after the last pose and have none"]


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of a photo as shown, from its header.

    Raises:
        InputError: it is no image.
    """
    try:
        with Image.open(path) as image:
            orientation = image.getexif().get(0x0112, 1)
            probe = Image.new("1", (1, 2))
            turned = turned_upright(probe, orientation if orientation in range(1, 9) else 1).size != probe.size
            return (image.width, image.height) if turned else (image.height, image.width)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"The photo {path} is damaged.", "Copy it again from the source, or remove it.") from error


def first_size(shots: Sequence[Shot]) -> tuple[int, int]:
    """Size of the first photo that can be opened.

    Raises:
        InputError: none can.
    """
    for shot in shots[:-1]:
        try:
            return image_size(shot.path)
        except InputError:
            continue
    return image_size(shots[-1].path)
