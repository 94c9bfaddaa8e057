"""Camera paths: continuity, levelness, closure, aim, and that they go where they say."""

from __future__ import annotations

import dataclasses
import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from synthetic_scene import look_at as aim_at
from synthetic_scene import make_scene
from worldline.errors import InputError
from worldline.outputs.facts.viewpoint import look_at, up_direction
from worldline.outputs.render.motion import CameraSpline, pose_steps, route, smoothed
from worldline.outputs.render.path_files import read_path, write_path
from worldline.outputs.render.paths import PATHS, PathOptions, fitted, make_path, played
from worldline.outputs.render.surroundings import _SAMPLES, _sample, lens, surroundings_of
from worldline.scene import Scene, SceneView
from worldline.types import Camera, ImageTransform

UP = np.array([0.0, 0, 1])
EYE = "[[1,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]"
SMALL = PathOptions(frames=24, size=(90, 160))


def scene_of(eyes: np.ndarray, targets: np.ndarray, *, times: bool = False) -> Scene:
    """Level cameras in a world whose z is up; every pixel shows a point near the camera's target."""
    random = np.random.default_rng(1)
    views = []
    for index, (eye, target) in enumerate(zip(eyes, targets, strict=True)):
        matrix = np.array([[20.0, 0, 11.5], [0, 20, 7.5], [0, 0, 1]])
        camera = Camera(matrix, look_at(eye, target, UP), 16, 24)
        depth = np.linalg.norm(target - eye) * random.uniform(0.9, 1.1, (16, 24))
        rows, columns = np.mgrid[0:16, 0:24]
        rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(matrix).T
        points = eye + depth[..., None] * (rays @ camera.world_from_cam[:3, :3].T)
        views.append(
            SceneView(
                f"{index}",
                np.zeros((16, 24, 3), np.uint8),
                ImageTransform.identity(16, 24),
                camera,
                points.astype(np.float32),
                depth.astype(np.float32),
                np.ones((16, 24), np.float32),
                np.ones((16, 24), bool),
                timestamp=0.1 * index if times else None,
            )
        )
    return Scene(tuple(views))


def ring(
    count: int, *, radius: float = 3.0, height: float = 1.0, inward: bool = True, span: float = 2 * np.pi
) -> Scene:
    """Cameras on a circle that look to its middle, or away from it."""
    angles = span * np.arange(count) / count
    eyes = np.stack([radius * np.cos(angles), radius * np.sin(angles), np.full(count, height)], 1)
    if inward:
        return scene_of(eyes, np.zeros((count, 3)))
    return scene_of(0.2 * eyes, 3 * eyes)


def centers(cameras: tuple[Camera, ...]) -> np.ndarray:
    return np.stack([camera.center for camera in cameras])


@pytest.mark.parametrize("scene", [ring(12), ring(8, inward=False), ring(6, span=0.8)], ids=["thing", "room", "side"])
def test_an_orbit_is_closed_level_even_and_aimed_at_the_centre(scene: Scene) -> None:
    path, place = make_path("orbit", scene, SMALL), surroundings_of(scene)
    places = centers(path.cameras)
    height = (places - place.center) @ place.up
    np.testing.assert_allclose(height, height[0], atol=1e-9)
    distance = np.linalg.norm(places - place.center, axis=1)
    np.testing.assert_allclose(distance, distance[0])
    for camera in path.cameras:
        assert abs(camera.world_from_cam[:3, 0] @ place.up) < 1e-9  # no roll
        assert camera.world_from_cam[:3, 1] @ place.up < 0  # not upside down
        pixel, depth = camera.project(place.center)
        np.testing.assert_allclose(pixel, (79.5, 44.5), atol=1e-6)
        assert depth > 0 and (camera.height, camera.width) == (90, 160)
    steps = np.linalg.norm(np.diff(places, axis=0, append=places[:1]), axis=1)
    assert steps[-1] <= steps.max() + 1e-9  # from the last frame to the first as from any other to the next


def test_an_orbit_suits_what_was_photographed() -> None:
    around = make_path("orbit", ring(12), SMALL).cameras
    assert np.linalg.norm(centers(around), axis=1) == pytest.approx(np.sqrt(10), rel=0.1)  # as far as the photos
    assert centers(around)[:, 2] == pytest.approx(1.0, rel=0.2)
    spread = np.ptp(np.arctan2(*centers(around)[:, :2].T))
    assert spread > 5
    swing = centers(make_path("orbit", ring(6, span=0.8), SMALL).cameras)
    assert np.abs(np.arctan2(swing[:, 1], swing[:, 0]) - 0.33).max() < 0.9  # stays where the photographers were
    room = make_path("orbit", ring(8, inward=False), SMALL).cameras
    assert (np.linalg.norm(centers(room)[:, :2], axis=1) > 3).all() and (centers(room)[:, 2] > 1.5).all()  # from above


def test_the_knobs_of_an_orbit() -> None:
    scene = ring(12)
    usual = make_path("orbit", scene, SMALL)
    farther = make_path("orbit", scene, dataclasses.replace(SMALL, distance=2.0, elevation=45.0, arc=60.0))
    place = surroundings_of(scene)
    apart = [centers(path.cameras) - place.center for path in (usual, farther)]
    assert np.linalg.norm(apart[1], axis=1) == pytest.approx(2 * np.linalg.norm(apart[0], axis=1))
    np.testing.assert_allclose(apart[1] @ place.up, np.linalg.norm(apart[1], axis=1) * np.sin(np.pi / 4), atol=1e-6)
    angles = np.unwrap(np.arctan2(apart[1][:, 1], apart[1][:, 0]))
    assert np.degrees(np.ptp(angles)) == pytest.approx(60, abs=0.5)
    wide = make_path("orbit", scene, dataclasses.replace(SMALL, field=90.0)).cameras[0]
    assert wide.intrinsics[0, 0] == pytest.approx(80)


@pytest.mark.parametrize("elevation", [90.0, -90.0])
def test_an_orbit_may_look_straight_down_or_up_and_still_turns(elevation: float) -> None:
    scene = ring(12)
    cameras = make_path("orbit", scene, dataclasses.replace(SMALL, elevation=elevation)).cameras
    place = surroundings_of(scene)
    assert all(abs(camera.world_from_cam[:3, 2] @ place.up) > 0.9999 for camera in cameras)
    half = len(cameras) // 2
    assert cameras[0].world_from_cam[:3, 0] @ cameras[half].world_from_cam[:3, 0] < -0.9


@pytest.mark.parametrize("wrong", [{"elevation": 90.5}, {"elevation": np.nan}, {"arc": -1.0}, {"arc": 361.0}])
def test_angles_that_make_no_orbit_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(InputError, match="degrees"):
        make_path("orbit", ring(6), dataclasses.replace(SMALL, **wrong))


def test_of_long_scenes_few_points_are_held_at_once() -> None:
    view, count = ring(6).views[0], 1000
    tracemalloc.start()
    sample = _sample((view,) * count)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    total = count * int(view.mask.sum())
    assert _SAMPLES <= len(sample) <= 1.2 * _SAMPLES
    assert peak < 0.5 * total * 12  # three floats for each
    assert np.isin(sample, view.points).all()


def test_up_is_found_although_cameras_look_down_or_one_is_tilted() -> None:
    eyes = np.array([[3.0, 0, 2], [0, 3, 2.5], [-3, 0, 2], [2, 2, 3], [1, -3, 2]])
    cameras = [Camera(np.eye(3), look_at(eye, np.zeros(3), UP), 10, 10) for eye in eyes]
    assert np.degrees(np.arccos(up_direction([camera.world_from_cam for camera in cameras]) @ UP)) < 1
    tilted = cameras[0].world_from_cam.copy()
    tilted[:3, :3] = tilted[:3, :3] @ Rotation.from_euler("z", 70, degrees=True).as_matrix()
    cameras.append(dataclasses.replace(cameras[0], world_from_cam=tilted))
    assert np.degrees(np.arccos(up_direction([camera.world_from_cam for camera in cameras]) @ UP)) < 6
    one = up_direction([cameras[0].world_from_cam])
    np.testing.assert_allclose(one, -cameras[0].world_from_cam[:3, 1], atol=1e-9)


def test_the_lens_is_about_that_of_the_photos_and_within_limits() -> None:
    scene = ring(4)
    matrix = lens(scene.views, (90, 160))
    assert matrix[0, 0] / np.sqrt(90 * 160) == pytest.approx(20 / np.sqrt(16 * 24))
    assert (matrix[0, 2], matrix[1, 2]) == (79.5, 44.5)
    narrow = np.diag([900.0, 900, 1])
    tele = [replace(view, camera=replace(view.camera, intrinsics=narrow)) for view in scene.views]
    assert np.degrees(2 * np.arctan(80 / lens(tele, (90, 160))[0, 0])) == pytest.approx(35)


def poses_for(seed: int, count: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, 3] = np.cumsum(random.normal(size=(count, 3)), 0)
    turns = Rotation.from_rotvec(0.6 * random.normal(size=(count, 3)))
    total = Rotation.identity()
    for index in range(count):
        total = total * turns[index]
        poses[index, :3, :3] = total.as_matrix()
    return poses


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(2, 9))
def test_a_spline_passes_through_its_keys_and_is_twice_differentiable(seed: int, count: int) -> None:
    keys = poses_for(seed, count)
    curve = CameraSpline(keys)
    np.testing.assert_allclose(curve.at(curve.knots), keys, atol=1e-9)
    step = 1e-4 * np.diff(curve.knots).min()
    for knot in curve.knots[1:-1]:
        near = curve.at(knot + step * np.array([-2.0, -1, 0, 1, 2]))
        place = near[:, :3, 3]
        before, after = place[0] - 2 * place[1] + place[2], place[2] - 2 * place[3] + place[4]
        speed = np.linalg.norm(place[3] - place[1]) / 2
        assert np.linalg.norm(after - before) < 1e-2 * speed  # a corner would give as much as the speed
        turns = (Rotation.from_matrix(near[:-1, :3, :3]).inv() * Rotation.from_matrix(near[1:, :3, :3])).as_rotvec()
        assert np.linalg.norm(turns[2] - turns[1]) < 0.1 * np.linalg.norm(turns[1]) + 1e-8


def test_even_parameters_give_constant_speed_from_end_to_end() -> None:
    keys = poses_for(3, 5)
    curve = CameraSpline(keys)
    found = curve.at(curve.even(400))
    steps = pose_steps(found, 1.0)
    assert steps.std() < 0.02 * steps.mean()
    np.testing.assert_allclose(found[[0, -1]], keys[[0, -1]], atol=1e-9)
    with pytest.raises(InputError, match="do not rise"):
        CameraSpline(keys, parameter=np.array([0.0, 1, 1, 2, 3]))
    np.testing.assert_allclose(CameraSpline(keys[:1]).at(np.zeros(3)), keys[:1].repeat(3, 0))


def test_a_spline_path_visits_unordered_photos_by_a_short_way() -> None:
    scene = ring(10, span=np.pi)
    shuffled = dataclasses.replace(scene, views=tuple(scene.views[i] for i in (3, 9, 0, 6, 2, 8, 5, 1, 7, 4)))
    places = centers(make_path("spline", shuffled, dataclasses.replace(SMALL, frames=91)).cameras)
    length = np.linalg.norm(np.diff(places, axis=0), axis=1).sum()
    assert length == pytest.approx(3 * np.pi * 0.9, rel=0.1)  # the half circle, once
    for view in scene.views:  # within half a step of every photo
        assert np.linalg.norm(places - view.camera.center, axis=1).min() < 0.6 * length / 90


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000))
def test_a_short_way_visits_everything_once_and_none_is_left_crossed(seed: int) -> None:
    poses = np.tile(np.eye(4), (8, 1, 1))
    poses[:, :2, 3] = np.random.default_rng(seed).normal(size=(8, 2))
    order = route(poses, 1.0)
    assert sorted(order) == list(range(8))
    way = np.linalg.norm(poses[:, None, :3, 3] - poses[None, :, :3, 3], axis=-1)

    def length(o: list[int]) -> float:
        return way[o[:-1], o[1:]].sum()

    found = length(list(order))
    for i in range(8):
        for j in range(i + 1, 8):
            turned = [*order[:i], *order[i : j + 1][::-1], *order[j + 1 :]]
            assert length(turned) > found - 1e-9


def test_smoothing_keeps_steady_motion_and_removes_shaking() -> None:
    seconds = np.arange(60) / 12
    steady = np.tile(np.eye(4), (60, 1, 1))
    steady[:, :3, 3] = seconds[:, None] * (1.0, 0.2, -0.1)
    steady[:, :3, :3] = Rotation.from_rotvec(seconds[:, None] * (0.02, 0.3, 0.0)).as_matrix()
    np.testing.assert_allclose(smoothed(steady, seconds, 1.0), steady, atol=2e-3)  # ends included
    random = np.random.default_rng(0)
    shaky = steady.copy()
    shaky[:, :3, 3] += 0.02 * random.normal(size=(60, 3))
    shaky[:, :3, :3] = shaky[:, :3, :3] @ Rotation.from_rotvec(0.02 * random.normal(size=(60, 3))).as_matrix()
    calm = smoothed(shaky, seconds, 0.5)

    def shake(poses: np.ndarray) -> float:
        return float(np.linalg.norm(np.diff(poses[:, :3, 3], 2, axis=0), axis=1).mean())

    assert shake(calm) < 0.1 * shake(shaky)
    assert np.abs(calm[:, :3, 3] - steady[:, :3, 3]).max() < 0.03
    apart = Rotation.from_matrix(calm[:, :3, :3]).inv() * Rotation.from_matrix(steady[:, :3, :3])
    assert apart.magnitude().max() < 0.03


def test_a_stabilised_path_keeps_the_time_of_the_video() -> None:
    line = np.linspace((0.0, 0, 1), (2.0, 0, 1), 21)
    scene = scene_of(line, line + np.array([0, 4, 0]), times=True)
    path = make_path("stabilised", scene, PathOptions(size=(90, 160), fps=12))
    assert len(path) == 24 and path.seconds == pytest.approx(2.0)
    assert path.moments is not None and path.moments[0] == 0 and path.moments[-1] == pytest.approx(2.0)
    np.testing.assert_allclose(centers(path.cameras), np.linspace((0.0, 0, 1), (2.0, 0, 1), 24), atol=1e-6)
    still = make_path("stabilised", dataclasses.replace(scene, views=scene.views[:1]), SMALL)
    assert len(still) == 24 and np.ptp(centers(still.cameras), axis=0).max() == 0


def test_the_cameras_path_shows_all_of_every_photo() -> None:
    scene = make_scene()  # photos of four shapes, turned, cropped, padded
    path = make_path("cameras", scene, PathOptions(size=(120, 200)))
    assert path.views == (0, 1, 2, 3) and path.moments is not None and len(path.moments) == 4
    for camera, view in zip(path.cameras, scene.views, strict=True):
        own = view.camera
        corners = np.array([[-0.5, -0.5], [own.width - 0.5, own.height - 0.5]])
        rays = np.column_stack([corners, np.ones(2)]) @ np.linalg.inv(own.intrinsics).T
        pixels, _ = camera.project(own.center + rays @ own.world_from_cam[:3, :3].T)
        assert pixels.min() > -0.5 - 1e-6 and (pixels[1] < (199.5 + 1e-6, 119.5 + 1e-6)).all()
        assert pixels.sum(0) == pytest.approx((199, 119))  # in the middle
    same = fitted(scene.views[0].camera, (240, 320))
    np.testing.assert_allclose(same.intrinsics, scene.views[0].camera.intrinsics)


def test_time_can_pass_on_any_path() -> None:
    scene = scene_of(np.linspace((0.0, 0, 0), (1.0, 0, 0), 5), np.full((5, 3), (0.0, 4, 0)), times=True)
    path = played(make_path("orbit", scene, SMALL), scene)
    assert path.moments is not None and (path.moments[0], path.moments[-1]) == (0.0, pytest.approx(0.4))
    with pytest.raises(InputError, match="course of time"):
        played(make_path("orbit", ring(4), SMALL), ring(4))


@pytest.mark.parametrize("kind", PATHS)
def test_every_path_is_continuous_and_of_the_size_asked_for(kind: str) -> None:
    scene = ring(7, span=2.0)
    path = make_path(kind, scene, SMALL)
    assert len(path) == 24
    if kind != "cameras":
        steps = pose_steps(np.stack([camera.world_from_cam for camera in path.cameras]), 3.0)
        assert steps.max() < 4 * max(np.median(steps), 1e-9)
    assert {(camera.height, camera.width) for camera in path.cameras} == {(90, 160)}


@pytest.mark.parametrize(
    "changes", [{"frames": 0}, {"seconds": -1.0}, {"fps": 0.0}, {"size": (0, 5)}, {"field": 180.0}, {"distance": 0.0}]
)
def test_numbers_that_make_no_path_are_refused(changes: dict) -> None:
    with pytest.raises(InputError):
        make_path("orbit", ring(5), dataclasses.replace(SMALL, **changes))
    with pytest.raises(InputError, match="orbit, spline"):
        make_path("loop", ring(5), SMALL)


def test_a_path_file_gives_the_same_cameras_again(tmp_path: Path) -> None:
    scene = scene_of(np.linspace((0.0, 0, 0), (1.0, 0, 0), 5), np.full((5, 3), (0.0, 4, 0)), times=True)
    path = make_path("cameras", scene, PathOptions(size=(90, 160)))
    again = read_path(write_path(path, tmp_path / "path.json"), scene, PathOptions(size=(90, 160)))
    for first, second in zip(path.cameras, again.cameras, strict=True):
        np.testing.assert_allclose(first.intrinsics, second.intrinsics)
        np.testing.assert_allclose(first.world_from_cam, second.world_from_cam)
    assert again.moments == path.moments and again.seconds == path.seconds
    half = read_path(tmp_path / "path.json", scene, PathOptions(size=(45, 80)))
    assert half.cameras[0].intrinsics[0, 0] == pytest.approx(path.cameras[0].intrinsics[0, 0] / 2)


def test_a_path_written_by_hand(tmp_path: Path) -> None:
    scene, file = ring(5), tmp_path / "path.json"
    keys = [{"eye": [3, 0, 1], "target": [0, 0, 0], "field": 60}, {"eye": [0, 3, 1], "target": [0, 0, 0], "field": 60}]
    file.write_text(json.dumps({"cameras": keys}), encoding="utf-8")
    path = read_path(file, scene, SMALL)
    assert len(path) == 2
    expected = aim_at((3, 0, 1), (0, 0, 0))  # its y is down, ours z up: the same centre and axis
    np.testing.assert_allclose(path.cameras[0].world_from_cam[:3, 2:], expected[:3, 2:], atol=1e-12)
    assert abs(path.cameras[0].world_from_cam[2, 0]) < 1e-6  # level
    assert path.cameras[0].intrinsics[0, 0] == pytest.approx(80 / np.tan(np.radians(30)))
    file.write_text(json.dumps({"interpolate": True, "cameras": keys}), encoding="utf-8")
    assert len(read_path(file, scene, SMALL)) == 24


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "JSON"),
        ("{}", "no list of cameras"),
        ('[{"eye": [1, 2, 3]}]', "camera 0 has neither"),
        ('[{"eye": [1, 2], "target": [0, 0, 0]}]', "camera 0: eye is not 3"),
        ('[{"eye": [1, 2, 3], "target": [1, 2, 3]}]', "where it stands"),
        ('[{"world_from_cam": [[1]]}]', "4x4"),
        ('[{"world_from_cam": [[2,0,0,0],[0,1,0,0],[0,0,1,0],[0,0,0,1]]}]', "rotation"),
        (f'[{{"world_from_cam": {EYE}, "intrinsics": [[1,0,0],[0,1,0],[0,0,1]]}}]', "size"),
        ("[3]", "not an object"),
    ],
)  # fmt: skip
def test_mistakes_in_a_path_file_are_named(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "path.json"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=says):
        read_path(file, ring(4), SMALL)
