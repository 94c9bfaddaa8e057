"""``worldline eval novel`` from the command line to its files, with a network too small to be good."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from worldline import weights, worlds
from worldline.cli import main
from worldline.eval.novel import scenes as novel_scenes
from worldline.models.config import MVDust3rConfig
from worldline.models.mvdust3r import MVDust3r

SIZE = 32
BASELINES = ["nearest photo", "mean colour", "true points"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model") / "tiny"
    card = {"name": "tiny", "license": "Apache-2.0", "image_size": SIZE}
    weights.save_model(MVDust3r(replace(MVDust3rConfig.mini(), gaussians=True)), folder, card=card)
    return str(folder)


@pytest.fixture(autouse=True)
def few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novel_scenes, "CANDIDATES", 3)
    monkeypatch.setattr(novel_scenes, "LEAST_SEEN", 0.0)


def run(*arguments: object) -> int:
    return main(["eval", "novel", *map(str, arguments)])


def test_a_model_is_measured_beside_baselines_and_drawn(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out, cache = tmp_path / "out/rooms.json", tmp_path / "scenes"
    arguments = ("rooms", "-n", 1, "--views", 2, 3, "--held-out", 1, "--model", model, "--cache", cache, "--gallery")
    assert run(*arguments, "--no-plot", "-o", out) == 0
    assert sorted(path.name for path in out.parent.iterdir()) == ["rooms.jpg", "rooms.json", "rooms.md"]
    content = json.loads(out.read_text(encoding="utf-8"))
    assert content["command"].startswith("worldline eval novel rooms -n 1")
    assert "scenes" not in content["command"]  # where they are kept changes no figure
    methods = list(dict.fromkeys(record["method"] for record in content["means"]))
    assert methods == ["tiny", "tiny, points", "tiny, pixel-sized points", *BASELINES]
    groups = {(trial["views"], trial["group"]) for trial in content["trials"]}
    assert {(2, "novel"), (2, "input"), (2, "own"), (3, "novel"), (3, "input")} <= groups
    assert len(content["models"]["tiny"]["sha256"]) == 64
    with Image.open(out.with_suffix(".jpg")) as picture:  # three scenes, one held-out photo each; five methods
        assert picture.width == 7 * 172
    shown = capsys.readouterr().out
    assert "PSNR, seen" in shown and "LPIPS: " in shown
    assert len(list(cache.iterdir())) == 1


def test_baselines_alone_need_no_model(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert run("rooms", "-n", 1, "--views", 2, "--held-out", 1, "--baselines-only", "--size", 48, "-o", tmp_path) == 0
    content = json.loads((tmp_path / "novel_rooms.json").read_text(encoding="utf-8"))
    assert list(dict.fromkeys(record["method"] for record in content["means"])) == BASELINES
    assert (content["size"], content["models"]) == (48, {})
    assert (tmp_path / "novel_rooms.png").stat().st_size > 10_000


def test_frames_of_a_sequence_are_held_out(tmp_path: Path) -> None:
    worlds.write("rooms", 1, tmp_path / "set", views=5, height=48, width=64)
    out = tmp_path / "out"
    options = ("--views", 2, 3, "--held-out", 1, "--baselines-only", "--size", 32, "--no-plot", "--gallery", "-o", out)
    assert run(tmp_path / "set", *options) == 0
    content = json.loads((out / "novel_set.json").read_text(encoding="utf-8"))
    assert content["suite"] == "novel views of set"
    trials = [trial for trial in content["trials"] if trial["method"] == "true points" and trial["group"] == "novel"]
    names = [trial["scene"].split()[1:] for trial in trials]
    assert names == [["0", "2", "1"], ["0", "2", "4", names[1][3]]] and names[1][3] in "13"
    assert (out / "novel_set.jpg").is_file()
    assert run(tmp_path / "set", "--views", 4, "--baselines-only", "--size", 32) == 2  # 7 frames would be needed


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("moon", "--baselines-only"), "no layout and no folder 'moon'"),
        (("rooms", "--baselines-only", "--model", "x"), "--baselines-only runs no model"),
        (("rooms", "--gallery"), "--gallery needs a place"),
        (("rooms", "--views", "1"), "2 or more"),
        (("rooms", "--held-out", "0"), "--held-out is 0"),
    ],
)
def test_mistakes_get_one_sentence(
    arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture
) -> None:  # fmt: skip
    assert run(*arguments) == 2
    assert sentence in capsys.readouterr().err


def test_a_size_that_the_model_does_not_see_is_refused(model: str, capsys: pytest.CaptureFixture) -> None:
    assert run("rooms", "--model", model, "--size", 64) == 2
    assert "The models see 32 pixels" in capsys.readouterr().err
