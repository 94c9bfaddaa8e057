"""Scenes are pure functions of the generator, kinds of worlds follow their weights, bad seeds are passed over."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from worldline import worlds
from worldline.errors import InputError, NoPlaceError
from worldline.train import data, sources
from worldline.train.catalog import tiny
from worldline.train.feed import first_request
from worldline.train.produce import layout_of, main, parse_layouts, produce
from worldline.train.recipes import Stage
from worldline.train.schedule import Progress

SMALL = {"views": 2, "size": 16}


def test_layouts_are_drawn_by_weight_and_fixed_per_seed() -> None:
    layouts = (("rooms", 3.0), ("street", 1.0))
    drawn = Counter(layout_of(seed, layouts) for seed in range(2000))
    assert drawn["rooms"] / 2000 == pytest.approx(0.75, abs=0.03)
    assert layout_of(7, layouts) == layout_of(7, layouts)
    assert parse_layouts("rooms=2, room") == (("rooms", 1.0),)
    for text in ("castles", "rooms=x", "rooms=0", "", "rooms=nan"):
        with pytest.raises(InputError):
            parse_layouts(text)


def test_rendered_scenes_repeat_with_the_generator_and_never_meet_validation(tmp_path: Path) -> None:
    recipe = replace(tiny(tmp_path), scenes=None)
    first, second = (sources.WorldSource(recipe).draw(np.random.default_rng(5), 2, 16)[1].images for _ in range(2))
    assert np.array_equal(first, second)
    kept = sources.WorldSource(replace(recipe, scenes=2))
    scenes = kept.draw(np.random.default_rng(0), 6, 16)
    assert len({id(scene) for scene in scenes}) == 2  # rendered once, kept
    validation = kept.validation()
    assert len(validation) == recipe.validation_scenes
    assert not any(np.array_equal(scene.world_from_cam[0], validation[0].world_from_cam[0]) for scene in scenes)
    assert kept.facts()["seeds"] == "0..1"


def test_worlds_without_a_place_for_cameras_are_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = worlds.sample

    def sample(layout: str, seed: int, **options: object) -> worlds.WorldSample:
        if seed == 0:
            raise NoPlaceError("No place.", "Another seed.")
        return real(layout, seed, **options)

    def batch(layout: str, seeds: list[int], **options: object) -> list[worlds.WorldSample]:
        return [sample(layout, seed, **options) for seed in seeds]

    monkeypatch.setattr(worlds, "sample", sample)
    monkeypatch.setattr(worlds, "sample_batch", batch)
    source = sources.WorldSource(replace(tiny(tmp_path), scenes=1))
    [scene] = source.draw(np.random.default_rng(0), 1, 16)
    assert np.array_equal(scene.images, real("rooms", 1, views=3, height=16, width=16).images.numpy())
    assert produce(tmp_path / "pool", range(2), **SMALL) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--device", "gpu"), "gpu"),
        (("--size", "0"), "0 pixels"),
        (("--views", "0"), "0 views"),
        (("--layouts", "castles"), "castles"),
        (("--count", "-1"), "--count is -1"),
    ],
)
def test_a_mistake_is_not_taken_for_a_bad_seed(
    options: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path / "pool"), *options])
    assert ended.value.code == 2 and words in capsys.readouterr().err and not (tmp_path / "pool").exists()


def test_unknown_layouts_of_a_recipe_are_left_out_or_refused(tmp_path: Path) -> None:
    some = replace(tiny(tmp_path), layouts=(("rooms", 1.0), ("castles", 1.0)))
    assert sources.WorldSource(some).layouts == (("rooms", 1.0),)
    with pytest.raises(InputError, match="None of the layouts"):
        sources.WorldSource(replace(some, layouts=(("castles", 1.0),)))


def test_a_pool_is_filled_once_stops_when_told_and_is_described(tmp_path: Path) -> None:
    pool = tmp_path / "pool" / "16"
    assert produce(pool, range(2), **SMALL) == 2
    assert produce(pool, range(2), **SMALL) == 0
    assert produce(pool, range(2, 9), max_gigabytes=0, **SMALL) == 0
    (pool / "STOP").touch()
    assert produce(pool, range(2, 9), **SMALL) == 0
    recipe = replace(tiny(tmp_path), pool=tmp_path / "pool", validation_pool=pool, validation_views=1)
    source = sources.PoolSource(recipe)
    assert len(source.draw(np.random.default_rng(0), 3, 16)) == 3
    assert [len(scene.images) for scene in source.validation()] == [1, 1]
    facts = source.facts()["pools"]["16"]
    assert facts == {"scenes": 2, "seeds": "0000000000..0000000001", "layouts": ["rooms"]}
    assert [file.name for file in data.pool_files(pool)] == [
        "rooms-0000000000.safetensors", "rooms-0000000001.safetensors"
    ]  # fmt: skip
    with pytest.raises(InputError, match="holds no scenes"):
        sources.PoolSource(replace(recipe, pool=tmp_path / "none")).draw(np.random.default_rng(0), 1, 16)


def test_steps_draw_among_views_and_sizes_and_count_ahead(tmp_path: Path) -> None:
    stage = Stage(1.0, (16, 32), views=(2, 4), views_per_step=8)
    recipe = replace(tiny(tmp_path), scene_views=4, stages=(stage,), steps=None, samples=60)
    plan, seen, asked = first_request(recipe, Progress(), devices=2), Counter(), []
    while plan.progress.samples < 60:
        request = plan.request()
        seen[request.views, request.size] += 1
        asked.append(request)
        plan = plan.after(Progress())
    assert {views for views, _ in seen} == {2, 3, 4} and {size for _, size in seen} == {16, 32}
    assert sum(2 * request.scenes for request in asked) == plan.progress.samples
    middle = sum(2 * request.scenes for request in asked[:3])
    resumed = first_request(recipe, Progress(step=3, samples=middle), devices=2)
    assert resumed.request() == asked[3]  # a resumed run asks for what the uninterrupted one would have
