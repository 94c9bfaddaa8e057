"""Accuracy on sequences with ground truth on disk, beside a constant depth and classical structure from motion."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from worldline.errors import InputError
from worldline.eval.datasets import GroundTruth, Sequence, find_sequences, read_sequence
from worldline.eval.scores import SceneScore, constant_depth, score_scene
from worldline.eval.sfm import incremental_sfm

if TYPE_CHECKING:
    from worldline.pipeline import Reconstructor
    from worldline.types import Views

BASELINES = ("constant depth", "pycolmap incremental")


def evaluate_real(
    model: Reconstructor,
    folder: str | Path,
    counts: Iterable[int] = (4, 8),
    *,
    max_subsets: int = 6,
    baselines: Iterable[str] = BASELINES,
    report: Callable[[str], None] = lambda _: None,
) -> list[dict[str, object]]:
    """Scores of all methods on all sequences at or below a folder.

    For every number of views the frames are evenly spaced over the whole sequence, and the choices differ by their
    first frame; at most ``max_subsets`` of them are used. Nothing but the photos is given to any method.

    Returns:
        One record per sequence, number of views and method: medians over the subsets, see :class:`SceneScore`.
    """
    records = []
    folders = find_sequences(folder)
    if not folders:
        raise InputError(f"No scene.json was found at or below {folder}.", "See docs/evaluation.md for the layout.")
    for place in folders:
        try:
            sequence = read_sequence(place)
        except InputError as reason:
            report(f"left out {place.parent.name}/{place.name}: {reason.cause}")
            continue
        for count in counts:
            subsets = _spread(sequence.subsets(count), max_subsets)
            if not subsets:
                report(f"left out {sequence.name} with {count} views: it has {len(sequence)} frames")
                continue
            scores: dict[str, list[SceneScore]] = {}
            for frames in subsets:
                for method, score in evaluate_subset(model, sequence, frames, baselines).items():
                    scores.setdefault(method, []).append(score)
            for method, rows in scores.items():
                records.append({"set": sequence.name, "views": count, "method": method, **SceneScore.summary(rows)})
                report(f"{sequence.name} {count} views, {method}: {SceneScore.summary(rows)}")
    return records


def evaluate_subset(
    model: Reconstructor, sequence: Sequence, frames: list[int], baselines: Iterable[str] = BASELINES
) -> dict[str, SceneScore]:
    """Scores of the model and of the baselines on one choice of frames."""
    from worldline.inputs import load_views

    photos = [sequence.images[frame] for frame in frames]
    views = load_views(photos, size=model.image_size)
    truth = sequence.truth(frames, views)
    scene = model.reconstruct_views(views)
    scores = {
        model.name: score_scene(
            np.stack([view.points for view in scene.views]),
            np.stack([view.camera.world_from_cam for view in scene.views]),
            truth,
        )
    }
    if "constant depth" in baselines:
        scores["constant depth"] = constant_depth(truth, model_intrinsics(truth, views))
    if "pycolmap incremental" in baselines:
        scores["pycolmap incremental"] = _score_sfm(photos, views, truth)
    return scores


def model_intrinsics(truth: GroundTruth, views: Views) -> np.ndarray:
    """True intrinsics in model pixels, ``[view, 3, 3]``: the constant-depth baseline is told them."""
    pairs = zip(truth.cameras, views, strict=True)
    return np.stack([camera.to_model(view.transform).intrinsics for camera, view in pairs])


def _score_sfm(photos: list[Path], views: Views, truth: GroundTruth) -> SceneScore:
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


def _spread(subsets: list[list[int]], most: int) -> list[list[int]]:
    if len(subsets) <= most:
        return subsets
    return [subsets[round(index)] for index in np.linspace(0, len(subsets) - 1, most)]
