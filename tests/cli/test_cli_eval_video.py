"""``worldline eval`` on benchmarks of videos: from files of the benchmark to tables, with and without a model."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from exact_video import ExactVideo
from moving_world import INSTANTS, moving_world
from worldline import weights
from worldline.cli import main
from worldline.eval.video import methods
from worldline.eval.video.methods import VideoMethod
from worldline.eval.video.readers import sintel_files
from worldline.models.config import D4rtConfig, MVDust3rConfig
from worldline.models.d4rt import D4rt
from worldline.models.mvdust3r import MVDust3r
from worldline.worlds.truth.queries import Shots

MINI = Path(__file__).parents[1] / "parity" / "data" / "video" / "metrics_tracks" / "tapvid3d_mini"
HEIGHT, WIDTH = 18, 24


def run(*arguments: object) -> int:
    return main(["eval", *map(str, arguments)])


def test_predictions_are_scored_without_any_network(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(methods, "load_video_methods", lambda *_: pytest.fail("a model was loaded"))
    arguments = ("tapvid3d", MINI / "gt", "--predictions", MINI / "pred", "--scaling", "median", "mean", "none")
    assert run(*arguments, "-o", tmp_path) == 0
    text = capsys.readouterr().out
    assert "| AJ | APD3D | OA |" in text and "0.5339" in text and "tapvid3d.json" in text
    expected = json.loads((MINI / "expected.json").read_text(encoding="utf-8"))
    report = json.loads((tmp_path / "tapvid3d.json").read_text(encoding="utf-8"))
    for record in report["summary"]:
        average = expected["average"][record["alignment"]]
        assert {name: record[name] for name in average} == pytest.approx(average, rel=1e-9)
    for record in report["videos"]:
        single = expected["per_video"][f"{record['video']}.npz"][record["alignment"]]
        assert {name: record[name] for name in single} == pytest.approx(single, rel=1e-9)
    page = (tmp_path / "tapvid3d.md").read_text(encoding="utf-8")
    assert "* `median`: one factor per video" in page and "true positives" in page and "worldline eval tapvid3d" in page


def test_a_model_is_run_and_its_results_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = moving_world()
    shots = Shots.of(world, height=HEIGHT, width=WIDTH)
    for index in range(INSTANTS):
        for kind, suffix in (("final", "png"), ("depth", "dpt"), ("camdata_left", "cam")):
            (tmp_path / "training" / kind / "cave_2").mkdir(parents=True, exist_ok=True)
            path = tmp_path / "training" / kind / "cave_2" / f"frame_{index:04d}.{suffix}"
            if kind == "final":
                Image.new("RGB", (WIDTH, HEIGHT)).save(path)
            elif kind == "depth":
                sintel_files.write_dpt(path, np.linspace(1, 80, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH))
            else:
                sintel_files.write_cam(path, shots.matrix[index], np.linalg.inv(shots.world_from_cam[index]))
    asked: list[tuple[tuple[str, ...], str]] = []

    def load(names: tuple[str, ...], device: str) -> list[VideoMethod]:
        asked.append((tuple(names), device))
        return [VideoMethod("exact", lambda _: ExactVideo(world, HEIGHT, WIDTH))]

    monkeypatch.setattr(methods, "load_video_methods", load)
    arguments = ("sintel", tmp_path, "--alignment", "scale", "median", "--side", 24)
    assert run(*arguments, "--keep", tmp_path / "kept", "-o", tmp_path / "first.json") == 0
    assert asked == [(("d4rt-mini",), "auto")]
    text = capsys.readouterr().out
    assert "ATE" in text and "Point clouds:" in text and "AbsRel, equal" in text
    assert run(*arguments, "--predictions", tmp_path / "kept" / "exact", "-o", tmp_path / "again.json") == 0
    first, again = (json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8")) for name in ("first", "again"))
    for before, after in zip(first["summary"], again["summary"], strict=True):
        assert {**after, "method": "exact"} == before


TINY = D4rtConfig(
    clip_frames=4, image_size=(32, 32), encoder_dim=16, encoder_depth=2, encoder_heads=2, encoder_mlp_dim=32,
    decoder_dim=16, decoder_depth=1, decoder_heads=2, decoder_mlp_dim=32,
)  # fmt: skip


def test_a_network_without_training_goes_through_windows_to_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    """6 frames, clips of 4: nothing it says is right, but everything is measured and said."""
    torch.manual_seed(0)
    weights.save_model(D4rt(TINY), tmp_path / "tiny", card={"name": "tiny", "license": "Apache-2.0", "image_size": 32})
    arguments = ("tapvid3d", MINI / "gt", "--model", tmp_path / "tiny", "--world", "--keep", tmp_path / "kept")
    assert run(*arguments, "-o", tmp_path / "a.json") == 0
    report = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    tables = {(record["table"], record["method"], record["videos"]) for record in report["summary"]}
    assert tables == {("tracks 3D", "tiny", 2), ("tracks world", "tiny", 1)}
    again = ("tapvid3d", MINI / "gt", "--predictions", tmp_path / "kept" / "tiny", "-o", tmp_path / "b.json")
    assert run(*again) == 0
    scored = json.loads((tmp_path / "b.json").read_text(encoding="utf-8"))["summary"]
    assert {**scored[0], "method": "tiny"} == report["summary"][0]
    assert report["models"]["tiny"]["sha256"]


def test_models_that_answer_no_queries_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    torch.manual_seed(0)
    card = {"name": "still", "license": "Apache-2.0", "image_size": 32}
    weights.save_model(MVDust3r(MVDust3rConfig.mini()), tmp_path / "still", card=card)
    assert run("tapvid3d", MINI / "gt", "--model", tmp_path / "still") == 2
    assert "still does not answer queries about videos" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("tapvid3d", "nowhere"), "There is no nowhere"),
        (("tapvid3d", MINI, "--predictions", MINI / "none"), "no folder"),
        (("tapvid3d", MINI / "gt", "--predictions", MINI / "pred", "--model", "a"), "no model to run"),
        (("tapvid3d", MINI / "gt", "--predictions", MINI / "pred", "--world"), "--world asks a model"),
        (("video", MINI, "--predictions", MINI, "--consistency"), "--consistency asks a model"),
        (("sintel", MINI, "--predictions", MINI), "no sequence of Sintel"),
        (("bonn", MINI, "--predictions", MINI), "no sequence of Bonn"),
        (("kitti", MINI, "--predictions", MINI), "no drive with ground truth"),
        (("scannet", MINI, "--predictions", MINI), "no scene of ScanNet"),
        (("tum", MINI, "--predictions", MINI), "no TUM sequence"),
        (("tapvid", MINI, "--predictions", MINI), "no .pkl file"),
        (("sintel", MINI, "--side", "0"), "--side is 0"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_mistakes_get_one_sentence(arguments: tuple[object, ...], message: str, capsys: pytest.CaptureFixture) -> None:
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
