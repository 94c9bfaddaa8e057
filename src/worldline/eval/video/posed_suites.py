"""Suites of depth, cameras and point clouds: Sintel, Bonn, KITTI, ScanNet, TUM-dynamics, and any other sequence."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Float64

from worldline.errors import InputError
from worldline.eval.video.clouds import score_cloud
from worldline.eval.video.depth_scores import BONN, KITTI, SCANNET, SINTEL, DepthRules, score_pixels, valid_pixels
from worldline.eval.video.methods import VideoMethod, find_cloud, find_depth, find_poses
from worldline.eval.video.pose_pairs import pair_errors, pose_auc
from worldline.eval.video.readers.kitti import read_kitti
from worldline.eval.video.readers.posed_video import PosedVideo
from worldline.eval.video.readers.rgbd import read_bonn, read_tum_dynamics
from worldline.eval.video.readers.scannet import read_scannet
from worldline.eval.video.readers.sequences import read_sequences
from worldline.eval.video.readers.sintel import read_sintel
from worldline.eval.video.report import Score, VideoReport
from worldline.eval.video.track_suites import Progress, Sources
from worldline.eval.video.trajectory import score_trajectory, stands_still
from worldline.files import replacing_file, reporting

DEPTH_ALIGNMENTS = ("scale", "scale_exact", "scale_shift", "scale_shift_exact", "median")
LONGEST_SIDE = 128  # cells of the grid on which depth is asked for


@dataclass(frozen=True)
class PosedSuite:
    """What a data set's tables measure."""

    read: Callable[[Path], list[PosedVideo]]
    rules: DepthRules = KITTI
    poses: bool = True  # Bonn's are those of markers on the sensor, not of the camera
    clouds: bool = False


SUITES: dict[str, PosedSuite] = {
    "sintel": PosedSuite(read_sintel, SINTEL, clouds=True),
    "bonn": PosedSuite(read_bonn, BONN, poses=False),
    "kitti": PosedSuite(read_kitti),
    "scannet": PosedSuite(read_scannet, SCANNET, clouds=True),
    "tum": PosedSuite(read_tum_dynamics),
    "video": PosedSuite(read_sequences, clouds=True),
}


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a method says about a video; what it was not asked for is None."""

    depth: Float[np.ndarray, "t h w"] | None = None
    world_from_cam: Float64[np.ndarray, "t 4 4"] | None = None  # NaN where no pose was found
    cloud: Float[np.ndarray, "t h w 3"] | None = None  # in the camera of the first frame


def evaluate_posed(
    name: str, folder: Path, sources: Sources, *, alignments: Sequence[str] = DEPTH_ALIGNMENTS,
    longest_side: int = LONGEST_SIDE, videos: list[PosedVideo] | None = None, notes: Sequence[str] = (),
    progress: Progress = lambda *_: None,
) -> VideoReport:  # fmt: skip
    """Depth, cameras and clouds of every sequence, as far as the data set has the truth.

    Predictions on disk are files ``SEQUENCE.npz`` with ``depth`` [t, h, w], ``world_from_cam`` [t, 4, 4] and ``cloud``
    [t, h, w, 3], each of them optional. A missing file is an error: a mean over fewer sequences is another figure.

    Args:
        name: key of :data:`SUITES`.
        longest_side: cells of the grid on which methods are asked for depth; depth is then enlarged to the truth.
        videos: what the reader gave, where other options than its defaults were wanted; ``notes``: what it said.

    Raises:
        InputError: nothing of that format, a damaged file, or a missing prediction.
    """
    suite = SUITES[name]
    report = VideoReport({"suite": name, "longest_side": longest_side}, notes=list(notes))
    videos = suite.read(folder) if videos is None else videos
    for done, video in enumerate(videos):
        progress(done, len(videos), video.name)
        for method, prediction in _predictions(suite, video, sources, longest_side):
            place = (name, video.name, method)
            report.scores += score_posed(place, suite, video, prediction, alignments, report.notes)
    progress(len(videos), len(videos), "done")
    return report


def score_posed(
    place: tuple[str, str, str], suite: PosedSuite, video: PosedVideo, prediction: Prediction,
    alignments: Sequence[str], notes: list[str],
) -> list[Score]:  # fmt: skip
    """All scores of one method on one sequence; ``place`` is data set, sequence, method."""
    scores = []
    true_depth = video.depth() if video.depths is not None else None
    if true_depth is not None and prediction.depth is not None:
        pixels = valid_pixels(prediction.depth, true_depth, suite.rules)
        scores += _score_depth(place, suite.rules, *pixels, alignments, notes)
    if suite.poses and video.world_from_cam is not None and prediction.world_from_cam is not None:
        scores += _score_poses(place, video.world_from_cam, prediction.world_from_cam, notes)
    if suite.clouds and prediction.cloud is not None and has_cloud(video):
        assert true_depth is not None  # has_cloud
        scores += _score_cloud(place, suite.rules, video, true_depth, prediction.cloud, notes)
    return scores


def has_cloud(video: PosedVideo) -> bool:
    """Whether the truth has points: depth, intrinsics, and the pose of the first frame."""
    poses = video.world_from_cam
    return video.depths is not None and video.intrinsics is not None and poses is not None and bool(
        np.isfinite(poses[0]).all()
    )  # fmt: skip


def true_cloud(
    video: PosedVideo, depth: Float[np.ndarray, "t height width"], rules: DepthRules, size: tuple[int, int]
) -> tuple[Float64[np.ndarray, "t h w 3"], Bool[np.ndarray, "t h w"]]:
    """True points in the camera of the first frame, where a grid of cells has its centres (nearest depth), and where
    they are known."""
    rows, columns = size
    poses, lens = video.world_from_cam, video.intrinsics
    assert poses is not None and lens is not None  # has_cloud
    y = ((np.arange(rows) + 0.5) / rows * depth.shape[1]).astype(int)
    x = ((np.arange(columns) + 0.5) / columns * depth.shape[2]).astype(int)
    z = depth[:, y[:, None], x].astype(np.float64)
    known = rules.valid(z) & np.isfinite(poses).all((1, 2))[:, None, None]
    pixels = np.stack([*np.meshgrid(x, y), np.ones((rows, columns))], -1).astype(np.float64)
    local = np.where(known, z, 0.0)[..., None] * np.einsum("tij,hwj->thwi", np.linalg.inv(lens), pixels)
    first = np.linalg.inv(poses[0]) @ np.where(np.isfinite(poses), poses, 0.0)
    return np.einsum("tij,thwj->thwi", first[:, :3, :3], local) + first[:, None, None, :3, 3], known


def _score_depth(
    place: tuple[str, str, str], rules: DepthRules, found: Float64[np.ndarray, "n"], true: Float64[np.ndarray, "n"],
    alignments: Sequence[str], notes: list[str],
) -> list[Score]:  # fmt: skip
    """One row per alignment; a depth that cannot be aligned must not cost the other sequences."""
    scores = []
    for alignment in alignments:
        try:
            figures = score_pixels(found, true, alignment, rules)
        except InputError as error:
            notes.append(f"{place[1]} is not in the means of {place[2]}, {alignment}: {error.cause}")
            continue
        scores.append(Score("depth", *place, alignment, asdict(figures), weight=float(figures.valid_pixels)))
    return scores


def _score_cloud(
    place: tuple[str, str, str], rules: DepthRules, video: PosedVideo, depth: Float[np.ndarray, "t height width"],
    found: Float[np.ndarray, "t h w 3"], notes: list[str],
) -> list[Score]:  # fmt: skip
    """One row per alignment; a cloud that cannot be scored must not cost the other sequences."""
    if found.ndim != 4 or len(found) != len(depth) or found.shape[3] != 3:
        raise InputError(f"{place[1]} has {len(depth)} frames, its cloud is {found.shape}.", "Predict [t, h, w, 3].")
    true, valid = true_cloud(video, depth, rules, found.shape[1:3])
    scores = []
    for alignment, scale in (("shift", False), ("shift_scale", True)):
        try:
            error = score_cloud(found, true, valid, scale=scale).l1
        except InputError as problem:
            notes.append(f"{place[1]} is not in the means of {place[2]}, clouds, {alignment}: {problem.cause}")
            continue
        scores.append(Score("clouds", *place, alignment, {"cloud_l1": error}))
    return scores


def _score_poses(
    place: tuple[str, str, str], true: Float64[np.ndarray, "t 4 4"], found: Float64[np.ndarray, "t 4 4"],
    notes: list[str],
) -> list[Score]:  # fmt: skip
    if found.shape != true.shape:
        raise InputError(f"{place[1]} has {len(true)} poses, {len(found)} were predicted.", "Predict one per frame.")
    known, placed = np.isfinite(true).all((1, 2)), np.isfinite(found).all((1, 2))
    share = float((placed & known).sum() / max(1, known.sum()))
    both = known & placed
    if both.sum() < 2:
        notes.append(f"{place[1]}: fewer than two frames got a pose ({place[2]})")
        return [Score("poses", *place, "sim3", {"placed": share})]
    figures = {**asdict(score_trajectory(found[both], true[both])), "placed": share}
    if stands_still(true[both]):
        notes.append(f"{place[1]}: the true camera stands still, so only the rotation of its poses is measured")
    else:
        figures["auc30"] = pose_auc(pair_errors(found[both], true[both]), 30)
    return [Score("poses", *place, "sim3", figures)]


def _predictions(
    suite: PosedSuite, video: PosedVideo, sources: Sources, longest_side: int
) -> Iterator[tuple[str, Prediction]]:
    if sources.predictions is not None:
        yield "predictions", read_prediction(sources.predictions / f"{video.name}.npz")
        return
    frames = video.frames()
    for method in sources.methods:
        prediction = _predict(suite, video, method, frames, longest_side)
        if sources.keep is not None:
            write_prediction(sources.keep / method.name / f"{video.name}.npz", prediction)
        yield method.name, prediction


def _predict(
    suite: PosedSuite, video: PosedVideo, method: VideoMethod, frames: np.ndarray, longest_side: int
) -> Prediction:
    answers = method.encode(frames)
    factor = min(1.0, longest_side / max(frames.shape[1:3]))
    size = max(1, round(frames.shape[1] * factor)), max(1, round(frames.shape[2] * factor))
    return Prediction(
        find_depth(answers, size) if video.depths is not None else None,
        find_poses(answers) if suite.poses and video.world_from_cam is not None else None,
        find_cloud(answers, size) if suite.clouds and has_cloud(video) else None,
    )


def read_prediction(path: Path) -> Prediction:
    """A prediction from disk.

    Raises:
        InputError: the file is missing, damaged, or holds nothing of it.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            values = {key: stored[key] for key in ("depth", "world_from_cam", "cloud") if key in stored}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path} cannot be read ({error}).", "Every sequence needs its prediction.") from error
    if not values:
        raise InputError(f"{path} holds no prediction.", "Expected are depth, world_from_cam or cloud.")
    return Prediction(**values)


def write_prediction(path: Path, prediction: Prediction) -> None:
    """Write a prediction as :func:`read_prediction` has it back.

    Raises:
        OutputError: no permission, full disk.
    """
    values = {key: value for key, value in vars(prediction).items() if value is not None}
    with reporting(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(path) as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **values)
