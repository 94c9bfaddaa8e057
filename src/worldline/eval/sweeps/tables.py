"""What a sweep found: middle and spread over scenes per level and method, and the change from the base level."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from worldline.eval.figures import FIGURES, definitions
from worldline.eval.report import definition_table, table
from worldline.eval.statistics import bootstrap, center, paired, quartiles, rounded
from worldline.eval.sweeps.plan import Sweep

SHOWN = ("point_error", "abs_rel", "delta125", "rotation", "auc30", "registered", "overlap", "seconds")
CHANGED = ("point_error", "abs_rel", "rotation")


def summarize(sweep: Sweep, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Levels, changes and the definitions of the figures, ready for JSON."""
    groups: dict[tuple[float, str], list[Mapping[str, Any]]] = {}
    for record in sorted(records, key=lambda record: record["level"]):
        groups.setdefault((record["level"], record["method"]), []).append(record)
    names = [name for name in FIGURES if any(name in record for record in records)]
    levels = []
    for (level, method), rows in groups.items():
        entry: dict[str, Any] = {"level": level, "method": method, "scenes": len(rows)}
        levels.append(entry | {name: _spread(name, rows) for name in names if any(name in row for row in rows)})
    found = {"definitions": definitions(names), "levels": levels, "changes": _changes(sweep, groups)}
    return found | ({"per scene": _per_scene(records)} if sweep.per_scene else {})


def as_markdown(sweep: Sweep, head: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """The sweep as a page: question, command, table, plot, changes, definitions."""
    models = ", ".join(f"{label} (sha256 {str(info['sha256'])[:12]})" for label, info in head["models"].items())
    views = f"{head['views']} views" if head["views"] != "varied" else "number of views varied"
    first, last = head["seeds"]
    facts = (
        f"Layout {head['layout']}, {views}, test seeds {first} to {last}, the same at every level. Models: {models}."
    )
    parts = [f"# {sweep.question}", f"```text\n{head['command']}\n```" if head["command"] else "", facts, sweep.note]
    shown = [name for name in SHOWN if any(name in level for level in summary["levels"])]
    parts.append(f"Middle over scenes (see the definitions), quartiles in brackets. Level: {sweep.axis}.")
    parts.append(table([_row(level, shown) for level in summary["levels"]], ("level", "method", *shown, "scenes")))
    if summary["changes"]:
        parts.append(f"Change from level {sweep.base:g}, scene by scene: median difference, 95 % bootstrap interval.")
        rows = [{**change, "interval": f"[{change['low']:.3g}, {change['high']:.3g}]"} for change in summary["changes"]]
        parts.append(table(rows, ("level", "method", "figure", "difference", "interval", "better", "scenes")))
    if summary.get("per scene"):
        parts.append("Over the levels of one scene: the best, middle and worst of them; medians over scenes.")
        parts.append(table(summary["per scene"], ("method", "figure", "best", "median", "worst", "scenes")))
    parts.append(definition_table(shown))
    return "\n\n".join(part for part in parts if part) + "\n"


def _spread(name: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    values = [row.get(name, math.nan) for row in rows]
    return {
        "middle": rounded(center(name, values)),
        "quartiles": [rounded(value) for value in quartiles(values)],
        "interval": [rounded(value) for value in bootstrap(name, values)],
    }


def _changes(sweep: Sweep, groups: Mapping[tuple[float, str], Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    changes = []
    for (level, method), rows in groups.items():
        base = {row["seed"]: row for row in groups.get((sweep.base, method), ())}
        shared = [row for row in rows if row["seed"] in base]
        if level == sweep.base or not shared:
            continue
        for name in CHANGED:
            first = [base[row["seed"]].get(name, math.nan) for row in shared]
            found = paired(name, first, [row.get(name, math.nan) for row in shared])
            figures = {key: rounded(value) for key, value in found.items()}
            changes.append({"level": level, "method": method, "figure": name, **figures})
    return changes


def _per_scene(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """How far the levels of one scene lie apart: what a perfect and what the worst choice would give."""
    found = []
    for method in dict.fromkeys(record["method"] for record in records):
        for name in CHANGED:
            scenes: dict[int, list[float]] = {}
            for record in records:
                if record["method"] == method and not math.isnan(record.get(name, math.nan)):
                    scenes.setdefault(record["seed"], []).append(record[name])
            row: dict[str, Any] = {"method": method, "figure": name, "scenes": len(scenes)}
            for label, choose in (("best", min), ("median", np.median), ("worst", max)):
                row[label] = rounded(center(name, [float(choose(values)) for values in scenes.values()]))
            found.append(row)
    return found


def _row(level: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    cells = {}
    for name in names:
        if name in level:
            middle, (low, high) = level[name]["middle"], level[name]["quartiles"]
            cells[name] = None if math.isnan(middle) else f"{middle:.3g} [{low:.3g}, {high:.3g}]"
    return {"level": f"{level['level']:g}", "method": level["method"], "scenes": level["scenes"], **cells}
