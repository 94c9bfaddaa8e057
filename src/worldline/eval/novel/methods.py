"""Ways to show what other cameras see: a model's Gaussians, its points, and answers that need no model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
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
from worldline.types import Camera, Gaussians

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


def shows_of_scene(case: Case, scene: Scene, label: str, *, own_cameras: bool = False) -> dict[str, Show]:
    """A reconstruction of the shown photos: with its Gaussians, where it has any, and with stand-ins for them.

    Args:
        scene: in the camera of the first photo, in any unit.
        own_cameras: at the cameras that the scene itself has, instead of the true ones; of shown photos only.
    """
    factor = scale_of(scene, case)
    parts = {
        label: own_gaussians(scene, factor),
        f"{label}, {POINTS}": point_splats(scene, factor),
        f"{label}, {PIXELS}": pixel_splats(scene, factor),
    }
    cameras = partial(_own_camera, scene, factor) if own_cameras else case.camera
    return {name: partial(_show, gaussians, cameras) for name, gaussians in parts.items() if gaussians is not None}


def baselines_of(case: Case) -> dict[str, Show]:
    """What needs no model; ``true points`` is the ceiling: what is wrong there are holes, light and splats."""
    ceiling = true_splats(case)
    return {
        NEAREST: lambda views: _photos(case, [case.nearest(view) for view in views]),
        MEAN_COLOR: lambda views: _mean_color(case, len(views)),
        CEILING: partial(_show, ceiling, case.camera),
    }


def _show(gaussians: Gaussians, camera: Callable[[int], Camera], views: Sequence[int]) -> Pictures:
    return render(gaussians, [camera(view) for view in views])


def _own_camera(scene: Scene, factor: float, view: int) -> Camera:
    """The camera that a scene found for a shown photo, in the unit of the case."""
    camera = scene.views[view].model_camera
    pose = camera.world_from_cam.copy()
    pose[:3, 3] *= factor
    return replace(camera, world_from_cam=pose)


def _photos(case: Case, rows: Sequence[int]) -> Pictures:
    color = (case.scene.photos[list(rows)] / 255).astype(np.float32)
    return Pictures(color, np.ones(color.shape[:3], np.float32))


def _mean_color(case: Case, count: int) -> Pictures:
    shown = case.scene.photos[: case.count] / 255
    color = np.broadcast_to(shown.mean((0, 1, 2)), (count, *shown.shape[1:])).astype(np.float32)
    return Pictures(color, np.ones(color.shape[:3], np.float32))
