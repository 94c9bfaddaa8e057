"""A training step only queues work: nothing in it makes the host wait for a device.

The device is ``meta``: it has shapes and no numbers, so whoever needs a number of it fails, and copies are seen.
"""

from __future__ import annotations

from contextlib import nullcontext, suppress
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from worldline.train import loop
from worldline.train.catalog import find_recipe
from worldline.train.feed import request_at
from worldline.train.loop import Run
from worldline.train.recipes import TrainRecipe
from worldline.train.syncs import counted_syncs

DEVICE = torch.device("meta")


def fabric_without_a_device() -> SimpleNamespace:
    return SimpleNamespace(
        device=DEVICE, world_size=1, global_rank=0, is_global_zero=True, setup_module=lambda module: module,
        backward=lambda loss: loss.backward(), no_backward_sync=lambda module, enabled: nullcontext(),
    )  # fmt: skip


@pytest.fixture
def on_meta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs whose device has no numbers."""
    monkeypatch.setattr(loop, "start_fabric", lambda recipe: fabric_without_a_device())
    monkeypatch.setattr(
        import_module("torch.optim.optimizer"), "_get_fused_kernels_supported_devices", lambda: ["meta"]
    )
    monkeypatch.setattr(torch, "Generator", lambda *_: torch._C.Generator())


def recipe_of(name: str, folder: Path) -> TrainRecipe:
    return replace(find_recipe(name).build(folder), scenes=1, validation_scenes=0)


@pytest.mark.parametrize("stage", [0, 1])
@pytest.mark.parametrize("name", ["tiny", "driv3r-tiny", "d4rt-tiny"])
def test_no_step_waits_for_its_device(on_meta: None, tmp_path: Path, name: str, stage: int) -> None:
    recipe = recipe_of(name, tmp_path)
    run = Run(recipe)
    for step in range(3):  # other numbers of views, images that are forgotten, moments of the optimiser that are there
        request = request_at(recipe, step, recipe.stages[stage], 1)
        drafts = request.drafts(run.task, run.source, recipe, 0)
        run.train_step(run.on_device(drafts), request.stage)  # tables of a grid are sent once and kept
        with counted_syncs(DEVICE) as syncs:
            result = run.train_step(run.on_device(drafts), request.stage)
        assert syncs.count == 0, syncs.lines()
        assert syncs.operations > 500  # it did look
        with pytest.raises(RuntimeError, match="meta"):
            _ = result.loss


def test_every_kind_of_wait_is_found() -> None:
    values = torch.randn(3, 4, device=DEVICE, requires_grad=True)
    mask = values > 0
    waits = {
        "local_scalar_dense": [lambda: values.sum().item(), lambda: bool(mask.any()), lambda: float(values[0, 0])],
        "nonzero": [lambda: values.nonzero(), lambda: torch.where(mask)],
        "index": [lambda: values[mask], lambda: values[torch.tensor([0, 1])]],
        "index_put": [lambda: values.detach().__setitem__(mask, 0.0)],
        "masked_select": [lambda: values.masked_select(mask)],
        "unique2": [lambda: values.unique()],
        "repeat_interleave": [lambda: torch.repeat_interleave(torch.ones(3, dtype=torch.long, device=DEVICE))],
        "linalg_check_errors": [lambda: torch.linalg.inv(torch.eye(3, device=DEVICE))],
        "to_copy": [lambda: values.cpu(), lambda: torch.zeros(3).to(DEVICE), lambda: values.detach().tolist()],
        "copy": [lambda: torch.zeros(3, device=DEVICE).copy_(torch.zeros(3))],
        "tensor": [lambda: torch.tensor(1.0, device=DEVICE)],
        "new_tensor": [lambda: values.new_tensor([1.0])],
        "index by a list": [lambda: values[:, [0, 1]]],
    }
    for operation, calls in waits.items():
        for call in calls:
            with counted_syncs(DEVICE) as syncs, suppress(RuntimeError, NotImplementedError):  # it has no numbers
                call()
            assert syncs.count >= 1 and operation in {sync.operation for sync in syncs.found}, operation


def test_what_does_not_wait_is_not_counted() -> None:
    values = torch.randn(3, 4, device=DEVICE, requires_grad=True)
    with counted_syncs(DEVICE) as syncs:
        chosen = values[:, torch.arange(2, device=DEVICE)] * torch.tensor(2.0) + torch.zeros(2).to(
            DEVICE, non_blocking=True
        )
        torch.where(chosen > 0, chosen, 0.0).sum().backward()
        torch.full((), 3.0, device=DEVICE)
        torch.zeros(3)[torch.zeros(3) > 0].tolist()  # of the processor
    assert syncs.count == 0, syncs.lines()


def test_on_a_processor_what_would_wait_is_found_with_its_line() -> None:
    from worldline.train.guard import Guard
    from worldline.train.schedule import Progress

    guard = Guard(torch.nn.Linear(2, 2), None, 2)
    guard.judge(("loss",), torch.zeros(1), torch.ones(()))
    with counted_syncs() as syncs:
        guard.settle(Progress())
        torch.ones(3)[torch.ones(3) > 0]
    lines = syncs.lines()
    assert [line for line in lines if line.startswith("train/guard.py:") and line.endswith(" tolist")]
    assert "backward index" in lines and syncs.count == 2
