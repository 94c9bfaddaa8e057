"""Mountings from motion: what motions show and what not, and rigs whose mounting the aligner has to find."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

from rig_streams import Drive, Noise, pushes
from worldline.errors import InputError
from worldline.scene.align.rig import AlignOptions, RigAligner
from worldline.scene.align.rig.mounting import Motions, estimate_mounting, rotation_matrix, rotation_vector, unobserved
from worldline.scene.align.rig.records import inverse, rigid
from worldline.scene.pnp import PnpEffort, solve_pnp
from worldline.types import Rig

TRUE = rigid(rotation_matrix(np.array([1.3, -1.1, 1.0])), np.array([1.5, 0.4, 1.6]))
NO_HEIGHT = [np.nan, np.nan]


def motions(
    turns: np.ndarray, *, noise: float = 0.0, both: bool = False, outliers: int = 0, seed: int = 0, every: int = 8
) -> Motions:
    """Motions of 1.5 m each of a rig and of a camera on it; the camera's unit changes after ``every``."""
    rng, rows, scale = np.random.default_rng(seed), [], 1.0
    drift = np.zeros(3)
    for i, turn in enumerate(turns):
        if i % every == 0:
            scale, drift = np.exp(rng.normal()), 0.015 * noise * rng.normal(size=3)
        a = rigid(rotation_matrix(turn), rotation_matrix(turn / 2) @ np.array([1.5, 0, 0]))
        b = inverse(TRUE) @ a @ TRUE
        if i < outliers:
            b = rigid(rotation_matrix(rng.normal(size=3)), rng.normal(size=3))
        sigma = 0.03
        way_a, turn_a = a[:3, 3].copy(), turn.copy()
        if both:
            way_a += noise * sigma * rng.normal(size=3)
            turn_a += noise * np.radians(0.15) * rng.normal(size=3)
        way_b = b[:3, 3] + drift * 1.5 + noise * sigma * rng.normal(size=3)
        turn_b = rotation_vector(b[:3, :3]) + noise * np.radians(0.15) * rng.normal(size=3)
        rows.append((turn_a, way_a, turn_b, way_b / scale, sigma * both, sigma / scale, i // every, NO_HEIGHT))
    return Motions(*(np.array(column) for column in zip(*rows, strict=True)))


def bends(count: int, angle: float = 0.1) -> np.ndarray:
    """Turns in a plane, left and right."""
    return np.outer(angle * np.sin(np.arange(count) * 0.9), [0, 0, 1])


def off(estimate: np.ndarray, truth: np.ndarray = TRUE) -> float:
    return float(np.degrees(np.linalg.norm(rotation_vector(estimate[:3, :3] @ truth[:3, :3].T))))


@pytest.mark.parametrize("vector", [[0, 0, 0], [0.3, -0.2, 0.1], [1e-9, 0, 0], [0, np.pi, 0], [0, 0, 3.1]])
def test_rotation_vectors_come_back(vector: list[float]) -> None:
    np.testing.assert_allclose(rotation_vector(rotation_matrix(np.array(vector))), vector, atol=1e-7)


def test_turns_about_several_axes_show_everything() -> None:
    turns = 0.2 * np.random.default_rng(0).normal(size=(24, 3))
    found = estimate_mounting(motions(turns), lever_sigma=2.0)
    assert found is not None
    assert off(found.a_from_b) < 0.01
    np.testing.assert_allclose(found.a_from_b[:3, 3], TRUE[:3, 3], atol=0.03)
    assert found.lever_sigmas.max() < 0.15


def test_turns_in_a_plane_do_not_show_the_height() -> None:
    found = estimate_mounting(motions(bends(24)), lever_sigma=2.0)
    assert found is not None
    assert off(found.a_from_b) < 0.05
    np.testing.assert_allclose(found.a_from_b[:2, 3], TRUE[:2, 3], atol=0.03)
    assert found.lever_sigmas[2] == pytest.approx(2.0, rel=0.01)
    assert found.a_from_b[2, 3] == pytest.approx(0.0, abs=1e-6)  # nothing is made up
    told = unobserved(found.covariance, np.array([1.0, 0, 0]), np.radians(2), 0.3)
    assert "lever arm along z" in told
    assert "rotation" not in told


@pytest.mark.parametrize("both", [False, True])
def test_a_straight_way_does_not_show_the_roll_even_with_noise(both: bool) -> None:
    for seed in range(5):
        found = estimate_mounting(motions(np.zeros((24, 3)), noise=1.0, both=both, seed=seed), lever_sigma=2.0)
        assert found is not None
        assert found.rotation_sigma > np.radians(30)
        assert found.lever_sigmas.min() > 1.5
        told = unobserved(found.covariance, np.array([1.0, 0, 0]), np.radians(2), 0.3)
        assert "direction of travel" in told
        forward = found.a_from_b[:3, :3] @ TRUE[:3, :3].T @ np.array([1.0, 0, 0])
        assert np.degrees(np.arccos(forward[0])) < 3  # the direction itself is known


@pytest.mark.parametrize("both", [False, True])
def test_sigmas_cover_the_errors(both: bool) -> None:
    ratios = []
    for seed in range(12):
        found = estimate_mounting(motions(bends(32), noise=1.0, both=both, seed=seed), lever_sigma=2.0)
        assert found is not None
        assert found.rotation_sigma < np.radians(2)
        ratios.append(np.abs(found.a_from_b[:3, 3] - TRUE[:3, 3]) / found.lever_sigmas)
        assert off(found.a_from_b) < 3 * np.degrees(found.rotation_sigma)
    assert np.mean(np.array(ratios) < 2) > 0.9


def test_outliers_do_not_matter() -> None:
    found = estimate_mounting(motions(bends(32), outliers=8), lever_sigma=2.0)
    assert found is not None
    assert off(found.a_from_b) < 0.5
    np.testing.assert_allclose(found.a_from_b[:2, 3], TRUE[:2, 3], atol=0.1)


def test_too_few_motions_are_no_estimate() -> None:
    assert estimate_mounting(motions(bends(2)), lever_sigma=2.0) is None


SIZE, SENSORS = (36, 64), ("FRONT", "LEFT")
QUICK, EXACT = AlignOptions(pixels=64), Noise()


@functools.cache
def drive(steps: int = 12, amplitude: float = 0.35, speed: float = 6.0) -> Drive:
    """A hall with walls at all sides, driven through in bends; one camera looks ahead, one to the left."""
    poses, place = np.tile(np.eye(4), (steps, 1, 1)), np.zeros(2)
    for step in range(1, steps):
        heading, chord = (amplitude * np.sin(0.55 * each) for each in (step, step - 0.5))
        place = place + speed / 4 * np.array([np.cos(chord), np.sin(chord)])
        poses[step, :3, :3] = rotation_matrix(np.array([0, 0, heading]))
        poses[step, :2, 3] = place
    matrix = np.array([[40.0, 0, 31.5], [0, 40.0, 17.5], [0, 0, 1]])
    ahead = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    mounts = np.stack(
        [
            rigid(rotation_matrix(np.array([0, 0.03, 0.02])) @ ahead, np.array([1.7, 0.0, 1.5])),
            rigid(rotation_matrix(np.array([0.02, 0.05, 0.9])) @ ahead, np.array([1.2, 0.5, 1.4])),
        ]
    )
    depth = np.stack([[_cast(pose @ mount, matrix) for mount in mounts] for pose in poses])
    return Drive(depth, np.stack([matrix] * 2), poses, mounts, np.arange(steps) / 4, SENSORS)


def _cast(world_from_cam: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    columns, rows = np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0]))
    rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(matrix).T @ world_from_cam[:3, :3].T
    low, high = np.array([-10.0, -9.0, 0.0]), np.array([35.0, 9.0, 7.0])
    bound = np.where(rays > 0, high, low)
    with np.errstate(divide="ignore"):
        return ((bound - world_from_cam[:3, 3]) / rays).min(-1)


def follow(scene: Drive, rig: Rig, options: AlignOptions = QUICK, *, given: bool = True, noise: Noise = EXACT):
    """Aligner and results of the last step."""
    aligner, result, truth = RigAligner(rig, options), {}, {}
    for push in pushes(scene, noise=noise, every=6):
        pose = scene.world_from_rig[push.step] if given else None
        result, truth = aligner.update(scene.times[push.step], push.maps, pose), push.scales
    return aligner, result, truth


def unknown(scene: Drive, *, ground: float | None = None, intrinsics: bool = True) -> Rig:
    return Rig(scene.sensors, scene.intrinsics if intrinsics else None, None, scene.rig.sizes, ground)


@pytest.mark.parametrize("intrinsics", [True, False])
def test_given_poses_show_mounting_and_metres(intrinsics: bool) -> None:
    """Bends show the place of a camera, its own view of the road how high it is."""
    scene = drive()
    aligner, result, truth = follow(scene, unknown(scene, ground=0.0, intrinsics=intrinsics))
    report = aligner.calibration()
    assert report.frame == "rig"
    assert report.metric
    assert report.rig is not None
    for row, name in enumerate(SENSORS):
        each = report.sensors[name]
        assert each.mounting == "estimated"
        assert off(report.rig.rig_from_cam[row], scene.rig_from_cam[row]) < 0.5
        np.testing.assert_allclose(report.rig.rig_from_cam[row, :3, 3], scene.rig_from_cam[row, :3, 3], atol=0.1)
        assert each.spread_degrees < 0.5
        assert each.spread_lever < 0.2
        assert result[name].frame == "world"
        assert result[name].scale == pytest.approx(truth[name], rel=0.02)
        assert result[name].scale_kind == "known-poses"
        pose = scene.world_from_rig[-1] @ scene.rig_from_cam[row]
        np.testing.assert_allclose(result[name].world_from_cam, pose, atol=0.1)
        assert report.rig.intrinsics[row, 0, 0] == pytest.approx(40.0, rel=0.02)


def test_what_the_motion_does_not_show_stays_unknown_unless_the_user_allows() -> None:
    scene = drive()
    aligner, result, _ = follow(scene, unknown(scene))
    assert {each.frame for each in result.values()} == {"own:FRONT", "own:LEFT"}
    assert all("lever arm along z (± 2)" in " ".join(each.notes) for each in result.values())
    assert aligner.calibration().rig is None
    aligner, result, _ = follow(scene, unknown(scene), AlignOptions(pixels=64, mounting="assumed"))
    assert {each.frame for each in result.values()} == {"world"}
    assert aligner.calibration().sensors["LEFT"].lever[2] == pytest.approx(2.0, rel=0.05)


def test_straight_on_nothing_is_placed() -> None:
    scene = drive(12, amplitude=0.0)
    aligner, result, _ = follow(scene, unknown(scene), AlignOptions(pixels=64, mounting="assumed"))
    assert {each.frame for each in result.values()} == {"own:FRONT", "own:LEFT"}
    assert all("about the direction of travel" in " ".join(each.notes) for each in result.values())
    assert aligner.calibration().sensors["LEFT"].degrees > 30


def test_without_poses_the_first_camera_is_the_world() -> None:
    scene = drive()
    aligner, result, truth = follow(scene, unknown(scene), AlignOptions(pixels=64, mounting="assumed"), given=False)
    report = aligner.calibration()
    relative = inverse(scene.rig_from_cam[0]) @ scene.rig_from_cam[1]
    assert report.frame == "FRONT"
    assert not report.metric
    assert off(report.rig.rig_from_cam[1], relative) < 0.5
    assert {each.frame for each in result.values()} == {"world"}
    assert {each.scale_kind for each in result.values()} == {"arbitrary"}
    ratio = [np.log(result[name].scale / truth[name]) for name in SENSORS]
    assert ratio[0] == pytest.approx(ratio[1], abs=0.02)  # one unit
    moved = inverse(result["FRONT"].world_from_cam) @ result["LEFT"].world_from_cam
    assert off(moved, relative) < 0.5


def test_poses_that_come_later_win() -> None:
    scene = drive()
    aligner = RigAligner(unknown(scene), AlignOptions(pixels=64, mounting="assumed"))
    for push in pushes(scene, every=6):
        pose = None if push.step < 2 else scene.world_from_rig[push.step]
        result = aligner.update(scene.times[push.step], push.maps, pose)
    for row, name in enumerate(SENSORS):
        truth = scene.world_from_rig[-1] @ scene.rig_from_cam[row]
        assert result[name].frame == "world"
        np.testing.assert_allclose(result[name].world_from_cam[:2, 3], truth[:2, 3], atol=0.2)


@pytest.mark.parametrize("given", [True, False])
def test_a_wrong_calibration_is_found_and_a_right_one_is_not_blamed(given: bool) -> None:
    scene, noise = drive(), Noise.realistic()
    aligner, result, _ = follow(scene, scene.rig, given=given, noise=noise)
    assert aligner.calibration().consistent
    assert not any("disagrees" in note for each in result.values() for note in each.notes)
    wrong = scene.rig_from_cam.copy()
    wrong[1, :3, :3] = rotation_matrix(np.radians([0, 0, 8.0])) @ wrong[1, :3, :3]
    aligner, result, _ = follow(scene, Rig(SENSORS, scene.intrinsics, wrong, None, 0.0), given=given, noise=noise)
    report = aligner.calibration()
    assert not report.consistent
    assert report.sensors["LEFT"].wrong
    assert not report.sensors["FRONT"].wrong
    assert report.sensors["LEFT"].disagreement[0] == pytest.approx(8.0, abs=1.5)
    assert "check rig_from_cam" in report.sensors["LEFT"].note


def test_restored_state_goes_on_alike_and_keeps_its_size() -> None:
    scene = drive(8)
    stream = list(pushes(scene, noise=Noise.realistic(), every=3))
    rig, options = unknown(scene, ground=0.0), AlignOptions(pixels=64, mounting="assumed")
    whole, first, second = (RigAligner(rig, options) for _ in range(3))
    sizes = {name: np.shape(array) for name, array in first.state().items()}

    def feed(aligner: RigAligner, push):
        return aligner.update(scene.times[push.step], push.maps, scene.world_from_rig[push.step])

    for push in stream[:5]:
        feed(whole, push)
        feed(first, push)
    second.restore(first.state())
    for push in stream[5:]:
        expected, actual = feed(whole, push), feed(second, push)
        for name in SENSORS:
            np.testing.assert_array_equal(actual[name].points, expected[name].points)
            assert actual[name].notes == expected[name].notes
    assert {name: np.shape(array) for name, array in second.state().items()} == sizes


def test_off_estimates_nothing() -> None:
    scene = drive()
    aligner, result, _ = follow(scene, unknown(scene, ground=0.0), AlignOptions(pixels=64, mounting="off"))
    assert {each.frame for each in result.values()} == {"own:FRONT", "own:LEFT"}
    assert aligner.calibration().sensors["LEFT"].motions == 0


def test_known_motion_is_believed_more_than_a_camera_that_few_points_agree_with() -> None:
    scene, rng = drive(6), np.random.default_rng(0)
    errors = {}
    for limit in (0.0, 0.3):
        aligner = RigAligner(scene.rig, AlignOptions(predict_below=limit))
        for push in pushes(scene):
            maps = dict(push.maps)
            if push.step == 5:
                points = maps["LEFT"].points
                rough = np.kron(rng.normal(size=(3, 4, 3)), np.ones((12, 16, 1)))
                points = points + 0.05 * np.median(np.linalg.norm(points, axis=-1)) * rough
                maps["LEFT"] = replace(maps["LEFT"], points=points.astype(np.float32))
            result = aligner.update(scene.times[push.step], maps, scene.world_from_rig[push.step])
        assert 0.15 < result["LEFT"].inlier_share < 0.3
        start, end = (scene.world_from_rig[k] @ scene.rig_from_cam[1] for k in (0, 5))
        pose = aligner.state()["sensor.LEFT.pose"]
        errors[limit] = off(pose, inverse(start) @ end)
        rng = np.random.default_rng(0)
    assert errors[0.3] < 0.1 * errors[0.0]
    assert any("predicted" in note for note in result["LEFT"].notes)


def test_a_quick_search_finds_the_camera_that_a_third_of_the_points_agree_with() -> None:
    rng = np.random.default_rng(0)
    pixels, depth = rng.uniform(-100, 100, (256, 2)), rng.uniform(4, 20, 256)
    points = np.c_[pixels / 150 * depth[:, None], depth]
    wrong = rng.random(256) > 0.33
    points[wrong] += 2 * rng.normal(size=(int(wrong.sum()), 3))
    quick = PnpEffort(max_trials=400, least_share=0.2, refinements=1)
    found = solve_pnp(pixels, points, 150.0, image_size=(128, 224), max_error=4.0, effort=quick)
    assert found is not None
    np.testing.assert_allclose(found.world_from_cam, np.eye(4), atol=0.1)


def test_mistakes_are_named() -> None:
    with pytest.raises(InputError, match="mounting"):
        AlignOptions(mounting="guessed")
    with pytest.raises(InputError, match="accuracy"):
        AlignOptions(mounting_degrees=0.0)
