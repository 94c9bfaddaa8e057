"""The camera that a pointmap implies, and the way from it to the known one (Driv3R eq. 5).

The focal length comes from the map of the *anchor* image, which is in its own camera's frame; later maps give a biased
one, because their points are not. The pose comes from PnP and is the identity for the anchor itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64

from worldline.geometry import estimate_focal, pixel_grid
from worldline.scene.align.rig.records import AlignOptions
from worldline.scene.cameras import MIN_INLIER_SHARE, confidence_threshold
from worldline.scene.pnp import PnpEffort, reprojection_inliers, solve_pnp
from worldline.types import ImageTransform

_PLAUSIBLE = (0.2, 6.0)  # focal length in longer image sides
_TRUSTED = 1.25  # an estimate that is off the calibration by more than this factor says nothing
_FOCAL_PIXELS = 5000  # for Weiszfeld; more change nothing measurable
_DEFAULTS = AlignOptions()
# A stream waits for every pose. 400 trials find a camera that 0.2 of the points agree with in 19 of 20 cases.
_QUICK = PnpEffort(max_trials=400, least_share=0.2, refinements=1)


@dataclass(frozen=True)
class EstimatedCamera:
    """The camera that explains a pointmap. ``anchor_from_cam`` is in the unit of the map."""

    intrinsics: Float64[np.ndarray, "3 3"]  # K_e, model pixels
    anchor_from_cam: Float64[np.ndarray, "4 4"]  # T_e
    inlier_share: float  # of the sampled pixels that reproject within the bound
    failed: bool = False  # no camera explains the points; the pose is the identity


def estimate_camera(
    points: Float[np.ndarray, "height width 3"],
    confidence: Float[np.ndarray, "height width"],
    intrinsics: Float64[np.ndarray, "3 3"] | None = None,
    anchor_focal: float | None = None,
    *,
    transform: ImageTransform | None = None,
    is_anchor: bool = False,
    options: AlignOptions = _DEFAULTS,
    mask: Bool[np.ndarray, "height width"] | None = None,
) -> EstimatedCamera:
    """K_e and T_e of one image (spec of Driv3R, section "aligner"; DUSt3R section 3.3).

    Args:
        points: in the anchor's frame, any unit.
        intrinsics: known ones in model pixels. They give the principal point and the shape of the pixels in any case,
            and the focal length unless ``anchor_focal`` is given or, for the anchor, ``options.focal`` is "estimated".
        anchor_focal: focal length (x, model pixels) that the anchor's map of this fragment gave.
        transform: tells padding from photo, and where the centre of the photo is; None: the image is the photo.
        is_anchor: the points are in this image's own frame.
        mask: what :func:`usable_pixels` gives, where that is known already.

    Returns:
        ``failed`` with the identity as pose where PnP finds none.
    """
    height, width = points.shape[:2]
    transform = transform or ImageTransform.identity(height, width)
    shape = _shape(intrinsics, transform)
    if mask is None:
        mask = usable_pixels(points, confidence, transform, options.confidence_percent)
    focal = anchor_focal
    if focal is None and is_anchor and (intrinsics is None or options.focal == "estimated"):
        focal = map_focal(points, mask, shape)
    known = None if intrinsics is None else float(intrinsics[0, 0])
    if known is not None and (focal is None or not 1 / _TRUSTED < focal / known < _TRUSTED):
        focal = known
    bound = options.max_error * max(height, width)
    pixels, sampled = _correspondences(points, mask, shape, options.pixels)
    if is_anchor:
        focal = focal or float(max(height, width))
        inliers = reprojection_inliers(pixels, sampled, focal, np.eye(4), bound) if len(sampled) else np.zeros(1)
        return EstimatedCamera(shape @ np.diag([focal, focal, 1.0]), np.eye(4), float(inliers.mean()))
    found = solve_pnp(pixels, sampled, focal, image_size=(height, width), max_error=bound, effort=_QUICK)
    if found is None or found.inlier_share < MIN_INLIER_SHARE:
        focal = focal or float(max(height, width))
        return EstimatedCamera(shape @ np.diag([focal, focal, 1.0]), np.eye(4), 0.0, failed=True)
    return EstimatedCamera(shape @ np.diag([found.focal, found.focal, 1.0]), found.world_from_cam, found.inlier_share)


def map_focal(
    points: Float[np.ndarray, "height width 3"],
    mask: Bool[np.ndarray, "height width"],
    pixels_from_ideal: Float64[np.ndarray, "3 3"],
) -> float | None:
    """Focal length (x, pixels) from a map in its own camera's frame; None where it is not plausible.

    Weiszfeld's estimate is pulled by points close to the camera, whose slopes are huge, so the median estimate first
    says which pixels are plausible.
    """
    height, width = mask.shape
    step = max(1, int(np.ceil(np.sqrt(height * width / _FOCAL_PIXELS))))
    usable = torch.from_numpy(mask[::step, ::step] & (points[::step, ::step, 2] > 0))
    if int(usable.sum()) < 16:
        return None
    stretched = torch.from_numpy(points[::step, ::step] * np.array([1, pixels_from_ideal[1, 1], 1], np.float64))
    stretched = torch.where(usable[..., None], stretched, 1.0)
    center = (float(pixels_from_ideal[0, 2]) / step, float(pixels_from_ideal[1, 2]) / step)
    rough = estimate_focal(stretched, center, method="median", weights=usable)
    offsets = pixel_grid(*usable.shape, dtype=torch.float64) - torch.tensor(center, dtype=torch.float64)
    errors = (offsets - rough * stretched[..., :2] / stretched[..., 2:]).norm(dim=-1)
    usable = usable & (errors <= 4 * errors[usable].median() + 1e-3)
    focal = step * float(estimate_focal(stretched, center, weights=usable))
    low, high = _PLAUSIBLE
    return focal if low * max(height, width) < focal < high * max(height, width) else None


def to_known_camera(
    points: Float[np.ndarray, "height width 3"],
    camera: EstimatedCamera,
    intrinsics: Float64[np.ndarray, "3 3"],
    *,
    rays: bool = True,
) -> Float32[np.ndarray, "height width 3"]:
    """The inner part of eq. 5: K^-1 K_e T_e^-1 P, points in the frame of the known camera, still in the map's unit.

    The points are expressed in the estimated camera, keep their depth, are projected by K_e and unprojected by the
    known K. A point that projects to its own pixel lands on the ray of that pixel; one that does not keeps its
    reprojection error. ``rays`` drops that error: the depth is put on the pixel's own ray, so that a depth map and a
    camera say everything. Both agree where the estimated camera explains the map.
    """
    pose = camera.anchor_from_cam
    local = (np.asarray(points, np.float32) - pose[:3, 3].astype(np.float32)) @ pose[:3, :3].astype(np.float32)
    if not rays:
        change = np.linalg.inv(intrinsics) @ camera.intrinsics
        return local @ change.T.astype(np.float32)  # third row (0, 0, 1): depth stays
    return local[..., 2:] * pixel_rays(intrinsics, *points.shape[:2])


def pixel_rays(
    intrinsics: Float64[np.ndarray, "3 3"], height: int, width: int
) -> Float32[np.ndarray, "height width 3"]:
    """Directions with unit depth through all pixel centres; read-only."""
    return _rays(np.asarray(intrinsics, np.float64).tobytes(), height, width)


@lru_cache(maxsize=16)
def _rays(intrinsics: bytes, height: int, width: int) -> Float32[np.ndarray, "height width 3"]:
    """The cameras of a rig are the same at every step."""
    back = np.linalg.inv(np.frombuffer(intrinsics).reshape(3, 3))
    columns, rows = np.arange(width) * back[:, :1], np.arange(height) * back[:, 1:2]
    rays = (columns[:, None] + (rows + back[:, 2:])[:, :, None]).transpose(1, 2, 0).astype(np.float32)
    rays.flags.writeable = False
    return rays


def usable_pixels(
    points: np.ndarray, confidence: np.ndarray, transform: ImageTransform, percent: float
) -> Bool[np.ndarray, "height width"]:
    """Finite points inside the photo, without the least confident ``percent`` per cent."""
    valid = np.isfinite(points).all(-1) & np.isfinite(confidence) & transform.inside
    if not valid.any():
        return valid
    return valid & (confidence >= confidence_threshold(confidence[valid], percent))


def _shape(intrinsics: np.ndarray | None, transform: ImageTransform) -> Float64[np.ndarray, "3 3"]:
    """Pixels from ideal pixels (square, centred on the principal point, the size of a column)."""
    if intrinsics is not None:
        focal = float(intrinsics[0, 0])
        return np.asarray(intrinsics, np.float64) @ np.diag([1 / focal, 1 / focal, 1])
    scale = transform.model_from_original
    height, width = transform.original_size
    center = transform.to_model(np.array([(width - 1) / 2, (height - 1) / 2]))
    return np.array([[1, 0, center[0]], [0, scale[1, 1] / scale[0, 0], center[1]], [0, 0, 1]])


def _correspondences(
    points: np.ndarray, mask: Bool[np.ndarray, "h w"], shape: np.ndarray, count: int
) -> tuple[Float64[np.ndarray, "n 2"], Float64[np.ndarray, "n 3"]]:
    """Ideal pixels and points, evenly spread over the mask: deterministic, no random sampling."""
    places = np.flatnonzero(mask)
    if len(places) > count:
        places = places[np.linspace(0, len(places) - 1, count).astype(np.int64)]
    rows, columns = np.divmod(places, mask.shape[1])
    ideal = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(shape).T
    return np.ascontiguousarray(ideal[:, :2]), points[rows, columns].astype(np.float64)
