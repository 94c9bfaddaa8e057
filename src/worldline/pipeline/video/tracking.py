"""A video of any length -> its scene and its tracks, in one pass: what ``worldline track`` does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float32, Float64

from worldline.errors import InputError
from worldline.inputs.points import read_points
from worldline.outputs.track_files import TrackRecord
from worldline.pipeline.memory import free_memory
from worldline.pipeline.video.encoded import EncodeOptions
from worldline.pipeline.video.frames import Footage
from worldline.pipeline.video.long import open_long
from worldline.pipeline.video.long_scene import long_scene
from worldline.pipeline.video.windows import LongVideo
from worldline.scene.scene import Scene
from worldline.scene.video.assembly import VideoSceneOptions
from worldline.scene.video.long_occupancy import AllPixels
from worldline.scene.video.occupancy import AllTracksOptions, Saving
from worldline.scene.video.relay import LongTracks, Relay, check_track_memory
from worldline.scene.video.tracks import track_queries
from worldline.scene.video.windows import Window, WindowOptions

if TYPE_CHECKING:
    from worldline.pipeline.single_pass import Reconstructor

_ROWS = 1024  # tracks at a time
_CELLS = 128  # of all-pixel tracking, on the longer side: what small networks see
_CHOICES = "Give grid:16 (16 x 16 points of the first frame), all, all:4 (every 4 pixels), or a CSV file of x,y,frame."


@dataclass(frozen=True)
class Points:
    """What to follow: some points, or with ``cell`` every pixel."""

    text: str  # as the user wrote it
    rows: Float64[np.ndarray, "n 3"] | None = None  # x, y, frame of a file
    cell: float | None = None  # edge of a cell in pixels; 0 = by the size of the video

    @classmethod
    def parse(cls, text: str) -> Points:
        """``grid:N``, ``all``, ``all:CELL`` or the path of a CSV file.

        Raises:
            InputError: none of these.
        """
        kind, _, number = text.partition(":")
        if kind == "grid":
            if not number.isdecimal() or int(number) < 1:
                raise InputError(f"There are no points called {text!r}.", _CHOICES)
            return cls(text)
        if kind == "all":
            try:
                cell = float(number) if number else 0.0
            except ValueError:
                cell = -1.0
            if not (0 < cell < np.inf if number else text == "all"):
                raise InputError(f"There are no points called {text!r}.", _CHOICES)
            return cls(text, cell=cell)
        if not Path(text).is_file():
            raise InputError(f"There are no points called {text!r}, and no such file.", _CHOICES)
        return cls(text, rows=read_points(Path(text)))


@dataclass(frozen=True)
class TrackOptions:
    """Everything about a run that is a choice."""

    points: Points = field(default_factory=lambda: Points("grid:16"))
    world: bool = False  # ask for positions in the camera of the first frame, and not in that of each moment
    windows: WindowOptions = field(default_factory=WindowOptions)
    encode: EncodeOptions = field(default_factory=EncodeOptions)
    size: int | None = None  # longer side of depth and points in pixels; None: as the network sees


@dataclass(frozen=True, eq=False)
class TrackedVideo:
    """What was found in a video."""

    scene: Scene
    tracks: LongTracks
    record: TrackRecord
    video: LongVideo
    saving: Saving | None = None  # of all-pixel tracking


def track_video(
    model: Reconstructor, footage: Footage, options: TrackOptions, *,
    planned: Callable[[LongVideo], None] | None = None, encoded: Callable[[Window], None] | None = None,
    visited: Callable[[int, int], None] | None = None, done: Callable[[int], None] | None = None,
) -> TrackedVideo:  # fmt: skip
    """Encode a video window by window, build its scene and follow its points.

    Args:
        planned: called once, before the first window is encoded; then ``encoded`` after each that was, ``visited``
            with cells during all-pixel tracking, ``done`` with the number of each window.

    Raises:
        InputError: points outside of the video, windows that are too long, or frames that cannot be decoded.
    """
    video = open_long(model, footage, options.encode, options.windows, encoded=encoded)
    relay = start_tracks(video, options, visited)
    if planned is not None:
        planned(video)
    scene = long_scene(video, VideoSceneOptions(), size=_grid(options.size, footage), relay=relay, progress=done)
    tracks = relay.tracks()
    saving = relay.saving if isinstance(relay, AllPixels) else None
    del relay  # holds the tracks of every window once more
    arguments = {"points": options.points.text, "world": options.world}
    scene = replace(
        scene,
        provenance=replace(scene.provenance, arguments={**scene.provenance.arguments, **arguments}),
        warnings=(*scene.warnings, *(_lost(tracks) if saving is None else ())),
    )
    return TrackedVideo(scene, tracks, track_record(tracks, scene, footage), video, saving)


def start_tracks(
    video: LongVideo, options: TrackOptions, visited: Callable[[int, int], None] | None = None
) -> Relay | AllPixels:
    """What will be taken through the windows.

    Raises:
        InputError: points outside of the video.
        MemoryPlanError: their tracks do not fit into what is free.
    """
    points, windows, size = options.points, video.windows, video.original_size
    limit = free_memory("cpu")
    if points.cell is not None:
        cell = points.cell or max(1.0, max(size) / _CELLS)
        chosen = AllTracksOptions(cell=cell)
        return AllPixels(windows, size, chosen, world=options.world, progress=visited, limit=limit)
    queries = track_queries(points.text if points.rows is None else points.rows, video)
    check_track_memory(len(queries), video.frame_count, limit, "Follow fewer points, or fewer frames (--max-frames).")
    return Relay(queries, windows, size, world=options.world)


def track_record(tracks: LongTracks, scene: Scene, footage: Footage) -> TrackRecord:
    """Tracks for files: in the camera of each moment and, where they were asked for in the world, there as well."""
    failed = np.array([view.pose_status == "failed" for view in scene.views])
    poses = np.stack([view.camera.world_from_cam for view in scene.views])
    world, own, known = None, tracks, tracks.known
    if tracks.camera is not None:
        world = tracks.points
        known = known & ~failed
        own = replace(tracks, points=_seen_from(poses, world, known), camera=None)
    poses = np.where(failed[:, None, None], np.nan, poses)
    lens = np.stack([view.camera.intrinsics for view in scene.views])
    seconds = np.arange(len(footage), dtype=np.float64) if footage.seconds is None else footage.seconds
    return TrackRecord(own, known, seconds, lens, poses, world)


def _seen_from(
    poses: Float64[np.ndarray, "t 4 4"], world: Float32[np.ndarray, "n t 3"], known: Bool[np.ndarray, "n t"]
) -> Float32[np.ndarray, "n t 3"]:
    """Points of the world in the camera of each moment, zeros where they are not known."""
    inverse = np.linalg.inv(poses)
    local = np.zeros_like(world)
    for start in range(0, len(world), _ROWS):  # float64 for all of them at once would be the peak of the run
        rows = slice(start, start + _ROWS)
        moved = np.einsum("tij,ntj->nti", inverse[:, :3, :3], world[rows].astype(np.float64)) + inverse[:, :3, 3]
        local[rows] = np.where(known[rows, :, None], moved, 0)
    return local


def _grid(longest: int | None, footage: Footage) -> tuple[int, int] | None:
    if longest is None:
        return None
    height, width = footage.size
    factor = longest / max(height, width)
    return max(1, round(height * factor)), max(1, round(width * factor))


def _lost(tracks: LongTracks) -> list[str]:
    """How many tracks did not reach the ends of the video."""
    cut = int(np.count_nonzero(~tracks.known.all(1)))
    if cut == 0:
        return []
    return [f"{cut} of {len(tracks)} tracks are not known in all frames: what two windows share hides them."]
