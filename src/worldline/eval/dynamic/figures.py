"""Figures of films: what each one is, in which unit, and what was aligned before it was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from worldline.eval import report
from worldline.eval.figures import Figure

_VIDEO = "one factor per video: median true / median predicted depth"
_FRAME = "one factor per frame: median true / median predicted depth"
_TRACKS = "one factor per video: ratio of the median distances of points visible in both"
_WORLD = "one factor per video: ratio of the median distances from the first camera; nothing shifted or turned"
_SIM3 = "one similarity per video between the camera centres"
_NONE = "none"
_NEAR = "share of the truly visible points nearer than 1, 2, 4, 8, 16 pixels at their depth, mean of five"
_JACCARD = "mean over the same thresholds of true positives / (truly visible + false positives)"
_FAR = 0.01


def _figure(
    name: str, label: str, meaning: str, alignment: str, better: str = "lower", unit: str = ""
) -> Figure:  # fmt: skip
    return Figure(name, meaning, alignment, unit, better, "mean", label)  # type: ignore[arg-type]


_ALL = [
    _figure("abs_rel", "AbsRel", "mean of |p - g| / g of all frames", _VIDEO),
    _figure("d1", "δ<1.25", "share of the pixels with max(p / g, g / p) < 1.25", _VIDEO, "higher"),
    _figure("abs_rel_frame", "AbsRel, per frame", "mean of |p - g| / g, mean over frames", _FRAME),
    _figure("d1_frame", "δ<1.25, per frame", "share with max(p / g, g / p) < 1.25, mean over frames", _FRAME, "higher"),
    _figure("scale_drift", "scale drift", "standard deviation over frames of the logarithm of a frame's own factor",
            _NONE),
    _figure("apd3d", "APD3D", _NEAR, _TRACKS, "higher"),
    _figure("aj", "3D-AJ", _JACCARD, _TRACKS, "higher"),
    _figure("oa", "OA", "share of all points whose visibility is right", _NONE, "higher"),
    _figure("apd3d_moving", "APD3D, moving", "APD3D of points on things that move", _TRACKS, "higher"),
    _figure("apd3d_still", "APD3D, still", "APD3D of the others", _TRACKS, "higher"),
    _figure("aj_moving", "3D-AJ, moving", "3D-AJ of points on things that move", _TRACKS, "higher"),
    _figure("aj_still", "3D-AJ, still", "3D-AJ of the others", _TRACKS, "higher"),
    _figure("oa_moving", "OA, moving", "OA of points on things that move", _NONE, "higher"),
    _figure("world_apd3d", "APD3D, world", "APD3D in the camera of the first frame", _WORLD, "higher"),
    _figure("world_l1", "L1, world", "mean of |Δx| + |Δy| + |Δz| in the camera of the first frame", _WORLD, unit="m"),
    _figure("delta_avg", "2D δavg", "share of the truly visible points nearer than 1, 2, 4, 8, 16 pixels of 256, mean "
            "of five; a track's own start does not count", _NONE, "higher"),
    _figure("aj_2d", "2D AJ", _JACCARD, _NONE, "higher"),
    _figure("delta_avg_moving", "2D δavg, moving", "2D δavg of points on things that move", _NONE, "higher"),
    _figure("rpe_rotation", "RPE rot", "root mean square error of the rotation from a frame to the next", _NONE,
            unit="degrees"),
    _figure("rotation", "rotation", "mean over all pairs of frames of the error of their relative rotation", _NONE,
            unit="degrees"),
    _figure("ate", "ATE", "root mean square distance of the camera centres", _SIM3, unit="m"),
    _figure("ate_share", "ATE / spread", "ATE over the root mean square distance of the true centres from their mean: "
            "1 is what a camera that stands still gets", _SIM3),
    _figure("placed", "placed", "share of the frames that got a pose; the others do not count", _NONE, "higher"),
    _figure("focal_error", "focal", "|predicted / true focal length - 1|", _NONE),
    _figure("mask_iou", "mask IoU", f"intersection over union of what moves: truly, by {_FAR:g} of its depth or more "
            "within 4 frames; slower things do not count", _NONE, "higher"),
    _figure("moving_share", "moving pixels", "truth, not a score: share of moving pixels; the mask IoU of calling "
            "everything moving", _NONE, "higher"),
]  # fmt: skip

FILM_FIGURES: dict[str, Figure] = {figure.name: figure for figure in _ALL}

# Tables of a report: title -> figures.
TABLES: dict[str, tuple[str, ...]] = {
    "Depth": ("abs_rel", "d1", "abs_rel_frame", "d1_frame", "scale_drift"),
    "3D tracks": ("apd3d", "aj", "oa", "apd3d_moving", "apd3d_still", "aj_moving", "aj_still", "oa_moving"),
    "3D tracks in one frame, and 2D tracks": ("world_apd3d", "world_l1", "delta_avg", "aj_2d", "delta_avg_moving"),
    "Cameras": ("rpe_rotation", "rotation", "ate", "ate_share", "placed", "focal_error"),
    "What moves": ("mask_iou", "moving_share"),
}

Figures = Mapping[str, float]


def means_table(
    rows: Iterable[tuple[tuple[str, ...], Sequence[Figures]]], keys: Sequence[str], names: Iterable[str]
) -> str:
    """Markdown: one line per group of films, its labels under ``keys``, then mean and interval of the figures."""
    titles = {name: FILM_FIGURES[name].axis for name in names}
    return report.means_table(rows, keys, titles, "films")


def definitions_table(names: Iterable[str]) -> str:
    """What the figures of a page are."""
    return report.figures_table({FILM_FIGURES[name].axis: FILM_FIGURES[name] for name in names})
