"""What a newcomer does wrong, or names oddly: a sentence and a remedy before any work, and nothing lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from worldline import weights
from worldline.cli import main
from worldline.models.config import MVDust3rConfig
from worldline.models.mvdust3r import MVDust3r


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "untrained"
    weights.save_model(MVDust3r(MVDust3rConfig.mini()), folder, card={"name": "untrained", "license": "Apache-2.0"})
    return str(folder)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in ("IMG[1].jpg", "a [bold].jpg"):
        Image.fromarray(generator.integers(0, 255, (48, 64, 3), dtype=np.uint8)).save(folder / name)
    return folder


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def refused(capsys: pytest.CaptureFixture, *arguments: object) -> str:
    """Run what must be refused with a cause and a remedy; returns the answer."""
    assert run(*arguments) == 2
    answer = capsys.readouterr().err
    assert len(answer.strip().splitlines()) >= 2 and "Traceback" not in answer
    return answer


def test_names_with_brackets_are_printed_as_they_are(
    photos: Path, untrained: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out[" / "red]"  # reads as a closing tag of the console's markup
    assert run("reconstruct", photos, "-o", out, "--model", untrained, "--to", "ply") == 0
    text = capsys.readouterr().out
    assert "a [bold].jpg" in text and "IMG[1].jpg" in text and str(out) in text


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--confidence-percent", -5),
        ("--confidence-percent", 150),
        ("--size", 0),
        ("--max-views", 1),
        ("--references", 0),
    ],
)
def test_numbers_that_mean_nothing_are_refused(
    option: str, value: int, photos: Path, untrained: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    answer = refused(capsys, "reconstruct", photos, "-o", tmp_path / "out", "--model", untrained, option, value)
    assert str(value) in answer and "Take further photos" not in answer
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["points.ply", "scene.json"])
def test_a_file_in_the_way_is_noticed_before_the_work(
    name: str, photos: Path, untrained: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / name).write_text("{}")
    assert name in refused(capsys, "reconstruct", photos, "-o", out, "--model", untrained, "--to", "glb,ply")
    assert [path.name for path in out.iterdir()] == [name]
    assert (out / name).read_text() == "{}"


@pytest.mark.parametrize(
    "arguments",
    [
        ("worlds", "write", "rooms", "-n", -1, "--views", 2, "--size", 16),
        ("worlds", "write", "rooms", "-n", 0),
        ("bench", "single-pass", "--views", 2, "--repeats", 0),
        ("models", "get"),
    ],
)
def test_other_verbs_refuse_what_means_nothing(
    arguments: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(*_: object, **__: object) -> None:
        raise AssertionError("a scene was drawn")

    monkeypatch.setattr("worldline.worlds.sampling.sample", draw)
    out = () if arguments[0] == "models" else ("-o", tmp_path / "out")
    refused(capsys, *arguments, *out)
    assert not (tmp_path / "out").exists()
