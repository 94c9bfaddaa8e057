"""A profile measures true steps of every task and says what they cost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from worldline.errors import InputError
from worldline.train.catalog import find_recipe
from worldline.train.loop import Run
from worldline.train.profiling import PARTS, peak_flops, profile_steps


@pytest.mark.parametrize("name", ["tiny", "driv3r-tiny", "d4rt-tiny"])
def test_a_profile_of_every_task(name: str, tmp_path: Path) -> None:
    recipe = replace(find_recipe(name).build(tmp_path / "run"), scenes=1, validation_scenes=0)
    run = Run(recipe)
    profile = profile_steps(run, 3, stage=1, peak=1e12)
    assert profile.stage == 1 and profile.device == "cpu" and profile.steps == 3
    assert set(profile.parts) == set(PARTS)
    assert all(profile.parts[name] > 0 for name in ("forward", "backward", "optimiser"))
    assert sum(profile.parts.values()) < 20 * profile.seconds
    assert profile.samples_per_second > 0 and profile.draft_seconds > 0 and 0 <= profile.waiting_share <= 1
    assert profile.share_of_peak == pytest.approx(profile.flops_per_second / 1e12) and profile.share_of_peak > 0
    assert profile.rendering == 0 and profile.memory_bytes > 1e7 and profile.operations_per_step > 100
    assert profile.syncs_per_step >= 1  # on a processor the guard reads every step
    assert any("guard.py" in line for line in profile.sync_lines)
    assert run.progress.step == 3 + 3 + 1 + 2  # warming up, measured, by part, counted
    assert json.loads(json.dumps(profile.as_json()))["seconds"] == profile.seconds
    assert not (tmp_path / "run").exists()  # nothing is written


def test_the_rendering_part_is_measured_and_trains_nothing(tmp_path: Path) -> None:
    recipe = find_recipe("tiny").build(tmp_path / "run")
    stage = replace(recipe.stages[0], views=(2, 2), views_per_step=2, rendering_weight=1.0, render_size=16)
    config = replace(recipe.network_config(), gaussians=True)
    run = Run(replace(recipe, scenes=1, validation_scenes=0, config=config, stages=(replace(stage, until=1.0),)))
    profile = profile_steps(run, 1)
    assert profile.rendering > 0 and run.progress.step == 3 + 1 + 1 + 2
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in run.network.parameters())


def test_impossible_profiles_are_refused(tmp_path: Path) -> None:
    run = Run(replace(find_recipe("tiny").build(tmp_path), scenes=1, validation_scenes=0))
    for steps, stage in ((0, 0), (1, 2), (1, -1)):
        with pytest.raises(InputError, match="cannot be measured"):
            profile_steps(run, steps, stage=stage)


def test_the_peak_is_a_rate() -> None:
    assert 1e8 < peak_flops(torch.device("cpu"), size=256, seconds=0.02) < 1e15
