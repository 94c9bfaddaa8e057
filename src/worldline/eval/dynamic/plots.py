"""Plots of films: figures of methods with their intervals, and sweeps."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from worldline.eval.dynamic.figures import FILM_FIGURES
from worldline.eval.dynamic.methods import STAY
from worldline.eval.plots import dress, finish, new_figure, style
from worldline.eval.statistics import mean_interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from worldline.eval.dynamic.suite import FilmReport

_GREY = "#777777"
_LETTERS, _LEVEL = 9, 12  # per line of a label of a figure, of a level
# Panels of a report: figures side by side, label of the axis, and the target, where there is one.
_PANELS: tuple[tuple[tuple[str, ...], str, float | None], ...] = (
    (("abs_rel", "abs_rel_frame"), "depth AbsRel (lower is better)", 0.12),
    (("apd3d", "apd3d_moving", "apd3d_still", "world_apd3d", "delta_avg"), "points near (higher is better)", 0.5),
    (("rpe_rotation",), "rotation from frame to frame, degrees (lower is better)", 1.0),
    (("oa", "mask_iou"), "visibility, mask of what moves (higher is better)", None),
)


def draw_report(report: FilmReport, path: Path) -> None:
    """Means with their intervals, one panel per kind of figure; dashed: targets."""
    figure, panels = new_figure(1, len(_PANELS))
    methods = report.methods
    for axes, (names, label, target) in zip(panels[0], _PANELS, strict=True):
        for number, method in enumerate(methods):
            offset = 0.16 * (number - (len(methods) - 1) / 2)
            for place, name in enumerate(names):
                values = [figures.get(name, math.nan) for figures in report.of(method).values()]
                _interval(axes, place + offset, values, look(method, methods))
            axes.plot([], [], label=method, **{**look(method, methods), "linestyle": "None"})
        if target is not None:
            axes.axhline(target, color=_GREY, linewidth=0.8, linestyle="--")
        labels = [textwrap.fill(FILM_FIGURES[name].axis, _LETTERS) for name in names]
        axes.set_xticks(range(len(names)), labels)
        axes.set_xlim(-0.6, len(names) - 0.4)
        axes.set_ylim(bottom=0)
        dress(axes, "dashed: target" if target is not None else "", label)
        axes.tick_params(axis="x", labelsize=6.5)
    films = len(report.of(methods[0]))
    finish(figure, panels[0][0], f"Films of moving things: mean and 95 % interval of {films} test films", path)


def draw_sweep(
    title: str, axis: str, shown: Sequence[str], records: Sequence[Mapping[str, Any]], path: Path
) -> None:  # fmt: skip
    """One panel per figure, levels in their order, one line per method, intervals as bars."""
    figure, panels = new_figure(1, len(shown))
    levels = list(dict.fromkeys(record["level"] for record in records))
    methods = list(dict.fromkeys(record["method"] for record in records))
    for axes, name in zip(panels[0], shown, strict=True):
        for number, method in enumerate(methods):
            kind, offset = look(method, methods), 0.08 * (number - (len(methods) - 1) / 2)
            places, means = [], []
            for place, level in enumerate(levels):
                rows = [r for r in records if (r["level"], r["method"]) == (level, method)]
                values = [row.get(name, math.nan) for row in rows]
                if not np.isnan(values).all():
                    _interval(axes, place + offset, values, {**kind, "marker": None})
                    places.append(place + offset)
                    means.append(mean_interval(values)[0])
            axes.plot(places, means, label=method, **kind)
        axes.set_xticks(range(len(levels)), [textwrap.fill(str(level), _LEVEL) for level in levels])
        axes.set_xlim(-0.4, len(levels) - 0.6)
        axes.set_ylim(bottom=0)
        wanted = f"{FILM_FIGURES[name].axis} ({FILM_FIGURES[name].better} is better)"
        dress(axes, axis, wanted + (f", {FILM_FIGURES[name].unit}" if FILM_FIGURES[name].unit else ""))
    films = len({record["seed"] for record in records})
    finish(figure, panels[0][0], f"{title}\nmean and 95 % interval of {films} test films", path)


def look(method: str, methods: Sequence[str]) -> dict[str, Any]:
    """Line style of a method: the baseline in grey."""
    if method == STAY:
        return {"color": _GREY, "linestyle": "--", "linewidth": 1.3, "marker": "x", "markersize": 4.5}
    return style(method, [name for name in methods if name != STAY])


def _interval(axes: Axes, place: float, values: Sequence[float], kind: Mapping[str, Any]) -> None:
    mean, low, high = mean_interval(values)
    marker = kind.get("marker")
    axes.plot([place], [mean], color=kind["color"], marker=marker or "None", linestyle="None", markersize=5)
    if not math.isnan(low):
        axes.plot([place, place], [low, high], color=kind["color"], linewidth=1.5, alpha=0.7)
