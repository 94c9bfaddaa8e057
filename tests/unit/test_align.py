"""Global alignment on exact pairwise pointmaps: known poses and focals, connectivity, cleaning, frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from worldline.errors import InputError
from worldline.geometry import (
    invert_rigid,
    matrix_from_quaternion,
    rigid_from,
    rotation_angle,
    transform_points,
    unproject,
)
from worldline.scene.align import PairPredictions, clean_pointcloud, global_align, make_pairs, view_pair

SIZE = (18, 24)
FOCAL = 28.0
CENTER = torch.tensor([(SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2])


def _truth(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """world_from_cam [count, 4, 4] and points in the world [count, pixel, 3] of smooth random depth maps."""
    generator = torch.Generator().manual_seed(seed)
    turns = torch.cat([torch.ones(count, 1), 0.1 * torch.randn(count, 3, generator=generator)], dim=1)
    poses = rigid_from(matrix_from_quaternion(turns), 0.5 * torch.randn(count, 3, generator=generator))
    intrinsics = torch.tensor([[FOCAL, 0, CENTER[0]], [0, FOCAL, CENTER[1]], [0, 0, 1]])
    x = torch.linspace(0, 3, SIZE[1]) + torch.arange(count)[:, None, None]
    depth = 3 + 0.5 * torch.sin(x) + 0.4 * torch.cos(torch.linspace(0, 4, SIZE[0]))[:, None]
    return poses, transform_points(poses, unproject(depth, intrinsics.expand(count, 3, 3)).flatten(1, 2))


def _pairs(poses: torch.Tensor, points: torch.Tensor, graph: str = "complete") -> PairPredictions:
    """Exact predictions, each edge in a unit of its own."""
    edges = torch.from_numpy(make_pairs(len(poses), graph))
    generator = torch.Generator().manual_seed(1)
    unit = 0.5 + torch.rand(len(edges), 1, 1, generator=generator)
    cam_from_world = invert_rigid(poses[edges[:, 0]])
    maps = [unit * transform_points(cam_from_world, points[edges[:, side]]) for side in (0, 1)]
    confidence = [3.5 + 5 * torch.rand(len(edges), *SIZE, generator=generator) for _ in range(2)]
    return PairPredictions(edges, *(m.unflatten(1, SIZE) for m in maps), *confidence)


def _relative_degrees(found: torch.Tensor, truth: torch.Tensor) -> float:
    ours = invert_rigid(found[:1]) @ found
    theirs = invert_rigid(truth[:1]) @ truth
    return float(torch.rad2deg(rotation_angle(ours[:, :3, :3], theirs[:, :3, :3].to(ours.dtype))).max())


@pytest.mark.parametrize("graph", ["complete", "swin-1", "oneref-2"])
def test_exact_pairs_are_solved_by_the_start_alone(graph: str) -> None:
    poses, points = _truth(4)
    scene = global_align(_pairs(poses, points, graph), iterations=0, principal_points=CENTER.repeat(4, 1))
    assert _relative_degrees(scene.world_from_cam, poses) < 0.1
    torch.testing.assert_close(scene.focals, torch.full((4,), FOCAL), rtol=5e-3, atol=0)
    moved = scene.in_frame_of(1)
    torch.testing.assert_close(moved.world_from_cam[1], torch.eye(4), atol=1e-6, rtol=0)
    back = transform_points(scene.world_from_cam[1], moved.points.flatten(1, 2))
    torch.testing.assert_close(back, scene.points.flatten(1, 2), atol=1e-4, rtol=1e-4)


def test_known_poses_and_focals_are_kept_and_fix_the_unit() -> None:
    poses, points = _truth(4)
    known = [poses[0].double().numpy(), None, poses[2].double().numpy(), None]
    scene = global_align(
        _pairs(poses, points),
        iterations=20,
        poses=known,
        focals=[FOCAL, None, None, FOCAL],
        principal_points=CENTER.repeat(4, 1),
    )
    assert scene.fixed_scale
    torch.testing.assert_close(scene.world_from_cam[[0, 2]], poses[[0, 2]], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(scene.focals[[0, 3]], torch.full((2,), FOCAL), rtol=1e-5, atol=0)
    torch.testing.assert_close(scene.points.flatten(1, 2), points, atol=0.1, rtol=0)
    torch.testing.assert_close(scene.world_from_cam[1, :3, 3], poses[1, :3, 3], atol=0.1, rtol=0)
    estimates = scene.camera_estimates()
    assert estimates.status == ("given", "estimated", "given", "estimated")
    rotations = estimates.world_from_cam[:, :3, :3]
    np.testing.assert_allclose(
        rotations @ rotations.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (4, 3, 3)), atol=1e-12
    )


@pytest.mark.parametrize("given", [0, 2])
def test_a_single_known_pose_fixes_the_frame_but_not_the_unit(given: int) -> None:
    """The world grows about the known camera, wherever that is, and still agrees with every pair."""
    poses, points = _truth(4)
    known = [pose.double() if view == given else None for view, pose in enumerate(poses)]
    scene = global_align(_pairs(poses, points), iterations=1, poses=known, principal_points=CENTER.repeat(4, 1))
    assert scene.losses[0] < 1e-4 and not scene.fixed_scale
    scene = global_align(_pairs(poses, points), iterations=0, poses=known, principal_points=CENTER.repeat(4, 1))
    torch.testing.assert_close(scene.world_from_cam[given], poses[given], atol=1e-6, rtol=0)
    found = transform_points(invert_rigid(scene.world_from_cam[given]), scene.points.flatten(1, 2))
    truth = transform_points(invert_rigid(poses[given]), points)
    scale = (found * truth).sum() / truth.square().sum()
    torch.testing.assert_close(found, scale * truth, atol=1e-3, rtol=0)


def test_known_poses_start_needs_no_tree() -> None:
    poses, points = _truth(3)
    predictions, centers = _pairs(poses, points), CENTER.repeat(3, 1)
    scene = global_align(
        predictions,
        iterations=0,
        init="known-poses",
        poses=list(poses),
        focals=[FOCAL] * 3,
        principal_points=centers,
    )
    torch.testing.assert_close(scene.points.flatten(1, 2), points, atol=1e-2, rtol=0)
    with pytest.raises(InputError, match="every view"):
        global_align(predictions, init="known-poses", poses=[poses[0], None, None])


def test_optimisation_repairs_noise() -> None:
    poses, points = _truth(3)
    clean = _pairs(poses, points)
    generator = torch.Generator().manual_seed(3)

    def noisy(points: torch.Tensor) -> torch.Tensor:
        return points + 0.02 * torch.randn(points.shape, generator=generator)

    predictions = PairPredictions(
        clean.edges, noisy(clean.points_i), noisy(clean.points_j), clean.confidence_i, clean.confidence_j
    )
    scene = global_align(predictions, iterations=100, schedule="linear", principal_points=CENTER.repeat(3, 1))
    assert len(scene.losses) == 100 and scene.losses[-1] < 0.9 * scene.losses[0]
    assert _relative_degrees(scene.world_from_cam, poses) < 1.0


def test_two_views_in_closed_form() -> None:
    poses, points = _truth(2)
    scene = view_pair(_pairs(poses, points), principal_points=CENTER.repeat(2, 1))
    assert _relative_degrees(scene.world_from_cam, poses) < 0.1
    with pytest.raises(InputError, match="both orders"):
        view_pair(_pairs(*_truth(3)))


def test_pairs_must_connect_all_images() -> None:
    poses, points = _truth(4)
    complete = _pairs(poses, points)
    keep = [k for k, (i, j) in enumerate(complete.edges.tolist()) if i // 2 == j // 2]
    halves = PairPredictions(
        complete.edges[keep],
        complete.points_i[keep],
        complete.points_j[keep],
        complete.confidence_i[keep],
        complete.confidence_j[keep],
    )
    with pytest.raises(InputError, match="do not connect"):
        global_align(halves)
    with pytest.raises(InputError, match="Unknown start"):
        global_align(complete, init="luck")
    with pytest.raises(InputError, match="Unknown schedule"):
        global_align(complete, iterations=1, schedule="steps")


def test_a_floating_point_is_cleaned_when_its_hider_is_sure() -> None:
    depth = torch.full((2, *SIZE), 3.0)
    intrinsics = torch.tensor([[FOCAL, 0, CENTER[0]], [0, FOCAL, CENTER[1]], [0, 0, 1]]).expand(2, 3, 3)
    points = unproject(depth, intrinsics)
    points[0, 5, 6] = points[0, 5, 6] / 2  # hangs in front of what view 1 sees
    poses = torch.eye(4).repeat(2, 1, 1)
    confidence = torch.full((2, *SIZE), 4.0)
    confidence[0, 5, 6] = 3.0
    cleaned = clean_pointcloud(points, confidence, depth, intrinsics, poses)
    assert cleaned[0, 5, 6] == 0 and (cleaned == 0).sum() == 1
    confidence[0, 5, 6] = 5.0
    assert (clean_pointcloud(points, confidence, depth, intrinsics, poses) == confidence).all()


def test_predictions_must_fit_together() -> None:
    poses, points = _truth(3)
    good = _pairs(poses, points)
    with pytest.raises(InputError, match="one size"):
        PairPredictions(good.edges, good.points_i, good.points_j[:, :4], good.confidence_i, good.confidence_j)
    with pytest.raises(InputError, match="leaves out"):
        PairPredictions(good.edges + 1, good.points_i, good.points_j, good.confidence_i, good.confidence_j)
