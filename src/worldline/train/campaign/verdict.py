"""Is the new model better? One figure per suite, compared scene by scene; better means better everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from typing import Any, Literal

import numpy as np

from worldline.eval.novel.methods import POINTS
from worldline.eval.report import table, without_nan, write_text
from worldline.eval.statistics import known
from worldline.files import write_json
from worldline.train.campaign.suites import NEW, REAL, SHIPPED

_RESAMPLES, _SEED = 2000, 0


@dataclass(frozen=True)
class MainFigure:
    """The figure that decides about a suite."""

    name: str
    better: Literal["lower", "higher"]
    middle: Literal["median", "mean"]  # over scenes, as the suite's own tables have it


_POINTS = MainFigure("point_error", "lower", "median")
MAIN: dict[str, MainFigure] = {
    "rooms": _POINTS,
    "objects": _POINTS,
    "outdoor": _POINTS,
    "street": _POINTS,
    "dynamic": _POINTS,
    "real": _POINTS,
    "novel-rooms": MainFigure("psnr", "higher", "mean"),  # of held-out photos, with the Gaussians
    "films": MainFigure("abs_rel", "lower", "mean"),  # one scale per film
    "streams": MainFigure("abs_rel", "lower", "mean"),  # metres, nothing aligned
}


def compare(suite: str, trials: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per set and number of views: both models, and their difference scene by scene (or per sequence).

    The 95 % interval is a percentile bootstrap over scenes. Scenes that lack the figure of one of them do not count,
    but those that only the new model lacks are ``lost``. ``better``: the middle difference is an improvement and
    nothing is lost.
    """
    figure, rows = MAIN[suite], []
    kept = _rows_of(trials)
    if suite == REAL:
        kept = _by_sequence(kept, figure)
    for name, views in dict.fromkeys((t["set"], t["views"]) for t in kept):
        values = {
            label: {
                t["trial"]: _number(t["figures"].get(figure.name))
                for t in kept
                if (t["set"], t["views"], t["method"]) == (name, views, label)
            }
            for label in (NEW, SHIPPED)
        }
        shared = [
            trial
            for trial in values[NEW]
            if not isnan(values[NEW][trial]) and not isnan(values[SHIPPED].get(trial, nan))
        ]
        new, shipped = (np.array([values[label][trial] for trial in shared]) for label in (NEW, SHIPPED))
        row = {"suite": suite, "set": name, "views": views, "figure": figure.name, **_paired(figure, new, shipped)}
        row["lost"] = sum(not isnan(value) for value in values[SHIPPED].values()) - len(shared)
        rows.append(row | {"better": row["better"] and not row["lost"]})
    return rows


def _rows_of(trials: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of the models themselves; held-out photos are drawn with Gaussians, or as points where nobody has them."""
    kept = [t for t in trials if t.get("group", "novel") == "novel"]
    if any("group" in t for t in kept) and not any(t["method"] == SHIPPED for t in kept):
        names = {f"{label}, {POINTS}": label for label in (NEW, SHIPPED)}
        kept = [{**t, "method": names[t["method"]]} for t in kept if t["method"] in names]
    return [t for t in kept if t["method"] in (NEW, SHIPPED)]


def _by_sequence(trials: Sequence[Mapping[str, Any]], figure: MainFigure) -> list[Mapping[str, Any]]:
    """Recorded sequences count once each, however many choices of frames they have: the median of these."""
    groups: dict[tuple[str, int, str], list[float]] = {}
    for t in trials:
        groups.setdefault((t["set"], t["views"], t["method"]), []).append(_number(t["figures"].get(figure.name)))
    return [
        {"set": "sequences", "views": views, "trial": name, "method": method,
         "figures": {figure.name: float(np.median(values))}}
        for (name, views, method), values in groups.items()
    ]  # fmt: skip


def _paired(figure: MainFigure, new: np.ndarray, shipped: np.ndarray) -> dict[str, Any]:
    middle = np.median if figure.middle == "median" else np.mean
    if len(new) == 0:
        return {"scenes": 0, NEW: nan, SHIPPED: nan, "difference": nan, "low": nan, "high": nan, "better": False}
    gap = known(new - shipped)
    draws = np.random.default_rng(_SEED).integers(0, len(gap), (_RESAMPLES, len(gap)))
    low, high = np.quantile(middle(gap[draws], axis=1), (0.025, 0.975))
    gain = -gap if figure.better == "lower" else gap
    return {
        "scenes": len(gap),
        NEW: float(middle(new)),
        SHIPPED: float(middle(shipped)),
        "difference": float(middle(gap)),
        "low": float(low),
        "high": float(high),
        "share better": float((gain > 0).mean()),
        "better": bool(middle(gain) > 0),
    }


def judge(found: Mapping[str, Sequence[Mapping[str, Any]] | None]) -> dict[str, Any]:
    """The verdict on a model.

    Args:
        found: trials by suite; None where a suite could not be measured.

    Returns:
        ``better`` (True: in every row of every suite), ``reasons`` against it, and the rows.
    """
    rows, reasons = list[dict[str, Any]](), list[str]()
    for suite, trials in found.items():
        compared = compare(suite, trials) if trials is not None else []
        rows += compared
        if trials is None:
            reasons.append(f"{suite} was not measured")
        elif not any(row["scenes"] for row in compared):
            reasons.append(f"{suite} has no scene that both models were measured on")
    reasons += [
        f"{row['suite']} with {row['views']} views ({row['set']}): {row['figure']} {row[NEW]:.4g} "
        f"instead of {row[SHIPPED]:.4g}" + (f", and none in {row['lost']} scenes" if row["lost"] else "")
        for row in rows
        if row["scenes"] and not row["better"]
    ]
    return {
        "better": bool(rows) and not reasons,
        "reasons": reasons,
        "rows": rows,
        "rule": "better in the middle paired difference of the main figure, for every set and number of views",
    }


def sentence(verdict: Mapping[str, Any]) -> str:
    """The verdict in one sentence."""
    if verdict["better"]:
        return f"Better than the shipped weights in all {len(verdict['rows'])} comparisons."
    said = "; ".join(verdict["reasons"][:3]) or "nothing was measured"
    more = f"; and {len(verdict['reasons']) - 3} more" if len(verdict["reasons"]) > 3 else ""
    return f"Not better than the shipped weights everywhere: {said}{more}."


def write_verdict(folder: Path, verdict: Mapping[str, Any], about: Mapping[str, str], pages: Sequence[str]) -> None:
    """``verdict.json``, and ``verdict.md`` with the tables of both models, whichever is better."""
    write_json(folder / "verdict.json", without_nan({**verdict, "about": dict(about)}))
    columns = ("suite", "set", "views", "figure", "scenes", NEW, SHIPPED, "difference", "low", "high", "share better",
               "lost", "better")  # fmt: skip
    rows = [row | {"better": "yes" if row["better"] else "no"} for row in verdict["rows"]]
    parts = [
        "# Verdict",
        sentence(verdict),
        "\n".join(f"- {name}: {value}" for name, value in about.items()),
        f"Rule: {verdict['rule']}. Differences are {NEW} minus {SHIPPED}, with their 95 % bootstrap interval.",
        table(rows, columns) if rows else "Nothing was compared.",
        *pages,
    ]
    write_text(folder / "verdict.md", "\n\n".join(parts) + "\n")


def _number(value: Any) -> float:
    return nan if value is None else float(value)
