"""Plot of novel views: figures of every method by the number of shown photos."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldline.eval.novel.figures import NOVEL_FIGURES
from worldline.eval.novel.methods import CEILING, MEAN_COLOR, NEAREST
from worldline.eval.plots import dress, finish, new_figure, style
from worldline.eval.statistics import mean_interval

if TYPE_CHECKING:
    from worldline.eval.novel.report import NovelReport

_GREY = "#777777"
_BASELINES: dict[str, dict[str, Any]] = {
    NEAREST: {"color": _GREY, "linestyle": "--", "marker": "x"},
    MEAN_COLOR: {"color": "#aaaaaa", "linestyle": ":", "marker": "x"},
    CEILING: {"color": "#000000", "linestyle": "-.", "marker": "*"},
}
_PANELS = ("psnr", "psnr_seen", "ssim", "lpips")


def draw_report(report: NovelReport, path: Path) -> None:
    """Means over scenes of held-out photos with their 95 % intervals, one panel per figure."""
    names = [name for name in _PANELS if any(name in trial.figures for trial in report.trials)]
    figure, panels = new_figure(1, len(names))
    methods = report.methods
    for axes, name in zip(panels[0], names, strict=True):
        for number, method in enumerate(methods):
            offset = 0.07 * (number - (len(methods) - 1) / 2)
            look = {"markersize": 4.5, "linewidth": 1.3, **_look(method, methods)}
            places, means = [], []
            for place, views in enumerate(report.counts):
                values = [row.get(name, math.nan) for row in report.of(method, views).values()]
                mean, low, high = mean_interval(values)
                places.append(place + offset)
                means.append(mean)
                if not math.isnan(low):
                    axes.plot([place + offset] * 2, [low, high], color=look["color"], linewidth=1.5, alpha=0.6)
            axes.plot(places, means, label=method, **look)
        axes.set_xticks(range(len(report.counts)), [str(count) for count in report.counts])
        axes.set_xlim(-0.4, len(report.counts) - 0.6)
        definition = NOVEL_FIGURES[name]
        unit = f", {definition.unit}" if definition.unit else ""
        dress(axes, "shown photos", f"{definition.axis}{unit} ({definition.better} is better)")
    scenes = len(report.of(methods[0], report.counts[0]))
    title = f"{report.about['suite'].capitalize()}: mean and 95 % interval of {scenes} test scenes"
    finish(figure, panels[0][0], title, path)


def _look(method: str, methods: list[str]) -> dict[str, Any]:
    known = _BASELINES.get(method)
    return known or style(method, [name for name in methods if name not in _BASELINES])
