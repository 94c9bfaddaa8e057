"""Multi-view tracks from pointmaps: which pixels of which views show the same surface point.

Each view's sampled points are projected into the other views. Two views agree on a point when the other pointmap has a
surface at that very depth, and when that surface, seen from the first view, lies where we started.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8

from worldline.scene import Scene, SceneView

SAMPLES_PER_VIEW = 1500
DEPTH_TOLERANCE = 0.05  # relative difference of depth
RETURN_TOLERANCE = 2.0  # model pixels from the starting point after going there and back


@dataclass(frozen=True)
class PointTracks:
    """Tracks of at least two observations. ``views`` and ``pixels`` are flat lists over all tracks' observations."""

    points: Float32[np.ndarray, "track 3"]  # world frame
    colors: UInt8[np.ndarray, "track 3"]
    tracks: Int64[np.ndarray, "observation"]  # index of the track that an observation belongs to
    views: Int64[np.ndarray, "observation"]  # index of the view
    pixels: Float64[np.ndarray, "observation 2"]  # (x, y) in that view's model pixels


def find_tracks(scene: Scene, samples_per_view: int = SAMPLES_PER_VIEW) -> PointTracks:
    """Tracks through the views of a scene whose pose is known, at most ``samples_per_view`` starting in each view."""
    views = scene.views
    usable = [index for index, view in enumerate(views) if view.pose_status != "failed" and view.mask.any()]
    taken = {index: np.zeros(views[index].mask.shape, dtype=bool) for index in usable}
    points, colors, observations = [], [], []
    count = 0
    for index in usable:
        view = views[index]
        rows, columns, stride = _samples(view, samples_per_view)
        fresh = ~taken[index][rows, columns]  # surface that an earlier view started from already
        rows, columns = rows[fresh], columns[fresh]
        start = np.stack([columns, rows], axis=-1)
        world = view.points[rows, columns]
        seen = {other: _observe(view, views[other], start, world) for other in usable if other != index}
        keep = np.any([found for found, _ in seen.values()], axis=0) if seen else np.zeros(len(start), dtype=bool)
        number = count + np.cumsum(keep) - 1
        observations.append((number[keep], np.full(keep.sum(), index), start[keep].astype(np.float64)))
        for other, (found, pixels) in seen.items():
            observations.append((number[found], np.full(found.sum(), other), pixels[found]))
            _mark(taken[other], pixels[found], stride // 2)
        points.append(world[keep])
        colors.append(view.image[rows, columns][keep])
        count += int(keep.sum())
    return PointTracks(
        points=np.concatenate([np.zeros((0, 3), np.float32), *points]),
        colors=np.concatenate([np.zeros((0, 3), np.uint8), *colors]),
        tracks=np.concatenate([np.zeros(0, np.int64), *(number for number, _, _ in observations)]),
        views=np.concatenate([np.zeros(0, np.int64), *(view_index for _, view_index, _ in observations)]),
        pixels=np.concatenate([np.zeros((0, 2)), *(pixels for _, _, pixels in observations)]),
    )


def _samples(view: SceneView, most: int) -> tuple[Int64[np.ndarray, "n"], Int64[np.ndarray, "n"], int]:
    """Valid pixels on a square grid, at most about ``most``: rows, columns and the grid's step."""
    stride = max(1, int(np.ceil(np.sqrt(view.mask.sum() / most))))
    rows, columns = np.nonzero(view.mask[stride // 2 :: stride, stride // 2 :: stride])
    return rows * stride + stride // 2, columns * stride + stride // 2, stride


def _observe(
    view: SceneView, other: SceneView, start: Int64[np.ndarray, "n 2"], world: Float32[np.ndarray, "n 3"]
) -> tuple[Bool[np.ndarray, "n"], Float64[np.ndarray, "n 2"]]:
    """Whether ``other`` shows the points that ``view`` has at ``start``, and where.

    The position is the other view's own opinion: its nearest pixel shows a surface point that its camera projects to
    some place, and our point lies as far from that pixel as the two projections lie apart. (The projection of our
    point alone would repeat what the cameras say and leave bundle adjustment nothing to do.)
    """
    height, width = other.mask.shape
    camera, back = other.model_camera, view.model_camera
    projected, depth = camera.project(world)
    with np.errstate(invalid="ignore"):
        nearest = np.nan_to_num(np.rint(projected), nan=-1, posinf=-1, neginf=-1).clip(-1, max(height, width))
    columns, rows = nearest.astype(np.int64).T
    found = (depth > 0) & (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
    columns, rows = columns.clip(0, width - 1), rows.clip(0, height - 1)
    found &= other.mask[rows, columns]
    surface = other.points[rows, columns]
    surface_pixels, surface_depth = camera.project(surface)
    found &= (surface_depth > 0) & (np.abs(surface_depth - depth) <= DEPTH_TOLERANCE * np.abs(depth))
    returned, return_depth = back.project(surface)
    found &= (return_depth > 0) & (np.linalg.norm(returned - start, axis=-1) <= RETURN_TOLERANCE)
    return found, np.stack([columns, rows], axis=-1) + (projected - surface_pixels)


def _mark(taken: Bool[np.ndarray, "height width"], pixels: Float64[np.ndarray, "n 2"], radius: int) -> None:
    """Remember the surroundings of these pixels as covered."""
    height, width = taken.shape
    offsets = np.mgrid[-radius : radius + 1, -radius : radius + 1].reshape(2, -1)
    columns, rows = np.rint(pixels).astype(np.int64).T
    taken[
        (rows[:, None] + offsets[0]).clip(0, height - 1),
        (columns[:, None] + offsets[1]).clip(0, width - 1),
    ] = True
