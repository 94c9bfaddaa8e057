"""What all pages of figures share: tables of means, differences trial by trial, files."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import Any

import pytest

from worldline.eval.figures import Figure
from worldline.eval.report import TrialReport, difference, figures_table, means_table

ERROR = Figure("error", "how wrong", "none", "m", "lower", "mean", "error (m)")
SCORE = Figure("score", "how right", "one factor", "", "higher", "mean", "score")


@pytest.mark.parametrize(("figure", "wins"), [(ERROR, "1 of 2"), (SCORE, "1 of 2")])
def test_methods_are_compared_on_the_trials_of_both(figure: Figure, wins: str) -> None:
    name = figure.name
    first = {1: {name: 1.0}, 2: {name: 5.0}, 3: {name: nan}, 4: {name: 9.0}, 5: {}}
    other = {5: {name: 1.0}, 3: {name: 1.0}, 2: {name: 2.0}, 1: {name: 2.0}}
    row = difference(first, other, figure, "scenes")
    assert row is not None
    assert (row["difference"], row["scenes better"]) == (1.0, wins)  # -1 and 3
    assert row["low"] <= 1 <= row["high"]
    assert difference({1: {name: nan}}, other, figure, "scenes") is None


def test_only_strictly_better_trials_count() -> None:
    first, other = (
        {n: {"error": 1.0, "score": 1.0} for n in range(3)},
        {n: {"error": 1.0, "score": 0.0} for n in range(3)},
    )
    for figure, wins in ((ERROR, "0 of 3"), (SCORE, "3 of 3")):
        row = difference(first, other, figure, "films")
        assert row is not None and row["films better"] == wins


def test_means_stand_beside_their_interval_and_their_number() -> None:
    groups = [
        ((4, "new"), [{"error": 1.0, "seen": 0.25}, {"error": 3.0, "seen": 0.5}]),
        ((4, "old"), [{"seen": 0.5}]),
        ((8, "old"), [{"error": nan}]),  # nothing is known: no line
    ]
    page = means_table(groups, ("views", "method"), {"error": "error (m)", "seen": "seen"}, "scenes", plain=("seen",))
    head, _, new, old = page.splitlines()
    assert head == "| views | method | error (m) | seen | scenes |"
    assert new.startswith("| 4 | new | 2 [") and new.endswith("| 0.38 | 2 |")
    assert old == "| 4 | old | – | 0.50 | 1 |"


def test_definitions_say_what_was_aligned_where_it_differs() -> None:
    figures = {"error (m)": ERROR, "score": SCORE}
    assert "| error (m) | how wrong | none | m | lower |" in figures_table(figures)
    assert "one factor" not in figures_table(figures, aligned=False)


@dataclass
class Page(TrialReport):
    about: dict[str, Any]
    trials: list[Any] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {**self.about, "worst": nan}

    def as_markdown(self, *, with_definitions: bool = True) -> str:
        return "\n".join([*self.heading(), "a page"])

    def draw(self, path: Path) -> None:
        path.write_bytes(b"a plot")


def test_a_report_is_data_a_page_and_a_plot_if_wanted(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "page.json"
    assert Page({}).write(path) == [path, path.with_suffix(".md")]
    assert json.loads(path.read_text(encoding="utf-8")) == {"worst": None}
    assert path.with_suffix(".md").read_text(encoding="utf-8") == "a page"
    assert not path.with_suffix(".png").exists()
    files = Page({"command": "worldline eval"}).write(path, plot=True)
    assert files[2].read_bytes() == b"a plot"
    assert path.with_suffix(".md").read_text(encoding="utf-8").startswith("```text\nworldline eval\n```")
