"""The layouts "objects" and "outdoor": things stand on something, sets of photos agree, options do what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from worldline import worlds
from worldline.worlds.layouts import objects, outdoor
from worldline.worlds.layouts.shapes import polytope_corners
from worldline.worlds.options import Streams, WorldOptions
from worldline.worlds.world import BOX, CONE, CYLINDER, ELLIPSOID, POLYTOPE, SHELL_FACES, Primitives, choose_rows

SEED = worlds.TEST_SEEDS[0]
BOTH = pytest.mark.parametrize("layout", ["objects", "outdoor"])
_CACHE: dict[str, worlds.WorldSample] = {}


def sample_of(layout: str) -> worlds.WorldSample:
    if layout not in _CACHE:
        _CACHE[layout] = worlds.sample(layout, SEED, views=4, height=64, width=64)
    return _CACHE[layout]


def circle(radius: float, z: float, count: int = 720) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles), np.full(count, z)], -1)


def outline(solids: Primitives, row: int) -> np.ndarray:
    """World points whose hull is the solid, to a fraction of a per cent."""
    half, kind = solids.half[row], solids.kind[row]
    if kind == BOX:
        local = np.array([[a, b, c] for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)]) * half
    elif kind == ELLIPSOID:
        k = np.arange(4000) + 0.5
        z, turn = 1 - 2 * k / 4000, np.pi * (1 + 5**0.5) * k
        local = np.stack([np.sqrt(1 - z * z) * np.cos(turn), np.sqrt(1 - z * z) * np.sin(turn), z], -1) * half
    elif kind == CYLINDER:
        local = np.concatenate([circle(half[0], -half[2]), circle(half[0], half[2])])
    elif kind == CONE:
        local = np.concatenate([circle(solids.planes[row, 0, i], (2 * i - 1) * half[2]) for i in (0, 1)])
    else:
        assert kind == POLYTOPE
        local = polytope_corners(np.unique(solids.planes[row], axis=0))
    return solids.center[row] + local @ solids.rotation[row].T


def inside(points: np.ndarray, solids: Primitives, row: int, margin: float) -> np.ndarray:
    """Which points lie deeper than the margin in a solid (a lower bound for ellipsoids)."""
    local, half = (points - solids.center[row]) @ solids.rotation[row], solids.half[row]
    kind = solids.kind[row]
    if kind == BOX:
        return (np.abs(local) < half - margin).all(1)
    if kind == ELLIPSOID:
        return ((local / np.maximum(half - margin, 1e-9)) ** 2).sum(1) < 1
    if kind in (CYLINDER, CONE):
        low, high = (half[0], half[0]) if kind == CYLINDER else solids.planes[row, 0, :2]
        share = 0.5 * (local[:, 2] / half[2] + 1)
        radius = low + (high - low) * share
        return (np.abs(local[:, 2]) < half[2] - margin) & (np.hypot(local[:, 0], local[:, 1]) < radius - margin)
    planes = solids.planes[row]
    return (local @ planes[:, :3].T < planes[:, 3] - margin).all(1)


def in_any(points: np.ndarray, solids: Primitives, margin: float = 0.0) -> np.ndarray:
    found = np.zeros(len(points), bool)
    for row in range(len(solids.kind)):
        found |= inside(points, solids, row, margin)
    return found


def loose_things(layout: str, seed: int, count: int | None = None) -> tuple[Primitives, list[int]]:
    streams, options = Streams.of(worlds.LAYOUTS[layout].stream, seed, 0), WorldOptions(1, objects=count)
    if layout == "objects":
        room, spot, _ = objects.arrange(streams.scene, options)
        return room.builder.primitives(), spot.placed
    site = outdoor.arrange(streams.scene, options)
    return site.builder.primitives(), site.loose


@BOTH
def test_a_seed_is_one_world(layout):
    first, again = (worlds.describe(layout, SEED, views=3) for _ in range(2))
    for name in ("kind", "center", "rotation", "half", "planes", "object_id", "material"):
        assert np.array_equal(getattr(first.primitives, name), getattr(again.primitives, name)), name
    assert np.array_equal(first.cameras.world_from_cam, again.cameras.world_from_cam)
    assert np.array_equal(first.material_table, again.material_table)
    other = worlds.describe(layout, SEED + 1, views=3)
    assert not np.array_equal(first.cameras.world_from_cam, other.cameras.world_from_cam)


@BOTH
def test_more_photos_extend_fewer(layout):
    few, many = (worlds.describe(layout, SEED + 3, views=n) for n in (3, 9))
    assert np.array_equal(few.cameras.world_from_cam, many.cameras.world_from_cam[:3])
    assert np.array_equal(few.primitives.center, many.primitives.center)


@BOTH
@pytest.mark.parametrize("seed", range(6))
def test_things_stand_on_something(layout, seed):
    """1 cm below a thing's lowest point lies something else; and it does not hover."""
    solids, things = loose_things(layout, seed)
    assert len(things) >= 3
    for thing in things:
        own = solids.object_id == thing
        points = np.concatenate([outline(solids, row) for row in np.flatnonzero(own)])
        lowest = points[points[:, 2] < points[:, 2].min() + 1e-3]
        below = lowest - [0.0, 0.0, 0.01]
        near = (np.abs(solids.center - points.mean(0)) < solids.half.max(1)[:, None] + 3.0).all(1)
        assert (below[:, 2] < 0).any() or in_any(below, choose_rows(solids, ~own & near)).any(), (layout, seed, thing)


@pytest.mark.parametrize("seed", range(6))
def test_objects_do_not_stick_in_each_other(seed):
    solids, things = loose_things("objects", seed)
    for thing in things:
        own = solids.object_id == thing
        points = np.concatenate([outline(solids, row) for row in np.flatnonzero(own)])
        near = (np.abs(solids.center - points.mean(0)) < solids.half.max(1)[:, None] + 0.6).all(1)
        assert in_any(points, choose_rows(solids, ~own & near), margin=0.004).mean() < 0.01, (seed, thing)


@BOTH
def test_photos_show_enough(layout):
    sample = sample_of(layout)
    share = sample.valid.flatten(1).float().mean(1)
    assert (share > (0.999 if layout == "objects" else 0.33)).all()
    assert (sample.depth[~sample.valid] == 0).all()
    assert (sample.instance[~sample.valid] == -1).all()
    assert ((sample.instance >= SHELL_FACES).flatten(1).float().mean(1) > 0.2).all()
    assert float(sample.depth[sample.valid].min()) > 0.1
    shown = sample.images.float()
    assert 30 < shown.mean() < 220
    assert (shown.flatten(1).std(1) > 12).all()


@BOTH
def test_views_agree_about_depth(layout):
    """Where two views see the same object, a point of one lies on the depth map of the other."""
    sample, met = sample_of(layout), 0
    for a, b in ((0, 1), (1, 0), (2, 1), (3, 2), (2, 0), (3, 0)):
        inverse = torch.linalg.inv(sample.world_from_cam[b])
        local = sample.points[a].double() @ inverse[:3, :3].T + inverse[:3, 3]
        pixel = local @ sample.intrinsics[b].T
        x, y = (pixel[..., :2] / pixel[..., 2:].clamp_min(1e-6)).round().long().unbind(-1)
        there = sample.valid[a] & (local[..., 2] > 0.05) & (x >= 0) & (x < 64) & (y >= 0) & (y < 64)
        x, y = x.clamp(0, 63), y.clamp(0, 63)
        there &= sample.instance[b][y, x] == sample.instance[a]
        there &= (sample.normals[b][y, x] * sample.normals[a]).sum(-1) > 0.99
        gap = (sample.depth[b][y, x].double() - local[..., 2])[there] / local[..., 2][there]
        assert (gap < -0.1).double().mean() < 0.15 or int(there.sum()) < 50  # hidden behind a part of the same thing
        met += int((gap.abs() < 0.05).sum())
    assert met > 1000


@BOTH
def test_twenty_seeds(layout):
    sizes = []
    for seed in worlds.TRAIN_SEEDS[:20]:
        world = worlds.describe(layout, seed, views=1)
        sizes.append(len(world.primitives.kind))
        assert np.isfinite(world.primitives.center).all()
        assert (world.primitives.half > 0).all()
        assert (world.primitives.material < len(world.material_kind)).all()
        height = world.cameras.world_from_cam[:, 2, 3]
        assert (height > 0.1).all()
        assert (height < (3.0 if layout == "objects" else 4.01)).all()
    assert max(sizes) < 1200
    assert np.median(sizes) < 650


@BOTH
def test_the_number_of_things_follows_the_option(layout):
    for seed in (1, 2):
        counts = [len(loose_things(layout, seed, count)[1]) for count in (3, 8)]
        assert counts == [3, 8]


@BOTH
def test_options_change_what_they_say(layout):
    plain = worlds.describe(layout, 4, views=3)
    lens = worlds.describe(layout, 4, views=3, focal_per_view=True, principal_offset=0.05)
    assert len(set(plain.cameras.fov)) == 1
    assert len(set(lens.cameras.fov)) == 3
    assert 0 < np.abs(lens.cameras.principal_offset).max() <= 0.05
    assert np.array_equal(plain.primitives.center, lens.primitives.center)
    assert np.array_equal(plain.cameras.world_from_cam, lens.cameras.world_from_cam)
    close = worlds.describe(layout, 4, views=3, overlap=(0.7, 0.95))
    assert not np.array_equal(plain.cameras.world_from_cam, close.cameras.world_from_cam)


@BOTH
def test_size_scales_the_place(layout):
    reach = []
    for size in (0.8, 1.6):
        streams, options = Streams.of(worlds.LAYOUTS[layout].stream, 5, 0), WorldOptions(1, size=size)
        if layout == "objects":
            reach.append(max(objects.arrange(streams.scene, options)[1].plot.half))
        else:
            reach.append(max(outdoor.arrange(streams.scene, options).half))
    assert reach[1] > 1.3 * reach[0]


@BOTH
@pytest.mark.parametrize("shooting", ["video", "walk", "orbit"])
def test_films(layout, shooting):
    world = worlds.describe(layout, 2, views=5, shooting=shooting)
    assert world.motion.world_from_body.shape[0] == len(world.motion.times) == 5
    assert world.cameras.frame.tolist() == [0, 1, 2, 3, 4]
    steps = np.linalg.norm(np.diff(world.cameras.world_from_cam[:, :3, 3], axis=0), axis=1)
    assert (steps < 0.5).all()
