"""Plots of evaluations: what all of them share, and the share of scenes below an error (suites)."""

from __future__ import annotations

import importlib.util
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from worldline.errors import MissingExtraError
from worldline.eval.figures import FIGURES
from worldline.eval.methods import BASELINES
from worldline.eval.statistics import known
from worldline.files import replacing_file, reporting

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from worldline.eval.report import Report

PANELS = ("point_error", "abs_rel", "rotation")  # of a suite
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito: also for the colour-blind
_MARKERS = ("o", "s", "^", "D", "v", "P")
_GREY = "#777777"
_PANEL_INCHES = (3.7, 3.2)
_LABEL_WIDTH = 40  # letters that fit below a panel


def require_matplotlib() -> None:
    """Raise MissingExtraError with the pip command unless plots can be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError("Drawing plots (--no-plot does without)", "eval")


def new_figure(rows: int, columns: int) -> tuple[Figure, Any]:
    """A figure and its ``rows x columns`` axes, drawn without a window."""
    require_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width, height = _PANEL_INCHES
    figure = Figure(figsize=(width * columns, height * rows + 0.7), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False)


def style(method: str, methods: Sequence[str]) -> dict[str, Any]:
    """Line style of a method: models in colours with markers, baselines in grey."""
    if method == BASELINES["constant-depth"]:
        return {"color": _GREY, "linestyle": "--", "linewidth": 1.3}
    if method == BASELINES["sfm"]:
        return {"color": _GREY, "linestyle": ":", "linewidth": 1.6}
    place = [name for name in methods if name not in BASELINES.values()].index(method) % len(_COLORS)
    return {"color": _COLORS[place], "marker": _MARKERS[place], "markersize": 4.5}


def dress(axes: Axes, x_label: str, y_label: str) -> None:
    """Labels, grid and frame of a panel."""
    axes.set_xlabel(textwrap.fill(x_label, _LABEL_WIDTH), fontsize=9)
    axes.set_ylabel(textwrap.fill(y_label, _LABEL_WIDTH), fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def finish(figure: Figure, axes: Axes, title: str, path: Path) -> None:
    """Legend below, title above, PNG on disk, whole or not at all."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(4, max(1, len(labels))), frameon=False,
                  fontsize=9)  # fmt: skip
    figure.suptitle(title, fontsize=10)
    with reporting(path), replacing_file(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png")


def draw_recall(report: Report, path: Path) -> None:
    """Share of scenes below each error: one row per number of views, one panel per figure, one line per method.

    A scene without a figure (no pose, no point) never gets below any error.
    """
    counts = sorted({trial.views for trial in report.trials})
    methods = list(dict.fromkeys(trial.method for trial in report.trials))
    figure, panels = new_figure(max(1, len(counts)), len(PANELS))
    for row, count in zip(panels, counts, strict=False):
        for axes, name in zip(row, PANELS, strict=True):
            limit = 180.0 if FIGURES[name].unit == "degrees" else 1.0
            for method in methods:
                trials = [trial for trial in report.trials if (trial.views, trial.method) == (count, method)]
                # NaN stays in the number of trials: a scene without a figure is below no error
                errors = np.sort(known([trial.figures.get(name, np.nan) for trial in trials]))
                shares = np.arange(1, len(errors) + 1) / max(1, len(trials))
                line = {**style(method, methods), "marker": None}
                axes.step([0, *errors, limit], [0, *shares, shares[-1] if len(shares) else 0], where="post",
                          label=method, **line)  # fmt: skip
            axes.set_xlim(0, limit)
            axes.set_ylim(0, 1.02)
            if limit == 180.0:
                axes.set_xticks(range(0, 181, 45))
            dress(axes, FIGURES[name].axis, f"share of trials, {count} views")
    names = ", ".join(dict.fromkeys(trial.set for trial in report.trials))
    title = textwrap.shorten(names, 90, placeholder=" …")
    finish(figure, panels[0][0], f"Share of trials below an error\n{title}", path)
