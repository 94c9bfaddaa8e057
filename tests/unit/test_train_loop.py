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
from worldline.train.feed import first_request
from worldline.train.loop import Run, train
from worldline.train.recipes import Stage, TrainRecipe
from worldline.train.schedule import Timer
from worldline.weights.storage import load_model

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


def stop_after(run: Run, steps: int) -> None:
    """Let a run stop as if a signal had come during that step."""
    step = run.train_step

    def step_and_stop(batches, stage):
        result = step(batches, stage)
        if run.progress.step == steps:
            run.stop()
        return result

    run.train_step = step_and_stop


def same_checkpoints(one, other) -> None:
    states = [torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (one, other)]
    assert states[0]["progress"] | {"seconds": 0} == states[1]["progress"] | {"seconds": 0}
    for part in ("model", "ema"):
        for name, value in states[0][part].items():
            assert torch.equal(value, states[1][part][name]), name


@pytest.mark.parametrize("source", ["pool", pytest.param("worlds", marks=pytest.mark.slow)])
@pytest.mark.parametrize("length", [{"steps": 10}, {"steps": None, "samples": 24}])
def test_ten_steps_equal_five_and_five(recipe, tmp_path, source, length):
    if source == "worlds":
        recipe = replace(recipe, pool=None, scene_views=3, scenes=3, validation_scenes=0)
    recipe = replace(recipe, workers=2, accumulate=1 if "samples" in length else 2, **length)
    train(recipe)
    stopped = replace(recipe, output=tmp_path / "stopped")
    first = Run(stopped)
    stop_after(first, 5)
    first.loop()
    first.finish()
    assert first.progress.step == 5
    train(stopped, resume=True)
    same_checkpoints(recipe.output, stopped.output)


def test_an_interrupted_last_validation_loses_no_step(recipe, monkeypatch):
    def interrupted(self):
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "validate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(replace(recipe, steps=2))
    state = torch.load(recipe.output / "checkpoint.pt", weights_only=True)
    assert state["progress"]["step"] == 2
    assert (recipe.output / "export" / "card.json").exists(), "nor the weights"


def test_a_run_is_never_overwritten_and_resumes_only_as_it_began(recipe, tmp_path):
    with pytest.raises(InputError, match="holds no training run"):
        train(recipe, resume=True)
    train(replace(recipe, steps=2))
    with pytest.raises(InputError, match="already holds a training run"):
        train(replace(recipe, steps=2))
    with pytest.raises(InputError, match="another learning_rate"):
        train(replace(recipe, steps=2, learning_rate=1.0), resume=True)
    (recipe.output / "recipe.json").unlink()
    with pytest.raises(InputError, match="network of other sizes"):
        train(replace(recipe, steps=3, config=replace(TINY, encoder_depth=2)), resume=True)
    (recipe.output / "checkpoint.pt").write_bytes(b"cut short")
    with pytest.raises(InputError, match="cannot be read"):
        train(replace(recipe, steps=3), resume=True)


def test_minutes_end_with_a_finished_schedule(recipe):
    train(replace(recipe, steps=None, minutes=0.02, learning_rate=1e-2, final_learning_rate=1e-6))
    steps = [json.loads(line) for line in (recipe.output / "log.jsonl").read_text().splitlines()]
    assert max(step["learning_rate"] for step in steps) > 5e-3
    assert steps[-1]["learning_rate"] < 1e-3
    assert steps[-1]["share"] == 1
    assert {step["stage"] for step in steps if step["kind"] == "step"} == {0, 1}


def test_export_says_where_it_comes_from(recipe):
    folder = train(replace(recipe, steps=3, card={"title": "a test"}))
    model, info = load_model(folder)
    card = info.card
    assert info.license == "Apache-2.0" and card["title"] == "a test"
    assert card["samples_seen"] > 0 and card["steps"] == 3 and card["minutes"] >= 0
    assert card["data"]["pools"]["pool"]["scenes"] == 2
    assert set(card["versions"]) >= {"worldline", "torch", "lightning"} and "cores" in card["hardware"]
    assert all(path.stat().st_size <= 16 * 2**20 for path in folder.iterdir())
    state = torch.load(recipe.output / "checkpoint.pt", weights_only=True)["ema"]
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, state[name].half().float())
    assert list((recipe.output / "tensorboard").iterdir())


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
    request = first_request(recipe, run.progress, 1).request()
    stage, [batch] = request.stage, run._prepare(request)
    before = {name: value.clone() for name, value in run.network.state_dict().items()}
    poisoned = replace(batch, images=batch.images * math.nan)
    assert not run.train_step([poisoned], stage).taken
    assert run.progress.skipped == 1
    assert all(torch.equal(value, run.network.state_dict()[name]) for name, value in before.items())
    run._prepare = lambda request: [poisoned]
    run.recipe = replace(recipe, steps=1000)
    with pytest.raises(WorldlineError, match="not finite"):
        run.loop()


def test_empty_pool_and_bad_recipes_are_explained(recipe, tmp_path):
    with pytest.raises(InputError, match="holds no scenes"):
        train(replace(recipe, pool=tmp_path / "nothing"))
    with pytest.raises(InputError, match="needs one length"):
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
