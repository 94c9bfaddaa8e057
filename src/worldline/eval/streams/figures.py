"""Figures of streams: what each one is, in which unit, and what was aligned before it was measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from worldline.eval import report
from worldline.eval.figures import Figure

FARTHEST = 80.0  # metres: true depths beyond do not count, predictions are clipped there
CLOUD_STRIDE = 4  # every so-manieth row and column of the images enters the clouds

_METRIC, _MEDIAN, _NONE = "none", "one factor per image: the median of true / predicted depth", "-"
_CLOUD = f"none; masked-in pixels that show something within {FARTHEST:g} m, every {CLOUD_STRIDE}th row and column"


def _mean(name: str, meaning: str, alignment: str, unit: str = "", better: str = "lower", axis: str = "") -> Figure:
    return Figure(name, meaning, alignment, unit, better, "mean", axis or name)  # type: ignore[arg-type]


_ALL = [
    _mean("abs_rel", "mean of |p - g| / g", _METRIC, axis="depth AbsRel, metric"),
    _mean("sq_rel", "mean of (p - g)² / g", _METRIC, "m"),
    _mean("sq_rel_released", "mean of ((p - g) / g)², which the released code of Driv3R calls SqRel", _METRIC),
    _mean("rmse", "root of the mean of (p - g)²", _METRIC, "m", axis="depth RMSE (m), metric"),
    _mean("delta_1_25", "share with max(p / g, g / p) < 1.25", _METRIC, "", "higher"),
    _mean("delta_1_25_2", "the same, < 1.25²", _METRIC, "", "higher"),
    _mean("delta_1_25_3", "the same, < 1.25³", _METRIC, "", "higher"),
    _mean("abs_rel_scaled", "as abs_rel", _MEDIAN, axis="AbsRel, one scale per image"),
    _mean("rmse_scaled", "as rmse", _MEDIAN, "m"),
    _mean("delta_1_25_scaled", "as delta_1_25", _MEDIAN, "", "higher"),
    _mean("accuracy", "mean distance from a predicted point to the nearest true one, all images of the drive", _CLOUD,
          "m"),
    _mean("completion", "mean distance from a true point to the nearest predicted one", _CLOUD, "m"),
    _mean("normal_consistency", "mean |cosine| of the normals of nearest points, both ways", _CLOUD, "", "higher"),
    _mean("consistency", "points that stand still, moved into the next image of the same camera: median of "
          "|found - expected| / expected depth", _METRIC, axis="disagreement over time"),
    _mean("consistency_3", "the same, three steps later", _METRIC),
    _mean("scale_error", "|ln of the median of true / predicted depth| of an image: the error that is left in its "
          "scale", _METRIC, axis="error of the scale (log)"),
    _mean("scale_covered", "share of images whose scale error is within two stated standard uncertainties", _NONE, "",
          "higher"),
    _mean("masked", "share of the pixels with truth that the confidence mask leaves out", _NONE),
    _mean("sky_kept", "share of the sky that the mask lets through", _NONE),
    _mean("mask_iou", "moving pixels found, intersection over union (0.5 m/s and faster against standing still)",
          _NONE, "", "higher", "IoU of moving pixels"),
    _mean("mask_recall", "share of the moving pixels that were found", _NONE, "", "higher"),
    _mean("mask_false", "share of the still pixels taken to move", _NONE),
    _mean("marked", "share of the pixels of the group that are taken to move", _NONE),
    _mean("share", "share of the pixels with truth in this group, not a score", _NONE),
    _mean("distance", "median true depth of the group, not a score", _NONE, "m"),
    _mean("images", "images measured per drive, not a score", _NONE),
    _mean("latency", "median seconds of a push of all cameras, the first two left out", _NONE, "s", axis="seconds"),
    _mean("metres", "driven, not a score", _NONE, "m"),
    _mean("degrees", "turned in all, not a score", _NONE, "degrees"),
]  # fmt: skip

STREAM_FIGURES: dict[str, Figure] = {figure.name: figure for figure in _ALL}


def means_table(rows: Iterable[tuple[tuple[str, ...], Sequence[Mapping[str, float]]]], keys: Sequence[str],
                names: Iterable[str]) -> str:  # fmt: skip
    """Markdown: one line per group of drives, its labels under ``keys``, then the figures that any group has."""
    return report.means_table(rows, keys, {name: name for name in names}, "drives")


def definitions_table(names: Iterable[str]) -> str:
    """What the figures of a page are."""
    return report.figures_table({name: STREAM_FIGURES[name] for name in names if name in STREAM_FIGURES})
