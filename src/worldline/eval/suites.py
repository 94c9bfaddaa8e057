"""Accuracy beside baselines: procedural test rooms, and sequences with ground truth on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image

from worldline.errors import InputError
from worldline.eval.datasets import GroundTruth, PosedScene, find_sequences, read_sequence, truth_of
from worldline.eval.scores import SceneScore, constant_depth, score_scene
from worldline.eval.sfm import incremental_sfm
from worldline.inputs import load_views

if TYPE_CHECKING:
    from torch import nn

    from worldline.pipeline import Reconstructor
    from worldline.scene import Scene
    from worldline.types import Views

CONSTANT_DEPTH, SFM = "constant depth", "pycolmap incremental"
BASELINES = (CONSTANT_DEPTH, SFM)

Report = Callable[[str], None]


def evaluate_rooms(
    model: Reconstructor,
    scenes: int = 100,
    counts: Iterable[int] = (4, 8),
    *,
    layout: str = "rooms",
    baselines: Sequence[str] = BASELINES,
    report: Report = lambda _: None,
) -> list[dict[str, object]]:
    """Scores on the first ``scenes`` seeds of the test split, photographed at the model's own resolution.

    Returns:
        One record per number of views and method: medians over scenes, see :class:`SceneScore`.
    """
    from worldline import worlds

    if not 1 <= scenes <= len(worlds.TEST_SEEDS):
        raise InputError(f"{scenes} test scenes cannot be had.", f"There are {len(worlds.TEST_SEEDS)}.")
    records = []
    for count in counts:
        scores: dict[str, list[SceneScore]] = {}
        for seed in worlds.TEST_SEEDS[:scenes]:
            sample = worlds.sample(layout, seed, views=count, height=model.image_size, width=model.image_size)
            views = load_views(list(np.asarray(sample.images)), size=model.image_size, fit="square")
            with tempfile.TemporaryDirectory() as folder:
                photos = _write_photos(np.asarray(sample.images), Path(folder)) if SFM in baselines else []
                _collect(scores, score_methods(model, views, truth_of(sample), photos, baselines))
        records += _records(f"{layout} test", count, scores, report)
    return records


def evaluate_real(
    model: Reconstructor,
    folder: str | Path,
    counts: Iterable[int] = (4, 8),
    *,
    max_subsets: int = 6,
    baselines: Sequence[str] = BASELINES,
    report: Report = lambda _: None,
) -> list[dict[str, object]]:
    """Scores on all sequences at or below a folder (:mod:`worldline.eval.datasets`).

    For every number of views the frames are evenly spaced over the whole sequence, and the choices differ by their
    first frame; at most ``max_subsets`` of them are used. Nothing but the photos is given to any method.

    Returns:
        One record per sequence, number of views and method: medians over the subsets, see :class:`SceneScore`.
    """
    folders = find_sequences(folder)
    if not folders:
        raise InputError(f"No scene.json was found at or below {folder}.", "See docs/evaluation.md for the layout.")
    records = []
    for place in folders:
        try:
            sequence = read_sequence(place)
        except InputError as reason:
            report(f"left out {place.parent.name}/{place.name}: {reason.cause}")
            continue
        for count in counts:
            scores: dict[str, list[SceneScore]] = {}
            for frames in _spread(sequence.subsets(count), max_subsets):
                photos = [sequence.images[frame] for frame in frames]
                views = load_views(photos, size=model.image_size, fit="square")
                _collect(scores, score_methods(model, views, sequence.truth(frames, views), photos, baselines))
            if not scores:
                report(f"left out {sequence.name} with {count} views: it has {len(sequence)} frames")
            records += _records(sequence.name, count, scores, report)
    return records


def score_network(network: nn.Module, scenes: Iterable[PosedScene], references: int = 4) -> dict[str, float]:
    """Medians over posed scenes for a network in training: one pass each, cameras from the pointmaps alone."""
    from worldline.scene.cameras import estimate_cameras

    device = next(network.parameters()).device
    scores = []
    for scene in scenes:
        images = torch.from_numpy(np.asarray(scene.images)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.inference_mode():
            maps = network(images[None], references)
        points, confidence = (part[0].float().cpu().numpy() for part in (maps.points, maps.confidence))
        cameras = estimate_cameras(points, confidence)
        poses = cameras.world_from_cam.copy()
        poses[list(cameras.left_out)] = np.nan
        scores.append(score_scene(points.astype(np.float64), poses, truth_of(scene)))
    return SceneScore.summary(scores)


def score_methods(
    model: Reconstructor, views: Views, truth: GroundTruth, photos: Sequence[Path], baselines: Sequence[str] = BASELINES
) -> dict[str, SceneScore]:
    """Scores of the model and of the baselines on one set of photos."""
    scene = model.reconstruct_views(views)
    scores = {model.name: score_reconstruction(scene, truth)}
    if CONSTANT_DEPTH in baselines:
        pairs = zip(truth.cameras, views, strict=True)
        intrinsics = np.stack([camera.to_model(view.transform).intrinsics for camera, view in pairs])
        scores[CONSTANT_DEPTH] = constant_depth(truth, intrinsics)
    if SFM in baselines:
        scores[SFM] = _score_sfm(photos, views, truth)
    return scores


def score_reconstruction(scene: Scene, truth: GroundTruth) -> SceneScore:
    """Score all pixels of a scene, confident or not; views whose pose failed count as not registered.

    Their points count all the same: a pointmap says where they are without knowing the camera.
    """
    points = np.stack([view.points for view in scene.views])
    poses = np.stack([view.camera.world_from_cam for view in scene.views])
    failed = np.array([view.pose_status == "failed" for view in scene.views])
    poses[failed] = np.nan
    return score_scene(points, poses, truth)


def _score_sfm(photos: Sequence[Path], views: Views, truth: GroundTruth) -> SceneScore:
    """Sparse points are scored on the model pixels with a true point; unregistered views count as failed."""
    result = incremental_sfm(photos, threads=torch.get_num_threads())
    points = np.zeros_like(truth.points)
    found = np.zeros_like(truth.valid)
    poses = np.full((len(photos), 4, 4), np.nan)
    for index, pose in result.world_from_cam.items():
        poses[index] = pose
        x, y = np.rint(views[index].transform.to_model(result.pixels[index])).astype(int).T
        height, width = found.shape[1:]
        inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
        points[index, y[inside], x[inside]] = result.points[index][inside]
        found[index, y[inside], x[inside]] = True
    return score_scene(points, poses, truth, predicted=found)


def _write_photos(images: np.ndarray, folder: Path) -> list[Path]:
    photos = [folder / f"{index:03d}.png" for index in range(len(images))]
    for photo, image in zip(photos, images, strict=True):
        Image.fromarray(image).save(photo)
    return photos


def _collect(scores: dict[str, list[SceneScore]], found: dict[str, SceneScore]) -> None:
    for method, score in found.items():
        scores.setdefault(method, []).append(score)


def _records(name: str, count: int, scores: dict[str, list[SceneScore]], report: Report) -> list[dict[str, Any]]:
    records = [
        {"set": name, "views": count, "method": method, **SceneScore.summary(rows)} for method, rows in scores.items()
    ]
    for record in records:
        report(str(record))
    return records


def _spread(subsets: list[list[int]], most: int) -> list[list[int]]:
    if len(subsets) <= most:
        return subsets
    return [subsets[round(index)] for index in np.linspace(0, len(subsets) - 1, most)]
