"""Sweeps: same seeds at every level, results after every level, resumed where they stopped."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from worldline import worlds
from worldline.errors import InputError, MissingExtraError
from worldline.eval.statistics import bootstrap, center, paired, quartiles
from worldline.eval.sweeps import SWEEPS, SweepSettings, run_sweep, sweep_named
from worldline.eval.sweeps.measure import without_fusion
from worldline.models.config import MVDust3rConfig
from worldline.models.mvdust3r import MVDust3r
from worldline.pipeline import Reconstructor, pairwise
from worldline.scene import Scene
from worldline.types import Views

SIZE = 32
NAMES = ("views", "overlap", "size", "objects", "lighting", "texture", "reference", "paths", "single-pass")


@pytest.fixture(scope="module")
def model() -> Reconstructor:
    torch.manual_seed(0)
    return Reconstructor(MVDust3r(MVDust3rConfig.mini()).eval(), name="untrained", device="cpu", image_size=SIZE)


def settings(**changes: object) -> SweepSettings:
    return replace(SweepSettings(scenes=2, views=3, plot=False, command="worldline eval sweep"), **changes)


def test_all_promised_sweeps_are_there_and_compare_with_a_level_they_have() -> None:
    assert tuple(SWEEPS) == NAMES
    assert all(sweep.base in sweep.values for sweep in SWEEPS.values())
    with pytest.raises(InputError, match="no sweep 'light'") as refused:
        sweep_named("light")
    assert "lighting" in refused.value.remedy


def test_a_sweep_writes_records_of_the_same_seeds_at_every_level(model: Reconstructor, tmp_path: Path) -> None:
    files = run_sweep(SWEEPS["views"], {"untrained": model}, tmp_path, settings(values=(2, 4)))
    content = json.loads(files["json"].read_text())
    assert content["seeds"] == list(worlds.TEST_SEEDS[:2])
    for method in ("untrained", "constant depth"):
        for level in (2, 4):
            rows = [r for r in content["records"] if (r["method"], r["level"]) == (method, level)]
            assert [row["seed"] for row in rows] == list(worlds.TEST_SEEDS[:2])
            assert all(row["views"] == level for row in rows)
    (entry,) = [e for e in content["levels"] if (e["method"], e["level"]) == ("untrained", 2)]
    errors = [r["point_error"] for r in content["records"] if (r["method"], r["level"]) == ("untrained", 2)]
    assert entry["point_error"]["middle"] == pytest.approx(np.median(errors), abs=1e-4)
    assert {change["level"] for change in content["changes"]} == {2}  # against the base level, 4
    assert {entry["figure"] for entry in content["definitions"]} >= {"point_error", "overlap", "seconds"}
    text = files["md"].read_text()
    assert SWEEPS["views"].question in text and "one robust similarity per scene" in text


def test_an_interrupted_sweep_goes_on_and_measures_nothing_twice(
    model: Reconstructor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    real = worlds.sample

    def counting(layout: str, seed: int, **keywords: object) -> worlds.WorldSample:
        calls.append(seed)
        if len(calls) == 2 and not (tmp_path / "views.md").exists():
            raise KeyboardInterrupt
        return real(layout, seed, **keywords)

    monkeypatch.setattr(worlds, "sample", counting)
    run = lambda **changes: run_sweep(SWEEPS["views"], {"m": model}, tmp_path, settings(values=(2,), **changes))  # noqa: E731
    with pytest.raises(KeyboardInterrupt):
        run()
    first, second = worlds.TEST_SEEDS[:2]
    assert len(json.loads((tmp_path / "views.json").read_text())["records"]) == 2  # model and baseline of one scene
    (tmp_path / "views.md").write_text("")
    calls.clear()
    run()
    assert calls == [second]
    run(scenes=3)
    assert calls == [second, worlds.TEST_SEEDS[2]]
    with pytest.raises(InputError, match="other settings"):
        run(layout="objects")
    assert first in {record["seed"] for record in json.loads((tmp_path / "views.json").read_text())["records"]}


def test_files_that_are_no_sweep_are_left_alone(model: Reconstructor, tmp_path: Path) -> None:
    (tmp_path / "views.json").write_text("[1, 2]")
    with pytest.raises(InputError, match="no result of a sweep"):
        run_sweep(SWEEPS["views"], {"m": model}, tmp_path, settings(values=(2,)))
    assert (tmp_path / "views.json").read_text() == "[1, 2]"


def test_levels_that_no_scene_can_have_are_reported(
    model: Reconstructor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[dict] = []

    def refusing(layout: str, seed: int, **keywords: object) -> worlds.WorldSample:
        seen.append(keywords)
        raise InputError("no such photos", "try others")

    monkeypatch.setattr(worlds, "sample", refusing)
    with pytest.raises(InputError, match="no such photos"):
        run_sweep(SWEEPS["overlap"], {"m": model}, tmp_path, settings(values=(0.4,)))
    assert seen[0]["overlap"] == (0.3, 0.5)
    for name, keyword, value in (("objects", "objects", 8), ("lighting", "light_change", 2.0), ("size", "size", 2.0),
                                 ("texture", "texture", 0.5)):  # fmt: skip
        assert SWEEPS[name].level(value).world == {keyword: value}


def test_the_reference_sweep_uses_each_rank_once(model: Reconstructor, tmp_path: Path) -> None:
    files = run_sweep(SWEEPS["reference"], {"m": model}, tmp_path, settings(values=(1, 3), scenes=1))
    rows = [r for r in json.loads(files["json"].read_text())["records"] if r["method"] == "m"]
    errors = sorted(row["point_error"] for row in rows)
    assert errors[0] != errors[1]
    entry = json.loads(files["json"].read_text())["per scene"][0]
    assert (entry["best"], entry["worst"]) == pytest.approx(errors, abs=1e-4)
    with pytest.raises(InputError, match="no view of rank 4"):
        run_sweep(SWEEPS["reference"], {"m": model}, tmp_path, settings(values=(4,), scenes=1))


def test_one_path_is_the_same_network_without_its_fusion_blocks(model: Reconstructor) -> None:
    plain = without_fusion(model)
    assert plain.network.decoder.fusion_blocks is None
    shared = plain.network.state_dict()
    assert all(shared[name].data_ptr() == tensor.data_ptr() for name, tensor in model.network.state_dict().items()
               if name in shared)  # fmt: skip
    images = torch.rand(1, 3, 3, SIZE, SIZE) * 2 - 1
    with torch.inference_mode():  # an untrained fusion block is the identity: then both must agree
        expected, found = (network(images, 2).points for network in (model.network, plain.network))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_paths_and_single_pass_name_what_they_ran(
    model: Reconstructor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = run_sweep(SWEEPS["paths"], {"m": model}, tmp_path, settings(values=(1, 2), scenes=1))
    assert {row["level"] for row in json.loads(files["json"].read_text())["records"]} == {1, 2}
    aligned: list[int] = []

    def stand_in(model: Reconstructor, views: Views, options: object) -> Scene:
        aligned.append(len(views))  # alignment needs trained weights to have anything to align
        return model.reconstruct_views(views)

    monkeypatch.setattr(pairwise, "reconstruct_pairwise", stand_in)
    files = run_sweep(SWEEPS["single-pass"], {"m": model}, tmp_path, settings(values=(3,), scenes=1))
    methods = [row["method"] for row in json.loads(files["json"].read_text())["records"]]
    assert methods == ["m, single pass", "m, pairs + alignment", "constant depth"]
    assert aligned == [3]


def test_the_plot_is_a_picture_of_a_line_per_method(model: Reconstructor, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    files = run_sweep(SWEEPS["views"], {"m": model}, tmp_path, settings(values=(2, 3), scenes=1, plot=True))
    with Image.open(files["png"]) as picture:
        assert picture.width > 1500 and picture.height > 400
        assert len(set(np.asarray(picture.convert("L")).ravel().tolist())) > 20


def test_without_matplotlib_nothing_is_measured_and_the_pip_command_is_named(
    model: Reconstructor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as refused:
        run_sweep(SWEEPS["views"], {"m": model}, tmp_path, settings(values=(2,), plot=True))
    assert "pip install 'worldline[eval]'" in refused.value.remedy
    assert not list(tmp_path.iterdir())


def test_statistics_of_known_numbers() -> None:
    nan = float("nan")
    assert center("point_error", [1, nan, 3, 8]) == 3
    assert center("auc30", [1, nan, 3, 8]) == 4  # shares and areas are averaged
    assert quartiles([0, 1, 2, 3, 4]) == (1, 3)
    values = np.random.default_rng(0).normal(5, 1, 200).tolist()
    low, high = bootstrap("auc30", values)
    half = 1.96 / np.sqrt(200)  # what theory says of the mean of normal values
    assert (high - low) / 2 == pytest.approx(half, rel=0.15)
    assert low < np.mean(values) < high
    found = paired("point_error", [1, 2, 3, nan], [0.5, 2, 4, 1])
    assert (found["difference"], found["better"], found["scenes"]) == (0, 0.5, 3)
    assert paired("auc30", [0.1, 0.2], [0.3, 0.4])["better"] == 1
