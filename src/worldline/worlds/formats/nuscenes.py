"""nuScenes v1.0: the JSON tables, camera images and LiDAR sweeps of driving scenes, readable by nuScenes readers.

::

    v1.0-worldline/*.json    the 13 tables, over all scenes of the folder
    samples/CHANNEL/         key frames (2 per second);  sweeps/CHANNEL/  what lies between them
    maps/blank.png           there is no map
    scenes/NAME.json         the table rows of one scene; its presence says that the scene is complete

The files of a scene come first, then its ``scenes/NAME.json``, and the tables are put together from those at the end,
each in one step. An interrupted run therefore leaves the former tables as they were; calling again goes on.

Frames as the public schema has them: global = world (z up), ego = rig (x forward, y left, z up), LiDAR x right,
y forward, z up, cameras with OpenCV axes; quaternions w, x, y, z; microseconds; sizes as width, length, height.
"""

from __future__ import annotations

import datetime
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from worldline.errors import InputError
from worldline.files import replacing_file, write_json
from worldline.worlds.cameras.rigs import RIG_FROM_LIDAR
from worldline.worlds.formats.nuscenes_tables import (
    Row,
    attribute_of,
    category_of,
    merge,
    quaternion,
    read_fragments,
    token,
    visibility_level,
)
from worldline.worlds.formats.plan import Plan, photo, photographs
from worldline.worlds.rendering.views import intrinsics
from worldline.worlds.truth import Instants, Sweep, boxes, sweep, visible_shares
from worldline.worlds.world import World

LIDAR = "LIDAR_TOP"
_KEY_RATE = 2.0  # key frames per second
_EPOCH = 1_600_000_000_000_000  # microseconds; scenes follow each other at intervals of an hour
_HOUR = 3_600_000_000


def paths(world: World, root: Path, name: str) -> list[Path]:
    """The record of a complete scene."""
    return [root / "scenes" / f"{name}.json"]


def check(world: World) -> None:
    """Only rigs can be written, whose cameras stay in place.

    Raises:
        InputError: the world has no rig, or its cameras move on it.
    """
    if world.world_from_rig is None:
        raise InputError("nuScenes holds drives of a camera rig, and this world has none.", "Take the layout street.")
    mounted = np.linalg.inv(world.world_from_rig)[world.cameras.frame] @ world.cameras.world_from_cam
    for sensor in range(len(world.sensors)):
        if np.ptp(mounted[world.cameras.sensor == sensor], axis=0).max() > 1e-6:
            raise InputError(f"{world.sensors[sensor]} moves on its rig.", "nuScenes has one calibration per scene.")


def finish(root: Path) -> None:
    """Put the tables together."""
    fragments = read_fragments(root / "scenes")
    if fragments:
        merge(root, fragments)


def write(world: World, root: Path, name: str, plan: Plan) -> None:
    """Write the files of a scene, then the record of its rows."""
    scene = _Scene(world, name, plan)
    rows: dict[str, list[Row]] = {"log": [scene.log()], "scene": [scene.scene()], "sample": scene.samples()}
    rows |= {"sensor": [], "calibrated_sensor": []}
    for channel in (LIDAR, *world.sensors):
        sensor, calibrated = scene.calibration(channel)
        rows["sensor"].append(sensor)
        rows["calibrated_sensor"].append(calibrated)
    cameras = [
        (channel, frame) for channel in world.sensors for frame in np.unique(scene.frames_of(channel)).tolist()
    ]  # fmt: skip
    data = [scene.data(LIDAR, frame) for frame in range(scene.length)] + [scene.data(*each) for each in cameras]
    rows["sample_data"] = data
    rows["ego_pose"] = [scene.ego_pose(row) for row in data]
    instants = Instants(world, plan.device)
    turns = {}
    for frame in range(scene.length):
        turn = sweep(world, frame, instants=instants)
        if frame in scene.keys:
            turns[frame] = turn
        _save_sweep(turn, root / scene.file(LIDAR, frame))
    for view, sample, place in photographs(world, np.arange(world.views), plan):
        channel, frame = world.sensors[world.cameras.sensor[view]], int(world.cameras.frame[view])
        path = root / scene.file(channel, frame)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(path) as temporary:
            photo(sample, place).save(temporary, "JPEG", quality=92, subsampling=0)
    rows["sample_annotation"], rows["instance"] = _annotate(scene, turns, instants)
    write_json(root / "scenes" / f"{name}.json", rows)


def _save_sweep(turn: Sweep, path: Path) -> None:
    """x, y, z, intensity, ring as float32, point by point."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = (turn.points, turn.intensity[:, None], turn.ring[:, None])
    with replacing_file(path) as temporary:
        temporary.write_bytes(np.concatenate(columns, 1).astype("<f4").tobytes())


class _Scene:
    """The rows of one scene, and where its files go."""

    def __init__(self, world: World, name: str, plan: Plan) -> None:
        self.world, self.name, self.plan = world, name, plan
        times = world.motion.times
        self.length = len(times)
        self.start = _EPOCH + (world.seed % 1_000_000) * _HOUR
        # the first instant at or after every half second
        due = np.floor((times - times[0]) * _KEY_RATE + 1e-6)
        self.keys = np.flatnonzero(np.r_[True, np.diff(due) > 0]).tolist()

    def time(self, frame: int) -> int:
        """Microseconds."""
        return self.start + round(1e6 * float(self.world.motion.times[frame]))

    def frames_of(self, channel: str) -> np.ndarray:
        """Instants at which a channel recorded."""
        if channel == LIDAR:
            return np.arange(self.length)
        return self.world.cameras.frame[self.world.cameras.sensor == self.world.sensors.index(channel)]

    def file(self, channel: str, frame: int) -> str:
        """Place of a recording below the root."""
        folder, suffix = "samples" if frame in self.keys else "sweeps", "pcd.bin" if channel == LIDAR else "jpg"
        return f"{folder}/{channel}/{self.name}__{channel}__{self.time(frame)}.{suffix}"

    def token(self, *parts: object) -> str:
        """A token of this scene."""
        return token(self.name, *parts)

    def neighbours(self, frames: list[int], frame: int, *kind: object) -> Row:
        """Links to the rows before and after; empty at the ends."""
        at = frames.index(frame)
        return {
            "prev": self.token(*kind, frames[at - 1]) if at > 0 else "",
            "next": self.token(*kind, frames[at + 1]) if at + 1 < len(frames) else "",
        }

    def log(self) -> Row:
        """One log per scene."""
        day = datetime.datetime.fromtimestamp(self.start / 1e6, datetime.UTC).date().isoformat()
        return {
            "token": self.token("log"), "logfile": self.name, "vehicle": "worldline", "date_captured": day,
            "location": f"procedural-{self.world.layout}",
        }  # fmt: skip

    def scene(self) -> Row:
        """The scene itself."""
        return {
            "token": self.token("scene"), "log_token": self.token("log"), "nbr_samples": len(self.keys),
            "first_sample_token": self.token("sample", self.keys[0]),
            "last_sample_token": self.token("sample", self.keys[-1]), "name": self.name,
            "description": f"worldline {self.world.layout}, seed {self.world.seed}",
        }  # fmt: skip

    def samples(self) -> list[Row]:
        """Key frames."""
        return [
            {
                "token": self.token("sample", frame), "timestamp": self.time(frame), "scene_token": self.token("scene"),
                **self.neighbours(self.keys, frame, "sample"),
            }
            for frame in self.keys
        ]  # fmt: skip

    def calibration(self, channel: str) -> tuple[Row, Row]:
        """Rows of the tables sensor and calibrated_sensor."""
        matrix, pose = [], RIG_FROM_LIDAR
        if channel != LIDAR:
            view = int(np.flatnonzero(self.world.cameras.sensor == self.world.sensors.index(channel))[0])
            matrix = intrinsics(self.world.cameras, self.plan.height, self.plan.width)[view].tolist()
            pose = self._rig_from_cam(view)
        modality = "lidar" if channel == LIDAR else "camera"
        sensor = {"token": token("sensor", channel), "channel": channel, "modality": modality}
        return sensor, {
            "token": self.token("calibration", channel), "sensor_token": sensor["token"],
            "translation": pose[:3, 3].tolist(), "rotation": quaternion(pose[:3, :3]), "camera_intrinsic": matrix,
        }  # fmt: skip

    def _rig_from_cam(self, view: int) -> Float64[np.ndarray, "4 4"]:
        rig = self._rig(int(self.world.cameras.frame[view]))
        return np.linalg.inv(rig) @ self.world.cameras.world_from_cam[view]

    def _rig(self, frame: int) -> Float64[np.ndarray, "4 4"]:
        if self.world.world_from_rig is None:  # checked before
            raise InputError("This world has no rig.", "Take the layout street.")
        return self.world.world_from_rig[frame]

    def data(self, channel: str, frame: int) -> Row:
        """Row of sample_data: one recording of one sensor. Between key frames it belongs to the next one."""
        sample = next((key for key in self.keys if key >= frame), self.keys[-1])
        is_camera = channel != LIDAR
        return {
            "token": self.token("data", channel, frame), "sample_token": self.token("sample", sample),
            "ego_pose_token": self.token("data", channel, frame),
            "calibrated_sensor_token": self.token("calibration", channel), "filename": self.file(channel, frame),
            "fileformat": "jpg" if is_camera else "pcd", "width": self.plan.width if is_camera else 0,
            "height": self.plan.height if is_camera else 0, "timestamp": self.time(frame),
            "is_key_frame": frame in self.keys,
            **self.neighbours(sorted(set(self.frames_of(channel).tolist())), frame, "data", channel),
        }  # fmt: skip

    def ego_pose(self, data: Row) -> Row:
        """Where the rig was at a recording; it shares the recording's token, as in the original."""
        frame = next(f for f in range(self.length) if self.time(f) == data["timestamp"])
        pose = self._rig(frame)
        return {
            "token": data["ego_pose_token"], "timestamp": data["timestamp"], "rotation": quaternion(pose[:3, :3]),
            "translation": pose[:3, 3].tolist(),
        }  # fmt: skip


def _annotate(scene: _Scene, turns: dict[int, Sweep], instants: Instants) -> tuple[list[Row], list[Row]]:
    """Boxes of vehicles, people and whatever moves, at all key frames, and the instances that they show."""
    annotations: dict[int, list[Row]] = {}
    kinds: dict[int, str] = {}
    for frame in scene.keys:
        found = boxes(scene.world, frame)
        _, shares = visible_shares(
            scene.world, frame, height=scene.plan.height, width=scene.plan.width, instants=instants
        )  # fmt: skip
        for row, number in enumerate(found.object_id.tolist()):
            # what a thing is does not change while its arms and wheels turn
            kind = kinds.setdefault(number, category_of(found.size[row], bool(found.moves[row])) or "")
            if not kind:
                continue
            attribute, length_first = attribute_of(kind, bool(found.moves[row])), found.size[row]
            turn = np.array([np.cos(0.5 * found.yaw[row]), 0.0, 0.0, np.sin(0.5 * found.yaw[row])])
            annotations.setdefault(number, []).append({
                "token": scene.token("annotation", number, frame), "sample_token": scene.token("sample", frame),
                "instance_token": scene.token("instance", number),
                "visibility_token": visibility_level(float(shares[row])),
                "attribute_tokens": [token("attribute", attribute)] if attribute else [],
                "translation": found.center[row].tolist(), "size": length_first[[1, 0, 2]].tolist(),
                "rotation": turn.tolist(), "num_lidar_pts": int(found.inside(row, turns[frame].world).sum()),
                "num_radar_pts": 0, **scene.neighbours(scene.keys, frame, "annotation", number),
            })  # fmt: skip
    instances = [
        {
            "token": scene.token("instance", number), "category_token": token("category", kinds[number]),
            "nbr_annotations": len(rows), "first_annotation_token": rows[0]["token"],
            "last_annotation_token": rows[-1]["token"],
        }
        for number, rows in annotations.items()
    ]  # fmt: skip
    return [row for rows in annotations.values() for row in rows], instances
