"""The parts of a campaign by themselves: verdicts, batch sizes, the journal, results that may leave, requirements."""

import json
import math
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from campaign_models import made_up_trials, tiny_options
from worldline.errors import InputError, WorldlineError
from worldline.train.campaign import check, evaluation, results, tuning
from worldline.train.campaign.embed import embed
from worldline.train.campaign.fill import choose_device_share, need_of, seconds_per_scene
from worldline.train.campaign.journal import Deadline, Journal, Paused
from worldline.train.campaign.options import MODELS, Options, Scale, recipe_of, settle
from worldline.train.campaign.suites import NEW, PAGES, SHIPPED, plan_units
from worldline.train.campaign.training import reserve_of
from worldline.train.campaign.verdict import MAIN, compare, judge, sentence
from worldline.train.catalog import find_recipe


def trial(value: float | None, method: str, name: str = "0", views: int = 4, **more: Any) -> dict[str, Any]:
    return {
        "set": "rooms test",
        "views": views,
        "trial": name,
        "method": method,
        "figures": {"point_error": value},
    } | more


# ---- verdict


@pytest.mark.parametrize("suite", list(MAIN))
def test_better_follows_the_direction_of_the_figure(suite: str) -> None:
    assert judge({suite: made_up_trials(NEW, suite)})["better"]
    assert not judge({suite: made_up_trials(SHIPPED, suite)})["better"]


def test_every_suite_has_a_main_figure() -> None:
    assert {suite for model in MODELS.values() for suite in model.suites} | {"real"} == set(MAIN)


def test_one_worse_number_of_views_decides() -> None:
    trials = [trial(0.1, NEW), trial(0.2, SHIPPED), trial(0.3, NEW, views=8), trial(0.2, SHIPPED, views=8)]
    verdict = judge({"rooms": trials})
    assert not verdict["better"] and "8 views" in sentence(verdict) and "0.3 instead of 0.2" in sentence(verdict)


def test_differences_are_taken_scene_by_scene() -> None:
    """The medians are equal; four of five scenes got better."""
    shipped, new = [0.1, 0.2, 0.3, 0.4, 0.5], [0.09, 0.19, 0.3, 0.39, 0.49]
    trials = [trial(v, m, str(i)) for m, values in ((SHIPPED, shipped), (NEW, new)) for i, v in enumerate(values)]
    (row,) = compare("rooms", trials)
    assert row["difference"] == pytest.approx(-0.01) and row["share better"] == 0.8 and row["better"]
    assert row[NEW] == row[SHIPPED] == 0.3 and row["low"] <= row["difference"] <= row["high"]


def test_a_figure_that_only_the_new_model_lacks_counts_against_it() -> None:
    trials = [trial(0.1, NEW, "0"), trial(0.2, SHIPPED, "0"), trial(None, NEW, "1"), trial(0.2, SHIPPED, "1")]
    verdict = judge({"rooms": trials})
    assert not verdict["better"] and "none in 1 scenes" in sentence(verdict)
    trials = [trial(0.1, NEW, "0"), trial(0.2, SHIPPED, "0"), trial(0.1, NEW, "1"), trial(None, SHIPPED, "1")]
    assert judge({"rooms": trials})["better"]


def test_recorded_sequences_count_once_each() -> None:
    """One sequence with many choices of frames got worse, two got better."""
    trials = [trial(0.3 if new else 0.1, NEW if new else SHIPPED, f"{i}") | {"set": "long"} for i in range(9)
              for new in (True, False)]  # fmt: skip
    for name in ("short", "shorter"):
        trials += [trial(0.1, NEW) | {"set": name}, trial(0.2, SHIPPED) | {"set": name}]
    (row,) = compare("real", trials)
    assert row["scenes"] == 3 and row["better"] and row["difference"] == pytest.approx(-0.1)


def test_equal_or_unmeasured_is_not_better() -> None:
    assert not judge({"rooms": [trial(0.2, NEW), trial(0.2, SHIPPED)]})["better"]
    assert not judge({"rooms": made_up_trials(NEW, "rooms"), "street": None})["better"]
    assert not judge({"rooms": []})["better"] and not judge({})["better"]


def test_novel_views_are_judged_with_gaussians_or_with_points_where_nobody_has_them() -> None:
    def rows(suffix: str, new: float, shipped: float, group: str = "novel") -> list[dict[str, Any]]:
        pairs = ((NEW, new), (SHIPPED, shipped))
        return [
            trial(None, method + suffix, group=group) | {"figures": {"psnr": value}} for method, value in pairs
        ]  # fmt: skip

    points, input_photos = rows(", points", 9, 20), rows("", 9, 30, "input")
    assert judge({"novel-rooms": [*rows("", 20, 10), *points, *input_photos]})["better"]
    (row,) = compare("novel-rooms", [*points, *input_photos])
    assert (row[NEW], row[SHIPPED]) == (9, 20)


# ---- what is asked for


def test_later_calls_may_repeat_settings_and_leave_them_out(tmp_path: Path) -> None:
    journal, options = Journal(tmp_path), Options("d4rt-mini", tmp_path, minutes=3, init="none")
    assert settle(options, journal, "cuda")["recipe"] == "d4rt-mini-cuda"
    journal.save()
    again = Journal(tmp_path)
    settle(Options("d4rt-mini", tmp_path), again, "cpu")
    recipe = recipe_of(Options("d4rt-mini", tmp_path, slice_minutes=9), again, "cpu")
    assert recipe.minutes == 3 and recipe.init is None and recipe.checkpoint_minutes == 2 and recipe.device == "cpu"
    with pytest.raises(InputError, match="minutes"):
        settle(Options("d4rt-mini", tmp_path, minutes=4), again, "cpu")
    with pytest.raises(InputError, match="model"):
        settle(Options("driv3r-mini", tmp_path), again, "cpu")


@pytest.mark.parametrize("model", list(MODELS))
def test_every_model_has_its_recipes(model: str, tmp_path: Path) -> None:
    for device in ("cpu", "cuda"):
        journal, options = Journal(tmp_path / device), Options(model, tmp_path / device)
        settle(options, journal, device)
        recipe = recipe_of(options, journal, device)
        assert recipe.model == model and recipe.device == device and recipe.pool is not None
        assert recipe.validation_cameras == (device == "cpu"), "a GPU does not wait for PnP"
        journal.result("profile")["views_per_step"] = [stage.views_per_step * 2 for stage in recipe.stages]
        tuned = recipe_of(options, journal, device)
        assert [s.views_per_step for s in tuned.stages] == [2 * s.views_per_step for s in recipe.stages]
        assert need_of(recipe).wanted >= need_of(recipe).least


@pytest.mark.parametrize(
    "wrong",
    [
        {"minutes": 1, "steps": 1},
        {"minutes": 0},
        {"slice_minutes": -1},
        {"workers": 0},
        {"producers": -1},
        {"profile_steps": -1},
    ],
)
def test_impossible_options_are_refused(wrong: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError):
        Options("d4rt-mini", tmp_path, **wrong)


def test_units_cover_the_test_seeds_once(tmp_path: Path) -> None:
    for model in MODELS:
        for scenes in (None, 1, 7):
            units = plan_units(model, Scale(scenes=scenes), None)
            for suite in MODELS[model].suites:
                mine = [place for u in units if u.suite == suite for place in range(u.first, u.first + u.count)]
                pages = PAGES.get(suite, 100)
                assert mine == list(range(min(pages, scenes or pages)))
    with pytest.raises(InputError, match="No sequence"):
        plan_units("mvdust3r-plus-mini", Scale(), str(tmp_path))


# ---- journal and deadline


def test_the_journal_says_how_a_phase_ended(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    with pytest.raises(Paused), journal.recording("fill"):
        raise Paused
    with pytest.raises(ValueError, match="broken"), journal.recording("train") as found:
        found["parts"] = [1]
        raise ValueError("broken")
    with journal.recording("check"):
        pass
    again = Journal(tmp_path)
    assert [again.phase(name)["state"] for name in ("fill", "train", "check")] == ["open", "failed", "done"]
    assert again.phase("train")["error"] == "ValueError: broken" and again.result("train") == {"parts": [1]}
    (tmp_path / "campaign.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        Journal(tmp_path)


def test_a_deadline_ends_by_the_clock_or_when_asked() -> None:
    seconds = [0.0]
    deadline = Deadline(10, clock=lambda: seconds[0])
    assert not deadline.over() and deadline.over(reserve=10)
    seconds[0] = 10
    with pytest.raises(Paused):
        deadline.check()
    endless, heard = Deadline(), list[int]()
    endless.on_stop = lambda: heard.append(1)
    assert endless.left == math.inf
    endless.stop(15)
    assert endless.over() and heard == [1] and reserve_of(None) == 0 and reserve_of(540) == pytest.approx(43.2)


# ---- batch sizes


def tuned(monkeypatch: pytest.MonkeyPatch, rates: dict[int, tuple[float, float] | None], minutes: float = 25.0) -> int:
    """The batch that is chosen where these batches see so many samples per second and take so much memory."""
    stage = find_recipe("mini-cuda").build(Path("unused")).stages[0]

    def measured(run: Any, stage: Any, views: int) -> Any:
        if rates[views] is None:
            return None, "does not run"
        speed, memory = rates[views] or (0.0, 0.0)
        return {"samples_per_second": speed, "memory_share": memory, "seconds_per_step": views / 4 / speed}, None

    class FakeRun:
        recipe = replace(find_recipe("mini-cuda").build(Path("unused")), minutes=minutes)

    monkeypatch.setattr(tuning, "_try", measured)
    return tuning._tune_stage(FakeRun(), 0, stage, 60.0, [])  # type: ignore[arg-type]


def test_batches_grow_while_it_pays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert tuned(monkeypatch, {192: (1000, 0.1), 384: (1500, 0.2), 768: (1600, 0.3)}) == 384
    assert tuned(monkeypatch, {192: (1000, 0.1), 384: (2000, 0.5)}) == 384, "twice that would not fit"
    assert tuned(monkeypatch, {192: (1000, 0.1), 384: None}) == 192
    assert tuned(monkeypatch, {192: None, 96: (800, 0.6)}) == 96
    assert tuned(monkeypatch, {192: (1000, 0.1)}, minutes=1) == 192, "too few steps would be left"


# ---- rendering


def test_the_device_renders_a_quarter_of_its_time_if_that_adds_much() -> None:
    assert choose_device_share(per_core=4.0, on_device=0.4, on_cores=13) == 0.25
    assert choose_device_share(per_core=1.0, on_device=2.0, on_cores=13) == 0.0
    assert choose_device_share(per_core=1.0, on_device=None, on_cores=13) == 0.0


def test_seconds_per_scene_come_from_what_was_written(tmp_path: Path) -> None:
    import os

    from worldline.worlds import TRAIN_SEEDS

    times = {0: 100, 3: 104, 6: 108, 1: 101, 4: 106, 2: 100, 5: 101, 8: 102}  # place in the split -> written at
    for place, time in times.items():
        path = tmp_path / f"rooms-{TRAIN_SEEDS[place]:010d}.safetensors"
        path.touch()
        os.utime(path, (time, time))
    assert seconds_per_scene(tmp_path, began=99, on_cores=2) == (pytest.approx(13 / 3, abs=1e-3), 1.0)
    assert seconds_per_scene(tmp_path, began=105, on_cores=2) == (None, None)


# ---- results, requirements, embedding


def test_what_may_leave_is_few_and_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "MOST_BYTES", 4000)
    monkeypatch.setattr(results, "MOST_TOGETHER", 20_000)
    run, out = tmp_path / "my run", tmp_path / "out"
    model = run / "results" / "model"
    model.mkdir(parents=True)
    for number in range(6):
        (model / f"model-{number}.safetensors").write_bytes(bytes(3500))
    (model / "too-large.safetensors").write_bytes(bytes(5000))
    (run / "results" / "curve.png").write_bytes(bytes(10))
    (run / "results" / "verdict.json").write_text("{}")
    (run / "log.jsonl").write_text("x" * 5000)
    written = results.hand_out(run, out)
    assert sorted(written) == sorted(out.iterdir()) and len(written) <= results.MOST_FILES
    assert all(path.stat().st_size <= 4000 for path in written) and sum(p.stat().st_size for p in written) <= 20_000
    assert all(set(path.name) <= set("abcdefghijklmnopqrstuvwxyz0123456789.-_") for path in written)
    with zipfile.ZipFile(out / "my-run-results.zip") as archive:
        left_out = archive.read("left_out.txt").decode()
        assert "results/verdict.json" in archive.namelist()
    assert all(name in left_out for name in ("too-large", "model-4", "log.jsonl"))


def test_curves_bear_gaps_and_a_cut_line(tmp_path: Path) -> None:
    records = [{"kind": "step", "samples": 1, "loss": 2.0}, {"kind": "validation", "samples": 1, "abs_rel": 0.5},
               {"kind": "step", "samples": 2, "loss": None, "hits": 0.1}]  # fmt: skip
    (tmp_path / "log.jsonl").write_text("\n".join(json.dumps(record) for record in records) + '\n{"kind": "st')
    curves = results.curve(tmp_path)
    assert curves["step"] == {"samples": [1, 2], "loss": [2.0, None], "hits": [None, 0.1]}
    assert curves["validation"]["abs_rel"] == [0.5]


def test_missing_packages_are_named_with_what_needs_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settled = Journal(tmp_path)
    options = tiny_options("mvdust3r-plus-mini", tmp_path)
    settle(options, settled, "cpu")
    recipe = recipe_of(options, settled, "cpu")
    monkeypatch.setattr(check, "peak_flops", lambda _: 1e12)
    monkeypatch.setattr(check, "PACKAGES", check.PACKAGES | {"no_such_package": ("nosuch", check.EVALUATION)})
    found = check.check(recipe, "no-such-model")
    assert found["missing"] == {"nosuch": "evaluation"} and found["against"].startswith("missing")
    assert found["host"]["cores"] >= 1 and found["attention"]["math"] == "works"
    monkeypatch.setattr(check, "PACKAGES", {"no_such_package": ("nosuch", check.TRAINING)})
    with pytest.raises(InputError, match=r"nosuch.*pip download.*nosuch"):
        check.check(recipe, "mvdust3r-plus-mini")


def test_a_unit_of_other_weights_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from campaign_models import save_untrained

    weights = save_untrained("mvdust3r-plus-mini", tmp_path)
    both = {NEW: weights, SHIPPED: weights}
    first = evaluation.Evaluation(tmp_path, both, "cpu", Scale())
    (unit, *_) = plan_units("mvdust3r-plus-mini", Scale(scenes=1), None)
    monkeypatch.setattr(evaluation, "measure", lambda *_: {"about": {}, "trials": []})
    first.run(unit, {})
    assert first.result(unit) is not None
    assert evaluation.Evaluation(tmp_path, both, "cpu", Scale(views=(3,))).result(unit) is None
    assert evaluation.Evaluation(tmp_path, both, "cuda", Scale(scenes=5)).result(unit) is not None


def test_embedding_wants_a_verdict_about_these_weights(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no verdict"):
        embed("d4rt-mini", tmp_path)
    with pytest.raises(InputError, match="no embedded model"):
        embed("mvdust3r-plus", tmp_path)


def test_a_lost_checkpoint_does_not_begin_anew_in_silence(tmp_path: Path) -> None:
    from worldline.train.campaign.training import train_part

    options, journal = tiny_options("mvdust3r-plus-mini", tmp_path), Journal(tmp_path)
    settle(options, journal, "cpu")
    with pytest.raises(WorldlineError, match="checkpoint"):
        train_part(recipe_of(options, journal, "cpu"), Deadline(), 0.0, {"parts": [{"to_step": 5}]})
