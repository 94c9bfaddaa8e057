"""``worldline train d4rt-*``: trains on clips, resumes, exports, and plans what this machine could never run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from synthetic_clip import make_clip
from worldline.cli import main
from worldline.models.d4rt import D4rt
from worldline.train.clips.clips import save_clip
from worldline.weights.storage import load_model


@pytest.fixture
def pools(tmp_path: Path) -> tuple[Path, Path]:
    """Clips to learn from; a run whose own folder has some to validate on."""
    pool, run = tmp_path / "pool", tmp_path / "run"
    for folder, seeds in ((pool, range(3)), (run / "validation", (9,))):
        folder.mkdir(parents=True)
        for seed in seeds:
            save_clip(make_clip(seed), folder / f"dynamic-{seed:010d}.safetensors")
    return pool, run


def train(*arguments: object) -> int:
    threads = torch.get_num_threads()
    try:
        return main([str(argument) for argument in ("train", *arguments)])
    finally:
        torch.set_num_threads(threads)


def test_a_pool_of_clips_is_learned_from_and_the_run_resumed(
    pools: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    pool, run = pools
    options = ["d4rt-tiny", "-o", run, "--pool", pool, "--producers", 0, "--steps", 20]
    assert train(*options) == 0
    assert "worldline track VIDEO" in " ".join(capsys.readouterr().out.split())
    (step,) = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()][:1]
    assert step["kind"] == "step" and 0 < step["confidence"] < 1 and step["waiting_for_data"] < 0.9
    model, info = load_model(run / "export")
    assert isinstance(model, D4rt) and info.family == "d4rt"
    assert train(*options) == 2 and "already holds" in capsys.readouterr().err
    assert train(*options, "--resume") == 0  # it is done; nothing is lost
    assert train(*options[:-1], 30, "--resume") == 2 and "another steps" in capsys.readouterr().err


def test_published_size_is_planned(capsys: pytest.CaptureFixture[str]) -> None:
    assert train("d4rt", "--dry-run", "--strategy", "fsdp") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "64 device(s), sharded (fsdp)" in text and "500,000 steps of 64 samples" in text
    assert "48 frames, 2048 queries, images [1, 48, 3, 256, 256]" in text


def test_mistakes_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("d4rt-tiny", "-o", tmp_path / "run", "--layouts", "outdoor") == 2
    assert "is not filmed" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert train("d4rt-tiny", "-o", tmp_path / "run", "--pool", tmp_path / "empty") == 2
    error = capsys.readouterr().err
    assert "holds no scenes" in error and "--clips" in error
