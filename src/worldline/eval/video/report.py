"""Results of an evaluation on videos: figures of every video, their means, their definitions; JSON and Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from worldline.eval.report import table, write_report
from worldline.eval.video.figures import ALIGNMENTS, TABLES, VIDEO_FIGURES

_KEYS = ("table", "set", "method", "alignment")


@dataclass(frozen=True)
class Score:
    """Figures of one method on one video under one alignment."""

    table: str  # key of TABLES
    set: str  # data set, or part of one
    video: str
    method: str
    alignment: str  # key of ALIGNMENTS[table]
    figures: Mapping[str, float]
    weight: float = 1.0  # in means


@dataclass
class VideoReport:
    """All scores of a suite, in the order in which they were made."""

    about: dict[str, Any]
    scores: list[Score] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what a reader must know: missing files, videos left out

    def summary(self) -> list[dict[str, Any]]:
        """One record per table, set, method and alignment: means over videos, weighted where the protocol says so.

        Where a set has several parts (subsets of TAPVid-3D), their plain mean follows.
        """
        records, parts = [], dict.fromkeys(score.set for score in self.scores)
        for key, scores in self._groups(*_KEYS).items():
            records.append({**dict(zip(_KEYS, key, strict=True)), **_means(scores), "videos": len(scores)})
        if len(parts) > 1:
            groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
            for record in records:
                groups.setdefault((record["table"], record["method"], record["alignment"]), []).append(record)
            for (name, method, alignment), group in groups.items():
                head = {"table": name, "set": f"mean of {len(group)}", "method": method, "alignment": alignment}
                names = [n for n in group[0] if n not in (*_KEYS, "videos")]
                means = {n: _mean([r.get(n) for r in group], [1.0] * len(group)) for n in names}
                records.append({**head, **means, "videos": sum(r["videos"] for r in group)})
        return records

    def as_json(self) -> dict[str, Any]:
        """Everything, down to the single video."""
        tables = dict.fromkeys(score.table for score in self.scores)
        used = {name: sorted({s.alignment for s in self.scores if s.table == name}) for name in tables}
        return {
            **self.about,
            "notes": self.notes,
            "summary": self.summary(),
            "alignments": {name: {a: ALIGNMENTS[name][a] for a in used[name]} for name in tables},
            "definitions": [_definition(name) for name in self._shown()],
            "videos": [
                {"table": s.table, "set": s.set, "video": s.video, "method": s.method, "alignment": s.alignment,
                 "weight": s.weight, **s.figures}
                for s in self.scores
            ],
        }  # fmt: skip

    def as_markdown(self, *, with_definitions: bool = True) -> str:
        """One table per kind of figure and the command that made them; with definitions also every video."""
        parts = [f"```text\n{self.about['command']}\n```"] if "command" in self.about else []
        summary = self.summary()
        for name, (title, columns) in TABLES.items():
            rows = [_labelled(record, columns) for record in summary if record["table"] == name]
            if rows:
                keys = ("set", "method", "alignment", *columns.values())
                parts += [f"{title}:", table(rows, (*keys, "videos"))]
                if with_definitions:
                    parts.append("\n".join(f"* `{a}`: {ALIGNMENTS[name][a]}" for a in self._alignments(name)))
                    single = [_labelled({**vars(s), **s.figures}, columns) for s in self.scores if s.table == name]
                    parts += ["By video:", table(single, ("video", *keys))]
        parts += ["\n".join(f"* {note}" for note in self.notes)] if self.notes else []
        if with_definitions:
            rows = [{"figure": label, **_definition(name, short=True)} for name, label in self._shown().items()]
            parts.append(table(rows, ("figure", "meaning", "unit", "better")))
        return "\n\n".join(parts) + "\n"

    def write(self, path: Path) -> list[Path]:
        """Write ``path`` (JSON) and, beside it, the same name with ``.md``.

        Raises:
            OutputError: no permission, full disk.
        """
        return write_report(self, path)

    def _groups(self, *names: str) -> dict[tuple[str, ...], list[Score]]:
        groups: dict[tuple[str, ...], list[Score]] = {}
        for score in self.scores:
            groups.setdefault(tuple(getattr(score, name) for name in names), []).append(score)
        return groups

    def _alignments(self, name: str) -> list[str]:
        return list(dict.fromkeys(score.alignment for score in self.scores if score.table == name))

    def _shown(self) -> dict[str, str]:
        """Figures of all tables, with their headings."""
        tables = {score.table for score in self.scores}
        shown: dict[str, str] = {}
        for name, (_, columns) in TABLES.items():
            for figure, label in columns.items() if name in tables else ():
                known = shown.get(figure, label)
                shown[figure] = label if known == label else f"{known}, {label}"
        return shown


def _means(scores: Sequence[Score]) -> dict[str, float]:
    weights = [score.weight for score in scores]
    names = dict.fromkeys(name for score in scores for name in score.figures)
    means = {name: _mean([score.figures.get(name) for score in scores], weights) for name in names}
    if "abs_rel" in means:
        means["abs_rel_equal"] = _mean([score.figures.get("abs_rel") for score in scores], [1.0] * len(scores))
    return means


def _mean(values: Sequence[float | None], weights: Sequence[float]) -> float:
    """Weighted mean of what is defined; NaN where nothing is."""
    array = np.array([np.nan if value is None else value for value in values], np.float64)
    known = np.isfinite(array)
    if not known.any():
        return float("nan")
    return float(np.average(array[known], weights=np.asarray(weights)[known]))


def _labelled(record: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    return {**record, **{label: record[figure] for figure, label in columns.items() if figure in record}}


def _definition(name: str, *, short: bool = False) -> dict[str, str]:
    figure = VIDEO_FIGURES[name]
    entry = {"meaning": figure.meaning, "unit": figure.unit, "better": figure.better}
    return entry if short else {"figure": name, "alignment": figure.alignment, **entry}
