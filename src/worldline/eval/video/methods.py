"""What is measured on videos: networks by name, or anything else that answers queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from worldline.eval.video.stay import STAY, StayVideo
from worldline.scene.video.answers import AnswersQueries
from worldline.scene.video.asking import ask, cell_centers
from worldline.scene.video.cameras import VideoCameras, estimate_cameras
from worldline.scene.video.depth import DepthMaps, depth_maps
from worldline.scene.video.tracks import VideoTracks, follow_points

if TYPE_CHECKING:
    from worldline.pipeline import Reconstructor

Encode = Callable[[UInt8[np.ndarray, "t h w 3"]], AnswersQueries]


@runtime_checkable
class HasRecipes(AnswersQueries, Protocol):
    """A video that knows better than one query at a time: windows, known cameras (``worldline.pipeline.video``)."""

    def tracks(self, points: Any, *, frame: Literal["camera", "world"] = "camera") -> VideoTracks:
        """Points followed through all frames."""

    def depth(self, *, size: tuple[int, int] | None = None) -> DepthMaps:
        """Depth of all frames."""

    def cameras(self) -> VideoCameras:
        """Cameras of all frames."""


@dataclass(frozen=True)
class VideoMethod:
    """A way to answer queries about videos, under the name that reports show."""

    name: str
    encode: Encode  # frames as shown, all of them, in order
    about: dict[str, object] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class FoundTracks:
    """Points followed through a video, frames first. NaN and invisible where a track was lost."""

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

    def follow(frame: Literal["camera", "world"]) -> tuple[VideoTracks, Float64[np.ndarray, "t n 3"]]:
        if isinstance(video, HasRecipes):
            found = video.tracks(starts, frame=frame)
        else:
            found = follow_points(video, starts, frame=frame)
        known = getattr(found, "known", np.ones(found.visibility.shape, bool))  # tracks through windows may end
        return found, np.where(known[..., None], found.points, np.nan).swapaxes(0, 1).astype(np.float64)

    found, points = follow("camera")
    fixed = follow("world")[1] if world else np.full_like(points, np.nan)
    uv = (found.pixels.swapaxes(0, 1).astype(np.float64) + 0.5) / (width, height)
    return FoundTracks(points, fixed, uv, found.visible.T)


def find_depth(video: AnswersQueries, size: tuple[int, int]) -> Float64[np.ndarray, "t h w"]:
    """Depth of all frames on a grid of that size."""
    maps = video.depth(size=size) if isinstance(video, HasRecipes) else depth_maps(video, size=size)
    return maps.depth.astype(np.float64)


def find_cloud(video: AnswersQueries, size: tuple[int, int]) -> Float64[np.ndarray, "t h w 3"]:
    """Points of all frames on a grid of that size, in the camera of the first frame."""
    u, v = cell_centers(*size)
    time = np.arange(video.frame_count)[:, None, None]
    return ask(video, u, v, time, time, np.int64(0), keep=("points",)).points.astype(np.float64)


def find_poses(video: AnswersQueries) -> Float64[np.ndarray, "t 4 4"]:
    """``world_from_cam`` of all frames, NaN where no pose was found; the world is the camera of the first frame."""
    cameras = video.cameras() if isinstance(video, HasRecipes) else estimate_cameras(video)
    return cameras.world_from_cam


def load_video_methods(names: Sequence[str], device: str | None = None) -> list[VideoMethod]:
    """Networks by name or folder. Videos longer than a network's clips go through it in overlapping windows.

    The name "stay" is that of a baseline without a network (:class:`worldline.eval.video.stay.StayVideo`).

    Raises:
        InputError: the same model twice, or one that does not answer queries about videos.
        WeightsError: unknown or unreadable weights.
    """
    from worldline.eval.methods import identity, load_models

    loaded = load_models([name for name in names if name != STAY], device)
    methods = [VideoMethod(label, encoder(model), identity(model)) for label, model in loaded.items()]
    if STAY in names:
        methods.append(VideoMethod(STAY, lambda frames: StayVideo(len(frames), frames.shape[1:3])))
    return methods


def encoder(model: Reconstructor) -> Encode:
    """How a loaded network takes the frames of a video.

    Raises:
        InputError: it does not answer queries about videos.
    """
    from worldline.errors import InputError
    from worldline.models.d4rt import D4rt
    from worldline.pipeline.video.windows import LongVideo

    if not isinstance(model.network, D4rt):
        raise InputError(f"{model.name} does not answer queries about videos.", "Name a model such as d4rt-mini.")
    longest = model.network.config.clip_frames

    def encode(frames: UInt8[np.ndarray, "t h w 3"]) -> AnswersQueries:
        if len(frames) <= longest:
            return model.encode(frames)
        size = (frames.shape[1], frames.shape[2])
        return LongVideo(lambda part: model.encode(frames[part.start : part.stop]), len(frames), size, longest)

    return encode
