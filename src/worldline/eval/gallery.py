"""Pictures of what a suite's figures mean: the best, the middle and the worst test scene, prediction beside truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, UInt8
from PIL import Image

from worldline.eval.report import Report
from worldline.inputs import load_views
from worldline.outputs.drawing import Scale, heading, paint, save_picture

if TYPE_CHECKING:
    from worldline.pipeline import Reconstructor

_SHOWN = ("point_error", "abs_rel", "rotation")
_SHARES = {"best": 0.0, "median": 0.5, "worst": 1.0}


def write_gallery(report: Report, model: Reconstructor, layout: str, path: str | Path, *, tile: int = 128) -> Path:
    """Three scenes by the point error of the report's first model: photos, true depth, predicted depth.

    The prediction has one scale per scene (median of true over predicted depth) and the colours of the truth's range,
    which stands above them; grey is sky or a view without a pose. Only the smallest number of views of the report is
    shown.

    Raises:
        OutputError: the file cannot be written.
    """
    path, label = Path(path), report.models[0]
    fewest = min(trial.views for trial in report.trials)
    trials = [trial for trial in report.trials if trial.method == label and trial.views == fewest]
    trials = sorted(trials, key=lambda trial: trial.figures["point_error"])
    rows = []
    for name, share in _SHARES.items():
        trial = trials[round(share * (len(trials) - 1))]
        rows.append(_row(model, layout, int(trial.trial), fewest, f"{name} of {len(trials)}: ", trial.figures, tile))
    return save_picture(np.concatenate(rows, 0), path, quality=88)


def _row(
    model: Reconstructor, layout: str, seed: int, count: int, name: str, figures: Mapping[str, float], tile: int
) -> UInt8[np.ndarray, "height width 3"]:
    """One scene: photos above true depth above predicted depth, with a line of figures."""
    from worldline import worlds

    size = model.image_size
    sample = worlds.sample(layout, seed, views=count, height=size, width=size)
    photos, truth, valid = (np.asarray(part) for part in (sample.images, sample.depth, sample.valid))
    scene = model.reconstruct_views(load_views(list(photos), size=size, fit="square"))
    found = np.stack([view.depth for view in scene.views])
    known = valid & np.array([view.pose_status != "failed" for view in scene.views])[:, None, None] & (found > 0)
    scale = np.median(truth[known] / found[known]) if known.any() else 1.0
    colors = Scale.around(truth[valid], log=True)
    grids = [photos, _paint(truth, valid, colors), _paint(found * scale, known, colors)]
    lines = [np.concatenate([_resized(picture, tile) for picture in grid], 1) for grid in grids]
    shown = ", ".join(f"{key} {figures[key]:.3g}" for key in _SHOWN if key in figures)
    label = heading(f"{name}{layout} seed {seed}, {shown}", lines[0].shape[1], depth=colors)
    return np.concatenate([label, *lines], 0)


def _paint(
    depth: Float[np.ndarray, "view height width"], known: Bool[np.ndarray, "view height width"], colors: Scale
) -> UInt8[np.ndarray, "view height width 3"]:
    return np.stack([paint(one, seen, colors, "near") for one, seen in zip(depth, known, strict=True)])


def _resized(picture: UInt8[np.ndarray, "height width 3"], tile: int) -> UInt8[np.ndarray, "tile tile 3"]:
    return np.asarray(Image.fromarray(picture).resize((tile, tile), Image.Resampling.BILINEAR))
