"""Accuracy of driving sequences: depth, point clouds and agreement over time, as for Driv3R (arXiv 2412.06777).

A *sequence* is what one camera saw, its points in the frame of its camera 0. Every function says what it aligns before
it measures. The released evaluation aligns scale **and** shift of a sequence with LiDAR, takes the depth of all frames
along the axis of camera 0, squares the relative error, and moves the cloud onto the truth: all of it is here, under
names of its own (``scale_and_shift``, ``released``, ``sq_rel_released``, :func:`registered`), beside what is usual.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from worldline.errors import InputError
from worldline.geometry import fit_similarity, transform_points
from worldline.train import losses
from worldline.types import Camera

Points = Float[Tensor, "frame height width 3"]
Depths = Float[Tensor, "frame height width"]
Valid = Bool[Tensor, "frame height width"]
Cloud = Float[np.ndarray, "n 3"]

SequenceAlignment = Literal["none", "scale", "scale_and_shift"]
_RELEASED = losses.Alignment(normalization=None, shift="depth", scale=True, gt_scale=True)
_OPEN3D_NEIGHBORS = 30  # from which Open3D estimates a normal unless told otherwise
_CHUNK = 200_000  # points per batch of eigenvalue problems


def align_sequence(
    predicted: Points, truth: Points, valid: Valid, how: SequenceAlignment = "scale_and_shift"
) -> Points:
    """All predicted points (also those without truth) in the unit of the truth; one alignment for all frames.

    Args:
        predicted: in the frame of camera 0, any unit; as well as ``truth``, in metres.
        valid: pixels whose truth is known.
        how: ``none``; ``scale``: the median ratio of true and predicted distances to camera 0; ``scale_and_shift``, as
            published: the median depth is moved onto the true one, after the median distance to the median point has
            been scaled to the true one. The latter knows more of the truth than a car ever does.

    Raises:
        InputError: an unknown alignment, or nothing is known.
    """
    if how not in ("none", "scale", "scale_and_shift"):
        raise InputError(f"There is no alignment {how!r} of a sequence.", "Choose none, scale or scale_and_shift.")
    if how == "none":
        return predicted
    if not valid.any():
        raise InputError("A sequence without any true point cannot be aligned.", "Leave it out, or align by 'none'.")
    if how == "scale":
        found, true = (points[valid].norm(dim=-1) for points in (predicted, truth))
        some = found > 0
        return predicted * (true[some] / found[some]).median() if some.any() else predicted
    centered, _ = losses.align(predicted[None], truth[None], valid[None], _RELEASED)
    depth = truth[valid][:, 2].median()
    return centered[0] + torch.stack([torch.zeros_like(depth), torch.zeros_like(depth), depth])


def depth_along(points: Points, cam_from_first: Float[Tensor, "frame 4 4"] | None = None) -> Depths:
    """Depth of every point along the axis of its own camera, or of camera 0 (as published) where no poses are given."""
    if cam_from_first is None:
        return points[..., 2]
    poses = cam_from_first.to(points.dtype)
    return transform_points(poses, points.flatten(1, 2))[..., 2].view(points.shape[:-1])


@dataclass(frozen=True)
class DepthScores:
    """Errors of every frame; NaN in a frame without known pixels. g is the true and p the predicted depth."""

    abs_rel: Float[Tensor, "frame"]  # mean of |p - g| / g
    sq_rel: Float[Tensor, "frame"]  # mean of (p - g)² / g, metres: the usual definition
    sq_rel_released: Float[Tensor, "frame"]  # mean of ((p - g) / g)²: that of Driv3R's released code
    rmse: Float[Tensor, "frame"]  # root of the mean of (p - g)², metres
    delta_1_25: Float[Tensor, "frame"]  # share with max(p / g, g / p) < 1.25
    delta_1_25_2: Float[Tensor, "frame"]  # < 1.25²
    delta_1_25_3: Float[Tensor, "frame"]  # < 1.25³

    def means(self) -> dict[str, float]:
        """Mean over the frames that have known pixels, as published; NaN where none has."""
        return {field.name: float(getattr(self, field.name).nanmean()) for field in fields(self)}


def depth_scores(
    predicted: Depths,
    truth: Depths,
    valid: Valid,
    *,
    nearest: float = 0.1,
    farthest: float | None = None,
    released: bool = False,
) -> DepthScores:
    """Errors of depth. Alignment: none here, see :func:`align_sequence`.

    Args:
        predicted, truth: metres.
        valid: pixels whose truth is known.
        nearest, farthest: metres; truth outside is left out, and predictions are clipped to this range, as usual (the
            published number is 80 m for most methods). Predictions that are not finite count as ``nearest``.
        released: as Driv3R's released code: no range, no clipping, and no guard against true depths of 0 or less,
            which occur because later frames are measured along the axis of camera 0: their terms are negative or
            infinite, and points behind the camera on both sides count as correct.
    """
    predicted, truth = predicted.double(), truth.double()
    if not released:
        limit = math.inf if farthest is None else farthest
        valid = valid & torch.isfinite(truth) & (truth >= nearest) & (truth <= limit)
        predicted = torch.where(torch.isfinite(predicted), predicted, nearest).clamp(nearest, limit)
    rows = [_frame_scores(p[mask], g[mask]) for p, g, mask in zip(predicted, truth, valid, strict=True)]
    return DepthScores(*torch.stack(rows, -1))


def _frame_scores(p: Float[Tensor, "n"], g: Float[Tensor, "n"]) -> Float[Tensor, "7"]:
    difference, ratio = p - g, torch.maximum(p / g, g / p)
    shares = [(ratio < 1.25**power).double().mean() for power in (1, 2, 3)]
    return torch.stack([
        (difference.abs() / g).mean(), (difference.square() / g).mean(), (difference / g).square().mean(),
        difference.square().mean().sqrt(), *shares,
    ])  # fmt: skip


def camera_table(rows: Iterable[tuple[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """Figures of many sequences as (sensor, figures) -> means per sensor, and over all sequences under ``all``.

    Sensors come in the order of their first row. NaN figures are left out of the means; ``sequences`` counts rows.
    """
    groups: dict[str, list[Mapping[str, float]]] = {}
    for sensor, figures in rows:
        groups.setdefault(sensor, []).append(figures)
    if groups:
        groups["all"] = [figures for group in groups.values() for figures in group]
    return {sensor: {"sequences": float(len(group))} | _means(group) for sensor, group in groups.items()}


def _means(group: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for figures in group for name in figures)
    means = {}
    for name in names:
        values = [figures[name] for figures in group if not math.isnan(figures.get(name, math.nan))]
        means[name] = float(np.mean(values)) if values else math.nan
    return means


@dataclass(frozen=True)
class CloudScores:
    """A predicted against a true point cloud; distances in metres. NaN where either has no point."""

    accuracy: float  # mean distance of a predicted point to the nearest true one
    accuracy_median: float
    completion: float  # mean distance of a true point to the nearest predicted one
    completion_median: float
    accuracy_normals: float  # nc1: mean |cosine| of the normals of the matches of accuracy
    accuracy_normals_median: float
    completion_normals: float  # nc2: the same of the matches of completion
    completion_normals_median: float
    completion_ratio: float  # share of true points with a predicted one nearer than the threshold

    @property
    def normal_consistency(self) -> float:
        """NC of the paper's tables: mean of both directions."""
        return (self.accuracy_normals + self.completion_normals) / 2


def cloud_scores(
    predicted: Cloud,
    truth: Cloud,
    predicted_normals: Cloud | None = None,
    true_normals: Cloud | None = None,
    *,
    within: float = 0.5,
) -> CloudScores:
    """Accuracy, completion and normal consistency (exact nearest neighbours, k-d tree).

    Alignment: none here. As published, the sequence is aligned by ``scale_and_shift`` and then :func:`registered`.

    Args:
        predicted, truth: points in one frame, metres.
        predicted_normals, true_normals: unit normals, sign ignored; None: :func:`cloud_normals`.
        within: threshold of the completion ratio, metres.
    """
    from scipy.spatial import cKDTree

    if not len(predicted) or not len(truth):
        return CloudScores(*[math.nan] * 8 + [0.0 if len(truth) else math.nan])
    clouds = [np.asarray(cloud, np.float64) for cloud in (predicted, truth)]
    normals = [
        cloud_normals(cloud) if given is None else given
        for cloud, given in zip(clouds, (predicted_normals, true_normals), strict=True)
    ]
    forward, to_true = cKDTree(clouds[1]).query(clouds[0])
    backward, to_predicted = cKDTree(clouds[0]).query(clouds[1])
    cosines = [
        np.abs((normals[0] * normals[1][to_true]).sum(1)), np.abs((normals[1] * normals[0][to_predicted]).sum(1)),
    ]  # fmt: skip
    figures = [middle(values) for values in (forward, backward, *cosines) for middle in (np.mean, np.median)]
    return CloudScores(*map(float, [*figures, (backward < within).mean()]))


def cloud_normals(cloud: Cloud, neighbors: int = _OPEN3D_NEIGHBORS) -> Float64[np.ndarray, "n 3"]:
    """Unit normals of unknown sign: where the nearest points, itself included, spread least. Zero for lone points."""
    from scipy.spatial import cKDTree

    points = np.asarray(cloud, np.float64)
    count = min(neighbors, len(points))
    if count < 3:
        return np.zeros_like(points)
    tree, normals = cKDTree(points), np.empty_like(points)
    for start in range(0, len(points), _CHUNK):
        near = points[tree.query(points[start : start + _CHUNK], count)[1]]
        near = near - near.mean(1, keepdims=True)
        normals[start : start + _CHUNK] = np.linalg.eigh(near.swapaxes(1, 2) @ near)[1][:, :, 0]
    return normals


def registered(predicted: Cloud, truth: Cloud, *, farthest: float = 100.0, steps: int = 30) -> Cloud:
    """Move a cloud onto another by ICP: nearest points, rigid fit, again. The published evaluation does it before it
    measures; it forgives errors of the camera poses.

    Args:
        farthest: pairs that are further apart do not count, metres (100 as published: none).
        steps: at most; it ends earlier where the error changes by less than a millionth.
    """
    from scipy.spatial import cKDTree

    moved = np.asarray(predicted, np.float64)
    if len(moved) < 3 or len(truth) < 3:
        return moved
    target, before = np.asarray(truth, np.float64), (math.inf, math.inf)
    tree = cKDTree(target)
    for _ in range(steps + 1):
        distance, nearest = tree.query(moved)
        near = distance <= farthest
        now = (float(near.mean()), float(np.sqrt(np.square(distance[near]).mean())) if near.any() else 0.0)
        if near.sum() < 3 or all(abs(a - b) < 1e-6 for a, b in zip(now, before, strict=True)):
            break
        before = now
        pairs = (torch.from_numpy(part) for part in (moved[near], target[nearest[near]]))
        moved = fit_similarity(*pairs, with_scale=False).apply(torch.from_numpy(moved)).numpy()
    return moved


class TemporalScore(NamedTuple):
    """How well the depths of two moments agree on what stands still."""

    disagreement: float  # median of |depth found - depth expected| / depth expected; NaN without common pixels
    share: float  # of the first moment's static pixels that could be compared


def temporal_consistency(
    depth: Float[np.ndarray, "height width"],
    later_depth: Float[np.ndarray, "later_height later_width"],
    cameras: tuple[Camera, Camera],
    static: tuple[Bool[np.ndarray, "height width"], Bool[np.ndarray, "later_height later_width"]],
    *,
    visible: Bool[np.ndarray, "height width"] | None = None,
) -> TemporalScore:
    """Move the static points of one moment into the camera of a later one (or of another sensor), compare the depths.

    Alignment: none; the depths must be in the unit of the cameras' positions. The later depth is read between pixels,
    linearly in inverse depth (exact on planes), where all four pixels around are static and known.

    Args:
        depth, later_depth: along the axis of the own camera, 0 where unknown.
        cameras: of both, in one world.
        static: True where something stands still.
        visible: pixels of the first moment that the later camera sees, see :func:`visible_later`. None: all that no
            other of the moved points hides; what newly appeared in front of them is then a disagreement.
    """
    known = static[0] & np.isfinite(depth) & (depth > 0)
    later = np.where(static[1], later_depth, 0)
    pixels, expected = _moved(depth, known, cameras)
    found = _between_pixels(later, pixels)
    common = np.isfinite(found) & (expected > 0)
    common &= _in_front(pixels, expected, cameras[1]) if visible is None else visible[known]
    if not common.any():
        return TemporalScore(math.nan, 0.0)
    error = np.abs(found[common] - expected[common]) / expected[common]
    return TemporalScore(float(np.median(error)), float(common.mean()))


def visible_later(
    true_depth: Float[np.ndarray, "height width"],
    true_later_depth: Float[np.ndarray, "later_height later_width"],
    cameras: tuple[Camera, Camera],
    tolerance: float = 0.05,
) -> Bool[np.ndarray, "height width"]:
    """Pixels whose true point the later camera sees: the true later depth there is not smaller by the tolerance."""
    known = np.isfinite(true_depth) & (true_depth > 0)
    pixels, expected = _moved(true_depth, known, cameras)
    found = _between_pixels(true_later_depth, pixels)
    seen = np.zeros(true_depth.shape, bool)
    seen[known] = (expected > 0) & (np.abs(found - expected) <= tolerance * expected)
    return seen


def stream_consistency(
    depths: Float[np.ndarray, "step height width"],
    cameras: Sequence[Camera],
    static: Bool[np.ndarray, "step height width"],
    gap: int = 1,
) -> TemporalScore:
    """:func:`temporal_consistency` of all pairs of moments ``gap`` steps apart: the median of pairs, the mean share."""
    pairs = [
        temporal_consistency(depths[t], depths[t + gap], (cameras[t], cameras[t + gap]), (static[t], static[t + gap]))
        for t in range(len(depths) - gap)
    ]
    known = [pair.disagreement for pair in pairs if pair.share > 0]
    share = float(np.mean([pair.share for pair in pairs])) if pairs else 0.0
    return TemporalScore(float(np.median(known)) if known else math.nan, share)


def _moved(
    depth: Float[np.ndarray, "height width"], known: Bool[np.ndarray, "height width"], cameras: tuple[Camera, Camera]
) -> tuple[Float64[np.ndarray, "n 2"], Float64[np.ndarray, "n"]]:
    """Pixels and depths of the known points of the first camera in the second one."""
    rows, columns = np.nonzero(known)
    rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(cameras[0].intrinsics).T
    pose = cameras[0].world_from_cam
    return cameras[1].project((rays * depth[known].astype(np.float64)[:, None]) @ pose[:3, :3].T + pose[:3, 3])


def _between_pixels(
    depth: Float[np.ndarray, "height width"], pixels: Float64[np.ndarray, "n 2"]
) -> Float64[np.ndarray, "n"]:
    """Depth at places between pixels, linear in inverse depth; NaN outside and beside unknown pixels."""
    height, width = depth.shape
    found = np.full(len(pixels), np.nan)
    inside = ((pixels >= 0) & (pixels <= (width - 1, height - 1))).all(1)
    corner = np.minimum(np.floor(pixels[inside]).astype(int), (max(width - 2, 0), max(height - 2, 0)))
    share = pixels[inside] - corner
    inverse = np.where(np.isfinite(depth) & (depth > 0), 1 / np.where(depth > 0, depth, 1).astype(np.float64), np.nan)
    total = np.zeros(len(corner))
    for right, x_weight in ((0, 1 - share[:, 0]), (1, share[:, 0])):
        for down, y_weight in ((0, 1 - share[:, 1]), (1, share[:, 1])):
            row, column = (np.minimum(corner[:, 1] + down, height - 1), np.minimum(corner[:, 0] + right, width - 1))
            total += x_weight * y_weight * inverse[row, column]
    found[inside] = 1 / total
    return found


def _in_front(
    pixels: Float64[np.ndarray, "n 2"], depth: Float64[np.ndarray, "n"], camera: Camera, tolerance: float = 0.05
) -> Bool[np.ndarray, "n"]:
    """Points in the image that no other one in the same pixel hides."""
    columns, rows = np.floor(np.clip(pixels, -2, 1e6) + 0.5).astype(int).T
    inside = (depth > 0) & (columns >= 0) & (columns < camera.width) & (rows >= 0) & (rows < camera.height)
    nearest = np.full((camera.height, camera.width), np.inf)
    np.minimum.at(nearest, (rows[inside], columns[inside]), depth[inside])
    seen = np.zeros(len(depth), bool)
    seen[inside] = depth[inside] <= nearest[rows[inside], columns[inside]] * (1 + tolerance)
    return seen
