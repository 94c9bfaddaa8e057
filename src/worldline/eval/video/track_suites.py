"""Suites of tracks: TAPVid-3D and TAP-Vid, for methods and for predictions on disk."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
from jaxtyping import Float64

from worldline.errors import InputError
from worldline.eval.video.methods import FoundTracks, VideoMethod, find_tracks
from worldline.eval.video.readers import tapvid, tapvid3d
from worldline.eval.video.report import Score, VideoReport
from worldline.eval.video.track_counts import TrackScores
from worldline.eval.video.tracks2d import RASTER, QueriedTracks, QueryMode, Tracks2D, sample_queries, score_tracks_2d
from worldline.eval.video.tracks3d import Scaling, Tracks3D, score_tracks_3d
from worldline.eval.video.world_tracks import score_world_tracks
from worldline.files import replacing_file, reporting
from worldline.scene.video.answers import AnswersQueries

Progress = Callable[[int, int, str], None]  # videos done, videos, name of the next one
_OURS = "predictions"  # name of the method whose results are files


@dataclass(frozen=True)
class Sources:
    """What is scored: methods, or the predictions of one method in a folder."""

    methods: Sequence[VideoMethod] = ()
    predictions: Path | None = None
    keep: Path | None = None  # folder for the methods' predictions, one subfolder per method

    def __post_init__(self) -> None:
        if bool(self.methods) == (self.predictions is not None):
            raise InputError("There is nothing to score, or two things.", "Name a model, or a folder of predictions.")


def evaluate_tapvid3d(
    folder: Path, sources: Sources, *, scalings: Sequence[Scaling] = ("median",), known_intrinsics: bool = False,
    world: bool = False, progress: Progress = lambda *_: None,
) -> VideoReport:  # fmt: skip
    """3D-AJ, APD3D and OA of every clip; means over clips, then over subsets.

    A prediction that is missing, damaged or of the wrong shape counts as 0 in every figure, as in the benchmark.

    Args:
        known_intrinsics: unproject the predicted image coordinates with the true intrinsics at the predicted depth.
        world: also score the tracks in the camera of the first frame, where the data set has extrinsics.

    Raises:
        InputError: no clip, a damaged one, or unknown scalings.
    """
    if unknown := [name for name in scalings if name not in get_args(Scaling)]:
        raise InputError(f"Unknown scaling '{unknown[0]}'.", f"Choose from: {', '.join(get_args(Scaling))}.")
    sets = tapvid3d.find_clips(folder)
    report = VideoReport({"suite": "tapvid3d", "known_intrinsics": known_intrinsics})
    todo = [(name, path) for name, paths in sets.items() for path in paths]
    for done, (subset, path) in enumerate(todo):
        progress(done, len(todo), f"{subset}/{path.stem}")
        clip = tapvid3d.read_clip(path)
        for method, found, fixed in _tracks_3d(clip, path, subset, sources, known_intrinsics, world, report.notes):
            place = (subset, path.stem, method)
            report.scores += _score_3d(place, clip, found, scalings, report.notes)
            if fixed is not None:
                report.scores.append(_score_world(place, clip, fixed))
    progress(len(todo), len(todo), "done")
    return report


def _tracks_3d(
    clip: tapvid3d.Clip, path: Path, subset: str, sources: Sources, known_intrinsics: bool, world: bool,
    notes: list[str],
) -> Iterator[tuple[str, Tracks3D | None, Float64[np.ndarray, "t n 3"] | None]]:  # fmt: skip
    """(method, tracks in camera coordinates, the same in the first camera if wanted) of a clip."""
    if sources.predictions is not None:
        places = [sources.predictions / subset / path.name, sources.predictions / path.name]
        try:
            yield _OURS, tapvid3d.read_prediction(next((p for p in places if p.is_file()), places[0])), None
        except InputError as error:
            notes.append(f"{subset}/{path.stem} counts as 0: {error.cause}")
            yield _OURS, None, None
        return
    uvt, moved = _inside(clip)
    if moved:
        notes.append(f"{subset}/{path.stem}: {moved} queries outside of the image were asked for at its edge")
    world = world and clip.cam_from_world is not None
    frames = clip.frames()
    for method in sources.methods:
        found = find_tracks(method.encode(frames), uvt, world=world)
        points = _unprojected(found, clip) if known_intrinsics else found.points
        if sources.keep is not None:
            tapvid3d.write_prediction(sources.keep / method.name / subset / path.name, points, found.visible)
        yield method.name, Tracks3D(points, found.visible), found.world if world else None


def _score_3d(
    place: tuple[str, str, str], clip: tapvid3d.Clip, found: Tracks3D | None, scalings: Sequence[Scaling],
    notes: list[str],
) -> list[Score]:  # fmt: skip
    rows = []
    for scaling in scalings:
        figures = dict.fromkeys(_NAMES, 0.0)
        if found is not None:
            try:
                scores = score_tracks_3d(found, clip.tracks, clip.lens, clip.queries_tyx, scaling=scaling)
                figures = {name: float(value[0]) for name, value in scores.named().items()}
            except InputError as error:
                notes.append(f"{place[0]}/{place[1]} counts as 0: {error.cause}")
        rows.append(Score("tracks 3D", *place, scaling, figures))
    return rows


def _score_world(place: tuple[str, str, str], clip: tapvid3d.Clip, found: Float64[np.ndarray, "t n 3"]) -> Score:
    """In the camera of the first frame; D4RT's paper leaves open how exactly (docs/video_evaluation.md)."""
    poses = clip.cam_from_world
    assert poses is not None  # the caller has looked
    first_from_cam = poses[0] @ np.linalg.inv(poses)
    points = np.asarray(clip.tracks.points, np.float64)
    true = np.einsum("tij,tnj->tni", first_from_cam[:, :3, :3], points) + first_from_cam[:, None, :3, 3]
    scores = score_world_tracks(found, true, clip.tracks.visible, points[..., 2], clip.lens)
    return Score("tracks world", *place, "median", {"apd3d": scores.apd3d, "l1": scores.l1})


def _inside(clip: tapvid3d.Clip) -> tuple[Float64[np.ndarray, "n 3"], int]:
    """Queries as shares of the image, and how many had to be moved to its edge (the data has a few outside)."""
    height, width = clip.size
    uv = clip.queries[:, :2] / (width, height)
    kept = np.clip(uv, 0.0, 1.0)
    frames = np.clip(np.rint(clip.queries[:, 2]), 0, len(clip.jpegs) - 1)
    return np.column_stack([kept, frames]), int((kept != uv).any(1).sum())


def _unprojected(found: FoundTracks, clip: tapvid3d.Clip) -> Float64[np.ndarray, "t n 3"]:
    """Predicted image coordinates at the predicted depth, through the true lens."""
    height, width = clip.size
    fx, fy, cx, cy = clip.intrinsics
    depth = found.points[..., 2]
    x, y = found.uv[..., 0] * width, found.uv[..., 1] * height
    return np.stack([(x - cx) / fx * depth, (y - cy) / fy * depth, depth], -1)


def evaluate_tapvid(
    folder: Path, sources: Sources, *, modes: Sequence[QueryMode] = ("first",), progress: Progress = lambda *_: None
) -> VideoReport:
    """AJ, δavg and OA of every video of TAP-Vid's pickles; means over videos.

    A prediction that is missing, damaged or of the wrong shape counts as 0 in every figure.

    Raises:
        InputError: no pickle, one that is refused, or an unknown mode.
    """
    report = VideoReport({"suite": "tapvid", "raster": RASTER})
    for path in tapvid.find_pickles(folder):
        videos = list(tapvid.read_videos(path))
        for done, video in enumerate(videos):
            progress(done, len(videos), video.name)
            encoded = {method.name: method.encode(video.frames) for method in sources.methods}
            for mode in modes:
                queried = sample_queries(video.on_raster, video.visible, mode)
                true = Tracks2D(queried.points, queried.visible)
                for method, found in _tracks_2d(video, queried, mode, sources, encoded, report.notes):
                    scores = None if found is None else score_tracks_2d(found, true, queried.queries, mode)
                    figures = dict.fromkeys(_NAMES, 0.0) if scores is None else _floats(scores)
                    report.scores.append(Score("tracks 2D", path.stem, video.name, method, mode, figures))
        progress(len(videos), len(videos), "done")
    return report


def _tracks_2d(
    video: tapvid.TapVidVideo, queried: QueriedTracks, mode: QueryMode, sources: Sources,
    encoded: Mapping[str, AnswersQueries], notes: list[str],
) -> Iterator[tuple[str, Tracks2D | None]]:  # fmt: skip
    """(method, tracks) of a video; None where a prediction cannot be used."""
    file = f"{video.name}.npz"
    if sources.predictions is not None:
        places = [folder / name for folder in (sources.predictions / mode, sources.predictions)
                  for name in (file, Path(file).name)]  # fmt: skip
        try:
            yield _OURS, _read_tracks_2d(next((p for p in places if p.is_file()), places[0]), queried.visible.shape)
        except InputError as error:
            notes.append(f"{video.name} ({mode}) counts as 0: {error.cause}")
            yield _OURS, None
    for name, answers in encoded.items():
        found = find_tracks(answers, queried.queries[:, ::-1] / (RASTER, RASTER, 1))
        tracks = Tracks2D(found.uv.swapaxes(0, 1) * RASTER, found.visible.T)
        if sources.keep is not None:
            _write_tracks_2d(sources.keep / name / mode / file, tracks)
        yield name, tracks


def _read_tracks_2d(path: Path, shape: tuple[int, ...]) -> Tracks2D:
    """``tracks`` [q, t, 2] in pixels of the raster of 256, ``visibility`` [q, t]."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = Tracks2D(stored["tracks"], stored["visibility"].astype(bool))
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path} cannot be read ({error}).", "It holds tracks [q, t, 2] and visibility [q, t]."
        ) from error
    if found.visible.shape != shape or found.points.shape != (*shape, 2):
        raise InputError(
            f"{path} has tracks of shape {found.points.shape} where {shape} are asked for.", "Write [q, t, 2]."
        )
    return found


def _write_tracks_2d(path: Path, tracks: Tracks2D) -> None:
    values: dict[str, Any] = {"tracks": tracks.points.astype(np.float32), "visibility": tracks.visible}
    with reporting(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(path) as temporary:
            np.savez_compressed(temporary, allow_pickle=False, **values)


def _floats(scores: TrackScores) -> dict[str, float]:
    return {name: float(value) for name, value in scores.named().items()}


_NAMES = tuple(TrackScores(np.zeros(1), np.zeros((5, 1)), np.zeros((5, 1))).named())
