"""All trials of novel views, their means over scenes, and how the methods compare scene by scene."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Any

from worldline.eval.novel.figures import NOVEL_FIGURES
from worldline.eval.report import TrialReport, difference, figures_table, means_table, table
from worldline.eval.statistics import mean_interval, rounded

GROUPS = {
    "novel": "Photos that were held out",
    "input": "Photos that were shown, rendered again from their true cameras",
    "own": "Photos that were shown, rendered again from the cameras that the model found (where it found one)",
}
_COMPARED = ("psnr", "psnr_seen", "ssim", "lpips")
_WITHOUT_INTERVAL = ("coverage", "seen")
_DIGITS = 3


@dataclass(frozen=True)
class NovelTrial:
    """One method on one group of photos of one scene: means over the photos."""

    set: str
    views: int  # photos that were shown
    scene: str
    method: str
    group: str  # one of GROUPS
    figures: Mapping[str, float]


@dataclass
class NovelReport(TrialReport):
    """All trials, in the order in which they were made."""

    about: dict[str, Any]
    trials: list[NovelTrial] = field(default_factory=list)

    @property
    def counts(self) -> list[int]:
        """Numbers of shown photos, ascending."""
        return sorted({trial.views for trial in self.trials})

    def of(self, method: str, views: int, group: str = "novel") -> dict[str, Mapping[str, float]]:
        """Figures of a method by scene; the name of the set is part of the scene's where there are several."""
        several = len({trial.set for trial in self.trials}) > 1
        return {
            f"{trial.set} {trial.scene}" if several else trial.scene: trial.figures
            for trial in self.trials
            if (trial.method, trial.views, trial.group) == (method, views, group)
        }

    def means(self) -> list[dict[str, Any]]:
        """Mean over scenes with its 95 % bootstrap interval, per group, number of views and method."""
        records = []
        for group in GROUPS:
            for views in self.counts:
                for method in self.methods:
                    rows = self.of(method, views, group).values()
                    if not rows:
                        continue
                    names = [name for name in NOVEL_FIGURES if any(name in row for row in rows)]
                    found = {name: mean_interval([row.get(name, nan) for row in rows]) for name in names}
                    records.append({"group": group, "views": views, "method": method, "scenes": len(rows)} | {
                        name: [rounded(value) for value in values] for name, values in found.items()
                    })  # fmt: skip
        return records

    def comparison(self) -> list[dict[str, Any]]:
        """The first method minus every other on held-out photos, scene by scene: mean difference and its interval."""
        return [
            record
            for views in self.counts
            for method in self.methods[1:]
            for name in _COMPARED
            if (record := self._compared(views, method, name)) is not None
        ]

    def _compared(self, views: int, method: str, name: str) -> dict[str, Any] | None:
        first, other = self.of(self.methods[0], views), self.of(method, views)
        row = difference(first, other, NOVEL_FIGURES[name], "scenes")
        if row is None:
            return None
        row |= {key: rounded(row[key], _DIGITS) for key in ("difference", "low", "high")}
        return {"views": views, "figure": NOVEL_FIGURES[name].axis, "against": method, **row}

    def as_json(self) -> dict[str, Any]:
        """Everything, down to the single scene."""
        trials = [
            {"set": t.set, "views": t.views, "scene": t.scene, "method": t.method, "group": t.group}
            | {name: rounded(value) for name, value in t.figures.items()}
            for t in self.trials
        ]
        return {**self.about, "means": self.means(), "comparison": self.comparison(), "trials": trials}

    def as_markdown(self, *, with_definitions: bool = True) -> str:
        """Tables, the command that made them, and the definitions of their columns."""
        parts = self.heading()
        parts += [self.facts(), "Mean over scenes, 95 % bootstrap interval."]
        for group, title in GROUPS.items():
            if any(trial.group == group for trial in self.trials):
                parts += [f"{title}:", self._table(group)]
        if comparison := self.comparison():
            title = f"{self.methods[0]} minus the others on held-out photos, scene by scene:"
            parts += [title, table(comparison, list(comparison[0]))]
        if with_definitions:
            measured = {name for trial in self.trials for name in trial.figures}
            shown = {figure.axis: figure for name, figure in NOVEL_FIGURES.items() if name in measured}
            alignment = f"Alignment of all figures: {NOVEL_FIGURES['psnr'].alignment}."
            parts += [alignment, figures_table(shown, aligned=False)]
        return "\n\n".join(parts) + "\n"

    def facts(self) -> str:
        """One paragraph: which scenes, which weights."""
        about = self.about
        models = ", ".join(f"{label} (sha256 {str(info['sha256'])[:12]})" for label, info in about["models"].items())
        scenes = list(dict.fromkeys(trial.scene for trial in self.trials))
        # of photos that someone else took nobody knows what a model has seen
        split = " of the test split, on which no recipe trains" if "first seed" in about else ""
        return (
            f"{about['suite'].capitalize()}: {len(scenes)} scenes, {scenes[0]} to {scenes[-1]}{split}; "
            f"{about['held out']} photos of {about['size']}x{about['size']} pixels held out per scene. "
            f"Models: {models or 'none'}. LPIPS: {about['lpips'].removeprefix('LPIPS: ')}. "
            f"PyTorch {about['versions']['torch']}."
        )

    def draw(self, path: Path) -> None:
        """The plot beside the tables."""
        from worldline.eval.novel.plots import draw_report

        draw_report(self, path)

    def _table(self, group: str) -> str:
        pairs = [(views, method) for views in self.counts for method in self.methods]
        groups = [((views, method), list(self.of(method, views, group).values())) for views, method in pairs]
        titles = {name: figure.axis for name, figure in NOVEL_FIGURES.items()}
        return means_table(groups, ("views", "method"), titles, "scenes", plain=_WITHOUT_INTERVAL)
