"""The rig aligner on a made street: what each source recovers, alone and together, and how it fails."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from rig_streams import Drive, Noise, pushes
from worldline.errors import InputError
from worldline.scene.align.rig import SOURCES, AlignedMap, AlignOptions, RigAligner, SensorMap
from worldline.types import ImageTransform, Rig
from worldline.worlds.cameras.rigs import draw_calibration

SIZE = (48, 84)


@functools.cache
def drive(steps: int = 8, speed: float = 6.0, yaw_rate: float = 0.0, cameras: int = 6) -> Drive:
    """A street canyon of planes: road, two walls with deep bays, crossing walls far ahead and behind."""
    calibration = draw_calibration(np.random.default_rng(0))
    times = np.arange(steps) / 4.0
    poses = np.tile(np.eye(4), (steps, 1, 1))
    heading, place = 0.0, np.zeros(2)
    for step in range(1, steps):
        heading += yaw_rate / 8
        place = place + speed / 4 * np.array([np.cos(heading), np.sin(heading)])
        heading += yaw_rate / 8
        poses[step, :2, :2] = [[np.cos(heading), -np.sin(heading)], [np.sin(heading), np.cos(heading)]]
        poses[step, :2, 3] = place
    longer = max(SIZE)
    matrices = np.zeros((6, 3, 3))
    matrices[:, 0, 0] = matrices[:, 1, 1] = 0.5 * longer / np.tan(0.5 * calibration.fov)
    matrices[:, 0, 2] = 0.5 * (SIZE[1] - 1) + calibration.principal_offset[:, 0] * longer
    matrices[:, 1, 2] = 0.5 * (SIZE[0] - 1) + calibration.principal_offset[:, 1] * longer
    matrices[:, 2, 2] = 1
    mounts = calibration.rig_from_cam
    depth = np.stack([[_cast(pose @ mount, k) for mount, k in zip(mounts, matrices, strict=True)] for pose in poses])
    lidar = np.stack([_scan(pose) for pose in poses])
    chosen = Drive(depth, matrices, poses, mounts, times, calibration.sensors, lidar)
    return chosen.choose(list(range(cameras)))


def _distance(origin: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Along each ray, to the nearest of the planes; walls have bays whose depth changes along the street."""
    with np.errstate(divide="ignore", invalid="ignore"):
        hits = [-origin[2] / rays[..., 2], (45 - origin[0]) / rays[..., 0], (-35 - origin[0]) / rays[..., 0]]
        for side in (6.0, -7.0):
            reach = (side - origin[1]) / rays[..., 1]
            along = origin[0] + reach * rays[..., 0]
            hits.append(np.where(np.sin(along * 0.9) > 0.2, reach, reach * 1.4))
    stacked = np.stack(hits)
    return np.where(np.isfinite(stacked) & (stacked > 1e-6), stacked, np.inf).min(0)


def _cast(world_from_cam: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    columns, rows = np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0]))
    rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(intrinsics).T
    return _distance(world_from_cam[:3, 3], rays @ world_from_cam[:3, :3].T)


def _scan(world_from_rig: np.ndarray) -> np.ndarray:
    azimuth, elevation = np.meshgrid(np.radians(np.arange(0, 360, 1.5)), np.radians(np.arange(-25, 5, 2.0)))
    rays = np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], -1
    ).reshape(-1, 3)
    place = np.array([0.9, 0.0, 1.8])
    turned = rays @ world_from_rig[:3, :3].T
    origin = world_from_rig[:3, :3] @ place + world_from_rig[:3, 3]
    return place + rays * _distance(origin, turned)[:, None]


def only(*sources: str) -> AlignOptions:
    return AlignOptions(**{source: source in sources for source in SOURCES})


def follow(
    scene: Drive, options: AlignOptions | None = None, *, rig: Rig | None = None, given: bool = True, **stream
) -> tuple[np.ndarray, dict[str, AlignedMap], RigAligner]:
    """Errors of the log scales [update, sensor], the last step's maps, and the aligner."""
    aligner, speeds = RigAligner(rig or scene.rig, options), scene.speeds()
    errors, result = [], {}
    for push in pushes(scene, **stream):
        pose = scene.world_from_rig[push.step] if given else None
        result = aligner.update(scene.times[push.step], push.maps, pose, scene.lidar[push.step], speeds[push.step])
        errors.append([np.log(result[name].scale / push.scales[name]) for name in scene.sensors])
    return np.array(errors), result, aligner


def last_true(scene: Drive) -> np.ndarray:
    """World points of the last step, exactly."""
    columns, rows = np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0]))
    rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(scene.intrinsics[0]).T
    pose = scene.world_from_rig[-1] @ scene.rig_from_cam[0]
    return scene.depth[-1, 0][..., None] * rays @ pose[:3, :3].T + pose[:3, 3]


@pytest.mark.parametrize("source", ["ego", "lidar", "speed"])
def test_one_source_alone_recovers_exact_scales(source: str) -> None:
    errors, result, _ = follow(drive(), only(source))
    assert np.abs(errors[-1]).max() < 0.01
    assert all(each.scale_sigma < 0.05 and set(each.sources) == {source} for each in result.values())


def test_ground_alone_works_even_when_the_car_stands() -> None:
    scene = drive(4, speed=0.0)
    errors, result, aligner = follow(scene, only("ground"))
    assert np.abs(errors[-1]).max() < 0.02
    assert aligner.scale == "known-baseline"
    assert {each.scale_kind for each in result.values()} == {"known-baseline"}


def test_ego_says_nothing_when_the_car_stands() -> None:
    _, result, aligner = follow(drive(4, speed=0.0), only("ego"))
    assert aligner.scale == "arbitrary"
    assert all("arbitrary" in " ".join(each.notes) for each in result.values())


def test_overlap_keeps_all_cameras_in_one_unit() -> None:
    """With no source of absolute scale, the first camera's unit is kept, and the others are brought to it."""
    noise = Noise(smooth=0.04, pixel=0.02)  # so that the baseline cannot show
    errors, result, _ = follow(drive(4, speed=0.0), only("overlap"), noise=noise)
    assert np.ptp(errors[-1]) < 0.15  # units differ by factors of e and more
    assert {each.scale_kind for each in result.values()} == {"arbitrary"}
    assert result["CAM_FRONT"].scale == pytest.approx(1.0, rel=0.01)


@pytest.mark.parametrize("cameras", [1, 2, 6])
@pytest.mark.parametrize("yaw_rate", [0.0, 0.3])
def test_all_together(cameras: int, yaw_rate: float) -> None:
    scene = drive(yaw_rate=yaw_rate, cameras=cameras)
    errors, result, _ = follow(scene)
    assert np.abs(errors[-1]).max() < 0.01
    assert np.median(np.abs(result[scene.sensors[0]].points - last_true(scene))) < 0.15
    assert all(each.pose_status == "given" for each in result.values())


def test_the_camera_is_that_of_the_original_photo() -> None:
    scene = drive()
    _, result, _ = follow(scene)
    each = result["CAM_FRONT"]
    np.testing.assert_allclose(each.camera.intrinsics, scene.intrinsics[0])
    pixels, depth = each.camera.project(each.points[each.valid])
    rows, columns = np.nonzero(each.valid)
    np.testing.assert_allclose(pixels, np.stack([columns, rows], 1), atol=1e-2)
    np.testing.assert_allclose(depth, each.depth[each.valid], rtol=1e-4)


@pytest.mark.parametrize("yaw_rate", [0.0, 0.3])
def test_the_rig_finds_its_way_without_given_poses(yaw_rate: float) -> None:
    scene = drive(yaw_rate=yaw_rate)
    errors, result, _ = follow(scene, AlignOptions(speed=False), given=False)
    assert np.abs(errors[-1]).max() < 0.03
    found, true = result["CAM_FRONT"].world_from_cam, scene.world_from_rig[-1] @ scene.rig_from_cam[0]
    way = np.linalg.norm(scene.world_from_rig[-1, :3, 3])
    assert np.linalg.norm(found[:3, 3] - true[:3, 3]) < 0.04 * way
    assert result["CAM_FRONT"].pose_status == "estimated"


@pytest.mark.parametrize("shared", [True, False])
def test_a_new_fragment_takes_the_scale_along(shared: bool) -> None:
    """The car drives, then nothing but the fragment before says how long a metre is."""
    scene = drive(8)
    aligner, growth = RigAligner(scene.rig, only("ego", "previous")), []
    for push in pushes(scene, every=4, shared=shared):
        pose = scene.world_from_rig[push.step]
        result = aligner.update(scene.times[push.step], push.maps, pose)
        if push.maps["CAM_FRONT"].is_anchor:
            growth.append(result["CAM_FRONT"])
            error = [np.log(result[name].scale / push.scales[name]) for name in scene.sensors]
            if push.step:
                assert np.abs(error).max() < 0.03
    assert growth[0].scale_kind == "arbitrary" and growth[1].scale_kind != "arbitrary"
    assert set(growth[1].sources) == {"previous"}


def test_unknown_focal_length() -> None:
    scene = drive()
    rig = Rig(scene.sensors, None, scene.rig_from_cam, scene.rig.sizes, 0.0)
    errors, result, _ = follow(scene, rig=rig)
    assert np.abs(errors[-1]).max() < 0.03
    for row, name in enumerate(scene.sensors):
        assert result[name].camera.intrinsics[0, 0] == pytest.approx(scene.intrinsics[row, 0, 0], rel=0.03)


def test_a_biased_focal_length_of_the_network_does_not_bias_the_ego_scale() -> None:
    scene = drive(12)
    noise = Noise(focal=0.05)
    biased, _, _ = follow(scene, only("ego"), noise=noise)
    known = AlignOptions(**{source: source == "ego" for source in SOURCES}, focal="known")
    worse, _, _ = follow(scene, known, noise=noise)
    assert np.median(np.abs(biased[-1])) < np.median(np.abs(worse[-1]))


def test_outliers_on_a_third_of_the_pixels() -> None:
    errors, result, _ = follow(drive(), noise=Noise(outliers=0.3))
    assert np.abs(errors[-1]).max() < 0.02
    assert all(each.pose_status == "given" for each in result.values())


def test_reported_sigma_covers_the_error() -> None:
    covered = []
    for seed in range(6):
        errors, result, _ = follow(drive(), noise=Noise.realistic(), seed=seed)
        sigma = np.array([each.scale_sigma for each in result.values()])
        covered.append(np.abs(errors[-1]) <= 2 * sigma)
    assert np.mean(covered) >= 0.85


def test_missing_sensors_and_steps() -> None:
    scene, rng = drive(8), np.random.default_rng(1)
    aligner = RigAligner(scene.rig)
    for push in pushes(scene):
        names = [n for n in scene.sensors if push.step == 0 or rng.random() < 0.6]
        result = aligner.update(
            scene.times[push.step], {n: push.maps[n] for n in names}, scene.world_from_rig[push.step]
        )
        assert set(result) == set(names)
    for name, each in result.items():
        assert each.scale == pytest.approx(push.scales[name], rel=0.02)


def test_the_way_is_counted_once_when_a_camera_was_away() -> None:
    size = (32, 48)
    rows, columns = np.mgrid[: size[0], : size[1]].astype(np.float32)
    depth = 5 + 0.05 * rows
    points = np.stack([(columns - 23.5) / 40 * depth, (rows - 15.5) / 40 * depth, depth], -1)
    each = SensorMap(points, np.full(size, 2.0, np.float32), ImageTransform.identity(*size))
    aligner = RigAligner(Rig(("A", "B"), [np.diag([40.0, 40, 1])] * 2, [np.eye(4)] * 2, [size] * 2))
    aligner.update(0.0, {"A": each, "B": each}, speed=1.0)
    for time in (1.0, 2.0, 3.0):
        aligner.update(time, {"A": each}, speed=1.0)
    aligner.update(0.5, {"B": each}, speed=1.0)  # the final map of B's last image, when its next one has come
    aligner.update(4.0, {"A": each, "B": each}, speed=1.0)
    assert aligner.state()["rig.odometer"] == pytest.approx(4.0)


def test_nothing_known_is_arbitrary_and_in_frames_of_their_own() -> None:
    scene = drive(3)
    errors, result, aligner = follow(scene, rig=Rig(scene.sensors), given=False, options=AlignOptions(speed=False))
    assert aligner.scale == "arbitrary"
    assert {each.frame for each in result.values()} == {f"own:{name}" for name in scene.sensors}
    assert np.isfinite(errors).all()


def test_broken_maps_do_not_stop_the_stream() -> None:
    scene = drive(6)
    aligner, rng = RigAligner(scene.rig), np.random.default_rng(0)
    for push in pushes(scene):
        maps = dict(push.maps)
        if push.step in (2, 3):
            front = maps["CAM_FRONT"]
            points = np.full_like(front.points, np.nan) if push.step == 2 else rng.normal(size=front.points.shape)
            maps["CAM_FRONT"] = type(front)(points, front.confidence, front.transform, front.fragment)
        result = aligner.update(scene.times[push.step], maps, scene.world_from_rig[push.step])
        assert all(np.isfinite(each.points).all() for each in result.values())
        assert bool(result["CAM_FRONT"].notes) == (push.step in (2, 3))
    assert result["CAM_FRONT"].scale == pytest.approx(push.scales["CAM_FRONT"], rel=0.02)


def test_restored_state_equals_uninterrupted() -> None:
    scene = drive(8)
    stream = list(pushes(scene, noise=Noise.realistic(), every=3))
    whole, first, second = RigAligner(scene.rig), RigAligner(scene.rig), RigAligner(scene.rig)

    def feed(aligner: RigAligner, push):
        return aligner.update(scene.times[push.step], push.maps, scene.world_from_rig[push.step], speed=6.0)

    half = len(stream) // 2
    for push in stream[:half]:
        feed(whole, push)
        feed(first, push)
    second.restore(first.state())
    for push in stream[half:]:
        expected, actual = feed(whole, push), feed(second, push)
        for name in scene.sensors:
            np.testing.assert_array_equal(actual[name].points, expected[name].points)
            assert actual[name].scale_sigma == expected[name].scale_sigma
    with pytest.raises(InputError, match="does not fit"):
        RigAligner(scene.rig.choose(scene.sensors[:2])).restore(first.state())


@pytest.mark.parametrize("updates", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_state_has_constant_size_for_ever(updates: int) -> None:
    scene = drive(3, cameras=1)
    stream = list(pushes(scene))
    aligner = RigAligner(scene.rig, AlignOptions(pixels=16))
    small = {name: array.nbytes for name, array in aligner.state().items()}
    for update in range(updates):
        push = stream[1 + update % 2] if update else stream[0]
        aligner.update(0.1 * update, push.maps, scene.world_from_rig[push.step], speed=1.0)
    assert {name: array.nbytes for name, array in aligner.state().items()} == small
    assert sum(small.values()) < 100_000


def test_mistakes_are_named() -> None:
    scene = drive(2)
    push = next(iter(pushes(scene)))
    aligner = RigAligner(scene.rig)
    with pytest.raises(InputError, match="no sensor"):
        aligner.update(0.0, {"CAM_TOP": push.maps["CAM_FRONT"]})
    with pytest.raises(InputError, match="finite"):
        aligner.update(np.nan, push.maps)
    with pytest.raises(InputError, match="4×4"):
        aligner.update(0.0, push.maps, np.eye(3))
    with pytest.raises(InputError, match="focal"):
        AlignOptions(focal="guessed")
