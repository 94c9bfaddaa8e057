"""What a method said about a film, against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64

from worldline.errors import InputError
from worldline.eval.dynamic.films import Film
from worldline.eval.video.depth_scores import DepthRules, score_pixels
from worldline.eval.video.methods import FoundTracks
from worldline.eval.video.pose_pairs import pair_errors
from worldline.eval.video.tracks2d import Tracks2D, at_256, score_tracks_2d
from worldline.eval.video.tracks3d import Tracks3D, intrinsics_at_256, score_tracks_3d
from worldline.eval.video.trajectory import score_trajectory, stands_still
from worldline.eval.video.world_tracks import score_world_tracks

MOVING, STILL = (
    0.01,
    0.0025,
)  # displacement within REACH frames over depth, from which / up to which a pixel moves / not
_RULES = DepthRules()
_LEAST = 16  # pixels of a frame with depth, fewer tell nothing about its scale

Scores = dict[str, float]


@dataclass(frozen=True, eq=False)
class Predicted:
    """What a method says about a film; what it was not asked for, or cannot say, is None."""

    depth: Float[np.ndarray, "t h w"] | None = None  # at the centres of equal cells; NaN where the method sees nothing
    # of the frame (not counted), not positive where it should see something and does not (wrong)
    tracks: FoundTracks | None = None  # of the film's queries
    world_from_cam: Float64[np.ndarray, "t 4 4"] | None = None  # NaN where no pose was found
    focal: float | None = None  # pixels of the film
    mask: Bool[np.ndarray, "k h w"] | None = None  # what moves, of some frames, at the centres of equal cells
    mask_frames: Int64[np.ndarray, "k"] | None = None


def score_film(film: Film, found: Predicted) -> Scores:
    """All figures (:data:`worldline.eval.dynamic.figures.FILM_FIGURES`) that the prediction allows."""
    scores: Scores = {}
    if found.depth is not None:
        scores |= score_depth(film, found.depth)
    if found.tracks is not None:
        scores |= score_tracks(film, found.tracks)
    if found.world_from_cam is not None:
        scores |= score_cameras(film.world_from_cam, found.world_from_cam)
    if found.focal is not None:
        scores["focal_error"] = abs(found.focal / float(film.intrinsics[0, 0, 0]) - 1)
    if found.mask is not None and found.mask_frames is not None:
        scores |= score_mask(film, found.mask, found.mask_frames)
    return scores


def at_centers(values: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """[t, h, w] at the pixels in which the centres of a grid of equal cells lie."""
    height, width = values.shape[1:3]
    rows = ((np.arange(size[0]) + 0.5) / size[0] * height).astype(int)
    columns = ((np.arange(size[1]) + 0.5) / size[1] * width).astype(int)
    return values[:, rows[:, None], columns]


def score_depth(film: Film, depth: Float[np.ndarray, "t h w"]) -> Scores:
    """AbsRel and δ with a factor per video and per frame, and how the factor drifts."""
    true = at_centers(film.depth, depth.shape[1:]).astype(np.float64)
    found = np.asarray(depth, np.float64)
    if len(found) != len(true):
        raise InputError(f"The film has {len(true)} frames, {len(found)} depth maps were given.", "Give one per frame.")
    known = (true > 0) & ~np.isnan(found)
    video = _aligned(found[known], true[known])
    frames = [_aligned(p[k], g[k]) for p, g, k in zip(found, true, known, strict=True) if k.sum() >= _LEAST]
    factors = [
        np.log(np.median(g[k] / p[k]))
        for p, g, k in ((p, g, k & (p > 0)) for p, g, k in zip(found, true, known, strict=True))
        if k.sum() >= _LEAST
    ]
    return {
        "abs_rel": video[0],
        "d1": video[1],
        "abs_rel_frame": float(np.mean([each[0] for each in frames])) if frames else np.nan,
        "d1_frame": float(np.mean([each[1] for each in frames])) if frames else np.nan,
        "scale_drift": float(np.std(factors)) if len(factors) > 1 else np.nan,
    }


def _aligned(found: Float64[np.ndarray, "n"], true: Float64[np.ndarray, "n"]) -> tuple[float, float]:
    """AbsRel and δ<1.25 after the ratio of medians; NaN where no depth says anything."""
    try:
        scores = score_pixels(found, true, "median", _RULES)
    except InputError:
        return np.nan, np.nan
    return scores.abs_rel, scores.d1


def score_tracks(film: Film, tracks: FoundTracks, factor: float | None = None) -> Scores:
    """3D tracks in camera and world coordinates, 2D tracks; moving and still points apart under the same factor.

    Args:
        factor: of the points in camera coordinates; None: that of :func:`median_factor`.
    """
    height, width = film.images.shape[1:3]
    lens = intrinsics_at_256(film.lens, height, width)
    if factor is None:
        factor = median_factor(tracks.points, tracks.visible, film.points, film.visible)
    points = tracks.points * factor
    found_2d = at_256(tracks.uv * (width, height), height, width).swapaxes(0, 1)
    true_2d = at_256(film.pixels + 0.5, height, width).swapaxes(0, 1)
    starts = film.queries[:, [2, 1, 0]]
    scores: Scores = {}
    for suffix, rows in (("", np.arange(len(starts))), ("_moving", _rows(film.moves)), ("_still", _rows(~film.moves))):
        if len(rows) == 0:
            continue
        true, found = film.visible[:, rows], tracks.visible[:, rows]
        three = score_tracks_3d(
            Tracks3D(points[:, rows], found), Tracks3D(film.points[:, rows], true), lens, scaling="none"
        )
        two = score_tracks_2d(
            Tracks2D(np.nan_to_num(found_2d[rows], nan=-1e6), found.T), Tracks2D(true_2d[rows], true.T), starts[rows],
            "strided",
        )  # fmt: skip
        scores |= {
            f"apd3d{suffix}": float(three.average_within[0]),
            f"aj{suffix}": float(three.average_jaccard[0]),
            f"oa{suffix}": float(three.occlusion_accuracy[0]),
            f"delta_avg{suffix}": float(two.average_within),
            f"aj_2d{suffix}": float(two.average_jaccard),
        }
    if np.isfinite(tracks.world).any():
        world = np.nan_to_num(tracks.world)  # a lost point is nowhere near
        fixed = score_world_tracks(world, film.in_first, film.visible, film.points[..., 2], lens)
        scores |= {"world_apd3d": fixed.apd3d, "world_l1": fixed.l1}
    return scores


def median_factor(
    found: Float[np.ndarray, "t n 3"], seen: Bool[np.ndarray, "t n"], true: Float[np.ndarray, "t n 3"],
    visible: Bool[np.ndarray, "t n"],
) -> float:  # fmt: skip
    """The factor of TAPVid-3D's ``median``: ratio of the median distances of points visible in both; else NaN."""
    both = seen & visible & np.isfinite(found).all(-1)
    if not both.any():
        return np.nan
    far = float(np.median(np.linalg.norm(found[both], axis=-1)))
    return float(np.median(np.linalg.norm(true[both], axis=-1))) / max(far, 1e-12)


def score_cameras(true: Float64[np.ndarray, "t 4 4"], found: Float64[np.ndarray, "t 4 4"]) -> Scores:
    """Trajectory and relative rotations of the frames that have a pose."""
    placed = np.isfinite(found).all((1, 2))
    scores: Scores = {"placed": float(placed.mean())}
    if placed.sum() < 2:
        return scores
    true, found = true[placed], found[placed]
    spread = float(np.sqrt(np.square(true[:, :3, 3] - true[:, :3, 3].mean(0)).sum(-1).mean()))
    still = stands_still(found)
    each = score_trajectory(found, true, "se3" if still else "sim3")
    ate = spread if still else each.ate  # any similarity puts all centres into the mean
    scores |= {
        "rpe_rotation": each.rpe_rotation,
        "rotation": float(pair_errors(found, true).rotation.mean()),
        "ate": ate,
        "ate_share": ate / spread if spread > 1e-6 else np.nan,
    }
    return scores


def score_mask(film: Film, mask: Bool[np.ndarray, "k h w"], frames: Int64[np.ndarray, "k"]) -> Scores:
    """Intersection over union with what truly moves; NaN where nothing does."""
    shift = at_centers(film.shift, mask.shape[1:])[frames].astype(np.float64)
    moving, counted = shift >= MOVING, (shift >= MOVING) | (shift <= STILL)
    if not moving.any():
        return {"mask_iou": np.nan, "moving_share": 0.0}
    together = float((mask & moving).sum()) / float(((mask | moving) & counted).sum())
    return {"mask_iou": together, "moving_share": float(moving.sum() / counted.sum())}


def _rows(chosen: Sequence[bool] | np.ndarray) -> Int64[np.ndarray, "m"]:
    return np.flatnonzero(chosen)
