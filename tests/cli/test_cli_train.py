"""``worldline train``: trains, resumes, refuses to overwrite, plans runs that this machine could never do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import worldline
from worldline.cli import main
from worldline.weights.storage import load_model


def run(*arguments: object) -> int:
    return main([str(argument) for argument in ("train", *arguments)])


def refused(capsys: pytest.CaptureFixture, *arguments: object) -> str:
    """Run what must be refused with a cause and a remedy; returns the answer."""
    assert run(*arguments) == 2
    answer = capsys.readouterr().err
    assert len(answer.strip().splitlines()) >= 2 and "Traceback" not in answer
    return answer


def log_of(folder: Path, kind: str = "step") -> list[dict[str, float]]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [record for record in records if record["kind"] == kind]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole tiny recipe, once."""
    folder = tmp_path_factory.mktemp("tiny") / "run"
    threads = torch.get_num_threads()
    assert run("tiny", "-o", folder) == 0
    torch.set_num_threads(threads)
    return folder


def test_tiny_learns_in_seconds(trained: Path) -> None:
    steps = log_of(trained)
    assert steps[0]["error"] > 0.5
    assert steps[-1]["error"] < 0.36 and steps[-1]["loss"] < 0.95
    assert max(step["hits"] for step in steps) > 0.7  # cross-attention finds the true token
    assert steps[-1]["skipped"] == 0 and steps[-1]["learning_rate"] < 1e-5
    assert log_of(trained, "validation")[-1]["scenes"] == 2
    assert any((trained / "tensorboard").iterdir())


def test_the_export_is_a_model(trained: Path) -> None:
    model, info = load_model(trained / "export")
    assert info.license == "Apache-2.0" and info.card["validation"]["scenes"] == 2
    assert info.card["data"]["seeds"] == "0..3"
    with torch.inference_mode():
        assert torch.isfinite(model(torch.zeros(1, 3, 3, 32, 32)).points).all()
    assert worldline.load(str(trained / "export")).name == "tiny"


def test_a_stream_model_learns_in_seconds(tmp_path: Path) -> None:
    folder, threads = tmp_path / "run", torch.get_num_threads()
    assert run("driv3r-tiny", "-o", folder, "--corrupt", "noise=0.05") == 0
    torch.set_num_threads(threads)
    steps = log_of(folder)
    assert steps[-1]["error"] < 0.8 * steps[0]["error"] and steps[-1]["skipped"] == 0
    assert {step["stage"] for step in steps} == {0, 1}
    assert log_of(folder, "validation")[-1]["streams"] == 6
    model, info = load_model(folder / "export")
    assert info.family == "driv3r" and info.license == "Apache-2.0" and info.card["supervision"] == "noise=0.05"
    with torch.inference_mode():
        assert torch.isfinite(model(torch.zeros(1, 3, 3, 32, 64)).final.points).all()


def test_a_run_is_not_overwritten_by_mistake(trained: Path, capsys: pytest.CaptureFixture) -> None:
    before = (trained / "checkpoint.pt").read_bytes()
    assert "--resume" in refused(capsys, "tiny", "-o", trained)
    assert "steps" in refused(capsys, "tiny", "-o", trained, "--resume", "--steps", 300)
    assert (trained / "checkpoint.pt").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("minni",), "mini"),
        (("tiny", "--minutes", 1, "--steps", 3), "--minutes"),
        (("tiny", "--steps", 0), "length"),
        (("tiny", "--layouts", "castles"), "castles"),
        (("tiny", "--layouts", "rooms=much"), "rooms=2"),
        (("tiny", "--resume"), "--resume"),
        (("tiny", "--strategy", "ddp"), "torchrun"),
        (("tiny", "--init", "mvdust3r-plus-mini"), "does not fit"),
        (("mini", "--pool", "nothing", "--producers", 0), "worldline.train.data"),
        (("mvdust3r", "--dry-run", "--devices", 0), "devices"),
        (("tiny", "--devices", 4), "--dry-run"),
        (("tiny", "--producers", 2), "pool"),
        (("mini", "--pool", "none", "--max-gigabytes", 2), "pool"),
        (("mini", "--producers", -1), "0 or more"),
        (("mini", "--max-gigabytes", 0), "above 0"),
        (("mini", "--render-device", "gpu"), "gpu"),
        (("tiny", "--corrupt", "bias=0.1"), "stream recipes"),
        (("driv3r-tiny", "--corrupt", "fog=0.1"), "no error of depth"),
        (("driv3r-tiny", "--init", "mvdust3r-plus-mini"), "does not fit"),
        (("driv3r-mini", "--pool", "nothing", "--producers", 0), "--rig"),
    ],
)
def test_mistakes_get_a_remedy(
    arguments: tuple[object, ...], word: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert word in refused(capsys, *arguments, "-o", tmp_path / "run")


def test_without_lightning_the_pip_command_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for name in [name for name in sys.modules if name == "lightning" or name.startswith("lightning.")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "lightning.fabric", None)
    assert "pip install 'worldline[train]'" in refused(capsys, "tiny", "-o", tmp_path / "run")


@pytest.mark.parametrize(
    "name", ["mvdust3r-plus-mixed", *(pytest.param(name, marks=pytest.mark.slow) for name in ("mini-cuda", "driv3r"))]
)
def test_dry_run_says_shapes_and_memory_and_leaves_nothing(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(name, "--dry-run") == 0
    text = capsys.readouterr().out
    assert "points [" in text and "memory per device" in text and "schedule" in text
    assert run(name, "-o", tmp_path / "run", "--dry-run") == 0
    assert capsys.readouterr().out == text and not list(tmp_path.iterdir())


def test_without_a_folder_nothing_starts(capsys: pytest.CaptureFixture) -> None:
    assert "-o RUN" in refused(capsys, "tiny")


@pytest.mark.slow
def test_a_signal_stops_with_a_checkpoint_and_resume_finishes(tmp_path: Path, trained: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "worldline", "train", "tiny", "-o", str(folder)]
    process = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)
    while not (folder / "log.jsonl").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    stopped = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert 0 < stopped["progress"]["step"] < 200
    subprocess.run([*command, "--resume"], check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    states = [torch.load(place / "checkpoint.pt", weights_only=True) for place in (folder, trained)]
    assert all(torch.equal(value, states[1]["ema"][name]) for name, value in states[0]["ema"].items())
