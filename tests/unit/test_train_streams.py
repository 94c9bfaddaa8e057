"""Training of stream models: drives, sequences, start, loss, the loop, and what is said about all of them."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from worldline import worlds
from worldline.errors import InputError
from worldline.models.config import Driv3rConfig
from worldline.models.driv3r import Driv3r
from worldline.train.catalog import RECIPES
from worldline.train.feed import first_request
from worldline.train.loop import Run, train
from worldline.train.plan import plan_run
from worldline.train.produce import produce
from worldline.train.streams.build import NEW_PARTS, build_stream_model
from worldline.train.streams.drives import (
    Drive,
    from_stream,
    load_drive,
    mirror_drive,
    render_drive,
    ring_order,
    save_drive,
    shrink_drive,
)
from worldline.train.streams.matching import reading_loss
from worldline.train.streams.recipe import StreamRecipe, StreamStage
from worldline.train.streams.sequences import SequenceOptions, draw_sequence, draw_sequences, ring_neighbors
from worldline.train.streams.task import StreamTask, stream_flops
from worldline.train.streams.validation import score_stream, score_streams
from worldline.train.supervision import Corruption
from worldline.weights.storage import load_model

SIZE = (32, 64)
TINY = replace(
    Driv3rConfig.mini(), encoder_dim=32, encoder_depth=1, encoder_heads=2, decoder_dim=32, decoder_depth=1,
    decoder_heads=2, value_depth=1, value_heads=2,
)  # fmt: skip


def made_up(seed: int, steps: int = 4, sensors: int = 6) -> Drive:
    """A ring of cameras that moves sideways between textured walls."""
    rng = np.random.default_rng(seed)
    height, width = SIZE
    yaw = 2 * np.pi * np.arange(sensors) / sensors
    poses = np.tile(np.eye(4, dtype=np.float32), (steps, sensors, 1, 1))
    for sensor, angle in enumerate(yaw):  # forward, left and up of a camera that stands upright
        forward, right = np.array([np.cos(angle), np.sin(angle), 0]), np.array([np.sin(angle), -np.cos(angle), 0])
        poses[:, sensor, :3, :3] = np.stack([right, [0, 0, -1], forward], 1)
        poses[:, sensor, :3, 3] = 0.5 * forward
    poses[:, :, 0, 3] += 0.3 * np.arange(steps, dtype=np.float32)[:, None]
    intrinsics = np.tile(np.array([[50, 0, 31.5], [0, 50, 15.5], [0, 0, 1]], np.float32), (sensors, 1, 1))
    depth = (4 + 2 * rng.random((1, sensors, 1, width)) + 0.1 * rng.random((steps, sensors, height, width))).astype(
        "f4"
    )
    depth[:, :, :4] = 0  # sky
    images = rng.integers(0, 255, (steps, sensors, height, width, 3), dtype=np.uint8)
    dynamic = np.zeros(depth.shape, bool)
    dynamic[:, :, 16:24, 8:24] = True
    return Drive(images, depth, dynamic, intrinsics, poses, np.arange(steps) / 2.0)


@pytest.fixture(scope="module")
def street() -> tuple[worlds.WorldSample, Drive]:
    sample = worlds.sample("street", 5, views=18, height=32, width=64, shooting="rig", rate=3.0)
    return sample, from_stream(sample)


@pytest.fixture
def recipe(tmp_path: Path) -> StreamRecipe:
    for folder, seeds in (("pool", range(2)), ("validation", (9,))):
        (tmp_path / folder).mkdir()
        for seed in seeds:
            save_drive(made_up(seed), tmp_path / folder / f"street-{seed:010d}.safetensors")
    stages = (
        StreamStage(0.5, 16, (2, 3), 12, sensors=(1, 3), keep=(0.5, 1.0)),
        StreamStage(1.0, 32, (3, 4), 12, sensors=(2, 6), focus=0.5, matching_weight=0.2),
    )
    return StreamRecipe(
        output=tmp_path / "run", pool=tmp_path / "pool", validation_pool=tmp_path / "validation", config=TINY,
        stages=stages, steps=8, warmup_steps=2, log_every_steps=1, validation_views=3, aspect=2.0,
    )  # fmt: skip


def logged(folder: Path, kind: str = "step") -> list[dict]:
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [record for record in records if record["kind"] == kind]


def test_targets_are_the_points_of_the_world_in_the_first_camera(street) -> None:
    sample, drive = street
    draft = draw_sequences([drive], SequenceOptions(3, 6, SIZE, augment=False), np.random.default_rng(0))
    batch = draft.develop()
    ring = ring_order(sample.world_from_cam.numpy().reshape(3, 6, 4, 4)[0])
    names = [sample.world.sensors[row] for row in ring]
    assert names[0] == "CAM_FRONT" and names[3] == "CAM_BACK" and names[1].endswith("LEFT")
    expected = sample.points.reshape(3, 6, *SIZE, 3)[:, ring].swapaxes(0, 1)
    start = torch.from_numpy(drive.world_from_cam[0])[:, None, None, None]
    found = (start[..., :3, :3] @ batch.points[0][..., None])[..., 0] + start[..., :3, 3]
    valid = batch.valid[0]
    assert valid.float().mean() > 0.5 and batch.dynamic.any() and not (batch.dynamic & ~batch.valid).any()
    torch.testing.assert_close(found[valid], expected[valid], atol=1e-3, rtol=1e-4)
    assert batch.neighbors.tolist() == [[5, 1], [0, 2], [1, 3], [2, 4], [3, 5], [4, 0]]
    moved = batch.relative[0, 0, 1]  # from the front left camera to the front one
    assert moved[0, 3] < -0.2 and abs(moved[1, 3]) < 0.2  # it stands to the left


def test_a_pool_file_is_the_drive(street, tmp_path: Path) -> None:
    drive = street[1]
    save_drive(drive, tmp_path / "a.safetensors")
    again = load_drive(tmp_path / "a.safetensors")
    for field in fields(Drive):
        tolerance = 1e-3 if field.name == "depth" else 0
        np.testing.assert_allclose(getattr(again, field.name), getattr(drive, field.name), rtol=tolerance)
    (tmp_path / "b.safetensors").write_bytes(b"no drive")
    with pytest.raises(InputError, match="not a drive"):
        load_drive(tmp_path / "b.safetensors")


def test_a_mirrored_drive_shows_the_mirrored_world() -> None:
    drive = made_up(0)
    options = SequenceOptions(4, 6, SIZE, augment=False)
    plain, mirrored = (
        draw_sequences([each], options, np.random.default_rng(0)).develop() for each in (drive, mirror_drive(drive))
    )
    flipped = mirrored.points.flip(1).flip(4) * torch.tensor([-1.0, 1, 1])
    torch.testing.assert_close(flipped, plain.points, atol=1e-4, rtol=1e-4)
    assert torch.equal(mirrored.images.flip(1).flip(5), plain.images)
    twice = mirror_drive(mirror_drive(drive))
    assert all(np.allclose(getattr(twice, name), value) for name, value in vars(drive).items())
    turn = mirror_drive(drive).world_from_cam[0]
    assert ring_order(turn) == list(range(6))  # still counter-clockwise


def test_small_images_keep_what_moves_and_where_things_are() -> None:
    drive = made_up(0)
    drive.dynamic[:] = False
    drive.dynamic[:, :, 7, 9] = True
    small = shrink_drive(drive, (16, 32))
    assert small.size == (16, 32) and small.dynamic.sum() == drive.dynamic.sum()
    point = np.linalg.inv(small.intrinsics[0]) @ [4, 3, 1]
    np.testing.assert_allclose(point, np.linalg.inv(drive.intrinsics[0]) @ [8.5, 6.5, 1], atol=1e-6)
    with pytest.raises(InputError, match="cannot be reduced to 24×64"):
        shrink_drive(drive, (24, 64))


def test_sequences_are_cameras_side_by_side_in_order_of_time() -> None:
    drive = made_up(0, steps=8)
    centers = drive.world_from_cam[:, :, :3, 3]
    seen = set()
    for seed in range(60):
        options = SequenceOptions(3, 3, SIZE, skip_steps=0.5, reverse=0.2)
        part = draw_sequence(drive, options, np.random.default_rng(seed))
        gaps = np.diff(part.times)
        assert len(set(gaps)) == 1 and abs(gaps[0]) in (0.5, 1.0)
        azimuth = np.unwrap(np.arctan2(part.world_from_cam[0, :, 1, 2], part.world_from_cam[0, :, 0, 2]))
        np.testing.assert_allclose(np.diff(azimuth), np.pi / 3, atol=1e-5)  # counter-clockwise, mirrored or not
        mirrored = not any(np.allclose(part.world_from_cam[0, 0, :3, 3], center) for center in centers.reshape(-1, 3))
        seen.add((float(gaps[0]), mirrored))
    assert {(0.5, False), (1.0, False), (-0.5, False), (0.5, True)} <= seen
    with pytest.raises(InputError, match="a drive has 8 of 6"):
        draw_sequence(drive, SequenceOptions(9, 2, SIZE), np.random.default_rng(0))


@pytest.mark.parametrize("sensors", [2, 3, 4, 6])
@pytest.mark.parametrize("around", [False, True])
def test_neighbors_stand_beside_each_other(sensors: int, around: bool) -> None:
    rows = ring_neighbors(sensors, around)
    assert rows.shape == (sensors, min(2, sensors - 1))
    for row, others in enumerate(rows):
        assert row not in others and len(set(others)) == len(others)
        apart = [abs(row - other) for other in others]
        assert min(min(gap, sensors - gap) if around else gap for gap in apart) == 1
    assert ring_neighbors(1, around) is None


def test_errors_of_the_supervision_reach_the_targets_only() -> None:
    exact, wrong = (
        draw_sequences(
            [made_up(0)], SequenceOptions(4, 2, SIZE, corruption=Corruption.parse(text)), np.random.default_rng(3)
        ).develop()
        for text in ("none", "bias=0.5,holes=0.25")
    )
    assert wrong.valid.sum() < 0.8 * exact.valid.sum()
    assert not torch.equal(exact.points, wrong.points)
    with pytest.raises(InputError, match="no error of depth"):
        StreamRecipe(output=Path("run"), steps=1, corrupt="fog=1")


def test_far_things_are_left_out_where_the_recipe_says_so() -> None:
    options = SequenceOptions(2, 1, SIZE, farthest=5.0, augment=False)
    batch = draw_sequences([made_up(0)], options, np.random.default_rng(0)).develop()
    depth = batch.points[:, :, 0, ..., 2][batch.valid[:, :, 0]]  # of step 0, in its own camera
    assert 4.9 < depth.max() <= 5.0 and depth.min() >= 4


def test_a_new_memory_starts_as_one_of_appearance(tmp_path: Path) -> None:
    recipe = StreamRecipe(output=tmp_path, steps=1, config=TINY)
    model = build_stream_model(recipe).eval()
    encoded, decoded = torch.randn(2, 1, 8, 32).clamp(-2, 2)
    for head in (model.key_head, model.query_head):
        torch.testing.assert_close(head.of(encoded, decoded), encoded, atol=1e-4, rtol=1e-4)
    fused, received = model.reader(encoded, encoded, encoded)
    assert torch.cosine_similarity(fused, encoded, dim=-1).min() > 0.9
    torch.testing.assert_close(received, torch.ones(1, 8), atol=0.5, rtol=0)  # each token is read by its own kind


def test_the_shipped_model_gives_the_start(tmp_path: Path) -> None:
    from worldline.weights.fetch import resolve

    recipe = replace(RECIPES["driv3r-mini"].build(tmp_path), pool=None)
    model = build_stream_model(recipe)
    donor, _ = load_model(resolve("mvdust3r-plus-mini"))
    given = donor.state_dict()
    for name, value in model.state_dict().items():
        if not any(part in name for part in NEW_PARTS):
            assert torch.equal(value, given[name]), name


@pytest.mark.parametrize("length", [{"steps": 8}, pytest.param({"steps": None, "samples": 20}, marks=pytest.mark.slow)])
def test_eight_steps_equal_four_and_four(recipe: StreamRecipe, tmp_path: Path, length: dict) -> None:
    recipe = replace(recipe, **length)
    train(recipe)
    stopped = replace(recipe, output=tmp_path / "stopped")
    first = Run(stopped)
    step = first.train_step

    def step_and_stop(batches, stage):
        result = step(batches, stage)
        if first.progress.step == 4:
            first.stop()
        return result

    first.train_step = step_and_stop
    first.loop()
    first.finish()
    train(stopped, resume=True)
    states = [torch.load(folder / "checkpoint.pt", weights_only=True) for folder in (recipe.output, stopped.output)]
    assert states[0]["progress"] | {"seconds": 0} == states[1]["progress"] | {"seconds": 0}
    for part in ("model", "ema"):  # dropout of the memory and forgotten images included
        assert all(torch.equal(value, states[1][part][name]) for name, value in states[0][part].items())
    with pytest.raises(InputError, match="another corrupt"):
        train(replace(stopped, corrupt="bias=0.1"), resume=True)


def test_one_drive_is_learned_by_heart(recipe: StreamRecipe) -> None:
    (recipe.pool / "street-0000000001.safetensors").unlink()
    recipe = replace(
        recipe, steps=120, learning_rate=4e-3, warmup_steps=5, skip_steps=0.0, config=replace(TINY, encoder_dim=64),
        stages=(StreamStage(1.0, 16, (3, 3), 12, sensors=(2, 2)),),
    )  # fmt: skip
    folder = train(recipe)
    errors = [record["error"] for record in logged(recipe.output)]
    assert np.mean(errors[:3]) > 0.4 and np.mean(errors[-10:]) < 0.2
    model, info = load_model(folder)
    assert isinstance(model, Driv3r) and info.card["views_per_sample"] == "3 to 3 steps of 2 to 2 cameras"
    assert info.card["supervision"] == "exact" and info.card["image_shape"] == [16, 32]
    last = logged(recipe.output, "validation")[-1]
    assert last["drives"] == 1 and last["streams"] == 6 and 0 < last["abs_rel"] < 1


def test_steps_that_see_moving_things_only(recipe: StreamRecipe) -> None:
    run = Run(recipe)
    request = first_request(recipe, run.progress, 1).request()
    [batch] = run._prepare(request)
    figures = {
        focused: run.task.figures(
            run.module.eval(), run.network, replace(batch, focused=focused), request.stage, recipe, lambda x: x, 1, 0, 0
        )
        for focused in (False, True)
    }
    assert figures[False].loss != figures[True].loss
    still = replace(batch, focused=True, dynamic=torch.zeros_like(batch.dynamic))
    nothing = run.task.figures(run.module, run.network, still, request.stage, recipe, lambda x: x, 1, 0, 0)
    assert math.isfinite(nothing.loss.detach()) and nothing.logged["error"] == 0


def test_reads_are_compared_with_the_surfaces_that_were_seen() -> None:
    drive, steps, sensors = made_up(0), 4, 3
    options = SequenceOptions(steps, sensors, SIZE, matched=1.0, augment=False)
    batch = draw_sequences([drive], options, np.random.default_rng(0)).develop()
    patches = batch.matches.shape[-1]
    codes = torch.randn(sensors * steps, patches, 64)  # of every token of every image

    def read(step: int, query_of: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rows = [[sensor, *batch.neighbors[sensor].tolist()] for sensor in range(sensors)]
        keys = [torch.cat([codes[row * steps + time] for row in around for time in range(step)]) for around in rows]
        return torch.stack([query_of[sensor * steps + step] for sensor in range(sensors)]), torch.stack(keys)

    def loss(query_of: torch.Tensor) -> tuple[float, float]:
        reads = [read(step, query_of) for step in range(1, steps - 1)]
        queries, keys = zip(*reads, strict=True)
        return tuple(float(x) for x in reading_loss(list(queries), list(keys), batch.matches, batch.neighbors, abs))

    informed, before = codes.clone(), batch.matches[0]
    for view in range(sensors * steps):  # every token asks for the token of the image before that shows the same
        if view % steps:
            known = before[view, view - 1] >= 0
            informed[view, known] = 8 * codes[view - 1][before[view, view - 1][known]]
    assert (before >= 0).any() and before.shape == (sensors * steps, sensors * steps, patches)
    blind, right = loss(torch.zeros_like(codes)), loss(informed)
    assert right[1] > 0.5 and right[0] < 0.5 * blind[0]
    assert reading_loss([], [], batch.matches, None, abs)[0] == 0  # two images: nothing is read


def test_a_perfect_prediction_in_another_unit_scores_zero() -> None:
    drive = made_up(0)
    batch = draw_sequences([drive], SequenceOptions(4, 6, SIZE, augment=False), np.random.default_rng(0)).develop()
    poses = torch.from_numpy(drive.world_from_cam[:, 2]).double()
    frames = (poses.inverse() @ poses[0])[:, :3]
    truth, valid = batch.points[0, 2], batch.valid[0, 2]
    scores = score_stream(7 * truth, truth, valid, frames)
    assert max(scores[name] for name in ("abs_rel", "abs_rel_last", "abs_rel_frame", "point_error")) < 1e-4
    assert scores["abs_rel_constant"] > 0.05
    drifting = 7 * truth * torch.linspace(1, 1.3, 4)[:, None, None, None]
    worse = score_stream(drifting, truth, valid, frames)
    assert worse["abs_rel"] > 0.05 and worse["abs_rel_frame"] < worse["abs_rel"]


def test_scores_of_a_network_count_every_stream() -> None:
    scores = score_streams(Driv3r(TINY).eval(), [made_up(0), made_up(1)], (16, 32))
    assert scores["drives"] == 2 and scores["streams"] == 12 and scores["abs_rel_alone"] > 0
    assert score_streams(Driv3r(TINY).eval(), [], (16, 32)) == {}


def test_producers_render_drives_that_the_loop_reads(tmp_path: Path) -> None:
    assert produce(tmp_path, [3], layouts=(("street", 1.0),), size=16, rig=True) == 1
    [path] = tmp_path.glob("*.safetensors")
    drive = load_drive(path)
    assert 8 <= len(drive.times) <= 10 and drive.size == (16, 32) and drive.depth.shape[1] == 6
    rate = 1 / np.diff(drive.times)
    assert rate.min() >= 2 and rate.max() <= 6.001
    same = render_drive("street", 3, (16, 32), steps=len(drive.times))
    np.testing.assert_array_equal(same.images, drive.images)
    with pytest.raises(InputError, match="no rig"):
        produce(tmp_path, [3], layouts=(("rooms", 1.0),), size=16, rig=True)


def test_plans_count_the_operations_of_a_step(tmp_path: Path) -> None:
    recipe, task = RECIPES["driv3r-tiny"].build(tmp_path), StreamTask()
    for stage in plan_run(recipe).stages:
        example = task.example(recipe, stage.stage)
        drives, sensors, steps, _, height, width = example.images
        assert stage.points == (drives, 2, sensors, steps - 1, height, width, 3)
        alone = drives * stream_flops(recipe.network_config(), sensors, steps, height, width)
        assert alone <= stage.flops < 1.1 * alone  # reads of neighbours come on top


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"sensors": (0, 2)}, "sensors"),
        ({"keep": (0.0, 1.0)}, "keeps"),
        ({"focus": 1.5}, "shares"),
        ({"views": (1, 3)}, "views"),
    ],
)
def test_impossible_stages_are_explained(changes: dict, word: str) -> None:
    with pytest.raises(InputError, match=word):
        StreamRecipe(output=Path("run"), steps=1, stages=(StreamStage(1.0, **changes),))


def test_operations_of_long_sequences_follow_from_short_ones() -> None:
    from worldline.train.streams.task import _sensor_flops

    for steps in (5, 7):
        assert stream_flops(TINY, 2, steps, 16, 32) == 2 * _sensor_flops(TINY, steps, 16, 32)
