"""nuScenes v1.0 (mini, trainval, test, and what ``worlds write --format nuscenes`` makes), read without its devkit.

::

    v1.0-*/*.json           tables whose rows are linked by tokens
    samples/, sweeps/       key frames (2 per second), and what lies between them
    can_bus/SCENE_vehicle_monitor.json   speed in km/h (the CAN bus expansion; optional)

Read after the public schema (nuscenes-devkit, docs/schema_nuscenes.md). The two big tables of trainval have 2.6 million
rows; each is read once, row by row, and only the rows of the chosen scene are kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from worldline.errors import InputError
from worldline.inputs.logs.log import Log
from worldline.inputs.logs.poses import PoseTrack, pose
from worldline.inputs.logs.steps import (
    Moment,
    Request,
    Shot,
    build_steps,
    chosen_sensors,
    group,
    only_existing,
)
from worldline.types import Rig

LIDAR = "LIDAR_TOP"
_COLUMNS = 5  # x, y, z, intensity, ring
_LICENSE = "nuScenes terms of use (CC BY-NC-SA 4.0, non-commercial)"
_OWN_LICENSE = "procedural (worldline.worlds), no third-party data"
_CHUNK = 1 << 22  # characters read at a time
_STALE = 1.0  # seconds between speed messages beyond which nothing is interpolated

Row = dict[str, Any]


def recognise(path: Path) -> bool:
    """A folder with ``v1.0-*`` tables, or such a folder itself."""
    return bool(_versions(path))


def scenes(path: Path) -> list[str]:
    """Names of all scenes of all versions in the folder."""
    return sorted({row["name"] for tables in _versions(path) for row in _rows(tables / "scene.json")})


def read(path: Path, request: Request) -> Log:
    """One scene: key frames, or all photos grouped around those of CAM_FRONT (without it, of the first camera)."""
    tables = _tables_of(path, request.scene)
    try:
        return _read(tables, request)
    except (KeyError, StopIteration, TypeError) as error:
        raise InputError(f"The tables in {tables} do not fit together ({error!r}).", "Unpack them again.") from error


def _read(tables: Path, request: Request) -> Log:
    root = tables.parent
    where = f"The scene {request.scene} of {root}"
    scene = _Scene(tables, request.scene)
    sensors = chosen_sensors([name for name in scene.channels if name != LIDAR], request, where)
    shots = scene.shots((*sensors, LIDAR), sweeps=request.sweeps)
    cameras, notes = only_existing({name: shots[name] for name in sensors}, where, request.sensors is not None)
    lidar = [shot for shot in shots[LIDAR] if shot.path.is_file()]
    if len(lidar) < len(shots[LIDAR]):
        notes.append(f"{LIDAR}: {len(shots[LIDAR]) - len(lidar)} of {len(shots[LIDAR])} sweeps are missing")
    if request.sweeps:
        around = "CAM_FRONT" if "CAM_FRONT" in cameras else next(iter(cameras))
        moments, more = group({around: cameras[around], **cameras}, lidar)
        notes += more
    else:
        moments = scene.key_moments(cameras, lidar)
    speed = _speed(root / "can_bus" / f"{request.scene}_vehicle_monitor.json")
    steps = build_steps(
        moments, tuple(cameras), pose_at=scene.track.at, rig_from_lidar=scene.mounted(LIDAR), columns=_COLUMNS,
        speed_at=speed,
    )  # fmt: skip
    own = tables.name == "v1.0-worldline"
    return Log(
        request.scene, scene.rig(tuple(cameras)), steps, f"nuscenes {tables}", _OWN_LICENSE if own else _LICENSE,
        tuple(notes),
    )  # fmt: skip


def _versions(path: Path) -> list[Path]:
    """Folders of tables, mini before trainval (which has its scenes too); the given one alone if it is one."""
    names = {"scene.json", "sample.json", "sample_data.json", "ego_pose.json", "calibrated_sensor.json", "sensor.json"}
    own = [path] if path.name.startswith("v1.0-") else []
    found = own or sorted(path.glob("v1.0-*"))
    return [folder for folder in found if all((folder / name).is_file() for name in names)]


def _tables_of(path: Path, scene: str) -> Path:
    for tables in _versions(path):
        if any(row["name"] == scene for row in _rows(tables / "scene.json")):
            return tables
    raise InputError(f"{path} has no scene {scene!r}.", f"It has: {', '.join(scenes(path))}.")


def _rows(path: Path) -> Iterator[Row]:
    """The rows of a table, one at a time; a table of gigabytes is never in memory as a whole.

    Raises:
        InputError: the file is missing, or no list of rows.
    """
    decoder = json.JSONDecoder()
    try:
        with path.open(encoding="utf-8") as stream:
            text = stream.read(_CHUNK).lstrip()
            if not text.startswith("["):
                raise ValueError("no list of rows")
            at, ended = 1, False
            while True:
                while at < len(text) and text[at] in " \t\r\n,":
                    at += 1
                try:
                    if at < len(text) and text[at] == "]":
                        return
                    row, at = decoder.raw_decode(text, at)
                except ValueError:  # the row goes on in the next chunk
                    more = "" if ended else stream.read(_CHUNK)
                    if not more:
                        raise
                    text, at = text[at:] + more, 0
                    continue
                yield row
    except OSError as error:
        raise InputError(f"The table {path} cannot be read: {error.strerror}.", "Unpack the tables again.") from error
    except ValueError as error:
        raise InputError(f"The table {path} is damaged ({error}).", "Unpack the tables again.") from error


@dataclass(frozen=True, eq=False)
class _Data:
    """A recording with its pose and the key frame it belongs to."""

    shot: Shot
    sample: str
    is_key: bool


class _Scene:
    """All rows of one scene, by token."""

    def __init__(self, tables: Path, name: str) -> None:
        self.tables = tables
        scene = next(row for row in _rows(tables / "scene.json") if row["name"] == name)
        samples = [row for row in _rows(tables / "sample.json") if row["scene_token"] == scene["token"]]
        self.samples = {row["token"]: 1e-6 * row["timestamp"] for row in sorted(samples, key=lambda r: r["timestamp"])}
        sensors = {row["token"]: row for row in _rows(tables / "sensor.json")}
        wanted = {
            token: row for token, row in sensors.items() if row["modality"] == "camera" or row["channel"] == LIDAR
        }
        mounts = {
            row["token"]: row for row in _rows(tables / "calibrated_sensor.json") if row["sensor_token"] in wanted
        }  # fmt: skip
        recordings = [
            row
            for row in _rows(tables / "sample_data.json")
            if row["sample_token"] in self.samples and row["calibrated_sensor_token"] in mounts
        ]
        tokens = {row["ego_pose_token"] for row in recordings}
        poses = {row["token"]: row for row in _rows(tables / "ego_pose.json") if row["token"] in tokens}
        self.track = PoseTrack(
            np.array([1e-6 * row["timestamp"] for row in poses.values()]),
            np.stack([_pose(row, tables) for row in poses.values()]),
        )
        self.calibration: dict[str, Row] = {}
        self.sizes: dict[str, tuple[int, int]] = {}
        self.data: dict[str, list[_Data]] = {}
        for row in sorted(recordings, key=lambda r: r["timestamp"]):
            mount = mounts[row["calibrated_sensor_token"]]
            channel = wanted[mount["sensor_token"]]["channel"]
            self.calibration.setdefault(channel, mount)
            self.sizes.setdefault(channel, (int(row["height"] or 0), int(row["width"] or 0)))
            at = _pose(poses[row["ego_pose_token"]], tables)
            shot = Shot(1e-6 * row["timestamp"], tables.parent / row["filename"], at)
            self.data.setdefault(channel, []).append(_Data(shot, row["sample_token"], bool(row["is_key_frame"])))
        # tables have no order that means something; sensors follow each other as the table "sensor" lists them
        self.channels = [row["channel"] for row in wanted.values() if row["channel"] in self.data]

    def shots(self, channels: tuple[str, ...], *, sweeps: bool) -> dict[str, list[Shot]]:
        """Recordings by channel in order of time: of key frames, or all of them."""
        return {
            name: [data.shot for data in self.data.get(name, []) if sweeps or data.is_key] for name in channels
        }  # fmt: skip

    def key_moments(self, cameras: dict[str, list[Shot]], lidar: list[Shot]) -> list[Moment]:
        """One moment per key frame, at the time that the table gives it."""
        kept = {id(shot) for shots in (*cameras.values(), lidar) for shot in shots}
        moments = {token: Moment(time) for token, time in self.samples.items()}
        for channel, listed in self.data.items():
            for data in listed:
                if not data.is_key or id(data.shot) not in kept:
                    continue
                if channel == LIDAR:
                    moments[data.sample].lidar = data.shot
                else:
                    moments[data.sample].shots[channel] = data.shot
        return list(moments.values())

    def mounted(self, channel: str) -> Float64[np.ndarray, "4 4"] | None:
        """rig_from_sensor."""
        row = self.calibration.get(channel)
        return None if row is None else _pose(row, self.tables)

    def rig(self, sensors: tuple[str, ...]) -> Rig:
        """Calibration of the cameras; the origin of the ego frame lies on the road below the rear axle."""
        rows = [self.calibration[name] for name in sensors]
        return Rig(
            sensors,
            np.array([row["camera_intrinsic"] for row in rows], np.float64),
            np.stack([_pose(row, self.tables) for row in rows]),
            tuple(self.sizes[name] for name in sensors),
            0.0,
        )


def _pose(row: Row, tables: Path) -> Float64[np.ndarray, "4 4"]:
    try:
        return pose(row["translation"], row["rotation"])
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"A row of {tables} holds no pose ({error}): {row.get('token')}.", "Unpack the tables again."
        ) from error


def _speed(path: Path) -> Callable[[float], float | None] | None:
    """Speed in m/s over time from the messages of the vehicle monitor."""
    if not path.is_file():
        return None
    rows = sorted(_rows(path), key=lambda row: row["utime"])
    times = np.array([1e-6 * row["utime"] for row in rows])
    speeds = np.array([row["vehicle_speed"] / 3.6 for row in rows])

    def at(time: float) -> float | None:
        after = int(np.searchsorted(times, time))
        if not len(times) or time < times[0] or time > times[-1]:
            return None
        if times[after] - times[max(after - 1, 0)] > _STALE:
            return None
        return float(np.interp(time, times, speeds))

    return at
