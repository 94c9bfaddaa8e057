"""Cameras from pointmaps: focal lengths, then poses by PnP, then the frame and unit of poses that were given.

All pointmaps of a set live in the frame of its reference camera (MV-DUSt3R section 3.1), so the reference view gives
a focal length at once (DUSt3R section 3.3) and every other view is a resectioning problem: known 3D points, known
pixels, unknown camera. docs/cameras.md has the formulas and every sentence that can appear among the warnings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64

from worldline.errors import InputError
from worldline.geometry import Similarity, estimate_focal, fit_similarity_to_poses, pixel_grid, rotation_angle
from worldline.scene.degenerate import NO_BASELINE, without_baseline
from worldline.scene.pnp import reprojection_inliers, solve_pnp
from worldline.types import ImageTransform

MAX_POINTS = 4096  # correspondences per view; more cost time and change nothing measurable
MIN_INLIER_SHARE = 0.15  # below this a pose is chance
MAX_ERROR = 8 / 224  # of the longer image side: inlier bound of PnP
MIN_CONFIDENT_SHARE = 0.05  # a view with fewer confident pixels is judged by its own confidence instead


@dataclass(frozen=True)
class CameraEstimates:
    """Cameras of all views, in input order, and the similarity that takes the pointmaps to the world frame."""

    intrinsics: Float64[np.ndarray, "view 3 3"]  # model pixels
    world_from_cam: Float64[np.ndarray, "view 4 4"]
    status: tuple[str, ...]  # per view: "estimated", "given", "failed" or "degenerate"
    inlier_share: Float64[np.ndarray, "view"]  # points that reproject within the error bound, in [0, 1]
    world_from_points: Similarity  # identity unless poses were given
    fixed_scale: bool = False  # True when given poses determined the unit
    left_out: tuple[int, ...] = ()  # views whose points fit no camera, whether or not their pose was given
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Problem:
    """One view as PnP sees it: sampled points, their ideal pixels, and how ideal pixels become model pixels."""

    pixels_from_ideal: Float64[np.ndarray, "3 3"]  # intrinsics = pixels_from_ideal @ diag(f, f, 1)
    ideal_pixels: Float64[np.ndarray, "n 2"]
    points: Float64[np.ndarray, "n 3"]
    focal: float | None  # known focal length, ideal pixels
    camera_group: tuple[int, ...]  # views of one group may share a focal length
    original_scale: float  # model pixels per original pixel, along x


def estimate_cameras(
    points: Float[np.ndarray, "view height width 3"],
    confidence: Float[np.ndarray, "view height width"],
    *,
    reference: int = 0,
    transforms: Sequence[ImageTransform] | None = None,
    intrinsics: Sequence[Float64[np.ndarray, "3 3"] | None] | None = None,
    poses: Sequence[Float64[np.ndarray, "4 4"] | None] | None = None,
    shared_focal: bool = True,
    confidence_percent: float = 3.0,
    max_error: float | None = None,
    names: Sequence[str] | None = None,
) -> CameraEstimates:
    """Intrinsics and poses of all views from pointmaps in the frame of the reference view.

    Args:
        points: any unit, z forward in the reference camera.
        confidence: larger is better; the lowest ``confidence_percent`` of all pixels take no part.
        reference: index of the view whose camera is the frame of ``points``.
        transforms: where each view's pixels come from; they place the principal point at the centre of the *photo*
            and say which views may share a focal length. None: the images are the photos.
        intrinsics: known ones per view in model pixels, None where unknown; used as they are.
        poses: known ``world_from_cam`` per view, None where unknown; kept exactly. Two or more with distinct centres
            fix frame and unit of the world, a single one fixes the frame only.
        shared_focal: one focal length (in original pixels) for all photos of equal size.
        max_error: inlier bound of PnP in model pixels; None is that of MV-DUSt3R's evaluation, 8 of 224 pixels.
        names: of the views, for the warnings.

    Raises:
        InputError: lists of the wrong length, or a reference that does not exist.
    """
    count, height, width = points.shape[:3]
    _check_lengths(count, reference, transforms=transforms, intrinsics=intrinsics, poses=poses, names=names)
    transforms = transforms or [ImageTransform.identity(height, width)] * count
    names = list(names) if names is not None else [f"view {index}" for index in range(count)]
    known = list(intrinsics) if intrinsics is not None else [None] * count
    max_error = max_error or MAX_ERROR * max(height, width)

    masks, warnings = _usable_pixels(points, confidence, transforms, confidence_percent, names)
    problems = [_problem(points[v], masks[v], transforms[v], known[v]) for v in range(count)]
    size = (height, width)
    focals, focal_warnings = _focal_lengths(
        points[reference], masks[reference], problems, reference, shared_focal, size
    )
    estimates = _resect(problems, focals, reference, size, max_error, names)
    estimates = replace(estimates, warnings=(*warnings, *focal_warnings, *estimates.warnings))
    depths = points[reference][masks[reference]][:, 2]
    depth = float(np.median(depths)) if depths.size else 0.0
    estimates = _flag_missing_baseline(estimates, depth, reference)
    return fix_frame(estimates, list(poses) if poses is not None else [None] * count, depth, names)


def confidence_threshold(confidence: Float[np.ndarray, "*shape"], percent: float) -> float:
    """The confidence that all but the lowest ``percent`` per cent of the pixels reach; keep what is >= it.

    It is the value at sorted position floor(n * percent / 100), as in the demo of MV-DUSt3R.
    """
    flat = np.asarray(confidence).reshape(-1)
    position = min(int(flat.size * percent / 100), flat.size - 1)
    return float(np.partition(flat, position)[position])


def _check_lengths(count: int, reference: int, **per_view: Sequence[object] | None) -> None:
    if not 0 <= reference < count:
        raise InputError(f"The reference view {reference} does not exist.", f"Choose an index from 0 to {count - 1}.")
    for label, values in per_view.items():
        if values is not None and len(values) != count:
            raise InputError(
                f"There are {len(values)} {label} for {count} views.", "Give one entry per view, None where unknown."
            )


def _usable_pixels(
    points: np.ndarray, confidence: np.ndarray, transforms: Sequence[ImageTransform], percent: float, names: list[str]
) -> tuple[list[Bool[np.ndarray, "h w"]], list[str]]:
    finite = np.isfinite(points).all(-1) & np.isfinite(confidence)
    valid = finite & np.stack([transform.inside for transform in transforms])
    if not valid.any():
        return list(valid), ["No pixel of any view has a finite point: nothing can be reconstructed."]
    keep = valid & (confidence >= confidence_threshold(confidence[valid], percent))
    warnings = []
    for index, name in enumerate(names):
        if keep[index].mean() >= MIN_CONFIDENT_SHARE * max(valid[index].mean(), 1e-9):
            continue
        warnings.append(f"{name}: the network is not confident about this view, its points are a guess.")
        if valid[index].any():
            own = confidence_threshold(confidence[index][valid[index]], 50)
            keep[index] = valid[index] & (confidence[index] >= own)
    return list(keep), warnings


def _problem(
    points: np.ndarray, mask: Bool[np.ndarray, "h w"], transform: ImageTransform, known: np.ndarray | None
) -> _Problem:
    model_from_original = transform.model_from_original
    scale_x, scale_y = model_from_original[0, 0], model_from_original[1, 1]
    if known is not None:
        focal = float(known[0, 0])
        pixels_from_ideal = np.asarray(known, np.float64) @ np.diag([1 / focal, 1 / focal, 1])
    else:
        focal = None
        height, width = transform.original_size
        center = transform.to_model(np.array([(width - 1) / 2, (height - 1) / 2]))
        # the photo has square pixels; rounding in the resize may have made the model's slightly oblong
        pixels_from_ideal = np.array([[1, 0, center[0]], [0, scale_y / scale_x, center[1]], [0, 0, 1]])
    rows, columns = _strided(mask)
    pixels = np.stack([columns, rows, np.ones_like(rows)], axis=-1).astype(np.float64)
    ideal = pixels @ np.linalg.inv(pixels_from_ideal).T
    return _Problem(
        pixels_from_ideal=pixels_from_ideal,
        ideal_pixels=np.ascontiguousarray(ideal[:, :2]),
        points=points[rows, columns].astype(np.float64),
        focal=focal,
        camera_group=tuple(sorted(transform.original_size)),
        original_scale=float(scale_x),
    )


def _strided(mask: Bool[np.ndarray, "h w"]) -> tuple[np.ndarray, np.ndarray]:
    """At most MAX_POINTS pixels of the mask, evenly spread in reading order: deterministic, no random sampling."""
    rows, columns = np.nonzero(mask)
    if len(rows) <= MAX_POINTS:
        return rows, columns
    chosen = np.linspace(0, len(rows) - 1, MAX_POINTS).astype(np.int64)
    return rows[chosen], columns[chosen]


def _focal_lengths(
    reference_points: np.ndarray,
    reference_mask: Bool[np.ndarray, "h w"],
    problems: list[_Problem],
    reference: int,
    shared: bool,
    size: tuple[int, int],
) -> tuple[list[float | None], list[str]]:
    """Focal length of every view in its ideal pixels; None where it has to come out of that view's PnP."""
    focals = [problem.focal for problem in problems]
    warnings = []
    focal = problems[reference].focal
    if focal is None:
        focal = _own_focal(reference_points, reference_mask, problems[reference].pixels_from_ideal)
        if not 0.2 * max(size) < focal < 6 * max(size):
            warnings.append(
                "The focal length cannot be read off the reference view; a field of view of 60° is assumed."
            )
            focal = max(size) / (2 * math.tan(math.radians(30)))
    focals[reference] = focal
    if not shared:
        return focals, warnings
    for group in {problem.camera_group for problem in problems}:
        members = [v for v, problem in enumerate(problems) if problem.camera_group == group]
        votes = [p.focal / p.original_scale for p in (problems[v] for v in members) if p.focal is not None]
        if not votes and reference in members:
            votes = [focal / problems[reference].original_scale]
        if not votes:
            votes = _focals_by_pnp([problems[v] for v in members], size)
        for v in members:
            if problems[v].focal is None and votes:
                focals[v] = float(np.median(votes)) * problems[v].original_scale
    return focals, warnings


def _own_focal(points: np.ndarray, mask: Bool[np.ndarray, "h w"], pixels_from_ideal: np.ndarray) -> float:
    """Focal length of a view from points in its own frame; oblong pixels are absorbed by stretching y.

    Weiszfeld's estimate is pulled away by points close to the camera, whose slopes x / z are huge. So the median
    estimate, which is not, first says which pixels are plausible.
    """
    usable = torch.from_numpy(mask & (points[..., 2] > 0))
    stretched = torch.from_numpy(points.astype(np.float64) * np.array([1, pixels_from_ideal[1, 1], 1]))
    stretched = torch.where(usable[..., None], stretched, 1.0)
    center = (float(pixels_from_ideal[0, 2]), float(pixels_from_ideal[1, 2]))
    rough = estimate_focal(stretched, center, method="median", weights=usable)
    offsets = pixel_grid(*usable.shape, dtype=torch.float64) - torch.tensor(center, dtype=torch.float64)
    errors = (offsets - rough * stretched[..., :2] / stretched[..., 2:]).norm(dim=-1)
    if usable.any():
        usable = usable & (errors <= 4 * errors[usable].median() + 1e-3)
    return float(estimate_focal(stretched, center, weights=usable))


def _focals_by_pnp(problems: list[_Problem], size: tuple[int, int]) -> list[float]:
    """Focal lengths, in original pixels, of views that must find theirs together with their pose."""
    votes = []
    for problem in problems:
        pose = solve_pnp(problem.ideal_pixels, problem.points, None, image_size=size, max_error=MAX_ERROR * max(size))
        if pose is not None and pose.inlier_share >= MIN_INLIER_SHARE:
            votes.append(pose.focal / problem.original_scale)
    return votes


def _resect(
    problems: list[_Problem],
    focals: list[float | None],
    reference: int,
    size: tuple[int, int],
    max_error: float,
    names: list[str],
) -> CameraEstimates:
    """Pose of every view in the frame of the points; the reference camera is that frame by definition."""
    intrinsics, poses, shares, statuses, warnings = [], [], [], [], []
    reference_focal = focals[reference] or float(max(size))
    for v, problem in enumerate(problems):
        pose, focal, share = np.eye(4), focals[v], 0.0
        if v == reference:
            focal = reference_focal
            inliers = reprojection_inliers(problem.ideal_pixels, problem.points, focal, pose, max_error)
            share = float(inliers.mean()) if inliers.size else 0.0
        else:
            found = solve_pnp(problem.ideal_pixels, problem.points, focal, image_size=size, max_error=max_error)
            if found is None and focal is None:  # e.g. a frontal plane, where focal length and distance are one
                focal = reference_focal / problems[reference].original_scale * problem.original_scale
                found = solve_pnp(problem.ideal_pixels, problem.points, focal, image_size=size, max_error=max_error)
                if found is not None:
                    warnings.append(f"{names[v]}: its focal length cannot be told, that of the reference is assumed.")
            if found is not None:
                pose, focal, share = found.world_from_cam, found.focal, found.inlier_share
        if focal is None:
            focal = reference_focal / problems[reference].original_scale * problem.original_scale
        failed = share < MIN_INLIER_SHARE
        if failed and v != reference:
            pose = np.eye(4)
        elif failed:
            warnings.append(f"{names[v]}: the points of the reference view fit no pinhole camera ({share:.0%} agree).")
        statuses.append(("degenerate" if v == reference else "failed") if failed else "estimated")
        intrinsics.append(problem.pixels_from_ideal @ np.diag([focal, focal, 1.0]))
        poses.append(pose)
        shares.append(share)
    warnings += _left_out([names[v] for v, status in enumerate(statuses) if status == "failed"], len(names))
    return CameraEstimates(
        intrinsics=np.stack(intrinsics),
        world_from_cam=np.stack(poses),
        status=tuple(statuses),
        inlier_share=np.array(shares),
        world_from_points=Similarity.identity(),
        left_out=tuple(v for v, status in enumerate(statuses) if status == "failed"),
        warnings=tuple(warnings),
    )


def _left_out(failed: list[str], count: int) -> list[str]:
    """One sentence about all views without a camera."""
    if not failed:
        return []
    if len(failed) == 1:
        return [f"{failed[0]}: no camera explains its points; it is left out."]
    if len(failed) == count - 1:
        return ["Only the reference view could be placed: no camera explains the points of the others."]
    shown = ", ".join(failed[:3]) + (f" and {len(failed) - 3} more" if len(failed) > 3 else "")
    return [f"{shown}: no camera explains their points; they are left out."]


def _flag_missing_baseline(estimates: CameraEstimates, depth: float, reference: int) -> CameraEstimates:
    """Cameras that only turn see no parallax: their depth comes from the network's prior alone."""
    found = [v for v, status in enumerate(estimates.status) if status == "estimated"]
    if not without_baseline(estimates.world_from_cam[found, :3, 3], depth):
        return estimates
    status = tuple("degenerate" if s == "estimated" and v != reference else s for v, s in enumerate(estimates.status))
    sentence = f"The cameras hardly move (less than {NO_BASELINE:.0%} of the scene's distance): depth is a guess."
    return replace(estimates, status=status, warnings=(*estimates.warnings, sentence))


def _distinct(centers: Float64[np.ndarray, "n 3"]) -> bool:
    """Whether there are two camera centres that differ by more than rounding."""
    return bool(np.ptp(centers, axis=0).max() > 1e-6 * max(1.0, np.abs(centers).max()))


def fix_frame(
    estimates: CameraEstimates, poses: list[Float64[np.ndarray, "4 4"] | None], depth: float, names: list[str]
) -> CameraEstimates:
    """Move everything to the frame of the given poses by one similarity; given poses themselves are not touched."""
    given = {v: np.asarray(pose, np.float64) for v, pose in enumerate(poses) if pose is not None}
    if not given:
        return estimates
    warnings = list(estimates.warnings)
    usable = [v for v in given if estimates.status[v] != "failed"]
    fit, fixed_scale = Similarity.identity(), False
    if usable:
        target, source = np.stack([given[v] for v in usable]), estimates.world_from_cam[usable]
        fixed_scale = _distinct(target[:, :3, 3]) and not without_baseline(source[:, :3, 3], depth)
        fit = fit_similarity_to_poses(torch.from_numpy(source), torch.from_numpy(target), with_scale=fixed_scale)
        warnings += _disagreement(fit, source, target, depth, [names[v] for v in usable])
    else:
        warnings.append("No view with a given pose could be located: points and given poses are in different frames.")
    if usable and not fixed_scale and _distinct(np.stack(list(given.values()))[:, :3, 3]):
        warnings.append("The given poses cannot fix the scale: the images show no movement between their views.")
    moved = fit.apply_to_poses(torch.from_numpy(estimates.world_from_cam)).numpy()
    for v, pose in given.items():
        moved[v] = pose
    return replace(
        estimates,
        world_from_cam=moved,
        status=tuple("given" if v in given else status for v, status in enumerate(estimates.status)),
        world_from_points=fit,
        fixed_scale=fixed_scale,
        warnings=tuple(warnings),
    )


def _disagreement(fit: Similarity, source: np.ndarray, target: np.ndarray, depth: float, names: list[str]) -> list[str]:
    """A sentence when the given poses contradict what the images show."""
    moved = fit.apply_to_poses(torch.from_numpy(source))
    wanted = torch.from_numpy(target)
    angles = torch.rad2deg(rotation_angle(moved[:, :3, :3], wanted[:, :3, :3])).numpy()
    offsets = (moved[:, :3, 3] - wanted[:, :3, 3]).norm(dim=-1).numpy()
    spread = np.sqrt(np.square(target[:, :3, 3] - target[:, :3, 3].mean(0)).sum(-1).mean())
    tolerated = 0.5 * spread if spread > 0 else 0.1 * depth * float(fit.scale)
    worst = int(np.argmax(angles)) if angles.max() > 10 else int(np.argmax(offsets))
    if angles[worst] <= 10 and offsets[worst] <= tolerated:
        return []
    return [
        f"The given poses disagree with the images, most of all that of {names[worst]} (by {angles[worst]:.0f}° and "
        f"{offsets[worst]:.2g} units): check that they are world_from_cam with OpenCV axes."
    ]
