"""Two processes with gloo on the processor train as one process with both their batches does."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from worldline.train.catalog import tiny
from worldline.train.feed import first_request
from worldline.train.loop import Run
from worldline.weights.storage import load_model

WORKER = Path(__file__).parent / "train_worker.py"
STEPS = 5  # four of the plain stage, one of the fused one


def torchrun(*arguments: object) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [str(argument) for argument in arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr[-3000:]


def train(folder: Path, *options: str) -> None:
    torchrun("-m", "worldline", "train", "tiny", "-o", folder, "--steps", STEPS, *options)


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    """Weights of a single process that sees the batches of both."""
    folder = tmp_path_factory.mktemp("single")
    threads = torch.get_num_threads()
    run = Run(replace(tiny(folder), steps=STEPS))
    plan = first_request(run.recipe, run.progress, devices=2)
    for _ in range(STEPS):
        request = plan.request()
        both = [request.drafts(run.task, run.source, run.recipe, rank)[0].develop() for rank in (0, 1)]
        assert not torch.equal(both[0].images, both[1].images)  # processes see different data
        run.train_step([both[0] + both[1]], request.stage)
        plan = plan.after(run.progress)
    torch.set_num_threads(threads)
    return dict(run.network.state_dict())


def check(folder: Path, together: dict[str, torch.Tensor]) -> None:
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert state["progress"]["step"] == STEPS
    assert state["progress"]["samples"] == sum(record["samples"] for record in log_of(folder)[-1:])
    difference = max(float((value - together[name]).abs().max()) for name, value in state["model"].items())
    assert difference < 2e-5
    exported = load_model(folder / "export")[0].state_dict()
    for name, value in state["ema"].items():
        torch.testing.assert_close(exported[name], value.half().float())


def log_of(folder: Path) -> list[dict[str, float]]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [record for record in records if "samples" in record]


def test_data_parallel_equals_the_union_of_the_batches(tmp_path: Path, together: dict[str, torch.Tensor]) -> None:
    train(tmp_path / "run")
    check(tmp_path / "run", together)


@pytest.mark.slow
def test_sharded_training_equals_it_too_and_its_export_is_whole(
    tmp_path: Path, together: dict[str, torch.Tensor]
) -> None:
    train(tmp_path / "run", "--strategy", "fsdp")
    check(tmp_path / "run", together)


@pytest.mark.slow
def test_a_sharded_run_that_one_process_stopped_goes_on_data_parallel(
    tmp_path: Path, together: dict[str, torch.Tensor]
) -> None:
    torchrun(WORKER, "stop", tmp_path / "run", "fsdp")
    assert torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["progress"]["step"] == 3
    train(tmp_path / "run", "--resume")
    check(tmp_path / "run", together)


@pytest.mark.slow
def test_one_poisoned_process_makes_all_skip_the_step(tmp_path: Path) -> None:
    torchrun(WORKER, "poison", tmp_path / "run", "ddp")
    state = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)
    assert state["progress"]["skipped"] == 1 and state["progress"]["step"] == STEPS
    ranks = [torch.load(tmp_path / "run" / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]
    for name, value in state["model"].items():
        assert torch.isfinite(value).all() and torch.equal(ranks[0][name], ranks[1][name])
