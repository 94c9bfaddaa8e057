"""Truth beyond the pixels, each product against a closed form or another path to the same number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from moving_world import INSTANTS, INWARD, SPIN, moving_world
from worldline import worlds
from worldline.errors import InputError
from worldline.worlds import truth
from worldline.worlds.truth.exact import meet
from worldline.worlds.world import (
    Builder,
    CameraSet,
    Motion,
    PhotoEffects,
    Thing,
    World,
    cone,
    height_field,
    yaw_matrix,
)

HEIGHT, WIDTH = 48, 64


@pytest.fixture(scope="module")
def world() -> World:
    return moving_world()


@pytest.fixture(scope="module")
def sample(world: World) -> worlds.WorldSample:
    return worlds.render([world], height=HEIGHT, width=WIDTH)[0]


def random_queries(count: int, seed: int = 0, instants: int = INSTANTS) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    return (*rng.random((2, count)), *rng.integers(0, instants, (3, count)))


def ask(world: World, *arguments: object, **options: object) -> truth.Answers:
    return truth.query(world, *arguments, height=HEIGHT, width=WIDTH, **options)


def test_the_sliding_box_is_where_a_formula_says(world: World) -> None:
    """Front face y = 2.6; the camera at x = 0.05 t, y = -1 looks along +y with focal length 32 pixels (0.5 widths)."""
    u, v = np.array([0.44, 0.42, 0.43]), np.array([0.55, 0.6, 0.52])
    depth, focal = 3.6, 0.5
    for t_src, t_tgt, t_cam in ((0, 3, 1), (1, 1, 1), (2, 0, 4)):
        answers = ask(world, u, v, t_src, t_tgt, t_cam)
        x = (u - 0.5) / focal * depth + 0.05 * t_src  # world
        z = 1.0 - (v - 0.5) * HEIGHT / WIDTH / focal * depth
        on_box = np.abs(x - (-0.4 + 0.2 * t_src)) < 0.5
        assert on_box.all()
        expected = np.stack([x + 0.2 * (t_tgt - t_src) - 0.05 * t_cam, 1.0 - z, np.full(3, depth)], -1)
        assert np.abs(answers.position - expected).max() < 1e-6
        assert np.abs(answers.motion - [0.2 * (t_tgt - t_src), 0, 0]).max() < 1e-9
        assert np.abs(answers.normal - [0, 0, -1]).max() < 1e-6
        assert (answers.instance == 6).all() and (answers.body == 1).all()
        there = (x + 0.2 * (t_tgt - t_src) - 0.05 * t_tgt) / depth * focal + 0.5
        assert np.abs(answers.uv[:, 0] - there).max() < 1e-6
        assert np.abs(answers.uv[:, 1] - v).max() < 1e-6


def test_the_turning_box_turns_about_its_axis(world: World) -> None:
    """The point, seen from the axis of rotation, turns by the box's angle, and so does its normal."""
    u = 0.5 + 0.5 * 1.5 / 3.7
    answers = ask(world, np.full(4, u), 0.56, 0, np.arange(4), np.arange(4))
    assert (answers.instance == 7).all()
    arm = answers.world - [1.5, 3.0, 0.0]
    for t in range(4):
        assert np.abs(yaw_matrix(SPIN * t) @ arm[0] - arm[t]).max() < 1e-9
    normals = answers.normal @ INWARD.T
    assert np.abs(normals[0] - yaw_matrix(0.3) @ [0, -1, 0]).max() < 1e-6
    assert np.abs(normals[3] - yaw_matrix(0.3 + 3 * SPIN) @ [0, -1, 0]).max() < 1e-6


def test_queries_at_pixel_centres_are_the_pixels_of_the_images(world: World, sample: worlds.WorldSample) -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    for t in range(INSTANTS):
        answers = ask(world, (x + 0.5) / WIDTH, (y + 0.5) / HEIGHT, t, t, t)
        assert np.array_equal(answers.valid, sample.valid[t].numpy())
        same = answers.instance == sample.instance[t].numpy()
        assert same.mean() > 0.999  # an outline may pass through the centre of a pixel
        assert np.abs(answers.position[..., 2] - sample.depth[t].numpy())[same].max() < 1e-4
        assert np.abs(answers.world - sample.points[t].numpy())[same].max() < 1e-4
        turn = sample.world_from_cam[t, :3, :3].numpy()
        assert np.abs(answers.normal @ turn.T - sample.normals[t].numpy())[same].max() < 1e-4
        assert np.abs(answers.uv - np.stack([(x + 0.5) / WIDTH, (y + 0.5) / HEIGHT], -1))[same].max() < 1e-5
        assert answers.visible[same].all()
        assert (answers.motion[same] == 0).all()
        moves = world.motion.moves[answers.body]
        assert np.array_equal(moves[same], sample.dynamic[t].numpy()[same])


def test_answers_do_not_depend_on_the_company(world: World) -> None:
    queries = random_queries(600)
    together = ask(world, *queries)
    order = np.random.default_rng(1).permutation(600)
    shuffled = ask(world, *(q[order] for q in queries))
    alone = [ask(world, *(q[n : n + 1] for q in queries)) for n in range(0, 600, 97)]
    for name in ("position", "uv", "visible", "motion", "normal", "valid"):
        assert np.array_equal(getattr(together, name)[order], getattr(shuffled, name)), name
        for number, answer in zip(range(0, 600, 97), alone, strict=True):
            assert np.array_equal(getattr(together, name)[number : number + 1], getattr(answer, name)), name


def test_there_and_back_is_the_same_point(world: World) -> None:
    """A visible point, asked for from where it is then, is the same point: for D4RT's answers to be consistent."""
    u, v, src, tgt, _ = random_queries(2000, 3)
    forth = ask(world, u, v, src, tgt, tgt)
    seen = forth.visible
    assert 0.4 < seen.mean() < 1.0
    back = ask(world, *np.clip(forth.uv[seen].T, 0, 1), tgt[seen], src[seen], src[seen])
    origin = ask(world, u[seen], v[seen], src[seen], src[seen], src[seen])
    assert (np.linalg.norm(back.position - origin.position, axis=-1) < 1e-3).mean() > 0.999
    assert np.abs(back.uv - np.stack([u, v], -1)[seen]).max(-1).__lt__(1e-3).mean() > 0.999


def test_hidden_points_are_behind_what_the_image_shows(world: World, sample: worlds.WorldSample) -> None:
    u, v, src, tgt, _ = random_queries(6000, 4)
    answers = ask(world, u, v, src, tgt, tgt)
    inside = (answers.uv >= 0).all(-1) & (answers.uv <= 1).all(-1) & (answers.position[:, 2] > 0)
    x, y = np.clip(np.rint(answers.uv * (WIDTH, HEIGHT) - 0.5).astype(int), 0, (WIDTH - 1, HEIGHT - 1)).T
    shown = sample.instance.numpy()[tgt, y, x] == answers.instance
    assert not answers.visible[~inside].any()
    assert shown[answers.visible].mean() > 0.97  # the nearest pixel's centre may lie beyond an outline
    hidden = inside & ~answers.visible
    assert hidden.sum() > 50
    depth = sample.depth.numpy()[tgt, y, x]
    assert (depth[hidden] < answers.position[hidden, 2]).mean() > 0.85  # the rest: outlines between pixel centres


def test_the_pillar_hides_the_box_when_it_passes(world: World) -> None:
    """From x = 0 at y = -1 the pillar's sides at y = 1.4, x = +-0.1 hide |x| < 0.15 of the plane y = 2.6."""
    still = moving_world(camera_step=0.0)
    u = 0.5 + 0.5 * -0.3 / 3.6
    answers = ask(still, u, 0.56, 0, np.arange(INSTANTS), np.arange(INSTANTS))
    x = -0.3 + 0.2 * np.arange(INSTANTS)
    assert np.abs(answers.position[:, 0] - x).max() < 1e-6
    assert answers.visible.tolist() == [abs(at) > 0.15 for at in x]


def test_the_view_decides_whose_image_is_meant(world: World) -> None:
    u, v, src, tgt, cam = random_queries(500, 5)
    own, other = ask(world, u, v, src, tgt, cam), ask(world, u, v, src, tgt, cam, view="t_cam")
    assert np.array_equal(own.position, other.position)
    focal = WIDTH / 2
    ahead = own.position[:, 2] > 0
    x = own.position[ahead, 0] / own.position[ahead, 2] * focal / WIDTH + 0.5
    assert np.abs(other.uv[ahead, 0] - x).max() < 1e-9
    tied = tgt == cam
    assert np.array_equal(own.uv[tied], other.uv[tied])
    assert (own.uv[~tied & ahead] != other.uv[~tied & ahead]).any()


def test_the_sky_is_masked_not_nan() -> None:
    answers = ask(moving_world(open_air=True), 0.5, np.array([0.02, 0.98]), 0, 1, 2)
    assert answers.valid.tolist() == [False, True]
    assert answers.instance.tolist() == [-1, 4]
    for name in ("position", "uv", "visible", "motion", "normal", "world"):
        assert not getattr(answers, name)[0].any()
        assert np.isfinite(getattr(answers, name)).all()


def test_shapes_broadcast(world: World) -> None:
    answers = ask(world, np.full((3, 1), 0.4), 0.5, 0, np.arange(INSTANTS), 1)
    assert answers.position.shape == (3, INSTANTS, 3) and answers.visible.shape == (3, INSTANTS)
    assert ask(world, 0.5, 0.5, 0, 0, 0).position.shape == (3,)
    assert ask(world, np.zeros(0), 0.5, 0, 0, 0).position.shape == (0, 3)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ((0.5, 0.5, 0, INSTANTS, 0), "t_tgt"),
        ((0.5, 0.5, -1, 0, 0), "t_src"),
        ((0.5, 0.5, 0, 0, 1.5), "t_cam"),
        ((1.01, 0.5, 0, 0, 0), "outside"),
        ((float("nan"), 0.5, 0, 0, 0), "outside"),
        ((np.zeros(2), np.zeros(3), 0, 0, 0), "broadcast"),
    ],
)
def test_bad_queries_are_explained(world: World, arguments: tuple[object, ...], word: str) -> None:
    with pytest.raises(InputError, match=word) as caught:
        ask(world, *arguments)
    assert caught.value.remedy


def test_a_sensor_of_a_rig_is_chosen_by_name_or_number() -> None:
    world = moving_world(rig=True, camera_step=0.0)
    left, right = (ask(world, 0.4, 0.5, 0, 2, 2, sensor=name) for name in ("left", "right"))
    assert np.array_equal(right.world, ask(world, 0.4, 0.5, 0, 2, 2, sensor=1).world)
    assert abs((right.world - left.world)[0] - 0.5) < 1e-6 or right.instance != left.instance
    every = ask(world, 0.4, 0.5, [0, 1], [4, 5], [4, 5], sensor=None)  # photos of all sensors: left, right, left, ...
    assert np.array_equal(every.position, np.stack([left.position, right.position]))
    with pytest.raises(InputError, match="middle"):
        ask(world, 0.4, 0.5, 0, 2, 2, sensor="middle")


def test_photos_of_a_room_are_counted_by_view() -> None:
    world = worlds.describe("rooms", worlds.TEST_SEEDS[0], views=3)
    sample = worlds.render([world], height=HEIGHT, width=WIDTH)[0]
    u, v, src, tgt, _ = random_queries(1500, 6, 3)
    answers = ask(world, u, v, src, tgt, tgt)
    x, y = np.clip(np.rint(answers.uv * (WIDTH, HEIGHT) - 0.5).astype(int), 0, (WIDTH - 1, HEIGHT - 1)).T
    shown = sample.instance.numpy()[tgt, y, x] == answers.instance
    assert shown[answers.visible].mean() > 0.9  # thin things of a room have many outlines
    assert 0.1 < answers.visible.mean() < 0.95


def test_flow_is_the_projected_motion(world: World, sample: worlds.WorldSample) -> None:
    """Flow against points moved by the poses of the bodies and projected by the cameras of the rendered sample."""
    forward, backward = truth.flow_both_ways(world, 1, 3, height=HEIGHT, width=WIDTH)
    for found, a, b in ((forward, 1, 3), (backward, 3, 1)):
        bodies, points = sample.body[a].long(), sample.points[a].double()
        poses = torch.as_tensor(world.motion.world_from_body)
        relative = (poses[b] @ torch.linalg.inv(poses[a]))[bodies]
        moved = torch.einsum("hwij,hwj->hwi", relative[..., :3, :3], points) + relative[..., :3, 3]
        inverse = torch.linalg.inv(sample.world_from_cam[b])
        local = moved @ inverse[:3, :3].T + inverse[:3, 3]
        pixel = local @ sample.intrinsics[b].T
        y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
        expected = (pixel[..., :2] / pixel[..., 2:] - torch.stack([x, y], -1)).numpy()
        error = np.abs(found.flow - expected).max(-1)
        assert np.quantile(error, 0.999) < 1e-3
        assert np.quantile(np.abs(found.scene_flow - (moved - points).numpy()).max(-1), 0.999) < 1e-5
        assert (np.abs(found.scene_flow).max(-1) > 1e-6).mean() == pytest.approx(
            float(sample.dynamic[a].double().mean()), abs=0.01
        )


def test_flow_leads_back_unless_something_is_hidden(world: World) -> None:
    forward, backward = truth.flow_both_ways(world, 0, 2, height=HEIGHT, width=WIDTH)
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    arrived = np.stack([x, y], -1) + forward.flow
    column, row = np.clip(np.rint(arrived).astype(int), 0, (WIDTH - 1, HEIGHT - 1)).transpose(2, 0, 1)
    returned = np.abs(forward.flow + backward.flow[row, column]).max(-1)
    seen = forward.valid & ~forward.occluded
    assert 0.7 < seen.mean() < 1.0
    assert (returned[seen] < 0.6).mean() > 0.97
    inside = (arrived >= 0).all(-1) & (arrived[..., 0] <= WIDTH - 1) & (arrived[..., 1] <= HEIGHT - 1)
    assert (returned[forward.occluded & inside] > 0.6).mean() > 0.5  # what is in front moves otherwise
    assert forward.occluded[
        ~inside & (np.abs(arrived - np.clip(arrived, -0.5, (WIDTH - 0.5, HEIGHT - 0.5))).max(-1) > 0)
    ].all()


def test_flow_to_itself_is_nothing(world: World) -> None:
    still = truth.flow(world, 2, 2, height=HEIGHT, width=WIDTH)
    assert np.abs(still.flow).max() < 1e-3 and not still.occluded.any() and (still.scene_flow == 0).all()


def test_tracks_agree_with_queries_and_with_the_masks(world: World, sample: worlds.WorldSample) -> None:
    tracks = truth.sample_tracks(world, 200, height=HEIGHT, width=WIDTH, seed=1)
    count = len(tracks.queries)
    assert count == 200 and tracks.position.shape == (INSTANTS, count, 3)
    x, y, t = tracks.queries.T
    start = t.astype(int)
    every = np.arange(INSTANTS)[:, None]
    answers = ask(world, (x + 0.5) / WIDTH, (y + 0.5) / HEIGHT, start, every, every)
    assert np.array_equal(answers.position, tracks.position)
    assert np.array_equal(answers.visible | (every == start), tracks.visible)
    assert np.abs(tracks.pixel[start, np.arange(count)] - tracks.queries[:, :2]).max() < 1e-4
    assert tracks.visible[start, np.arange(count)].all()
    assert tracks.moves.mean() == pytest.approx(0.5, abs=0.02)
    assert np.array_equal(sample.dynamic.numpy()[start, y.astype(int), x.astype(int)], tracks.moves)
    column, row = np.clip(np.rint(tracks.pixel).astype(int), 0, (WIDTH - 1, HEIGHT - 1)).transpose(2, 0, 1)
    shown = sample.instance.numpy()[every, row, column] == tracks.instance
    assert shown[tracks.visible].mean() > 0.97
    still = ~tracks.moves
    assert (tracks.world[:, still] == tracks.world[:1, still]).all()


def test_tracks_are_reproducible_and_start_where_asked(world: World) -> None:
    first, again = (truth.sample_tracks(world, 30, height=HEIGHT, width=WIDTH, seed=3) for _ in range(2))
    assert np.array_equal(first.world, again.world)
    other = truth.sample_tracks(world, 30, height=HEIGHT, width=WIDTH, seed=4, first_only=True)
    assert not other.queries[:, 2].any() and not np.array_equal(first.queries, other.queries)
    with pytest.raises(InputError, match="outside"):
        truth.track(world, [WIDTH + 1], [0], [0], height=HEIGHT, width=WIDTH)
    with pytest.raises(InputError, match="outside"):
        truth.track(world, [0], [0], [INSTANTS], height=HEIGHT, width=WIDTH)


SMALL = truth.LidarModel((-20.0, -10.0, 0.0, 5.0), 180, (0.2, 50.0))


def test_lidar_points_lie_on_the_depth_of_a_camera_in_the_same_place(world: World) -> None:
    """Returns projected into a camera that stands where the scanner is meet its depth map: two ways to cast."""
    lidar_from_cam = np.eye(4)
    lidar_from_cam[:3, :3] = INWARD  # LiDAR: x right, y forward, z up
    for frame in (0, 3):
        place = world.cameras.world_from_cam[frame] @ np.linalg.inv(lidar_from_cam)
        sweep = truth.sweep(
            world, frame, model=truth.LidarModel(SMALL.elevations, 720, SMALL.reach), world_from_lidar=place
        )
        fine = worlds.render([world], height=240, width=320)[0]
        local = (sweep.world - fine.world_from_cam[frame, :3, 3].numpy()) @ fine.world_from_cam[frame, :3, :3].numpy()
        pixel = local @ fine.intrinsics[frame].numpy().T
        ahead = local[:, 2] > 0.1
        x, y = np.rint(pixel[ahead, :2] / pixel[ahead, 2:]).astype(int).T
        inside = (x >= 0) & (x < 320) & (y >= 0) & (y < 240)
        x, y, depth = x[inside], y[inside], local[ahead][inside, 2]
        same = sweep.instance[ahead][inside] == fine.instance[frame].numpy()[y, x]
        assert inside.sum() > 300 and same.mean() > 0.95
        stored, normal = fine.depth[frame].numpy()[y, x], fine.normals[frame].numpy()[y, x]
        flat = same & (np.abs(normal[:, 1]) > 0.9)  # faces towards the camera: half a pixel changes little
        assert np.abs(depth - stored)[flat].max() < 2e-3 * stored.max()
        assert set(sweep.instance) >= {0, 1, 3, 6, 7, 8}
        assert np.array_equal(sweep.body[sweep.instance == 6], np.ones((sweep.instance == 6).sum()))


def test_lidar_ranges_are_the_room(world: World) -> None:
    """In the middle of the room the level beam measures the walls."""
    place = np.eye(4)
    place[:3, 3] = (0.0, 0.0, 2.5)  # above all things
    model = truth.LidarModel((0.0, 30.0), 4, (0.1, 50.0))
    sweep = truth.sweep(world, 0, model=model, world_from_lidar=place)
    assert (
        np.abs(np.linalg.norm(sweep.points[:4], axis=1) - [5.0, 4.0, 3.0, 4.0]).max() < 1e-5
    )  # ahead, right, back, left
    assert sweep.instance[:4].tolist() == [3, 1, 2, 0] and sweep.ring.tolist() == [0] * 4 + [1] * 4
    assert np.abs(sweep.world[4:, 2] - 3.0).max() < 1e-5  # 0.5 m below the ceiling
    assert np.abs(sweep.points + np.array([0, 0, 2.5]) - sweep.world).max() < 1e-6


def test_lidar_on_a_rig_looks_where_the_rig_drives() -> None:
    world = moving_world(rig=True, open_air=True)
    sweep = truth.sweep(world, 1, model=SMALL)
    inverse = np.linalg.inv(sweep.world_from_lidar)
    assert np.abs(sweep.world @ inverse[:3, :3].T + inverse[:3, 3] - sweep.points).max() < 1e-5
    ahead = sweep.instance == 6
    assert ahead.any() and (sweep.points[ahead, 1] > 2.0).all()  # y of the LiDAR is forward
    ground = sweep.instance == 4
    assert np.abs(sweep.world[ground, 2]).max() < 1e-5
    assert -1 not in sweep.instance and sweep.time == pytest.approx(0.1)
    with pytest.raises(InputError, match="rig"):
        truth.sweep(moving_world(), 0)
    with pytest.raises(InputError, match="instant"):
        truth.sweep(world, INSTANTS)


def test_lidar_noise_and_dropout_come_from_a_seed() -> None:
    world = moving_world(rig=True)
    clean = truth.sweep(world, 0, model=SMALL)
    noisy = replace(SMALL, noise=0.02)
    first, again, other = (truth.sweep(world, 0, model=noisy, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.points, again.points) and not np.array_equal(first.points, other.points)
    error = np.linalg.norm(first.points, axis=1) - np.linalg.norm(clean.points, axis=1)
    assert 0.018 < error.std() < 0.022
    thin = truth.sweep(world, 0, model=replace(SMALL, dropout=0.3))
    assert len(thin.points) / len(clean.points) == pytest.approx(0.7, abs=0.05)
    assert ((clean.intensity >= 0) & (clean.intensity <= 255)).all()
    assert len(truth.sweep(world, 0, model=replace(SMALL, reach=(1.0, 3.0))).points) < len(clean.points)


def test_the_default_scanner_is_like_an_hdl_32e() -> None:
    beams, ring = truth.HDL32E.beams()
    assert len(set(ring.tolist())) == 32 and 33_000 < len(beams) < 36_000
    elevation = np.degrees(np.arcsin(beams[:, 2]))
    assert elevation.min() == pytest.approx(-30.67, abs=0.01) and elevation.max() == pytest.approx(10.67, abs=0.01)


def test_cones_and_hills_are_met_in_double_precision(world: World) -> None:
    """Points lie on the closed form to 1e-9 m, and the renderer's normals are the same to float32."""
    builder = Builder()
    builder.place(Thing([cone(np.zeros(3), 0.6, 0.2, 0.7, 0)], (1, 1), 2), np.array([-0.8, 2.5, 0.9]), 0.3)
    waves = np.array([[2.0, 0.5, 0.3, 0.1], [-0.7, 1.8, 1.0, 0.08]])
    builder.place(Thing([height_field(np.zeros(3), (1.0, 1.2), waves, 0)], (1, 1), 1), np.array([1.0, 2.6, 0.4]), 0.2)
    built = replace(world, primitives=builder.primitives(), motion=Motion.still(), cameras=_first(world.cameras))
    sample = worlds.render([replace(built, photo=PhotoEffects.none(1))], height=HEIGHT, width=WIDTH)[0]
    y, x = np.nonzero(sample.instance[0].numpy() >= 6)
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(sample.intrinsics[0].numpy()).T
    pose = sample.world_from_cam[0].numpy()
    rays, origin = rays @ pose[:3, :3].T, np.broadcast_to(pose[:3, 3], (len(x), 3))
    surface, depth = sample.instance[0].numpy()[y, x].astype(np.int64), sample.depth[0].numpy()[y, x].astype(float)
    distance, normal = meet(built, np.zeros(len(x), np.int64), surface, origin, rays, depth)
    assert np.abs(distance - depth).max() < 1e-4
    assert (np.abs(normal - sample.normals[0].numpy()[y, x]).max(1) < 1e-3).mean() > 0.99  # the rest are rims
    points = origin + distance[:, None] * rays
    solids, heights = built.primitives, []
    for row in range(2):
        local = (points[surface == 6 + row] - solids.center[row]) @ solids.rotation[row]
        inside = np.abs(local[:, 2]) < 0.69 if row == 0 else (np.abs(local[:, :2]) < [0.99, 1.19]).all(1)
        px, py, pz = local[inside].T
        top = sum(a * np.sin(kx * px + ky * py + phase) for kx, ky, phase, a in waves)
        heights.append(np.hypot(px, py) - (0.4 - 0.2 * pz / 0.7) if row == 0 else pz - top)
        assert inside.sum() > 50
    assert np.abs(heights[0]).max() < 1e-9 and np.abs(heights[1]).max() < 1e-9


def _first(cameras: CameraSet) -> CameraSet:
    return CameraSet.photos(cameras.world_from_cam[:1], cameras.fov[:1], np.zeros((1, 2)))
