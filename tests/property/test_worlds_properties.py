"""Properties of ray casting and camera geometry that hold for any input."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from worldline import worlds
from worldline.worlds.cameras.photos import distance_to_solids, look_at, seen_share
from worldline.worlds.rendering import cast as casting
from worldline.worlds.rendering.views import Tiling, intrinsics
from worldline.worlds.world import BOX, CYLINDER, ELLIPSOID, SHELL_FACES, CameraSet, Primitives, random_rotation

coordinate = st.floats(-3.0, 3.0, allow_nan=False, width=32)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 3), st.sampled_from([4, 8, 16]))
def test_tiling_and_untiling_are_inverse(height, width, views, tile):
    tiling = Tiling(2, views, height, width, tile)
    image = torch.arange(2 * views * height * width, dtype=torch.float32).view(2, views, height, width)
    tiled = tiling.tiled(image)
    assert torch.equal(tiling.untile(tiled.reshape(-1, tile * tile)), image)
    y, x = tiling.pixel(torch.arange(tiled.shape[1]))
    inside = (y < height) & (x < width)
    assert torch.equal(tiled[0][inside], image[0, 0][y[inside], x[inside]])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([BOX, ELLIPSOID, CYLINDER]))
def test_turning_solid_and_rays_together_keeps_distances(seed, kind):
    rng = np.random.default_rng(seed)
    turn = random_rotation(rng)
    half = rng.uniform(0.1, 0.8, 3)
    if kind == CYLINDER:
        half[1] = half[0]
    center, axes = rng.uniform(-1, 1, 3), random_rotation(rng)
    center[2] += 4.0
    rays = center + rng.normal(0, 0.5, (64, 3))

    def distances(motion: np.ndarray) -> torch.Tensor:
        planes = torch.zeros(1, 1, 1, 4)
        table = casting.KindTable(
            torch.as_tensor(motion @ center).float().view(1, 1, 3),
            torch.as_tensor(motion @ axes).float().view(1, 1, 3, 3),
            torch.as_tensor(half).float().view(1, 1, 3), planes, torch.ones(1, 1, dtype=torch.bool),
            torch.full((1, 1), SHELL_FACES, dtype=torch.int32),
        )  # fmt: skip
        room = torch.full((1, 3), 100.0)
        moved = torch.as_tensor(rays @ motion.T).float()
        packets = casting.Packets(torch.zeros(1, 3), tuple(moved[None, :, i].contiguous() for i in range(3)), 1)
        distance, surface = casting.cast(
            casting.SceneTables(-room, room, torch.zeros(1, dtype=torch.bool), {kind: table}), packets
        )
        return torch.where(surface == SHELL_FACES, distance, torch.inf)[0]

    before, after = distances(np.eye(3)), distances(turn)
    both = torch.isfinite(before) & torch.isfinite(after)
    assert (torch.isfinite(before) != torch.isfinite(after)).sum() <= 1  # a ray that grazes the outline
    assert torch.allclose(before[both], after[both], atol=2e-3)


@settings(max_examples=60, deadline=None)
@given(st.tuples(coordinate, coordinate, coordinate), st.tuples(coordinate, coordinate), st.floats(-0.5, 0.5))
def test_look_at_puts_the_target_in_the_middle(position, towards, roll):
    place = np.array(position)
    target = place + np.array([*towards, 0.3]) + [4.0, 0.0, 0.0]
    pose = look_at(place, target, roll)
    assert np.allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-9)
    assert np.isclose(np.linalg.det(pose[:3, :3]), 1.0)
    local = pose[:3, :3].T @ (target - place)
    assert np.allclose(local[:2], 0.0, atol=1e-9)
    assert local[2] > 0
    assert pose[2, 1] < 0  # the image's down side points to the floor


@settings(max_examples=30, deadline=None)
@given(st.integers(8, 64), st.integers(8, 64), st.floats(0.9, 1.5))
def test_field_of_view_spans_the_longer_side(height, width, fov):
    lens = CameraSet.photos(np.eye(4)[None], np.array([fov]), np.zeros((1, 2)))
    matrix = intrinsics(lens, height, width)[0]
    side = max(height, width)
    edge = np.degrees(2 * np.arctan(0.5 * side / matrix[0, 0]))
    assert np.isclose(edge, np.degrees(fov))


def test_a_view_sees_all_of_its_own_points():
    world = worlds.describe("rooms", worlds.TEST_SEEDS[1], views=2)
    tiling = Tiling(1, 2, 16, 16)
    square = torch.as_tensor(intrinsics(world.cameras, 16, 16))
    packets, _, _ = tiling.packets(square, torch.as_tensor(world.cameras.world_from_cam))
    depth, _ = casting.cast(casting.pack([world], "cpu"), packets)
    points = packets.origin[:, None] + depth[..., None] * torch.stack(packets.direction, -1)
    points = tiling.untile(points)[0].reshape(2, -1, 3).double().numpy()
    flat = tiling.untile(depth)[0].reshape(2, -1).double().numpy()
    share = seen_share(points, world.cameras.world_from_cam, flat, float(world.cameras.fov[0]))
    assert np.allclose(np.diag(share), 1.0)
    assert ((share >= 0) & (share <= 1)).all()


@settings(max_examples=40, deadline=None)
@given(st.tuples(coordinate, coordinate, coordinate), st.integers(0, 1000))
def test_distance_to_a_box_is_zero_inside_and_exact_above(point, seed):
    rng = np.random.default_rng(seed)
    half, turn = rng.uniform(0.1, 1.0, 3), random_rotation(rng)
    solid = Primitives(
        np.array([BOX]),
        np.array([point]),
        turn[None],
        half[None],
        np.zeros((1, 1, 4)),
        np.array([6]),
        np.array([0]),
        np.array([0]),
    )
    inside = np.array(point) + turn @ (half * rng.uniform(-0.99, 0.99, 3))
    above = np.array(point) + turn @ (half * [0.5, 0.5, 1.0] + [0, 0, 0.7])
    assert distance_to_solids(inside[None], solid)[0] < 1e-9
    assert np.isclose(distance_to_solids(above[None], solid)[0], 0.7)
