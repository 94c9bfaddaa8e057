"""What a camera path must know of a scene: which way is up, what the photographers looked at, and their lens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from worldline.errors import InputError
from worldline.outputs.facts.viewpoint import up_direction
from worldline.scene import Scene, SceneView
from worldline.types import Camera

_SAMPLES = 20_000  # points that a scene's extent is measured on
_CONVERGENT = 0.5  # spread of what cameras look at, as a share of its distance, up to which it is one thing
_FULL_CIRCLE = np.radians(130)  # largest gap between viewing directions around which a full circle still makes sense
_FIELD = np.radians((35, 85))  # of the longer side: narrower loses the scene, wider distorts


@dataclass(frozen=True)
class Surroundings:
    """What was photographed, and from where. World frame, unit of the scene; angles in radians."""

    center: Float64[np.ndarray, "3"]  # what to look at
    up: Float64[np.ndarray, "3"]  # unit vector
    ahead: Float64[np.ndarray, "3"]  # unit vector across ``up``: the middle of the directions into which photos look
    distance: float  # of the photographers from the centre
    radius: float  # around the centre, of most of the points
    elevation: float  # of the photographers above the centre
    around: float  # half the range of directions into which photos look; pi: all around
    inside: bool  # whether the photographers stood within what they photographed


def posed_views(scene: Scene, sensor: str | None = None) -> tuple[SceneView, ...]:
    """Views with a pose, of one sensor or of all.

    Raises:
        InputError: there are none.
    """
    chosen = scene if sensor is None else scene.of(sensor)
    views = tuple(view for view in chosen.views if view.pose_status != "failed")
    if not views:
        raise InputError("No view of the scene has a pose.", "Reconstruct it from photos that overlap more.")
    return views


def surroundings_of(scene: Scene) -> Surroundings:
    """Measure a scene for camera paths; robust against views and points that are far off.

    Raises:
        InputError: the scene has no posed views or no points.
    """
    views = posed_views(scene)
    cameras = [view.camera for view in views]
    up = up_direction([camera.world_from_cam for camera in cameras])
    centers, forward = _centers(cameras), np.stack([camera.world_from_cam[:3, 2] for camera in cameras])
    points = _sample(views)
    if not len(points):
        raise InputError("The scene has no points.", "Lower the confidence that is asked for, or choose other photos.")
    ahead, around = _directions(forward, up)
    depth = np.array([np.median(v.depth[v.mask]) if v.mask.any() else np.nan for v in views])
    known = np.isfinite(depth)
    aims = centers[known] + depth[known, None] * forward[known]
    aim, typical = _median(aims), float(np.median(depth[known]))
    convergent = np.median(np.linalg.norm(aims - aim, axis=1)) < _CONVERGENT * typical
    center = aim if convergent else _median(points)
    spread = np.linalg.norm(points - center, axis=1)
    away = centers - center
    distance = float(np.median(np.linalg.norm(away, axis=1)))
    height = away @ up
    flat = np.linalg.norm(away - height[:, None] * up, axis=1)
    return Surroundings(
        center=center,
        up=up,
        ahead=ahead,
        distance=distance,
        radius=float(np.percentile(spread, 75)),
        elevation=float(np.arctan2(np.median(height), np.median(flat))),
        around=around,
        inside=not convergent,
    )


def lens(views: Sequence[SceneView], size: tuple[int, int], field: float | None = None) -> Float64[np.ndarray, "3 3"]:
    """Intrinsics for pictures of ``size`` (height, width) that show about as much as the photos did.

    Args:
        field: field of view of the longer side in degrees; by default such that the picture covers the solid angle of
            a typical photo, within limits.

    Raises:
        InputError: a field of view that is not between 1 and 170 degrees.
    """
    height, width = size
    if field is not None and not 1 <= field <= 170:
        raise InputError(f"The field of view is {field} degrees.", "Give 1 to 170.")
    if field is not None:
        focal = 0.5 * max(size) / np.tan(0.5 * np.radians(field))
    else:
        cameras = [view.camera for view in views]
        relative = [np.sqrt(c.intrinsics[0, 0] * c.intrinsics[1, 1] / (c.width * c.height)) for c in cameras]
        focal = float(np.median(relative)) * np.sqrt(height * width)
        widest, narrowest = (0.5 * max(size) / np.tan(0.5 * angle) for angle in _FIELD[::-1])
        focal = float(np.clip(focal, widest, narrowest))
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1.0]])


def _centers(cameras: Sequence[Camera]) -> Float64[np.ndarray, "n 3"]:
    return np.stack([camera.center for camera in cameras])


def _sample(views: Sequence[SceneView]) -> Float64[np.ndarray, "n 3"]:
    """Points of all views, evenly thinned view by view: long scenes are larger than the memory."""
    step = max(1, sum(int(np.count_nonzero(view.mask)) for view in views) // _SAMPLES)
    parts = [view.points.reshape(-1, 3)[np.flatnonzero(view.mask)[::step]] for view in views]
    return np.concatenate(parts).astype(np.float64)


def _median(points: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "3"]:
    """Geometric median (Weiszfeld): half of the points may be anywhere."""
    middle = np.median(points, axis=0)
    for _ in range(30):
        weight = 1 / np.maximum(np.linalg.norm(points - middle, axis=1), 1e-9)
        middle = weight @ points / weight.sum()
    return middle


def _directions(
    forward: Float64[np.ndarray, "n 3"], up: Float64[np.ndarray, "3"]
) -> tuple[Float64[np.ndarray, "3"], float]:
    """The middle of the horizontal directions of view, and half their range; pi if they go all around."""
    east = np.cross(up, np.eye(3)[np.argmin(np.abs(up))])
    east /= np.linalg.norm(east)
    north = np.cross(up, east)
    angles = np.sort(np.arctan2(forward @ north, forward @ east))
    gaps = np.diff(angles, append=angles[0] + 2 * np.pi)
    widest = int(np.argmax(gaps))
    around = float(np.pi - gaps[widest] / 2)
    if gaps[widest] < _FULL_CIRCLE:  # all around: start where the first photo looks
        first = forward[0] - (forward[0] @ up) * up
        if np.linalg.norm(first) > 1e-6:
            return first / np.linalg.norm(first), float(np.pi)
    middle = angles[(widest + 1) % len(angles)] + around
    return np.cos(middle) * east + np.sin(middle) * north, around
