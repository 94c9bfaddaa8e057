"""Steps that do not count change nothing, and the host learns of them late."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from worldline.errors import WorldlineError
from worldline.train.catalog import find_recipe
from worldline.train.feed import request_at
from worldline.train.guard import MAX_BAD_STEPS, Guard, step_if
from worldline.train.loop import Run
from worldline.train.schedule import Progress
from worldline.train.state import Average, _move


def everything(run: Run) -> dict[str, Tensor]:
    """Copies of all that a step may change."""
    kept = {f"model.{name}": value.clone() for name, value in run.network.state_dict().items()}
    kept |= {f"average.{name}": value.clone() for name, value in run.average.values.items()}
    for row, state in run.optimizer.state_dict()["state"].items():
        kept |= {f"{row}.{name}": value.clone() for name, value in state.items()}
    return kept


@pytest.mark.parametrize("name", ["tiny", "driv3r-tiny", "d4rt-tiny"])
def test_a_bad_step_leaves_weights_moments_average_and_buffers(name: str, tmp_path: Path) -> None:
    run = Run(replace(find_recipe(name).build(tmp_path), scenes=1, validation_scenes=0))
    stage = run.recipe.stages[0]
    for step in range(2):  # moments are there
        batches = run._prepare(request_at(run.recipe, step, stage, 1))
        assert run.train_step(batches, stage).taken
    before = everything(run)
    poisoned = [replace(batch, images=batch.images * math.inf) for batch in batches]
    result = run.train_step(poisoned, stage)
    assert not result.taken and not math.isfinite(result.gradient_norm) and run.progress.skipped == 1
    assert run.progress.step == 3
    after = everything(run)
    assert before.keys() == after.keys()
    assert [name for name, value in before.items() if not torch.equal(value, after[name])] == []
    assert run.train_step(batches, stage).taken
    changed = [name for name, value in everything(run).items() if not torch.equal(value, after[name])]
    assert len(changed) > len(before) / 2
    assert not hasattr(run.optimizer, "found_inf")


def test_a_loss_above_the_limit_is_a_bad_step(tmp_path: Path) -> None:
    run = Run(replace(find_recipe("tiny").build(tmp_path), scenes=1, validation_scenes=0, largest_loss=1e-3))
    stage = run.recipe.stages[0]
    before = everything(run)
    assert not run.train_step(run._prepare(request_at(run.recipe, 0, stage, 1)), stage).taken
    after = everything(run)
    assert all(torch.equal(value, after[name]) for name, value in before.items())


def judged(guard: Guard, losses: list[float]) -> None:
    for loss in losses:
        guard.judge(("loss",), torch.tensor([loss]), torch.ones(()))


def test_the_host_reads_many_steps_at_once() -> None:
    guard, progress = Guard(nn.Linear(2, 2), None, read_every=4), Progress()
    judged(guard, [1.0, math.nan, 2.0])
    assert not guard.due and progress.skipped == 0
    judged(guard, [math.inf])
    assert guard.due
    guard.settle(progress)
    assert progress.skipped == 2 and not guard.due
    guard.settle(progress)
    assert progress.skipped == 2


def test_too_many_bad_steps_in_a_row_end_the_run_even_if_they_are_read_in_parts() -> None:
    guard, progress = Guard(nn.Linear(2, 2), None, read_every=30), Progress()
    judged(guard, [math.nan] * (MAX_BAD_STEPS - 1) + [1.0])
    guard.settle(progress)
    judged(guard, [math.nan] * (MAX_BAD_STEPS - 1))
    guard.settle(progress)
    judged(guard, [math.nan])
    with pytest.raises(WorldlineError, match="50 steps in a row"):
        guard.settle(progress)


def test_a_log_counts_the_steps_that_were_skipped_before_it(tmp_path: Path) -> None:
    recipe = replace(find_recipe("tiny").build(tmp_path), scenes=1, validation_scenes=0, steps=4, log_every_steps=2)
    run = Run(recipe)
    run.guard.read_every = 1000  # as on a GPU: nobody asks in between
    prepare = run._prepare

    def poisoned(request):
        batches = prepare(request)
        return [replace(batch, images=batch.images * math.nan) for batch in batches] if request.step == 2 else batches

    run._prepare = poisoned
    run.loop()
    run.finish()
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    steps = [record for record in records if record["kind"] == "step"]
    assert [record["skipped"] for record in steps] == [0, 1]
    assert [record["taken"] for record in steps] == [1.0, 0.5]
    assert steps[0]["loss"] is not None and steps[1]["loss"] is None
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["progress"]["skipped"] == 1


def test_a_fused_optimiser_obeys() -> None:
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.AdamW([weight], lr=0.1, fused=True)
    weight.grad = torch.full((3,), math.nan)
    step_if(optimizer, torch.tensor(False))
    assert torch.equal(weight, torch.ones(3))
    weight.grad = torch.ones(3)
    step_if(optimizer, torch.tensor(True))
    alone = nn.Parameter(torch.ones(3))
    alone.grad = torch.ones(3)
    torch.optim.AdamW([alone], lr=0.1, fused=True).step()
    assert torch.equal(weight, alone)  # the skipped step does not count
    assert optimizer.state[weight]["step"] == 1


@pytest.mark.parametrize("taken", [True, False])
def test_both_ways_to_move_an_average_agree(taken: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    averages = [torch.randn(5, 3, generator=generator) for _ in range(4)]
    values = [torch.randn(5, 3, generator=generator) for _ in range(4)]
    expected = [a.lerp(v, 0.25) if taken else a.clone() for a, v in zip(averages, values, strict=True)]
    for few_kernels in (True, False):
        found = [average.clone() for average in averages]
        _move(found, values, torch.tensor(taken) * 0.25, few_kernels)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other)
            assert taken or torch.equal(one, other)


def test_an_average_follows_weights_loaded_after_it_was_made() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = Average(network, 0.0)
    network.load_state_dict({name: torch.full_like(value, 3) for name, value in network.state_dict().items()})
    average.update(100, torch.tensor(True))
    assert all(torch.equal(value, average.values[name]) for name, value in network.state_dict().items())
