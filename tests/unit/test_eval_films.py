"""Films of moving things: exact answers score perfectly in every figure, known errors cost what they must."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from exact_video import ExactVideo
from worldline import worlds
from worldline.errors import InputError
from worldline.eval.dynamic.figures import FILM_FIGURES, TABLES
from worldline.eval.dynamic.films import Film, FilmSpec, FilmStore, describe_film
from worldline.eval.dynamic.methods import STAY, Asked, FilmMethod, predict, stay_method
from worldline.eval.dynamic.scores import Predicted, score_cameras, score_depth, score_film, score_mask, score_tracks
from worldline.eval.dynamic.sheet import draw_band, write_sheet
from worldline.eval.dynamic.suite import FilmSettings, evaluate_films
from worldline.eval.dynamic.sweeps import FILM_SWEEPS, FilmSweepSettings, by_gap, film_sweep_named, run_film_sweep

HEIGHT, WIDTH, FRAMES = 45, 60, 6
SEED = worlds.TEST_SEEDS[0]
SPEC = FilmSpec(SEED, FRAMES, 6.0, height=HEIGHT, width=WIDTH, tracks=48)
SMALL = {"frames": FRAMES, "height": HEIGHT, "width": WIDTH, "tracks": 48}
ASKED = Asked(depth=(15, 20), masks=(15, 20), mask_step=2)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FilmStore:
    return FilmStore(tmp_path_factory.mktemp("films"))


@pytest.fixture(scope="module")
def film(store: FilmStore) -> Film:
    return store.get(SPEC)


def exact(spec: FilmSpec, **errors: float) -> ExactVideo:
    return ExactVideo(describe_film(spec), spec.height, spec.width, **errors)


def exact_method(**errors: float) -> FilmMethod:
    return FilmMethod("exact", lambda film, asked: predict(exact(film.spec, **errors), film, asked))


@pytest.fixture(scope="module")
def right(film: Film) -> Predicted:
    return predict(exact(SPEC, scale=0.3), film, ASKED)


def test_exact_answers_in_another_unit_are_perfect(film: Film, right: Predicted) -> None:
    scores = score_film(film, right)
    assert set(FILM_FIGURES) <= set(scores)
    for name, figure in FILM_FIGURES.items():
        if name in ("moving_share", "mask_iou"):
            continue
        wanted, tolerance = (1.0, 0.0) if figure.better == "higher" else (0.0, 2e-3)
        assert scores[name] == pytest.approx(wanted, abs=tolerance), name
    assert scores["mask_iou"] > 0.95
    assert 0 < scores["moving_share"] < 0.5


def test_all_figures_are_in_a_table() -> None:
    assert sorted(FILM_FIGURES) == sorted(name for names in TABLES.values() for name in names)


def test_nothing_known_is_worth_little(film: Film) -> None:
    scores = score_film(film, stay_method().predict(film, ASKED))
    assert scores["abs_rel"] > 0.1
    assert scores["apd3d"] < 0.2
    assert scores["mask_iou"] == 0
    assert scores["ate_share"] == pytest.approx(1)
    steps = np.linalg.inv(film.world_from_cam[:-1]) @ film.world_from_cam[1:]
    angles = np.degrees(np.arccos(np.clip((np.trace(steps[:, :3, :3], axis1=1, axis2=2) - 1) / 2, -1, 1)))
    assert scores["rpe_rotation"] == pytest.approx(np.sqrt(np.mean(angles**2)), rel=1e-4)


def test_depth_of_a_film_whose_unit_drifts(film: Film, right: Predicted) -> None:
    assert right.depth is not None
    drift = 1.1 ** np.arange(FRAMES)
    scores = score_depth(film, right.depth * drift[:, None, None])
    assert scores["abs_rel"] > 0.05
    assert scores["abs_rel_frame"] < 1e-5
    assert scores["scale_drift"] == pytest.approx(np.std(np.log(drift)), rel=1e-4)


def test_what_a_method_cannot_see_does_not_count_and_what_it_misses_does(film: Film, right: Predicted) -> None:
    assert right.depth is not None
    outside, missed = right.depth.copy(), right.depth.copy()
    outside[:, :, :5], missed[:, :, :5] = np.nan, 0.0
    assert score_depth(film, outside)["d1"] == 1
    assert score_depth(film, missed)["d1"] == pytest.approx(0.75, abs=0.02)
    with pytest.raises(InputError, match="6 frames, 5"):
        score_depth(film, right.depth[1:])


def test_moving_and_still_points_share_one_factor(film: Film, right: Predicted) -> None:
    tracks = right.tracks
    assert tracks is not None and film.moves.any() and not film.moves.all()
    points = np.where(film.moves[:, None], 1.5 * tracks.points, tracks.points)
    scores = score_tracks(film, replace(tracks, points=points))
    assert min(scores["apd3d_moving"], scores["apd3d_still"]) < 0.2  # a factor of their own would make both perfect
    assert scores["delta_avg_moving"] == 1


def test_lost_tracks_and_poses_cost_their_share(film: Film, right: Predicted) -> None:
    assert right.tracks is not None and right.world_from_cam is not None
    lost = np.zeros(len(film.moves), bool)
    lost[::2] = True
    gone = {name: np.where(lost[:, None], np.nan, getattr(right.tracks, name)) for name in ("points", "world", "uv")}
    scores = score_tracks(film, replace(right.tracks, **gone, visible=right.tracks.visible & ~lost))
    share = film.visible[:, ~lost].sum() / film.visible.sum()
    assert scores["apd3d"] == pytest.approx(share)
    assert scores["aj"] == pytest.approx(share)
    poses = right.world_from_cam.copy()
    poses[1:3] = np.nan
    assert score_cameras(film.world_from_cam, poses)["placed"] == pytest.approx(4 / 6)
    poses[1:] = np.nan
    assert score_cameras(film.world_from_cam, poses) == {"placed": pytest.approx(1 / 6)}


def test_masks_are_counted_where_motion_is_clear(film: Film) -> None:
    frames = np.arange(FRAMES)
    moving = film.shift >= 0.01
    assert score_mask(film, moving, frames)["mask_iou"] == 1
    everything = score_mask(film, np.ones_like(moving), frames)
    assert everything["mask_iou"] == pytest.approx(everything["moving_share"])
    between = (film.shift > 0.0025) & ~moving
    assert score_mask(film, moving | between, frames)["mask_iou"] == 1
    still = replace(film, shift=np.zeros_like(film.shift))
    assert np.isnan(score_mask(still, moving, frames)["mask_iou"])


def test_films_are_kept_and_come_back_the_same(store: FilmStore, film: Film) -> None:
    again = FilmStore(store.folder).get(SPEC)
    for name in ("images", "depth", "shift", "queries", "points", "visible"):
        np.testing.assert_array_equal(getattr(again, name), getattr(film, name))
    path = next(store.folder.glob("*.safetensors"))  # type: ignore[union-attr]
    path.write_bytes(path.read_bytes()[:100])
    np.testing.assert_array_equal(FilmStore(store.folder).get(SPEC).images, film.images)  # damaged: made anew


def test_speed_changes_the_things_and_not_the_camera() -> None:
    usual, twice, still = (describe_film(replace(SPEC, object_speed=speed)) for speed in (1.0, 2.0, 0.0))
    np.testing.assert_array_equal(usual.cameras.world_from_cam, twice.cameras.world_from_cam)
    np.testing.assert_allclose(
        usual.motion.world_from_body[[0, 2, 4]], twice.motion.world_from_body[[0, 1, 2]], atol=1e-9
    )
    assert not still.motion.moves.any()
    with pytest.raises(InputError, match="3 times as fast"):
        replace(SPEC, object_speed=3.0)
    with pytest.raises(InputError, match="no light 'noon'"):
        replace(SPEC, light="noon")


def test_gaps_are_between_two_sights(film: Film) -> None:
    seen = np.array([[1, 1, 0, 0, 1, 1], [0, 0, 1, 1, 0, 0], [1, 0, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]], bool).T
    gaps = replace(film, visible=seen).longest_gap()
    np.testing.assert_allclose(gaps, np.array([2, 0, 1, 0]) / 6.0)


def test_tracks_are_split_by_gap(film: Film, right: Predicted) -> None:
    parts = dict(by_gap(film, right))
    assert sum(figures["tracks"] for figures in parts.values()) == len(film.moves)
    assert all(figures["apd3d"] == 1 for figures in parts.values())
    assert right.tracks is not None
    hidden, seen = np.arange(len(film.moves)) % 2 == 1, np.ones_like(film.visible)
    seen[2, hidden] = False
    wrong = replace(
        right.tracks, points=np.where(hidden[:, None], 1.5, 1.0) * film.points, uv=right.tracks.uv, visible=seen
    )
    parts = dict(by_gap(replace(film, visible=seen), replace(right, tracks=wrong)))
    assert list(parts) == ["never hidden", "up to 0.2 s"]
    alone = [figures["apd3d"] for figures in parts.values()]
    assert min(alone) < 0.3  # a factor for each level would make both perfect


def test_suite_writes_its_tables_plot_and_picture(store: FilmStore, tmp_path: Path) -> None:
    settings = FilmSettings(1, FRAMES, 6.0, HEIGHT, WIDTH, 48, store.folder, ASKED)
    seen = []
    report = evaluate_films(
        [exact_method(noise=0.01), stay_method()], settings, look=lambda film, name, found: seen.append((film, found))
    )
    files = report.write(tmp_path / "films.json", plot=True)
    assert [path.suffix for path in files] == [".json", ".md", ".png"]
    stored = json.loads(files[0].read_text(encoding="utf-8"))
    assert stored["means"]["exact"]["abs_rel"][0] < 0.02 < stored["means"][STAY]["abs_rel"][0]
    assert "1 of 1" in files[1].read_text(encoding="utf-8")
    picture = draw_band(*seen[0])
    assert picture.shape == (60 + 2 * 2 * HEIGHT + 6, 6 * 2 * WIDTH, 3)
    assert write_sheet(seen, tmp_path / "films.jpg").stat().st_size > 5000
    same = evaluate_films([exact_method(noise=0.01), stay_method()], settings)
    assert same.as_json() == report.as_json()


def test_sweeps_compare_with_their_base(store: FilmStore, tmp_path: Path) -> None:
    sweep = replace(
        FILM_SWEEPS["rate"], levels={"6": {"rate": 6.0}, "12": {"rate": 12.0}}, asked=replace(ASKED, masks=None)
    )
    settings = FilmSweepSettings(1, store.folder, command="worldline eval", film=SMALL)
    files = run_film_sweep(sweep, [exact_method(noise=0.01), stay_method()], tmp_path, settings)
    page = files["md"].read_text(encoding="utf-8")
    assert 'Change from level "12"' in page and files["png"].is_file()
    records = json.loads(files["json"].read_text(encoding="utf-8"))["records"]
    turns = {r["level"]: r["rpe_rotation"] for r in records if r["method"] == STAY}
    assert turns["6"] > 1.5 * turns["12"]  # half the rate, about twice the way
    with pytest.raises(InputError, match="no sweep 'weather' of films"):
        film_sweep_named("weather")


def test_occlusion_needs_one_film_for_all_levels(store: FilmStore, tmp_path: Path) -> None:
    settings = FilmSweepSettings(1, store.folder, plot=False, film={**SMALL, "rate": 6.0})
    files = run_film_sweep(FILM_SWEEPS["occlusion"], [exact_method()], tmp_path, settings)
    records = json.loads(files["json"].read_text(encoding="utf-8"))["records"]
    assert records[0]["level"] == "never hidden"
    assert sum(r["tracks"] for r in records) == 48
