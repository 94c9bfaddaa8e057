"""Dynamic Replica: rendered rooms with moving people and animals, and trajectories of points on all of them.

A split is a folder with ``frame_annotations_train.jgz`` (compressed JSON, also one level above it): per image one entry
with ``sequence_name``, ``frame_number``, ``frame_timestamp``, ``camera_name``, ``viewpoint`` and the paths of
``image``, ``depth`` (16-bit PNG) and, for the left camera, ``trajectories`` (one PyTorch file per frame with
``traj_3d_world``, ``traj_2d``, ``verts_inds_vis``). Other images have nothing that says what moves, and are left out.

Traps: the 16 bits of a depth are those of a half-precision float, in metres; cameras are PyTorch3D's: row vectors,
x to the left, y up, focal length and principal point in units of half the image (of its shorter side or of both),
counted from the corner and towards the left and top.
"""

from __future__ import annotations

import gzip
import json
import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from worldline.errors import InputError
from worldline.train.clips.clips import ClipTracks
from worldline.train.clips.readers import axes
from worldline.train.clips.readers.files import folders_with, naming, read_color, read_gray16
from worldline.train.clips.readers.sequence import Frame, FrameSequence, VideoSequence
from worldline.train.clips.readers.trajectories import CLOSE, clip_tracks, misfit

RATE = 30.0
_PYTORCH3D = np.diag([-1.0, -1.0, 1.0])  # of its camera axes from those of OpenCV
_PARTS = ("image", "depth", "trajectories")


class Room(FrameSequence):
    """The left camera of one sequence; what moves is known at the points of its trajectories."""

    smoothing = 2  # half precision: steps of 1 to 2 mm at 2 m

    def __init__(self, name: str, base: Path, entries: list[dict[str, Any]]) -> None:
        self.base = base
        self.entries = sorted(entries, key=lambda entry: entry["frame_number"])
        self._fits: bool | None = None  # trajectories and cameras
        super().__init__(name, [entry["frame_number"] for entry in self.entries], RATE)

    def times(self, index: Int[np.ndarray, "frame"]) -> Float[np.ndarray, "frame"]:
        return np.array([float(self.entries[i]["frame_timestamp"]) for i in index])

    def frame(self, index: int) -> Frame:
        image, depth = (self._path(index, part) for part in ("image", "depth"))
        metres = read_gray16(depth).view(np.float16).astype(np.float32)
        return Frame(read_color(image), np.where(np.isfinite(metres) & (metres > 0), metres, np.float32(0)))

    def cameras(
        self, index: Int[np.ndarray, "frame"], height: int, width: int
    ) -> tuple[Float[np.ndarray, "frame 3 3"], Float[np.ndarray, "frame 4 4"]]:
        both = [camera_of(self.entries[i]["viewpoint"], height, width) for i in index]
        return np.stack([intrinsics for intrinsics, _ in both]), np.stack([pose for _, pose in both])

    def tracks(self, index: Int[np.ndarray, "frame"], height: int, width: int) -> ClipTracks:
        self._checked(height, width)
        parts = [self._trajectories(int(i)) for i in index]
        world, seen = np.stack([part[0] for part in parts]), np.stack([part[2] for part in parts])
        return clip_tracks(world, seen, np.ones_like(seen), self.cameras(index, height, width), height, width)

    def _checked(self, height: int, width: int) -> None:
        """Raise InputError unless, in the middle of the video, points fall where the data set says."""
        if self._fits is None:
            middle = len(self) // 2
            world, stated, seen = (part[None] for part in self._trajectories(middle))
            self._fits = misfit(world, stated, seen, *self.cameras(np.array([middle]), height, width)) < CLOSE
        if not self._fits:
            raise InputError(
                f"{self.name} has cameras under which traj_3d_world does not fall onto traj_2d.",
                "Its release has a convention of axes that is not known here; leave this sequence out.",
            )

    def _trajectories(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """World points, image positions and visibility of one frame. Only tensors are read from the file, no code."""
        path = self._path(index, "trajectories")
        with naming(path):
            try:
                values = torch.load(path, map_location="cpu", weights_only=True)
            except (RuntimeError, pickle.UnpicklingError) as error:
                raise ValueError("it holds more than tensors, or is damaged") from error
            world, stated, seen = (values[name].numpy() for name in ("traj_3d_world", "traj_2d", "verts_inds_vis"))
        return world.astype(np.float64), stated[..., :2].astype(np.float64), seen.astype(bool)

    def _path(self, index: int, part: str) -> Path:
        return self.base / self.entries[index][part]


def camera_of(
    viewpoint: dict[str, Any], height: int, width: int
) -> tuple[Float[np.ndarray, "3 3"], Float[np.ndarray, "4 4"]]:
    """Intrinsics and ``world_from_cam`` of a PyTorch3D camera as Implicitron annotates it."""
    half = np.array([width, height]) / 2
    units = {"ndc_isotropic": half.min(), "ndc_norm_image_bounds": half}
    unit = units[str(viewpoint.get("intrinsics_format", "ndc_norm_image_bounds")).lower()]
    fx, fy = np.asarray(viewpoint["focal_length"], np.float64) * unit
    cx, cy = half - np.asarray(viewpoint["principal_point"], np.float64) * unit - 0.5
    rotation = np.asarray(viewpoint["R"], np.float64)  # of row vectors: its columns are the camera's axes
    view_from_world = axes.poses(np.asarray(viewpoint["T"], np.float64), rotation.T)
    return axes.pinhole(fx, fy, cx, cy), axes.with_opencv_axes(axes.invert(view_from_world), _PYTORCH3D)


def find(folder: Path) -> list[VideoSequence]:
    """All sequences with trajectories below a folder."""
    found: list[VideoSequence] = []
    for each in folders_with(folder, "frame_annotations_*.jgz", depth=1):
        for path in sorted(each.glob("frame_annotations_*.jgz")):
            found += _sequences(path)
    if not found:
        raise InputError(f"{folder} has no sequence with trajectories.", "Download the splits train or valid.")
    return found


def _sequences(path: Path) -> list[VideoSequence]:
    """The sequences of one file of annotations. Of its many entries only what is read later stays in memory."""
    chosen: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with naming(path):
        with gzip.open(path, "rt", encoding="utf-8") as file:
            entries = json.load(file)
        for entry in entries:
            if all((entry.get(part) or {}).get("path") for part in _PARTS):
                kept = {name: entry[name] for name in ("frame_number", "frame_timestamp", "viewpoint")}
                kept |= {part: entry[part]["path"] for part in _PARTS}
                chosen[f"{entry['sequence_name']}, {entry.get('camera_name', 'left')}"].append(kept)
    split = path.parent / path.stem.removeprefix("frame_annotations_")
    base = split if split.is_dir() else path.parent
    return [Room(f"{base / name}", base, own) for name, own in chosen.items()]
