"""Point clouds of a video: all pixels of any frames in one camera's frame (arXiv 2512.08924, table 1).

Frames see the same walls, and their answers differ a little, so a plain union has walls that are thick. Points that
lie behind each other on one line of sight, at about the same distance, are taken for the same surface; the most
confident of them stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int64, UInt8

from worldline.errors import InputError
from worldline.scene.cameras import confidence_threshold
from worldline.scene.video.answers import AnswersQueries
from worldline.scene.video.asking import ask, cell_centers, check_frame, check_size, chosen_frames
from worldline.scene.video.depth import discontinuities, moderate_size


@dataclass(frozen=True)
class CloudOptions:
    """Which points of a cloud are kept."""

    confidence_percent: float = 10.0  # share of the least confident points that is left out
    edges: float = 0.04  # pixels beside a depth step are left out, see depth.discontinuities; 0 = kept
    visible_only: bool = True  # points that the answers themselves call hidden at their own pixel are left out
    merge: float = 0.05  # points on one line of sight whose distances differ by less than this share are one surface;
    # 0 = all points stay
    sight: float = 1.0  # width of a line of sight, in cells of the grid
    support: int = 2  # surfaces that fewer points agree on are left out: 2 removes what a single frame made up, and
    # some of what a single frame saw; never more than there are frames

    def __post_init__(self) -> None:
        if not 0 <= self.confidence_percent < 100:
            raise InputError(
                f"confidence_percent is {self.confidence_percent}.", "It is a share: from 0 to less than 100."
            )
        if self.edges < 0 or self.merge < 0 or not self.sight > 0 or self.support < 1:
            raise InputError(
                f"edges {self.edges}, merge {self.merge}, sight {self.sight}, support {self.support}: out of range.",
                "edges and merge are not negative, sight is more than 0, support at least 1.",
            )


@dataclass(frozen=True, eq=False)
class VideoCloud:
    """Points of a video in the camera of one frame."""

    points: Float32[np.ndarray, "n 3"]  # unit of the video
    confidence: Float32[np.ndarray, "n"]  # > 0, larger is better
    frames: Int64[np.ndarray, "n"]  # frame that a point was seen in
    uv: Float32[np.ndarray, "n 2"]  # where in that frame
    camera: int
    colors: UInt8[np.ndarray, "n 3"] | None = None  # sRGB, where the images were given

    def __len__(self) -> int:
        return len(self.points)


def cloud_of(
    video: AnswersQueries, options: CloudOptions | None = None, *, frames: Sequence[int] | int | None = None,
    camera: int = 0, moment: int | None = None, size: tuple[int, int] | None = None, images: Any = None,
    transform: Float64[np.ndarray, "t 3 3"] | None = None,
) -> VideoCloud:  # fmt: skip
    """All pixels of some frames as one cloud.

    Args:
        frames: whose pixels; None: all.
        camera: frame whose camera the points are expressed in.
        moment: None: every point where it was when it was seen, so things that move leave a trail. A frame number:
            every point where it is at that time, so that all frames together show one moment.
        size: (height, width) of the grid per frame; None: that of the original frames, at most 64 on the longer side.
        images: ``[T, H, W, 3]`` uint8 of any size, for the colours.
        transform: per-frame linear maps of points in the cameras' frames (known intrinsics), see ``recalibration``.

    Raises:
        InputError: a frame that does not exist.
    """
    options, chosen, camera = options or CloudOptions(), chosen_frames(video, frames), check_frame(video, camera)
    grid = check_size(size) if size is not None else moderate_size(video.original_size, 64)
    u, v = cell_centers(*grid)
    own = chosen[:, None, None]
    when = own if moment is None else np.int64(check_frame(video, moment, "moment"))
    answers = ask(video, u, v, own, when, np.int64(camera), keep=("points", "visibility", "confidence"))
    keep = np.isfinite(answers.points).all(-1) & (answers.confidence > 0)
    if moment is None and options.visible_only:
        keep &= answers.visible
    if options.edges > 0:
        local = ask(video, u, v, own, own, own, keep=("points",)).points[..., 2]
        keep &= (local > 0) & ~discontinuities(local, options.edges)
    if keep.any():
        keep &= answers.confidence >= confidence_threshold(answers.confidence[keep], options.confidence_percent)
    points = answers.points[keep]
    if transform is not None:
        points = (points @ transform[camera].T).astype(np.float32)
    number, row, column = np.nonzero(keep)
    confidence = answers.confidence[keep]
    if options.merge > 0:
        angle = options.sight * _cell_angle(answers.points, keep)
        rows = merge_surfaces(points, confidence, angle, options.merge, min(options.support, len(chosen)))
    else:
        rows = np.arange(len(points))
    uv = np.stack([u[row, column], v[row, column]], -1).astype(np.float32)[rows]
    seen = chosen[number][rows]
    colors = None if images is None else sample_colors(images, seen, uv)
    return VideoCloud(points[rows], confidence[rows], seen, uv, camera, colors)


def merge_surfaces(
    points: Float[np.ndarray, "n 3"], confidence: Float[np.ndarray, "n"], angle: float, tolerance: float,
    support: int = 1,
) -> Int64[np.ndarray, "m"]:  # fmt: skip
    """Rows of the points that stay, ascending: per line of sight from the origin the most confident of each surface.

    The most confident point of a line takes away all others whose distance differs by less than ``tolerance`` of it,
    then the most confident of the rest, and so on; no fixed bins along the line, whose borders could split a wall.

    Args:
        points: in the frame of the camera that looks.
        angle: width of a line of sight in radians.
        tolerance: relative difference of distances.
        support: least number of points that a surface is made of.
    """
    distance = np.linalg.norm(points, axis=-1).astype(np.float64)
    line = _lines_of_sight(points, distance, angle)
    alive = distance > 0
    kept = []
    by_confidence = np.argsort(-confidence, kind="stable")
    left = by_confidence[alive[by_confidence]]
    while len(left):  # as many rounds as there are surfaces behind each other
        _, first, which = np.unique(line[left], return_index=True, return_inverse=True)
        winner, which = left[first], which.reshape(-1)  # the first of each line is its most confident
        best = distance[winner][which]
        same = np.abs(distance[left] - best) <= tolerance * np.minimum(best, distance[left])
        kept.append(winner[np.bincount(which, same) >= support])
        left = left[~same]
    return np.sort(np.concatenate(kept)) if kept else np.zeros(0, np.int64)


def sample_colors(
    images: Any, frames: Int64[np.ndarray, "n"], uv: Float[np.ndarray, "n 2"]
) -> UInt8[np.ndarray, "n 3"]:
    """Colours of the nearest pixels of ``images`` [T, H, W, 3]."""
    height, width = images.shape[1:3]
    column = np.clip((uv[:, 0] * width).astype(np.int64), 0, width - 1)
    row = np.clip((uv[:, 1] * height).astype(np.int64), 0, height - 1)
    return np.asarray(images[frames, row, column], np.uint8)


def _cell_angle(points: Float[np.ndarray, "f h w 3"], keep: Bool[np.ndarray, "f h w"]) -> float:
    """Typical angle between neighbouring cells as seen from the origin, radians."""
    width = points.shape[2]
    both = keep[:, :, 1:] & keep[:, :, :-1]
    if width < 2 or not both.any():
        return float(np.radians(60) / max(width, 1))
    unit = points / np.maximum(np.linalg.norm(points, axis=-1, keepdims=True), 1e-12)
    step = np.linalg.norm(np.diff(unit, axis=2), axis=-1)[both]
    return max(float(np.median(step)), 1e-6)


def _lines_of_sight(
    points: Float[np.ndarray, "n 3"], distance: Float[np.ndarray, "n"], angle: float
) -> Int64[np.ndarray, "n"]:
    """Number of the cell of a cube map that a direction falls into; cells are about ``angle`` wide."""
    unit = points / np.maximum(distance, 1e-12)[:, None]
    size = np.abs(unit)
    axis = size.argmax(1)
    row = np.arange(len(points))
    longest = np.maximum(size[row, axis], 1e-12)
    face = 2 * axis + (unit[row, axis] > 0)
    cells = max(1, int(np.ceil(np.pi / 2 / angle)))  # per edge of a face
    place = [np.arctan(unit[row, (axis + k) % 3] / longest) / (np.pi / 2) + 0.5 for k in (1, 2)]
    a, b = (np.clip((each * cells).astype(np.int64), 0, cells - 1) for each in place)
    return (face * cells + a) * cells + b
