"""How accurate a multi-view model is on procedural scenes with exact ground truth, beside a constant-depth prediction.

Per scene: one forward pass with view 0 as reference, cameras from the pointmaps alone (focal length and PnP, nothing
known), then four figures, each with its own alignment (see :mod:`worldline.eval.metrics`):

* ``relative_point_error``: one robust similarity per scene; median over pixels of |error| / distance to the camera.
* ``depth_absrel``: one scale per scene; depth of a view is along the optical axis of its *estimated* camera.
* ``rotation_deg``, ``translation_deg``: relative poses of all pairs of views; no alignment.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import nn

from worldline.errors import InputError
from worldline.eval import metrics

if TYPE_CHECKING:
    from worldline.types import Pointmaps

_AUC_DEGREES = 30.0


class TrueScene(Protocol):
    """Posed views of one scene with a true world point for every valid pixel (``worlds.WorldSample`` is one)."""

    @property
    def images(self) -> UInt8[np.ndarray, "view height width 3"]: ...
    @property
    def points(self) -> Float[np.ndarray, "view height width 3"]: ...
    @property
    def valid(self) -> Bool[np.ndarray, "view height width"]: ...
    @property
    def intrinsics(self) -> Float[np.ndarray, "view 3 3"]: ...
    @property
    def world_from_cam(self) -> Float[np.ndarray, "view 4 4"]: ...


def evaluate_rooms(
    model: nn.Module,
    seeds: Sequence[int],
    views: int = 4,
    size: int = 224,
    *,
    layout: str = "rooms",
    references: int = 4,
) -> dict[str, Any]:
    """Errors of a model on procedural scenes, see :func:`evaluate_scenes`. Scenes are rendered one at a time."""
    from worldline import worlds

    scenes = (worlds.sample(layout, seed, views=views, height=size, width=size) for seed in seeds)
    result = evaluate_scenes(model, scenes, references=references)
    return {"layout": layout, "seeds": [int(seed) for seed in seeds], "views": views, "size": size, **result}


def evaluate_scenes(model: nn.Module, scenes: Iterable[TrueScene], *, references: int = 4) -> dict[str, Any]:
    """Errors of the model and of the constant-depth baseline.

    The baseline puts every pixel at one depth in its own camera (true intrinsics given) and all cameras at the same
    place.

    Returns:
        ``{"model": figures, "constant_depth": figures, "per_scene": [{"model": …, "constant_depth": …}, …]}``. Figures
        are means and medians over scenes (over pairs for the pose errors, pairs of all scenes together),
        ``pose_auc30`` of the larger of both pose errors, and ``seconds`` per forward pass.
    """
    per_scene = []
    for scene in scenes:
        points, confidence, seconds = _predict(model, scene, references)
        poses = _poses_from_points(points, confidence)
        own = _errors(points, poses, scene) | {"seconds": seconds}
        baseline_poses = np.tile(np.eye(4), (len(scene.images), 1, 1))
        per_scene.append(
            {"model": own, "constant_depth": _errors(_constant_depth(scene), baseline_poses, scene) | {"seconds": 0.0}}
        )
    if not per_scene:
        raise InputError("There is no scene to evaluate on.", "Give at least one seed or scene.")
    summary = {name: _summary([entry[name] for entry in per_scene]) for name in ("model", "constant_depth")}
    return {"scenes": len(per_scene), **summary, "per_scene": per_scene}


def _predict(model: nn.Module, scene: TrueScene, references: int) -> tuple[np.ndarray, np.ndarray, float]:
    """One forward pass: points in the frame of view 0, confidence, seconds."""
    device = next(model.parameters()).device
    images = torch.from_numpy(np.asarray(scene.images)).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
    started = time.perf_counter()
    with torch.inference_mode():
        output: Pointmaps = model(images[None], references=references)
        points, confidence = output.points[0].float().cpu().numpy(), output.confidence[0].float().cpu().numpy()
    return points, confidence, time.perf_counter() - started


def _poses_from_points(
    points: Float[np.ndarray, "view height width 3"], confidence: Float[np.ndarray, "view height width"]
) -> Float[np.ndarray, "view 4 4"]:
    from worldline.scene.cameras import estimate_cameras

    return estimate_cameras(points.astype(np.float64), confidence.astype(np.float64)).world_from_cam


def _constant_depth(scene: TrueScene) -> Float[np.ndarray, "view height width 3"]:
    height, width = scene.images.shape[1:3]
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    pixels = np.stack([x, y, np.ones_like(x)], -1).astype(np.float64)
    return np.einsum("hwj,vij->vhwi", pixels, np.linalg.inv(np.asarray(scene.intrinsics, np.float64)))


def _depths(
    points: Float[np.ndarray, "view height width 3"], world_from_cam: Float[np.ndarray, "view 4 4"]
) -> Float[torch.Tensor, "view height width"]:
    """z of every point in the camera of its own view."""
    cam_from_world = np.linalg.inv(np.asarray(world_from_cam, np.float64))
    depth = np.einsum("vhwj,vj->vhw", points.astype(np.float64), cam_from_world[:, 2, :3])
    return torch.from_numpy(depth + cam_from_world[:, 2, 3][:, None, None])


def _errors(
    points: Float[np.ndarray, "view height width 3"], world_from_cam: Float[np.ndarray, "view 4 4"], scene: TrueScene
) -> dict[str, Any]:
    valid = torch.from_numpy(np.asarray(scene.valid))
    true_points = np.asarray(scene.points, np.float64)
    true_poses = np.asarray(scene.world_from_cam, np.float64)
    error = metrics.relative_point_error(
        torch.from_numpy(points.astype(np.float64)), torch.from_numpy(true_points), valid, torch.from_numpy(true_poses)
    )
    # A constant-depth "pointmap" has each view in its own camera: there the identity pose is the right one.
    absrel = metrics.depth_absrel(_depths(points, world_from_cam), _depths(true_points, true_poses), valid)
    poses = metrics.relative_pose_errors(torch.from_numpy(world_from_cam), torch.from_numpy(true_poses))
    return {
        "relative_point_error": float(error.median()),
        "depth_absrel": absrel,
        "rotation_deg": poses.rotation.tolist(),
        "translation_deg": poses.translation.tolist(),
    }


def _summary(entries: list[dict[str, Any]]) -> dict[str, float]:
    summary: dict[str, float] = {}
    for name in ("relative_point_error", "depth_absrel", "seconds"):
        values = np.array([entry[name] for entry in entries])
        summary |= {f"{name}_median": float(np.median(values)), f"{name}_mean": float(values.mean())}
    pairs = {name: np.concatenate([entry[name] for entry in entries]) for name in ("rotation_deg", "translation_deg")}
    for name, values in pairs.items():
        kept = values[np.isfinite(values)]
        summary |= {f"{name}_median": _or_nan(np.median, kept), f"{name}_mean": _or_nan(np.mean, kept)}
    worst = torch.from_numpy(np.maximum(pairs["rotation_deg"], pairs["translation_deg"]))
    summary["pose_auc30"] = metrics.auc(worst, _AUC_DEGREES)
    return summary


def _or_nan(reduce: Any, values: Float[np.ndarray, "n"]) -> float:
    return float(reduce(values)) if values.size else math.nan
