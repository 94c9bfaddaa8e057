"""Things that move: the physics of every motion, joints that hold, and truth that follows the bodies."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch

from worldline import worlds
from worldline.worlds.cameras.clearance import Surroundings
from worldline.worlds.cameras.photos import distance_to_solids
from worldline.worlds.layouts import actors, fliers, machines, trajectories
from worldline.worlds.layouts.actors import Cast
from worldline.worlds.layouts.rooms import Room
from worldline.worlds.world import ELLIPSOID, World, choose_rows

SEEDS = worlds.TRAIN_SEEDS[60:66]
G = trajectories.GRAVITY
FINE = np.arange(0.0, 6.0, 1e-3)


def cast_of(make: Callable[[Cast], bool], seed: int) -> Cast:
    """A large empty room with one moving thing."""
    for attempt in range(20):
        rng = np.random.default_rng([seed, attempt])
        room = Room(rng, 2.0)
        room.high[2] = 4.0
        cast = Cast(room, np.random.default_rng([seed, attempt, 1]))
        if make(cast):
            return cast
    raise AssertionError("no place")


def film(seed: int, views: int = 24, **knobs: object) -> World:
    return worlds.describe("dynamic", seed, views=views, shooting="video", **knobs)


# --- single trajectories


def test_flight_is_free_fall_between_exact_contacts():
    ball = trajectories.Bounces(1.0, 1.5, 1.2, restitution=0.7, grip=0.9, begin=0.25)
    starts = ball.flights[:, 0]
    for number, (start, end) in enumerate(pairwise(starts)):
        t = np.linspace(start, end, 40)
        far, height = ball.at(t[1:-1])
        step = t[1] - t[0]
        assert np.allclose(np.diff(height, 2) / step**2, -G, rtol=1e-6)
        assert np.allclose(np.diff(far, 2), 0, atol=1e-9)
        assert np.abs(ball.at(np.array([end - 1e-9]))[1]) < 1e-7  # it touches the ground exactly then
        if 0 < number < len(starts) - 2:
            impact = G * (end - start) - ball.flights[number, 2]
            assert ball.flights[number + 1, 2] == pytest.approx(0.7 * impact)
    far, height = ball.at(FINE)
    assert height.min() >= 0
    assert height.max() == pytest.approx(ball.top, abs=1e-4)
    energy = [G * 1.0 + 0.5 * 1.5**2, *(0.5 * ball.flights[1:, 2] ** 2)]
    assert (np.diff(energy) < 0).all()  # every bounce takes some
    assert ball.at(np.array([100.0]))[0][0] == pytest.approx(ball.reach)
    assert (ball.at(np.array([0.0, 0.2]))[1] == 1.0).all()  # it waits


def test_a_pendulum_keeps_its_energy():
    swing = trajectories.Pendulum(0.9, np.radians(40))
    angle = swing.angle(FINE)
    rate = np.gradient(angle, FINE)
    energy = 0.5 * 0.9**2 * rate**2 + G * 0.9 * (1 - np.cos(angle))
    assert np.ptp(energy[5:-5]) < 0.01 * energy.mean()
    push = np.gradient(rate, FINE)[10:-10] + G / 0.9 * np.sin(angle[10:-10])
    assert np.abs(push).max() < 0.01 * G / 0.9


def test_friction_stops_a_push():
    slide = trajectories.Slide(2.0, 0.2, begin=0.5)
    way = slide.travel(FINE)
    moving = (FINE > 0.51) & (FINE < 0.5 + 2.0 / (0.2 * G) - 0.01)
    assert np.allclose(np.diff(way, 2)[moving[1:-1]] / 1e-6, -0.2 * G, rtol=1e-3)
    assert way[-1] == pytest.approx(slide.length)
    assert way[FINE < 0.5].max() == 0


@pytest.mark.parametrize("cruise", [np.inf, 1.0])
def test_a_motor_goes_as_fast_as_it_says(cruise):
    drive = trajectories.Drive(-1.7, 0.4, 0.5, cruise, 0.6)
    way = drive.travel(FINE)
    assert np.allclose(np.gradient(way, FINE), drive.rate(FINE), atol=2e-3)
    assert (way[FINE <= 0.4] == 0).all()
    assert np.abs(drive.rate(FINE)).max() == pytest.approx(1.7)


def test_a_shuttle_comes_back():
    shuttle = trajectories.Shuttle(2.0, 1.0, 0.3, 0.2)
    way = shuttle.travel(FINE)
    assert way.min() == pytest.approx(0)
    assert way.max() == pytest.approx(2)
    assert shuttle.travel(np.array([0.2 + 2.6]))[0] == pytest.approx(0)
    assert np.abs(np.diff(way, 2)).max() / 1e-6 < 13  # least jerk: 5.77 length / time squared


def test_a_loop_is_walked_at_unit_speed_along_its_tangent():
    loop = trajectories.Loop(1.5, 0.9, 0.4)
    s = np.linspace(0, 2 * loop.length, 4001)
    place, yaw = loop.at(s)
    step = np.diff(place, axis=0)
    assert np.allclose(np.linalg.norm(step, axis=1), s[1], rtol=1e-3)
    middle = yaw[:-1] + 0.5 * ((np.diff(yaw) + np.pi) % (2 * np.pi) - np.pi)
    assert np.allclose(
        step / np.linalg.norm(step, axis=1, keepdims=True), np.c_[np.cos(middle), np.sin(middle)], atol=0.01
    )
    assert np.allclose(place[0], place[-1])
    assert np.abs(place).max(0) == pytest.approx([1.5, 0.9], abs=1e-3)


# --- things


@pytest.mark.parametrize("seed", range(4))
def test_rolling_does_not_slip(seed):
    """The point of the body that touches the ground stands still."""
    cast = cast_of(actors.rolling, seed)
    pose = cast.world_from_body(FINE)[:, 1]
    height = pose[0, 2, 3]
    speeds = np.linalg.norm(np.diff(pose[:, :3, 3], axis=0), axis=1) / 1e-3
    contact = np.einsum("tji,tj->ti", pose[:-1, :3, :3], np.array([[0, 0, -height]]) + 0 * pose[:-1, :3, 3])
    here, there = (np.einsum("tij,tj->ti", p[:, :3, :3], contact) + p[:, :3, 3] for p in (pose[:-1], pose[1:]))
    slip = np.linalg.norm(there - here, axis=1) / 1e-3
    assert speeds.max() > 0.2
    assert slip.max() < 0.03 * speeds.max()  # what is left is the finite step


def test_a_bob_keeps_its_distance_from_the_beam():
    cast = cast_of(actors.swinging, 1)
    solids = cast.builder.primitives()
    poses = cast.world_from_body(FINE[::20])
    for body in range(1, cast.builder.bodies):
        bob = solids.center[solids.body == body][-1]
        place = poses[:, body, :3, :3] @ bob + poses[:, body, :3, 3]
        pivot = poses[0, body, :3, 3]
        assert np.allclose(np.linalg.norm(place - pivot, axis=1), np.linalg.norm(bob))
        assert np.ptp(place, axis=0).max() > 0.05


@pytest.mark.parametrize(
    ("make", "joints"),
    [
        (machines.robot_arm, [(1, 2), (2, 3), (3, 4)]),
        (machines.dog, [(1, 2), (1, 3), (1, 4), (4, 5), (1, 6), (6, 7), (1, 8), (8, 9), (1, 10), (10, 11)]),
        (machines.train, [(1, 2), (1, 3)]),
    ],
)
def test_joints_hold(make, joints):
    """A child's origin is the joint: it has a fixed place in the parent."""
    for seed in range(3):
        cast = cast_of(make, seed)
        poses = cast.world_from_body(FINE[::25])
        solids = cast.builder.primitives()
        for parent, child in joints:
            relative = np.linalg.inv(poses[:, parent]) @ poses[:, child]
            assert np.ptp(relative[:, :3, 3], axis=0).max() < 1e-9
            assert np.ptp(relative[:, :3, :3], axis=0).max() > 1e-3  # and the joint turns
        assert len(set(solids.object_id[np.isin(solids.body, np.ravel(joints))])) == 1


def test_feet_stand_while_they_carry():
    stride, size = 0.5, 0.55
    phase = np.linspace(0.01, 0.49, 50)
    forward, up = machines._step(phase, stride, 0.1)
    assert np.allclose(
        forward + stride * phase, forward[0] + stride * phase[0]
    )  # back as fast as the body goes forward
    assert np.allclose(up, 0)
    x, z = np.meshgrid(np.linspace(-0.2, 0.2, 9), np.linspace(-0.9, -0.5, 9))
    thigh, knee = machines._bend(x, z, size)
    ends = [-size * (np.sin(thigh) + np.sin(thigh + knee)), -size * (np.cos(thigh) + np.cos(thigh + knee))]
    assert np.allclose(ends, [x, z])


ALL = [actors.sliding, actors.thrown, actors.tossed, actors.rolling, actors.swinging, actors.turntable, actors.fan,
       actors.spinning_top, machines.person, machines.dog, machines.train, machines.carousel, machines.robot_arm,
       machines.cabinet, machines.vehicle]  # fmt: skip


@pytest.mark.parametrize("make", ALL, ids=lambda m: m.__name__)
def test_every_motion_is_rigid_and_stays_on_its_claim(make):
    for seed in range(2):
        cast = cast_of(make, 10 + seed)
        clock = np.arange(0.0, 12.0, 0.05)
        poses = cast.world_from_body(clock)
        turn = poses[..., :3, :3]
        assert np.allclose(turn @ np.swapaxes(turn, -1, -2), np.eye(3), atol=1e-9)
        assert np.allclose(np.linalg.det(turn), 1)
        assert np.array_equal(poses[:, 0], np.broadcast_to(np.eye(4), (len(clock), 4, 4)))
        assert np.abs(np.diff(poses[:, 1:], axis=0)).max() > 1e-3
        assert np.abs(np.diff(poses[..., :3, 3], axis=0)).max() < 0.8  # nothing jumps
        solids = cast.builder.primitives()
        (position, half, yaw), *_ = cast.place.footprints
        axes = np.array([[np.cos(yaw), np.sin(yaw)], [-np.sin(yaw), np.cos(yaw)]])
        carry = poses[:, solids.body]
        centers = np.einsum("tnij,nj->tni", carry[..., :3, :3], solids.center) + carry[..., :3, 3]
        assert (np.abs((centers[..., :2] - position) @ axes.T) <= np.array(half) + 0.12).all()


@pytest.mark.parametrize("make", [fliers.drone, fliers.bird, fliers.balloons], ids=lambda m: m.__name__)
def test_fliers_keep_clear(make):
    world = worlds.describe("rooms", 3, views=1)
    rng = np.random.default_rng(4)
    cast = Cast(Room(rng), rng)
    assert make(cast, Surroundings(world, None))
    poses = cast.world_from_body(np.arange(0.0, 15.0, 0.1))[:, 1]
    assert np.ptp(poses[:, :3, 3], axis=0).max() > 0.1
    assert distance_to_solids(poses[:, :3, 3], world.primitives).min() > 0.1


def test_what_rides_on_a_belt_passes_beside_its_middle():
    for seed in range(4):
        cast = cast_of(machines.carousel, seed)
        solids = cast.builder.primitives()
        rest = choose_rows(solids, solids.body == 0)
        poses = cast.world_from_body(np.arange(0.0, 20.0, 0.1))
        for row in np.flatnonzero(solids.body):
            carry = poses[:, solids.body[row]]
            assert distance_to_solids(carry[:, :3, :3] @ solids.center[row] + carry[:, :3, 3], rest).min() > 0


# --- worlds


def test_a_world_repeats_by_seed():
    first, again, other = film(SEEDS[0]), film(SEEDS[0]), film(SEEDS[1])
    assert np.array_equal(first.motion.world_from_body, again.motion.world_from_body)
    assert np.array_equal(first.primitives.center, again.primitives.center)
    assert first.primitives.center.shape != other.primitives.center.shape


def test_worlds_are_lively_and_differ():
    movers, open_air, late = [], set(), 0
    for seed in worlds.TRAIN_SEEDS[:8]:
        world = film(seed, views=36)
        carried = np.unique(world.primitives.object_id[world.primitives.body != 0])
        movers.append(len(carried))
        open_air.add(world.sky is not None)
        steps = np.abs(np.diff(world.motion.world_from_body, axis=0)).max((2, 3))[:, 1:]
        late += int(((steps[:6] < 1e-6).all(0) & (steps > 1e-4).any(0)).sum())
        assert world.motion.moves.sum() >= 2
        assert not world.motion.moves[0]
    assert min(movers) >= 3
    assert max(movers) <= 16
    assert len(set(movers)) > 2
    assert open_air == {True, False}
    assert late > 2  # things that begin to move later


def reach_of(solids) -> np.ndarray:
    """Half extents of the solids along the world's axes (boxes: exact; the round ones as well)."""
    turn, half = solids.rotation, solids.half
    box = (np.abs(turn) * half[:, None]).sum(2)
    ball = np.linalg.norm(turn * half[:, None], axis=2)
    along = np.abs(turn[:, :, 2])
    tube = half[:, :1] * np.sqrt(np.maximum(1 - along**2, 0)) + half[:, 2:] * along
    return np.where((solids.kind == ELLIPSOID)[:, None], ball, np.where((solids.kind == 2)[:, None], tube, box))


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_leaves_the_room_or_passes_through(seed):
    world = film(seed, views=36, rate=6.0)
    mobile = world.primitives.body != 0
    rest = choose_rows(world.primitives, ~mobile)
    for frame in range(0, 36, 3):
        now = choose_rows(world.at(frame).primitives, mobile)
        low, high = now.center - reach_of(now), now.center + reach_of(now)
        assert low[:, 2].min() > -0.1  # the toes of a walker who lifts the heel
        if world.sky is None:
            assert (low[:, :2] > world.room_low[:2] - 0.01).all()
            assert (high < world.room_high + 0.01).all()
        assert (distance_to_solids(now.center, rest) > 0).all()
        for thing in np.unique(now.object_id):
            own = now.object_id == thing
            assert (distance_to_solids(now.center[own], choose_rows(now, ~own)) > 0).all()


@pytest.fixture(scope="module")
def clip() -> worlds.WorldSample:
    world = film(SEEDS[2], views=4, rate=4.0)
    return worlds.render([world], height=72, width=96)[0]


def test_the_dynamic_mask_shows_moving_bodies_only(clip):
    moves = torch.as_tensor(clip.world.motion.moves)
    assert clip.dynamic.any()
    assert torch.equal(clip.dynamic, moves[clip.body.long().clamp_min(0)] & clip.valid)
    assert not clip.dynamic[clip.instance < 6].any()
    steps = np.abs(np.diff(clip.world.motion.world_from_body, axis=0)).max((0, 2, 3))
    assert (steps[np.unique(clip.body[clip.dynamic].numpy())] > 0).all()


def test_points_follow_their_bodies(clip):
    """What a pixel shows at one instant is found at another where the body carried it, or something hides it."""
    poses = torch.as_tensor(clip.world.motion.world_from_body)
    met = moving = 0
    for a, b in ((0, 1), (1, 2), (2, 3), (3, 0)):
        body = clip.body[a].long().clamp_min(0)
        change = poses[clip.frame[b]] @ torch.linalg.inv(poses[clip.frame[a]])
        points = clip.points[a].double()
        there = (change[body][..., :3, :3] @ points[..., None])[..., 0] + change[body][..., :3, 3]
        inverse = torch.linalg.inv(clip.world_from_cam[b])
        local = there @ inverse[:3, :3].T + inverse[:3, 3]
        pixel = local @ clip.intrinsics[b].T
        x, y = (pixel[..., :2] / pixel[..., 2:].clamp_min(1e-6)).round().long().unbind(-1)
        inside = clip.valid[a] & (local[..., 2] > 0.1) & (x >= 0) & (x < 96) & (y >= 0) & (y < 72)
        x, y = x.clamp(0, 95), y.clamp(0, 71)
        depth = clip.depth[b][y, x].double()
        same = inside & (clip.instance[b][y, x] == clip.instance[a]) & (clip.body[b][y, x] == clip.body[a])
        close = (depth - local[..., 2]).abs() < 0.06 * depth
        assert close[same].double().mean() > 0.93
        dynamic = same & clip.dynamic[a]
        met += int((close & dynamic).sum())
        moving += int(dynamic.sum())
    assert moving > 50
    assert met > 0.8 * moving
