"""Plots of sweeps: one panel per figure, one line per method, the quartiles as a band."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldline.errors import MissingExtraError
from worldline.eval.figures import FIGURES
from worldline.eval.methods import BASELINES
from worldline.eval.sweeps.plan import Sweep
from worldline.files import replacing_file, reporting

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito: also for the colour-blind
_MARKERS = ("o", "s", "^", "D", "v", "P")
_GREY = "#777777"
_PANEL_INCHES = (3.7, 3.2)


def require_matplotlib() -> None:
    """Raise MissingExtraError with the pip command unless plots can be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError("Drawing the plot of a sweep (--no-plot does without)", "eval")


def draw(sweep: Sweep, head: Mapping[str, Any], levels: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write the plot as PNG.

    Args:
        levels: as :func:`worldline.eval.sweeps.tables.summarize` gives them.
    """
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * len(sweep.panels), height + 0.7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(sweep.panels), squeeze=False)[0]
    methods = list(dict.fromkeys(level["method"] for level in levels))
    for panel, name in zip(axes, sweep.panels, strict=True):
        _panel(panel, name, methods, levels)
        panel.set_xlabel(sweep.axis, fontsize=9)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(labels)), frameon=False, fontsize=9)
    scenes = max((level["scenes"] for level in levels), default=0)
    views = "" if head["views"] == "varied" else f", {head['views']} views"
    figure.suptitle(f"{sweep.question}\n{head['layout']}{views}; median and quartiles of {scenes} scenes", fontsize=10)
    with reporting(path), replacing_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def _panel(axes: Axes, name: str, methods: Sequence[str], levels: Sequence[Mapping[str, Any]]) -> None:
    colored = [method for method in methods if method not in BASELINES.values()]
    ticks = sorted({level["level"] for level in levels})
    top = 0.0
    for method in methods:
        rows = [level for level in levels if level["method"] == method and name in level]
        rows = [row for row in rows if not math.isnan(row[name]["middle"])]
        if not rows:
            continue
        x, middle = [row["level"] for row in rows], [row[name]["middle"] for row in rows]
        low, high = zip(*(row[name]["quartiles"] for row in rows), strict=True)
        top = max(top, *high)
        if method in colored:
            place = colored.index(method) % len(_COLORS)
            axes.plot(x, middle, color=_COLORS[place], marker=_MARKERS[place], markersize=4.5, label=method)
            axes.fill_between(x, low, high, color=_COLORS[place], alpha=0.15, linewidth=0)
        else:
            style = "--" if method == BASELINES["constant-depth"] else ":"
            axes.plot(x, middle, color=_GREY, linestyle=style, linewidth=1.3, label=method)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=8)
    axes.set_ylabel(FIGURES[name].axis, fontsize=9)
    axes.tick_params(axis="y", labelsize=8)
    axes.set_ylim(0, top * 1.08 if top > 0 else 1)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
