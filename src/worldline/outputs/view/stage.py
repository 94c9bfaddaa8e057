"""A scene on the viewer's stage: where it stands, and its pixels as arrays that can be thinned out evenly."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int32, Int64, UInt8

from worldline.outputs.facts.moments import moments_of_scene
from worldline.outputs.facts.viewpoint import quaternion, up_direction
from worldline.outputs.view.logic.spacing import diameters, view_footprints, view_overlaps
from worldline.scene import Scene, SceneView

FRAME_RATE = 24.0  # of videos without times
_SAMPLE = 200_000  # pixels of the scene from which percentiles are estimated
_DRIFT = 1.0  # percent by which a threshold may be off while the scene grows


@dataclass(frozen=True, eq=False)
class Pixels:
    """The valid pixels of one view, in an order of which every beginning is an even sample of the whole."""

    points: Float32[np.ndarray, "n 3"]  # frame of the scene
    colors: UInt8[np.ndarray, "n 3"]
    confidence: Float32[np.ndarray, "n"]
    depth: Float32[np.ndarray, "n"]
    dynamic: Bool[np.ndarray, "n"] | None  # None: unknown
    index: Int32[np.ndarray, "n"]  # row * width + column in the view

    def __len__(self) -> int:
        return len(self.points)

    @property
    def nbytes(self) -> int:
        """Memory of all arrays."""
        arrays = (self.points, self.colors, self.confidence, self.depth, self.dynamic, self.index)
        return sum(each.nbytes for each in arrays if each is not None)


class Stage:
    """One scene in the viewer.

    Args:
        scene: the scene; its arrays may be mapped from a file, each view is read when it is first drawn.
        prefix: path of its node, e.g. "/a". Everything of the scene is drawn below it, in the frame of the scene.
        name: what the panels call it.
        position: where its origin stands in the viewer's world.
        rotation: axes of the scene in the viewer's world.
    """

    cache_bytes = 768 * 2**20  # of the arrays of views in memory; the least recently used go first

    def __init__(
        self,
        scene: Scene,
        prefix: str,
        name: str,
        *,
        position: Float64[np.ndarray, "3"] | None = None,
        rotation: Float64[np.ndarray, "3 3"] | None = None,
    ) -> None:
        self.scene = scene
        self.prefix = prefix
        self.name = name
        self.position = np.zeros(3) if position is None else np.asarray(position, np.float64)
        self.rotation = np.eye(3) if rotation is None else np.asarray(rotation, np.float64)
        self.ids = list(range(len(scene.views)))  # of the views; they keep theirs when others come or go
        self._where = {number: number for number in self.ids}  # index of the view of an id
        self._pixels: dict[int, Pixels] = {}  # by the id of the view, the least recently used first
        self._cached_bytes = 0
        self._ticks: Int64[np.ndarray, "tick"] | None = None  # moment of each tick of the timeline
        self._threshold = (0.0, -np.inf)  # the percentile asked for last, and its confidence
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.scene.views)

    @property
    def wxyz(self) -> Float64[np.ndarray, "4"]:
        """``rotation`` as a quaternion."""
        return quaternion(self.rotation)

    def to_world(self, scene_from_any: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
        """A pose in the frame of the scene -> the same pose in the viewer's world."""
        world_from_scene = np.eye(4)
        world_from_scene[:3, :3], world_from_scene[:3, 3] = self.rotation, self.position
        return world_from_scene @ scene_from_any

    def pixels(self, index: int) -> Pixels:
        """The valid pixels of view ``index``, shuffled by a fixed permutation; kept as long as the memory suffices."""
        with self._lock:
            return self._cached(index)

    def pixels_of(self, number: int) -> Pixels | None:
        """The pixels of the view with an id, the same at every call; None once it is gone. For any thread."""
        with self._lock:
            index = self._where.get(number)
            return None if index is None else self._cached(index)

    def index_of(self, number: int) -> int | None:
        """Where the view with an id is now; None once it is gone."""
        return self._where.get(number)

    def views_at(self, moment: int) -> list[SceneView]:
        """The views of a moment, an index into :attr:`times`. For any thread."""
        with self._lock:
            return [view for view, own in zip(self.scene.views, self.moments, strict=True) if own == moment]

    def _cached(self, index: int) -> Pixels:
        key = self.ids[index]
        found = self._pixels.pop(key, None)
        if found is None:
            # by the id, not the index: rows that were sent stay right when the view is read again at another index
            found = _read_pixels(self.scene.views[index], seed=key)
            self._cached_bytes += found.nbytes
        self._pixels[key] = found  # the last in order is the newest
        while self._cached_bytes > self.cache_bytes and len(self._pixels) > 1:
            self._cached_bytes -= self._pixels.pop(next(iter(self._pixels))).nbytes
        return found

    def set_ticks(self, moments: Int64[np.ndarray, "tick"]) -> None:
        """Say which moment each tick of the viewer's timeline means; -1: before the first."""
        self._ticks = moments

    def moment_at(self, tick: int) -> int:
        """The index into :attr:`times` that a tick of the timeline means; -1 before the first."""
        ticks = self._ticks
        if ticks is None or not len(ticks):
            return min(tick, len(self.times) - 1)
        return int(ticks[min(tick, len(ticks) - 1)])

    def replace_views(self, scene: Scene, ids: Sequence[int]) -> None:
        """Take another scene of which views are added or left out; to be called by the thread that draws.

        Lengths that steer sliders and sizes stay as they were, so that nothing jumps while a scene grows.

        Args:
            ids: of each view of it: that of an earlier view, or a new one.
        """
        with self._lock:
            self.scene, self.ids = scene, list(ids)
            self._where = {number: index for index, number in enumerate(self.ids)}
            self._pixels = {key: value for key, value in self._pixels.items() if key in self._where}
            self._cached_bytes = sum(each.nbytes for each in self._pixels.values())
            for name in ("times", "moments", "sample", "confidences", "footprints", "overlaps"):
                self.__dict__.pop(name, None)

    @property
    def timed(self) -> bool:
        """Whether :attr:`times` are those of the views."""
        return bool(self.scene.times)

    @cached_property
    def times(self) -> tuple[float, ...]:
        """Moments of the scene in seconds: the times of its views; frames of a video without times as if there were
        FRAME_RATE of them in a second; none for photos without times."""
        return self.scene.times or tuple(number / FRAME_RATE for number in moments_of_scene(self.scene).times)

    @cached_property
    def moments(self) -> Int32[np.ndarray, "view"]:
        """For each view the index of its moment in :attr:`times`, -1 where it has none."""
        if not self.timed:
            return np.array([-1 if one is None else one for one in moments_of_scene(self.scene).of_view], np.int32)
        where = {time: index for index, time in enumerate(self.times)}
        return np.array([where.get(view.timestamp, -1) for view in self.scene.views], np.int32)  # type: ignore[arg-type]

    @cached_property
    def sample(self) -> Sample:
        """An even grid of the valid pixels of all views, small enough to be read at once."""
        return _read_sample(self.scene)

    @cached_property
    def confidences(self) -> Float32[np.ndarray, "n"]:
        """Confidences of the sample, ascending: percentiles are read off."""
        return np.sort(self.sample.confidence)

    @cached_property
    def depth_limit(self) -> float:
        """End of the depth slider: nearly all pixels are nearer, and a few far ones do not stretch the slider."""
        depths = self.sample.depth
        return float(np.quantile(depths, 0.99)) or 1.0 if len(depths) else 1.0

    @cached_property
    def depth_ends(self) -> tuple[float, float]:
        """Depths between which nearly all pixels lie: the ends of the colours of depth."""
        depths = self.sample.depth
        if not len(depths):
            return 0.0, 1.0
        near, far = np.quantile(depths, (0.01, 0.99))
        return float(near), float(max(far, near * 1.001 + 1e-12))

    @cached_property
    def extent(self) -> float:
        """A length that suits the scene, in its unit: the median depth of its pixels."""
        return float(np.median(self.sample.depth)) or 1.0 if len(self.sample.depth) else 1.0

    @cached_property
    def footprints(self) -> Float64[np.ndarray, "view"]:
        """For each view the distance of its neighbouring points in the scene's unit, in the median."""
        focal = np.array([view.model_camera.intrinsics[0, 0] for view in self.scene.views])
        return view_footprints(self.sample.depth, self.sample.view, focal)

    @cached_property
    def overlaps(self) -> Float64[np.ndarray, "view"]:
        """For each view by how many views its surfaces are seen, in the mean."""
        cell = 4 * self.sample.step * float(np.median(self.footprints))
        return view_overlaps(self.sample.points, self.sample.view, len(self), cell)

    def point_sizes(self, share: float, *, together: bool) -> Float64[np.ndarray, "view"]:
        """Diameters at which the points of each view close its surfaces.

        Args:
            share: of the points that is drawn.
            together: all views are drawn at once, and not only those of a moment: they help each other.
        """
        return diameters(self.footprints, self.overlaps if together else np.ones(len(self)), share)

    @cached_property
    def up(self) -> Float64[np.ndarray, "3"]:
        """Up in the frame of the scene, estimated from its cameras."""
        return up_direction([view.camera.world_from_cam for view in self.scene.views])

    def threshold(self, percentile: float) -> float:
        """The confidence at a percentile in [0, 100]; -inf at 0, so that nothing is left out.

        While views come and go the last answer is kept as long as it is within a percent of what was asked for:
        another threshold means that all points are sent anew.
        """
        known = self.confidences
        if percentile <= 0 or not len(known):
            return -np.inf
        asked, found = self._threshold
        low, high = (100 * np.searchsorted(known, found, side) / len(known) for side in ("left", "right"))
        if asked != percentile or not low - _DRIFT <= percentile <= high + _DRIFT:
            found = float(np.quantile(known, min(percentile, 100.0) / 100))
            self._threshold = (percentile, found)
        return found


class Sample(NamedTuple):
    """Some valid pixels of a scene."""

    points: Float32[np.ndarray, "n 3"]
    confidence: Float32[np.ndarray, "n"]
    depth: Float32[np.ndarray, "n"]
    view: Int32[np.ndarray, "n"]  # index of the view
    step: int  # pixels between two of a view, along rows and columns


def _read_sample(scene: Scene) -> Sample:
    step = max(1, math.ceil(math.sqrt(sum(view.mask.size for view in scene.views) / _SAMPLE)))
    start, parts = step // 2, []
    for index, view in enumerate(scene.views):
        grid = (slice(start, None, step), slice(start, None, step))
        valid = view.mask[grid]
        owner = np.full(np.count_nonzero(valid), index, np.int32)
        parts.append((view.points[grid][valid], view.confidence[grid][valid], view.depth[grid][valid], owner))
    points, confidence, depth, owners = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Sample(points, confidence, depth, owners, step)


def _read_pixels(view: SceneView, *, seed: int) -> Pixels:
    valid = np.flatnonzero(view.mask)
    order = np.random.default_rng(seed).permutation(valid).astype(np.int32)

    def take(array: np.ndarray, *shape: int) -> np.ndarray:
        return np.asarray(array).reshape(-1, *shape)[order]

    return Pixels(
        points=take(view.points, 3),
        colors=take(view.image, 3),
        confidence=take(view.confidence),
        depth=take(view.depth),
        dynamic=None if view.dynamic is None else take(view.dynamic),
        index=order,
    )
