"""The kinds of logs that can be read: a table from name to reader, and how to open one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from worldline.errors import InputError
from worldline.inputs.logs import ddad, kitti, kitti_odometry, nuscenes, ours, rig
from worldline.inputs.logs.log import Log
from worldline.inputs.logs.steps import Request

_NAMES_SHOWN = 20


@dataclass(frozen=True)
class LogKind:
    """One layout of files on disk."""

    looks_like: str  # what a user sees in the folder
    recognise: Callable[[Path], bool]
    scenes: Callable[[Path], list[str]]
    read: Callable[[Path, Request], Log]


LOG_KINDS: dict[str, LogKind] = {
    "rig": LogKind("rig.json and a folder of photos per camera", rig.recognise, rig.scenes, rig.read),
    "nuscenes": LogKind("v1.0-*/sample_data.json, samples/", nuscenes.recognise, nuscenes.scenes, nuscenes.read),
    "kitti": LogKind("*_drive_*_sync/image_02/data, calib_cam_to_cam.txt", kitti.recognise, kitti.scenes, kitti.read),
    "kitti-odometry": LogKind(
        "sequences/00/{calib.txt, times.txt, image_2}", kitti_odometry.recognise, kitti_odometry.scenes,
        kitti_odometry.read,
    ),
    "ddad": LogKind("000000/{scene_*.json, calibration/, rgb/}", ddad.recognise, ddad.scenes, ddad.read),
    "ours": LogKind("scene.json with frames, as worlds write makes it", ours.recognise, ours.scenes, ours.read),
}  # fmt: skip


def open_log(
    path: Path | str, *, kind: str | None = None, scene: str | None = None, sweeps: bool = False,
    sensors: Sequence[str] | None = None,
) -> Log:  # fmt: skip
    """Open the log of a camera rig. Photos and LiDAR are found but not decoded.

    Args:
        path: the folder of a data set or of one drive; docs/logs.md shows what each kind looks like.
        kind: a name in :data:`LOG_KINDS`; None: recognised by its files.
        scene: name of the drive; needed where the folder has several.
        sweeps: nuScenes only: all photos (12 per second) instead of key frames (2 per second).
        sensors: the cameras to read, in the order wanted; None: all.

    Raises:
        InputError: the folder is missing or of no known kind, an unknown kind, scene or camera, several scenes and none
            chosen, or files that are damaged. Lists the choices.
    """
    root = Path(path).expanduser()
    if not root.is_dir():
        problem = "is a file" if root.exists() else "does not exist"
        raise InputError(f"The log {root} {problem}.", f"Give the folder of one of these kinds: {_kinds()}.")
    if kind is not None and kind not in LOG_KINDS:
        raise InputError(f"There is no kind of log called {kind!r}.", f"Choose one of: {', '.join(LOG_KINDS)}.")
    chosen = kind or next((name for name, each in LOG_KINDS.items() if each.recognise(root)), None)
    if chosen is None or not LOG_KINDS[chosen].recognise(root):
        content = "is empty" if not any(root.iterdir()) else f"is no log of {'a known kind' if kind is None else kind}"
        wanted = _kinds() if kind is None else LOG_KINDS[kind].looks_like
        raise InputError(f"The folder {root} {content}.", f"Expected: {wanted}.")
    reader = LOG_KINDS[chosen]
    if sweeps and chosen != "nuscenes":
        raise InputError(f"Logs of the kind {chosen} have no sweeps apart from their photos.", "Leave sweeps away.")
    names = reader.scenes(root)
    if scene is None and len(names) > 1:
        raise InputError(f"{root} has {len(names)} scenes.", f"Choose one of: {_shortened(names)}.")
    if scene is not None and scene not in names:
        raise InputError(f"{root} has no scene {scene!r}.", f"Choose one of: {_shortened(names)}.")
    if not names:
        raise InputError(f"{root} has no scene.", "Unpack the data set again.")
    return reader.read(root, Request(scene or names[0], sweeps, None if sensors is None else tuple(sensors)))


def _kinds() -> str:
    return "; ".join(f"{name} ({kind.looks_like})" for name, kind in LOG_KINDS.items())


def _shortened(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + more
