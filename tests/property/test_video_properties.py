"""Laws that the estimators behind a video's recipes obey, whatever the data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from worldline.errors import InputError
from worldline.geometry import rotation_angle
from worldline.pipeline.video import squashed_views
from worldline.scene.video.asking import cell_centers, checked_queries
from worldline.scene.video.cloud import _lines_of_sight, merge_surfaces
from worldline.scene.video.depth import discontinuities
from worldline.scene.video.pose_graph import Links, place_cameras
from worldline.scene.video.robust import average_rigid, fit_rigid_robust, weighted_quantile

seeds = st.integers(0, 2**31 - 1)
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def random_pose(rng: np.random.Generator) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.random(random_state=rng).as_matrix(), rng.normal(size=3)
    return pose


@given(seeds, st.integers(1, 12))
@settings(max_examples=40, deadline=None)
def test_weighted_median_minimises_weighted_distances(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    values, weights = torch.from_numpy(rng.normal(size=count)), torch.from_numpy(rng.uniform(0, 1, count).round(1))
    found = weighted_quantile(values, weights)
    if not weights.any():
        assert torch.isnan(found)
        return
    costs = (weights * (values[:, None] - values).abs()).sum(-1)
    assert float((weights * (values - found).abs()).sum()) == pytest.approx(float(costs.min()))
    order = torch.from_numpy(rng.permutation(count))
    assert weighted_quantile(values[order], weights[order]) == found


@given(seeds, st.integers(1, 3), st.floats(0.0, 0.4))
@settings(max_examples=15, deadline=None)
def test_motions_are_found_among_wrong_points(seed: int, pairs: int, wrong: float) -> None:
    """Of any motion and unit; wrong points and points without weight change nothing."""
    rng = np.random.default_rng(seed)
    unit = 10.0 ** rng.uniform(-3, 3)
    source = unit * rng.normal((0, 0, 5), size=(pairs, 60, 3))
    truth = np.stack([random_pose(rng) for _ in range(pairs)])
    truth[:, :3, 3] *= unit
    target = source @ truth[:, :3, :3].transpose(0, 2, 1) + truth[:, None, :3, 3]
    spoilt = np.arange(60) < wrong * 60
    target[:, spoilt] += unit * rng.normal(size=(pairs, int(spoilt.sum()), 3)) * 5
    weights = rng.uniform(0.5, 1, (pairs, 60))
    weights[:, -5:] = 0
    target[:, -5:] = 1e6
    fits = fit_rigid_robust(*(torch.from_numpy(values) for values in (source, target, weights)))
    assert fits.valid.all()
    turn = rotation_angle(fits.target_from_source[:, :3, :3], torch.from_numpy(truth[:, :3, :3].copy()))
    assert float(turn.max()) < 1e-5
    assert np.abs(fits.target_from_source[:, :3, 3].numpy() - truth[:, :3, 3]).max() < 1e-4 * unit
    alone = fit_rigid_robust(*(torch.from_numpy(values[:1]) for values in (source, target, weights)))
    assert torch.allclose(alone.target_from_source, fits.target_from_source[:1], atol=1e-6 * unit)


@given(seeds, st.integers(2, 8))
@settings(max_examples=25, deadline=None)
def test_any_tree_of_exact_links_places_all_frames(seed: int, count: int) -> None:
    """Links may point either way; frames that no valid link reaches are not found."""
    rng = np.random.default_rng(seed)
    poses = np.stack([random_pose(rng) for _ in range(count)])
    joined = np.array([rng.integers(0, frame) for frame in range(1, count)])
    source, target = joined, np.arange(1, count)
    swap = rng.random(count - 1) < 0.5
    source, target = np.where(swap, target, source), np.where(swap, source, target)
    motions = np.linalg.inv(poses[target]) @ poses[source]
    valid = rng.random(count - 1) < 0.8
    ones = np.ones(count - 1)
    placed = place_cameras(Links(source, target, motions, 0.1 * ones, 0.1 * ones, ones, valid, 1.0), count, 0)
    reached = {0}
    for _ in range(count):
        for a, b, good in zip(source.tolist(), target.tolist(), valid.tolist(), strict=True):
            reached |= {a, b} if good and reached & {a, b} else set()
    assert set(np.flatnonzero(placed.found).tolist()) == reached
    truth = np.linalg.inv(poses[0]) @ poses
    np.testing.assert_allclose(placed.reference_from_cam[placed.found], truth[placed.found], atol=1e-9)
    assert np.isnan(placed.residual[~placed.found]).all()


@given(seeds)
@settings(max_examples=20, deadline=None)
def test_mean_of_equal_motions_is_that_motion(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pose = torch.from_numpy(random_pose(rng))
    weights = torch.from_numpy(rng.uniform(0.1, 1, 4))
    assert torch.allclose(average_rigid(pose.expand(4, 4, 4), weights), pose)


@given(seeds, st.floats(0.02, 0.5), st.floats(0.01, 0.5))
@settings(max_examples=25, deadline=None)
def test_what_is_merged_away_has_a_better_point_in_its_place(seed: int, angle: float, tolerance: float) -> None:
    rng = np.random.default_rng(seed)
    points, confidence = 3 * rng.normal(size=(300, 3)), rng.uniform(0.1, 1, 300)
    kept = merge_surfaces(points, confidence, angle, tolerance)
    distance = np.linalg.norm(points, axis=-1)
    line = _lines_of_sight(points, distance, angle)
    near = np.abs(distance[:, None] - distance) <= tolerance * np.minimum(distance[:, None], distance)
    rivals = (line[:, None] == line) & near & (confidence >= confidence[:, None])  # [point, rival]
    gone = np.setdiff1d(np.arange(300), kept)
    assert rivals[np.ix_(gone, kept)].any(1).all()
    among = rivals[np.ix_(kept, kept)]
    assert (among.sum(1) == 1).all()  # each only itself


@given(seeds)
@settings(max_examples=25, deadline=None)
def test_planes_have_no_edges(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:12, :16]
    inverse = 1 + rng.uniform(-0.02, 0.02) * rows + rng.uniform(-0.02, 0.02) * columns
    assert not discontinuities(rng.uniform(0.1, 9) / inverse).any()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 300), st.integers(2, 300))
@settings(max_examples=40, deadline=None)
def test_cells_of_queries_are_pixels_of_views(rows: int, columns: int, height: int, width: int) -> None:
    """What is asked at the centre of a cell belongs to the pixel of the view that the image transform says."""
    view = squashed_views(np.zeros((1, height, width, 3), np.uint8), (height, width), (rows, columns))[0]
    u, v = cell_centers(rows, columns)
    y, x = np.mgrid[:rows, :columns]
    original = view.transform.to_original(np.stack([x, y], -1))
    np.testing.assert_allclose(original, np.stack([u * width - 0.5, v * height - 0.5], -1), atol=1e-9)


@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 9), st.integers(-2, 10))
@settings(max_examples=40, deadline=None)
def test_queries_are_taken_as_they_are_or_refused(rows: int, columns: int, count: int, time: int) -> None:
    parts = np.full((rows, 1), 0.25), np.full(columns, 0.75), 0, np.array(time), np.zeros((1, 1), int)
    if not 0 <= time < count:
        with pytest.raises(InputError, match="t_tgt"):
            checked_queries(*parts, count)
        return
    flat, shape = checked_queries(*parts, count)
    assert shape == (rows, columns) and all(part.shape == (rows * columns,) for part in flat)
    assert (flat[3] == time).all()
