"""What is compared: models, and the baselines that everybody should be compared with."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from worldline.errors import InputError
from worldline.eval.paper import Solver, can_give_paper_figures, paper_score
from worldline.eval.scores import SceneScore, constant_depth, score_scene
from worldline.eval.sequences import GroundTruth
from worldline.eval.sfm import incremental_sfm

if TYPE_CHECKING:
    from worldline.pipeline import ReconstructOptions, Reconstructor
    from worldline.scene import Scene
    from worldline.types import Views

CONSTANT_DEPTH, SFM = "constant depth", "pycolmap incremental"
BASELINES = {"constant-depth": CONSTANT_DEPTH, "sfm": SFM}

Scores = dict[str, float]


def load_models(names: Sequence[str], device: str | None = None) -> dict[str, Reconstructor]:
    """Models by the label that reports show: the model's own name, or what was asked for when names collide.

    Raises:
        InputError: the same model twice.
        WeightsError: unknown or unreadable weights.
    """
    from worldline.pipeline import load

    if len(set(names)) != len(names):
        raise InputError(f"A model is named twice: {', '.join(names)}.", "Name each model once.")
    loaded = [load(name, device) for name in names]
    own = [model.name for model in loaded]
    labels = [str(name) if own.count(model.name) > 1 else model.name for name, model in zip(names, loaded, strict=True)]
    return dict(zip(labels, loaded, strict=True))


def identity(model: Reconstructor) -> dict[str, object]:
    """What a report must say about a model so that its numbers can be had again."""
    return {"name": model.name, "sha256": model.weights_sha256, "image size": model.image_size}


def score_model(
    model: Reconstructor, views: Views, truth: GroundTruth, options: ReconstructOptions | None = None
) -> Scores:
    """Figures of one reconstruction, with its wall time."""
    started = time.perf_counter()
    scene = model.reconstruct_views(views, options)
    seconds = time.perf_counter() - started
    return {**asdict(score_reconstruction(scene, truth)), "seconds": seconds}


def score_paper(model: Reconstructor, views: Views, truth: GroundTruth, solver: Solver = "pycolmap") -> Scores:
    """The paper's figures, nothing for models and truth that do not have them."""
    if not can_give_paper_figures(model) or not truth.valid.any():
        return {}
    return asdict(paper_score(model, views, truth, solver))


def score_baselines(
    names: Sequence[str], views: Views, truth: GroundTruth, photos: Sequence[Path] = ()
) -> dict[str, Scores]:
    """Figures of baselines (values of :data:`BASELINES`) by name; structure from motion reads ``photos``."""
    scores: dict[str, Scores] = {}
    if CONSTANT_DEPTH in names:
        pairs = zip(truth.cameras, views, strict=True)
        intrinsics = np.stack([camera.to_model(view.transform).intrinsics for camera, view in pairs])
        scores[CONSTANT_DEPTH] = asdict(constant_depth(truth, intrinsics))
    if SFM in names:
        started = time.perf_counter()
        score = _score_sfm(photos, views, truth)
        scores[SFM] = {**asdict(score), "seconds": time.perf_counter() - started}
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


def sizes(models: Mapping[str, Reconstructor]) -> list[int]:
    """The image sizes of some models, each once, in their order."""
    return list(dict.fromkeys(model.image_size for model in models.values()))


def write_photos(images: np.ndarray, folder: Path) -> list[Path]:
    """Photos on disk, for baselines that read files."""
    photos = [folder / f"{index:03d}.png" for index in range(len(images))]
    for photo, image in zip(photos, images, strict=True):
        Image.fromarray(image).save(photo)
    return photos


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
