"""Plots of sweeps: one panel per figure, one line per method, the quartiles as a band."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldline.eval.figures import FIGURES
from worldline.eval.methods import BASELINES
from worldline.eval.plots import dress, finish, new_figure, style
from worldline.eval.sweeps.plan import Sweep

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw(sweep: Sweep, head: Mapping[str, Any], levels: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the plot as PNG.

    Args:
        levels: as :func:`worldline.eval.sweeps.tables.summarize` gives them.
    """
    figure, panels = new_figure(1, len(sweep.panels))
    methods = list(dict.fromkeys(level["method"] for level in levels))
    for axes, name in zip(panels[0], sweep.panels, strict=True):
        _panel(axes, name, methods, levels)
        dress(axes, sweep.axis, FIGURES[name].axis)
    scenes = sorted({level["scenes"] for level in levels})
    many = f"{scenes[0]}" if len(scenes) == 1 else f"{scenes[0]} to {scenes[-1]}"
    views = "" if head["views"] == "varied" else f", {head['views']} views"
    title = f"{sweep.question}\n{head['layout']}{views}; median and quartiles of {many} scenes"
    finish(figure, panels[0][0], title, path)


def _panel(axes: Axes, name: str, methods: Sequence[str], levels: Sequence[Mapping[str, Any]]) -> None:
    ticks = sorted({level["level"] for level in levels})
    top = 0.0
    for method in methods:
        rows = [level for level in levels if level["method"] == method and name in level]
        rows = [row for row in rows if not math.isnan(row[name]["middle"])]
        if not rows:
            continue
        x, look = [row["level"] for row in rows], style(method, methods)
        low, high = zip(*(row[name]["quartiles"] for row in rows), strict=True)
        top = max(top, *high)
        axes.plot(x, [row[name]["middle"] for row in rows], label=method, **look)
        if method not in BASELINES.values():
            axes.fill_between(x, low, high, color=look["color"], alpha=0.15, linewidth=0)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_ylim(0, top * 1.08 if top > 0 else 1)
    if FIGURES[name].unit == "degrees" and top > 60:
        axes.set_yticks(range(0, 181, 45))
        axes.set_ylim(0, min(top * 1.08, 187))
