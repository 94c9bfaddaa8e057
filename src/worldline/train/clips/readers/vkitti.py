"""Virtual KITTI 2: simulated drives with exact depth and the poses of all vehicles.

A drive is a folder ``Scene01/clone`` with ``frames/rgb/Camera_0/rgb_00000.jpg``,
``frames/depth/Camera_0/depth_00000.png`` (16 bits, centimetres along the optical axis; the greatest value is the sky),
``frames/instanceSegmentation/Camera_0/instancegt_00000.png`` (palette; index = trackID + 1, 0 = no vehicle) and the
tables ``intrinsic.txt``, ``extrinsic.txt`` and ``pose.txt``.

Traps: extrinsics are ``cam_from_world``; instance maps have a palette, so their colours mean nothing; Euler angles have
no stated order: pose.txt says every pose twice, in the world and in the camera, and the order under which both agree is
taken. A vehicle whose pose is not listed for all frames of a window is left out of it, unless it is parked.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from worldline.errors import InputError
from worldline.train.clips.readers import axes
from worldline.train.clips.readers.files import (
    REMEDY,
    Files,
    folders_with,
    naming,
    numbered,
    read_color,
    read_gray16,
    read_labels,
    read_table,
)  # fmt: skip
from worldline.train.clips.readers.sequence import Frame, FrameSequence, VideoSequence, sky_of

RATE = 10.0
_UNITS_PER_METRE = 100.0
_SKY = 65535
_TURN = ("y", "x", "z")  # order of the angles in pose.txt, and of the rotations in the KITTI convention
_PARKED = 1e-3  # metres and radians within which all poses of a parked vehicle agree
_AGREE = np.radians(3.0)  # median angle between the two statements of a pose
_MATRIX = [
    f"{name}{row}{comma}" for row in (1, 2, 3) for name, comma in (("r", ",1"), ("r", ",2"), ("r", ",3"), ("t", ""))
]


class Drive(FrameSequence):
    """One camera of one drive."""

    smoothing = 2  # whole centimetres are coarse: near the camera that is the width of a pixel

    def __init__(self, folder: Path, camera: int) -> None:
        self.folder, self.camera = folder, camera
        depths = self._files("depth")
        every = [number for number in self._files("rgb") if number in depths]
        super().__init__(f"{folder}, camera {camera}", every, RATE)

    def frame(self, index: int) -> Frame:
        number = int(self.numbers[index])
        raw = read_gray16(self._files("depth")[number])
        instances = self._files("instanceSegmentation")
        if number not in instances:
            raise InputError(
                f"{self.folder} has no instance map of frame {number}.",
                "Unpack vkitti_2.0.3_instanceSegmentation.tar there: without it nobody knows what moves.",
            )
        image, labels = read_color(self._files("rgb")[number]), read_labels(instances[number])
        return sky_of(Frame(image, raw.astype(np.float32) / np.float32(_UNITS_PER_METRE), labels), raw == _SKY)

    def cameras(
        self, index: Int[np.ndarray, "frame"], height: int, width: int
    ) -> tuple[Float[np.ndarray, "frame 3 3"], Float[np.ndarray, "frame 4 4"]]:
        numbers = [int(number) for number in self.numbers[index]]
        for table, name in zip(self._cameras, ("intrinsic.txt", "extrinsic.txt"), strict=True):
            if missing := [number for number in numbers if number not in table]:
                raise InputError(f"{self.folder / name} has no row for frame {missing[0]}.", REMEDY)
        lenses, poses = self._cameras
        return np.stack([lenses[n] for n in numbers]), np.stack([axes.invert(poses[n]) for n in numbers])

    def things(
        self, labels: Int[np.ndarray, "thing"], index: Int[np.ndarray, "frame"]
    ) -> tuple[Float[np.ndarray, "frame thing 4 4"], Bool[np.ndarray, "thing"]]:
        poses = np.broadcast_to(np.eye(4), (len(index), len(labels), 4, 4)).copy()
        known, table, wanted = np.zeros(len(labels), bool), self._vehicles, self.numbers[index]
        for column, label in enumerate(labels):
            own = table.of(int(label) - 1)
            listed = np.searchsorted(own.frame, wanted).clip(max=max(len(own.frame) - 1, 0))
            if len(own.frame) and (own.frame[listed] == wanted).all():
                poses[:, column], known[column] = own.poses(listed), True
            elif own.parked:
                poses[:, column], known[column] = own.poses(np.zeros(1, int)), True
        return poses, known

    def _files(self, kind: str) -> Files:
        return numbered(self.folder / "frames" / kind / f"Camera_{self.camera}", "*.jpg", "*.png")

    @cached_property
    def _cameras(self) -> tuple[dict[int, np.ndarray], dict[int, np.ndarray]]:
        """Intrinsics and ``cam_from_world`` by frame."""
        names = ("K[0,0]", "K[1,1]", "K[0,2]", "K[1,2]")
        inner = read_table(self.folder / "intrinsic.txt", ("frame", "cameraID", *names))
        outer = read_table(self.folder / "extrinsic.txt", ("frame", "cameraID", *_MATRIX))
        lenses = {frame: axes.pinhole(*row) for frame, row in self._rows(inner, names)}
        bottom = np.array([[0.0, 0.0, 0.0, 1.0]])
        return lenses, {frame: np.concatenate([row.reshape(3, 4), bottom]) for frame, row in self._rows(outer, _MATRIX)}

    @cached_property
    def _vehicles(self) -> Vehicles:
        """All poses of vehicles, in the order of time."""
        path = self.folder / "pose.txt"
        turns = {space: [f"rotation_{space}_space_{axis}" for axis in _TURN] for space in ("world", "camera")}
        places = [f"world_space_{axis}" for axis in "XYZ"]
        table = read_table(path, ("frame", "cameraID", "trackID", *places, *turns["world"], *turns["camera"]))
        own = np.flatnonzero(table["cameraID"] == self.camera)
        own = own[np.argsort(table["frame"][own], kind="stable")]
        frames, tracks = (table[name][own].astype(np.int64) for name in ("frame", "trackID"))
        angles = {space: np.stack([table[name][own] for name in turns[space]], -1) for space in turns}
        with naming(self.folder / "extrinsic.txt"):
            cameras = [self._cameras[1][frame] for frame in frames.tolist()]
        rotations = np.stack(cameras)[:, :3, :3] if cameras else np.eye(3)[None]
        order = agreed_order(angles["world"], angles["camera"], rotations)
        if order is None:
            raise InputError(f"{path} says other poses in the world than in the camera.", REMEDY)
        centers = np.stack([table[name][own] for name in places], -1)
        return Vehicles(frames, tracks, centers, angles["world"], order)

    def _rows(self, table: dict[str, np.ndarray], names: tuple[str, ...] | list[str]) -> list[tuple[int, np.ndarray]]:
        values = np.stack([table[name] for name in names], -1)
        own = np.flatnonzero(table["cameraID"] == self.camera)
        return [(int(table["frame"][row]), values[row]) for row in own]


@dataclass(frozen=True)
class Vehicles:
    """Poses of vehicles in the world: rows of pose.txt."""

    frame: Int[np.ndarray, "row"]
    track: Int[np.ndarray, "row"]
    center: Float[np.ndarray, "row 3"]
    angles: Float[np.ndarray, "row 3"]
    order: Order

    def of(self, track: int) -> Vehicles:
        """Those of one vehicle."""
        rows = self.track == track
        return Vehicles(self.frame[rows], self.track[rows], self.center[rows], self.angles[rows], self.order)

    def poses(self, rows: Int[np.ndarray, "n"]) -> Float[np.ndarray, "n 4 4"]:
        """``world_from_body`` of some rows."""
        return axes.poses(self.center[rows], euler(self.angles[rows], self.order))

    @property
    def parked(self) -> bool:
        """There are poses, and all are the same."""
        poses = self.poses(np.arange(len(self.frame)))
        return len(poses) > 0 and bool(np.abs(poses - poses[:1]).max() < _PARKED)


Order = tuple[tuple[int, ...], float]  # places of the angles in the product of rotations, sign of the first angle (yaw)


def euler(angles: Float[np.ndarray, "n 3"], order: Order) -> Float[np.ndarray, "n 3 3"]:
    """Angles about y, x and z -> rotations."""
    places, sign = order
    parts = [_about(axis, angles[:, k] * (sign if k == 0 else 1.0)) for k, axis in enumerate(_TURN)]
    first, second, third = (parts[place] for place in places)
    return first @ second @ third


def agreed_order(
    world: Float[np.ndarray, "n 3"], camera: Float[np.ndarray, "n 3"], cam_from_world: Float[np.ndarray, "n 3 3"]
) -> Order | None:
    """The order of rotations for which the same poses, said in the world and in the camera, agree; None if none does.

    That of KITTI (yaw, then pitch, then roll) where it is as good as any.
    """
    choices: list[Order] = [(places, sign) for sign in (1.0, -1.0) for places in itertools.permutations(range(3))]
    if not len(world):
        return choices[0]
    some = np.linspace(0, len(world) - 1, min(len(world), 200)).astype(int)
    errors = []
    for order in choices:
        relative = np.swapaxes(cam_from_world[some] @ euler(world[some], order), 1, 2) @ euler(camera[some], order)
        left, _, right = np.linalg.svd(relative.mean(0))  # the axes of a vehicle may be named otherwise in the camera
        cosine = (np.trace((left @ right).T @ relative, axis1=1, axis2=2) - 1) / 2
        errors.append(float(np.median(np.arccos(np.clip(cosine, -1, 1)))))
    if min(errors) > _AGREE:
        return None
    return next(order for order, error in zip(choices, errors, strict=True) if error <= min(errors) + 1e-3)


def _about(axis: str, angle: Float[np.ndarray, "n"]) -> Float[np.ndarray, "n 3 3"]:
    """Rotations about a coordinate axis."""
    one, two = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.broadcast_to(np.eye(3), (len(angle), 3, 3)).copy()
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix[:, one, one], matrix[:, two, two], matrix[:, two, one], matrix[:, one, two] = cosine, cosine, sine, -sine
    return matrix


def find(folder: Path) -> list[VideoSequence]:
    """Both cameras of all drives below a folder."""
    drives: list[VideoSequence] = []
    for each in folders_with(folder, "extrinsic.txt"):
        cameras = sorted((each / "frames" / "rgb").glob("Camera_*"))
        drives += [Drive(each, int(camera.name.rpartition("_")[2])) for camera in cameras]
    return drives
