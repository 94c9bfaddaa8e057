"""Camera pose from points and their pixels (perspective-n-point with LO-RANSAC by pycolmap), focal length included.

Pixels are *ideal*: square, without skew, centred on the principal point. Then one focal length is all there is to
the intrinsics and no convention about pixel centres can slip in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64

MIN_POINTS = 8  # fewer correspondences cannot be told from chance
_PLAUSIBLE_FOCALS = (0.2, 6.0)  # multiples of the longer image side: 136 to 10 degrees of view
_SEED = 0


@dataclass(frozen=True)
class PnpEffort:
    """How long to look for a pose, and how exact to make it. The defaults are for photos, which can wait."""

    max_trials: int = 2000  # of RANSAC
    least_share: float = 0.1  # inliers below which RANSAC need not succeed; bounds its trials too
    refinements: int = 3  # passes, each with half of the error bound of the one before


_THOROUGH = PnpEffort()


@dataclass(frozen=True)
class PnpPose:
    """A pose that RANSAC found."""

    world_from_cam: Float64[np.ndarray, "4 4"]
    focal: float  # pixels; the given one unless it was to be estimated
    inliers: Bool[np.ndarray, "n"]

    @property
    def inlier_share(self) -> float:
        """Share of the points that reproject within the error bound."""
        return float(self.inliers.mean())


def solve_pnp(
    ideal_pixels: Float[np.ndarray, "n 2"],
    points: Float[np.ndarray, "n 3"],
    focal: float | None,
    *,
    image_size: tuple[int, int],
    max_error: float,
    effort: PnpEffort = _THOROUGH,
) -> PnpPose | None:
    """Pose of the camera that sees world ``points`` at ``ideal_pixels``; deterministic.

    Args:
        focal: in pixels; None estimates it together with the pose (four-point minimal solver).
        image_size: (height, width), only to judge whether an estimated focal length is plausible.
        max_error: reprojection error in pixels up to which a point counts as an inlier.
        effort: streams have no time to look for poses in points that fit none.

    Returns:
        None when there are too few points, RANSAC finds no model or the focal length is not plausible.
    """
    if len(points) < MIN_POINTS:
        return None
    longer = float(max(image_size))
    ideal_pixels, points = np.asarray(ideal_pixels, np.float64), np.asarray(points, np.float64)
    camera = _camera(focal or longer, image_size)
    found = _estimate(ideal_pixels, points, camera, estimate_focal=focal is None, max_error=max_error, effort=effort)
    if found is None:
        return None
    low, high = _PLAUSIBLE_FOCALS
    if focal is None and not low * longer < camera.params[0] < high * longer:
        return None
    bounds = [max_error / 2**each for each in range(effort.refinements)]
    refined = _refine(ideal_pixels, points, camera, found, refine_focal=focal is None, bounds=bounds)
    return _as_pose(ideal_pixels, points, float(camera.params[0]), refined, max_error)


def reprojection_inliers(
    ideal_pixels: Float[np.ndarray, "n 2"],
    points: Float[np.ndarray, "n 3"],
    focal: float,
    world_from_cam: Float64[np.ndarray, "4 4"],
    max_error: float,
) -> Bool[np.ndarray, "n"]:
    """Points in front of the camera that project within ``max_error`` pixels of where they were seen."""
    in_camera = (np.asarray(points, np.float64) - world_from_cam[:3, 3]) @ world_from_cam[:3, :3]
    depth = in_camera[:, 2]
    safe = np.where(depth > 0, depth, 1.0)
    error = np.linalg.norm(focal * in_camera[:, :2] / safe[:, None] - ideal_pixels, axis=1)
    inliers: Bool[np.ndarray, "n"] = (depth > 0) & (error <= max_error)
    return inliers


def _camera(focal: float, image_size: tuple[int, int]) -> Any:
    import pycolmap

    return pycolmap.Camera(
        model="SIMPLE_PINHOLE", width=image_size[1], height=image_size[0], params=[float(focal), 0.0, 0.0]
    )


def _estimate(
    pixels: np.ndarray, points: np.ndarray, camera: Any, *, estimate_focal: bool, max_error: float, effort: PnpEffort
) -> Any:
    import pycolmap

    options = pycolmap.AbsolutePoseEstimationOptions()
    options.estimate_focal_length = estimate_focal
    options.ransac.max_error = max_error
    options.ransac.min_inlier_ratio = effort.least_share
    options.ransac.max_num_trials = effort.max_trials
    if hasattr(options.ransac, "random_seed"):
        options.ransac.random_seed = _SEED
    else:
        pycolmap.set_random_seed(_SEED)
    return pycolmap.estimate_absolute_pose(pixels, points, camera, options)


def _refine(
    pixels: np.ndarray,
    points: np.ndarray,
    camera: Any,
    found: dict[str, Any],
    *,
    refine_focal: bool,
    bounds: list[float],
) -> Float64[np.ndarray, "4 4"]:
    """Non-linear refinement on the inliers, then on those within half the bound if most of them are.

    A generous bound finds the pose from rough points, a narrow one makes it exact where the points are.
    """
    import pycolmap

    options = pycolmap.AbsolutePoseRefinementOptions()
    options.refine_focal_length = refine_focal
    pose, inliers = found["cam_from_world"], np.asarray(found["inlier_mask"], bool)
    for bound in bounds:
        refined = pycolmap.refine_absolute_pose(pose, pixels, points, inliers, camera, options)
        if refined is None:
            break
        pose = refined["cam_from_world"]
        world_from_cam = _inverse(pose.matrix())
        closer = reprojection_inliers(pixels, points, float(camera.params[0]), world_from_cam, bound)
        if closer.sum() < max(MIN_POINTS, inliers.sum() // 2):
            break
        inliers = closer
    return _inverse(pose.matrix())


def _as_pose(
    pixels: np.ndarray, points: np.ndarray, focal: float, world_from_cam: Float64[np.ndarray, "4 4"], max_error: float
) -> PnpPose | None:
    inliers = reprojection_inliers(pixels, points, focal, world_from_cam, max_error)
    if inliers.sum() < MIN_POINTS or not np.isfinite(world_from_cam).all():
        return None
    return PnpPose(world_from_cam, focal, inliers)


def _inverse(cam_from_world: Float64[np.ndarray, "3 4"]) -> Float64[np.ndarray, "4 4"]:
    rotation, translation = cam_from_world[:3, :3], cam_from_world[:3, 3]
    inverse = np.eye(4)
    inverse[:3, :3] = rotation.T
    inverse[:3, 3] = -rotation.T @ translation
    return inverse
