"""The numbers of a report: what a scene consists of, view by view and as a whole. No drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float32, Float64, Int64, UInt8

from worldline.outputs.drawing import Scale
from worldline.outputs.facts.scales import scale_words
from worldline.outputs.facts.spread import spread
from worldline.scene import Scene, SceneView
from worldline.weights.registry import MODELS

BINS = 40  # of the histogram of confidence
_SAMPLE = 1_500_000  # points that pictures and extents are made of


@dataclass(frozen=True)
class ViewFacts:
    """One view. Lengths in the unit of the scene; NaN where no pixel is valid."""

    number: int  # from 1, in the order of the scene
    name: str
    size: tuple[int, int]  # width, height of the photo as shown, pixels
    focal: float  # horizontal, pixels of the photo as shown
    pose: str  # one of POSE_STATUSES
    valid: float  # share of the pixels
    near: float  # 2nd percentile of the valid depths
    depth: float  # median
    far: float  # 98th percentile
    confidence: float  # median of all pixels
    sensor: str | None
    seconds: float | None  # since the first view of the scene


@dataclass(frozen=True)
class Histogram:
    """How many valid pixels have which confidence."""

    scale: Scale  # lowest and highest; bins are equally wide on it
    counts: Int64[np.ndarray, "bin"]


@dataclass(frozen=True)
class Facts:
    """A scene as a whole, and those of its views that are shown. Lengths in :attr:`unit`."""

    views: int
    shown: tuple[ViewFacts, ...]
    statuses: dict[str, int]  # views by pose status
    points: int  # valid pixels of all views
    unit: str  # "m", or "units" where the scale is not known in metres
    scale: str  # in words
    spread: float | None  # largest distance of two cameras; None with less than two poses
    way: float | None  # length of the trajectory of a camera, None for photos without times
    sensors: tuple[str, ...]
    moments: int  # distinct times
    seconds: float  # from the first to the last
    tracks: int
    objects: int
    gaussians: int
    dynamic: float | None  # share of the valid pixels that moves; None: not known
    confidence: tuple[float, float]  # lowest and highest of the valid pixels; NaN without any
    histogram: Histogram | None  # None where the confidence is the same everywhere
    depth_ends: Scale  # of the colours of the depth maps
    confidence_ends: Scale
    papers: tuple[str, ...]  # to cite


@dataclass(frozen=True, eq=False)
class Sample:
    """Evenly chosen points of a scene, few enough to be drawn at once."""

    points: Float32[np.ndarray, "n 3"]  # world frame
    colors: UInt8[np.ndarray, "n 3"]


def choose(scene: Scene, most: int) -> tuple[int, ...]:
    """Indices of at most ``most`` views that stand for all of them, ascending.

    Photos and videos: evenly spread from the first to the last. A rig: all sensors at evenly spread moments, as long as
    there is room for one moment.
    """
    sensors, times = scene.sensors, scene.times
    if len(sensors) > 1 and len(times) > 1 and len(scene) > most >= len(sensors):
        chosen = {times[row] for row in spread(len(times), most // len(sensors))}
        rows = [row for row, view in enumerate(scene.views) if view.timestamp in chosen]
        return tuple(rows[:most])
    return tuple(spread(len(scene), most).tolist())


def sample_points(scene: Scene, most: int = _SAMPLE) -> Sample:
    """Every k-th valid pixel of each view, with the smallest k that keeps to ``most`` points."""
    total = sum(int(np.count_nonzero(view.mask)) for view in scene.views)
    step = max(1, -(-total // most))
    points, colors = [np.zeros((0, 3), np.float32)], [np.zeros((0, 3), np.uint8)]
    for view in scene.views:
        rows = np.flatnonzero(view.mask)[::step]
        points.append(view.points.reshape(-1, 3)[rows])
        colors.append(view.image.reshape(-1, 3)[rows])
    return Sample(np.concatenate(points), np.concatenate(colors))


def collect(scene: Scene, shown: Sequence[int]) -> Facts:
    """All numbers of a report; every view is read once, one after the other."""
    views = [scene.views[row] for row in shown]
    depths = [view.depth[view.mask] for view in views]
    confidences = [view.confidence.ravel() for view in views]
    statuses: dict[str, int] = {}
    for view in scene.views:
        statuses[view.pose_status] = statuses.get(view.pose_status, 0) + 1
    times = scene.times
    points, low, high = _confidence_range(scene)
    return Facts(
        views=len(scene),
        shown=tuple(_view(scene.views[row], row, times[0] if times else 0.0) for row in shown),
        statuses=statuses,
        points=points,
        unit="m" if scene.metric else "units",
        scale=scale_words(scene),
        spread=_largest_distance(posed_centers(scene)),
        way=_way(scene),
        sensors=scene.sensors,
        moments=len(times),
        seconds=times[-1] - times[0] if times else 0.0,
        tracks=0 if scene.tracks is None else len(scene.tracks.points),
        objects=len(scene.objects),
        gaussians=0 if scene.gaussians is None else len(scene.gaussians.means),
        dynamic=_moving_share(scene),
        confidence=(low, high),
        histogram=_histogram(scene, low, high) if low < high else None,
        depth_ends=Scale.around(np.concatenate([np.zeros(0), *depths]), log=True),
        confidence_ends=Scale.around(np.concatenate([np.zeros(0), *confidences]), log=True),
        papers=papers(scene.provenance.model),
    )


def papers(model: str) -> tuple[str, ...]:
    """What to cite for results of a model: its own paper, for weights of unknown origin none."""
    entry = MODELS.get(model)
    return () if entry is None or not entry.citation else (entry.citation,)


def posed_centers(scene: Scene) -> Float64[np.ndarray, "n 3"]:
    """Centres of the cameras whose pose is known."""
    centers = [view.camera.center for view in scene.views if view.pose_status != "failed"]
    return np.array(centers, np.float64).reshape(-1, 3)


def ways(scene: Scene) -> dict[str | None, Float64[np.ndarray, "n 3"]]:
    """Centres of the cameras with a pose and a time, in the order of time, by sensor (None: views without one)."""
    timed = [view for view in scene.views if view.timestamp is not None and view.pose_status != "failed"]
    timed.sort(key=lambda view: view.timestamp or 0.0)
    names = dict.fromkeys(view.sensor for view in timed)
    return {name: np.array([view.camera.center for view in timed if view.sensor == name]) for name in names}


def _way(scene: Scene) -> float | None:
    """Length of the way of the sensor with the most views."""
    longest = max(ways(scene).values(), key=len, default=np.zeros((0, 3)))
    if len(longest) < 2:
        return None
    return float(sum(np.linalg.norm(b - a) for a, b in pairwise(longest)))


def _view(view: SceneView, row: int, start: float) -> ViewFacts:
    depth = view.depth[view.mask]
    near, middle, far = np.percentile(depth, (2, 50, 98)) if depth.size else (np.nan,) * 3
    return ViewFacts(
        number=row + 1,
        name=view.name,
        size=(view.camera.width, view.camera.height),
        focal=float(view.camera.intrinsics[0, 0]),
        pose=view.pose_status,
        valid=float(view.mask.mean()),
        near=float(near),
        depth=float(middle),
        far=float(far),
        confidence=float(np.median(view.confidence)),
        sensor=view.sensor,
        seconds=None if view.timestamp is None else view.timestamp - start,
    )


def _confidence_range(scene: Scene) -> tuple[int, float, float]:
    """Number of the valid pixels, and the ends of their confidence (NaN without any)."""
    total, low, high = 0, np.nan, np.nan
    for view in scene.views:
        values = view.confidence[view.mask]
        if values.size:
            total += values.size
            low, high = float(np.fmin(low, values.min())), float(np.fmax(high, values.max()))
    return total, low, high


def _histogram(scene: Scene, low: float, high: float) -> Histogram:
    scale = Scale(low, high, log=True)
    counts = np.zeros(BINS, np.int64)
    for view in scene.views:
        rows = (scale.place(view.confidence[view.mask]) * BINS).astype(np.int64)
        counts += np.bincount(np.clip(rows, 0, BINS - 1), minlength=BINS)
    return Histogram(scale, counts)


def _largest_distance(centers: Float64[np.ndarray, "n 3"]) -> float | None:
    if len(centers) < 2:
        return None
    return float(max(np.linalg.norm(centers - center, axis=1).max() for center in centers))


def _moving_share(scene: Scene) -> float | None:
    known = [view for view in scene.views if view.dynamic is not None]
    valid = sum(int(np.count_nonzero(view.mask)) for view in known)
    if not valid:
        return None
    return sum(int(np.count_nonzero(view.mask & view.dynamic)) for view in known) / valid
