"""What no metric of videos may depend on, for any data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from worldline.eval.video.depth_alignment import ALIGNMENTS
from worldline.eval.video.pose_pairs import pair_errors
from worldline.eval.video.tracks2d import Tracks2D, score_tracks_2d
from worldline.eval.video.tracks3d import Tracks3D, score_tracks_3d
from worldline.eval.video.trajectory import score_trajectory

SEEDS = st.integers(0, 10_000)
FACTORS = st.floats(0.01, 100)
LENS = np.array([300.0, 280.0, 128.0, 128.0])


def tracks(seed: int, count: int = 8, length: int = 6) -> tuple[Tracks3D, Tracks3D, np.ndarray]:
    """Predicted and true tracks [t, n], and queries (t, y, x)."""
    rng = np.random.default_rng(seed)
    points = rng.uniform([-1, -1, 2], [1, 1, 5], (length, count, 3))
    visible = rng.random((length, count)) < 0.7
    found = points + 0.03 * rng.standard_normal(points.shape)
    queries = np.column_stack([rng.integers(0, length, count), np.zeros((count, 2))])
    return Tracks3D(found, rng.random((length, count)) < 0.7), Tracks3D(points, visible), queries


@settings(deadline=None, max_examples=30)
@given(SEEDS, FACTORS, st.sampled_from(["median", "mean", "per_trajectory", "median_on_queries", "local_neighborhood"]))
def test_the_unit_of_a_prediction_does_not_matter(seed: int, factor: float, scaling: str) -> None:
    found, true, queries = tracks(seed)
    other = found._replace(points=factor * found.points)
    first, second = (score_tracks_3d(each, true, LENS, queries, scaling=scaling) for each in (found, other))
    np.testing.assert_allclose(first.average_jaccard, second.average_jaccard, atol=0.03)  # a point on a threshold


@settings(deadline=None, max_examples=30)
@given(SEEDS)
def test_scores_of_tracks_have_an_order_and_no_memory_of_theirs(seed: int) -> None:
    found, true, queries = tracks(seed)
    scores = score_tracks_3d(found, true, LENS, queries)
    assert (np.diff(scores.within[:, 0]) >= 0).all() and (np.diff(scores.jaccard[:, 0]) >= 0).all()
    assert (scores.jaccard <= scores.within + 1e-12).all()
    turned = np.random.default_rng(seed).permutation(len(queries))
    shuffled = [Tracks3D(each.points[:, turned], each.visible[:, turned]) for each in (found, true)]
    again = score_tracks_3d(*shuffled, LENS, queries[turned])
    np.testing.assert_allclose(again.jaccard, scores.jaccard)
    single = score_tracks_3d(found, true, LENS, queries, per_track=True)
    shuffled_single = score_tracks_3d(*shuffled, LENS, queries[turned], per_track=True)
    np.testing.assert_allclose(shuffled_single.jaccard, single.jaccard[:, :, turned])


@settings(deadline=None, max_examples=30)
@given(SEEDS)
def test_frames_before_the_query_do_not_count_in_2d(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, visible = rng.uniform(0, 256, (5, 7, 2)), rng.random((5, 7)) < 0.7
    found, seen = points + rng.normal(0, 4, points.shape), rng.random((5, 7)) < 0.7
    start = rng.integers(0, 6, 5)
    queries = np.column_stack([start, np.zeros((5, 2))])
    spoiled, flipped = found.copy(), seen.copy()
    for track, frame in enumerate(start):
        spoiled[track, : frame + 1] += 99
        flipped[track, : frame + 1] ^= True
    true = Tracks2D(points, visible)
    first, second = (score_tracks_2d(t, true, queries) for t in (Tracks2D(found, seen), Tracks2D(spoiled, flipped)))
    np.testing.assert_array_equal(first.jaccard, second.jaccard)
    np.testing.assert_array_equal(first.occlusion_accuracy, second.occlusion_accuracy)


@settings(deadline=None, max_examples=20)
@given(SEEDS, FACTORS, st.sampled_from(["scale_exact", "scale_shift_exact", "median", "lstsq", "median_affine"]))
def test_the_unit_of_depth_does_not_matter(seed: int, factor: float, method: str) -> None:
    rng = np.random.default_rng(seed)
    g = rng.uniform(1, 9, 301)
    p = g * rng.uniform(0.8, 1.2, 301) + 0.3
    aligned = [s * each + t for each in (p, factor * p) for s, t in [ALIGNMENTS[method](each, g)]]
    np.testing.assert_allclose(aligned[0], aligned[1], rtol=1e-6)


def trajectory(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (8, 1, 1))
    poses[:, :3, :3] = Rotation.random(8, random_state=seed).as_matrix()
    poses[:, :3, 3] = rng.normal(size=(8, 3)).cumsum(0)
    return poses


@settings(deadline=None, max_examples=30)
@given(SEEDS, st.floats(0.05, 20))
def test_the_frame_and_unit_of_a_trajectory_do_not_matter(seed: int, factor: float) -> None:
    true, found = trajectory(seed), trajectory(seed)
    found[:, :3, 3] += 0.1 * np.random.default_rng(seed + 1).normal(size=(8, 3))
    moved = np.eye(4)
    moved[:3, :3], moved[:3, 3] = Rotation.random(random_state=seed + 2).as_matrix(), [3, -2, 7]
    other = moved @ found
    other[:, :3, 3] *= factor
    first, second = score_trajectory(found, true), score_trajectory(other, true)
    assert (second.ate, second.rpe_translation) == pytest.approx((first.ate, first.rpe_translation), rel=1e-6)
    assert second.rpe_rotation == pytest.approx(first.rpe_rotation, abs=1e-5)
    np.testing.assert_allclose(pair_errors(other, true).translation, pair_errors(found, true).translation, atol=1e-4)
