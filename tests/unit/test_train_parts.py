"""Schedule, starting weights, compiled blocks, and plans of runs that are counted instead of made."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from worldline.errors import InputError
from worldline.models.config import Dust3rConfig, MVDust3rConfig
from worldline.models.dust3r import Dust3r
from worldline.models.mvdust3r import MVDust3r
from worldline.train.build import TrainedNetwork, build_model, start_from
from worldline.train.catalog import EPOCH, RECIPES, tiny
from worldline.train.export import model_card
from worldline.train.flops import step_flops
from worldline.train.launch import compile_blocks
from worldline.train.objective import _Thinning
from worldline.train.plan import plan_run
from worldline.train.recipes import Stage, TrainRecipe
from worldline.train.schedule import Progress, learning_rate, share_done
from worldline.weights.storage import save_model

SIZES = {
    "encoder_dim": 32, "encoder_depth": 1, "encoder_heads": 2, "decoder_dim": 32, "decoder_depth": 2, "decoder_heads": 2
}  # fmt: skip


@pytest.mark.parametrize("unit", ["minutes", "samples", "steps"])
def test_the_learning_rate_warms_up_holds_falls_and_ends(unit: str, tmp_path: Path) -> None:
    recipe = TrainRecipe(
        output=tmp_path, scenes=1, stages=(Stage(1.0),), learning_rate=1.0, final_learning_rate=0.01, warmup_steps=0,
        warmup=0.1, hold=0.5, **{unit: 100},
    )  # fmt: skip
    stage = recipe.stages[0]
    rates = []
    for done in range(101):
        progress = Progress(step=done, seconds=60 * done, samples=done)
        assert share_done(recipe, progress) == pytest.approx(done / 100)
        rates.append(learning_rate(recipe, stage, progress))
    assert rates[0] == 0 and rates[5] == pytest.approx(0.5) and rates[10] == rates[50] == pytest.approx(1)
    assert rates[75] == pytest.approx((1 + 0.01) / 2) and rates[100] == pytest.approx(0.01)
    assert all(before >= after for before, after in pairwise(rates[50:]))
    assert learning_rate(recipe, replace(stage, learning_rate=0.5), Progress(step=75, seconds=4500, samples=75)) == (
        pytest.approx(rates[75] / 2)
    )


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"steps": 5, "samples": 5}, "one length"),
        ({"steps": -1}, "one length"),
        ({"steps": 1, "stages": (Stage(0.5),)}, "stages end"),
        ({"steps": 1, "stages": (Stage(1.0, size=100),)}, "patches"),
        ({"steps": 1, "stages": (Stage(1.0, views=(1, 2)),)}, "views"),
        ({"steps": 1, "stages": (Stage(1.0, views=(2, 9)),)}, "scene_views"),
        ({"steps": 1, "layouts": (("rooms", 0.0),)}, "weights"),
        ({"steps": 1, "hold": 1.0}, "shares"),
        ({"steps": 1, "accumulate": 0}, "1 or more"),
    ],
)
def test_impossible_recipes_are_explained(changes: dict, match: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=match):
        TrainRecipe(output=tmp_path, **changes)


def test_a_pairwise_model_starts_a_multi_view_one_that_first_does_the_same(tmp_path: Path) -> None:
    torch.manual_seed(1)
    pair = Dust3r(Dust3rConfig(**SIZES)).eval()
    terms = "CC BY-NC-SA 4.0"
    donor = str(save_model(pair, tmp_path / "pair", card={"name": "pair", "license": terms}, dtype=torch.float32))
    recipe = TrainRecipe(
        output=tmp_path / "run", steps=1, init=donor,
        config=MVDust3rConfig(**SIZES, skip_dim=8, gaussians=False),
    )  # fmt: skip
    model = build_model(recipe).eval()
    images = torch.rand(1, 2, 3, 32, 48) * 2 - 1
    with torch.inference_mode():
        ours = model(images, 2)
        first, second = pair(images[:, 0], images[:, 1])
    torch.testing.assert_close(ours.points, torch.stack([first.points, second.points], 1), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(ours.confidence, torch.stack([first.confidence, second.confidence], 1))
    card = model_card(recipe, Progress(), {}, {}, 1)
    assert card["license"] == terms and card["started_from"] == f"pair ({terms})"  # its terms stay with the result


def test_weights_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    wide, shallow = (
        str(save_model(Dust3r(Dust3rConfig(**SIZES | other)), tmp_path / name, card={"name": name}))
        for name, other in (("wide", {"encoder_dim": 64}), ("shallow", {"decoder_depth": 1}))
    )
    model = MVDust3r(MVDust3rConfig(**SIZES, image_skip=False, gaussians=False))
    with pytest.raises(InputError, match=r"\[64, 3, 16, 16\] instead of \[32, 3, 16, 16\]"):
        start_from(model, wide)
    with pytest.raises(InputError, match="missing"):
        start_from(model, shallow)


@pytest.mark.slow
def test_compiled_blocks_give_the_same_points_and_records() -> None:
    torch.manual_seed(0)
    config = MVDust3rConfig(**SIZES, image_skip=False, gaussians=False)
    plain, compiled = (TrainedNetwork(MVDust3r(config)) for _ in range(2))
    compiled.load_state_dict(plain.state_dict())
    compile_blocks(compiled.network, backend="eager")
    for views in (2, 3):
        images = torch.rand(1, views, 3, 32, 32)
        expected, found = (module(images, 2, True) for module in (plain, compiled))
        torch.testing.assert_close(found[0], expected[0], rtol=1e-4, atol=1e-5)
        assert found[1].keys() == expected[1].keys() and len(found[1]) == 4
        found[0][0].sum().backward()
    assert compiled.network.encoder.blocks[0].mlp.hidden.weight.grad is not None


@pytest.mark.parametrize(
    ("name", "views", "size", "references"),
    [
        ("tiny", 2, 32, 1),
        ("tiny", 3, 64, 2),
        ("tiny", 5, 64, 4),
        pytest.param("mvdust3r-plus", 5, 64, 4, marks=pytest.mark.slow),
    ],
)
def test_counted_operations_are_those_of_the_formula(
    name: str, views: int, size: int, references: int, tmp_path: Path
) -> None:
    recipe = RECIPES[name].build(tmp_path)
    stage = Stage(1.0, size, views=(views, views), views_per_step=views, references=references)
    [plan] = plan_run(replace(recipe, scene_views=8, stages=(stage,), accumulate=1)).stages
    assert step_flops(recipe.network_config(), views, size, references) == pytest.approx(plan.flops, rel=5e-3)


def test_planned_activations_are_what_autograd_keeps(tmp_path: Path) -> None:
    recipe = tiny(tmp_path)
    network = build_model(recipe).train()
    own = {value.untyped_storage().data_ptr() for value in network.parameters()}
    kept: dict[int, int] = {}

    def keep(value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    plan = plan_run(recipe).stages[1]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        maps = network.forward_paths(torch.zeros(plan.images), plan.stage.references)
    assert tuple(maps.points.shape) == plan.points
    assert plan.activation_bytes == pytest.approx(sum(kept.values()), rel=0.05)


@pytest.mark.slow
def test_published_plans_have_the_papers_numbers(tmp_path: Path) -> None:
    for name, batch_devices, references in (("mvdust3r", 32, 1), ("mvdust3r-plus", 64, 4)):
        entry = RECIPES[name]
        recipe = entry.build(tmp_path)
        whole = plan_run(recipe, entry.devices)
        shards = replace(whole, sharded=True)
        assert entry.devices == batch_devices and whole.batch == 512
        assert whole.steps == -(-100 * EPOCH // 512)
        assert recipe.stages[0].references == references
        assert (recipe.learning_rate, recipe.final_learning_rate, recipe.betas) == (1.5e-4, 1e-6, (0.9, 0.95))
        assert 40 * 2**30 < whole.total_bytes < 80 * 2**30  # fits the GPUs of the paper
        assert shards.memory["optimiser"] < whole.memory["optimiser"] / (entry.devices - 1)
        assert shards.memory["activations"] == whole.memory["activations"]


def test_a_loss_stride_leaves_no_pixel_out_for_long() -> None:
    seen = torch.zeros(6, 9)
    pixels = torch.arange(54).view(6, 9)
    for step in range(9):
        thinning = _Thinning(3, step)
        seen.view(-1)[thinning.maps(pixels).flatten()] += 1
        assert torch.equal(thinning.points(pixels[..., None].expand(6, 9, 3))[..., 0], thinning.maps(pixels))
    assert (seen == 1).all()


def test_a_run_of_an_older_version_is_the_same_run(tmp_path: Path) -> None:
    """Fields that a version added are missing in what an older one saved, also inside of stages."""
    recipe = RECIPES["mini"].build(tmp_path)
    saved = json.loads(json.dumps(recipe.as_json()))
    del saved["appearance"]
    saved["stages"] = [{k: v for k, v in stage.items() if k != "render_scenes"} for stage in saved["stages"]]
    assert recipe.changes_from(saved) == []
    saved["stages"][1]["loss_stride"] = 7
    assert recipe.changes_from(saved) == ["stages"]
    saved["stages"] = saved["stages"][:1]
    assert recipe.changes_from(saved) == ["stages"]
