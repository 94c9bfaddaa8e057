"""The rendering loss: its batches, its terms against exact scenes, and what learns from it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from worldline import worlds
from worldline.errors import InputError, MissingExtraError
from worldline.eval import perceptual
from worldline.eval.novel import splats
from worldline.models.config import MVDust3rConfig
from worldline.models.mvdust3r import MVDust3r
from worldline.outputs.render import rasterize
from worldline.train import objective as objective_module
from worldline.train import rendering
from worldline.train.batches import covered_views, draw_batch
from worldline.train.build import TrainedNetwork, build_model, learn_only
from worldline.train.catalog import RECIPES
from worldline.train.data import from_world
from worldline.train.launch import need_losses
from worldline.train.loop import train
from worldline.train.losses import in_reference_frame
from worldline.train.recipes import Stage, TrainRecipe
from worldline.train.tasks import ViewTask
from worldline.types import GaussianMaps, Pointmaps

SIZE = 48
HEADS = replace(
    MVDust3rConfig.mini(), encoder_dim=32, encoder_depth=1, encoder_heads=2, decoder_dim=32, decoder_depth=1,
    decoder_heads=2, gaussians=True, gaussian_dim=16,
)  # fmt: skip


@pytest.fixture(scope="module")
def scene():
    knobs = {"effects": 0.0, "light_change": 0.0}
    [sample] = worlds.sample_batch("rooms", [worlds.TRAIN_SEEDS[77]], views=6, height=SIZE, width=SIZE, **knobs)
    return from_world(sample)


@pytest.fixture(scope="module")
def batch(scene):
    return draw_batch([scene], np.random.default_rng(0), 3, SIZE, augment=False, render_only=2).develop()


def exact_maps(batch, *, opacity=1.0, scale=4e-3, unit=1.0):
    """What a perfect network would say, in any unit."""
    points = in_reference_frame(batch.points, batch.world_from_cam[:, 0])
    mean = torch.linalg.vector_norm(points, dim=-1).flatten(1).mean(1)[:, None, None, None, None]
    full = points[..., :1]
    rotations = torch.cat([torch.ones_like(full), torch.zeros_like(points)], -1)
    scales = (scale * mean * unit).expand_as(points)
    return Pointmaps(
        points * unit, full[..., 0], GaussianMaps(scales, rotations, torch.full_like(full, opacity), points)
    )


def test_render_only_views_are_the_best_covered_ones():
    shares = np.array([[1, 0.5, 0.9, 0.1], [0.5, 1, 0.2, 0.1], [0.9, 0.2, 1, 0.1], [0.1, 0.75, 0.3, 1]])
    rng = np.random.default_rng(0)
    assert covered_views(shares, [0], 1, rng) == [2]
    assert sorted(covered_views(shares, [0, 1], 2, rng)) == [2, 3]
    assert covered_views(shares, [0, 1], 0, rng) == []
    drawn = {covered_views(shares, [0, 1], 1, rng)[0] for _ in range(40)}
    assert drawn == {2, 3}  # both are covered well enough


def test_targets_begin_with_the_inputs(batch):
    assert batch.images.shape[1] == batch.points.shape[1] == batch.matches.shape[1] == 3
    assert batch.targets.images.shape == (1, 5, 3, SIZE, SIZE)
    assert torch.equal(batch.targets.images[:, :3], batch.images)
    assert torch.equal(batch.targets.world_from_cam[:, :3], batch.world_from_cam)
    joined = batch + batch
    assert joined.targets.intrinsics.shape == (2, 5, 3, 3) and joined.to("cpu").images.shape[0] == 2


def test_colours_of_a_rendered_scene_change_alike(scene):
    draft = draw_batch([scene], np.random.default_rng(1), 3, SIZE, render_only=2)
    for part in (draft.colors.matrix, draft.colors.gamma, draft.colors.offset):
        assert torch.equal(part, part[:, :1].expand_as(part))
    apart = draw_batch([scene], np.random.default_rng(1), 3, SIZE)
    assert apart.develop().targets is None
    assert not torch.equal(apart.colors.gamma, apart.colors.gamma[:, :1].expand_as(apart.colors.gamma))


def test_too_few_views_for_the_targets(scene):
    with pytest.raises(InputError, match=r"asks for 8 views"):
        draw_batch([scene], np.random.default_rng(0), 6, SIZE, render_only=2)


@pytest.mark.parametrize("unit", [1.0, 7.0])
def test_true_gaussians_beat_moved_ones_in_any_unit(batch, unit):
    exact = exact_maps(batch, unit=unit)
    loss = rendering.rendering_loss(exact, batch)
    assert float(loss.scale) == pytest.approx(0, abs=1e-12) and float(loss.perceptual) == 0
    moved = replace(exact, points=exact.points + unit * torch.tensor([0.5, 0.0, 0.0]))
    unseen = replace(exact, gaussians=replace(exact.gaussians, opacities=torch.zeros_like(exact.gaussians.opacities)))
    assert float(loss.rgb) < 0.6 * float(rendering.rendering_loss(moved, batch).rgb)
    white = torch.linalg.vector_norm(1 - batch.targets.images, dim=2)[batch.targets.valid].mean()
    assert float(rendering.rendering_loss(unseen, batch).rgb) == pytest.approx(float(white), rel=1e-5)
    first = rendering.rendering_loss(exact_maps(batch), batch)
    assert float(loss.rgb) == pytest.approx(float(first.rgb), rel=1e-3)


def test_scales_outside_of_their_range_cost_the_square_of_the_excess(batch):
    values = torch.tensor([1e-4, 4e-3, 5e-3, 0.0, -9e-4])
    expected = torch.tensor([0.0, 0.0, 1e-6, 1e-8, 1e-6])
    assert torch.allclose(rendering.scale_excess(values), expected, atol=1e-12)
    wide = rendering.rendering_loss(exact_maps(batch, scale=6e-3), batch)
    assert float(wide.scale) == pytest.approx(4e-6, rel=1e-3)
    assert float(wide.rgb) == pytest.approx(float(rendering.rendering_loss(exact_maps(batch), batch).rgb), rel=1e-4)


def test_a_part_of_a_target_is_rendered_as_in_the_whole(batch):
    maps = exact_maps(batch)
    factor = rendering._mean_distance(maps.points, batch)
    poses = rendering._relative(batch.targets.world_from_cam, batch.world_from_cam[:, 0], factor)[0]
    gaussians = rendering.normalised(maps, batch, factor, 0)
    torch.manual_seed(3)
    part = rendering._crops(batch.targets, 16)
    lenses = {"background": 1.0, "near": rendering.NEAR, "eps2d": rendering.EPS2D}
    whole = rasterize(
        *gaussians, world_from_cam=poses, intrinsics=batch.targets.intrinsics[0], size=(SIZE, SIZE), **lenses
    ).color
    small = rasterize(*gaussians, world_from_cam=poses, intrinsics=part.intrinsics[0], size=(16, 16), **lenses).color
    corners = (batch.targets.intrinsics - part.intrinsics)[0, :, :2, 2].round().long()
    for target, (x, y) in enumerate(corners.tolist()):
        assert torch.allclose(whole[target, y : y + 16, x : x + 16], small[target], atol=1e-4)
        expected = batch.targets.images[0, target, :, y : y + 16, x : x + 16]
        assert torch.equal(part.images[0, target], expected)


def test_two_devices_add_up_to_one(scene, batch):
    other = draw_batch([scene], np.random.default_rng(5), 3, SIZE, augment=False, render_only=2).develop()
    both = batch + other
    maps = exact_maps(both, scale=5e-3)
    whole = rendering.rendering_loss(maps, both)

    def loss_of(index, summed):
        row = slice(index, index + 1)
        drawn = GaussianMaps(*(part[row] for part in vars(maps.gaussians).values()))
        part = Pointmaps(maps.points[row], maps.confidence[row], drawn)
        return rendering.rendering_loss(part, (batch, other)[index], summed=summed)

    counts = [[], []]  # what each device asks to be summed, in order
    for index in range(2):
        loss_of(index, lambda count, index=index: counts[index].append(count) or count)
    parts = []
    for index in range(2):
        totals = iter([a + b for a, b in zip(*counts, strict=True)])
        parts.append(loss_of(index, lambda _, totals=totals: next(totals)))
    for name in ("rgb", "scale"):
        total = sum(float(getattr(part, name)) for part in parts)
        assert total == pytest.approx(float(getattr(whole, name)), rel=1e-5)


def test_fewer_scenes_are_rendered_than_learned_from(scene, batch):
    other = draw_batch([scene], np.random.default_rng(5), 3, SIZE, augment=False, render_only=2).develop()
    both = batch + other
    found = rendering.rendering_loss(exact_maps(both, opacity=0.5), both, scenes=1)
    torch.testing.assert_close(tuple(found), tuple(rendering.rendering_loss(exact_maps(batch, opacity=0.5), batch)))
    assert rendering.rendering_loss(exact_maps(both, opacity=0.5), both, scenes=5).rgb != found.rgb


def test_gradients_reach_size_turn_opacity_and_points(batch):
    maps = exact_maps(batch, opacity=0.6, scale=2e-3)
    parts = [maps.points, maps.gaussians.scales, maps.gaussians.rotations, maps.gaussians.opacities]
    parts = [part.clone().requires_grad_() for part in parts]
    scales = parts[1] * torch.tensor([1.0, 0.5, 0.2])  # round ones do not feel a turn
    drawn = GaussianMaps(scales, parts[2], parts[3], maps.gaussians.colors)
    rendering.rendering_loss(Pointmaps(parts[0], maps.confidence, drawn), batch, size=24).total.backward()
    for part in parts:
        assert part.grad is not None and part.grad.isfinite().all() and part.grad.abs().sum() > 0


def test_only_the_named_parts_learn():
    config = replace(MVDust3rConfig.mini(), encoder_dim=32, encoder_depth=1, encoder_heads=2, decoder_dim=32)
    model = MVDust3r(replace(config, decoder_depth=1, decoder_heads=2, gaussians=True, gaussian_dim=16))
    learn_only(model, ("_gaussians.",))
    learning = {name for name, value in model.named_parameters() if value.requires_grad}
    assert learning and all("_gaussians." in name for name in learning)
    with pytest.raises(InputError, match="No parameter"):
        learn_only(model, ("no such part",))


def test_recipes_that_cannot_render_are_refused(tmp_path):
    stage = Stage(1.0, 32, views=(2, 2), rendering_weight=1.0, render_views=2)
    with pytest.raises(InputError, match="no Gaussian heads"):
        TrainRecipe(output=tmp_path, steps=1, stages=(stage,), config=replace(MVDust3rConfig.mini(), gaussians=False))
    with pytest.raises(InputError, match="asks for up to 4 views"):
        TrainRecipe(output=tmp_path, steps=1, scene_views=3, stages=(stage,))


def test_the_published_recipes_render_with_the_published_weights(tmp_path):
    for name in ("mvdust3r", "mvdust3r-plus", "mvdust3r-plus-mixed"):
        recipe = RECIPES[name].build(tmp_path)
        assert recipe.network_config().gaussians
        for stage in recipe.stages:
            assert (stage.rendering_weight, stage.render_views, stage.perceptual_weight) == (1.0, 2, 1.0)


def test_lpips_is_asked_for_by_name_where_it_is_missing(batch, monkeypatch):
    monkeypatch.setattr(perceptual, "_packages_are_here", lambda: False)
    assert perceptual.load_lpips() is None
    perceptual.need_lpips.cache_clear()
    with pytest.raises(MissingExtraError, match="LPIPS"):
        rendering.rendering_loss(exact_maps(batch), batch, perceptual_weight=1.0)


def test_lpips_is_asked_for_before_any_data_are_made(tmp_path, monkeypatch):
    monkeypatch.setattr(perceptual, "_packages_are_here", lambda: False)
    perceptual.need_lpips.cache_clear()
    monkeypatch.setattr(ViewTask, "source", lambda task, recipe: pytest.fail("data were asked for"))
    stage = Stage(1.0, 32, views=(2, 2), rendering_weight=1.0, render_views=1, perceptual_weight=1.0)
    recipe = TrainRecipe(output=tmp_path / "run", config=HEADS, stages=(stage,), steps=1, scene_views=3)
    with pytest.raises(MissingExtraError, match="LPIPS"):
        train(recipe)
    assert not recipe.output.exists()  # once it is installed the same command works
    quiet = replace(recipe, stages=(replace(stage, perceptual_weight=0.0),))
    need_losses(quiet, torch.device("cpu"))


def test_lpips_is_loaded_once(monkeypatch):
    loaded = []
    monkeypatch.setattr(perceptual, "_packages_are_here", lambda: True)
    monkeypatch.setattr(perceptual, "load_lpips", lambda device: loaded.append(device) or (lambda a, b: a))
    perceptual.need_lpips.cache_clear()
    try:
        assert perceptual.need_lpips("cpu") is perceptual.need_lpips("cpu")
    finally:
        perceptual.need_lpips.cache_clear()
    assert loaded == ["cpu"]


def test_what_is_rendered_is_whole_where_the_other_loss_is_thinned(batch, monkeypatch):
    """Of two reference paths and every second pixel: the first path, all pixels."""
    seen = []

    def render(maps, *arguments, **options):
        seen.append(maps)
        return rendering.rendering_loss(maps, *arguments, **options)

    monkeypatch.setattr(objective_module, "rendering_loss", render)
    stage = Stage(1.0, SIZE, views=(3, 3), references=2, loss_stride=2, rendering_weight=1.0, render_views=2,
                  render_size=16)  # fmt: skip
    recipe = TrainRecipe(output=Path("unused"), config=HEADS, stages=(stage,), steps=1)
    torch.manual_seed(0)
    network = MVDust3r(HEADS).train()
    module = TrainedNetwork(network)
    objective_module.objective(module, network, batch, stage, recipe, lambda counts: counts, 1)
    [maps] = seen
    assert maps.points.shape == (1, 3, SIZE, SIZE, 3)
    assert maps.confidence.shape == maps.points.shape[:-1] == maps.gaussians.scales.shape[:-1]


def test_training_and_evaluation_render_alike():
    for name in ("EPS2D", "NEAR", "FAR", "BACKGROUND"):
        assert getattr(rendering, name) == getattr(splats, name), name


def test_lpips_is_the_mean_over_all_targets(batch, monkeypatch):
    monkeypatch.setattr(rendering, "need_lpips", lambda device: lambda a, b: (a - b).abs().mean((1, 2, 3)))
    loss = rendering.rendering_loss(exact_maps(batch, opacity=0.0), batch, perceptual_weight=0.5)
    assert float(loss.perceptual) == pytest.approx(0.5 * float((1 - batch.targets.images).abs().mean()), rel=1e-5)


def test_heads_learn_in_the_loop_and_nothing_else_moves(tmp_path):
    stage = Stage(1.0, 32, views=(2, 2), views_per_step=2, references=2, rendering_weight=1.0, render_views=1)
    recipe = TrainRecipe(
        output=tmp_path / "run", scenes=1, scene_views=3, config=HEADS, learn=("_gaussians.",), stages=(stage,),
        steps=3, warmup_steps=0, learning_rate=1e-2, ema_decay=0.0, validation_scenes=1, validation_views=3, threads=1,
        log_every_steps=1,
    )  # fmt: skip
    before = build_model(recipe).state_dict()
    folder = train(recipe)
    after = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=False)["model"]
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all("_gaussians." in name for name in moved)
    assert not any("color" in name for name in moved)  # the photos' colours are used
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert all(line["rgb"] > 0 for line in lines if line["kind"] == "step")
    assert (folder / "config.json").is_file()
    [validation] = [line for line in lines if line["kind"] == "validation"]
    assert 0 < validation["novel_psnr"] < 40


def test_points_alone_are_validated_without_pictures(scene, tmp_path):
    network = MVDust3r(replace(HEADS, gaussians=False)).eval()
    recipe = TrainRecipe(output=tmp_path, steps=1, stages=(Stage(1.0, SIZE),))
    assert "novel_psnr" not in ViewTask().score(recipe, network, [scene.choose(range(3))])
