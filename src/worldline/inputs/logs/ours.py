"""A scene of posed photos in one scene.json, as ``worldline worlds write`` makes it.

::

    scene.json    {"frames": [{"image", "width", "height", "K": [fx, fy, cx, cy], "T_c2w": 4x4, "timestamp", "sensor",
                   "time_index", "lidar"}],
                   "lidar": [{"file", "timestamp", "T_l2w"}], "rig": [{"time_index", "T_r2w"}]}

Where the poses of the rig are not given, it is the first sensor with its axes turned to x forward, y left, z up, and
the other cameras are mounted as they stood at the first time that has photos of both.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from worldline.errors import InputError
from worldline.inputs.logs.log import LidarSweep, Log, LogImage, LogStep
from worldline.inputs.logs.poses import FLU_FROM_CV, inverse, pinhole, rigid
from worldline.inputs.logs.steps import Moment, Request, Shot, chosen_sensors, group, only_existing
from worldline.types import Rig

_LONE = "camera"  # the sensor of frames that name none
_INTERVAL = 1.0  # seconds between photos that have no times
_LIDAR_COLUMNS = 4

Row = dict[str, Any]


def recognise(path: Path) -> bool:
    """A scene.json that lists frames (nuScenes has a table of that name)."""
    try:
        content = json.loads((path / "scene.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and isinstance(content.get("frames"), list)


def scenes(path: Path) -> list[str]:
    """The folder is one scene."""
    return [path.resolve().name]


def read(path: Path, request: Request) -> Log:
    """The scene; frames of one ``time_index``, else of about the same time, belong together."""
    file = path / "scene.json"
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        return _Frames(path, content, request).log()
    except (KeyError, ValueError, TypeError, OSError) as error:
        raise InputError(
            f"{file} does not describe frames ({error}).",
            'Expected: {"frames": [{"image", "width", "height", "K": [fx, fy, cx, cy], "T_c2w": 4x4}]}',
        ) from error


class _Frames:
    """The frames of a scene.json, by sensor and time."""

    def __init__(self, path: Path, content: Row, request: Request) -> None:
        self.path, self.content = path, content
        rows: list[Row] = content["frames"]
        names = list(dict.fromkeys(str(row.get("sensor", _LONE)) for row in rows))
        self.sensors = chosen_sensors(names, request, f"The scene {path}")
        listed: dict[str, list[Shot]] = {name: [] for name in self.sensors}
        self.rows: dict[int, Row] = {}  # by the identity of a shot
        for row in rows:
            name = str(row.get("sensor", _LONE))
            if name in listed:
                at = float(row.get("timestamp", _INTERVAL * len(listed[name])))
                listed[name].append(Shot(at, path / row["image"], rigid(row["T_c2w"]) if "T_c2w" in row else None))
                self.rows[id(listed[name][-1])] = row
        self.shots, self.notes = only_existing(listed, f"The scene {path}", request.sensors is not None)
        self.sensors = tuple(self.shots)
        self.moments = self._moments()
        self.rig_poses = {int(row["time_index"]): rigid(row["T_r2w"]) for row in content.get("rig", [])}
        self.mounts = self._mounts()

    def _moments(self) -> list[Moment]:
        indices = {row.get("time_index") for row in self.rows.values()}
        if None in indices:
            moments, notes = group(self.shots)
            self.notes += notes
            return moments
        by_index: dict[int, Moment] = {}
        for name, shots in self.shots.items():
            for shot in shots:
                index = int(self.rows[id(shot)]["time_index"])
                by_index.setdefault(index, Moment(shot.timestamp)).shots[name] = shot
        return [by_index[index] for index in sorted(by_index)]

    def _mounts(self) -> dict[str, Float64[np.ndarray, "4 4"]] | None:
        """rig_from_cam of all sensors, None where it cannot be known."""
        mounts: dict[str, Float64[np.ndarray, "4 4"]] = {}
        reference = self.sensors[0]
        for moment in self.moments:
            world_from_rig = self._rig_at(moment)
            anchor = moment.shots.get(reference)
            if world_from_rig is None and anchor is not None and anchor.pose is not None and not self.rig_poses:
                world_from_rig = anchor.pose @ FLU_FROM_CV.T
            for name, shot in moment.shots.items():
                if world_from_rig is not None and shot.pose is not None:
                    mounts.setdefault(name, inverse(world_from_rig) @ shot.pose)
        if set(mounts) != set(self.sensors):
            return None
        if not self.rig_poses and len(self.sensors) > 1:
            self.notes.append(
                f"rig_from_cam was taken from the poses of one time, with {reference} as the rig: exact only if the "
                "cameras shot together"
            )
        return mounts

    def _rig_at(self, moment: Moment) -> Float64[np.ndarray, "4 4"] | None:
        shot = next(iter(moment.shots.values()))
        return self.rig_poses.get(int(self.rows[id(shot)].get("time_index", -1)))

    def _world_from_rig(self, name: str, shot: Shot) -> Float64[np.ndarray, "4 4"] | None:
        """Such that the camera is exactly where the file says, at its own time."""
        return None if shot.pose is None or self.mounts is None else shot.pose @ inverse(self.mounts[name])

    def log(self) -> Log:
        """The log."""
        steps = []
        for moment in self.moments:
            images = {
                name: LogImage(name, shot.timestamp, shot.path, self._world_from_rig(name, shot))
                for name, shot in ((name, moment.shots[name]) for name in self.sensors if name in moment.shots)
            }
            place = self._rig_at(moment)
            if place is None:
                place = next(iter(images.values())).world_from_rig
            steps.append(LogStep(moment.timestamp, images, place, self._sweep(moment)))
        name = str(self.content.get("name", self.path.resolve().name))
        license = str(self.content.get("licence", self.content.get("license", "")))
        return Log(name, self._rig(), tuple(steps), f"ours {self.path}", license, tuple(self.notes))

    def _rig(self) -> Rig:
        first = [self.rows[id(self.shots[name][0])] for name in self.sensors]
        known = all(row.get("K") is not None for row in first)
        for name, row in zip(self.sensors, first, strict=True):
            if any(self.rows[id(shot)].get("K") != row.get("K") for shot in self.shots[name]):
                self.notes.append(f"{name}: the intrinsics change between photos; those of the first are taken")
        mounts = None if self.mounts is None else np.stack([self.mounts[name] for name in self.sensors])
        sizes = tuple((int(row["height"]), int(row["width"])) for row in first)
        return Rig(self.sensors, np.stack([pinhole(*row["K"]) for row in first]) if known else None, mounts, sizes)

    def _sweep(self, moment: Moment) -> LidarSweep | None:
        rows: list[Row] = self.content.get("lidar", [])
        frame = self.rows[id(next(iter(moment.shots.values())))]
        if "lidar" in frame:
            found = rows[int(frame["lidar"])]
        else:
            matching = (row for row in rows if "time_index" in row and row["time_index"] == frame.get("time_index"))
            found = next(matching, {})
        if not found or not (self.path / found["file"]).is_file():
            return None
        # what `worlds write` makes names its layout and is in LiDAR axes; without that, points are in the world frame
        local = "layout" in self.content and "T_l2w" in found
        frame_from_file = rigid(found["T_l2w"]) if local else np.eye(4)
        return LidarSweep(
            float(found["timestamp"]), self.path / found["file"], "world", frame_from_file, _LIDAR_COLUMNS
        )
