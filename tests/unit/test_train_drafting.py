"""Batches drafted in other processes are those of threads, and a process that ends stops nothing."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from synthetic_clip import make_clip
from worldline.errors import InputError
from worldline.train import data
from worldline.train.catalog import find_recipe
from worldline.train.clips.clips import save_clip
from worldline.train.data import PosedImages
from worldline.train.drafting import Draftsmen, _folder, use_processes
from worldline.train.feed import request_at
from worldline.train.loop import Run, train
from worldline.train.recipes import TrainRecipe
from worldline.train.tasks import task_of


def numbers(part: Any) -> list[torch.Tensor]:
    """All tensors and arrays of a draft."""
    if isinstance(part, torch.Tensor | np.ndarray):
        return [torch.as_tensor(part)]
    if is_dataclass(part):
        return [found for entry in fields(part) for found in numbers(getattr(part, entry.name))]
    return [found for entry in part for found in numbers(entry)] if isinstance(part, tuple) else []


def wall(seed: int, views: int = 3, size: int = 32) -> PosedImages:
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4, dtype=np.float32), (views, 1, 1))
    poses[:, 0, 3] = np.linspace(-0.5, 0.5, views)
    inner = np.tile(np.array([[size, 0, size / 2], [0, size, size / 2], [0, 0, 1]], np.float32), (views, 1, 1))
    depth = (2 + rng.random((views, size, size))).astype(np.float32)
    return PosedImages(rng.integers(0, 255, (views, size, size, 3), dtype=np.uint8), depth, inner, poses)


@pytest.fixture(params=["tiny", "d4rt-tiny"])
def recipe(request: pytest.FixtureRequest, tmp_path: Path) -> TrainRecipe:
    pool = tmp_path / "pool"
    pool.mkdir()
    for seed in range(2):
        if request.param == "tiny":
            data.save_scene(wall(seed), pool / f"rooms-{seed}.safetensors")
        else:
            save_clip(make_clip(seed), pool / f"dynamic-{seed}.safetensors")
    named = find_recipe(request.param).build(tmp_path / "run")
    return replace(named, pool=pool, steps=4, validation_scenes=0, log_every_steps=1)


def test_processes_draft_what_threads_draft_and_may_end(recipe: TrainRecipe) -> None:
    task = task_of(recipe)
    source = task.source(recipe)
    before = set(Path(_folder()).glob("worldline-drafts-*"))
    with Draftsmen(recipe, 0, 1) as men:
        for step in (0, 3):
            request = request_at(recipe, step, recipe.stages[0], 1)
            with men.drafts(request) as found:
                given, wanted = (numbers(drafts[0]) for drafts in (found, request.drafts(task, source, recipe, 0)))
                assert len(given) == len(wanted) > 5
                assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(given, wanted, strict=True))
        assert men.seconds > 0
        assert set(Path(_folder()).glob("worldline-drafts-*")) <= before  # the file has no name any more
        impossible = replace(request, views=50)
        with pytest.raises(InputError, match="asks for"), men.drafts(impossible):
            pass  # a mistake of the user's arrives as one, and the process goes on
        with men.drafts(request) as found:
            assert found is not None
        men._all[0]._process.kill()
        men._all[0]._process.wait()
        for _ in range(2):
            with men.drafts(request) as found:
                assert found is None


def test_a_run_is_the_same_with_both_and_survives_the_loss_of_a_process(recipe: TrainRecipe, tmp_path: Path) -> None:
    recipe = replace(recipe, workers=2, drafting="threads")
    train(recipe)
    other = replace(recipe, output=tmp_path / "other", drafting="processes")
    run = Run(other)
    step = run.train_step

    def step_and_kill(batches, stage):
        if run.progress.step == 2:
            run.draftsmen._all[0]._process.kill()
        return step(batches, stage)

    run.train_step = step_and_kill
    run.loop()
    run.finish()
    assert run.draftsmen is None
    states = [torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (recipe.output, other.output)]
    assert states[0]["progress"] | {"seconds": 0} == states[1]["progress"] | {"seconds": 0}
    for name, value in states[0]["model"].items():
        assert torch.equal(value, states[1]["model"][name]), name
    card = json.loads((other.output / "export" / "card.json").read_text(encoding="utf-8"))
    assert card["data"]["pools"]["pool"]["scenes"] == 2


def test_processes_are_for_cuda_and_pools(tmp_path: Path) -> None:
    recipe = find_recipe("tiny").build(tmp_path)
    cuda, processor = torch.device("cuda"), torch.device("cpu")
    assert not use_processes(recipe, cuda)  # worlds may be rendered on the device that trains
    assert use_processes(replace(recipe, pool=tmp_path), cuda)
    assert not use_processes(replace(recipe, pool=tmp_path), processor)
    assert use_processes(replace(recipe, drafting="processes"), processor)
    assert not use_processes(replace(recipe, pool=tmp_path, drafting="threads"), cuda)
