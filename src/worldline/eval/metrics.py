"""Accuracy of pointmaps, depth and cameras. Every function says what it aligns before it measures.

Two families:

* ``published_*``, :func:`normalized_distance`, :func:`distance_accuracy`, :func:`chamfer_distance`: the metrics of
  MV-DUSt3R+ (arXiv 2412.06974, section 4), quirks included, so that numbers can be compared with the paper's.
* :func:`relative_point_error`, :func:`depth_absrel`, :func:`depth_inliers`, :func:`relative_pose_errors`, :func:`auc`:
  the usual definitions.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldline.geometry import fit_similarity_robust, invert_rigid, rotation_angle

_CLIP = 10.0  # the published point metrics ignore how much worse than this a view is
_ACOS_LINEAR_FROM = 1 - 1e-4  # beyond this cosine the published rotation angle is extrapolated linearly


def normalized_distance(
    predicted: Float[Tensor, "row view height width 3"],
    target: Float[Tensor, "row view height width 3"],
    valid: Bool[Tensor, "row view height width"],
) -> Float[Tensor, "row view"]:
    """ND of every view: mean Euclidean error over its valid pixels, in the target's unit, clipped at 10.

    Alignment: none here; the published protocol first applies ``worldline.train.losses.align(..., EVALUATION)``: joint
    median shift per coordinate, joint median scale, no rotation. ND of a row is the plain mean over its views.
    """
    error = torch.linalg.vector_norm(predicted - target, dim=-1)
    kept = torch.where(valid, error, torch.zeros_like(error))
    return (kept.sum((-2, -1)) / valid.sum((-2, -1)).clamp(min=1)).clamp(max=_CLIP)


def distance_accuracy(nd: Float[Tensor, "row"], threshold: float = 0.2) -> Float[Tensor, "row"]:
    """DAc: 1 for every scene whose ND is below the threshold (a share of scenes, not of pixels)."""
    return (nd < threshold).to(nd.dtype)


def chamfer_distance(
    predicted: Float[Tensor, "row n 3"], target: Float[Tensor, "row n 3"], valid: Bool[Tensor, "row n"]
) -> Float[Tensor, "row"]:
    """CD: mean *squared* distance to the nearest neighbour, predicted to true plus true to predicted, clipped at 10.

    Alignment: none here, see :func:`normalized_distance`. Exact neighbours (k-d tree). 0 where nothing is valid.
    """
    from scipy.spatial import cKDTree

    result = torch.zeros(len(predicted), dtype=predicted.dtype, device=predicted.device)
    for row, mask in enumerate(valid):
        if not mask.any():
            continue
        first, second = (points[row][mask].detach().cpu().double().numpy() for points in (predicted, target))
        forward = np.square(cKDTree(second).query(first)[0]).mean()
        backward = np.square(cKDTree(first).query(second)[0]).mean()
        result[row] = min(_CLIP, float(forward + backward))
    return result


class PairErrors(NamedTuple):
    """Errors of the relative poses of all unordered pairs of views, in degrees, pairs in the order (0,1), (0,2), …"""

    rotation: Float[Tensor, "*batch pair"]
    translation: Float[Tensor, "*batch pair"]

    def rotation_accuracy(self, degrees: float = 15.0) -> Float[Tensor, "*batch"]:
        """RRA: share of pairs whose rotation error is below the threshold."""
        return (self.rotation < degrees).float().mean(-1)

    def translation_accuracy(self, degrees: float = 15.0) -> Float[Tensor, "*batch"]:
        """RTA: share of pairs whose translation direction error is below the threshold."""
        return (self.translation < degrees).float().mean(-1)

    def mean_accuracy(self, degrees: int = 30) -> Float[Tensor, "*batch"]:
        """mAA: share of pairs with both errors below τ, averaged over τ = 1, 2, …, ``degrees``."""
        worst = torch.maximum(self.rotation, self.translation)
        thresholds = torch.arange(1, degrees + 1, dtype=worst.dtype, device=worst.device)
        return (worst[..., None, :] < thresholds[:, None]).float().mean((-2, -1))


def published_pose_errors(
    predicted_cam_from_world: Float[Tensor, "*batch view 4 4"], true_cam_from_world: Float[Tensor, "*batch view 4 4"]
) -> PairErrors:
    """Relative pose errors exactly as MV-DUSt3R+ reports them (RRE, RTE and mAE are one minus the accuracies).

    Alignment: none; relative poses do not depend on the world frame's position, but these *do* depend on its
    orientation, because they are taken on the world side (``world_from_cam_i · cam_j_from_world``). Two more quirks: a
    perfect rotation measures 0.405 degrees (the arc cosine is replaced by a line near 1), and the direction of the
    translation has no sign, so its error lies in [0, 90].
    """
    predicted, true = (_world_side_relative(poses) for poses in (predicted_cam_from_world, true_cam_from_world))
    trace = torch.einsum("...ij,...ij->...", predicted[..., :3, :3], true[..., :3, :3])
    rotation = torch.rad2deg(_acos_with_linear_ends((trace - 1) / 2))
    directions = [t / (torch.linalg.vector_norm(t, dim=-1, keepdim=True) + 1e-15) for t in
                  (predicted[..., :3, 3], true[..., :3, 3])]  # fmt: skip
    cosine = (directions[0] * directions[1]).sum(-1)
    translation = torch.acos(torch.sqrt(1 - (1 - cosine.square()).clamp(min=1e-15)))
    translation = torch.nan_to_num(translation, nan=1e6, posinf=1e6, neginf=1e6)
    return PairErrors(rotation, torch.rad2deg(translation))


def relative_pose_errors(
    predicted_world_from_cam: Float[Tensor, "*batch view 4 4"], true_world_from_cam: Float[Tensor, "*batch view 4 4"]
) -> PairErrors:
    """Relative pose errors as usually defined, for all pairs i < j, on ``cam_i_from_cam_j``.

    Alignment: none is needed, camera-side relative poses depend neither on the world frame nor (for the direction of
    the translation) on the scale. ``rotation`` is the geodesic angle in [0, 180]; ``translation`` the angle between the
    directions of the baselines, sign included, in [0, 180]; NaN for pairs whose true baseline is zero, 90 (what chance
    gives) where only the predicted one is.
    """
    predicted, true = (_camera_side_relative(poses) for poses in (predicted_world_from_cam, true_world_from_cam))
    rotation = rotation_angle(predicted[..., :3, :3], true[..., :3, :3])
    first, second = predicted[..., :3, 3], true[..., :3, 3]
    lengths = [torch.linalg.vector_norm(vector, dim=-1) for vector in (first, second)]
    sine = torch.linalg.vector_norm(torch.linalg.cross(first, second), dim=-1)
    angle = torch.atan2(sine, (first * second).sum(-1))
    angle = torch.where(lengths[0] == 0, torch.full_like(angle, math.pi / 2), angle)
    angle = torch.where(lengths[1] == 0, torch.full_like(angle, math.nan), angle)
    return PairErrors(torch.rad2deg(rotation), torch.rad2deg(angle))


def auc(errors: Float[Tensor, "*n"], threshold: float) -> float:
    """Area under the recall curve up to ``threshold``, in [0, 1]: mean over all errors of max(0, 1 - error/threshold).

    NaN errors (undefined pairs) are left out; NaN when none is left.
    """
    kept = errors[~torch.isnan(errors)]
    return float((1 - kept / threshold).clamp(min=0).double().mean()) if kept.numel() else math.nan


def relative_point_error(
    predicted: Float[Tensor, "view height width 3"],
    true: Float[Tensor, "view height width 3"],
    valid: Bool[Tensor, "view height width"],
    true_world_from_cam: Float[Tensor, "view 4 4"],
    max_points: int = 20_000,
) -> Float[Tensor, "valid_pixel"]:
    """Per valid pixel: distance of predicted and true point, divided by the true distance of that point to its camera.

    Alignment: **one similarity per scene** (rotation, translation, scale), fitted robustly (reweighted Umeyama, Cauchy
    influence, on about ``max_points`` evenly spaced valid pixels of all views together) and then applied to all
    predicted points. The scene's error is the median of the returned values.
    """
    source, target = predicted[valid].double(), true[valid].double()
    centers = true_world_from_cam[:, :3, 3].double()[:, None, None].expand(*true.shape)[valid]
    stride = max(1, len(source) // max_points)
    fitted = fit_similarity_robust(source[::stride], target[::stride]).apply(source)
    return torch.linalg.vector_norm(fitted - target, dim=-1) / torch.linalg.vector_norm(target - centers, dim=-1)


def depth_absrel(
    predicted: Float[Tensor, "view height width"],
    true: Float[Tensor, "view height width"],
    valid: Bool[Tensor, "view height width"],
) -> float:
    """Mean of |predicted - true| / true over valid pixels of all views.

    Alignment: **one scale per scene**, the median of true/predicted over the valid pixels of all views together. Views
    whose depths disagree in scale are not helped by it.
    """
    first, second = _depths_of_one_scale(predicted, true, valid)
    return float(((first - second).abs() / second).mean())


def depth_inliers(
    predicted: Float[Tensor, "view height width"],
    true: Float[Tensor, "view height width"],
    valid: Bool[Tensor, "view height width"],
    threshold: float = 1.25,
) -> float:
    """Share of valid pixels of all views with max(predicted / true, true / predicted) below the threshold ("delta").

    Alignment: one scale per scene, as :func:`depth_absrel`. A depth behind the camera is never an inlier.
    """
    first, second = _depths_of_one_scale(predicted, true, valid)
    ratio = torch.maximum(first / second, second / first)
    return float(((first > 0) & (ratio < threshold)).double().mean())


def _depths_of_one_scale(
    predicted: Float[Tensor, "view height width"],
    true: Float[Tensor, "view height width"],
    valid: Bool[Tensor, "view height width"],
) -> tuple[Float[Tensor, "valid_pixel"], Float[Tensor, "valid_pixel"]]:
    first, second = predicted[valid].double(), true[valid].double()
    in_front = first > 0  # a point behind the camera says nothing about the scale; its error counts all the same
    scale = (second[in_front] / first[in_front]).median() if in_front.any() else torch.ones((), dtype=first.dtype)
    return scale * first, second


def psnr(first: Float[Tensor, "*n"], second: Float[Tensor, "*n"]) -> float:
    """Peak signal-to-noise ratio in decibels of images with values in [0, 1]; infinite for equal ones."""
    error = float((first.double() - second.double()).square().mean())
    return math.inf if error == 0 else -10 * math.log10(error)


def ssim(
    first: Float[Tensor, "channel height width"],
    second: Float[Tensor, "channel height width"],
    data_range: float | None = None,
) -> float:
    """Mean of :func:`ssim_map`."""
    return float(ssim_map(first, second, data_range).mean())


def ssim_map(
    first: Float[Tensor, "channel height width"],
    second: Float[Tensor, "channel height width"],
    data_range: float | None = None,
) -> Float[Tensor, "channel height width"]:
    """Structural similarity (Wang et al. 2004): Gaussian window of 11 pixels, σ 1.5, K .01 and .03, reflected borders.

    ``data_range`` None takes the larger of the two images' value ranges, as the published evaluation does.
    """
    images = torch.stack([first, second]).double()
    if data_range is None:
        data_range = float((images.amax((1, 2, 3)) - images.amin((1, 2, 3))).max())
    offset = torch.arange(-5, 6, dtype=torch.float64, device=images.device)
    line = torch.exp(-offset.square() / (2 * 1.5**2))
    line = line / line.sum()
    x, y = torch.nn.functional.pad(images, (5, 5, 5, 5), mode="reflect")
    stack = torch.stack([x, y, x * x, y * y, x * y]).flatten(0, 1)[:, None]
    rows = torch.nn.functional.conv2d(stack, line.view(1, 1, 11, 1))  # the window is a product of two lines
    blurred = torch.nn.functional.conv2d(rows, line.view(1, 1, 1, 11))[:, 0].unflatten(0, (5, -1))
    mean_x, mean_y = blurred[:2]
    variance = blurred[2] - mean_x**2 + blurred[3] - mean_y**2
    covariance = blurred[4] - mean_x * mean_y
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return similarity / ((mean_x**2 + mean_y**2 + c1) * (variance + c2))


def _pairs(views: int) -> tuple[Tensor, Tensor]:
    first, second = torch.triu_indices(views, views, offset=1)
    return first, second


def _world_side_relative(cam_from_world: Float[Tensor, "*batch view 4 4"]) -> Float[Tensor, "*batch pair 4 4"]:
    first, second = _pairs(cam_from_world.shape[-3])
    return invert_rigid(cam_from_world)[..., first, :, :] @ cam_from_world[..., second, :, :]


def _camera_side_relative(world_from_cam: Float[Tensor, "*batch view 4 4"]) -> Float[Tensor, "*batch pair 4 4"]:
    first, second = _pairs(world_from_cam.shape[-3])
    return invert_rigid(world_from_cam)[..., first, :, :] @ world_from_cam[..., second, :, :]


def _acos_with_linear_ends(cosine: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Arc cosine whose graph continues as its tangent where |cosine| exceeds the bound."""
    bound = _ACOS_LINEAR_FROM
    slope = -1 / math.sqrt(1 - bound**2)
    inside = torch.acos(cosine.clamp(-bound, bound))
    return inside + slope * (cosine - cosine.clamp(-bound, bound))
