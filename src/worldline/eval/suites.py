"""Suites: models beside baselines on procedural test scenes, and on sequences with measured truth."""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Float64

from worldline import __version__
from worldline.errors import InputError, NoPlaceError
from worldline.eval.methods import (
    BASELINES,
    CONSTANT_DEPTH,
    SFM,
    identity,
    score_baselines,
    score_model,
    score_paper,
    sizes,
    write_photos,
)
from worldline.eval.paper import Solver
from worldline.eval.readers import FORMATS, HELP, find_sequences, read_sequence
from worldline.eval.report import Report, Trial
from worldline.eval.scores import SceneScore, score_scene
from worldline.eval.sequences import GroundTruth
from worldline.eval.sequences import Sequence as PosedSequence
from worldline.eval.worlds_truth import PosedScene, truth_of
from worldline.inputs import load_views

if TYPE_CHECKING:
    from torch import nn

    from worldline.pipeline import Reconstructor
    from worldline.types import Views

LAYOUTS = ("rooms", "objects", "outdoor", "street", "dynamic")
ALL_BASELINES = tuple(BASELINES.values())
_SAY_EVERY = 20  # scenes
_OF_CAMERAS = frozenset(["rotation", "translation", "auc5", "auc15", "auc30", "registered"])

Say = Callable[[str], None]


def evaluate_worlds(
    models: Mapping[str, Reconstructor],
    layout: str = "rooms",
    scenes: int = 100,
    counts: Iterable[int] = (4, 8),
    *,
    baselines: Sequence[str] = ALL_BASELINES,
    paper: bool = False,
    solver: Solver = "pycolmap",
    say: Say = lambda _: None,
    first: int = 0,
) -> Report:
    """Figures on the first ``scenes`` seeds of the test split, photographed at each model's own resolution.

    Args:
        models: by label; the first is what the others are compared with.
        first: seeds that are left out before them, for evaluations in parts.
        paper: also the paper's protocol, for the models that can.

    Raises:
        InputError: unknown layout, more scenes than there are seeds.
    """
    from worldline import worlds
    from worldline.worlds.sampling import canonical_layout

    layout = canonical_layout(layout)
    if not 1 <= scenes <= len(worlds.TEST_SEEDS) - first:
        raise InputError(f"{scenes} test scenes cannot be had.", f"There are {len(worlds.TEST_SEEDS)}.")
    seeds = worlds.TEST_SEEDS[first : first + scenes]
    report = _report(models, {"suite": layout, "seeds": [seeds[0], seeds[-1]], "solver": solver if paper else None})
    for count in counts:
        failures = []
        for done, seed in enumerate(seeds, 1):
            try:
                report.trials += _score_world(models, layout, seed, count, baselines, paper, solver)
            except NoPlaceError as error:  # one scene that cannot be photographed must not cost the others
                failures.append(error)
                say(f"left out seed {seed} with {count} views: {error.cause}")
            if done % _SAY_EVERY == 0 and done < scenes:
                say(f"{layout}, {count} views: {done} of {scenes} scenes")
        if len(failures) == scenes:
            raise failures[0]
        _say_progress(report, count, say)
    return report


def evaluate_real(
    models: Mapping[str, Reconstructor],
    folder: str | Path,
    counts: Iterable[int] = (4, 8),
    *,
    format_name: str | None = None,
    max_subsets: int = 6,
    spacing: int | None = None,
    baselines: Sequence[str] = ALL_BASELINES,
    paper: bool = False,
    solver: Solver = "pycolmap",
    say: Say = lambda _: None,
) -> Report:
    """Figures on all sequences at or below a folder, of any format of :mod:`worldline.eval.readers`.

    For every number of views the frames are evenly spaced, over the whole sequence or ``spacing`` frames apart, and the
    choices differ by their first frame; at most ``max_subsets`` of them, evenly spread, are used. Nothing but the
    photos is given to any method.

    Raises:
        InputError: no sequence there, or none that can be used.
    """
    folder = Path(folder)
    if format_name is not None and format_name not in FORMATS:
        raise InputError(f"There is no reader '{format_name}'.", f"Choose one of: {', '.join(FORMATS)}.")
    places = find_sequences(folder, format_name)
    if not places:
        raise InputError(f"No sequence with ground truth was found at or below {folder}.", HELP)
    report = _report(models, {"suite": "real", "spacing": spacing, "solver": solver if paper else None})
    refused = []
    for place in places:
        try:
            sequence = read_sequence(place, format_name)
        except InputError as reason:
            refused.append(reason)
            say(f"left out {place.parent.name}/{place.name}: {reason.cause}")
            continue
        for count in counts:
            subsets = _spread(sequence.subsets(count, spacing), max_subsets)
            if not subsets:
                say(f"left out {sequence.name} with {count} views: it has {len(sequence)} frames")
            for frames in subsets:
                report.trials += _score_frames(models, sequence, frames, baselines, paper, solver)
            _say_progress(report, count, say, sequence.name)
    if len(refused) == len(places):
        raise refused[0]
    return report


def score_network(
    network: nn.Module, scenes: Iterable[PosedScene], references: int = 4, *, cameras: bool = True
) -> dict[str, float]:
    """Medians over posed scenes for a network in training: one pass each, cameras from the pointmaps alone.

    Args:
        cameras: False, or where pycolmap is not installed: no figures of cameras, and depth is that of the reference
            views only, whose cameras are known.
    """
    with_cameras = cameras and _has_pycolmap()
    device = next(network.parameters()).device
    scores = []
    for scene in scenes:
        images = torch.from_numpy(np.asarray(scene.images)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
        with torch.inference_mode():
            maps = network(images[None], references)
        points, confidence = (part[0].float().cpu().numpy() for part in (maps.points, maps.confidence))
        poses = _poses(points, confidence) if with_cameras else _reference_pose(len(points))
        scores.append(score_scene(points.astype(np.float64), poses, truth_of(scene)))
    found = SceneScore.summary(scores)
    return found if with_cameras else {name: value for name, value in found.items() if name not in _OF_CAMERAS}


def _has_pycolmap() -> bool:
    try:
        import pycolmap  # noqa: F401
    except ImportError:
        return False
    return True


def _poses(
    points: Float[np.ndarray, "view height width 3"], confidence: Float[np.ndarray, "view height width"]
) -> Float64[np.ndarray, "view 4 4"]:
    from worldline.scene.cameras import estimate_cameras

    cameras = estimate_cameras(points, confidence)
    poses = cameras.world_from_cam.copy()
    poses[list(cameras.left_out)] = np.nan
    return poses


def _reference_pose(views: int) -> Float64[np.ndarray, "view 4 4"]:
    """That of the first view, in whose frame the points are; the others are unknown."""
    poses = np.full((views, 4, 4), np.nan)
    poses[0] = np.eye(4)
    return poses


def about(models: Mapping[str, Reconstructor], what: Mapping[str, Any]) -> dict[str, Any]:
    """What a report says about itself: what was run, with which weights and versions."""
    return {
        **{key: value for key, value in what.items() if value is not None},
        "models": {label: identity(model) for label, model in models.items()},
        "versions": {"worldline": __version__, "torch": torch.__version__, "python": platform.python_version()},
        "machine": {"system": sys.platform, "threads": torch.get_num_threads()},
    }


def _report(models: Mapping[str, Reconstructor], what: Mapping[str, Any]) -> Report:
    if not models:
        raise InputError("There is no model to evaluate.", "Name one with --model.")
    return Report(about(models, what), list(models))


def _score_world(
    models: Mapping[str, Reconstructor], layout: str, seed: int, count: int, baselines: Sequence[str],
    paper: bool, solver: Solver,
) -> list[Trial]:  # fmt: skip
    from worldline import worlds

    trials = []
    for size in sizes(models):
        sample = worlds.sample(layout, seed, views=count, height=size, width=size)
        images = np.asarray(sample.images)
        views = load_views(list(images), size=size, fit="square")
        chosen = {label: model for label, model in models.items() if model.image_size == size}
        extra = baselines if size == sizes(models)[0] else ()
        with tempfile.TemporaryDirectory() as folder:
            photos = write_photos(images, Path(folder)) if SFM in extra else []
            found = _score_all(chosen, views, truth_of(sample), photos, extra, paper, solver)
        trials += [Trial(f"{layout} test", count, str(seed), name, figures) for name, figures in found.items()]
    return trials


def _score_frames(
    models: Mapping[str, Reconstructor], sequence: PosedSequence, frames: list[int], baselines: Sequence[str],
    paper: bool, solver: Solver,
) -> list[Trial]:  # fmt: skip
    photos = [sequence.images[frame] for frame in frames]
    trials = []
    for size in sizes(models):
        views = load_views(photos, size=size, fit="square")
        chosen = {label: model for label, model in models.items() if model.image_size == size}
        extra = baselines if size == sizes(models)[0] else ()
        found = _score_all(chosen, views, sequence.truth(frames, views), photos, extra, paper, solver)
        name = " ".join(map(str, frames))
        trials += [Trial(sequence.name, len(frames), name, method, figures) for method, figures in found.items()]
    return trials


def _score_all(
    models: Mapping[str, Reconstructor], views: Views, truth: GroundTruth, photos: Sequence[Path],
    baselines: Sequence[str], paper: bool, solver: Solver,
) -> dict[str, dict[str, float]]:  # fmt: skip
    found = {label: score_model(model, views, truth) for label, model in models.items()}
    if paper:
        for label, model in models.items():
            found[label] |= score_paper(model, views, truth, solver)
    return found | score_baselines(baselines, views, truth, photos)


def _say_progress(report: Report, count: int, say: Say, name: str | None = None) -> None:
    for record in report.summary():
        if record["views"] == count and name in (None, record["set"]):
            shown = ("point_error", "abs_rel", "rotation", "auc30", "scenes")
            text = ", ".join(f"{key} {record[key]:.4g}" for key in shown if key in record)
            say(f"{record['set']}, {count} views, {record['method']}: {text}")


def _spread(subsets: list[list[int]], most: int) -> list[list[int]]:
    if len(subsets) <= most:
        return subsets
    return [subsets[round(index)] for index in np.linspace(0, len(subsets) - 1, most)]


__all__ = ["ALL_BASELINES", "CONSTANT_DEPTH", "LAYOUTS", "SFM", "evaluate_real", "evaluate_worlds", "score_network"]
