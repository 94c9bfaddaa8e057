"""Points followed through a video: queries of one source point at all times (arXiv 2512.08924, table 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

from worldline.errors import InputError
from worldline.scene.video.answers import AnswersQueries
from worldline.scene.video.asking import ask, cell_centers, check_frame

Frame = Literal["camera", "world"]
Pixels = Literal["uv", "project"]


@dataclass(frozen=True, eq=False)
class VideoTracks:
    """Points at every frame of a video. Nothing is cut out where a point is hidden: ``visible`` says so."""

    points: Float32[np.ndarray, "n t 3"]  # in the camera of the same frame, or of ``camera``; unit of the video
    pixels: Float32[np.ndarray, "n t 2"]  # (x, y) in original pixels, centres at integers; may lie outside
    visibility: Float32[np.ndarray, "n t"]  # probability in [0, 1]
    confidence: Float32[np.ndarray, "n t"]  # > 0, larger is better
    queries: Float64[np.ndarray, "n 3"]  # x, y, t that was asked
    camera: int | None  # frame whose camera ``points`` are in; None: that of the same frame

    def __len__(self) -> int:
        return len(self.queries)

    @property
    def visible(self) -> Bool[np.ndarray, "n t"]:
        """Seen rather than hidden or outside: a visibility above one half."""
        return self.visibility > 0.5


def follow_points(
    video: AnswersQueries, points: Any = "grid:16", *, frame: Frame = "camera", start: int = 0, reference: int = 0,
    pixels: Pixels = "uv", intrinsics: Float64[np.ndarray, "t 3 3"] | None = None,
) -> VideoTracks:  # fmt: skip
    """Where points of a video are at all of its frames, in 2D and 3D.

    Args:
        points: ``"grid:N"``: N x N points spread over frame ``start``; or an array ``[n, 3]`` of (x, y, t) or
            ``[n, 2]`` of (x, y) in frame ``start``, in original pixels (centres at integers: -0.5 is the image's edge).
        frame: "camera": positions in the camera of the same frame (t_cam = t_tgt); "world": in that of ``reference``.
        start: frame of points without a time.
        pixels: "uv": the network's own image coordinates; "project": the projection of its points in the camera of
            the same frame, with ``intrinsics``. Points that are hidden have image coordinates as well.
        intrinsics: of all frames, in original pixels; needed by "project".

    Raises:
        InputError: points outside of the video, or an unknown choice.
    """
    if frame not in get_args(Frame) or pixels not in get_args(Pixels):
        raise InputError(
            f"Unknown choice frame={frame!r}, pixels={pixels!r}.",
            f"frame: {', '.join(get_args(Frame))}; pixels: {', '.join(get_args(Pixels))}.",
        )
    if pixels == "project" and intrinsics is None:
        raise InputError("Projecting tracks needs intrinsics.", "Pass VideoIntrinsics.matrices, or choose pixels='uv'.")
    reference = check_frame(video, reference, "reference frame")
    queries = track_queries(points, video, start)
    height, width = video.original_size
    size = np.array([width, height])
    u, v = ((queries[:, :2] + 0.5) / size).T[..., None]
    source, every = queries[:, 2:].astype(np.int64), np.arange(video.frame_count)
    camera = every if frame == "camera" else np.int64(reference)
    answers = ask(video, u, v, source, every, camera, keep=("points", "uv", "visibility", "confidence"))
    found = answers.uv * size - 0.5
    if pixels == "project":
        assert intrinsics is not None
        local = answers.points
        if frame == "world":
            local = ask(video, u, v, source, every, every, keep=("points",)).points
        found = project_points(local, intrinsics)
    return VideoTracks(
        answers.points, found.astype(np.float32), answers.visibility, answers.confidence, queries,
        None if frame == "camera" else reference,
    )  # fmt: skip


def track_queries(points: Any, video: AnswersQueries, start: int = 0) -> Float64[np.ndarray, "n 3"]:
    """What names points of a video -> (x, y, t) in original pixels.

    Raises:
        InputError: no such points.
    """
    start = check_frame(video, start)
    height, width = video.original_size
    if isinstance(points, str):
        side = points.removeprefix("grid:")
        if side == points or not side.isdecimal() or int(side) < 1:
            raise InputError(f"There are no points called {points!r}.", "Give 'grid:16', or an array of x, y, t.")
        u, v = cell_centers(int(side), int(side))
        return np.stack([u * width - 0.5, v * height - 0.5, np.full_like(u, start)], -1).reshape(-1, 3)
    try:
        array = np.asarray(points, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("The points to follow are no array of numbers.", "Give x, y, t for each of them.") from error
    if array.shape == (0,):
        raise InputError("The list of points to follow is empty.", "Give at least one point, or 'grid:16'.")
    if array.ndim != 2 or array.shape[1] not in (2, 3):
        raise InputError(
            f"Points of shape {array.shape} are no tracks' starts.",
            f"Give [n, 3]: x, y, t per point, or [n, 2]: x, y in frame {start}.",
        )
    if array.shape[1] == 2:
        array = np.concatenate([array, np.full((len(array), 1), start)], 1)
    inside = (array[:, :2] >= -0.5).all(1) & (array[:, 0] <= width - 0.5) & (array[:, 1] <= height - 0.5)
    known = (array[:, 2] == np.round(array[:, 2])) & (array[:, 2] >= 0) & (array[:, 2] < video.frame_count)
    if not (inside & known).all():
        row = int(np.argmin(inside & known))
        raise InputError(
            f"Point {row} ({', '.join(f'{value:g}' for value in array[row])}) is not in the video.",
            f"x, y are pixels of {width}x{height} frames, t a whole number from 0 to {video.frame_count - 1}.",
        )
    return array


def project_points(
    points: Float[np.ndarray, "n t 3"], intrinsics: Float64[np.ndarray, "t 3 3"]
) -> Float64[np.ndarray, "n t 2"]:
    """Points in the cameras' own frames -> pixels; NaN behind the camera."""
    front = points[..., 2] > 0
    slope = points[..., :2] / np.where(front, points[..., 2], np.nan)[..., None]
    return slope * intrinsics[:, [0, 1], [0, 1]] + intrinsics[:, :2, 2]
