"""``worldline eval dynamic`` and ``eval video`` with networks that answer queries, too small to be right."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from worldline import weights
from worldline.cli import main
from worldline.eval.dynamic.films import FilmSpec
from worldline.eval.dynamic.methods import Asked
from worldline.eval.dynamic.suite import FilmSettings
from worldline.models.config import D4rtConfig
from worldline.models.d4rt import D4rt

CONFIG = D4rtConfig(
    clip_frames=6, image_size=(32, 32), encoder_dim=48, encoder_depth=2, encoder_heads=2, encoder_mlp_dim=96,
    decoder_dim=48, decoder_depth=2, decoder_heads=2, decoder_mlp_dim=96,
)  # fmt: skip
SMALL = {"height": 27, "width": 36, "tracks": 16}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    network = D4rt(CONFIG).eval()
    torch.nn.init.trunc_normal_(network.head.weight, std=0.5)
    folder = tmp_path_factory.mktemp("model") / "tiny"
    weights.save_model(network, folder, card={"name": "tiny-d4rt", "license": "Apache-2.0", "image_size": 32})
    return str(folder)


@pytest.fixture(autouse=True)
def small_films(monkeypatch: pytest.MonkeyPatch) -> None:
    """Films of few pixels and tracks."""
    asked = Asked(depth=(9, 12), masks=(9, 12), mask_step=2)
    monkeypatch.setattr("worldline.eval.dynamic.suite.FilmSettings", partial(FilmSettings, **SMALL, asked=asked))
    monkeypatch.setattr(
        "worldline.eval.dynamic.sweeps.FilmSpec",
        lambda seed, **fields: FilmSpec(seed, **{**fields, **SMALL, "frames": 4}),
    )


def run(*arguments: object) -> int:
    return main(["eval", *map(str, arguments)])


def test_films_are_measured_and_drawn(model: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out, cache = tmp_path / "out", tmp_path / "films"
    arguments = ("dynamic", "--model", model, "-n", 1, "--steps", 4, "--cache", cache, "--gallery", "-o", out)
    assert run(*arguments, "--no-plot") == 0
    assert sorted(path.name for path in out.iterdir()) == ["films.jpg", "films.json", "films.md"]
    content = json.loads((out / "films.json").read_text(encoding="utf-8"))
    assert content["command"].startswith("worldline eval dynamic --model")
    assert list(content["means"]) == ["tiny-d4rt", "stay"]
    assert content["frames"] == 4
    assert "3D tracks" in capsys.readouterr().out
    assert len(list(cache.iterdir())) == 1


def test_a_sweep_of_films(model: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ("dynamic", "--model", model, "--sweep", "occlusion", "-n", 1, "--no-plot", "-o", tmp_path)
    assert run(*arguments) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["films_occlusion.json", "films_occlusion.md"]
    assert run("dynamic", "--model", model, "--sweep", "weather", "-o", tmp_path) == 2
    assert "no sweep 'weather' of films" in capsys.readouterr().err
    assert run("dynamic", "--model", model, "--sweep", "speed") == 2
    assert "-o FOLDER" in capsys.readouterr().err


def test_any_folder_of_frames_is_checked_for_consistency(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (4, 24, 32, 3)).astype(np.uint8)
    (tmp_path / "frames").mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / "frames" / f"{number}.png")
    assert run("video", tmp_path / "frames", "--model", model, "--model", "stay", "--consistency") == 0
    shown = capsys.readouterr().out
    assert "nothing is compared with a truth" in shown and "stay" in shown
    assert run("video", tmp_path / "frames", "--model", model) == 2  # no truth
    assert "ground truth" in capsys.readouterr().err
