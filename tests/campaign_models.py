"""Tiny campaigns for tests: recipes that run in seconds, weights to compare with, small evaluations."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from worldline.train.campaign.options import Options, Scale
from worldline.train.campaign.suites import NEW, SHIPPED
from worldline.train.campaign.verdict import MAIN
from worldline.train.catalog import find_recipe
from worldline.train.clips import clips
from worldline.train.streams import drives
from worldline.train.tasks import task_of
from worldline.weights import save_model

RECIPES = {"mvdust3r-plus-mini": "tiny", "d4rt-mini": "d4rt-tiny", "driv3r-mini": "driv3r-tiny"}
SMALL = Scale(
    scenes=1, views=(2,), held_out=1, steps=3, drive_size=(32, 64), frames=4, film_size=(45, 60), max_subsets=1
)


def save_untrained(model: str, folder: Path) -> Path:
    """Weights of a tiny network that learned nothing, in the role of the shipped ones."""
    recipe = replace(find_recipe(RECIPES[model]).build(folder), seed=5)
    card = {"name": model, "license": "Apache-2.0", "domain": "tests", "image_size": 32, "citation": "none"}
    return save_model(task_of(recipe).build(recipe), folder / f"untrained-{model}", card=card)


def tiny_options(model: str, folder: Path, **changes: Any) -> Options:
    """A campaign of a few steps."""
    options = Options(
        model, folder / "run", steps=6, recipe=RECIPES[model], device="cpu", profile_steps=1, workers=1, scale=SMALL,
        against=str(folder / f"untrained-{model}"),
    )  # fmt: skip
    return replace(options, **changes)


def made_up_trials(good: str, suite: str, count: int = 3) -> list[dict[str, Any]]:
    """Trials of a suite in which one model is better than the other everywhere."""
    figure = MAIN[suite]
    values = {True: 0.1, False: 0.2} if figure.better == "lower" else {True: 20.0, False: 10.0}
    return [
        {
            "set": suite, "views": 4, "trial": str(trial), "method": method,
            "figures": {figure.name: values[method == good] + trial / 100},
        }
        for trial in range(count)
        for method in (NEW, SHIPPED)
    ]  # fmt: skip


_DRIVE, _CLIP = cache(drives.render_drive), cache(clips.render_clip)


def keep_rendered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let all runs of the tests share what they render; it is the same for the same seed."""
    monkeypatch.setattr("worldline.train.streams.sources.render_drive", _DRIVE)
    monkeypatch.setattr("worldline.train.clips.sources.render_clip", _CLIP)
