"""Metrics of videos where no published number exists: what they must do by their definition, and in broken cases."""

from __future__ import annotations

import numpy as np
import pytest

from worldline.errors import InputError
from worldline.eval.video import depth_alignment
from worldline.eval.video.clouds import score_cloud
from worldline.eval.video.depth_scores import DepthRules, mean_depth, resize_depth, score_depth
from worldline.eval.video.track_counts import THRESHOLDS
from worldline.eval.video.tracks2d import Tracks2D, at_256, sample_queries, score_tracks_2d
from worldline.eval.video.tracks3d import Tracks3D, score_tracks_3d
from worldline.eval.video.trajectory import Trajectory, associate, fit_trajectory, score_trajectory, stands_still
from worldline.eval.video.world_tracks import score_world_tracks, score_worldtrack

LENS = np.array([300.0, 280.0, 128.0, 128.0])
SCALINGS = ("median", "mean", "none", "per_trajectory", "reproduce_2d", "median_on_queries", "local_neighborhood")


def tracks(seed: int, count: int = 12, length: int = 9) -> tuple[Tracks3D, Tracks3D, np.ndarray]:
    """Predicted and true tracks [n, t] that differ by a few pixels' worth, and queries (t, y, x)."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([-1, -1, 2], [1, 1, 5], (count, 1, 3)) + 0.05 * rng.standard_normal((count, length, 3)).cumsum(
        1
    )
    visible = rng.random((count, length)) < 0.8
    found = 0.4 * (points + 0.03 * rng.standard_normal(points.shape))
    seen = visible ^ (rng.random(visible.shape) < 0.1)
    queries = np.column_stack([rng.integers(0, length, count), np.zeros((count, 2))])
    return Tracks3D(found, seen), Tracks3D(points, visible), queries


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("per_track", [False, True])
def test_a_batch_is_its_videos_one_by_one(scaling: str, per_track: bool) -> None:
    videos = [tracks(seed) for seed in range(3)]
    options = {"scaling": scaling, "per_track": per_track, "neighborhood": 0.4}
    single = [score_tracks_3d(p, t, LENS, q, order="n t", **options).named() for p, t, q in videos]
    predicted, true = (Tracks3D(*map(np.stack, zip(*(v[k] for v in videos), strict=True))) for k in (0, 1))
    queries, lenses = np.stack([q for _, _, q in videos]), np.tile(LENS, (3, 1))
    batched = score_tracks_3d(predicted, true, lenses, queries, order="b n t", **options).named()
    flipped = [Tracks3D(s.points.swapaxes(1, 2), s.visible.swapaxes(1, 2)) for s in (predicted, true)]
    turned = score_tracks_3d(*flipped, lenses, queries, order="b t n", **options).named()
    for name in batched:
        expected = np.concatenate([scores[name] for scores in single])
        assert expected.shape == ((3, 12) if per_track else (3,))
        np.testing.assert_allclose(batched[name], expected, rtol=1e-12)
        np.testing.assert_allclose(turned[name], expected, rtol=1e-12)


@pytest.mark.parametrize("scaling", [s for s in SCALINGS if s != "none"])
def test_scalings_forgive_a_wrong_unit_and_none_does_not(scaling: str) -> None:
    _, true, queries = tracks(3)
    true = true._replace(visible=np.ones_like(true.visible))
    shrunk = Tracks3D(0.1 * true.points, true.visible)
    assert score_tracks_3d(shrunk, true, LENS, queries, order="n t", scaling=scaling).average_jaccard == 1
    assert score_tracks_3d(shrunk, true, LENS, queries, order="n t", scaling="none").average_jaccard == 0
    assert score_tracks_3d(true, true, LENS, queries, order="n t", scaling="none").average_jaccard == 1


def test_reproduce_2d_forgives_depth_but_not_points_behind_the_camera() -> None:
    _, true, _ = tracks(4)
    factors = np.random.default_rng(0).uniform(0.2, 5, true.visible.shape)[..., None]
    score = score_tracks_3d(
        Tracks3D(factors * true.points, true.visible), true, LENS, order="n t", scaling="reproduce_2d"
    )
    assert score.average_within == 1
    mirrored = Tracks3D(-true.points, true.visible)
    assert score_tracks_3d(mirrored, true, LENS, order="n t", scaling="reproduce_2d").average_within == 0


def test_a_neighbourhood_of_nothing_is_one_factor_per_track() -> None:
    predicted, true, queries = tracks(5)
    alone = score_tracks_3d(
        predicted, true, LENS, queries, order="n t", scaling="local_neighborhood", per_track=True, neighborhood=1e-9
    )
    single = score_tracks_3d(predicted, true, LENS, queries, order="n t", scaling="per_trajectory", per_track=True)
    np.testing.assert_allclose(alone.jaccard, single.jaccard)
    np.testing.assert_allclose(alone.within, single.within)


def test_without_a_common_visible_point_nothing_is_near() -> None:
    predicted, true, _ = tracks(6)
    hidden = Tracks3D(predicted.points, ~true.visible)
    for scaling in ("median", "mean"):
        score = score_tracks_3d(hidden, true, LENS, order="n t", scaling=scaling)
        assert score.average_within == 0 and score.average_jaccard == 0 and score.occlusion_accuracy == 0


def test_predictions_that_are_not_finite_are_wrong_and_do_not_spoil_the_scale() -> None:
    _, true, _ = tracks(7)
    true = true._replace(visible=np.ones_like(true.visible))
    points = 0.5 * true.points
    points[0, 0] = np.nan
    points[1, 1] = np.inf
    score = score_tracks_3d(Tracks3D(points, true.visible), true, LENS, order="n t")
    assert score.average_within == pytest.approx(1 - 2 / true.visible.size)


def test_mistakes_in_tracks_are_named() -> None:
    predicted, true, queries = tracks(8)
    with pytest.raises(InputError, match="needs the queries"):
        score_tracks_3d(predicted, true, LENS, order="n t", scaling="per_trajectory")
    with pytest.raises(InputError, match="do not fit the order"):
        score_tracks_3d(predicted, true, LENS, order="b n t")
    with pytest.raises(InputError, match="Unknown scaling"):
        score_tracks_3d(predicted, true, LENS, order="n t", scaling="best")
    with pytest.raises(InputError, match="do not fit"):
        score_tracks_3d(predicted, true, LENS, queries + 100, order="n t", scaling="per_trajectory")


def test_tap_vid_counts_the_frames_of_its_mode() -> None:
    points = np.zeros((1, 5, 2))
    seen = np.ones((1, 5), bool)
    found = points.copy()
    found[0, :2, 0] = [3.0, 300.0]  # 3 pixels off before the query, far off in its frame
    query = np.array([[1.0, 0, 0]])
    assert score_tracks_2d(Tracks2D(found, seen), Tracks2D(points, seen), query, "first").average_jaccard == 1
    strided = score_tracks_2d(Tracks2D(found, seen), Tracks2D(points, seen), query, "strided")
    np.testing.assert_allclose(strided.within, [0.75, 0.75, 1, 1, 1])  # frame 0 counts, frame 1 does not
    assert THRESHOLDS == (1, 2, 4, 8, 16)


def test_raster_and_queries_of_tracks_without_visible_points() -> None:
    np.testing.assert_allclose(at_256(np.array([320.0, 120.0]), 240, 640), [128, 128])
    hidden = np.zeros((3, 4), bool)
    for mode in ("first", "strided"):
        assert sample_queries(np.zeros((3, 4, 2)), hidden, mode).queries.shape == (0, 3)


def test_world_tracks() -> None:
    rng = np.random.default_rng(1)
    true = rng.uniform(1, 3, (6, 20, 3))
    visible = rng.random((6, 20)) < 0.7
    same = score_world_tracks(2 * true, true, visible, true[..., 2], LENS)
    assert (same.apd3d, same.l1, same.scale) == (1, pytest.approx(0, abs=1e-12), pytest.approx(0.5))
    moved = score_world_tracks(true + np.array([0.1, 0, 0.2]), true, visible, true[..., 2], LENS, scale="none")
    assert moved.l1 == pytest.approx(0.3)
    third = score_world_tracks(
        true + np.array([0.1, 0, 0.2]), true, visible, true[..., 2], LENS, scale="none", coordinates="mean"
    )
    assert third.l1 == pytest.approx(0.1) and third.apd3d == moved.apd3d < 1
    assert score_worldtrack(true + np.array([0, 0, 0.3 - 1e-9]), true, "none").shares == pytest.approx([0, 1, 1, 1])


def test_clouds_may_be_shifted_but_not_turned() -> None:
    rng = np.random.default_rng(2)
    true = rng.standard_normal((3, 8, 8, 3))
    valid = rng.random((3, 8, 8)) < 0.9
    shifted = true + np.array([5, -3, 1])
    shifted[~valid] = np.nan
    assert score_cloud(shifted, true, valid).l1 == pytest.approx(0, abs=1e-12)
    assert score_cloud(2 * true, true, valid).l1 > 1
    assert score_cloud(2 * true, true, valid, scale=True).l1 == pytest.approx(0, abs=1e-12)
    assert score_cloud(true[..., [1, 0, 2]], true, valid).l1 > 0.5


def test_depth_behind_the_camera_is_no_inlier_and_sequences_are_weighted() -> None:
    true = np.full((2, 4, 4), 2.0)
    true[1, :3] = 0  # 4 pixels are left in the second frame
    found = true.copy()
    found[0, 0] = -2.0
    scores = score_depth(np.where(found == 0, 1.0, found), true, alignments=["metric"])["metric"]
    assert scores.valid_pixels == 20 and scores.d3 == pytest.approx(16 / 20)
    perfect = score_depth(true[:1], true[:1], alignments=["metric"])["metric"]
    assert mean_depth([scores, perfect])["d1"] == pytest.approx((16 + 16) / 36)
    assert mean_depth([scores, perfect], weighted=False)["d1"] == pytest.approx((0.8 + 1) / 2)


def test_exact_alignments_recover_a_wrong_scale_and_shift_despite_outliers() -> None:
    rng = np.random.default_rng(3)
    true = rng.uniform(1, 9, (2, 40, 50))
    found = (true - 1.5) / 2.5
    true[:, :5] *= 3  # an eighth of the pixels is wrong
    scores = score_depth(found, true, DepthRules(), ["scale_shift_exact", "lstsq", "scale_shift"])
    assert (scores["scale_shift_exact"].scale, scores["scale_shift_exact"].shift) == pytest.approx((2.5, 1.5), rel=1e-6)
    assert scores["lstsq"].shift != pytest.approx(1.5, rel=0.1)
    assert abs(scores["scale_shift"].shift) < 0.2  # what makes the published solver fall short of a real shift
    flat = depth_alignment.scale_shift_exact(np.full(5, 2.0), np.arange(5.0))
    assert flat.scale * 2 + flat.shift == 2


def test_depth_of_many_pixels_is_solved_as_exactly_as_that_of_few() -> None:
    rng = np.random.default_rng(4)
    true = rng.uniform(1, 9, 200_000)
    found = (true + rng.laplace(0, 0.3, true.shape)) / 2

    def loss(s: float, t: float) -> float:
        return float(np.abs(s * found + t - true).mean())

    s, t = depth_alignment.scale_shift_exact(found, true)
    assert all(loss(s, t) <= loss(s + ds, t + dt) for ds, dt in np.random.default_rng(0).normal(0, 1e-4, (50, 2)))


def test_depth_of_another_size_is_resized_and_mistakes_are_named() -> None:
    ramp = np.linspace(1, 2, 32)[None, None] * np.ones((2, 24, 1))
    x = (np.arange(64) + 0.5) / 2 - 0.5  # where the pixel centres of twice the size lie
    np.testing.assert_allclose(resize_depth(ramp, (48, 64))[1, 20, 8:-8], (1 + x / 31)[8:-8], rtol=2e-3)
    assert score_depth(ramp, resize_depth(ramp, (48, 64)))["scale"].abs_rel < 1e-6
    with pytest.raises(InputError, match="no pixel"):
        score_depth(ramp, np.zeros_like(ramp))
    with pytest.raises(InputError, match="belong together"):
        score_depth(ramp[:1], ramp)
    with pytest.raises(InputError, match="Unknown alignment"):
        score_depth(ramp, ramp, alignments=["best"])


@pytest.mark.parametrize("alignment", list(depth_alignment.ALIGNMENTS))
def test_a_prediction_that_is_mostly_zero_has_figures_of_failure(alignment: str) -> None:
    true = np.linspace(2, 9, 120).reshape(1, 10, 12)
    found = np.where(np.arange(120).reshape(true.shape) % 5, 0.0, 1.0)
    score = score_depth(found, true, alignments=[alignment])[alignment]
    assert np.isfinite([score.abs_rel, score.rmse, score.log_rmse, score.scale]).all() and score.d1 < 0.5
    if alignment == "median":
        assert (score.scale, score.abs_rel, score.d3) == (0, 1, 0)


def path(count: int = 6) -> np.ndarray:
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, 3] = np.column_stack([np.arange(count), np.sin(np.arange(count)), np.zeros(count)])
    return poses


def test_a_camera_that_stands_still_has_a_rotation_error_only() -> None:
    still = np.tile(np.eye(4), (6, 1, 1))
    assert stands_still(still) and not stands_still(path())
    scores = score_trajectory(path(), still)
    assert np.isnan(scores.ate) and np.isnan(scores.rpe_translation) and scores.rpe_rotation == 0
    with pytest.raises(InputError, match="stands still"):
        fit_trajectory(path(), still)


def test_a_straight_line_and_a_lost_camera_have_errors_all_the_same() -> None:
    line = path()
    line[:, 1, 3] = 0
    assert score_trajectory(3 * line + 0 * line, line).ate == pytest.approx(0, abs=1e-9)
    collapsed = np.tile(np.eye(4), (6, 1, 1))
    spread = np.sqrt(np.square(line[:, :3, 3] - line[:, :3, 3].mean(0)).sum(-1).mean())
    assert score_trajectory(collapsed, line).ate == pytest.approx(spread)
    with pytest.raises(InputError, match="not finite"):
        score_trajectory(np.full_like(line, np.nan), line)


def test_association_takes_the_nearest_and_drops_the_far() -> None:
    reference = Trajectory(np.array([0.0, 0.1, 0.2, 0.3]), path(4))
    estimate = Trajectory(np.array([0.001, 0.105, 0.25]), path(3))
    true, found = associate(reference, estimate)
    assert list(true.times) == [0.0, 0.1] and list(found.times) == [0.001, 0.105]
    found, true = associate(estimate, reference)  # whichever is called the reference, the shorter one is walked
    assert list(true.times) == [0.0, 0.1] and list(found.times) == [0.001, 0.105]
    between = Trajectory(np.array([0.05]), path(1))
    assert list(associate(reference, between, 0.051)[0].times) == [0.0]  # the earlier of two as near
    with pytest.raises(InputError, match="same clock"):
        associate(reference, Trajectory(np.array([9.0]), path(1)))
