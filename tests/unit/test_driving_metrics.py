"""Properties of the metrics of driving sequences."""

import math

import numpy as np
import pytest
import torch

from worldline.errors import InputError
from worldline.eval import driving
from worldline.types import Camera

FRAMES, HEIGHT, WIDTH = 3, 12, 16


def sequence(seed: int = 0):
    """Random predictions near random truth, with holes in the truth."""
    random = torch.Generator().manual_seed(seed)
    shape = (FRAMES, HEIGHT, WIDTH)
    truth = 4 * torch.randn(*shape, 3, generator=random, dtype=torch.float64)
    truth[..., 2] = 5 + 40 * torch.rand(shape, generator=random, dtype=torch.float64)
    predicted = truth + torch.randn(*shape, 3, generator=random, dtype=torch.float64)
    return predicted, truth, torch.rand(shape, generator=random) > 0.4


@pytest.mark.parametrize("how", ["scale", "scale_and_shift"])
@pytest.mark.parametrize("factor", [0.01, 1.0, 30.0])
def test_alignment_removes_the_scale(how, factor) -> None:
    predicted, truth, valid = sequence()
    once = driving.align_sequence(predicted, truth, valid, how)
    torch.testing.assert_close(driving.align_sequence(factor * predicted, truth, valid, how), once)
    torch.testing.assert_close(driving.align_sequence(once, truth, valid, how), once)
    torch.testing.assert_close(driving.align_sequence(factor * truth, truth, valid, how), truth)
    assert driving.align_sequence(predicted, truth, valid, "none") is predicted


def test_only_the_published_alignment_removes_a_shift_of_depth() -> None:
    predicted, truth, valid = sequence()
    moved = predicted + torch.tensor([0.0, 0.0, 6.0], dtype=torch.float64)
    for how, same in (("scale_and_shift", True), ("scale", False)):
        first, second = (driving.align_sequence(points, truth, valid, how) for points in (predicted, moved))
        assert torch.allclose(first, second) is same


def test_truth_is_used_where_it_is_known_only() -> None:
    predicted, truth, valid = sequence()
    wrong = torch.where(valid[..., None], truth, torch.nan)
    for how in ("scale", "scale_and_shift"):
        found = [driving.align_sequence(predicted, points, valid, how) for points in (truth, wrong)]
        torch.testing.assert_close(*found)
    scores = [driving.depth_scores(predicted[..., 2], points[..., 2], valid).means() for points in (truth, wrong)]
    assert scores[0] == scores[1]


def test_order_of_frames() -> None:
    predicted, truth, valid = sequence()
    order = torch.tensor([2, 0, 1])
    scores = []
    for frames in (torch.arange(FRAMES), order):
        parts = predicted[frames], truth[frames], valid[frames]
        aligned = driving.align_sequence(*parts)
        scores.append(driving.depth_scores(aligned[..., 2], parts[1][..., 2], parts[2]))
    torch.testing.assert_close(scores[1].abs_rel, scores[0].abs_rel[order])
    assert scores[0].means() == pytest.approx(scores[1].means())


def test_both_squared_errors_by_hand() -> None:
    predicted, truth = torch.tensor([[[12.0, 30.0]]]), torch.tensor([[[10.0, 20.0]]])
    found = driving.depth_scores(predicted, truth, torch.ones(1, 1, 2, dtype=torch.bool)).means()
    assert found["abs_rel"] == pytest.approx((0.2 + 0.5) / 2)
    assert found["sq_rel"] == pytest.approx((0.4 + 5.0) / 2)
    assert found["sq_rel_released"] == pytest.approx((0.04 + 0.25) / 2)
    assert found["rmse"] == pytest.approx(math.sqrt((4 + 100) / 2))
    assert [found[f"delta_1_25{power}"] for power in ("", "_2", "_3")] == [0.5, 1.0, 1.0]


def test_range() -> None:
    truth = torch.tensor([[[-3.0, 0.0, 0.05, 10.0, 90.0]]])
    predicted = torch.tensor([[[-3.0, 1.0, 5.0, math.nan, 200.0]]])
    valid = torch.ones_like(truth, dtype=torch.bool)
    usual = driving.depth_scores(predicted, truth, valid)
    assert usual.abs_rel.item() == pytest.approx((0.99 + 110 / 90) / 2)  # a missing depth counts as the nearest
    near = driving.depth_scores(predicted, truth, valid, farthest=80)
    assert near.abs_rel.item() == pytest.approx(0.99) and near.delta_1_25.item() == 0
    clipped = driving.depth_scores(predicted[..., 4:], truth[..., 4:] - 15, valid[..., 4:], farthest=80)
    assert clipped.rmse.item() == pytest.approx(5)
    # the released code: infinite, and right where both are behind the camera
    assert driving.depth_scores(predicted[..., :2], truth[..., :2], valid[..., :2], released=True).abs_rel.isinf()
    behind = driving.depth_scores(predicted[..., :1], truth[..., :1] * 2, valid[..., :1], released=True)
    assert behind.delta_1_25_3.item() == 0 and behind.abs_rel < 0
    same = driving.depth_scores(predicted[..., :1], truth[..., :1], valid[..., :1], released=True)
    assert same.delta_1_25.item() == 1


def test_empty_masks() -> None:
    predicted, truth, valid = sequence()
    valid[1] = False
    scores = driving.depth_scores(predicted[..., 2], truth[..., 2], valid)
    assert scores.abs_rel.isnan().tolist() == [False, True, False]
    assert scores.means()["abs_rel"] == pytest.approx(scores.abs_rel[[0, 2]].mean().item())
    nothing = torch.zeros_like(valid)
    assert all(
        math.isnan(value) for value in driving.depth_scores(predicted[..., 2], truth[..., 2], nothing).means().values()
    )
    for how in ("scale", "scale_and_shift"):
        with pytest.raises(InputError, match="without any true point"):
            driving.align_sequence(predicted, truth, nothing, how)
    with pytest.raises(InputError, match="no alignment"):
        driving.align_sequence(predicted, truth, valid, "median")


def test_depth_of_the_own_camera() -> None:
    _, truth, _ = sequence()
    poses = torch.eye(4, dtype=torch.float64).repeat(FRAMES, 1, 1)
    poses[:, 2, 3] = torch.tensor([0.0, -2.0, -4.0])  # driving forward, things come nearer
    own = driving.depth_along(truth, poses)
    torch.testing.assert_close(own, truth[..., 2] + poses[:, 2, 3, None, None])
    torch.testing.assert_close(driving.depth_along(truth), truth[..., 2])


def test_table_of_cameras() -> None:
    rows = [("FRONT", {"abs_rel": 0.1}), ("BACK", {"abs_rel": 0.3}), ("FRONT", {"abs_rel": math.nan, "rmse": 2.0})]
    table = driving.camera_table(rows)
    assert list(table) == ["FRONT", "BACK", "all"]
    assert table["FRONT"] == {"sequences": 2, "abs_rel": 0.1, "rmse": 2.0}
    assert table["BACK"] == {"sequences": 1, "abs_rel": 0.3}
    assert table["all"] == pytest.approx({"sequences": 3, "abs_rel": 0.2, "rmse": 2.0})
    assert driving.camera_table([]) == {}


def floor(count: int = 400, seed: int = 0) -> np.ndarray:
    points = np.random.default_rng(seed).uniform(-10, 10, (count, 3))
    points[:, 2] = 0.3 * points[:, 0]
    return points


def test_clouds_that_are_equal() -> None:
    cloud = floor()
    scores = driving.cloud_scores(cloud, cloud)
    assert scores.accuracy == scores.completion == 0 and scores.completion_ratio == 1
    assert scores.normal_consistency == pytest.approx(1)
    expected = np.array([-0.3, 0, 1]) / math.hypot(0.3, 1)
    np.testing.assert_allclose(np.abs(driving.cloud_normals(cloud) @ expected), 1, atol=1e-9)


def test_clouds_direction_matters() -> None:
    cloud = floor()
    half = cloud[cloud[:, 0] > 0]
    scores = driving.cloud_scores(half, cloud)
    assert scores.accuracy == 0 and scores.completion > 1 and scores.completion_ratio < 0.7
    back = driving.cloud_scores(cloud, half)
    assert (back.accuracy, back.completion) == (scores.completion, scores.accuracy)
    assert (back.accuracy_normals, back.completion_normals) == (scores.completion_normals, scores.accuracy_normals)


def test_clouds_do_not_depend_on_the_frame_or_the_order() -> None:
    first, second = floor(seed=1), floor(seed=2) + 0.2
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    order = np.random.default_rng(1).permutation(len(first))
    plain = driving.cloud_scores(first, second)
    moved = driving.cloud_scores(first[order] @ turn.T + 5, second @ turn.T + 5)
    assert list(vars(plain).values()) == pytest.approx(list(vars(moved).values()))


def test_empty_and_tiny_clouds() -> None:
    cloud, nothing = floor(), np.zeros((0, 3))
    assert math.isnan(driving.cloud_scores(nothing, cloud).accuracy)
    assert driving.cloud_scores(nothing, cloud).completion_ratio == 0
    assert math.isnan(driving.cloud_scores(cloud, nothing).completion_ratio)
    assert driving.cloud_scores(cloud[:2], cloud).accuracy == 0
    assert driving.registered(nothing, cloud).shape == (0, 3)


def test_registration_forgives_a_small_motion() -> None:
    truth = np.random.default_rng(0).uniform(-10, 10, (3000, 3))
    angle = 0.02
    turn = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    moved = truth[::2] @ turn.T + [0.1, -0.1, 0.05]
    assert driving.cloud_scores(moved, truth, truth[::2], truth).accuracy > 0.1
    np.testing.assert_allclose(driving.registered(moved, truth), truth[::2], atol=1e-3)
    np.testing.assert_array_equal(driving.registered(moved + 1000, truth), moved + 1000)  # nothing is near enough


def street(forward: float = 0.0, wall: float = 30.0, box: tuple[float, float] | None = None):
    """A camera 1.5 m above a road in front of a wall, perhaps with a box at (left edge, distance), and its depth."""
    height, width = 96, 128
    intrinsics = np.array([[100.0, 0, 63.5], [0, 100.0, 40.0], [0, 0, 1]])
    pose = np.eye(4)
    pose[2, 3] = forward
    camera = Camera(intrinsics, pose, height, width)
    y, x = np.mgrid[:height, :width]
    down, right = (y - 40.0) / 100, (x - 63.5) / 100
    depth = np.minimum(np.where(down > 0, 1.5 / np.maximum(down, 1e-9), np.inf), wall - forward)
    if box is not None:
        left, distance = box
        away = distance - forward
        hit = (right * away > left) & (right * away < left + 2) & (down * away < 1.5) & (down * away > -0.5)
        depth = np.where(hit & (depth > away), away, depth)
    return camera, depth


def test_exact_depths_agree_over_time() -> None:
    (first, depth), (later, later_depth) = street(), street(forward=2.0)
    everything = np.ones(depth.shape, bool)
    for chosen, share in ((everything, 0.5), (depth < 30, 0.3)):  # the road alone is steep: no pixel may be rounded
        score = driving.temporal_consistency(depth, later_depth, (first, later), (chosen, everything))
        assert score.disagreement < 1e-9 and score.share > share
    assert driving.visible_later(depth, later_depth, (first, later)).mean() > 0.5


def test_disagreement_is_the_error_of_scale() -> None:
    (first, depth), (later, later_depth) = street(), street(forward=2.0)
    masks = (np.ones(depth.shape, bool),) * 2
    wrong = driving.temporal_consistency(depth, 1.1 * later_depth, (first, later), masks)
    assert wrong.disagreement == pytest.approx(0.1, abs=1e-6)


def test_moving_and_hidden_points() -> None:
    """A box that drives away is no part of the comparison; a resting one hides the wall behind it."""
    (first, depth), (later, later_depth) = street(box=(-1.0, 12.0)), street(forward=2.0, box=(-3.0, 16.0))
    still = [street(forward=forward)[1] == found for forward, found in ((0.0, depth), (2.0, later_depth))]
    score = driving.temporal_consistency(depth, later_depth, (first, later), (still[0], still[1]))
    assert score.disagreement < 1e-9
    rested = street(forward=6.0, box=(-1.0, 12.0))  # from nearer it hides more
    masks = (np.ones(depth.shape, bool),) * 2
    visible = driving.visible_later(depth, rested[1], (first, rested[0]))
    seen = driving.temporal_consistency(depth, rested[1], (first, rested[0]), masks, visible=visible)
    unasked = driving.temporal_consistency(depth, rested[1], (first, rested[0]), masks)
    assert seen.disagreement < 1e-6 and unasked.disagreement < 1e-6
    wall = depth == 30
    assert 0 < (visible & wall).sum() < wall.sum()


def test_nothing_in_common() -> None:
    (first, depth), (later, later_depth) = street(), street()
    turned = Camera(later.intrinsics, np.diag([-1.0, 1.0, -1.0, 1.0]), later.height, later.width)
    masks = (np.ones(depth.shape, bool),) * 2
    for cameras, static in (((first, turned), masks), ((first, later), (masks[0], ~masks[1]))):
        score = driving.temporal_consistency(depth, later_depth, cameras, static)
        assert math.isnan(score.disagreement) and score.share == 0
    empty = driving.temporal_consistency(0 * depth, later_depth, (first, later), masks)
    assert math.isnan(empty.disagreement) and empty.share == 0


def test_streams() -> None:
    steps = [street(forward=forward) for forward in (0.0, 1.0, 2.0, 3.0)]
    depths = np.stack([depth for _, depth in steps])
    cameras, static = [camera for camera, _ in steps], np.ones(depths.shape, bool)
    assert driving.stream_consistency(depths, cameras, static, gap=2).disagreement < 1e-9
    drifting = depths * 1.02 ** np.arange(4)[:, None, None]
    # 2 % more per step: expected depths are taken from the scaled ones, less the driven metre
    found = [driving.stream_consistency(drifting, cameras, static, gap=gap).disagreement for gap in (1, 3)]
    assert 0.01 < found[0] < 0.03 and found[1] > 2 * found[0]
    assert math.isnan(driving.stream_consistency(depths, cameras, static, gap=9).disagreement)
