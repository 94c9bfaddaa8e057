"""What is measured on videos: networks by name, or anything else that answers queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from worldline.scene.video.answers import AnswersQueries
from worldline.scene.video.asking import ask, cell_centers
from worldline.scene.video.cameras import estimate_cameras
from worldline.scene.video.depth import depth_maps
from worldline.scene.video.tracks import follow_points

Encode = Callable[[UInt8[np.ndarray, "t h w 3"]], AnswersQueries]


@dataclass(frozen=True)
class VideoMethod:
    """A way to answer queries about videos, under the name that reports show."""

    name: str
    encode: Encode  # frames as shown, all of them, in order
    about: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class FoundTracks:
    """Points followed through a video, frames first."""

    points: Float64[np.ndarray, "t n 3"]  # in the camera of each frame, unit of the method
    world: Float64[np.ndarray, "t n 3"]  # in the camera of the first frame
    uv: Float64[np.ndarray, "t n 2"]  # shares of width and height, from the corner
    visible: Bool[np.ndarray, "t n"]


def find_tracks(video: AnswersQueries, uvt: Float64[np.ndarray, "n 3"], *, world: bool = False) -> FoundTracks:
    """Follow points.

    Args:
        uvt: u and v as shares of width and height, from the corner, and the frame.
        world: also ask for the positions in the camera of the first frame (NaN else): as many queries again.
    """
    height, width = video.original_size
    starts = np.column_stack([uvt[:, 0] * width - 0.5, uvt[:, 1] * height - 0.5, uvt[:, 2]])
    found = follow_points(video, starts)
    points = found.points.swapaxes(0, 1).astype(np.float64)
    fixed = follow_points(video, starts, frame="world").points.swapaxes(0, 1) if world else np.full_like(points, np.nan)
    uv = (found.pixels.swapaxes(0, 1).astype(np.float64) + 0.5) / (width, height)
    return FoundTracks(points, fixed.astype(np.float64), uv, found.visible.T)


def find_depth(video: AnswersQueries, size: tuple[int, int]) -> Float64[np.ndarray, "t h w"]:
    """Depth of all frames on a grid of that size."""
    return depth_maps(video, size=size).depth.astype(np.float64)


def find_cloud(video: AnswersQueries, size: tuple[int, int]) -> Float64[np.ndarray, "t h w 3"]:
    """Points of all frames on a grid of that size, in the camera of the first frame."""
    u, v = cell_centers(*size)
    time = np.arange(video.frame_count)[:, None, None]
    return ask(video, u, v, time, time, np.int64(0), keep=("points",)).points.astype(np.float64)


def find_poses(video: AnswersQueries) -> Float64[np.ndarray, "t 4 4"]:
    """``world_from_cam`` of all frames, NaN where no pose was found; the world is the camera of the first frame."""
    return estimate_cameras(video).world_from_cam


def load_video_methods(names: Sequence[str], device: str | None = None) -> list[VideoMethod]:
    """Networks by name or folder.

    Raises:
        InputError: the same model twice, or one that does not answer queries about videos.
        WeightsError: unknown or unreadable weights.
    """
    from worldline.errors import InputError
    from worldline.eval.methods import identity, load_models

    methods = []
    for label, model in load_models(names, device).items():
        encode = getattr(model, "encode", None)
        if encode is None:
            raise InputError(f"{label} does not answer queries about videos.", "Name a model such as d4rt-mini.")
        methods.append(VideoMethod(label, encode, identity(model)))
    return methods
