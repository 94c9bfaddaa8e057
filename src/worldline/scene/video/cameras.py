"""Cameras of a video by rigid alignment of the same points in two camera frames (arXiv 2512.08924, section 2.1).

The queries (u, v, i, i, i) and (u, v, i, i, j) ask for the same points at the same moment in the frames of cameras i
and j. The rigid motion between the two answers is the relative pose, and whatever moves in the video does not disturb
it, because both answers are about one moment. docs/video.md compares the choices of references.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float64, Int64

from worldline.errors import InputError
from worldline.geometry import Similarity
from worldline.scene.cameras import CameraEstimates, fix_frame
from worldline.scene.video.answers import AnswersQueries
from worldline.scene.video.asking import ask, cell_centers, check_frame
from worldline.scene.video.intrinsics import IntrinsicsOptions, VideoIntrinsics, estimate_intrinsics, recalibration
from worldline.scene.video.pose_graph import Links, place_cameras
from worldline.scene.video.robust import fit_rigid_robust

References = Literal["anchored", "chain", "anchors"]


@dataclass(frozen=True)
class CameraOptions:
    """How poses are found."""

    references: References = "anchors"  # "anchored": every frame against the reference, as in the paper; "chain": every
    # frame against its neighbour, which drifts but never asks for far frames; "anchors": against several frames that
    # see much of the others, averaged
    anchors: int = 4  # at most so many; each costs grid x grid queries per frame
    grid: int = 16  # points per side; the paper's speed implies about 8, more of them tame the noise of small models
    hypotheses: int = 64  # triples of points that propose a motion (RANSAC)
    max_error: float = 0.1  # distance, as a share of a point's distance, up to which a motion explains it
    min_inliers: float = 0.3  # share of the confidence that must be explained, else the pose counts as failed
    confidence_weighting: bool = True  # points count by the lesser confidence of their two answers

    def __post_init__(self) -> None:
        if self.references not in get_args(References):
            raise InputError(
                f"Unknown way of choosing references {self.references!r}.",
                f"Choose one of: {', '.join(get_args(References))}.",
            )
        if self.anchors < 1 or self.grid < 2 or self.hypotheses < 1:
            raise InputError(
                f"anchors {self.anchors}, grid {self.grid}, hypotheses {self.hypotheses}: too few.",
                "At least 1 anchor, a grid of 2 and 1 hypothesis are needed.",
            )
        if not (self.max_error > 0 and 0 <= self.min_inliers <= 1):
            raise InputError(
                f"max_error {self.max_error}, min_inliers {self.min_inliers} are out of range.",
                "max_error must be more than 0 and min_inliers a share from 0 to 1.",
            )


@dataclass(frozen=True, eq=False)
class VideoCameras:
    """Cameras of all frames. A frame whose status is "failed" has NaN as its pose, never the identity."""

    intrinsics: Float64[np.ndarray, "t 3 3"]  # original pixels
    world_from_cam: Float64[np.ndarray, "t 4 4"]  # world: camera of the reference frame, or that of the given poses
    status: tuple[str, ...]  # per frame: "estimated", "given", "failed" or "degenerate"
    residual: Float64[np.ndarray, "t"]  # what alignment leaves, as a share of the points' distance; NaN where failed
    inlier_share: Float64[np.ndarray, "t"]  # confidence-weighted share of points that the motion explains
    disagreement: Float64[np.ndarray, "t"]  # degrees between what several anchors say; 0 where one spoke
    reference: int
    world_from_reference: Similarity  # identity unless poses were given
    fixed_scale: bool = False  # True when given poses determined the unit
    distortion: Float64[np.ndarray, "2"] | None = None  # as in VideoIntrinsics
    recalibration: Float64[np.ndarray, "t 3 3"] | None = None  # maps of points, where intrinsics were given
    warnings: tuple[str, ...] = ()

    @property
    def placed(self) -> Int64[np.ndarray, "n"]:
        """Frames that have a pose."""
        return np.flatnonzero(np.isfinite(self.world_from_cam).all((1, 2)))


def estimate_cameras(
    video: AnswersQueries, options: CameraOptions | None = None, *, reference: int = 0, intrinsics: object = None,
    poses: object = None, intrinsics_options: IntrinsicsOptions | None = None, pixel_aspect: float = 1.0,
) -> VideoCameras:  # fmt: skip
    """Intrinsics and poses of all frames.

    Args:
        reference: frame whose camera is the world.
        intrinsics: known ``[3, 3]`` or ``[T, 3, 3]`` in original pixels: the predicted depths and pixels are kept and
            unprojected with them, in every frame.
        poses: known ``world_from_cam`` ``[T, 4, 4]`` or a list with None where unknown: kept as they are. One fixes
            the frame of the world, two or more with distinct centres its unit as well.
        intrinsics_options: how unknown intrinsics are found.
        pixel_aspect: width of a pixel over its height.

    Raises:
        InputError: a reference that does not exist; given cameras that are none.
    """
    options, reference = options or CameraOptions(), check_frame(video, reference, "reference frame")
    given = check_poses(poses, video.frame_count)
    predicted = estimate_intrinsics(video, intrinsics_options, pixel_aspect=pixel_aspect)
    lens, bend = predicted, None
    if intrinsics is not None:
        lens = estimate_intrinsics(video, given=intrinsics)
        bend = recalibration(lens.matrices, predicted.matrices)
    links = _links(video, options, reference, bend)
    placed = place_cameras(links, video.frame_count, reference)
    estimates = CameraEstimates(
        intrinsics=lens.matrices,
        world_from_cam=np.where(placed.found[:, None, None], placed.reference_from_cam, np.eye(4)),
        status=tuple("estimated" if found else "failed" for found in placed.found),
        inlier_share=placed.inlier_share,
        world_from_points=Similarity.identity(),
        left_out=tuple(np.flatnonzero(~placed.found).tolist()),
    )
    names = [f"frame {index}" for index in range(video.frame_count)]
    estimates = fix_frame(estimates, given, links.distance, names)
    poses_now = estimates.world_from_cam.copy()
    poses_now[[status == "failed" for status in estimates.status]] = np.nan
    return VideoCameras(
        lens.matrices, poses_now, estimates.status, np.where(placed.found, placed.residual, np.nan),
        placed.inlier_share, placed.disagreement, reference, estimates.world_from_points, estimates.fixed_scale,
        lens.distortion, bend, (*_sentences(lens, placed.found), *estimates.warnings),
    )  # fmt: skip


def check_poses(poses: object, count: int) -> list[Float64[np.ndarray, "4 4"] | None]:
    """One pose or None per frame.

    Raises:
        InputError: a wrong number of them, or a matrix that is no rigid motion.
    """
    if poses is None:
        return [None] * count
    rows = list(poses)  # type: ignore[call-overload]
    if len(rows) != count:
        raise InputError(f"There are {len(rows)} poses for {count} frames.", "Give one per frame, None where unknown.")
    found: list[Float64[np.ndarray, "4 4"] | None] = []
    for index, row in enumerate(rows):
        pose = None if row is None else np.asarray(row, np.float64)
        if pose is not None:
            rotation = pose[:3, :3] if pose.shape == (4, 4) else np.zeros((3, 3))
            if not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3) or np.linalg.det(rotation) < 0:
                raise InputError(
                    f"The pose of frame {index} is no rigid motion.", "Give world_from_cam matrices, 4x4, OpenCV axes."
                )
        found.append(pose)
    return found


def _links(
    video: AnswersQueries, options: CameraOptions, reference: int, bend: Float64[np.ndarray, "t 3 3"] | None
) -> Links:
    """Relative poses between pairs of frames, chosen by ``options.references``, with how far each can be trusted."""
    count = video.frame_count
    every = np.arange(count)
    if options.references == "chain":
        target = every[every != reference]
        source = target - np.sign(target - reference)  # outwards from the reference
    else:
        sources = np.array([reference])
        if options.references == "anchors":
            sources = choose_anchors(video, reference, options.anchors)
        source, target = (part.ravel() for part in np.meshgrid(sources, every, indexing="ij"))
        source, target = source[source != target], target[source != target]
    u, v = (part.ravel() for part in cell_centers(options.grid, options.grid))
    starts, row = np.unique(np.r_[source, reference], return_inverse=True)
    own = ask(video, u, v, *(starts[:, None],) * 3, keep=("points", "confidence"))
    seen, again = source[:, None], target[:, None]
    other = ask(video, u, v, seen, seen, again, keep=("points", "confidence"))
    first, second = own.points[row[:-1]].astype(np.float64), other.points.astype(np.float64)
    if bend is not None:
        first = np.einsum("pij,pnj->pni", bend[source], first)
        second = np.einsum("pij,pnj->pni", bend[target], second)
    usable = np.isfinite(first).all(-1) & np.isfinite(second).all(-1) & (first[..., 2] > 0)
    weights = np.minimum(own.confidence[row[:-1]], other.confidence) if options.confidence_weighting else 1.0
    weights = np.where(usable, weights, 0.0)
    first, second = (np.where(usable[..., None], values, 0.0) for values in (first, second))
    fits = fit_rigid_robust(
        *(torch.from_numpy(values) for values in (first, second, weights)), hypotheses=options.hypotheses,
        bound=options.max_error, least_share=options.min_inliers,
    )  # fmt: skip
    ahead = own.points[row[-1], :, 2]
    return Links(
        source, target, fits.target_from_source.numpy(), fits.variance.numpy(), fits.residual.numpy(),
        fits.inlier_share.numpy(), fits.valid.numpy(), float(np.median(ahead[ahead > 0])) if (ahead > 0).any() else 0.0,
    )  # fmt: skip


def choose_anchors(video: AnswersQueries, reference: int, number: int, grid: int = 4) -> Int64[np.ndarray, "n"]:
    """Frames that see much of the others, the reference first.

    A few points of every frame are asked for at every other moment: how many are visible there, weighted by
    confidence, says how much two frames share. Anchors are added one by one, each where it helps the most: where the
    sum over all frames of what their best anchor shares with them grows the most.
    """
    count = video.frame_count
    number = min(number, count)
    if number <= 1:
        return np.array([reference])
    u, v = (part.ravel() for part in cell_centers(grid, grid))
    source, target = np.arange(count)[:, None, None], np.arange(count)[None, :, None]
    answers = ask(video, u, v, source, target, target, keep=("visibility", "confidence"))
    shared = (answers.visibility * answers.confidence).mean(-1)
    shared = np.minimum(shared, shared.T)  # a frame that lies far back sees all of a close-up, which sees little of it
    chosen = [reference]
    for _ in range(number - 1):
        gain = np.maximum(shared, shared[chosen].max(0)).sum(1)
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
    return np.array(chosen)


def _sentences(lens: VideoIntrinsics, found: np.ndarray) -> list[str]:
    """What a user should know about the cameras."""
    lost = np.flatnonzero(~found)
    if not len(lost):
        return list(lens.warnings)
    shown = ", ".join(map(str, lost[:5])) + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
    frames = f"Frame {shown} has" if len(lost) == 1 else f"Frames {shown} have"
    return [*lens.warnings, f"{frames} no pose: no rigid motion explains the points."]
