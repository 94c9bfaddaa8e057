"""Our own layout, simple enough to be written by hand for any rig; docs/logs.md has a complete example.

::

    rig.json                {"sensors": {NAME: {"intrinsics", "rig_from_cam", "width", "height"}}, "ground", ...}
    NAME/<timestamp>.jpg    photos of a sensor; or any names, and NAME/times.csv with lines "file,timestamp"
    poses.csv               optional, TUM order: t tx ty tz qx qy qz qw (world_from_rig)
    lidar/<timestamp>.npy   optional, also .bin or .ply
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from worldline.errors import InputError
from worldline.inputs.logs.clouds import CLOUD_SUFFIXES
from worldline.inputs.logs.log import Log
from worldline.inputs.logs.poses import PoseTrack, pinhole, pose, rigid
from worldline.inputs.logs.steps import (
    Request,
    Shot,
    build_steps,
    chosen_sensors,
    first_size,
    group,
    only_existing,
    without_pose,
)
from worldline.inputs.sources import IMAGE_SUFFIXES
from worldline.types import Rig

_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_EPOCHS = (
    (1e17, 1e-9),
    (1e14, 1e-6),
    (1e11, 1e-3),
)  # whole numbers from these on count fractions of a second since 1970
_LAYOUT = '{"sensors": {"front": {"intrinsics": [fx, fy, cx, cy], "rig_from_cam": 4x4, "width": 640, "height": 480}}}'


def recognise(path: Path) -> bool:
    """A folder with a rig.json."""
    return (path / "rig.json").is_file()


def scenes(path: Path) -> list[str]:
    """The folder is one drive."""
    return [path.resolve().name]


def read(path: Path, request: Request) -> Log:
    """The drive; photos are grouped around those of the first sensor."""
    content = _content(path / "rig.json")
    sensors = chosen_sensors(list(content["sensors"]), request, f"{path / 'rig.json'}")
    unit, frame_numbers = _unit(content), False
    listed: dict[str, list[Shot]] = {}
    for name in sensors:
        listed[name], looks = _shots(path / name, unit)
        frame_numbers |= looks
    shots, notes = only_existing(listed, f"The log {path}", request.sensors is not None)
    lidar = _lidar(path / "lidar", unit)
    track = _poses(path / "poses.csv", unit)
    moments, more = group(shots, lidar)
    mounted, columns = _lidar_mount(content.get("lidar", {}), path)
    steps = build_steps(moments, tuple(shots), pose_at=track.at, rig_from_lidar=mounted, columns=columns)
    notes += [*more, *without_pose(steps)]
    if frame_numbers:
        notes.append("file names look like frame numbers, and were read as seconds; times.csv would give their times")
    bent = [name for name in shots if content["sensors"][name].get("distortion")]
    if bent:
        notes.append(f"{', '.join(bent)}: the calibration states lens distortion, which is not removed")
    rig = _rig(content, {name: first_size(each) for name, each in shots.items()}, path / "rig.json")
    return Log(
        str(content.get("name", path.resolve().name)), rig, steps, f"rig {path}", str(content.get("license", "")),
        tuple(notes),
    )  # fmt: skip


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}).", f"Expected: {_LAYOUT}") from error
    sensors = content.get("sensors") if isinstance(content, dict) else None
    if not isinstance(sensors, dict) or not sensors or not all(isinstance(each, dict) for each in sensors.values()):
        raise InputError(f"{path} describes no sensors.", f"Expected: {_LAYOUT}")
    return content


def _unit(content: dict[str, Any]) -> float | None:
    unit = content.get("time_unit")
    if unit is not None and unit not in _UNITS:
        raise InputError(f"rig.json has the time unit {unit!r}.", f"Choose one of: {', '.join(_UNITS)}.")
    return None if unit is None else _UNITS[unit]


def seconds(text: str, unit: float | None = None) -> float:
    """A timestamp as seconds: "12.5", or whole seconds, milli-, micro- or nanoseconds since 1970, told by their size.

    Raises:
        ValueError: no number.
    """
    if unit is None:
        unit = next((each for least, each in _EPOCHS if text.isdecimal() and int(text) >= least), 1.0)
    # whole numbers of nanoseconds have more digits than a float: divide before rounding
    value = int(text) / round(1 / unit) if text.isdecimal() else float(text) * unit
    if not np.isfinite(value):
        raise ValueError(f"{text} is no time")
    return value


def _shots(folder: Path, unit: float | None) -> tuple[list[Shot], bool]:
    """Photos of a sensor, and whether their names look like frame numbers."""
    table = folder / "times.csv"
    if table.is_file():
        return _timed(table, unit), False
    if not folder.is_dir():
        return [], False
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    shots = [Shot(_time_of(path, unit), path) for path in files]
    counts = [int(path.stem) for path in files if path.stem.isdecimal()]
    return shots, unit is None and len(counts) > 1 and counts == list(range(counts[0], counts[0] + len(files)))


def _time_of(path: Path, unit: float | None) -> float:
    try:
        return seconds(path.stem, unit)
    except ValueError as error:
        raise InputError(
            f"The name of {path} is no timestamp.",
            f"Name files by their time, or list them in {path.parent}/times.csv.",
        ) from error


def _timed(table: Path, unit: float | None) -> list[Shot]:
    """Lines "file,timestamp"; a first line of names is passed over."""
    with table.open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.reader(stream) if row and not row[0].lstrip().startswith("#")]
    shots = []
    for number, row in enumerate(rows):
        try:
            name, time = row
            shots.append(Shot(seconds(time.strip(), unit), table.parent / name.strip()))
        except ValueError as error:
            if number:
                raise InputError(f"{table}: the line {','.join(row)!r} is wrong.", "Write: file,timestamp") from error
    return shots


def _lidar(folder: Path, unit: float | None) -> list[Shot]:
    if not folder.is_dir():
        return []
    files: Iterable[Path] = sorted(path for path in folder.iterdir() if path.suffix.lower() in CLOUD_SUFFIXES)
    return [Shot(_time_of(path, unit), path) for path in files]


def _lidar_mount(content: dict[str, Any], path: Path) -> tuple[Float64[np.ndarray, "4 4"] | None, int]:
    """rig_from_lidar (None: the points are in the rig frame), and the numbers per point of .bin files."""
    try:
        value = content.get("rig_from_lidar")
        return None if value is None else _mount(value), int(content.get("columns", 4))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"The LiDAR in {path / 'rig.json'} is wrong ({error}).", "See docs/logs.md.") from error


def _poses(path: Path, unit: float | None) -> PoseTrack:
    """world_from_rig over time; empty without the file."""
    if not path.is_file():
        return PoseTrack(np.zeros(0), np.zeros((0, 4, 4)))
    times, poses = [], []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#"):
            continue
        try:
            time, tx, ty, tz, qx, qy, qz, qw = words
            times.append(seconds(time, unit))
            poses.append(pose([float(tx), float(ty), float(tz)], [float(w) for w in (qw, qx, qy, qz)]))
        except ValueError as error:
            if times or number:
                raise InputError(
                    f"{path}, line {number + 1} is no pose ({error}).", "Write: t tx ty tz qx qy qz qw"
                ) from error
    return PoseTrack(np.array(times), np.array(poses).reshape(-1, 4, 4))


def _rig(content: dict[str, Any], sizes: dict[str, tuple[int, int]], path: Path) -> Rig:
    """Calibration of the sensors that have photos."""
    rows = {name: content["sensors"][name] for name in sizes}
    for name, (height, width) in sizes.items():
        told = rows[name].get("height", height), rows[name].get("width", width)
        if told != (height, width):
            raise InputError(
                f"The photos of {name} have {width}x{height} pixels, and {path} says {told[1]}x{told[0]}.",
                "Give the size, and the intrinsics, of the photos as they are.",
            )
    intrinsics = _all_or_none(rows, "intrinsics", _intrinsics, path)
    mounts = _all_or_none(rows, "rig_from_cam", _mount, path)
    ground = content.get("ground")
    if ground is not None and (isinstance(ground, bool) or not isinstance(ground, int | float)):
        raise InputError(
            f"The ground in {path} is {ground!r}.", "Give the height of the road in the rig frame, metres."
        )
    return Rig(tuple(sizes), intrinsics, mounts, tuple(sizes.values()), None if ground is None else float(ground))


def _all_or_none(rows: dict[str, dict[str, Any]], key: str, convert: Any, path: Path) -> np.ndarray | None:
    given = [name for name, row in rows.items() if row.get(key) is not None]
    if not given:
        return None
    if len(given) < len(rows):
        missing = [name for name in rows if name not in given]
        raise InputError(f"{path} has no {key} of {', '.join(missing)}.", "Give them for all sensors, or for none.")
    matrices = []
    for name in given:
        try:
            matrices.append(convert(rows[name][key]))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"The {key} of {name} in {path} are wrong ({error}).", f"Expected: {_LAYOUT}") from error
    return np.stack(matrices)


def _intrinsics(value: Any) -> Float64[np.ndarray, "3 3"]:
    numbers = np.asarray(value, np.float64)
    if numbers.shape == (3, 3):
        numbers = numbers[[0, 1, 0, 1], [0, 1, 2, 2]]
    fx, fy, cx, cy = numbers.tolist()
    return pinhole(fx, fy, cx, cy)


def _mount(value: Any) -> Float64[np.ndarray, "4 4"]:
    """4x4, or {"translation": [x, y, z], "rotation": [w, x, y, z]}."""
    return pose(value["translation"], value["rotation"]) if isinstance(value, dict) else rigid(value)
