"""Ways to show what other cameras see: a model's Gaussians, its points, and answers that need no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from worldline.eval.novel.scenes import Case
from worldline.eval.novel.splats import (
    Pictures,
    own_gaussians,
    pixel_splats,
    point_splats,
    render,
    scale_of,
    true_splats,
)
from worldline.inputs import load_views

if TYPE_CHECKING:
    from worldline.pipeline import Reconstructor
    from worldline.scene import Scene

POINTS, PIXELS = "points", "pixel-sized points"  # appended to a model's label
NEAREST, MEAN_COLOR, CEILING = "nearest photo", "mean colour", "true points"

Show = Callable[[Sequence[int]], Pictures]  # rows of photos -> pictures at their true cameras


def methods_of(case: Case, models: Mapping[str, Reconstructor]) -> dict[str, Show]:
    """Everything that is compared, by the name that reports show; models reconstruct the shown photos now."""
    shows: dict[str, Show] = {}
    for label, model in models.items():
        shows |= shows_of_scene(case, reconstruct(case, model), label)
    return shows | baselines_of(case)


def reconstruct(case: Case, model: Reconstructor) -> Scene:
    """The shown photos and nothing else, through a model."""
    photos = list(case.scene.photos[: case.count])
    return model.reconstruct_views(load_views(photos, size=photos[0].shape[0], fit="square"))


def shows_of_scene(case: Case, scene: Scene, label: str) -> dict[str, Show]:
    """A reconstruction of the shown photos: with its Gaussians, where it has any, and with stand-ins for them.

    Args:
        scene: in the camera of the first photo, in any unit.
    """
    factor = scale_of(scene, case)
    own = own_gaussians(scene, factor)
    shows = {} if own is None else {label: lambda views: render(own, _cameras(case, views))}
    fixed, sized = point_splats(scene, factor), pixel_splats(scene, factor)
    shows[f"{label}, {POINTS}"] = lambda views: render(fixed, _cameras(case, views))
    shows[f"{label}, {PIXELS}"] = lambda views: render(sized, _cameras(case, views))
    return shows


def baselines_of(case: Case) -> dict[str, Show]:
    """What needs no model; ``true points`` is the ceiling: what is wrong there are holes, light and splats."""
    ceiling = true_splats(case)
    return {
        NEAREST: lambda views: _photos(case, [case.nearest(view) for view in views]),
        MEAN_COLOR: lambda views: _mean_color(case, len(views)),
        CEILING: lambda views: render(ceiling, _cameras(case, views)),
    }


def _cameras(case: Case, views: Sequence[int]) -> list:
    return [case.camera(view) for view in views]


def _photos(case: Case, rows: Sequence[int]) -> Pictures:
    color = (case.scene.photos[list(rows)] / 255).astype(np.float32)
    return Pictures(color, np.ones(color.shape[:3], np.float32))


def _mean_color(case: Case, count: int) -> Pictures:
    shown = case.scene.photos[: case.count] / 255
    color = np.broadcast_to(shown.mean((0, 1, 2)), (count, *shown.shape[1:])).astype(np.float32)
    return Pictures(color, np.ones(color.shape[:3], np.float32))
