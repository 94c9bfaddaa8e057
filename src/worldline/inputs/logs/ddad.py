"""DDAD, and other scene data sets in the DGP format of the Toyota Research Institute.

::

    000000/scene_<hash>.json        samples (moments) with datum_keys, and data by key
    000000/calibration/<key>.json   names, intrinsics, extrinsics (vehicle from sensor)
    000000/rgb/CAMERA_01/*.png      000000/point_cloud/LIDAR/*.npz

Read after the public schema (TRI-ML/dgp, dgp/proto/*.proto). The pose of a datum is that of its *sensor* in the world
of the scene, so the rig is that pose times the inverse of the sensor's extrinsics; numbers that are 0 may be absent.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from worldline.errors import InputError
from worldline.inputs.logs.log import Log
from worldline.inputs.logs.poses import PoseTrack, inverse, pinhole, pose
from worldline.inputs.logs.steps import (
    Moment,
    Request,
    Shot,
    build_steps,
    chosen_sensors,
    only_existing,
    without_pose,
)
from worldline.types import Rig

_LICENSE = "as the data set states (DDAD: CC BY-NC-SA 4.0, non-commercial)"
_PINHOLE = ("fx", "fy", "cx", "cy")
_NO_LENS = (*_PINHOLE, "skew", "fov")  # whatever else is not 0 describes a lens


def recognise(path: Path) -> bool:
    """A scene, or a folder of scenes."""
    return bool(_scene_files(path))


def scenes(path: Path) -> list[str]:
    """Folder names of the scenes."""
    return [file.parent.name for file in _scene_files(path)]


def read(path: Path, request: Request) -> Log:
    """One scene; the data of a sample belong together."""
    file = next((file for file in _scene_files(path) if file.parent.name == request.scene), None)
    if file is None:
        raise InputError(f"{path} has no scene {request.scene!r}.", f"It has: {', '.join(scenes(path))}.")
    try:
        return _read(file, request)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{file} or its calibration is no DGP scene ({error}).", "Unpack the scene again.") from error


def _read(file: Path, request: Request) -> Log:
    content = _json(file)
    where, root = f"The scene {file.parent}", file.parent
    data = {row["key"]: row for row in content["data"]}
    first = _Calibration.read(root, content["samples"][0]["calibration_key"])
    images = [row for row in data.values() if "image" in row["datum"]]
    available = sorted({row["id"]["name"] for row in images})
    sensors = chosen_sensors(available, request, where)
    listed: dict[str, list[Shot]] = {name: [] for name in sensors}
    moments = []
    for sample in content["samples"]:
        calibration = _Calibration.read(root, sample["calibration_key"])
        moment = Moment(_seconds(sample["id"]["timestamp"]))
        for row in (data[key] for key in sample["datum_keys"]):
            name, kind = row["id"]["name"], next(iter(row["datum"]))
            if kind == "image" and name in sensors:
                moment.shots[name] = _shot(row, root, calibration)
                listed[name].append(moment.shots[name])
            elif kind == "point_cloud" and moment.lidar is None:
                sweep = _shot(row, root, calibration)
                moment.lidar, lidar = (sweep, name) if sweep.path.is_file() else (None, "")
        moments.append(moment)
    found, notes = only_existing(listed, where, request.sensors is not None)
    there = {id(shot) for shots in found.values() for shot in shots}
    for moment in moments:
        moment.shots = {name: shot for name, shot in moment.shots.items() if id(shot) in there}
    lidar = next((row["id"]["name"] for row in data.values() if "point_cloud" in row["datum"]), "")
    posed = [shot for shots in found.values() for shot in shots if shot.pose is not None]
    track = PoseTrack(
        np.array([shot.timestamp for shot in posed]), np.array([shot.pose for shot in posed]).reshape(-1, 4, 4)
    )
    steps = build_steps(moments, tuple(found), pose_at=track.at, rig_from_lidar=first.mounts.get(lidar))
    sizes = {row["id"]["name"]: _size(row) for row in images}
    notes += [*without_pose(steps), *first.lens_notes(tuple(found))]
    rig = first.rig({name: sizes[name] for name in found})
    return Log(root.name, rig, steps, f"ddad {file}", _LICENSE, tuple(notes))


def _scene_files(path: Path) -> list[Path]:
    own = sorted(path.glob("scene_*.json"))
    inside = own or [
        file for folder in (path, path / "ddad_train_val") for file in sorted(folder.glob("*/scene_*.json"))
    ]
    # data sets of scenes have a list scene_dataset_*.json beside the folders
    return [file for file in inside if (file.parent / "calibration").is_dir()]


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.", "Unpack the scene again.") from error


def _seconds(text: str) -> float:
    """RFC 3339, e.g. 2019-09-30T15:38:57.123456Z, with up to 9 decimals."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.datetime.fromisoformat(f"{whole}+00:00").timestamp() + float(f"0.{fraction or 0}")


def _size(row: Mapping[str, Any]) -> tuple[int, int]:
    return int(row["datum"]["image"]["height"]), int(row["datum"]["image"]["width"])


def _matrix(value: Mapping[str, Any]) -> Float64[np.ndarray, "4 4"]:
    shift, turn = value.get("translation", {}), value.get("rotation", {})
    return pose([shift.get(k, 0.0) for k in "xyz"], [turn.get(k, 0.0) for k in ("qw", "qx", "qy", "qz")])


@dataclass(frozen=True, eq=False)
class _Calibration:
    intrinsics: dict[str, dict[str, float]]
    mounts: dict[str, Float64[np.ndarray, "4 4"]]  # rig_from_sensor

    @classmethod
    def read(cls, root: Path, key: str) -> _Calibration:
        """The calibration of a sample."""
        content = _json(root / "calibration" / f"{key}.json")
        names = content["names"]
        return cls(
            dict(zip(names, content["intrinsics"], strict=True)),
            {name: _matrix(value) for name, value in zip(names, content["extrinsics"], strict=True)},
        )

    def rig(self, sizes: dict[str, tuple[int, int]]) -> Rig:
        """The cameras; the height of the road in the vehicle frame is not part of the format."""
        matrices = [pinhole(*(float(self.intrinsics[name].get(k, 0.0)) for k in _PINHOLE)) for name in sizes]
        return Rig(tuple(sizes), np.stack(matrices), np.stack([self.mounts[n] for n in sizes]), tuple(sizes.values()))

    def lens_notes(self, sensors: tuple[str, ...]) -> list[str]:
        """A note on cameras whose calibration states a lens that is no pinhole."""
        bent = [
            name
            for name in sensors
            if any(value for key, value in self.intrinsics[name].items() if key not in _NO_LENS)
        ]
        return [f"{', '.join(bent)}: the calibration states lens distortion, which is not removed"] if bent else []


def _shot(row: Mapping[str, Any], root: Path, calibration: _Calibration) -> Shot:
    name, (_, datum) = row["id"]["name"], next(iter(row["datum"].items()))
    placed = None
    if datum.get("pose", {}).get("rotation"):
        placed = _matrix(datum["pose"]) @ inverse(calibration.mounts[name])
    return Shot(_seconds(row["id"]["timestamp"]), root / datum["filename"], placed)
