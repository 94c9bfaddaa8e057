"""Pointmaps and photos -> Scene: cameras, depth, validity, Gaussians, and what a user should be warned about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32

from worldline.errors import InputError
from worldline.geometry import Similarity, multiply_quaternions, quaternion_from_matrix
from worldline.scene.cameras import CameraEstimates, confidence_threshold, estimate_cameras
from worldline.scene.degenerate import identical_pairs, without_texture
from worldline.scene.scene import Scene, SceneView
from worldline.types import Camera, GaussianMaps, Gaussians, Provenance, View, Views

GAUSSIAN_SCALE_RANGE = (1e-4, 4e-3)  # of the mean distance of the points, the clamp used when rendering (MV-DUSt3R)
LOW_CONFIDENCE = 1.05  # confidence heads start at 1 (1 + exp of the raw value): all pixels here means "no idea"


def build_scene(
    views: Views,
    points: Float[Any, "view height width 3"],
    confidence: Float[Any, "view height width"],
    *,
    reference: int = 0,
    gaussians: GaussianMaps | None = None,
    shared_focal: bool = True,
    confidence_percent: float = 3.0,
    scale: str = "model",
    provenance: Provenance | None = None,
) -> Scene:
    """Turn the pointmaps of a network into a :class:`~worldline.scene.Scene`, in input order.

    Intrinsics and poses recorded in the views are used: intrinsics in PnP, poses for frame and unit of the world.

    Args:
        views: the photos, in input order.
        points: in the frame of the reference view's camera, arrays or tensors.
        confidence: > 0, larger is better.
        reference: input index of the reference view.
        gaussians: maps ``[view, height, width, ·]`` in units of the points, or None.
        shared_focal: one focal length for all photos of equal size.
        confidence_percent: share of the least confident pixels of the whole set to mask.
        scale: what the unit of ``points`` is; replaced by "known-poses" when given poses fix it.
        provenance: recorded as it is.

    Returns:
        a Scene whose warnings name every degenerate view in one sentence each.
    """
    points, confidence = _as_array(points), _as_array(confidence)
    _check_shapes(views, points, confidence)
    transforms = [view.transform for view in views]
    estimates = estimate_cameras(
        points,
        confidence,
        reference=reference,
        transforms=transforms,
        intrinsics=[_model_intrinsics(view) for view in views],
        poses=[view.world_from_cam for view in views],
        shared_focal=shared_focal,
        confidence_percent=confidence_percent,
        names=[view.name for view in views],
    )
    return assemble_scene(
        views,
        points,
        confidence,
        estimates,
        gaussians=gaussians,
        confidence_percent=confidence_percent,
        scale=scale,
        provenance=provenance,
    )


def assemble_scene(
    views: Views,
    points: Float[Any, "view height width 3"],
    confidence: Float[Any, "view height width"],
    cameras: CameraEstimates,
    *,
    gaussians: GaussianMaps | None = None,
    confidence_percent: float = 3.0,
    scale: str = "model",
    provenance: Provenance | None = None,
) -> Scene:
    """The second half of :func:`build_scene`, for cameras that are already known (global alignment, rigs)."""
    points, confidence = _as_array(points), _as_array(confidence)
    _check_shapes(views, points, confidence)
    cameras = _flag_degenerate_images(views, confidence, cameras)
    finite = np.isfinite(points).all(-1) & np.isfinite(confidence)
    world = _move(cameras.world_from_points, np.where(finite[..., None], points, 0))
    valid = finite & (confidence > 0) & np.stack([view.transform.inside for view in views])
    threshold = confidence_threshold(confidence[valid], confidence_percent) if valid.any() else np.inf
    masks = valid & (confidence >= threshold)
    confidence = np.maximum(np.where(finite, confidence, 0), 1e-6).astype(np.float32)

    scene_views = [_scene_view(view, world[v], confidence[v], masks[v], cameras, v) for v, view in enumerate(views)]
    masks = np.stack([view.mask for view in scene_views])
    return Scene(
        views=tuple(scene_views),
        gaussians=None if gaussians is None else _gaussians(views, points, world, masks, gaussians, cameras),
        scale="known-poses" if cameras.fixed_scale else scale,
        provenance=provenance or Provenance(model="unknown"),
        warnings=cameras.warnings,
    )


def _as_array(values: Any) -> np.ndarray:
    return values.detach().cpu().numpy() if isinstance(values, torch.Tensor) else np.asarray(values)


def _check_shapes(views: Views, points: np.ndarray, confidence: np.ndarray) -> None:
    if len(views) != len(points):
        raise InputError(f"There are {len(points)} pointmaps for {len(views)} views.", "Give one pointmap per view.")
    for view in views:
        if view.transform.model_size != points.shape[1:3] or confidence.shape != points.shape[:3]:
            raise InputError(
                f"{view.name} is {view.transform.model_size} at model size, its points are {points.shape[1:3]}.",
                "Give points and confidence at the model size of the views.",
            )


def _model_intrinsics(view: View) -> np.ndarray | None:
    return None if view.intrinsics is None else view.transform.model_from_original @ view.intrinsics


def _move(similarity: Similarity, points: np.ndarray) -> Float32[np.ndarray, "*n 3"]:
    matrix = similarity.matrix.numpy()
    moved: Float32[np.ndarray, "*n 3"] = (points @ matrix[:3, :3].T + matrix[:3, 3]).astype(np.float32)
    return moved


def _scene_view(
    view: View,
    points: Float32[np.ndarray, "h w 3"],
    confidence: Float32[np.ndarray, "h w"],
    mask: Bool[np.ndarray, "h w"],
    cameras: CameraEstimates,
    index: int,
) -> SceneView:
    model_camera = Camera(cameras.intrinsics[index], cameras.world_from_cam[index], *view.transform.model_size)
    axis, center = model_camera.world_from_cam[:3, 2], model_camera.center
    depth = ((points.astype(np.float64) - center) @ axis).astype(np.float32)
    if index in cameras.left_out:
        mask = np.zeros_like(mask)
    return SceneView(
        name=view.name,
        image=view.image,
        transform=view.transform,
        camera=model_camera.to_original(view.transform),
        points=points,
        depth=depth,
        confidence=confidence,
        mask=mask & (depth > 0),
        source=None if view.source is None else str(view.source.absolute()),
        timestamp=view.timestamp,
        sensor=view.sensor,
        pose_status=cameras.status[index],
    )


def _flag_degenerate_images(views: Views, confidence: np.ndarray, cameras: CameraEstimates) -> CameraEstimates:
    """Equal and textureless images, and a network that knows nothing, each in one sentence."""
    status, warnings = list(cameras.status), list(cameras.warnings)
    flagged: set[int] = set()
    flat = [v for v, view in enumerate(views) if without_texture(view.image, view.transform.inside)]
    for v in flat:
        warnings.append(f"{views[v].name} has no texture: its points are a guess.")
    pairs = [pair for pair in identical_pairs([view.image for view in views]) if pair[0] not in flat]
    for earlier, later in pairs:
        warnings.append(f"{views[earlier].name} and {views[later].name} look identical: the second adds nothing.")
    flagged.update(flat, (later for _, later in pairs))
    finite = confidence[np.isfinite(confidence)]
    if finite.size and float(np.quantile(finite, 0.99)) < LOW_CONFIDENCE:
        warnings.append("The network is not confident about any view: the scene is a guess.")
    status = ["degenerate" if s == "estimated" and v in flagged else s for v, s in enumerate(status)]
    return replace(cameras, status=tuple(status), warnings=tuple(warnings))


def _gaussians(
    views: Sequence[View] | Views,
    model_points: np.ndarray,
    world_points: Float32[np.ndarray, "v h w 3"],
    masks: Bool[np.ndarray, "v h w"],
    maps: GaussianMaps,
    cameras: CameraEstimates,
) -> Gaussians:
    """One Gaussian per valid pixel with the photo's colour (MV-DUSt3R trains no colours of its own)."""
    if not masks.any():
        empty = np.zeros((0, 3), np.float32)
        return Gaussians(empty, empty, np.zeros((0, 4), np.float32), np.zeros(0, np.float32), empty)
    unit = float(np.linalg.norm(model_points[masks], axis=-1).mean())
    low, high = GAUSSIAN_SCALE_RANGE
    similarity = cameras.world_from_points
    scales = np.clip(_as_array(maps.scales)[masks], low * unit, high * unit) * float(similarity.scale)
    turn = quaternion_from_matrix(similarity.rotation)
    rotations = multiply_quaternions(turn, torch.from_numpy(_as_array(maps.rotations)[masks]).double())
    images = np.stack([view.image for view in views])
    return Gaussians(
        means=world_points[masks],
        scales=scales.astype(np.float32),
        rotations=torch.nn.functional.normalize(rotations, dim=-1).numpy().astype(np.float32),
        opacities=np.clip(_as_array(maps.opacities)[..., 0][masks], 0, 1).astype(np.float32),
        colors=(images[masks] / 255).astype(np.float32),
    )
