"""Tracks in one world frame: D4RT's variant of TAPVid-3D, and WorldTrack, which re-implementations report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Bool, Float, Float64

from worldline.errors import InputError
from worldline.eval.video.track_counts import THRESHOLDS
from worldline.geometry import fit_similarity

WORLDTRACK_THRESHOLDS = (0.1, 0.3, 0.5, 1.0)  # metres
_NEAR = 1e-12

Coordinates = Literal["sum", "mean"]
TrackScale = Literal["median", "none"]
WorldTrackAlignment = Literal["global", "per_track", "sim3", "none"]


@dataclass(frozen=True)
class WorldScores:
    """Scores of one video in a world frame."""

    apd3d: float  # mean over δ of the share of visible points nearer than δ pixels at their depth
    l1: float  # mean L1 distance of visible points, metres
    scale: float  # factor of the prediction


def score_world_tracks(
    predicted: Float[np.ndarray, "t n 3"],
    true: Float[np.ndarray, "t n 3"],
    visible: Bool[np.ndarray, "t n"],
    depth: Float[np.ndarray, "t n"],
    intrinsics: Float[np.ndarray, "4"],
    *,
    scale: TrackScale = "median",
    coordinates: Coordinates = "sum",
) -> WorldScores:
    """APD3D and mean L1 distance in one world frame (arXiv 2512.08924, table 4, right).

    The paper names the two figures, not their details; choices here: the world is the camera of the first frame, only
    points that are truly visible count, thresholds stay those of TAPVid-3D with the depth of the point in the camera of
    *its own* frame (so that they do not change with the choice of the world frame).

    Alignment: ``median`` multiplies the prediction by the ratio of the median distances from the world's origin, as
    TAPVid-3D does; ``none`` leaves metres. Nothing is shifted or turned: cameras must be right for the points to be.

    Args:
        predicted, true: points in the world frame; the origin is that of the median.
        depth: of the true points in the camera of their frame, metres.
        intrinsics: fx, fy, cx, cy for images whose shorter side is 256.
        coordinates: L1 as the sum over x, y, z (the L1 norm), or their mean, a third of it.

    Raises:
        InputError: shapes that do not fit, unknown options, or no visible point.
    """
    shapes = {np.shape(predicted), np.shape(true), (*np.shape(visible), 3), (*np.shape(depth), 3)}
    if len(shapes) != 1 or np.ndim(true) != 3:
        raise InputError(f"Tracks of different shapes: {sorted(shapes)}.", "Give points [t, n, 3] and depth [t, n].")
    if scale not in get_args(TrackScale) or coordinates not in get_args(Coordinates):
        raise InputError(f"Unknown options {scale!r}, {coordinates!r}.", "Scale: median, none. Coordinates: sum, mean.")
    seen = np.asarray(visible, bool)
    if not seen.any():
        raise InputError("No point of the video is visible.", "Leave the video out.")
    p, g, z = (np.asarray(a, np.float64)[seen] for a in (predicted, true, depth))
    factor = _ratio_of_medians(p, g) if scale == "median" else 1.0
    error = factor * p - g
    radius = np.multiply.outer(THRESHOLDS, z) / np.sqrt(intrinsics[0] * intrinsics[1])
    within = np.linalg.norm(error, axis=-1) < radius
    parts = np.abs(error).sum(-1) if coordinates == "sum" else np.abs(error).mean(-1)
    return WorldScores(float(within.mean()), float(parts.mean()), factor)


@dataclass(frozen=True)
class WorldTrackScores:
    """Scores of one video by the protocol of WorldTrack."""

    apd: float  # mean of the shares
    shares: Float64[np.ndarray, "4"]  # of points at most 0.1, 0.3, 0.5, 1.0 m away
    epe: float  # mean distance, metres
    scale: float  # of the alignment; 1 where every track has its own


def score_worldtrack(
    predicted: Float[np.ndarray, "t n 3"],
    true: Float[np.ndarray, "t n 3"],
    alignment: WorldTrackAlignment = "global",
) -> WorldTrackScores:
    """APD and EPE of WorldTrack: all points that are finite in both count, seen or not; the world is camera 0.

    Alignment: ``global`` one factor, the ratio of the median distances from the origin; ``per_track`` the same for each
    track; ``sim3`` one similarity of least squares over all points; ``none``.

    Raises:
        InputError: different shapes, unknown alignment, or no finite point.
    """
    p, g = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    if p.shape != g.shape or alignment not in get_args(WorldTrackAlignment):
        choices = ", ".join(get_args(WorldTrackAlignment))
        raise InputError(
            f"Tracks {p.shape} and {g.shape} with the alignment {alignment!r} cannot be measured.",
            f"Give equal shapes and one of: {choices}.",
        )
    known: Bool[np.ndarray, "t n"] = np.isfinite(np.concatenate([p, g], -1)).all(-1)
    if not known.any():
        raise InputError("No point is finite in both sets of tracks.", "Leave the video out.")
    scale = 1.0
    if alignment == "per_track":
        p = p.copy()
        for track in np.flatnonzero(known.any(0)):
            seen = known[:, track]
            p[:, track] *= _ratio_of_medians(p[seen, track], g[seen, track])
    p, g = p[known], g[known]
    if alignment == "global":
        scale = _ratio_of_medians(p, g)
        p = scale * p
    elif alignment == "sim3":
        fit = fit_similarity(torch.as_tensor(p), torch.as_tensor(g))
        scale, p = float(fit.scale), fit.apply(torch.as_tensor(p)).numpy()
    distance = np.linalg.norm(p - g, axis=-1)
    shares = np.array([(distance <= limit).mean() for limit in WORLDTRACK_THRESHOLDS])
    return WorldTrackScores(float(shares.mean()), shares, float(distance.mean()), scale)


def _ratio_of_medians(p: Float64[np.ndarray, "n 3"], g: Float64[np.ndarray, "n 3"]) -> float:
    """Median distance from the origin of the true points, divided by that of the predicted ones."""
    return float(np.median(np.linalg.norm(g, axis=-1)) / max(_NEAR, float(np.median(np.linalg.norm(p, axis=-1)))))
