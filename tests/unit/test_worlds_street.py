"""Streets: geometry of the rig, manners of the traffic, and truth that agrees between instants."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from worldline import worlds
from worldline.errors import InputError
from worldline.worlds.cameras import rigs
from worldline.worlds.layouts import crowd, traffic
from worldline.worlds.layouts.roads import draw_road
from worldline.worlds.layouts.traffic import DRIVER, Agent, Footprint, Track
from worldline.worlds.rendering import cast as casting
from worldline.worlds.rendering.views import Tiling
from worldline.worlds.world import CYLINDER, ELLIPSOID, STILL, World

SEED = worlds.TEST_SEEDS[0]
SEEDS = range(SEED, SEED + 6)


@pytest.fixture(scope="module")
def drives() -> list[World]:
    """Twelve seconds of a rig in several streets, at two instants per second."""
    return [worlds.describe("street", seed, views=150, shooting="rig", rate=2.0) for seed in SEEDS]


@pytest.fixture(scope="module")
def seen() -> worlds.WorldSample:
    return worlds.sample("street", SEED, views=12, shooting="rig", rate=4.0, height=54, width=96)


def extents(world: World, axes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Half extents of solids along directions: [axis, solid]. Exact but for polytopes, whose bound counts."""
    solids = world.primitives
    along = np.einsum("ai,nij->anj", axes, solids.rotation[rows])
    half, kind = solids.half[rows], solids.kind[rows]
    boxes = (np.abs(along) * half).sum(-1)
    balls = np.linalg.norm(along * half, axis=-1)
    tubes = half[:, 0] * np.hypot(along[..., 0], along[..., 1]) + half[:, 2] * np.abs(along[..., 2])
    return np.where(kind == ELLIPSOID, balls, np.where(kind == CYLINDER, tubes, boxes))


def rectangle(world: World, rows: np.ndarray, yaw: float) -> Footprint:
    """Bounding rectangle on the ground of some solids, aligned with a heading."""
    axes = np.array([[np.cos(yaw), np.sin(yaw), 0.0], [-np.sin(yaw), np.cos(yaw), 0.0]])
    middle, reach = world.primitives.center[rows] @ axes.T, extents(world, axes, rows).T
    low, high = (middle - reach).min(0), (middle + reach).max(0)
    return Footprint((0.5 * (low + high) @ axes[:, :2])[None], np.array([yaw]), tuple(0.5 * (high - low)))


def heading(pose: np.ndarray) -> float:
    return float(np.arctan2(pose[1, 0], pose[0, 0]))


def movers(world: World) -> dict[int, int]:
    """Object id of everything that may move -> its root body."""
    solids = world.primitives
    return {int(i): int(solids.body[solids.object_id == i].min()) for i in np.unique(solids.object_id[solids.body > 0])}


def rig_footprint(pose: np.ndarray) -> Footprint:
    back, front, half_width = rigs.RIG_FOOTPRINT
    yaw = heading(pose)
    center = pose[:2, 3] + 0.5 * (front + back) * np.array([np.cos(yaw), np.sin(yaw)])
    return Footprint(center[None], np.array([yaw]), (0.5 * (front - back), half_width))


def test_a_seed_is_reproducible():
    for knobs in ({"views": 2}, {"views": 12, "shooting": "rig"}):
        one, two = (worlds.describe("street", SEED, **knobs) for _ in range(2))
        assert np.array_equal(one.primitives.center, two.primitives.center)
        assert np.array_equal(one.material_table, two.material_table)
        assert np.array_equal(one.motion.world_from_body, two.motion.world_from_body)
        assert np.array_equal(one.cameras.world_from_cam, two.cameras.world_from_cam)
    other = worlds.describe("street", SEED + 1, views=6, shooting="rig")
    assert other.primitives.center.shape != one.primitives.center.shape


def test_photos_are_usual_and_a_longer_set_starts_like_a_shorter_one():
    short, long = worlds.describe("street", SEED, views=2), worlds.describe("street", SEED, views=5)
    assert short.sensors == ("camera",)
    assert short.world_from_rig is None
    assert np.array_equal(short.cameras.world_from_cam, long.cameras.world_from_cam[:2])
    assert np.array_equal(short.primitives.center, long.primitives.center)
    assert (short.cameras.frame == 0).all()


def test_photos_show_more_than_sky_and_pavement():
    for seed in SEEDS[:3]:
        sample = worlds.sample("street", seed, views=4, height=32, width=32)
        assert (sample.valid.flatten(1).float().mean(1) > 0.35).all()
        assert (sample.instance >= 6).float().mean() > 0.3
        assert sample.depth[sample.valid].min() > 0.5
        height = sample.world_from_cam[:, 2, 3]
        assert ((height > 1.0) & (height < 2.6)).all()


def test_the_rig_is_rigid_and_looks_around(drives):
    for world in drives:
        instants = world.views // 6
        assert world.sensors == rigs.RIG_SENSORS
        assert np.array_equal(world.cameras.frame, np.repeat(np.arange(instants), 6))
        assert np.array_equal(world.cameras.sensor, np.tile(np.arange(6), instants))
        poses = world.cameras.world_from_cam.reshape(instants, 6, 4, 4)
        rig_from_cam = np.linalg.inv(world.world_from_rig)[:, None] @ poses
        assert np.abs(rig_from_cam - rig_from_cam[0]).max() < 1e-9
        forward, down = rig_from_cam[0, :, :3, 2], rig_from_cam[0, :, :3, 1]
        yaw = np.degrees(np.arctan2(forward[:, 1], forward[:, 0]))
        expected = np.array([angle for _, angle in rigs.RIG.values()])
        assert (np.abs((yaw - expected + 180) % 360 - 180) < 2.5).all()
        assert (down[:, 2] < -0.99).all()  # upright
        assert np.allclose(rig_from_cam[0, :, :3, 3], [place for place, _ in rigs.RIG.values()], atol=0.03)
        fov = np.degrees(world.cameras.fov.reshape(instants, 6))
        assert (fov == fov[0]).all()
        assert ((fov[0] > 63) & (fov[0] < 72))[[0, 1, 2, 4, 5]].all()
        assert 85 < fov[0, 3] < 112


def test_neighbouring_cameras_overlap_or_nearly():
    """Together the cameras see all around: no gap between the fields of view of more than a few degrees."""
    for seed in range(8):
        rig = rigs.draw_calibration(np.random.default_rng(seed))
        yaw = np.arctan2(rig.rig_from_cam[:, 1, 2], rig.rig_from_cam[:, 0, 2])
        angles = np.radians(np.arange(0, 360, 0.5))
        away = np.abs((angles[:, None] - yaw + np.pi) % (2 * np.pi) - np.pi)
        assert (away < 0.5 * rig.fov).any(1).mean() > 0.95


def test_the_front_camera_alone_is_the_rigs(drives):
    video = worlds.describe("street", SEED, views=25, shooting="video", rate=2.0)
    assert video.sensors == ("CAM_FRONT",)
    assert np.allclose(video.world_from_rig, drives[0].world_from_rig)
    assert np.allclose(video.cameras.world_from_cam, drives[0].cameras.world_from_cam[::6])
    assert np.array_equal(video.cameras.frame, np.arange(25))


def test_poses_are_rigid_and_instants_evenly_spaced(drives):
    for world in drives:
        assert np.allclose(np.diff(world.motion.times), 0.5)
        assert len(world.motion.times) == len(world.world_from_rig) == 25
        assert (world.motion.world_from_body[:, STILL] == np.eye(4)).all()
        for poses in (world.motion.world_from_body, world.world_from_rig, world.cameras.world_from_cam):
            turn = poses[..., :3, :3]
            assert np.abs(turn @ np.swapaxes(turn, -1, -2) - np.eye(3)).max() < 1e-9
            assert np.allclose(np.linalg.det(turn), 1.0)
            assert (poses[..., 3, :] == [0, 0, 0, 1]).all()


def test_the_rig_drives_like_a_car(drives):
    speeds, turns = [], []
    for world in drives:
        place, dt = world.world_from_rig[:, :3, 3], 0.5
        step = np.diff(place, axis=0)
        speed = np.linalg.norm(step, axis=1) / dt
        assert speed.max() < 15.0
        assert np.abs(np.diff(speed) / dt).max() < 6.0
        forward = world.world_from_rig[:-1, :3, 0]
        moving = speed > 0.5
        assert ((forward * step).sum(1)[moving] > 0.99 * np.linalg.norm(step, axis=1)[moving]).all()  # no drifting
        assert (np.abs(place[:, 2]) < 0.03).all()  # on its springs
        assert world.world_from_rig[:, 2, 2].min() > np.cos(np.radians(4.0))
        speeds.append(speed)
        turns.append(abs(heading(world.world_from_rig[-1]) - heading(world.world_from_rig[0])))
    assert np.concatenate(speeds).max() > 5.0
    assert max(np.ptp(speed) for speed in speeds) > 2.0  # some accelerate or brake
    assert max(turns) > np.radians(3.0)  # some streets bend


def test_speed_is_a_factor_on_time():
    slow = worlds.describe("street", SEED, views=5, shooting="video", rate=4.0, speed=0.5)
    fast = worlds.describe("street", SEED, views=5, shooting="video", rate=4.0, speed=1.0)
    once, twice = (np.linalg.norm(np.ptp(w.world_from_rig[:, :3, 3], axis=0)) for w in (slow, fast))
    assert once == pytest.approx(0.5 * twice, rel=0.15)
    assert np.array_equal(slow.motion.times, fast.motion.times)


def test_objects_is_the_number_of_those_who_move():
    few = worlds.describe("street", SEED, views=6, shooting="rig", objects=3)
    assert len(movers(few)) <= 3
    assert not movers(worlds.describe("street", SEED, views=6, shooting="rig", objects=0))


def test_nobody_is_where_somebody_else_is(drives):
    """Rectangles from the solids themselves, at every instant: movers, the rig, and what stands at their height."""
    met = 0
    for world in drives:
        roots = movers(world)
        for instant in (0, 3, 8, 13, 18, 24):
            now = world.at(instant)
            solids, bodies = now.primitives, world.motion.world_from_body[instant]
            shapes = [rig_footprint(world.world_from_rig[instant])]
            for thing, root in roots.items():
                shapes.append(rectangle(now, np.flatnonzero(solids.object_id == thing), heading(bodies[root])))
            up = extents(now, np.array([[0.0, 0.0, 1.0]]), np.arange(len(solids.kind)))[0]
            standing = (solids.body == STILL) & (solids.center[:, 2] - up < 1.5) & (solids.center[:, 2] + up > 0.4)
            centers = solids.center[:, :2]
            for index, one in enumerate(shapes):
                for other in shapes[index + 1 :]:
                    assert not traffic.meets(one, other), (world.seed, instant)
                    met += 1
                reach = one.radius + np.linalg.norm(solids.half, axis=1)
                for row in np.flatnonzero(standing & (np.linalg.norm(centers - one.center, axis=1) < reach)):
                    still = rectangle(now, np.array([row]), heading(solids.rotation[row]))
                    assert not traffic.meets(one, still), (world.seed, instant, one.center, solids.center[row])
    assert met > 1500


def test_everybody_moves_as_fast_as_his_kind(drives):
    fastest = []
    for world in drives:
        for thing, root in movers(world).items():
            place = world.motion.world_from_body[:, root, :3, 3]
            speed = np.linalg.norm(np.diff(place[:, :2], axis=0), axis=1) / 0.5
            bodies = len(np.unique(world.primitives.body[world.primitives.object_id == thing]))
            # vehicles have two or three axles, walkers six limbs, riders two wheels and four limb parts
            walks = bodies == 7 and not (world.primitives.half[world.primitives.object_id == thing] == 0.34).any()
            assert speed.max() < (2.2 if walks else 15.0)
            fastest.append(speed.max())
    assert len(fastest) > 60
    assert np.mean(np.array(fastest) > 0.5) > 0.6  # most of them do move


def test_wheels_stand_on_the_road_and_soles_on_the_ground(drives):
    feet = wheels = 0
    for world in drives[:4]:
        for instant in (0, 7, 24):
            now = world.at(instant)
            solids = now.primitives
            for thing, root in movers(world).items():
                rows = np.flatnonzero(solids.object_id == thing)
                up = extents(now, np.array([[0.0, 0.0, 1.0]]), rows)[0]
                lowest = (solids.center[rows, 2] - up).min()
                ground = world.motion.world_from_body[instant, root, 2, 3]
                if len(np.unique(solids.body[rows])) == 7 and not (solids.half[rows] == 0.34).any():
                    assert -0.03 < lowest < 0.15  # a tilted sole reaches a little below its middle
                    feet += 1
                else:
                    assert ground == pytest.approx(0.0, abs=1e-9)
                    assert lowest == pytest.approx(0.0, abs=2e-3)
                    wheels += 1
    assert feet > 20
    assert wheels > 20


def test_static_points_agree_between_instants(seen):
    """A ray from a camera of one instant to a still point of another meets that point, or something nearer."""
    tables = casting.pack([seen.world.at(1)], "cpu")
    agree = 0
    for a in range(6):  # cameras of instant 0
        still = (seen.body[a] == STILL) & seen.valid[a]
        for b in (6, 7, 8):  # of instant 1
            inverse = torch.linalg.inv(seen.world_from_cam[b])
            local = seen.points[a].double() @ inverse[:3, :3].T + inverse[:3, 3]
            pixel = local @ seen.intrinsics[b].T
            pixel = pixel[..., :2] / pixel[..., 2:]
            inside = (
                still & (local[..., 2] > 0.5) & (pixel >= 0).all(-1) & (pixel <= torch.tensor([95.0, 53.0])).all(-1)
            )
            if inside.sum() < 64:
                continue
            chosen = pixel[inside][: int(inside.sum()) // 64 * 64]
            x, y = (c.float().view(1, -1, 64) for c in chosen.unbind(-1))
            packets, _, _ = Tiling(1, 1, 54, 96).rays(x, y, seen.intrinsics[b : b + 1], seen.world_from_cam[b : b + 1])
            depth = casting.cast(tables, packets)[0].flatten().double()
            true = local[..., 2][inside][: len(depth)]
            assert (depth < true * 1.0005 + 1e-3).double().mean() > 0.995  # grazing round-off at outlines
            visible = depth > true - 0.02
            assert ((depth - true).abs()[visible] < 2e-3 * true[visible]).double().mean() > 0.95
            agree += int(visible.sum())
    assert agree > 2000


def test_dynamic_pixels_belong_to_moving_bodies(seen):
    moving = torch.as_tensor(seen.world.motion.moves)[seen.body.long().clamp_min(0)] & seen.valid
    assert torch.equal(seen.dynamic, moving)
    assert (seen.body[~seen.valid] == -1).all()
    assert (seen.depth[~seen.valid] == 0).all()


def test_streams_of_a_rig_are_whole():
    with pytest.raises(InputError, match="rig of 6 cameras cannot take 7 photos") as caught:
        worlds.describe("street", SEED, views=7, shooting="rig")
    assert "6 or 12 views" in str(caught.value)
    with pytest.raises(InputError, match="Ask for 6 views"):
        worlds.describe("street", SEED, views=4, shooting="rig")
    with pytest.raises(InputError, match="Choose one of: photos, rig, video"):
        worlds.describe("street", SEED, views=4, shooting="orbit")


def straight(length: float) -> Track:
    x = np.arange(0.0, length + 0.5, 0.5)
    return Track.through(np.stack([x, 0 * x, 0 * x], 1))


def test_drivers_keep_their_distance_and_halt_at_the_line():
    track = straight(300.0)
    rng = np.random.default_rng(3)
    agents = [
        Agent(track, 18.0 * index, 8.0, rng.uniform(4.0, 14.0), DRIVER, 2.2, 2.2, 0.9, stop=200.0) for index in range(8)
    ]
    course, steps = traffic.follow(agents, 61, 1.0)
    assert np.allclose(course.seconds[steps], np.arange(61))
    assert (np.diff(course.at, axis=0) >= 0).all()  # nobody reverses
    gaps = np.diff(course.at, axis=1) - 4.4
    assert gaps.min() > 0.5
    fronts = course.at[-1] + 2.2
    assert fronts.max() <= 200.0 + 1e-6
    assert fronts.max() > 198.0
    assert course.speed[-1].max() < 0.05
    free = traffic.follow([Agent(track, 0.0, 0.0, 9.0, DRIVER, 2.2, 2.2, 0.9)], 21, 1.0)[0]
    assert free.speed[-1, 0] == pytest.approx(9.0, abs=0.3)  # the end of the track is still far
    assert np.diff(free.speed[:, 0]).max() <= DRIVER.accelerate * 0.1 + 1e-9


def test_red_lights_stop_the_rig():
    """The nose of the rig never crosses the line while its light is red."""
    stopped = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        road = draw_road(rng, 1.0)
        own = crowd.own_car(road, rng, crowd.car_lane(road, rng, 1, road.lane_offsets(1)[0], 0.15))
        if not np.isfinite(own.stop):
            continue
        course, _ = traffic.follow([own], 80, 0.5)
        assert (course.at[:, 0] + own.ahead).max() <= own.stop + 1e-6
        stopped += course.speed[-1, 0] < 0.05
        if stopped == 2:
            break
    assert stopped == 2


def test_rectangles_meet_when_they_share_a_point():
    def at(x: float, y: float, yaw: float = 0.0) -> Footprint:
        return Footprint(np.array([[x, y]]), np.array([yaw]), (2.0, 1.0))

    assert traffic.meets(at(0, 0), at(3.9, 0))
    assert not traffic.meets(at(0, 0), at(4.1, 0))
    assert traffic.meets(at(0, 0), at(4.1, 0), gap=0.2)
    assert not traffic.meets(at(0, 0), at(3.2, 0, np.pi / 2), gap=0.1)
    assert traffic.meets(at(0, 0), at(2.9, 0, np.pi / 2))
    assert not traffic.meets(at(0, 0), at(2.9, 2.3, -np.pi / 4))  # the circles meet, the rectangles do not


def test_roads_are_straight_or_bend_gently_and_offsets_are_metric():
    for seed in range(20):
        road = draw_road(np.random.default_rng(seed), 1.0)
        assert road.place(np.array(0.0), np.array(0.0)) == pytest.approx([0.0, 0.0], abs=1e-9)
        s = np.linspace(-0.45 * road.length, 0.45 * road.length, 50)
        line, beside = road.place(s, np.array(0.0)), road.place(s, np.array(5.0))
        assert np.allclose(np.linalg.norm(beside - line, axis=1), 5.0)
        assert np.abs(np.gradient(road.heading(s), s)).max() <= road.curvature + 1e-6
        assert road.curvature < 1 / 100
        step = np.linalg.norm(np.diff(line, axis=0), axis=1)
        assert step == pytest.approx(np.diff(s), rel=1e-3)
