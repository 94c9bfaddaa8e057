"""A long video as one scene: each window's scene, moved to its place, with every frame from one of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float64, UInt8

from worldline.errors import InputError
from worldline.geometry import Similarity
from worldline.pipeline.single_pass import with_choices
from worldline.scene.scene import Scene, SceneView
from worldline.scene.video.assembly import VideoSceneOptions
from worldline.scene.video.long_occupancy import AllPixels
from worldline.scene.video.relay import LongTracks, Relay, placed_points
from worldline.scene.video.tracks import track_queries
from worldline.scene.video.windows import owners
from worldline.types import Tracks

if TYPE_CHECKING:
    from worldline.pipeline.video.windows import LongVideo

MOST_TRACKS = 4096  # of a scene; files of tracks hold all
_SAME_LENS = 1.1  # ratio of focal lengths up to which windows agree


def long_scene(
    video: LongVideo, options: VideoSceneOptions | None = None, *, size: tuple[int, int] | None = None,
    relay: Relay | AllPixels | None = None, progress: Callable[[int], None] | None = None, **choices: Any,
) -> Scene:  # fmt: skip
    """All frames of a long video as views of one scene, in their order; one pass through the windows.

    The world is the camera of the first frame. Frames beyond a seam that failed are there, with status "failed" and
    nothing but masked pixels. Tracks that start in the first frame need no second pass.

    Args:
        size: (height, width) of depth and points.
        relay: tracks to take along instead of ``options.tracks``; they are those of the scene.
        progress: called with the number of every window that is done.
        choices: single fields of :class:`VideoSceneOptions`.

    Raises:
        InputError: another reference than frame 0, or an unknown choice.
    """
    options = with_choices(options or VideoSceneOptions(), choices)
    if options.reference != 0:
        raise InputError("A video of several windows has the first frame as its world.", "Leave reference at 0.")
    alone, started = replace(options, tracks=None), time.perf_counter()
    if relay is None and options.tracks is not None:
        relay = Relay(track_queries(options.tracks, video), video.windows, video.original_size)
    answering = owners(video.windows)
    views: list[SceneView | None] = [None] * video.frame_count
    said: list[str] = []
    part: Scene | None = None
    for number, window_video in video.walk():
        window, (placement, piece) = video.windows[number], video.placement(number)
        part = window_video.scene(alone, size=size)
        said += part.warnings
        for frame in np.flatnonzero(answering == number):
            views[frame] = placed_view(part.views[frame - window.start], placement, lost=piece > 0)
        if relay is not None:
            relay.visit(number, window_video, placement, joined=video.joined(number, 1))
        if progress is not None:
            progress(number)
    done = tuple(view for view in views if view is not None)
    tracks = None
    if relay is not None:
        _finish(video, relay)
        tracks = scene_tracks(relay.tracks(), done)
    assert part is not None
    return Scene(
        views=done,
        tracks=tracks,
        scale=part.scale,
        provenance=replace(
            part.provenance,
            arguments={**part.provenance.arguments, "windows": _windows(video)},
            timings={"windows": time.perf_counter() - started, "total": time.perf_counter() - started},
        ),
        warnings=tuple(dict.fromkeys((*video.warnings, *said, *_lens_note(done)))),
    )


def placed_view(view: SceneView, placement: Similarity, *, lost: bool = False) -> SceneView:
    """A view of a window's scene in the frame and unit of the whole video; ``lost``: it has no place there."""
    if lost or view.pose_status == "failed":
        return replace(view, pose_status="failed", mask=np.zeros_like(view.mask))
    pose = placement.apply_to_poses(torch.from_numpy(view.camera.world_from_cam)[None])[0].numpy()
    return replace(
        view,
        camera=replace(view.camera, world_from_cam=pose),
        points=placed_points(view.points, placement, world=True),
        depth=view.depth * np.float32(placement.scale),
    )


def scene_tracks(tracks: LongTracks, views: tuple[SceneView, ...], most: int = MOST_TRACKS) -> Tracks:
    """Tracks in the world of a scene, at most so many, spread over all; hidden in frames without a pose."""
    rows = np.unique(np.linspace(0, len(tracks) - 1, min(len(tracks), most)).round().astype(np.int64))
    placed = np.array([view.pose_status != "failed" for view in views])
    points = tracks.points[rows].astype(np.float64)
    if tracks.camera is None:
        poses = np.stack([view.camera.world_from_cam for view in views])
        points = np.einsum("tij,ntj->nti", poses[:, :3, :3], points) + poses[:, :3, 3]
    kept = tracks.known[rows] & placed & np.isfinite(points).all(-1)
    return Tracks(
        np.where(kept[..., None], points, 0).astype(np.float32),
        tracks.pixels[rows],
        tracks.visible[rows] & kept,
        start_colors(tracks.queries[rows], views),
    )


def start_colors(queries: Float64[np.ndarray, "n 3"], views: tuple[SceneView, ...]) -> UInt8[np.ndarray, "n 3"]:
    """Colours of the pixels (x, y, frame) where tracks start."""
    colors = np.zeros((len(queries), 3), np.uint8)
    frames = queries[:, 2].astype(np.int64)
    for frame in np.unique(frames):
        rows = np.flatnonzero(frames == frame)
        view = views[frame]
        x, y = np.rint(view.transform.to_model(queries[rows, :2])).astype(np.int64).T
        height, width = view.image.shape[:2]
        colors[rows] = view.image[y.clip(0, height - 1), x.clip(0, width - 1)]
    return colors


def _lens_note(views: tuple[SceneView, ...]) -> list[str]:
    """Windows find their focal lengths apart; most videos have one."""
    focal = [float(view.camera.intrinsics[0, 0]) for view in views]
    if max(focal) <= _SAME_LENS * min(focal):
        return []
    return [f"The windows found focal lengths from {min(focal):.0f} to {max(focal):.0f} pixels."]


def _finish(video: LongVideo, relay: Relay | AllPixels) -> None:
    """Tracks that start late go back to the windows before."""
    for number, window_video in video.walk(-1, lambda number: relay.waits_for(number, -1)):
        relay.visit(number, window_video, video.placement(number)[0], step=-1, joined=video.joined(number, -1))


def _windows(video: LongVideo) -> list[dict[str, object]]:
    """What a result should say about its windows and seams."""
    rows: list[dict[str, object]] = []
    for number, window in enumerate(video.windows):
        row: dict[str, object] = {"frames": [window.start, window.stop - 1]}
        if number:
            seam = video.seams[number - 1]
            row |= {"seam_error": seam.error, "points": seam.used} if seam.failure is None else {"apart": seam.failure}
            row["scale"] = float(video.placement(number)[0].scale)
        rows.append(row)
    return rows
