"""Plots of streams: figures of methods with their intervals, errors over the steps and by camera, sweeps."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from worldline.eval.plots import dress, finish, new_figure, style
from worldline.eval.statistics import mean_interval
from worldline.eval.streams.figures import STREAM_FIGURES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from worldline.eval.streams.plan import StreamSweep
    from worldline.eval.streams.suite import StreamReport

_GREY = "#777777"
_LABEL = 16  # letters per line of a level


def draw_report(report: StreamReport, path: Path) -> None:
    """AbsRel of all methods, over the steps of a stream, and by camera of the first model."""
    figure, panels = new_figure(1, 3)
    bars, steps, cameras = panels[0]
    methods = report.methods
    for place, method in enumerate(methods):
        values = [scores.figures["abs_rel"] for scores in report.of(method).values()]
        _interval(bars, place, values, _look(method, methods))
    bars.set_xticks(range(len(methods)), [textwrap.fill(name, _LABEL) for name in methods], rotation=60, ha="right")
    bars.axhline(0.2, color=_GREY, linewidth=0.8, linestyle="--")
    bars.set_ylim(bottom=0)
    dress(bars, "dashed: the target 0.20", STREAM_FIGURES["abs_rel"].axis)
    bars.tick_params(axis="x", labelsize=6)
    for method in methods:
        lines = [scores.by_step("abs_rel") for scores in report.of(method).values()]
        count = min(map(len, lines))
        mean = [float(np.nanmean([line.get(step, math.nan) for line in lines])) for step in range(count)]
        steps.plot(range(1, count + 1), mean, label=method, **_look(method, methods))
    steps.set_ylim(bottom=0)
    dress(steps, "step of the stream", STREAM_FIGURES["abs_rel"].axis)
    for place, sensor in enumerate(report.sensors):
        values = [scores.of_sensor(sensor)["abs_rel"] for scores in report.of(report.models[0]).values()]
        _interval(cameras, place, values, style(report.models[0], report.models))
    names = [name.removeprefix("CAM_").replace("_", " ").lower() for name in report.sensors]
    cameras.set_xticks(range(len(names)), names, rotation=60, ha="right")
    cameras.set_ylim(bottom=0)
    dress(cameras, f"camera, {report.models[0]}", STREAM_FIGURES["abs_rel"].axis)
    drives = len(report.of(report.models[0]))
    finish(figure, steps, f"Streams of a six-camera rig: mean and 95 % interval of {drives} test drives", path)


def draw_sweep(sweep: StreamSweep, records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """One panel per figure, levels in their order, one line per method, intervals as bars."""
    figure, panels = new_figure(1, len(sweep.panels))
    levels = list(dict.fromkeys(record["level"] for record in records))
    methods = list(dict.fromkeys(record["method"] for record in records))
    for axes, name in zip(panels[0], sweep.panels, strict=True):
        for shift, method in enumerate(methods):
            look, offset = style(method, methods), 0.08 * (shift - (len(methods) - 1) / 2)
            places, means = [], []
            for place, level in enumerate(levels):
                rows = [r for r in records if (r["level"], r["method"]) == (level, method)]
                values = [row.get(name, math.nan) for row in rows]
                if not np.isnan(values).all():
                    _interval(axes, place + offset, values, {**look, "marker": None})
                    places.append(place + offset)
                    means.append(mean_interval(values)[0])
            axes.plot(places, means, label=method, **look)
        axes.set_xticks(range(len(levels)), [textwrap.fill(level, _LABEL) for level in levels])
        axes.set_ylim(bottom=0)
        dress(axes, sweep.axis, STREAM_FIGURES[name].axis)
        if max(map(len, levels)) > 6:
            axes.tick_params(axis="x", labelsize=6.5)
            axes.set_xticks(axes.get_xticks(), [t.get_text() for t in axes.get_xticklabels()], rotation=60, ha="right")
    drives = len({record["seed"] for record in records})
    finish(figure, panels[0][0], f"{sweep.question}\nmean and 95 % interval of {drives} test drives", path)


def _look(method: str, methods: Sequence[str]) -> dict[str, Any]:
    if method in ("constant depth", "flat road and a wall"):
        return {"color": _GREY, "linestyle": "--" if method == "constant depth" else ":", "linewidth": 1.3}
    return style(method, methods)


def _interval(axes: Axes, place: float, values: Sequence[float], look: Mapping[str, Any]) -> None:
    mean, low, high = mean_interval(values)
    marker = look.get("marker", "_")
    axes.plot([place], [mean], color=look["color"], marker=marker or "None", linestyle="None", markersize=5)
    if not math.isnan(low):
        axes.plot([place, place], [low, high], color=look["color"], linewidth=1.5, alpha=0.7)
