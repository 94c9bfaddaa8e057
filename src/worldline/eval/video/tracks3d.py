"""Tracks of points in camera coordinates: the metric of TAPVid-3D (arXiv 2407.05921, section 4).

Everything is in float64 and agrees with the benchmark's own code wherever that code works. Where it does not (batches
with a scale per video, a scale per track without a batch, ``local_neighborhood`` for a whole video) the result here is
what evaluating videos and tracks one by one gives.
"""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from worldline.errors import InputError
from worldline.eval.video.track_counts import THRESHOLDS, Counts, TrackScores

Order = Literal["n t", "t n", "b n t", "b t n"]
Scaling = Literal[
    "median", "mean", "none", "per_trajectory", "reproduce_2d", "median_on_queries", "local_neighborhood"
]  # fmt: skip
FIXED_THRESHOLDS = (0.01, 0.04, 0.16, 0.64, 2.56)  # metres
NEIGHBORHOOD = 0.05  # metres
_NEAR = 1e-12  # floor of depths, and of squared norms, as in the benchmark's code


class Tracks3D(NamedTuple):
    """Points followed through a video, in the camera of each frame (OpenCV axes), and whether they are seen."""

    points: Float[np.ndarray, "*axes 3"]
    visible: Bool[np.ndarray, "*axes"]


def score_tracks_3d(
    predicted: Tracks3D,
    true: Tracks3D,
    intrinsics: Float[np.ndarray, "*b four"],
    queries: Float[np.ndarray, "*b n 3"] | None = None,
    *,
    order: Order = "t n",
    scaling: Scaling = "median",
    per_track: bool = False,
    fixed_thresholds: bool = False,
    neighborhood: float = NEIGHBORHOOD,
) -> TrackScores:
    """3D-AJ, APD3D and OA. All frames count, the query's own and those before it included.

    Alignment: ``scaling`` multiplies the prediction, never shifts or turns it.

    * ``median``: one factor per video, median distance from the camera of the true points divided by the same of the
      predicted ones, over points visible in both. The paper's. ``mean``: the same with means. ``none``: metric.
    * ``per_trajectory``: one factor per track, the ratio of depths at the query's frame.
    * ``reproduce_2d``: one factor per point, the ratio of depths, which leaves the error in the image.
    * ``median_on_queries``: as median, over the points at their query frames.
    * ``local_neighborhood``: each track is judged together with the points that are truly within ``neighborhood``
      metres of it at the same frame, all of them with the factor of that track.

    Thresholds are the depth at which δ = 1, 2, 4, 8, 16 pixels subtend the allowed distance: δ z / sqrt(fx fy) with the
    true depth z; with ``fixed_thresholds`` 0.01, 0.04, 0.16, 0.64, 2.56 m.

    Args:
        intrinsics: fx, fy, cx, cy in pixels, for images whose shorter side is 256 (:func:`intrinsics_at_256`); one row
            per video where ``order`` has ``b``. Unused with fixed thresholds.
        queries: t, y, x per track; needed for the scalings that speak of queries. Frames are rounded.
        order: meaning of the axes of points and visibility.
        per_track: scores per track instead of per video.

    Returns:
        Scores ``[b]`` (``[b n]`` per track), b = 1 without a batch axis. Where no point is visible in both, no scale
        can be found and no point counts as near; a track or video without a visible point has NaN shares.

    Raises:
        InputError: shapes that do not fit, unknown options, missing queries, true points that are not finite.
    """
    videos = _videos(predicted, true, intrinsics, queries, order, scaling)
    counts = [
        _count_neighborhoods(video, neighborhood, per_track, fixed_thresholds)
        if scaling == "local_neighborhood"
        else _count(video, scaling, per_track, fixed_thresholds)
        for video in videos
    ]
    stacked = [np.stack(parts, axis=-2 if per_track else -1) for parts in zip(*map(_parts, counts), strict=True)]
    return Counts(*stacked).scores()


def intrinsics_at_256(intrinsics: Float[np.ndarray, "4"], height: int, width: int) -> Float64[np.ndarray, "4"]:
    """fx, fy, cx, cy of a photo of that size -> the same at the benchmark's size (shorter side 256)."""
    return np.asarray(intrinsics, np.float64) * (256.0 / min(height, width))


class _Video(NamedTuple):
    points: Float64[np.ndarray, "n t 3"]
    visible: Bool[np.ndarray, "n t"]
    found: Float64[np.ndarray, "n t 3"]
    found_visible: Bool[np.ndarray, "n t"]
    focal: float  # sqrt(fx fy)
    start: Int64[np.ndarray, "n"] | None  # frame of the query

    def radii(self, fixed: bool) -> Float64[np.ndarray, "threshold n t"]:
        """Allowed distances in metres."""
        if fixed:
            return np.broadcast_to(np.reshape(FIXED_THRESHOLDS, (-1, 1, 1)), (len(THRESHOLDS), *self.visible.shape))
        return np.multiply.outer(THRESHOLDS, self.points[..., 2] / self.focal)

    def at_queries(self, values: np.ndarray) -> np.ndarray:
        """[n, t, …] -> [n, …] at each track's query frame."""
        assert self.start is not None  # _videos has made sure
        return values[np.arange(len(values)), self.start]


def _count(video: _Video, scaling: Scaling, per_track: bool, fixed: bool) -> Counts:
    scaled = _factor(video, scaling) * video.found
    inside = _inside(scaled, video.points, video.radii(fixed))
    return Counts.of(inside, video.visible, video.found_visible, axis=-1 if per_track else (-2, -1))


def _count_neighborhoods(video: _Video, within: float, per_track: bool, fixed: bool) -> Counts:
    """Each track with its neighbours as one long track; memory stays that of one track against all."""
    factors, radii, rows = _factor(video, "per_trajectory")[:, 0, 0], video.radii(fixed), []
    for track, factor in enumerate(factors):
        near = _square(video.points - video.points[track]) < within**2  # [m, t], same frame
        visible = video.visible & near
        weight = near * (video.visible[track].sum() / max(1, visible.sum()))
        inside = _inside(factor * video.found, video.points, radii)
        rows.append(Counts.of(inside, video.visible, video.found_visible, weight, axis=(-2, -1)))
    tracks = [np.stack(parts, axis=-1) for parts in zip(*map(_parts, rows), strict=True)]
    return Counts(*(tracks if per_track else [part.sum(-1) for part in tracks]))


def _factor(video: _Video, scaling: Scaling) -> Float64[np.ndarray, "n t 1"]:
    """Factors of the prediction, broadcastable to all points; NaN where none can be found."""
    shape = (*video.visible.shape, 1)
    true_z, found_z = (np.maximum(_NEAR, points[..., 2:]) for points in (video.points, video.found))
    if scaling == "reproduce_2d":
        return true_z / found_z
    if scaling == "per_trajectory":
        return np.broadcast_to(video.at_queries(true_z / found_z)[:, None], shape)
    if scaling == "none":
        return np.ones(shape)
    both = video.visible & video.found_visible & np.isfinite(video.found).all(-1)
    norms = [np.sqrt(np.maximum(_NEAR, _square(points))) for points in (video.points, video.found)]
    if scaling == "median_on_queries":
        both, *norms = (video.at_queries(values) for values in (both, *norms))
    middle = np.mean if scaling == "mean" else np.median
    factor = middle(norms[0][both]) / middle(norms[1][both]) if both.any() else np.nan
    return np.full(shape, factor)


def _inside(
    found: Float64[np.ndarray, "n t 3"],
    points: Float64[np.ndarray, "n t 3"],
    radii: Float64[np.ndarray, "threshold n t"],
) -> Bool[np.ndarray, "threshold n t"]:
    with np.errstate(over="ignore", invalid="ignore"):  # a wild prediction is far away, a NaN is nowhere
        return np.asarray(_square(found - points) < np.square(radii))


def _square(vectors: Float64[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n"]:
    return np.einsum("...i,...i->...", vectors, vectors)


def _parts(counts: Counts) -> tuple[np.ndarray, ...]:
    return (counts.points, counts.right_visibility, counts.visible, counts.inside, counts.true_positive,
            counts.false_positive)  # fmt: skip


def _videos(
    predicted: Tracks3D, true: Tracks3D, intrinsics: np.ndarray, queries: np.ndarray | None, order: Order,
    scaling: Scaling,
) -> list[_Video]:  # fmt: skip
    """The batch as single videos with tracks first, checked."""
    for value, choices, name in ((order, Order, "order"), (scaling, Scaling, "scaling")):
        if value not in get_args(choices):
            raise InputError(f"Unknown {name} {value!r}.", f"Choose one of: {', '.join(get_args(choices))}.")
    axes = order.split()
    arrays = [np.asarray(a, np.float64) for a in (true.points, predicted.points)]
    seen = [np.asarray(a, bool) for a in (true.visible, predicted.visible)]
    shape = arrays[0].shape[:-1]
    if len(shape) != len(axes) or any(a.shape != (*shape, 3) for a in arrays) or any(s.shape != shape for s in seen):
        shapes = ", ".join(str(a.shape) for a in (*arrays, *seen))
        raise InputError(f"Tracks of shapes {shapes} do not fit the order '{order}'.", "Give [*order, 3] and [*order].")
    if not np.isfinite(arrays[0][seen[0]]).all():
        raise InputError("True points that are visible are not finite.", "Mark them as not visible.")
    if axes[-2:] == ["t", "n"]:
        arrays, seen = [a.swapaxes(-3, -2) for a in arrays], [s.swapaxes(-2, -1) for s in seen]
    count, length = seen[0].shape[-2:]
    arrays, seen = [a.reshape(-1, count, length, 3) for a in arrays], [s.reshape(-1, count, length) for s in seen]
    lenses = np.broadcast_to(np.reshape(np.asarray(intrinsics, np.float64), (-1, 4)), (len(seen[0]), 4))
    starts = _starts(queries, scaling, (len(seen[0]), count, length))
    return [
        _Video(
            arrays[0][b], seen[0][b], arrays[1][b], seen[1][b], float(np.sqrt(lenses[b, 0] * lenses[b, 1])), starts[b]
        )
        for b in range(len(seen[0]))
    ]


def _starts(
    queries: np.ndarray | None, scaling: Scaling, shape: tuple[int, int, int]
) -> list[Int64[np.ndarray, "n"]] | list[None]:
    """Frames of the queries, one array per video."""
    if scaling not in ("per_trajectory", "median_on_queries", "local_neighborhood"):
        return [None] * shape[0]
    if queries is None:
        raise InputError(f"The scaling '{scaling}' needs the queries of the tracks.", "Give t, y, x of every track.")
    frames = np.rint(np.asarray(queries, np.float64)[..., 0]).astype(np.int64)
    if frames.size != shape[0] * shape[1] or frames.min(initial=0) < 0 or frames.max(initial=0) >= shape[2]:
        raise InputError(
            f"Queries of shape {np.shape(queries)} do not fit {shape[1]} tracks of {shape[2]} frames.",
            "Give t, y, x of every track, t counting frames from 0.",
        )
    return list(frames.reshape(shape[:2]))
