"""How far the motion of every pixel is from that of a still world, in units of what noise explains.

The optical flow of a still point differs from its camera flow for four reasons, and each is modelled:

* the flow itself is uncertain by ``sigma0`` pixels, more where the camera flow is strongly sheared;
* an error of the depth moves the camera flow along its epipolar line only, by ``stretch`` pixels per unit of log depth;
* an error of the pose or of the scale makes a smooth field: it is fitted robustly and removed (:func:`global_error`);
* where the point is hidden in the other image the flow is arbitrary: forward and backward flow disagree there.

What remains is a Mahalanobis distance. It counts only where the photos prefer the flow to the still world: beside a
car the regularised flow of a plain road is dragged along, but the road looks the same without that. A second,
independent witness needs no flow: where image b sees *through* a point of image a, to something further away, that
point has come there since (:func:`seen_through`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8
from scipy import ndimage

from worldline.scene.motion.sampling import grid, inside, sample

_ROUNDS = 6  # of reweighted least squares
_SAMPLES = 4000  # pixels that take part in a fit
_MAD = 1.4826  # median absolute deviation -> standard deviation of a Gaussian
_STILL = 2.0  # standard deviations below which the photos need not be asked
_SURE = 3.0  # standard deviations of seeing through that need no flow
_CAUCHY = 2.385  # 95 % efficiency for Gaussian noise


@dataclass(frozen=True)
class NoiseModel:
    """What is believed of the noise before an image is seen; the image may say that it is worse, never that it is less.

    Measured on streets of ``worlds``: see docs/motion.md.
    """

    flow: float = 0.5  # pixels of flow noise
    flow_shear: float = 0.05  # additional noise, as a share of the change of the camera flow within three pixels
    depth: float = 0.03  # relative error of the depth between two images of a sensor
    photo: float = 2.0  # grey levels by which the flow must explain a 3 x 3 patch better than a still world does
    most_flow: float = 3.0  # pixels; more than this is no noise
    most_depth: float = 0.4


@dataclass(frozen=True)
class Evidence:
    """What an image pair says about motion."""

    score: Float32[np.ndarray, "height width"]  # standard deviations away from a still world; 0 where nothing is known
    known: Bool[np.ndarray, "height width"]  # the flow could be checked, or the place is seen through
    residual: Float32[np.ndarray, "height width 2"]  # optical minus camera flow minus the global error, pixels
    flow_noise: float  # pixels, found in this pair
    depth_noise: float  # relative, found in this pair


@dataclass(frozen=True)
class View:
    """One image of a pair with what is known of the other one, as numpy arrays."""

    flow: Float32[np.ndarray, "height width 2"]  # optical, to the other image
    camera_flow: Float32[np.ndarray, "height width 2"]
    stretch: Float32[np.ndarray, "height width 2"]
    depth_there: Float32[np.ndarray, "height width"]  # of the own points along the other camera's axis
    valid: Bool[np.ndarray, "height width"]
    intrinsics: Float64[np.ndarray, "3 3"]  # of the other image
    image: UInt8[np.ndarray, "height width 3"] | None = None  # RGB; without both images the photos are not asked
    image_there: UInt8[np.ndarray, "height width 3"] | None = None


def motion_score(
    view: View,
    flow_back: Float32[np.ndarray, "height width 2"],
    depth_other: Float32[np.ndarray, "height width"],
    noise: NoiseModel | None = None,
) -> Evidence:
    """Evidence of motion in every pixel of an image.

    Args:
        view: image a and where it goes in image b.
        flow_back: optical flow b -> a.
        depth_other: depth of image b in the unit of ``view.depth_there``; not positive where unknown.
        noise: what is believed of the noise.
    """
    noise = noise or NoiseModel()
    height, width = view.valid.shape
    arrived = grid(height, width) + view.flow
    back = sample(flow_back, arrived)
    raw = view.flow - view.camera_flow
    loop = np.linalg.norm(view.flow + back, axis=-1)
    closed = loop < 1.0 + 0.2 * np.linalg.norm(raw, axis=-1)
    seen = view.valid & closed & inside(arrived, height, width)
    shear = noise.flow_shear * _shear(view.camera_flow)
    residual = raw - global_error(view, raw, seen, np.hypot(noise.flow, shear), noise)
    along, across, stretch = _epipolar(residual, view.stretch)
    flow_noise = _spread(across[seen], noise.flow, noise.most_flow)
    leaning = seen & (stretch > 4 * flow_noise)
    ratio = along[leaning] / stretch[leaning] if leaning.any() else np.zeros(0)
    depth_noise = _spread(ratio, noise.depth, noise.most_depth)
    variance = flow_noise**2 + shear**2
    distance = across**2 / variance + along**2 / (variance + (depth_noise * stretch) ** 2)
    through = seen_through(view, depth_other, noise)
    distance = np.sqrt(np.where(seen, distance, 0.0))
    seen &= (distance < _STILL) | (_photo_gain(view, residual) > noise.photo) | (through > _SURE)
    score = np.hypot(np.where(seen, distance, 0.0), through)
    return Evidence(score.astype(np.float32), seen | (through > _STILL), residual, flow_noise, depth_noise)


def _photo_gain(view: View, residual: Float32[np.ndarray, "height width 2"]) -> Float32[np.ndarray, "height width"]:
    """Grey levels by which the flow explains the photo better than a still world, mean of 3 x 3 pixels."""
    if view.image is None or view.image_there is None:
        return np.full(view.valid.shape, np.inf, np.float32)
    here, there = view.image.astype(np.float32), view.image_there.astype(np.float32)
    places = grid(*view.valid.shape) + view.flow
    error = np.abs(here - sample(there, places)).mean(-1)
    still = np.abs(here - sample(there, places - residual)).mean(-1)
    return ndimage.uniform_filter(still - error, 3, mode="nearest")


def seen_through(
    view: View, depth_other: Float32[np.ndarray, "height width"], noise: NoiseModel
) -> Float32[np.ndarray, "height width"]:
    """Standard deviations by which the other image looks past the point to something behind it; 0 where it does not.

    The nearest depth among the 3 x 3 pixels counts, so the outline of a still thing is no evidence.
    """
    height, width = view.valid.shape
    there = grid(height, width) + view.camera_flow
    known = depth_other > 0
    nearest = ndimage.minimum_filter(np.where(known, depth_other, np.inf), 3, mode="nearest")
    nearest = np.where(ndimage.minimum_filter(known, 3, mode="nearest"), nearest, 0.0)
    found = sample(nearest, there, nearest=True)
    usable = view.valid & inside(there, height, width) & (found > 0)
    same = sample(depth_other, there, nearest=True)
    both = usable & (same > 0)
    change = np.log(same[both] / view.depth_there[both])
    offset = float(np.median(change)) if len(change) else 0.0  # the unit of two predictions may differ a little
    spread = _spread(change - offset, noise.depth, noise.most_depth)
    log = np.log(np.where(usable, found, 1.0) / np.where(usable, view.depth_there, 1.0)) - offset
    return np.where(usable, np.maximum(log, 0.0) / spread, 0.0).astype(np.float32)


def global_error(
    view: View,
    residual: Float32[np.ndarray, "height width 2"],
    seen: Bool[np.ndarray, "height width"],
    sigma: Float[np.ndarray, "height width"],
    noise: NoiseModel,
) -> Float32[np.ndarray, "height width 2"]:
    """The part of the residual that a small error of pose, scale and depth makes: what most pixels agree on.

    Linear in a twist of the camera (6) and in a log depth that varies linearly over the image (3); reweighted least
    squares with Cauchy weights, so moving things have no say as long as they are in the minority.
    """
    height, width = seen.shape
    columns = _columns(view)  # height width 2 parameters
    rows = np.flatnonzero(seen)
    parameters = columns.shape[-1]
    if len(rows) < 20 * parameters:
        return np.zeros_like(residual)
    rows = rows[:: max(1, len(rows) // _SAMPLES)]
    design = columns.reshape(height * width, 2, parameters)[rows].astype(np.float64)
    target = residual.reshape(-1, 2)[rows].astype(np.float64)
    stretch = np.linalg.norm(view.stretch.reshape(-1, 2)[rows], axis=-1)
    base = 1.0 / np.sqrt(sigma.reshape(-1)[rows] ** 2 + (noise.depth * stretch) ** 2)
    size = np.sqrt((design**2).mean((0, 1))) + 1e-12
    design = design / size
    solution = np.zeros(parameters)
    for _ in range(_ROUNDS):
        left = target - design @ solution
        length = np.linalg.norm(left, axis=-1) * base
        scale = max(1.0, _MAD * float(np.median(length)) / 1.2)
        weight = base**2 / (1.0 + (length / (_CAUCHY * scale)) ** 2)
        weighted = (design * weight[:, None, None]).reshape(-1, parameters).T
        normal, pull = weighted @ design.reshape(-1, parameters), weighted @ target.reshape(-1)
        solution = np.linalg.solve(normal + 1e-3 * np.trace(normal) / parameters * np.eye(parameters), pull)
    return (columns @ (solution / size).astype(np.float32)).astype(np.float32)


def _columns(view: View) -> Float32[np.ndarray, "height width 2 parameter"]:
    """Change of the camera flow per unit of every global error."""
    height, width = view.valid.shape
    there = grid(height, width) + view.camera_flow
    k = view.intrinsics
    x = np.clip((there[..., 0] - float(k[0, 2])) / float(k[0, 0]), -4, 4)
    y = np.clip((there[..., 1] - float(k[1, 2])) / float(k[1, 1]), -4, 4)
    near = np.where(view.valid, view.depth_there, np.inf)
    middle = float(np.median(near[np.isfinite(near)])) if np.isfinite(near).any() else 1.0
    inverse = np.clip(middle / np.where(view.valid, view.depth_there, np.inf), 0, 20)
    inverse, zero = inverse.astype(np.float32), np.zeros_like(x)
    across = np.linspace(-1, 1, width, dtype=np.float32)[None]
    down = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    u = np.stack([-x * y, 1 + x * x, -y, inverse, zero, -x * inverse], -1) * float(k[0, 0])
    v = np.stack([-(1 + y * y), x * y, x, zero, inverse, -y * inverse], -1) * float(k[1, 1])
    depth = view.stretch[..., None] * np.stack([across + 0 * down, down + 0 * across, 1 + 0 * x], -1)[..., None, :]
    return np.concatenate([np.stack([u, v], -2), depth], -1).astype(np.float32)


def _epipolar(residual: np.ndarray, stretch: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Residual along and across the epipolar line, and the stretch; without parallax any direction will do."""
    length = np.linalg.norm(stretch, axis=-1)
    direction = np.where(length[..., None] > 1e-9, stretch / np.maximum(length, 1e-9)[..., None], (1.0, 0.0))
    along = (residual * direction).sum(-1)
    across = residual[..., 1] * direction[..., 0] - residual[..., 0] * direction[..., 1]
    return along, across, length


def _spread(values: np.ndarray, least: float, most: float) -> float:
    """Robust standard deviation about zero, within bounds."""
    if len(values) < 50:
        return least
    return float(np.clip(_MAD * np.median(np.abs(values)), least, most))


def _shear(flow: Float32[np.ndarray, "height width 2"]) -> Float32[np.ndarray, "height width"]:
    """Largest change of a flow within a pixel's 3 x 3 neighbourhood, pixels."""
    low = ndimage.minimum_filter(flow, (3, 3, 1), mode="nearest")
    high = ndimage.maximum_filter(flow, (3, 3, 1), mode="nearest")
    return np.linalg.norm(high - low, axis=-1)
