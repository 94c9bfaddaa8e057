"""The answers of a video as a :class:`~worldline.scene.Scene`, so that every export, the viewer and evaluation work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64

from worldline.errors import InputError
from worldline.geometry import Similarity
from worldline.scene.cameras import confidence_threshold
from worldline.scene.scene import Scene, SceneView
from worldline.scene.video.answers import AnswersQueries
from worldline.scene.video.asking import ask, cell_centers, check_frame
from worldline.scene.video.cameras import CameraOptions, VideoCameras, estimate_cameras
from worldline.scene.video.depth import discontinuities, moderate_size
from worldline.scene.video.dynamic import DynamicOptions, find_dynamic
from worldline.scene.video.intrinsics import IntrinsicsOptions
from worldline.scene.video.tracks import follow_points
from worldline.types import Camera, Provenance, Tracks, View, Views

Source = Literal["depth", "answers"]


@dataclass(frozen=True)
class VideoSceneOptions:
    """How a video becomes a scene."""

    points: Source = "depth"  # "depth": each frame's depth, placed by its camera, so that points lie exactly on their
    # pixels; "answers": what the network says for the camera of the reference, as in the paper's table 1
    reference: int = 0  # frame whose camera is the world
    confidence_percent: float = 3.0  # share of the least confident pixels of the whole video to mask
    edges: float = 0.04  # pixels beside a depth step are masked, see depth.discontinuities; 0 = kept
    dynamic: bool = True  # mark what moves
    dynamic_cells: int = 32  # on the longer side; every cell costs five queries, so finer masks cost more than depth
    tracks: Any = "grid:16"  # points to follow, as in tracks.follow_points; None: none
    cameras: CameraOptions = field(default_factory=CameraOptions)
    intrinsics: IntrinsicsOptions = field(default_factory=IntrinsicsOptions)
    motion: DynamicOptions = field(default_factory=DynamicOptions)

    def __post_init__(self) -> None:
        if self.points not in get_args(Source):
            raise InputError(
                f"Unknown source of points {self.points!r}.", f"Choose one of: {', '.join(get_args(Source))}."
            )
        if not 0 <= self.confidence_percent < 100 or self.edges < 0 or self.dynamic_cells < 1:
            raise InputError(
                f"confidence_percent {self.confidence_percent}, edges {self.edges} or dynamic_cells "
                f"{self.dynamic_cells} is out of range.",
                "confidence_percent is a share from 0 to less than 100, edges is not negative, dynamic_cells positive.",
            )


def video_scene(
    video: AnswersQueries, views: Views | Sequence[View], options: VideoSceneOptions | None = None, *,
    intrinsics: object = None, poses: object = None, pixel_aspect: float = 1.0, provenance: Provenance | None = None,
    notes: Sequence[str] = (),
) -> Scene:  # fmt: skip
    """All frames of a video as views of one scene, in their order.

    Args:
        views: one per frame, whole frames at the resolution that depth and points will have (no crop, no padding).
        intrinsics, poses: known cameras, as in :func:`.cameras.estimate_cameras`.
        pixel_aspect: width of a pixel over its height.
        notes: what else a user should know, for ``Scene.warnings``.

    Returns:
        a scene whose unit is "arbitrary", or "known-poses" when given poses fix it. Frames without a pose are there,
        with status "failed" and nothing but masked pixels.

    Raises:
        InputError: views that are not those of the video, or given cameras that are none.
    """
    options, views = options or VideoSceneOptions(), tuple(views)
    reference = check_frame(video, options.reference, "reference frame")
    size = _check_views(video, views)
    cameras = estimate_cameras(
        video, options.cameras, reference=reference, intrinsics=intrinsics, poses=poses,
        intrinsics_options=options.intrinsics, pixel_aspect=pixel_aspect,
    )  # fmt: skip
    placement = Placement(cameras)
    u, v = cell_centers(*size)
    time = np.arange(video.frame_count)[:, None, None]
    own = ask(video, u, v, time, time, time, keep=("points", "confidence"))
    depth, confidence = own.points[..., 2], np.maximum(np.nan_to_num(own.confidence), 1e-6)
    if options.points == "depth":
        points = placement.from_depth(depth, u, v, video.original_size)
    else:
        points = placement.from_answers(ask(video, u, v, time, time, np.int64(reference), keep=("points",)).points)
    masks = _masks(depth, confidence, points, cameras, options)
    moves = (
        find_dynamic(video, options.motion, size=moderate_size(size, options.dynamic_cells))
        if options.dynamic
        else None
    )
    dynamic = None if moves is None else _enlarged(moves.mask, size)
    scene_views = tuple(
        _view(view, points[k], confidence[k], masks[k], None if dynamic is None else dynamic[k], cameras, k)
        for k, view in enumerate(views)
    )
    return Scene(
        views=scene_views,
        tracks=None if options.tracks is None else placement.tracks(video, views, options),
        scale="known-poses" if cameras.fixed_scale else "arbitrary",
        provenance=provenance or Provenance(model="unknown"),
        warnings=tuple(dict.fromkeys((*notes, *cameras.warnings, *_lens_notes(cameras)))),
    )


@dataclass(frozen=True, eq=False)
class Placement:
    """From points in the cameras of a video to the world of its scene."""

    cameras: VideoCameras

    @property
    def scale(self) -> float:
        """World units per unit of the video."""
        return float(self.cameras.world_from_reference.scale)

    def from_depth(
        self, depth: Float[np.ndarray, "t h w"], u: np.ndarray, v: np.ndarray, original: tuple[int, int]
    ) -> Float32[np.ndarray, "t h w 3"]:
        """Depth on the grid (u, v) of all frames -> world."""
        pixels = np.stack([u * original[1] - 0.5, v * original[0] - 0.5, np.ones_like(u)], -1)
        rays = np.einsum("tij,hwj->thwi", np.linalg.inv(self.cameras.intrinsics), pixels)
        return self.from_cameras(depth[..., None] * rays, bend=False)

    def from_cameras(self, points: Float[np.ndarray, "t *n 3"], *, bend: bool = True) -> Float32[np.ndarray, "t *n 3"]:
        """Points in each frame's own camera -> world; frames without a pose give zeros."""
        local = np.asarray(points, np.float64)
        if bend and self.cameras.recalibration is not None:
            local = np.einsum("tij,t...j->t...i", self.cameras.recalibration, local)
        poses = np.nan_to_num(self.cameras.world_from_cam)
        centers = poses[:, :3, 3].reshape(-1, *(1,) * (local.ndim - 2), 3)
        moved = np.einsum("tij,t...j->t...i", poses[:, :3, :3], self.scale * local) + centers
        return np.asarray(moved, np.float32)

    def from_answers(self, points: Float[np.ndarray, "*n 3"]) -> Float32[np.ndarray, "*n 3"]:
        """Points in the camera of the reference frame -> world."""
        local = np.asarray(points, np.float64)
        if self.cameras.recalibration is not None:
            local = local @ self.cameras.recalibration[self.cameras.reference].T
        similarity: Similarity = self.cameras.world_from_reference
        return similarity.apply(torch.from_numpy(local.reshape(-1, 3))).numpy().reshape(local.shape).astype(np.float32)

    def tracks(self, video: AnswersQueries, views: Sequence[View], options: VideoSceneOptions) -> Tracks:
        """Points followed through all frames, in the world; hidden in frames without a pose."""
        reference = self.cameras.reference
        frame: Literal["camera", "world"] = "camera" if options.points == "depth" else "world"
        found = follow_points(video, options.tracks, frame=frame, start=reference, reference=reference)
        placed = np.isfinite(self.cameras.world_from_cam).all((1, 2))
        if frame == "camera":
            points = self.from_cameras(found.points.transpose(1, 0, 2)).transpose(1, 0, 2)
            nearest = np.abs(np.arange(len(placed))[:, None] - np.flatnonzero(placed)).argmin(1)
            points = points[:, np.flatnonzero(placed)[nearest]]
        else:
            points = self.from_answers(found.points)
        finite = np.isfinite(points).all(-1)
        colors = _track_colors(views, found.queries, video.original_size)
        return Tracks(
            np.ascontiguousarray(np.where(finite[..., None], points, 0)), found.pixels,
            found.visible & placed & finite, colors,
        )  # fmt: skip


def _check_views(video: AnswersQueries, views: Sequence[View]) -> tuple[int, int]:
    """Model size of the views, which must be whole frames of the video."""
    if len(views) != video.frame_count:
        raise InputError(f"There are {len(views)} views for {video.frame_count} frames.", "Give one view per frame.")
    size = views[0].transform.model_size
    for view in views:
        whole = view.transform.resized_size == size and view.transform.crop_offset == (0, 0)
        if not whole or view.transform.model_size != size or view.transform.original_size != video.original_size:
            raise InputError(
                f"{view.name} is not a whole frame of the video at {size[1]}x{size[0]} pixels.",
                "Resize all frames to one size without cropping (pipeline.video.squashed_views).",
            )
    return size


def _masks(
    depth: Float[np.ndarray, "t h w"], confidence: Float[np.ndarray, "t h w"], points: Float[np.ndarray, "t h w 3"],
    cameras: VideoCameras, options: VideoSceneOptions,
) -> Bool[np.ndarray, "t h w"]:  # fmt: skip
    """Pixels that are confident, in front, finite, not beside a depth step, and whose frame has a pose."""
    valid = np.isfinite(depth) & (depth > 0) & np.isfinite(points).all(-1)
    valid[[status == "failed" for status in cameras.status]] = False
    if options.edges > 0:
        valid &= ~discontinuities(np.where(np.isfinite(depth), depth, 0), options.edges)
    if valid.any():
        valid &= confidence >= confidence_threshold(confidence[valid], options.confidence_percent)
    return valid


def _view(
    view: View, points: Float32[np.ndarray, "h w 3"], confidence: Float32[np.ndarray, "h w"],
    mask: Bool[np.ndarray, "h w"], dynamic: Bool[np.ndarray, "h w"] | None, cameras: VideoCameras, index: int,
) -> SceneView:  # fmt: skip
    status, (height, width) = cameras.status[index], view.transform.original_size
    pose = np.eye(4) if status == "failed" else cameras.world_from_cam[index]
    points = np.where(np.isfinite(points), points, 0).astype(np.float32)
    depth = ((points.astype(np.float64) - pose[:3, 3]) @ pose[:3, 2]).astype(np.float32)
    return SceneView(
        name=view.name,
        image=view.image,
        transform=view.transform,
        camera=Camera(cameras.intrinsics[index], pose, height, width),
        points=points,
        depth=depth,
        confidence=confidence.astype(np.float32),
        mask=mask & (depth > 0),
        source=None if view.source is None else str(view.source.absolute()),
        timestamp=view.timestamp,
        sensor=view.sensor,
        pose_status=status,
        dynamic=dynamic,
    )


def _enlarged(masks: Bool[np.ndarray, "t h w"], size: tuple[int, int]) -> Bool[np.ndarray, "t H W"]:
    """Masks at another size, by the nearest cell."""
    rows, columns = ((np.arange(n) + 0.5) / n * m for n, m in zip(size, masks.shape[1:], strict=True))
    return masks[:, rows.astype(np.int64)[:, None], columns.astype(np.int64)]


def _track_colors(views: Sequence[View], queries: Float64[np.ndarray, "n 3"], original: tuple[int, int]) -> np.ndarray:
    """Colours of the pixels where tracks start."""
    from worldline.scene.video.cloud import sample_colors

    images = np.stack([view.image for view in views])
    uv = (queries[:, :2] + 0.5) / (original[1], original[0])
    return sample_colors(images, queries[:, 2].astype(np.int64), uv)


def _lens_notes(cameras: VideoCameras) -> list[str]:
    if cameras.distortion is None or np.abs(cameras.distortion).max() < 1e-3:
        return []
    first, second = cameras.distortion
    return [
        f"The lens bends lines (k1 {first:+.3f}, k2 {second:+.3f}); the cameras of the scene are without distortion."
    ]
