"""Training of D4RT: its loss, the loop, what it starts from, what it is scored by, and what is said about it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from synthetic_clip import make_clip
from worldline.errors import InputError
from worldline.models.config import D4rtConfig, Driv3rConfig, MVDust3rConfig
from worldline.models.d4rt import Answers, D4rt
from worldline.models.driv3r import Driv3r
from worldline.models.mvdust3r import MVDust3r
from worldline.models.queries import Queries
from worldline.train.catalog import RECIPES
from worldline.train.clips.batches import ClipBatch, ClipOptions, CropOptions, draw_clips
from worldline.train.clips.build import build_clip_model
from worldline.train.clips.clips import Clip, load_clip, save_clip
from worldline.train.clips.losses import LossWeights, QueryLoss, Targets, query_loss, trust_at
from worldline.train.clips.queries import QueryOptions, Sources, answer
from worldline.train.clips.recipe import ClipRecipe, ClipStage
from worldline.train.clips.task import ClipTask, clip_flops
from worldline.train.clips.validation import score_clips, score_depth, score_rotation, score_tracks
from worldline.train.loop import Run, train
from worldline.train.plan import plan_run
from worldline.train.produce import main as produce_main
from worldline.weights.storage import load_model, save_model

TINY = replace(
    D4rtConfig.mini(), clip_frames=4, image_size=(32, 32), encoder_dim=32, encoder_depth=2, encoder_heads=2,
    encoder_mlp_dim=128, decoder_dim=32, decoder_depth=1, decoder_heads=2, decoder_mlp_dim=64,
)  # fmt: skip


@pytest.fixture
def recipe(tmp_path: Path) -> ClipRecipe:
    for folder, seeds in (("pool", range(3)), ("validation", (9,))):
        (tmp_path / folder).mkdir()
        for seed in seeds:
            save_clip(make_clip(seed), tmp_path / folder / f"dynamic-{seed:010d}.safetensors")
    stages = (
        ClipStage(0.5, 16, (2, 4), 8, queries=48, near=((0.5, 1),)),
        ClipStage(1.0, 32, (4, 4), 8, queries=64),
    )
    return ClipRecipe(
        output=tmp_path / "run", pool=tmp_path / "pool", validation_pool=tmp_path / "validation", config=TINY,
        stages=stages, steps=8, warmup_steps=2, log_every_steps=1, validation_views=4, weights=LossWeights(depth=0.1),
    )  # fmt: skip


@pytest.fixture(scope="module")
def batch() -> ClipBatch:
    clips = [make_clip(seed) for seed in range(3)]
    return draw_clips(clips, ClipOptions(4, 32, QueryOptions(80)), np.random.default_rng(0)).develop()


def answers_like(targets: Targets, noise: float = 0.3, seed: int = 0) -> Answers:
    """Answers near the truth, as leaves."""
    generator = torch.Generator().manual_seed(seed)

    def near(value: torch.Tensor) -> torch.Tensor:
        return (value + noise * torch.randn(value.shape, generator=generator)).requires_grad_()

    logit = targets.visible.float() * 4 - 2
    return Answers(
        near(targets.points), near(targets.uv), near(logit), near(targets.motion), near(targets.normal),
        near(torch.zeros_like(logit)),
    )  # fmt: skip


def logged(folder: Path, kind: str = "step") -> list[dict]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [record for record in records if record["kind"] == kind]


def test_the_unit_of_the_network_is_its_own(batch: ClipBatch) -> None:
    targets, weights = batch.targets, LossWeights(depth=0.3)
    answers = answers_like(targets)
    loss = query_loss(answers, targets, weights)
    scales = torch.tensor([0.1, 3.0, 20.0])[:, None, None]
    scaled = replace(answers, points=answers.points * scales, motion=answers.motion * scales)
    assert query_loss(scaled, targets, weights).total.item() == pytest.approx(loss.total.item(), rel=1e-5)
    metric = query_loss(scaled, targets, replace(weights, motion_unit="metric"))
    assert metric.motion > 2 * loss.motion and metric.error.item() == pytest.approx(loss.error.item(), rel=1e-5)
    perfect = query_loss(answers_like(targets, noise=0), targets, weights)
    assert max(perfect.error, perfect.uv, perfect.motion, perfect.depth) < 1e-6
    assert perfect.normal < 1e-5


def test_what_has_no_target_changes_nothing(batch: ClipBatch) -> None:
    generator = torch.Generator().manual_seed(0)
    masks = {
        name: getattr(batch.targets, name) & (torch.rand(batch.queries.u.shape, generator=generator) < 0.7)
        for name in ("has_points", "has_uv", "has_visible", "has_motion", "has_normal")
    }
    targets = replace(batch.targets, **masks)
    parts = {"points": "has_points", "uv": "has_uv", "motion": "has_motion", "normal": "has_normal"}
    spoilt = replace(
        targets,
        **{
            part: torch.where(masks[mask][..., None], getattr(targets, part), torch.nan) for part, mask in parts.items()
        },
        visible=torch.where(masks["has_visible"], targets.visible, ~targets.visible),
    )
    found = []
    for truth in (targets, spoilt):
        answers = answers_like(targets)
        loss = query_loss(answers, truth, LossWeights(depth=0.3))
        loss.total.backward()
        found.append((loss.total.item(), answers))
    assert found[0][0] == found[1][0]
    for name, mask in (parts | {"visibility": "has_visible", "confidence": "has_points"}).items():
        gradient = getattr(found[1][1], name).grad
        assert torch.equal(gradient, getattr(found[0][1], name).grad)
        assert not gradient[~masks[mask]].any() and gradient[masks[mask]].any(), name


def test_nothing_to_learn_is_a_loss_of_zero(batch: ClipBatch) -> None:
    nothing = torch.zeros_like(batch.targets.has_points)
    masks = dict.fromkeys(("has_points", "has_uv", "has_visible", "has_motion", "has_normal"), nothing)
    answers = answers_like(batch.targets)
    loss = query_loss(answers, replace(batch.targets, **masks), LossWeights(depth=1.0))
    loss.total.backward()
    assert loss.total == 0 and all(not getattr(answers, name).grad.any() for name in Answers.__annotations__)


def test_devices_add_up_to_the_whole_batch(batch: ClipBatch) -> None:
    answers, weights = answers_like(batch.targets), LossWeights(depth=0.2)
    whole = query_loss(answers, batch.targets, weights, 0.7)
    counts: list[torch.Tensor] = []

    def part(rows: slice, summed) -> QueryLoss:
        own = Answers(*(getattr(answers, name)[rows] for name in Answers.__annotations__))
        truth = Targets(*(getattr(batch.targets, name)[rows] for name in Targets.__annotations__))
        return query_loss(own, truth, weights, 0.7, summed)

    for rows in (slice(0, 1), slice(1, 3)):
        part(rows, lambda value: counts.append(value) or value)
    sums = [part(rows, lambda _: counts[0] + counts[1]) for rows in (slice(0, 1), slice(1, 3))]
    for name in QueryLoss._fields:
        total = sum(getattr(each, name) for each in sums)
        assert total.item() == pytest.approx(getattr(whole, name).item(), rel=1e-5), name


def test_confidence_counts_only_when_there_is_something_to_be_sure_of(batch: ClipBatch) -> None:
    assert [trust_at(share, (0.1, 0.3)) for share in (0, 0.1, 0.2, 0.3, 1)] == pytest.approx([0, 0, 0.5, 1, 1])
    answers = replace(answers_like(batch.targets, 2.0), confidence=torch.full_like(batch.queries.u, -4.0))
    answers.confidence.requires_grad_()
    gradients = []
    for trust in (0.0, 1.0):
        answers.points.grad = answers.confidence.grad = None
        query_loss(answers, batch.targets, LossWeights(), trust).total.backward()
        gradients.append((answers.points.grad.norm(), answers.confidence.grad.norm()))
    (open_points, open_sure), (closed_points, closed_sure) = gradients
    assert closed_points < 0.15 * open_points  # a network that trusts nothing learns nothing
    assert open_sure == 0 < closed_sure


def test_a_stopped_run_goes_on_as_if_it_had_not_stopped(recipe: ClipRecipe, tmp_path: Path) -> None:
    whole = Run(recipe)
    whole.loop()
    whole.finish()
    parts = replace(recipe, output=tmp_path / "parts")
    first = Run(parts)
    step = first.train_step

    def stopping(*arguments):
        result = step(*arguments)
        if first.progress.step == 5:
            first.stop()
        return result

    first.train_step = stopping  # type: ignore[method-assign]
    first.loop()
    first.finish()
    assert first.progress.step == 5
    second = Run(parts)
    second.resume()
    second.loop()
    second.finish()
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, second.network.state_dict()[name]), name
    one, two = (
        [[entry["step"], entry["loss"], entry["error"]] for entry in logged(each.output)] for each in (recipe, parts)
    )
    assert one == two and len(one) == 8
    figures = logged(recipe.output, "validation")[-1]
    for name in ("abs_rel", "abs_rel_constant", "apd3d", "apd3d_moving", "average_jaccard", "rpe_rotation"):
        assert np.isfinite(figures[name]), name
    model, info = load_model(recipe.output / "export")
    assert isinstance(model, D4rt) and info.family == "d4rt"
    assert "2512.08924" in json.loads((recipe.output / "export" / "card.json").read_text())["citation"]


def test_a_few_clips_are_learned_by_heart(recipe: ClipRecipe) -> None:
    still = replace(
        recipe, steps=60, learning_rate=3e-3, crop=CropOptions(share=0), reverse=0.0, ema_decay=0.9,
        stages=(ClipStage(1.0, 32, (4, 4), 16, queries=96),), validation_pool=None,
    )  # fmt: skip
    train(still)
    steps = logged(still.output)
    before, after = (np.mean([entry["error"] for entry in part]) for part in (steps[:3], steps[-5:]))
    assert after < 0.6 * before


class Oracle:
    """Answers the questions of the validation exactly, in another unit."""

    def __init__(self, clip: Clip, unit: float = 3.0, turned: float = 0.0) -> None:
        self.clip, self.unit, self.turned = clip, unit, turned

    def __call__(self, u: np.ndarray, v: np.ndarray, t_src: np.ndarray, t_tgt: np.ndarray, t_cam: np.ndarray):
        from test_train_clips import draw_at

        height, width = self.clip.size
        x, y = (np.round(part * size - 0.5).astype(int) for part, size in ((u, width), (v, height)))
        sources: Sources = draw_at(self.clip, t_src, x, y)
        true = answer(self.clip, sources, t_tgt, t_cam)
        points = torch.from_numpy(true.points) / self.unit
        visibility = torch.from_numpy(true.visible.astype(np.float32)) - 0.5
        return Answers(points, torch.from_numpy(true.uv), visibility, points, points, torch.zeros(len(u)))


def test_exact_answers_get_full_marks() -> None:
    clip = make_clip(sky=False)
    oracle = Oracle(clip)
    depth, tracks, turn = (score(oracle, clip) for score in (score_depth, score_tracks, score_rotation))
    assert depth["abs_rel"] < 1e-4 and depth["abs_rel_constant"] > 0.05 and depth["delta_1.25"] == 1
    assert tracks["apd3d"] == tracks["apd3d_moving"] == tracks["average_jaccard"] == tracks["occlusion_accuracy"] == 1
    assert turn["rpe_rotation"] < 1e-3 and turn["rpe_rotation_none"] > 0.5
    assert score_clips(D4rt(TINY), [], 32) == {}


def test_a_photo_model_gives_its_encoder(recipe: ClipRecipe, tmp_path: Path) -> None:
    small = replace(
        MVDust3rConfig.mini(), encoder_dim=32, encoder_depth=1, encoder_heads=2, decoder_dim=32, decoder_depth=1,
        decoder_heads=2,
    )  # fmt: skip
    torch.manual_seed(1)
    donor = MVDust3r(small)
    save_model(donor, tmp_path / "photos", card={"name": "photos", "license": "Apache-2.0"})
    model = build_clip_model(replace(recipe, init=str(tmp_path / "photos")))
    own = dict(model.encoder.blocks[0].named_parameters())
    theirs = dict(donor.encoder.blocks[0].named_parameters())
    assert theirs and all(torch.allclose(own[name], value, atol=1e-3) for name, value in theirs.items())
    save_model(model, tmp_path / "clips", card={"name": "clips", "license": "Apache-2.0"})
    again = build_clip_model(replace(recipe, init=str(tmp_path / "clips"), seed=5))
    assert torch.allclose(again.head.weight, model.head.weight, atol=1e-3)
    wide = replace(recipe, config=replace(TINY, encoder_dim=64), init=str(tmp_path / "photos"))
    with pytest.raises(InputError, match="does not fit"):
        build_clip_model(wide)
    driving = replace(
        Driv3rConfig.mini(), encoder_dim=32, encoder_depth=1, encoder_heads=2, decoder_dim=32, decoder_depth=1,
        decoder_heads=2, value_depth=1, value_heads=2,
    )  # fmt: skip
    save_model(Driv3r(driving), tmp_path / "drives", card={"name": "drives", "license": "Apache-2.0"})
    with pytest.raises(InputError, match="neither a D4RT nor"):
        build_clip_model(replace(recipe, init=str(tmp_path / "drives")))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"stages": (ClipStage(1.0, 32, (4, 6), 8),)}, "6 frames, the network takes 4"),
        ({"trust_from": (0.5, 0.2)}, "trust_from"),
        ({"stages": (ClipStage(1.0, 32, (4, 4), 8, matching_weight=0.1),)}, "looks for its query"),
        ({"reverse": 1.5}, "shares"),
        ({"layouts": (("outdoor", 1.0),)}, "not filmed"),
        ({"stages": (ClipStage(1.0, 24, (4, 4), 8),)}, "do not divide into patches"),
        ({"edges": 2.0}, "shares"),
    ],
)
def test_recipes_that_cannot_work_are_refused(recipe: ClipRecipe, changes: dict, says: str) -> None:
    with pytest.raises(InputError, match=says):
        replace(recipe, **changes)


def test_every_operation_is_counted() -> None:
    for config, frames in ((TINY, 4), (replace(TINY, decoder_dim=48, local_layers=False, aspect_in_memory=True), 3)):
        network, images = D4rt(config), torch.rand(1, frames, 3, 32, 32)
        places, times = torch.full((1, 70), 0.5), torch.zeros(1, 70, dtype=torch.long)
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            network(images, torch.ones(1), Queries(places, places, times, times, times))
        assert clip_flops(config, frames, 32, 70) == pytest.approx(3 * counter.get_total_flops(), rel=0.05)


@pytest.mark.parametrize("name", ["d4rt-tiny", "d4rt-mini-cuda"])  # d4rt: tests/cli
def test_recipes_are_planned_on_paper(name: str, tmp_path: Path) -> None:
    recipe = RECIPES[name].build(tmp_path / "run")
    assert isinstance(recipe, ClipRecipe)
    plan = plan_run(recipe, RECIPES[name].devices)
    stage = plan.stages[-1]
    assert stage.points == (stage.samples, recipe.stages[-1].queries, 3)
    assert ClipTask().producer(recipe)[0] == "--clips" and not (tmp_path / "run").exists()
    assert plan.parameters <= 16e6


def test_clips_are_rendered_into_a_pool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--clips", "--layouts", "dynamic", "--count", "1", "--views", "2", "--size", "16"]
    produce_main([str(tmp_path / "pool"), *options])
    (path,) = (tmp_path / "pool").glob("*.safetensors")
    clip = load_clip(path)
    assert path.name.startswith("dynamic-") and len(clip) == 2 and 13**2 < np.prod(clip.size) < 21**2
    with pytest.raises(SystemExit):
        produce_main([str(tmp_path / "pool"), "--clips", "--layouts", "outdoor"])
    assert "not filmed" in capsys.readouterr().err
