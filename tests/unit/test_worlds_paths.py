"""Moving cameras: smooth, clear of everything, a function of time and not of the clip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from worldline import worlds
from worldline.errors import InputError
from worldline.worlds.cameras import curves, paths
from worldline.worlds.cameras.clearance import keep_away
from worldline.worlds.cameras.photos import PhotoPlan, distance_to_solids
from worldline.worlds.layouts import rooms
from worldline.worlds.options import Streams, WorldOptions
from worldline.worlds.rendering.views import intrinsics
from worldline.worlds.world import World, choose_rows

FILMS = ("video", "walk", "orbit")
SEEDS = worlds.TRAIN_SEEDS[20:23]
PLAN = PhotoPlan(np.zeros(3), np.ones(3), np.zeros(3), np.ones(3))


def film(layout: str, seed: int, shooting: str, views: int = 36, **knobs: object) -> World:
    return worlds.describe(layout, seed, views=views, shooting=shooting, **knobs)


def stills(world: World, step: int) -> worlds.WorldSample:
    """Every ``step``-th photo of a film, small."""
    chosen = np.arange(0, world.views, step)
    few = replace(world, cameras=choose_rows(world.cameras, chosen), photo=choose_rows(world.photo, chosen))
    return worlds.render([few], height=24, width=24)[0]


def rotation_angle(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Angles between rotations, radians; exact for small ones."""
    change = np.swapaxes(first, -1, -2) @ second
    return 2 * np.arcsin(np.clip(np.linalg.norm(change - np.eye(3), axis=(-2, -1)) / np.sqrt(8), 0, 1))


def test_spline_is_smooth_local_and_reproduces_lines():
    rng = np.random.default_rng(0)
    controls = rng.normal(size=(9, 3))
    at = np.linspace(0, 6, 6001)
    curve = curves.spline(controls, at)
    for order in (1, 2):  # derivatives do not jump at the knots
        steps = np.diff(curve, order, axis=0) / 1e-3**order
        assert np.abs(np.diff(steps, axis=0)).max() < 0.05
    changed = controls.copy()
    changed[5] += 1.0
    assert np.array_equal(curves.spline(changed, at[:2000]), curve[:2000])
    line = np.arange(9.0)[:, None] * [1.0, -2.0, 0.5]
    assert np.allclose(curves.spline(line, at), (at + 1)[:, None] * [1.0, -2.0, 0.5])


def test_angles_and_poses_are_inverse():
    rng = np.random.default_rng(1)
    offset = rng.normal(size=(50, 3))
    yaw, pitch = curves.angles_to(offset)
    poses = curves.poses(np.zeros((50, 3)), yaw, pitch, np.zeros(50))
    assert np.allclose(poses[:, :3, 2], offset / np.linalg.norm(offset, axis=1, keepdims=True))
    assert np.allclose(poses[:, 2, 0], 0)  # the horizon is level
    assert (poses[:, 2, 1] < 0).all()  # down is down
    rolled = curves.poses(np.zeros((50, 3)), yaw, pitch, rng.normal(size=50))[:, :3, :3]
    assert np.allclose(rolled @ np.swapaxes(rolled, 1, 2), np.eye(3))
    assert np.allclose(np.linalg.det(rolled), 1)


@pytest.mark.parametrize("shooting", FILMS)
@pytest.mark.parametrize("layout", ["rooms", "dynamic"])
def test_films_move_smoothly(layout, shooting):
    """Speeds and accelerations at 12 Hz are those of a person with a camera."""
    for seed in SEEDS:
        pose = film(layout, seed, shooting).cameras.world_from_cam
        place, turn = pose[:, :3, 3], pose[:, :3, :3]
        assert np.linalg.norm(np.diff(place, axis=0), axis=1).max() * 12 < 1.9
        assert np.linalg.norm(np.diff(place, 2, axis=0), axis=1).max() * 144 < 6.0
        spin = rotation_angle(turn[:-1], turn[1:]) * 12
        assert spin.max() < np.radians(150)
        assert np.abs(np.diff(spin)).max() * 12 < np.radians(450)


@pytest.mark.parametrize("shooting", FILMS)
def test_films_have_no_kinks(shooting):
    """At a fine rate the velocity changes little by little: the path is continuously differentiable."""
    pose = film("rooms", SEEDS[0], shooting, views=600, rate=300.0).cameras.world_from_cam
    velocity = np.diff(pose[:, :3, 3], axis=0) * 300
    assert np.linalg.norm(np.diff(velocity, axis=0), axis=1).max() < 8.0 / 300 * 3
    axes = np.diff(pose[:, :3, :3], axis=0) * 300
    assert np.abs(np.diff(axes, axis=0)).max() < np.radians(700) / 300 * 3


@pytest.mark.parametrize("shooting", FILMS)
@pytest.mark.parametrize("layout", ["rooms", "dynamic"])
def test_a_longer_clip_begins_with_the_shorter_one(layout, shooting):
    for seed in SEEDS[:2]:
        short, long = film(layout, seed, shooting, views=12), film(layout, seed, shooting, views=50)
        assert np.allclose(long.cameras.world_from_cam[:12], short.cameras.world_from_cam, atol=1e-9)
        assert np.allclose(long.motion.world_from_body[:12], short.motion.world_from_body, atol=1e-9)
        assert np.array_equal(long.motion.times[:12], short.motion.times)
        assert long.cameras.fov[0] == short.cameras.fov[0]


@pytest.mark.parametrize("shooting", FILMS)
def test_the_path_is_a_function_of_the_clock(shooting):
    usual = film("dynamic", SEEDS[1], shooting, views=24)
    finer = film("dynamic", SEEDS[1], shooting, views=47, rate=24.0)
    faster = film("dynamic", SEEDS[1], shooting, views=12, speed=2.0)
    for world, step_usual, step in ((finer, 1, 2), (faster, 2, 1)):
        for read in (lambda w: w.cameras.world_from_cam, lambda w: w.motion.world_from_body):
            assert np.allclose(read(usual)[::step_usual], read(world)[::step], atol=1e-9)
    assert np.allclose(faster.motion.times, np.arange(12) / 12)
    assert np.allclose(finer.motion.times, np.arange(47) / 24)


@pytest.mark.parametrize("shooting", FILMS)
@pytest.mark.parametrize("layout", ["rooms", "dynamic"])
def test_nothing_comes_near_the_camera(layout, shooting):
    """At every instant, and in every pixel."""
    for seed in SEEDS:
        world = film(layout, seed, shooting)
        centers = world.cameras.world_from_cam[:, :3, 3]
        keep = keep_away(PLAN, float(world.cameras.fov[0]))
        for frame in range(0, 36, 5):
            solids = world.at(frame).primitives
            assert distance_to_solids(centers[frame : frame + 1], solids)[0] >= keep - 1e-6
        if world.sky is None:
            assert (centers >= world.room_low + keep - 1e-6).all()
            assert (centers <= world.room_high - keep + 1e-6).all()
    sample = stills(world, 14)
    assert sample.depth[sample.valid].min() >= PLAN.nearest


def test_keep_away_holds_for_the_corner_ray():
    fov = 1.3
    camera = replace(worlds.describe("rooms", 3, views=1).cameras, fov=np.array([fov]))
    matrix = intrinsics(camera, 100, 100)[0]
    corner = np.linalg.inv(matrix) @ [-0.5, -0.5, 1.0]
    assert keep_away(replace(PLAN, clearance=0.0), fov) / np.linalg.norm(corner) == pytest.approx(PLAN.nearest)


def test_videos_see_things_and_turn_to_them():
    seen, turned = [], []
    for seed in worlds.TRAIN_SEEDS[40:44]:
        world = film("rooms", seed, "video", views=37)
        seen.append(float((stills(world, 24).instance >= 6).float().mean()))
        axes = world.cameras.world_from_cam[:, :3, 2]
        turned.append(float(np.degrees(np.arccos(np.clip(axes @ axes[0], -1, 1)).max())))
    assert np.mean(seen) > 0.12
    assert np.max(turned) > 15


def test_walkers_keep_their_eyes_level_and_bob():
    moved = []
    for seed in SEEDS:
        pose = film("rooms", seed, "walk", views=48).cameras.world_from_cam
        height = pose[:, 2, 3]
        assert 1.3 < height.mean() < 1.8
        assert 0.004 < np.ptp(height) < 0.08
        moved.append(np.linalg.norm(np.diff(pose[:, :2, 3], axis=0), axis=1).sum())
        assert np.abs(pose[:, 2, 2]).max() < 0.75  # nobody looks straight up or down
    assert np.mean(moved) > 1.0


def test_orbits_go_round_their_target():
    swept = []
    for seed in SEEDS:
        pose = film("rooms", seed, "orbit", views=60).cameras.world_from_cam
        place, axis = pose[:, :3, 3], pose[:, :3, 2]
        flat = axis[:, :2] / np.linalg.norm(axis[:, :2], axis=1, keepdims=True)
        across = np.eye(2) - flat[:, :, None] * flat[:, None]  # the target lies on all lines of sight
        target = np.linalg.solve(across.sum(0), (across @ place[:, :2, None]).sum(0))[:, 0]
        away = np.linalg.norm(place[:, :2] - target, axis=1)
        assert away.max() / away.min() < 1.6
        bearing = np.unwrap(np.arctan2(*(place[:, :2] - target).T[::-1]))
        swept.append(np.ptp(bearing))
    assert np.min(swept) > np.radians(3)
    assert np.max(swept) > np.radians(25)


def test_a_world_at_rest_has_a_row_of_motion_per_instant():
    world = film("rooms", SEEDS[0], "video", views=7, rate=5.0)
    assert np.allclose(world.motion.times, np.arange(7) / 5)
    assert np.array_equal(world.motion.world_from_body, np.broadcast_to(np.eye(4), (7, 1, 4, 4)))
    assert not world.motion.moves.any()
    assert np.array_equal(world.cameras.frame, np.arange(7))


def test_photos_are_one_instant_and_the_usual_way():
    for layout in ("rooms", "dynamic"):
        world = worlds.describe(layout, SEEDS[0], views=4)
        assert len(world.motion.times) == 1
        assert np.array_equal(world.cameras.frame, np.zeros(4))


def test_films_differ_by_seed_and_repeat_by_seed():
    first, again, other = (film("rooms", s, "video", views=5).cameras.world_from_cam for s in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.allclose(first, other)


def test_impossible_wishes_are_explained():
    world = worlds.describe("rooms", 1, views=1)
    streams = Streams.of(1, 1, 0)
    with pytest.raises(InputError, match="rig"):
        paths.shoot(streams, world, PLAN, WorldOptions(4, shooting="rig"))
    tight = replace(PLAN, nearest=3.0)
    with pytest.raises(InputError) as caught:
        paths.shoot(streams, world, tight, WorldOptions(4, shooting="video"))
    assert caught.value.remedy
    assert rooms.build(streams, WorldOptions(2, shooting="walk")).views == 2
