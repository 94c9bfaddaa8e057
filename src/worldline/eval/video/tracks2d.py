"""Tracks of points in the image: the metric and the query sampling of TAP-Vid (arXiv 2211.03726, section 3).

Coordinates are pixels of a raster of 256 x 256 (:func:`at_256`), whatever the video's aspect ratio.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from worldline.errors import InputError
from worldline.eval.video.track_counts import THRESHOLDS, Counts, TrackScores

QueryMode = Literal["first", "strided"]
STRIDE = 5  # frames between the queries of the strided mode
RASTER = 256


class Tracks2D(NamedTuple):
    """Points followed through a video, x and y in pixels, and whether they are seen."""

    points: Float[np.ndarray, "*b n t 2"]
    visible: Bool[np.ndarray, "*b n t"]


def score_tracks_2d(
    predicted: Tracks2D,
    true: Tracks2D,
    queries: Float[np.ndarray, "*b n 3"],
    mode: QueryMode = "first",
    *,
    per_track: bool = False,
) -> TrackScores:
    """AJ, δ_avg and OA, with thresholds of 1, 2, 4, 8 and 16 pixels. Alignment: none.

    ``first`` measures the frames after the query's; ``strided`` all frames but the query's own.

    Args:
        queries: t, y, x per track; frames are rounded.

    Returns:
        Scores with the leading axes of the tracks (``*b``, and n if ``per_track``); one video gives 0-d arrays. NaN
        where no frame is measured.

    Raises:
        InputError: shapes that do not fit, an unknown mode.
    """
    if mode not in ("first", "strided"):
        raise InputError(f"Unknown query mode {mode!r}.", "Choose one of: first, strided.")
    points, found = (np.asarray(tracks.points, np.float64) for tracks in (true, predicted))
    visible, seen = (np.asarray(tracks.visible, bool) for tracks in (true, predicted))
    starts = np.rint(np.asarray(queries, np.float64)[..., 0])
    shapes = (points.shape, found.shape, (*visible.shape, 2), (*seen.shape, 2), (*starts.shape, points.shape[-2], 2))
    if len(set(shapes)) != 1:
        raise InputError(
            f"Tracks and queries of different shapes: {sorted(set(shapes))}.", "Give n tracks of t frames."
        )
    frames = np.arange(points.shape[-2])
    measured = frames > starts[..., None] if mode == "first" else frames != starts[..., None]
    squared = np.square(found - points).sum(-1)
    inside = np.stack([squared < threshold**2 for threshold in THRESHOLDS])
    return Counts.of(inside, visible, seen, measured, axis=-1 if per_track else (-2, -1)).scores()


def at_256(pixels: Float[np.ndarray, "*n 2"], height: int, width: int) -> Float64[np.ndarray, "*n 2"]:
    """x and y in pixels of the video -> pixels of the benchmark's raster; both axes count from the image's corner."""
    return np.asarray(pixels, np.float64) * (RASTER / width, RASTER / height)


class QueriedTracks(NamedTuple):
    """Tracks with one query each."""

    queries: Float64[np.ndarray, "q 3"]  # t, y, x
    points: Float[np.ndarray, "q t 2"]
    visible: Bool[np.ndarray, "q t"]
    track: Int64[np.ndarray, "q"]  # which annotated track it is


def sample_queries(
    points: Float[np.ndarray, "n t 2"], visible: Bool[np.ndarray, "n t"], mode: QueryMode = "first",
    *, stride: int = STRIDE,
) -> QueriedTracks:  # fmt: skip
    """Queries of annotated tracks as the benchmark chooses them.

    ``first``: one query per track, at the first frame in which it is visible; tracks that never are do not count.
    ``strided``: one query per track and ``stride``-th frame in which it is visible, frame by frame.

    Raises:
        InputError: an unknown mode or a stride below 1.
    """
    if mode not in ("first", "strided") or stride < 1:
        raise InputError(f"Queries '{mode}' every {stride} frames cannot be sampled.", "Choose first or strided, 1 up.")
    if mode == "first":
        track = np.flatnonzero(visible.any(1))
        frame = visible[track].argmax(1) if len(track) else np.zeros(0, np.int64)
    else:
        every = np.arange(0, visible.shape[1], stride)
        row, track = np.nonzero(visible[:, every].T)
        frame = every[row]
    at = points[track, frame]
    queries = np.column_stack([frame, at[:, 1], at[:, 0]]).astype(np.float64)
    return QueriedTracks(queries, points[track], visible[track], track.astype(np.int64))
