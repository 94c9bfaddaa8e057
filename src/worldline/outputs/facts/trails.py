"""Tracks as things to draw: where every followed point is at a moment, and the way it came."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8

from worldline.outputs.facts.moments import moments_of_scene
from worldline.outputs.facts.spread import spread
from worldline.outputs.overlay import track_colors
from worldline.scene import Scene

TRACK_BUDGET = 1000  # tracks that are drawn at most
SEGMENT_BUDGET = 200_000  # pieces of trails that are sent at most
_HIDDEN = 0.35  # share of its colour that a hidden point keeps; the rest is grey
_GREY = 150.0


@dataclass(frozen=True, eq=False)
class Trails:
    """Some of the tracks of a scene, by moments. World frame."""

    points: Float32[np.ndarray, "track moment 3"] = field(repr=False)
    visible: Bool[np.ndarray, "track moment"] = field(repr=False)
    known: Bool[np.ndarray, "track moment"] = field(repr=False)  # False: not followed there
    colors: UInt8[np.ndarray, "track 3"] = field(repr=False)

    def __len__(self) -> int:
        return len(self.points)

    def heads(self, moment: int) -> tuple[Float32[np.ndarray, "n 3"], UInt8[np.ndarray, "n 3"], Bool[np.ndarray, "n"]]:
        """Where the points are at a moment, their colours, and which of them are visible; without those not known."""
        keep = self.known[:, moment]
        return self.points[keep, moment], self.colors[keep], self.visible[keep, moment]

    def pieces(self, moment: int) -> tuple[Float32[np.ndarray, "n 2 3"], UInt8[np.ndarray, "n 2 3"]]:
        """The way from the moment before to this one: a line per track, fainter at an end where it is hidden."""
        if moment == 0:
            return np.zeros((0, 2, 3), np.float32), np.zeros((0, 2, 3), np.uint8)
        pair = slice(moment - 1, moment + 1)
        keep = self.known[:, pair].all(1)
        colors = np.where(self.visible[keep, pair, None], self.colors[keep, None], _fainter(self.colors[keep])[:, None])
        return self.points[keep, pair], colors.astype(np.uint8)


def trails_of(scene: Scene, *, most: int = TRACK_BUDGET) -> Trails | None:
    """The tracks of a scene by its moments, evenly chosen where there are too many; None if it has none.

    Moments are those of :func:`worldline.outputs.facts.moments.moments_of_scene`; a scene without any is one moment.
    Of several views of one moment, a track is taken from one in which it is visible.
    """
    tracks = scene.tracks
    if tracks is None or not len(tracks.points) or not len(scene):
        return None
    views_at = _views_of_moments(scene)
    chosen = spread(len(tracks.points), drawn_tracks(scene, most))
    points, visible = tracks.points[chosen], tracks.visible[chosen]
    finite = np.isfinite(points).all(-1)
    best = np.stack([_best(visible[:, views] & finite[:, views], finite[:, views], views) for views in views_at], 1)
    rows = np.arange(len(chosen))[:, None]
    known = finite[rows, best]
    return Trails(
        points=np.where(known[..., None], points[rows, best], 0).astype(np.float32),
        visible=visible[rows, best] & known,
        known=known,
        colors=_colors(scene, chosen),
    )


def drawn_tracks(scene: Scene, most: int) -> int:
    """How many tracks of a scene are drawn: ``most``, all there are, or what a browser can hold of a long video."""
    if scene.tracks is None:
        return 0
    moments = len(scene.times) or len(scene)
    return min(most, len(scene.tracks.points), max(1, SEGMENT_BUDGET // max(1, moments)))


def trail_range(times: Sequence[float], now: int, seconds: float) -> range:
    """The moments whose pieces (each from the moment before) are the trail of the last ``seconds`` at ``now``."""
    since = int(np.searchsorted(np.asarray(times), times[now] - seconds - 1e-6))
    return range(max(1, since + 1), now + 1)


def _views_of_moments(scene: Scene) -> list[Int64[np.ndarray, "_"]]:
    """The numbers of the views of each moment."""
    moments = moments_of_scene(scene)
    if not moments.times:
        return [np.arange(len(scene))]
    of_view = np.array([-1 if moment is None else moment for moment in moments.of_view])
    return [np.flatnonzero(of_view == moment) for moment in range(len(moments.times))]


def _best(
    visible: Bool[np.ndarray, "n v"], finite: Bool[np.ndarray, "n v"], views: Int64[np.ndarray, "v"]
) -> Int64[np.ndarray, "n"]:
    """Per track the view to take: one that sees it, else one that knows it."""
    return views[(2 * visible.astype(np.int64) + finite).argmax(1)]


def _colors(scene: Scene, chosen: Int64[np.ndarray, "n"]) -> UInt8[np.ndarray, "n 3"]:
    """A colour per track by the place in the photo where it is first seen, as in the film of the tracks."""
    tracks = scene.tracks
    if tracks is None:
        return np.zeros((0, 3), np.uint8)
    sizes = np.array([(view.camera.width, view.camera.height) for view in scene.views], np.float64)
    place = (tracks.pixels[chosen] + 0.5) / sizes
    seen = tracks.visible[chosen] & np.isfinite(place).all(-1)
    return np.array(track_colors(np.nan_to_num(place), seen), np.uint8).reshape(-1, 3)


def _fainter(colors: UInt8[np.ndarray, "*n 3"]) -> UInt8[np.ndarray, "*n 3"]:
    return (_HIDDEN * colors + (1 - _HIDDEN) * _GREY).astype(np.uint8)
