"""Geometry: round trips, invariances and recovery of what was put in."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from worldline import geometry as g

seeds = st.integers(0, 2**31 - 1)
quick = settings(max_examples=25, deadline=None)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _normal(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=_generator(seed), dtype=torch.float64)


def _rotations(seed: int, *shape: int) -> torch.Tensor:
    return g.matrix_from_quaternion(_normal(seed, *shape, 4))


def _rigid(seed: int, *shape: int) -> torch.Tensor:
    return g.rigid_from(_rotations(seed, *shape), _normal(seed + 1, *shape, 3))


@quick
@given(seeds)
def test_inverse_undoes_the_motion(seed: int) -> None:
    motion = _rigid(seed, 2, 3)
    torch.testing.assert_close(motion @ g.invert_rigid(motion), torch.eye(4).double().expand(2, 3, 4, 4))


@quick
@given(seeds)
def test_quaternion_round_trip(seed: int) -> None:
    rotation = _rotations(seed, 50)
    quaternion = g.quaternion_from_matrix(rotation)
    assert (quaternion[:, 0] >= 0).all()
    torch.testing.assert_close(quaternion.norm(dim=-1), torch.ones(50).double())
    torch.testing.assert_close(g.matrix_from_quaternion(quaternion), rotation)


def test_quaternion_of_half_turns() -> None:
    half_turns = torch.diag_embed(torch.tensor([[1.0, -1, -1], [-1, 1, -1], [-1, -1, 1]]))
    torch.testing.assert_close(g.quaternion_from_matrix(half_turns).abs(), torch.eye(4)[1:])


@quick
@given(seeds)
def test_quaternion_product_is_matrix_product(seed: int) -> None:
    first, second = _normal(seed, 7, 4), _normal(seed + 1, 7, 4)
    product = g.matrix_from_quaternion(g.multiply_quaternions(first, second))
    torch.testing.assert_close(product, g.matrix_from_quaternion(first) @ g.matrix_from_quaternion(second))


@quick
@given(seeds, st.floats(1e-7, math.pi))
def test_rotation_angle_is_the_angle(seed: int, angle: float) -> None:
    axis = torch.nn.functional.normalize(_normal(seed, 3), dim=0)
    turn = g.matrix_from_quaternion(
        torch.cat([torch.tensor([math.cos(angle / 2)]).double(), math.sin(angle / 2) * axis])
    )
    start = _rotations(seed + 1)
    assert g.rotation_angle(start, start @ turn).item() == pytest.approx(angle, rel=1e-6, abs=1e-12)


@quick
@given(seeds)
def test_nearest_rotation_is_a_rotation_and_keeps_rotations(seed: int) -> None:
    rotation = _rotations(seed, 4)
    torch.testing.assert_close(g.nearest_rotation(3 * rotation), rotation)
    found = g.nearest_rotation(_normal(seed, 4, 3, 3))
    torch.testing.assert_close(torch.linalg.det(found), torch.ones(4).double())


@quick
@given(seeds, st.floats(0.01, 100), st.integers(4, 30))
def test_similarity_is_recovered_in_batches(seed: int, scale: float, count: int) -> None:
    truth = g.Similarity(torch.full((2, 3), scale).double(), _rotations(seed, 2, 3), _normal(seed + 2, 2, 3, 3))
    source = _normal(seed + 3, 2, 3, count, 3)
    weights = torch.rand(2, 3, count, generator=_generator(seed)).double() + 0.1
    fit = g.fit_similarity(source, truth.apply(source), weights)
    torch.testing.assert_close(fit.matrix, truth.matrix, rtol=1e-6, atol=1e-6 * scale)
    rigid = g.fit_similarity(source, truth.apply(source) / scale, with_scale=False)
    torch.testing.assert_close(rigid.rotation, truth.rotation)
    assert (rigid.scale == 1).all()


@quick
@given(seeds)
def test_similarity_never_reflects(seed: int) -> None:
    source = _normal(seed, 6, 3)
    mirrored = source * torch.tensor([1.0, 1.0, -1.0])
    assert torch.linalg.det(g.fit_similarity(source, mirrored).rotation).item() == pytest.approx(1)
    planar = source * torch.tensor([1.0, 1.0, 0.0])
    truth = _rigid(seed + 1)
    fit = g.fit_similarity(planar, g.transform_points(truth, planar))
    torch.testing.assert_close(fit.matrix, truth)


@quick
@given(seeds)
def test_weight_zero_is_absence(seed: int) -> None:
    source, target = _normal(seed, 12, 3), _normal(seed + 1, 12, 3)
    weights = (torch.arange(12) < 8).double()
    expected = g.fit_similarity(source[:8], target[:8])
    torch.testing.assert_close(g.fit_similarity(source, target, weights).matrix, expected.matrix)


@quick
@given(seeds)
def test_robust_fit_survives_outliers(seed: int) -> None:
    truth = g.Similarity(torch.tensor(2.5).double(), _rotations(seed), _normal(seed + 1, 3))
    source = _normal(seed + 2, 100, 3)
    target = truth.apply(source) + 1e-4 * _normal(seed + 4, 100, 3)
    target[:30] += 3 + 2 * _normal(seed + 3, 30, 3)
    fit = g.fit_similarity_robust(source, target, iterations=30)
    torch.testing.assert_close(fit.matrix, truth.matrix, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(g.fit_similarity(source, target).matrix, truth.matrix, atol=1e-1)


@quick
@given(seeds, st.integers(2, 5))
def test_two_poses_fix_a_similarity(seed: int, count: int) -> None:
    truth = g.Similarity(torch.tensor(7.0).double(), _rotations(seed), _normal(seed + 1, 3))
    poses = _rigid(seed + 2, count)
    fit = g.fit_similarity_to_poses(poses, truth.apply_to_poses(poses))
    torch.testing.assert_close(fit.matrix, truth.matrix)
    single = g.fit_similarity_to_poses(poses[:1], truth.apply_to_poses(poses[:1]))
    assert single.scale == 1
    torch.testing.assert_close(single.apply_to_poses(poses[:1]), truth.apply_to_poses(poses[:1]))


@quick
@given(seeds, st.integers(1, 6), st.integers(1, 6))
def test_project_undoes_unproject(seed: int, height: int, width: int) -> None:
    depth = torch.rand(2, height, width, generator=_generator(seed)).double() + 0.2
    intrinsics = torch.tensor([[30.0, 0.3, 3.1], [0, 28.0, 2.2], [0, 0, 1]]).double().expand(2, 3, 3)
    points = g.unproject(depth, intrinsics)
    pixels, found = g.project(points.flatten(1, 2), intrinsics)
    torch.testing.assert_close(found, depth.flatten(1))
    torch.testing.assert_close(pixels, g.pixel_grid(height, width).double().reshape(1, -1, 2).expand(2, -1, 2))


@quick
@given(seeds, st.floats(12.0, 200.0), st.sampled_from(["weiszfeld", "median"]))
def test_focal_is_recovered_with_outliers(seed: int, focal: float, method: str) -> None:
    intrinsics = torch.tensor([[focal, 0, 11.5], [0, focal, 8.0], [0, 0, 1]]).double()
    points = g.unproject(1 + torch.rand(17, 24, generator=_generator(seed)).double(), intrinsics)
    points[3:5, :, :2] += (5 / focal) * _normal(seed, 2, 24, 2)
    center = (11.5, 8.0)
    assert g.estimate_focal(points, center, method=method).item() == pytest.approx(focal, rel=0.02)
    assert g.estimate_focal(points * 100, center, method=method).item() == pytest.approx(focal, rel=0.02)


def test_normals_of_a_tilted_plane_face_the_camera() -> None:
    normal = torch.nn.functional.normalize(torch.tensor([0.3, -0.2, -1.0]).double(), dim=0)
    intrinsics = torch.tensor([[20.0, 0, 5.5], [0, 20.0, 4.5], [0, 0, 1]]).double()
    rays = g.unproject(torch.ones(10, 12).double(), intrinsics)
    points = rays * (-2 / (rays @ normal))[..., None]
    torch.testing.assert_close(g.normals_from_points(points), normal.expand(10, 12, 3))
