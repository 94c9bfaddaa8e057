"""PointOdyssey: rendered scenes with deforming people and animals, and trajectories of points on them.

A sequence is a folder with ``rgbs/rgb_00000.jpg``, ``depths/depth_00000.png`` (16 bits, 65535 = 1000 m along the
optical axis), perhaps ``normals/normal_00000.jpg``, and ``anno.npz`` (earlier ``annotations.npz``) with ``trajs_3d``,
``trajs_2d``, ``visibs``, ``valids`` (or ``visibilities``, 1 = seen, 2 = unknown), ``intrinsics`` and ``extrinsics``,
all of them by frame.

Traps: the archive is far larger than a window, so only its rows are read; releases differ in the axes of the world and
of the cameras, so the convention is the one under which ``trajs_3d`` falls onto ``trajs_2d``; trajectories hold
infinities.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from worldline.errors import InputError
from worldline.train.clips.clips import ClipTracks
from worldline.train.clips.readers import axes
from worldline.train.clips.readers.files import (
    REMEDY,
    Files,
    folders_with,
    npz_names,
    npz_rows,
    numbered,
    read_color,
    read_gray16,
)  # fmt: skip
from worldline.train.clips.readers.sequence import Frame, FrameSequence, VideoSequence
from worldline.train.clips.readers.surfaces import NormalCode, normals_of_depth
from worldline.train.clips.readers.trajectories import CLOSE, clip_tracks, misfit

RATE = 30.0
_FAR = 65535  # the sky
_METRES = 1000.0 / _FAR
_UPRIGHT = np.array([[1.0, 0, 0, 0], [0, 0, -1.0, 0], [0, 1.0, 0, 0], [0, 0, 0, 1.0]])  # y up from z up, about x
_ARCHIVES = ("anno.npz", "annotations.npz")


@dataclass(frozen=True)
class Convention:
    """How the matrices of an archive are meant."""

    inverted: bool  # extrinsics are world_from_cam
    opengl: bool  # camera axes
    upright: bool  # trajectories have another up axis than the cameras' world

    def world_from_cam(self, extrinsics: Float[np.ndarray, "*n 4 4"]) -> Float[np.ndarray, "*n 4 4"]:
        """Poses with OpenCV axes."""
        poses = extrinsics if self.inverted else np.linalg.inv(extrinsics)
        return axes.with_opencv_axes(poses, axes.OPENGL) if self.opengl else poses

    def points(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Points of trajectories in the world of the cameras."""
        if not self.upright:
            return points
        x, y, z = np.moveaxis(points, -1, 0)  # a product would turn one infinity into three numbers that are none
        return np.stack([x, -z, y], -1)


class Odyssey(FrameSequence):
    """One sequence; what moves is known at the points of its trajectories."""

    smoothing = 2  # depth comes in steps of 15 mm

    def __init__(self, folder: Path, archive: Path) -> None:
        self.folder, self.archive = folder, archive
        depths = self._files("depths")
        super().__init__(str(folder), [number for number in self._files("rgbs") if number in depths], RATE)

    def frame(self, index: int) -> Frame:
        number = int(self.numbers[index])
        depth, normals, maps = self._depth(number), None, self._files("normals")
        if number in maps and self.code is not None:
            intrinsics, poses = self.cameras(np.array([index]), *depth.shape)
            normals = self.code.decode(read_color(maps[number]), intrinsics[0], poses[0])
        return Frame(read_color(self._files("rgbs")[number]), depth, normals=normals)

    def cameras(
        self, index: Int[np.ndarray, "frame"], height: int, width: int
    ) -> tuple[Float[np.ndarray, "frame 3 3"], Float[np.ndarray, "frame 4 4"]]:
        rows = self.numbers[index]
        extrinsics = self._array("extrinsics", rows).astype(np.float64)
        return centers(self._array("intrinsics", rows), height, width), self.convention.world_from_cam(extrinsics)

    def tracks(self, index: Int[np.ndarray, "frame"], height: int, width: int) -> ClipTracks:
        rows = self.numbers[index]
        world = self.convention.points(self._array("trajs_3d", rows).astype(np.float64))
        return clip_tracks(world, *self._seen(rows), self.cameras(index, height, width), height, width)

    @cached_property
    def code(self) -> NormalCode | None:
        """What the normal maps mean, by the one in the middle of the video."""
        index = len(self) // 2
        number = int(self.numbers[index])
        maps = self._files("normals")
        if number not in maps:
            return None
        depth = self._depth(number)
        intrinsics, poses = self.cameras(np.array([index]), *depth.shape)
        expected = normals_of_depth(depth, intrinsics[0], poses[0], self.smoothing)
        turns = (_UPRIGHT[:3, :3], _UPRIGHT[:3, :3].T)
        return NormalCode.agreeing(read_color(maps[number]), expected, poses[0], turns)

    @cached_property
    def convention(self) -> Convention:
        """The reading of the matrices under which both kinds of trajectories agree."""
        rows = self.numbers[np.unique(np.linspace(0, len(self) - 1, 3).astype(int))]
        world, truth = (self._array(name, rows).astype(np.float64) for name in ("trajs_3d", "trajs_2d"))
        intrinsics, extrinsics = (self._array(name, rows).astype(np.float64) for name in ("intrinsics", "extrinsics"))
        seen, valid = self._seen(rows)
        good = np.asarray(seen & valid & np.isfinite(world).all(-1) & np.isfinite(truth).all(-1))
        choices = [Convention(*flags) for flags in itertools.product((False, True), repeat=3)]
        errors = [
            misfit(choice.points(world), truth, good, intrinsics, choice.world_from_cam(extrinsics))
            for choice in choices
        ]
        if not min(errors) < CLOSE:
            raise InputError(
                f"{self.archive} has cameras under which trajs_3d does not fall onto trajs_2d.",
                "Its release has a convention of axes that is not known here; leave this sequence out.",
            )
        return choices[int(np.argmin(errors))]

    def _files(self, kind: str) -> Files:
        return numbered(self.folder / kind, "*.jpg", "*.png")

    def _depth(self, number: int) -> Float[np.ndarray, "height width"]:
        raw = read_gray16(self._files("depths")[number])
        return np.where(raw == _FAR, 0, raw).astype(np.float32) * np.float32(_METRES)

    @cached_property
    def _names(self) -> set[str]:
        return npz_names(self.archive)

    def _array(self, name: str, rows: Int[np.ndarray, "frame"]) -> np.ndarray:
        if name not in self._names:
            raise InputError(f"{self.archive} has no {name}.", REMEDY)
        return npz_rows(self.archive, name, rows.tolist())

    def _seen(self, rows: Int[np.ndarray, "frame"]) -> tuple[Bool[np.ndarray, "frame n"], Bool[np.ndarray, "frame n"]]:
        """Which points are seen, and which are known, at frames."""
        if "visibilities" in self._names and "visibs" not in self._names:
            codes = self._array("visibilities", rows)
            return np.asarray(codes == 1), np.asarray(codes < 2)
        seen, valid = (self._array(name, rows).astype(bool) for name in ("visibs", "valids"))
        return seen, valid


def centers(intrinsics: Float[np.ndarray, "frame 3 3"], height: int, width: int) -> Float[np.ndarray, "frame 3 3"]:
    """Intrinsics with pixel centres at whole numbers: an optical centre at W / 2, H / 2 counts from the corner."""
    moved = intrinsics.astype(np.float64)
    corner = np.abs(moved[:, :2, 2] - np.array([width, height]) / 2).max() < 1e-3
    moved[:, :2, 2] -= 0.5 * corner
    return moved


def find(folder: Path) -> list[VideoSequence]:
    """All sequences below a folder."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder.", "Name the folder into which the data set was unpacked.")
    found: list[VideoSequence] = []
    for each in folders_with(folder, "rgbs"):
        archive = next((each / name for name in _ARCHIVES if (each / name).is_file()), None)
        if archive is None:
            raise InputError(f"{each / _ARCHIVES[0]} is missing.", REMEDY)
        found.append(Odyssey(each, archive))
    return found
