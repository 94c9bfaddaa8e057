"""The training loop learns, resumes exactly and survives bad numbers."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from worldline.errors import InputError, WorldlineError
from worldline.models.config import MVDust3rConfig
from worldline.train import data
from worldline.train.data import PosedImages
from worldline.train.loop import Run, Timer, train
from worldline.train.recipes import Stage, TrainRecipe

TINY = replace(
    MVDust3rConfig.mini(), encoder_dim=32, encoder_depth=1, encoder_heads=2, decoder_dim=32, decoder_depth=1,
    decoder_heads=2,
)  # fmt: skip


def scene(seed: int, views: int = 3, size: int = 32) -> PosedImages:
    """A textured wall seen from cameras side by side."""
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4, dtype=np.float32), (views, 1, 1))
    poses[:, 0, 3] = np.linspace(-0.5, 0.5, views)
    intrinsics = np.tile(np.array([[size, 0, size / 2], [0, size, size / 2], [0, 0, 1]], np.float32), (views, 1, 1))
    depth = (2 + rng.random((1, 1, size)) + 0.1 * rng.random((views, size, size))).astype(np.float32)
    images = rng.integers(0, 255, (views, size, size, 3), dtype=np.uint8)
    return PosedImages(images, depth, intrinsics, poses)


@pytest.fixture
def recipe(tmp_path):
    pool = tmp_path / "pool"
    pool.mkdir()
    for seed in range(2):
        data.save_scene(scene(seed), pool / f"{seed}.safetensors")
    stages = (
        Stage(until=0.5, size=16, views=(2, 3), views_per_step=6),
        Stage(until=1, size=32, views=(2, 3), views_per_step=6, references=2),
    )
    return TrainRecipe(
        output=tmp_path / "run", pool=pool, config=TINY, stages=stages, steps=10, warmup_steps=2, log_every_steps=1
    )


def test_ten_steps_equal_five_and_five(recipe, tmp_path):
    train(recipe)
    stopped = replace(recipe, output=tmp_path / "stopped")
    first = Run(stopped)
    step = first.train_step

    def step_and_stop(batch, stage):
        result = step(batch, stage)
        if first.progress.step == 5:
            first.stop()
        return result

    first.train_step = step_and_stop
    first.loop()
    first.checkpoint()
    assert first.progress.step == 5
    train(stopped)
    weights = [torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (recipe.output, stopped.output)]
    assert weights[0]["progress"]["step"] == weights[1]["progress"]["step"] == 10
    for part in ("model", "ema"):
        for name, value in weights[0][part].items():
            assert torch.equal(value, weights[1][part][name]), name


def test_overfits_one_scene(tmp_path):
    pool = tmp_path / "pool"
    pool.mkdir()
    data.save_scene(scene(0), pool / "0.safetensors")
    recipe = TrainRecipe(
        output=tmp_path / "run", pool=pool, config=replace(TINY, encoder_dim=64, decoder_dim=64),
        stages=(Stage(until=1, size=32, views=(2, 2), views_per_step=4),), steps=150, learning_rate=3e-3,
        warmup_steps=5, log_every_steps=1,
    )  # fmt: skip
    folder = train(recipe)
    errors = [json.loads(line)["error"] for line in (recipe.output / "log.jsonl").read_text().splitlines()]
    assert np.mean(errors[:3]) > 0.25
    assert np.mean(errors[-10:]) < 0.13
    assert (folder / "config.json").exists()


def test_bad_step_changes_nothing_and_many_end_the_run(recipe):
    run = Run(recipe)
    batch, stage = run._prepare(0, recipe.stages[0])
    before = {name: value.clone() for name, value in run.model.state_dict().items()}
    poisoned = replace(batch, images=batch.images * math.nan)
    assert not run.train_step(poisoned, stage).taken
    assert run.progress.skipped == 1
    assert all(torch.equal(value, run.model.state_dict()[name]) for name, value in before.items())
    run._prepare = lambda number, stage: (poisoned, stage)
    run.recipe = replace(recipe, steps=1000)
    with pytest.raises(WorldlineError, match="not finite"):
        run.loop()


def test_empty_pool_and_bad_recipes_are_explained(recipe, tmp_path):
    with pytest.raises(InputError, match="holds no scenes"):
        train(replace(recipe, pool=tmp_path / "nothing"))
    with pytest.raises(InputError, match="needs a length"):
        replace(recipe, steps=None)
    with pytest.raises(InputError, match="stages end at"):
        replace(recipe, stages=(Stage(until=0.5),))


def test_timer_fires_once_per_interval():
    now = [0.0]
    timer = Timer(1, clock=lambda: now[0])
    fired = []
    for second in (30, 60, 61, 119, 121):
        now[0] = second
        fired.append(timer.due())
    assert fired == [False, True, False, False, True]
