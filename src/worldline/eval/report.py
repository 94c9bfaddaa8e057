"""The result of an evaluation: figures of every scene, their summaries, comparisons, definitions; JSON and Markdown."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from worldline.eval.figures import FIGURES, Figure, definitions
from worldline.eval.paper import PAPER_FIGURES
from worldline.eval.statistics import bootstrap, center, mean_cell, mean_interval, paired, quartiles, rounded
from worldline.files import reporting, write_json

COMPARED = ("point_error", "abs_rel", "delta125", "rotation", "auc30", "nd_first")
_LIMITS = ("auc5", "auc15", "seconds")  # shown in the JSON only: the table would not fit a page
TABLE = tuple(
    name for name in FIGURES if name not in (*PAPER_FIGURES, *_LIMITS, "overlap")
)  # columns of the first table


class TrialReport(ABC):
    """Trials of some methods, as data, as a page and as a plot."""

    about: dict[str, Any]  # command, models, seeds, versions: what is needed to have the numbers again
    trials: list[Any]  # each of a ``method``, in the order in which they were made

    @property
    def methods(self) -> list[str]:
        """In the order in which they were measured."""
        return list(dict.fromkeys(trial.method for trial in self.trials))

    @abstractmethod
    def as_json(self) -> dict[str, Any]:
        """Everything, down to the single trial; may hold NaN."""

    @abstractmethod
    def as_markdown(self, *, with_definitions: bool = True) -> str:
        """The tables, the command that made them, and the definitions of their columns."""

    @abstractmethod
    def draw(self, path: Path) -> None:
        """The plot beside the tables.

        Raises:
            MissingExtraError: matplotlib is not installed.
        """

    def heading(self) -> list[str]:
        """The command that made the page, where it is known."""
        return [f"```text\n{self.about['command']}\n```"] if "command" in self.about else []

    def write(self, path: Path, *, plot: bool = False) -> list[Path]:
        """Write ``path`` (JSON) and, beside it, the same name with ``.md`` and, if wanted, ``.png``.

        Raises:
            MissingExtraError: a plot is wanted and matplotlib is not installed.
            OutputError: no permission, full disk.
        """
        files = write_report(self, path)
        if plot:
            files.append(path.with_suffix(".png"))
            self.draw(files[-1])
        return files


@dataclass(frozen=True)
class Trial:
    """One method on one set of photos."""

    set: str
    views: int
    trial: str  # which scene or choice of frames: equal for all methods that saw it
    method: str
    figures: Mapping[str, float]


@dataclass
class Report(TrialReport):
    """All trials of an evaluation, in the order in which they were made."""

    about: dict[str, Any]  # command, models, seeds, versions: what is needed to have the numbers again
    models: Sequence[str]  # labels of the models; the first is what the others are compared with
    trials: list[Trial] = field(default_factory=list)

    def summary(self) -> list[dict[str, Any]]:
        """One record per set, number of views and method: the middle of every figure over the scenes."""
        records = []
        for (name, views, method), trials in self._groups().items():
            record: dict[str, Any] = {"set": name, "views": views, "method": method}
            for figure in _figures_of(trials):
                record[figure] = rounded(center(figure, _values(trials, figure)))
            records.append({**record, "scenes": len(trials)})
        return records

    def spread(self) -> list[dict[str, Any]]:
        """As :meth:`summary`: quartiles and the 95 % bootstrap interval of every figure."""
        records = []
        for (name, views, method), trials in self._groups().items():
            record: dict[str, Any] = {"set": name, "views": views, "method": method}
            for figure in _figures_of(trials):
                values = _values(trials, figure)
                record[figure] = {
                    "quartiles": [rounded(value) for value in quartiles(values)],
                    "interval": [rounded(value) for value in bootstrap(figure, values)],
                }
            records.append(record)
        return records

    def comparison(self) -> list[dict[str, Any]]:
        """Every further model against the first one, on the same scenes."""
        records = []
        groups = self._groups()
        for (name, views, method), trials in groups.items():
            if method not in self.models[1:]:
                continue
            base = {trial.trial: trial for trial in groups.get((name, views, self.models[0]), [])}
            shared = [trial for trial in trials if trial.trial in base]
            for figure in [figure for figure in COMPARED if figure in _figures_of(trials)]:
                first = [base[trial.trial].figures.get(figure, math.nan) for trial in shared]
                found = paired(figure, first, _values(shared, figure))
                row = {key: rounded(value) for key, value in found.items()}
                records.append({"set": name, "views": views, "figure": figure, "method": method,
                                "against": self.models[0], **row})  # fmt: skip
        return records

    def as_json(self) -> dict[str, Any]:
        """Everything, down to the single scene."""
        names = dict.fromkeys(name for trial in self.trials for name in trial.figures)
        return {
            **self.about,
            "definitions": definitions(names),
            "summary": self.summary(),
            "spread": self.spread(),
            "comparison": self.comparison(),
            "trials": [
                {"set": t.set, "views": t.views, "trial": t.trial, "method": t.method, **t.figures} for t in self.trials
            ],
        }

    def as_markdown(self, *, with_definitions: bool = True) -> str:
        """The tables, the command that made them, and the definitions of their columns."""
        summary = self.summary()
        keys = ("set", "views", "method")
        tables = [table(summary, (*keys, *TABLE, "scenes"))]
        paper = [record for record in summary if any(name in record for name in PAPER_FIGURES)]
        if paper:
            title = "Protocol of MV-DUSt3R+, means over scenes; first and best reference row (chosen with the truth):"
            tables += [title, table(paper, (*keys, *PAPER_FIGURES))]
        compared = self.comparison()
        if compared:
            title = f"Against {self.models[0]} on the same scenes (difference, 95 % interval, share of scenes better):"
            tables += [title, table(compared, list(compared[0]))]
        shown = [name for name in (*TABLE, *PAPER_FIGURES) if any(name in record for record in summary)]
        head = self.heading()
        return "\n\n".join([*head, *tables, *([definition_table(shown)] if with_definitions else [])]) + "\n"

    def draw(self, path: Path) -> None:
        """The plot beside the tables."""
        from worldline.eval.plots import draw_recall

        draw_recall(self, path)

    def _groups(self) -> dict[tuple[str, int, str], list[Trial]]:
        groups: dict[tuple[str, int, str], list[Trial]] = {}
        for trial in self.trials:
            groups.setdefault((trial.set, trial.views, trial.method), []).append(trial)
        return groups


def table(records: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Records as a Markdown table; columns that no record has are left out, missing and undefined values are "–"."""
    records = list(records)
    shown = [column for column in columns if any(column in record for record in records)]
    lines = ["| " + " | ".join(shown) + " |", "|" + "---|" * len(shown)]
    lines += ["| " + " | ".join(_cell(record.get(column)) for column in shown) + " |" for record in records]
    return "\n".join(lines)


def means_table(
    groups: Iterable[tuple[tuple[Any, ...], Sequence[Mapping[str, float]]]], keys: Sequence[str],
    titles: Mapping[str, str], counted: str, *, plain: Sequence[str] = (),
) -> str:  # fmt: skip
    """Markdown: one line per group of trials, then mean and 95 % interval of the figures that it has.

    Args:
        groups: labels, which stand under ``keys``, and the figures of every trial.
        titles: of the columns by name of the figure.
        counted: what a trial is, e.g. ``scenes``: the last column says how many there are.
        plain: figures of which the mean alone is shown.
    """
    lines = []
    for labels, group in groups:
        line = dict(zip(keys, labels, strict=True))
        for name, title in titles.items():
            values = [figures.get(name, math.nan) for figures in group]
            text = mean_cell(values)
            if text is not None:
                line[title] = f"{mean_interval(values)[0]:.2f}" if name in plain else text
        if len(line) > len(keys):
            lines.append({**line, counted: len(group)})
    return table(lines, (*keys, *titles.values(), counted))


def difference(
    first: Mapping[Any, Mapping[str, float]], other: Mapping[Any, Mapping[str, float]], figure: Figure, counted: str
) -> dict[str, Any] | None:
    """One method minus another, trial by trial.

    Args:
        first: and ``other``: figures by trial; trials of which one of them has no figure do not count.
        counted: what a trial is, e.g. ``scenes``.

    Returns:
        ``difference`` (mean), ``low`` and ``high`` (95 % interval), ``<counted> better`` (in how many the first is);
        None where no trial counts.
    """
    shared = [trial for trial in first if trial in other]
    gaps = [first[trial].get(figure.name, math.nan) - other[trial].get(figure.name, math.nan) for trial in shared]
    gaps = [gap for gap in gaps if not math.isnan(gap)]
    if not gaps:
        return None
    mean, low, high = mean_interval(gaps)
    wins = sum(gap < 0 if figure.better == "lower" else gap > 0 for gap in gaps)
    return {"difference": mean, "low": low, "high": high, f"{counted} better": f"{wins} of {len(gaps)}"}


def figures_table(figures: Mapping[str, Figure], *, aligned: bool = True) -> str:
    """What the figures of a page are, by the names that its columns have.

    Args:
        aligned: say of each what was aligned before it was measured.
    """
    rows = [
        {"figure": name, "meaning": f.meaning, "alignment": f.alignment, "unit": f.unit, "better": f.better}
        for name, f in figures.items()
    ]
    return table(rows, ("figure", "meaning", *(("alignment",) if aligned else ()), "unit", "better"))


def definition_table(names: Iterable[str]) -> str:
    """The definitions of some figures as a Markdown table; figures that differ by their reference row share one."""
    rows: dict[str, dict[str, str]] = {}
    for name in names:
        if name in FIGURES:
            entry = definitions([name])[0] | {"meaning": FIGURES[name].meaning}
            rows.setdefault(entry["meaning"], {**entry, "figure": ""})["figure"] += f", {name}"
    entries = [{**row, "figure": row["figure"].removeprefix(", ")} for row in rows.values()]
    return table(entries, ("figure", "meaning", "alignment", "unit", "better", "over scenes"))


def without_nan(values: Any) -> Any:
    """The same with None for NaN and infinity, which JSON does not know."""
    if isinstance(values, float):
        return values if math.isfinite(values) else None
    if isinstance(values, Mapping):
        return {key: without_nan(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [without_nan(value) for value in values]
    return values


class Writable(Protocol):
    """A report as data and as a page."""

    def as_json(self) -> Any:
        """Everything that was measured; may hold NaN."""

    def as_markdown(self) -> str:
        """For people."""


def write_report(report: Writable, path: Path) -> list[Path]:
    """Write ``path`` (JSON) and, beside it, the same name with ``.md``.

    Raises:
        OutputError: no permission, full disk.
    """
    write_json(path, without_nan(report.as_json()))
    write_text(path.with_suffix(".md"), report.as_markdown())
    return [path, path.with_suffix(".md")]


def write_text(path: Path, text: str) -> None:
    """Write text whole or not at all; missing parents are made."""
    from worldline.files import replacing_file

    with reporting(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(path) as temporary:
            temporary.write_text(text, encoding="utf-8")


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def _figures_of(trials: Sequence[Trial]) -> list[str]:
    return list(dict.fromkeys(name for trial in trials for name in trial.figures))


def _values(trials: Sequence[Trial], figure: str) -> list[float]:
    return [trial.figures.get(figure, math.nan) for trial in trials]
