"""Campaigns start other processes: those that render, those that evaluate, the one that measures."""

import logging
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from campaign_models import SMALL, save_untrained, tiny_options
from worldline.errors import WorldlineError
from worldline.train.campaign import evaluation as evaluating
from worldline.train.campaign import fill as filling
from worldline.train.campaign.evaluation import Evaluation, evaluate
from worldline.train.campaign.fill import Producers, fill, start_producers
from worldline.train.campaign.journal import Deadline, Journal, Paused
from worldline.train.campaign.options import entry_of, recipe_of, settle
from worldline.train.campaign.processes import end
from worldline.train.campaign.producer import paced
from worldline.train.campaign.profile import measure_apart
from worldline.train.campaign.suites import NEW, SHIPPED, plan_units
from worldline.train.data import pool_files


def wait_for(condition, seconds: float = 120.0) -> None:
    """Until something is so."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.1)


@pytest.fixture
def campaign(tmp_path: Path):
    """A tiny campaign whose scenes come from a pool."""
    options, journal = tiny_options("mvdust3r-plus-mini", tmp_path, producers=1, fill_seconds=0.0), Journal(tmp_path)
    settle(options, journal, "cpu")
    recipe = replace(
        recipe_of(options, journal, "cpu"), pool=tmp_path / "pool", validation_pool=tmp_path / "validation",
        scene_views=2,
    )  # fmt: skip
    return options, journal, recipe


def test_producers_fill_both_pools_and_go_on_with_the_next_seeds(campaign, monkeypatch: pytest.MonkeyPatch) -> None:
    options, journal, recipe = campaign
    monkeypatch.setattr(filling, "LEAST", {"views": 2})
    monkeypatch.setattr(filling, "VALIDATION", {"views": 1})
    found: dict = {}
    with Producers(recipe, 1.0) as producers:
        fill(producers, entry_of(journal), options, Deadline(), found)
        alive = dict(producers._running)
    assert all(process.poll() is not None for process in alive.values()) and not producers.alive
    written = {path.name: path.stat().st_mtime_ns for path in pool_files(recipe.pool)}
    assert len(written) >= 2 and len(pool_files(recipe.validation_pool)) == 1
    assert found["processes"] == 1 and found["device_share"] == 0 and found["scenes_at_start"] >= 2

    with Producers(recipe, 1.0) as producers:
        start_producers(producers, options, found | {"device_share": 0.9})
        assert producers.alive == ["train-0", "train-device"]
        wait_for(lambda: len(pool_files(recipe.pool)) > len(written))
    after = {path.name: path.stat().st_mtime_ns for path in pool_files(recipe.pool)}
    assert written.items() <= after.items(), "what was there was not rendered again"


def test_rendering_that_cannot_go_on_is_an_error_with_its_last_words(campaign) -> None:
    options, journal, recipe = campaign
    with Producers(replace(recipe, layouts=(("nowhere", 1.0),)), 1.0) as producers, pytest.raises(
        WorldlineError, match="nowhere"
    ):  # fmt: skip
        fill(producers, entry_of(journal), options, Deadline(), {})


def test_rendering_ends_with_the_slice(campaign) -> None:
    options, journal, recipe = campaign
    deadline = Deadline()
    deadline.stop(2)
    with Producers(recipe, 1.0) as producers:
        with pytest.raises(Paused):
            fill(producers, entry_of(journal), options, deadline, {})
        processes = list(producers._running.values())
    assert processes and all(process.poll() is not None for process in processes)


def test_a_pace_rests_between_scenes_and_ends_with_the_parent() -> None:
    import os

    seeds = paced(range(3), 0.25, os.getppid())
    started = time.monotonic()
    next(seeds)
    time.sleep(0.05)
    next(seeds)
    assert time.monotonic() - started >= 0.2, "a quarter of the time is work"
    assert list(paced(range(3), 1.0, parent=-1)) == []


@pytest.mark.slow
def test_two_processes_share_an_evaluation(tmp_path: Path) -> None:
    weights = save_untrained("mvdust3r-plus-mini", tmp_path)
    evaluation = Evaluation(tmp_path / "run", {NEW: weights, SHIPPED: weights}, "cpu", SMALL)
    units = [unit for unit in plan_units("mvdust3r-plus-mini", SMALL, None) if unit.suite in ("rooms", "objects")]
    found: dict = {}
    evaluate(evaluation, units, 2, Deadline(), found)
    assert {suite["state"] for suite in found["suites"].values()} == {"done"} and len(found["suites"]) == 2

    late = Deadline(0.0)
    with pytest.raises(Paused):
        evaluate(Evaluation(tmp_path / "other", evaluation.weights, "cpu", SMALL), units, 2, late, found)
    assert {suite["state"] for suite in found["suites"].values()} == {"open"}


@pytest.mark.slow
def test_processes_that_die_are_errors_of_their_units(tmp_path: Path) -> None:
    weights = save_untrained("mvdust3r-plus-mini", tmp_path)
    evaluation = Evaluation(tmp_path / "run", {NEW: weights, SHIPPED: weights}, "no-such-device", SMALL)
    units = [unit for unit in plan_units("mvdust3r-plus-mini", SMALL, None) if unit.suite in ("rooms", "objects")]
    with pytest.raises(WorldlineError, match="no-such-device"):
        evaluate(evaluation, units, 2, Deadline(), {})


@pytest.mark.slow
def test_measuring_apart_gives_the_same_records(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    options, journal = tiny_options("mvdust3r-plus-mini", tmp_path), Journal(tmp_path / "run")
    settle(options, journal, "cpu")
    journal.save()
    with caplog.at_level(logging.INFO):
        found = measure_apart(options, "cpu", 0.01, 1, 1e12, Deadline())
    assert found["done"] and [row["stage"] for row in found["stages"]] == [0, 1]
    assert found["tuning"]["views_per_step"][0] >= 6 and found["stages"][0]["utilisation"] > 0
    assert found["stages"][0]["views_per_step"] == found["tuning"]["views_per_step"][0]


def test_a_process_that_does_not_listen_is_killed() -> None:
    says = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    process = subprocess.Popen([sys.executable, "-c", says], stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None and process.stdout.readline()
        end([process], seconds=0.2)
    assert process.returncode == -9


def test_no_process_outlives_the_one_that_started_it() -> None:
    """The one in the middle is killed; the last one is in the middle of something."""
    last = (
        "import time; from worldline.train.campaign.processes import end_with_parent; end_with_parent(); "
        "print('ready', flush=True); time.sleep(60)"
    )
    middle = (
        "import subprocess, sys, time; p = subprocess.Popen([sys.executable, '-c', sys.argv[1]]); "
        "print(p.pid, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", middle, last], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) and process.stdout.readline().strip() == "ready"
        process.kill()
        process.wait()
        killed = time.monotonic()
        assert process.stdout.read() == "", "the pipe ends when the last one has"
        assert time.monotonic() - killed < 30


def test_what_needs_a_missing_package_fails_before_any_process_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = {label: save_untrained("mvdust3r-plus-mini", tmp_path / label) for label in (NEW, SHIPPED)}
    evaluation = Evaluation(tmp_path, weights, "cpu", SMALL)
    monkeypatch.setattr(evaluating, "missing_packages", lambda: {"pycolmap": "evaluation"})
    for name in ("_in_processes", "_here"):
        monkeypatch.setattr(evaluating, name, None)
    found: dict[str, Any] = {}
    with pytest.raises(WorldlineError, match=r"rooms, novel-rooms: pycolmap is missing .* --take-back"):
        units = [unit for unit in plan_units("mvdust3r-plus-mini", SMALL, None) if "rooms" in unit.suite]
        evaluate(evaluation, units, 3, Deadline(), found)
    assert {state["state"] for state in found["suites"].values()} == {"failed"}
