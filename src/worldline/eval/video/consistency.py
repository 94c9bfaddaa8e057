"""Does what a network says about a video fit together? Checks that need no ground truth.

A network may be consistent and wrong: a video in which nothing is said to move has perfect tracks there and back. So
every figure has a control beside it, the same measure after what was said is broken, or what the figure is to be
compared with. Figures that are not far below their control say nothing good.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from worldline.errors import InputError
from worldline.scene.video.answers import AnswersQueries
from worldline.scene.video.asking import ask, cell_centers
from worldline.scene.video.cameras import VideoCameras, estimate_cameras
from worldline.scene.video.dynamic import find_dynamic

RASTER = 256.0  # pixels of the shorter side of the image in which distances are given, as in TAPVid-3D
_LEAST_BASELINE = 0.01  # distance of two cameras, as a share of the median depth, below which epipolar lines are noise
_FEWEST = 8  # points of a figure


@dataclass(frozen=True)
class ConsistencyOptions:
    """What is asked."""

    grid: int = 12  # points per side and frame
    pairs: int = 24  # pairs of frames, spread over the video and over distances in time
    seed: int = 0  # of the choice of pairs

    def __post_init__(self) -> None:
        if self.grid < 2 or self.pairs < 1:
            raise InputError(f"grid {self.grid}, pairs {self.pairs}: too few.", "At least 2 x 2 points and 1 pair.")


@dataclass(frozen=True)
class Check:
    """One figure, NaN where too few points could be measured."""

    median: float
    worst: float  # 90th percentile
    control: float  # median of the same measure after a deliberate mistake, or what the figure is to be compared with
    points: int  # that were measured
    asked: int  # that were asked for

    @classmethod
    def of(
        cls, errors: Float64[np.ndarray, "*n"], control: Float64[np.ndarray, "*n"], measured: Bool[np.ndarray, "*n"]
    ) -> Check:  # fmt: skip
        """The figure of the errors that were measured; those that are not finite are infinitely large."""
        kept = np.where(np.isfinite(errors), errors, np.inf)[measured]
        if len(kept) < _FEWEST:
            return cls(np.nan, np.nan, np.nan, len(kept), measured.size)
        other = np.where(np.isfinite(control), control, np.inf)[measured]
        median, worst = (float(np.quantile(kept, share, method="lower")) for share in (0.5, 0.9))
        return cls(median, worst, float(np.quantile(other, 0.5, method="lower")), len(kept), measured.size)


@dataclass(frozen=True)
class Consistency:
    """How well the answers to one video's queries fit together."""

    cycle: Check  # pixels of RASTER between a point and where it comes back to from another frame; control: how far it
    # was from its first place in that frame
    epipolar: Check  # pixels of RASTER between where still points are said to be and their epipolar lines by the
    # recovered cameras; control: the same for the place of another point
    cameras: Check  # difference of one point asked for in two cameras and brought together by the recovered relative
    # pose, as a share of its distance; control: the poses left out
    placed: float  # share of frames with a pose
    still: float  # share of pixels that count as still


def check_consistency(
    video: AnswersQueries, options: ConsistencyOptions | None = None, *, cameras: VideoCameras | None = None
) -> Consistency:
    """All checks of one video of two or more frames.

    Args:
        cameras: those that were recovered; None: they are estimated.

    Raises:
        InputError: fewer than two frames.
    """
    options = options or ConsistencyOptions()
    if video.frame_count < 2:
        raise InputError("A single frame has nothing to be consistent with.", "Give two frames or more.")
    cameras = cameras or estimate_cameras(video)
    source, target = frame_pairs(video.frame_count, options)
    u, v = (part.ravel() for part in cell_centers(options.grid, options.grid))
    frames = np.unique(source)
    moving = find_dynamic(video, frames=frames.tolist(), size=(options.grid, options.grid)).mask
    still = ~moving.reshape(len(frames), -1)
    placed = np.isfinite(cameras.world_from_cam).all((1, 2))
    return Consistency(
        cycle_error(video, u, v, source, target),
        epipolar_error(video, cameras, u, v, source, target, still[np.searchsorted(frames, source)]),
        camera_agreement(video, cameras, u, v, source, target),
        float(placed.mean()),
        float(still.mean()),
    )


def frame_pairs(
    count: int, options: ConsistencyOptions
) -> tuple[Int64[np.ndarray, "p"], Int64[np.ndarray, "p"]]:  # fmt: skip
    """Pairs of different frames (source, target), every distance in time equally likely; the same for every run."""
    rng = np.random.default_rng([count, options.seed])
    gap = rng.integers(1, count, options.pairs)
    first = (rng.random(options.pairs) * (count - gap)).astype(np.int64)
    turned = rng.random(options.pairs) < 0.5
    return np.where(turned, first + gap, first), np.where(turned, first, first + gap)


def cycle_error(
    video: AnswersQueries, u: Float64[np.ndarray, "n"], v: Float64[np.ndarray, "n"], source: Int64[np.ndarray, "p"],
    target: Int64[np.ndarray, "p"],
) -> Check:  # fmt: skip
    """Follow points to another frame and back again, where they are said to be visible there and back."""
    src, tgt = source[:, None], target[:, None]
    there = ask(video, u, v, src, tgt, tgt, keep=("uv", "visibility"))
    at = there.uv.astype(np.float64)
    inside = (np.isfinite(at) & (at >= 0) & (at <= 1)).all(-1) & there.visible
    x, y = (np.where(inside, at[..., axis], 0.5) for axis in (0, 1))
    back = ask(video, x, y, tgt, src, src, keep=("uv", "visibility"))
    start = np.broadcast_to(np.stack([u, v], -1), at.shape)
    size = _raster(video)
    errors, way = (np.linalg.norm((each - start) * size, axis=-1) for each in (back.uv, at))
    return Check.of(errors, way, inside & back.visible)


def epipolar_error(
    video: AnswersQueries, cameras: VideoCameras, u: Float64[np.ndarray, "n"], v: Float64[np.ndarray, "n"],
    source: Int64[np.ndarray, "p"], target: Int64[np.ndarray, "p"], still: Bool[np.ndarray, "p n"],
) -> Check:  # fmt: skip
    """Distance of the places of still points in another frame from their epipolar lines there.

    Pairs of cameras that are closer than one per cent of the median depth have no epipolar lines and are left out.
    """
    src, tgt = source[:, None], target[:, None]
    there = ask(video, u, v, src, tgt, tgt, keep=("points", "uv", "visibility"))
    far = np.median(there.points[..., 2][there.points[..., 2] > 0]) if (there.points[..., 2] > 0).any() else np.inf
    poses = cameras.world_from_cam
    motion = np.linalg.inv(_known(poses[target])) @ _known(poses[source])  # target from source
    wide = np.linalg.norm(motion[:, :3, 3], axis=-1) > _LEAST_BASELINE * far
    found = (np.isfinite(poses[source]) & np.isfinite(poses[target])).all((1, 2))
    measured = there.visible & still & (wide & found)[:, None]
    others = np.roll(there.uv, there.uv.shape[1] // 2, axis=1)
    errors, control = (
        _line_distance(video, cameras, u, v, uv, motion, source, target) for uv in (there.uv, others)
    )  # fmt: skip
    return Check.of(errors, control, measured)


def _line_distance(
    video: AnswersQueries, cameras: VideoCameras, u: np.ndarray, v: np.ndarray, uv: np.ndarray,
    motion: Float64[np.ndarray, "p 4 4"], source: Int64[np.ndarray, "p"], target: Int64[np.ndarray, "p"],
) -> Float64[np.ndarray, "p n"]:  # fmt: skip
    """Pixels of RASTER from places in the target frames to the epipolar lines of points of the source frames."""
    height, width = video.original_size
    start = np.stack([u * width - 0.5, v * height - 0.5, np.ones_like(u)], -1)
    end = np.concatenate([uv.astype(np.float64) * (width, height) - 0.5, np.ones((*uv.shape[:-1], 1))], -1)
    essential = np.cross(np.eye(3), motion[:, None, :3, 3]) @ motion[:, :3, :3]  # [t]x has the rows e_i x t
    lens = np.linalg.inv(cameras.intrinsics)
    fundamental = lens[target].transpose(0, 2, 1) @ essential @ lens[source]
    lines = np.einsum("pij,nj->pni", fundamental, start)
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = np.abs((lines * end).sum(-1)) / np.linalg.norm(lines[..., :2], axis=-1)
    return distance * RASTER / min(height, width)


def camera_agreement(
    video: AnswersQueries, cameras: VideoCameras, u: Float64[np.ndarray, "n"], v: Float64[np.ndarray, "n"],
    source: Int64[np.ndarray, "p"], target: Int64[np.ndarray, "p"],
) -> Check:  # fmt: skip
    """One point at one moment (that of the target) in the cameras of both frames, brought together by their poses.

    Cameras are recovered from other moments (t_src = t_tgt), so this is no circle.
    """
    src, tgt = source[:, None], target[:, None]
    own = ask(video, u, v, src, tgt, tgt, keep=("points",)).points.astype(np.float64)
    other = ask(video, u, v, src, tgt, src, keep=("points",)).points.astype(np.float64)
    poses = cameras.world_from_cam
    motion = np.linalg.inv(_known(poses[target])) @ _known(poses[source])
    brought = np.einsum("pij,pnj->pni", motion[:, :3, :3], other) + motion[:, None, :3, 3]
    far = np.linalg.norm(own, axis=-1)
    found = (np.isfinite(poses[source]) & np.isfinite(poses[target])).all((1, 2))
    measured = found[:, None] & (own[..., 2] > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        errors, control = (np.linalg.norm(each - own, axis=-1) / far for each in (brought, other))
    return Check.of(errors, control, measured)


def _known(poses: Float64[np.ndarray, "p 4 4"]) -> Float64[np.ndarray, "p 4 4"]:
    """Identity where no pose was found, so that it can be inverted."""
    return np.where(np.isfinite(poses).all((1, 2))[:, None, None], poses, np.eye(4))


def _raster(video: AnswersQueries) -> Float64[np.ndarray, "2"]:
    """Pixels of RASTER per unit of u and v."""
    height, width = video.original_size
    return np.array([width, height]) * RASTER / min(height, width)
