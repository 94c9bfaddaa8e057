"""Campaigns from start to end, on a processor at tiny size."""

import json
import os
import signal
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from campaign_models import RECIPES, keep_rendered, made_up_trials, save_untrained, tiny_options
from worldline.errors import InputError
from worldline.train.campaign import evaluation
from worldline.train.campaign.__main__ import main
from worldline.train.campaign.campaign import Campaign
from worldline.train.campaign.journal import PHASES, Journal
from worldline.train.campaign.options import MODELS, Options, recipe_of
from worldline.train.campaign.suites import NEW, SHIPPED
from worldline.train.loop import Run, train


def run_campaign(options: Options) -> bool:
    """One call."""
    return Campaign(options).run()


def after_steps(monkeypatch: pytest.MonkeyPatch, count: int, what: Any) -> None:
    """Do something to a run in training after so many of its steps; profiles come before the log is opened."""
    step = Run.train_step

    def counted(run: Run, *arguments: Any, **options: Any) -> Any:
        result = step(run, *arguments, **options)
        if run._records is not None and run.progress.step == count:
            what(run)
        return result

    monkeypatch.setattr(Run, "train_step", counted)


def pretend_measure(monkeypatch: pytest.MonkeyPatch, good: str = NEW) -> list[str]:
    """Replace the evaluation of a unit by made-up figures, one model better; returns the suites that were asked for."""
    asked = list[str]()

    def measure(unit: Any, *_: Any) -> dict[str, Any]:
        asked.append(unit.suite)
        return {"about": {}, "trials": made_up_trials(good, unit.suite)}

    monkeypatch.setattr(evaluation, "measure", measure)
    monkeypatch.setattr(evaluation, "page", lambda *_: "made up\n")
    return asked


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights to compare with, one per model."""
    folder = tmp_path_factory.mktemp("untrained")
    for model in RECIPES:
        save_untrained(model, folder)
    return folder


@pytest.mark.parametrize(
    "model", ["mvdust3r-plus-mini", "d4rt-mini", pytest.param("driv3r-mini", marks=pytest.mark.slow)]
)
def test_slices_give_the_weights_of_one_run_and_everything_is_measured(
    model: str, untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_rendered(monkeypatch)
    options = tiny_options(model, tmp_path, against=str(untrained / f"untrained-{model}"))
    handed = tmp_path / "handed"
    with monkeypatch.context() as patched:
        after_steps(patched, 2, lambda run: run.stop())
        assert not run_campaign(options)
    first = Journal(options.output)
    assert first.phase("train")["state"] == "open" and first.result("train")["progress"]["step"] == 2
    assert run_campaign(tiny_options(model, tmp_path, results_to=handed, against=options.against))

    whole = train(recipe_of(tiny_options(model, tmp_path, output=tmp_path / "whole"), first, "cpu"))
    found, expected = (
        torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (options.output, whole.parent)
    )
    for part in ("model", "ema"):
        assert all(torch.equal(found[part][name], value) for name, value in expected[part].items())

    journal = Journal(options.output)
    assert [journal.phase(name)["state"] for name in PHASES] == ["done"] * len(PHASES)
    assert [(part["from_step"], part["to_step"]) for part in journal.result("train")["parts"]] == [(0, 2), (2, 6)]
    verdict = json.loads((options.output / "verdict.json").read_text())
    assert {row["suite"] for row in verdict["rows"] if row["scenes"]} == set(MODELS[model].suites)
    assert (options.output / "results" / "model" / "card.json").exists()
    names = {path.name for path in handed.iterdir()}
    assert names == {"model-00001-of-00001.safetensors", "curve.png", "run-results.zip"}
    with zipfile.ZipFile(handed / "run-results.zip") as archive:
        assert {"results/campaign.json", "results/verdict.md", "results/curve.json"} <= set(archive.namelist())
    there = journal.result("check")
    assert main([model, "-o", str(tmp_path / "back"), "--take-back", str(handed)]) == 0
    with monkeypatch.context() as patched:
        patched.setattr(evaluation, "measure", None)
        assert main([model, "-o", str(tmp_path / "back"), "--device", "cpu", "--workers", "1"]) == 0, "all is there"
    assert Journal(tmp_path / "back").result("check") == there, "of the machine that trained"


def test_ctrl_c_ends_with_a_checkpoint_and_the_next_call_goes_on(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend_measure(monkeypatch)
    output, shipped = tmp_path / "run", untrained / "untrained-mvdust3r-plus-mini"
    command = ["mvdust3r-plus-mini", "-o", str(output), "--steps", "6", "--recipe", "tiny", "--device", "cpu"]
    command += ["--against", str(shipped), "--profile-steps", "1", "--workers", "1", "--eval-scenes", "1"]
    with monkeypatch.context() as patched:
        after_steps(patched, 3, lambda _: os.kill(os.getpid(), signal.SIGINT))
        assert main(command) == 128 + signal.SIGINT
    assert torch.load(output / "checkpoint.pt", weights_only=True)["progress"]["step"] == 3
    assert (output / "results" / "campaign.json").exists()
    assert main(command) == 0
    assert Journal(output).result("verdict")["better"]

    asked = pretend_measure(monkeypatch)
    assert main(command) == 0 and asked == [], "what is done is not done again"
    with pytest.raises(InputError, match="steps"):
        Campaign(tiny_options("mvdust3r-plus-mini", tmp_path, steps=7, against=str(shipped)))


def test_a_failing_suite_loses_nothing_else_and_is_tried_again(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = tiny_options("mvdust3r-plus-mini", untrained, output=tmp_path / "run", steps=2)
    pretend_measure(monkeypatch)
    good = evaluation.measure

    def failing(unit: Any, *arguments: Any) -> Any:
        if unit.suite == "objects":
            raise RuntimeError("no kernel for this")
        return good(unit, *arguments)

    monkeypatch.setattr(evaluation, "measure", failing)
    campaign = Campaign(options)
    assert not campaign.run() and "no kernel for this" in campaign.errors[0]
    found = Journal(options.output).result("evaluate")["suites"]
    assert {name: suite["state"] for name, suite in found.items()} == {
        name: "failed" if name == "objects" else "done" for name in MODELS["mvdust3r-plus-mini"].suites
    }
    verdict = Journal(options.output).result("verdict")
    assert not verdict["better"] and "objects was not measured" in verdict["says"]

    asked = pretend_measure(monkeypatch)
    assert run_campaign(options) and asked == ["objects"]
    assert Journal(options.output).result("verdict")["better"]


@pytest.mark.parametrize("better", [True, False])
def test_only_a_better_model_is_embedded(
    better: bool, untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from worldline.weights import load_model

    pretend_measure(monkeypatch, NEW if better else SHIPPED)
    options = tiny_options("mvdust3r-plus-mini", untrained, output=tmp_path / "run", steps=2)
    embed = [options.model, "-o", str(options.output), "--embed", "--embedded-folder", str(tmp_path / "package")]
    assert main(embed) == 2, "there is no verdict yet"
    assert run_campaign(options)
    assert not (tmp_path / "package").exists()
    assert main(embed) == (0 if better else 2)
    target = tmp_path / "package" / options.model
    assert target.exists() == better
    if better:
        load_model(target)
        card = json.loads((target / "card.json").read_text())
        assert card["name"] == options.model and card["samples_seen"] > 0 and card["figures"][0][NEW] < 0.2
        assert card["parts"][0]["to_step"] == 2 and card["hardware"] and card["versions"]["torch"]
        export = options.output / "export" / "card.json"
        (options.output / "export" / "model-00001-of-00001.safetensors").unlink()
        export.unlink()
        assert main(embed) == 2, "the verdict is about other weights"
