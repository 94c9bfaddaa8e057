"""``worldline eval`` from the command line to its files, with models too small to be good."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from stream_network import tiny_network
from worldline import weights, worlds
from worldline.cli import main
from worldline.eval.streams import DriveSpec, StreamSettings
from worldline.models.config import MVDust3rConfig
from worldline.models.mvdust3r import MVDust3r

SIZE = 32


def save(folder: Path, seed: int) -> str:
    torch.manual_seed(seed)
    card = {"name": "tiny", "license": "Apache-2.0", "image_size": SIZE}
    weights.save_model(MVDust3r(MVDust3rConfig.mini()), folder, card=card)
    return str(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    return [save(folder / "old", 0), save(folder / "new", 1)]


def run(*arguments: object) -> int:
    return main(["eval", *map(str, arguments)])


def test_two_models_are_measured_and_compared_in_one_command(
    models: list[str], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "rooms.json"
    arguments = [
        "rooms",
        "-n",
        1,
        "--views",
        2,
        "--models",
        *models,
        "--baselines",
        "constant-depth",
        "--paper",
        "--no-plot",
        "--gallery",
    ]
    assert run(*arguments, "-o", out) == 0
    with Image.open(tmp_path / "rooms_gallery.jpg") as picture:  # 3 scenes, photos above truth above prediction
        assert picture.width == 2 * 128 and picture.height == 3 * (3 * 128 + 40)
    content = json.loads(out.read_text())
    assert content["command"].startswith("worldline eval rooms -n 1")
    methods = [record["method"] for record in content["summary"]]
    assert len(set(methods)) == 3 and methods[-1] == "constant depth"
    assert {entry["method"] for entry in content["comparison"]} == {methods[1]}
    assert all(len(info["sha256"]) == 64 for info in content["models"].values())
    shown = capsys.readouterr().out
    assert "nd_first" in shown and "point_error" in shown
    assert "alignment" in out.with_suffix(".md").read_text()


def test_a_model_may_be_named_twice_with_the_short_option(models: list[str], tmp_path: Path) -> None:
    pair = ("--model", models[0], "--model", models[1])
    assert run("rooms", "-n", 1, "--views", 2, *pair, "--baselines", "constant-depth", "--no-plot", "-o", tmp_path) == 0
    assert len(json.loads((tmp_path / "rooms.json").read_text())["models"]) == 2


def test_real_sequences_are_found_and_measured(models: list[str], tmp_path: Path) -> None:
    worlds.write("rooms", 1, tmp_path / "set", views=3, height=48, width=64)
    out = tmp_path / "real.json"
    arguments = ["real", tmp_path / "set", "--views", 2, "--model", models[0], "--baselines", "constant-depth"]
    pytest.importorskip("matplotlib")
    assert run(*arguments, "--spacing", 1, "--max-subsets", 2, "-o", out) == 0
    assert {path.suffix for path in tmp_path.iterdir()} == {"", ".json", ".md", ".png"}
    content = json.loads(out.read_text())
    assert [trial["trial"] for trial in content["trials"] if trial["method"] == "tiny"] == ["0 1", "1 2"]


def test_a_sweep_writes_its_three_files(models: list[str], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert run("sweep", "views", "-n", 1, "--levels", 2, 3, "--model", models[0], "-o", tmp_path) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["views.json", "views.md", "views.png"]
    assert "worldline eval sweep views -n 1" in (tmp_path / "views.md").read_text()


@pytest.fixture(scope="module")
def remembering(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model with a memory."""
    folder = tmp_path_factory.mktemp("memory") / "tiny"
    weights.save_model(tiny_network(), folder, card={"name": "tiny-mini", "license": "Apache-2.0", "image_size": 224})
    return str(folder)


@pytest.fixture
def small_drives(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drives of few pixels by two cameras."""
    small = partial(StreamSettings, height=32, width=48)
    monkeypatch.setattr("worldline.eval.streams.StreamSettings", small)
    monkeypatch.setattr(
        "worldline.eval.streams.sweeps.DriveSpec",
        lambda seed, **fields: DriveSpec(seed, **{**fields, "steps": 3, "height": 32, "width": 48,
                                                  "sensors": ("CAM_FRONT", "CAM_FRONT_LEFT")}),
    )  # fmt: skip


def test_a_model_with_a_memory_is_measured_on_streams(
    remembering: str, small_drives: None, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = ("street", "--model", remembering, "-n", 1, "--steps", 3, "--cache", tmp_path / "drives")
    assert run(*arguments, "--no-plot", "--gallery", "-o", tmp_path / "out") == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["streams.jpg", "streams.json", "streams.md"]
    content = json.loads((tmp_path / "out" / "streams.json").read_text())
    assert content["command"].startswith("worldline eval street --model")
    assert content["steps"] == 3
    assert next(iter(content["means"])) == "tiny-mini"
    shown = capsys.readouterr().out
    assert "tiny-mini, temporal memory only" in shown
    assert "sq_rel_released" in shown
    assert len(list((tmp_path / "drives").iterdir())) == 1


@pytest.mark.slow
def test_a_sweep_of_streams_is_run_from_the_same_command(
    remembering: str, small_drives: None, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments = ("street", "--model", remembering, "--sweep", "rain", "-n", 1, "--no-plot", "-o", tmp_path)
    assert run(*arguments) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["street_rain.json", "street_rain.md"]
    assert "--sweep rain" in (tmp_path / "street_rain.md").read_text()
    assert run("street", "--model", remembering, "--sweep", "rain") == 2
    assert "-o FOLDER" in capsys.readouterr().err
    assert run("street", "--model", remembering, "--sweep", "fog", "-o", tmp_path) == 2
    assert "no sweep of streams 'fog'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["sweep", "light", "-o", "x"], "There is no sweep 'light'"),
        (["rooms", "-n", "0"], "--scenes is 0"),
        (["rooms", "--views", "1"], "2 or more"),
        (["rooms", "-n", "1", "--gallery"], "-o FOLDER"),
        (["real", "/nowhere", "--spacing", "0"], "--spacing is 0"),
        (["real", "/nowhere/at/all", "--model", "MODEL"], "No sequence with ground truth"),
        (["real", "/nowhere", "--format", "kitti", "--model", "MODEL"], "There is no reader 'kitti'"),
        (["rooms", "--models", "MODEL", "MODEL"], "named twice"),
        (["street", "--model", "MODEL", "--sweep", "rain", "-o", "x"], "a model with a memory"),
    ],
)
def test_mistakes_get_a_sentence(
    arguments: list[str], said: str, models: list[str], capsys: pytest.CaptureFixture
) -> None:
    assert run(*(models[0] if argument == "MODEL" else argument for argument in arguments)) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.strip().splitlines()) == 2
