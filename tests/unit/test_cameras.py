"""Pointmaps -> cameras -> Scene on scenes whose truth is known, and the sentences for input that cannot work."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from worldline.errors import InputError
from worldline.geometry import matrix_from_quaternion, rotation_angle
from worldline.scene import Scene
from worldline.scene.assemble import GAUSSIAN_SCALE_RANGE, build_scene
from worldline.scene.cameras import confidence_threshold, estimate_cameras
from worldline.types import Camera, GaussianMaps, ImageTransform, View, Views

SIZE = (48, 64)


@dataclass(frozen=True)
class Truth:
    views: Views
    points: np.ndarray  # frame of camera 0
    confidence: np.ndarray
    cameras: tuple[Camera, ...]  # original pixels, frame of camera 0


def make_truth(
    count: int = 4,
    seed: int = 0,
    focals: tuple[float, ...] = (70.0,),
    transforms: tuple[ImageTransform, ...] = (),
    turn: float = 0.15,
    move: float = 0.4,
) -> Truth:
    """A wavy surface seen by random cameras; ``focals`` are those of the photos, in original pixels."""
    rng = np.random.default_rng(seed)
    transforms = transforms or (ImageTransform.identity(*SIZE),) * count
    cameras, points = [], []
    for v in range(count):
        world_from_cam = np.eye(4)
        if v:
            quaternion = torch.tensor([1.0, *(turn * rng.normal(size=3))], dtype=torch.float64)
            world_from_cam[:3, :3] = matrix_from_quaternion(quaternion).numpy()
            world_from_cam[:3, 3] = move * rng.normal(size=3)
        focal, (height, width) = focals[v % len(focals)], transforms[v].original_size
        intrinsics = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
        camera = Camera(intrinsics, world_from_cam, height, width)
        cameras.append(camera)
        points.append(_surface(camera.to_model(transforms[v]), rng))
    points = np.stack(points).astype(np.float32)
    images = rng.integers(0, 256, (count, *points.shape[1:3], 3), dtype=np.uint8)
    views = tuple(View(f"photo{v}.jpg", images[v], transforms[v]) for v in range(count))
    confidence = rng.uniform(2, 9, points.shape[:3]).astype(np.float32)
    return Truth(Views(views), points, confidence, tuple(cameras))


def _surface(camera: Camera, rng: np.random.Generator) -> np.ndarray:
    x, y = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    phase = rng.uniform(0, 6, 2)
    depth = 3 + 0.6 * np.sin(x / 9 + phase[0]) + 0.8 * np.cos(y / 7 + phase[1])
    rays = np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(camera.intrinsics).T
    return (rays * depth[..., None]) @ camera.world_from_cam[:3, :3].T + camera.center


def degrees_between(first: np.ndarray, second: np.ndarray) -> float:
    angle = rotation_angle(torch.from_numpy(first[:3, :3].copy()), torch.from_numpy(second[:3, :3].copy()))
    return float(torch.rad2deg(angle))


def with_poses(truth: Truth, poses: dict[int, np.ndarray]) -> Views:
    return Views(tuple(replace(view, world_from_cam=poses.get(v)) for v, view in enumerate(truth.views)))


def assert_cameras(scene: Scene, cameras: tuple[Camera, ...], length: float = 1.0) -> None:
    for view, camera in zip(scene.views, cameras, strict=True):
        assert view.camera.intrinsics[0, 0] == pytest.approx(camera.intrinsics[0, 0], rel=5e-3)
        assert view.camera.intrinsics[1, 1] == pytest.approx(camera.intrinsics[1, 1], rel=5e-3)
        assert degrees_between(view.camera.world_from_cam, camera.world_from_cam) < 0.1
        np.testing.assert_allclose(view.camera.center, camera.center, atol=5e-3 * length)


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 10_000), st.floats(40, 150))
def test_cameras_are_recovered(seed: int, focal: float) -> None:
    truth = make_truth(seed=seed, focals=(focal,))
    scene = build_scene(truth.views, truth.points, truth.confidence)
    assert_cameras(scene, truth.cameras)
    assert [view.pose_status for view in scene.views] == ["estimated"] * 4
    assert scene.scale == "model" and scene.warnings == ()
    for view, points in zip(scene.views, truth.points, strict=True):
        pixels, depth = view.model_camera.project(points)
        grid = np.stack(np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0])), axis=-1)
        assert np.abs(pixels - grid).max() < 0.2
        np.testing.assert_allclose(view.depth, depth, rtol=1e-4)
        assert 0.95 < view.mask.mean() < 0.99  # the least confident 3 % of the set


@settings(max_examples=5, deadline=None)
@given(st.permutations(range(4)))
def test_permuted_input_gives_permuted_output(order: list[int]) -> None:
    truth = make_truth()
    expected = build_scene(truth.views, truth.points, truth.confidence)
    permuted = Views(tuple(truth.views[v] for v in order))
    scene = build_scene(permuted, truth.points[order], truth.confidence[order], reference=order.index(0))
    for place, v in enumerate(order):
        assert scene.views[place].name == expected.views[v].name
        np.testing.assert_allclose(
            scene.views[place].camera.world_from_cam, expected.views[v].camera.world_from_cam, atol=1e-9
        )
        np.testing.assert_array_equal(scene.views[place].mask, expected.views[v].mask)
        np.testing.assert_array_equal(scene.views[place].points, expected.views[v].points)


def test_twice_the_same_call_gives_the_same_scene() -> None:
    truth = make_truth(seed=5)
    noisy = truth.points + np.random.default_rng(0).normal(0, 0.02, truth.points.shape).astype(np.float32)
    first, second = (build_scene(truth.views, noisy, truth.confidence) for _ in range(2))
    for a, b in zip(first.views, second.views, strict=True):
        np.testing.assert_array_equal(a.camera.world_from_cam, b.camera.world_from_cam)


def test_noise_and_outliers_are_survived() -> None:
    truth = make_truth(seed=2)
    rng = np.random.default_rng(0)
    points = truth.points + rng.normal(0, 0.01, truth.points.shape).astype(np.float32)
    points[:, 10:20, 10:30] += rng.normal(0, 2, (4, 10, 20, 3)).astype(np.float32)
    scene = build_scene(truth.views, points, truth.confidence)
    for view, camera in zip(scene.views, truth.cameras, strict=True):
        assert degrees_between(view.camera.world_from_cam, camera.world_from_cam) < 0.5
        assert view.camera.intrinsics[0, 0] == pytest.approx(70, rel=0.02)


@pytest.mark.parametrize("known", [(0, 1, 2, 3), (1, 3), (0, 2)])
def test_known_poses_fix_frame_and_unit(known: tuple[int, ...]) -> None:
    truth = make_truth()
    metres = 2.5  # the network's unit is 2.5 m
    turn = matrix_from_quaternion(torch.tensor([0.9, 0.1, -0.4, 0.2], dtype=torch.float64)).numpy()
    offset = np.array([10.0, -4.0, 7.0])
    poses = []
    for camera in truth.cameras:
        pose = np.eye(4)
        pose[:3, :3] = turn @ camera.world_from_cam[:3, :3]
        pose[:3, 3] = metres * turn @ camera.center + offset
        poses.append(pose)
    views = with_poses(truth, {v: poses[v] for v in known})
    scene = build_scene(views, truth.points, truth.confidence)
    assert scene.scale == "known-poses" and scene.warnings == ()
    assert_cameras(scene, tuple(replace(c, world_from_cam=p) for c, p in zip(truth.cameras, poses, strict=True)), 5)
    for v, view in enumerate(scene.views):
        assert view.pose_status == ("given" if v in known else "estimated")
        if v in known:
            np.testing.assert_array_equal(view.camera.world_from_cam, poses[v])
        np.testing.assert_allclose(view.points, metres * truth.points[v] @ turn.T + offset, atol=0.02)


def test_one_known_pose_fixes_the_frame_only() -> None:
    truth = make_truth()
    pose = truth.cameras[3].world_from_cam.copy()
    pose[:3, 3] += [1.0, 2.0, 3.0]
    scene = build_scene(with_poses(truth, {2: pose}), truth.points, truth.confidence)
    assert scene.scale == "model"
    np.testing.assert_array_equal(scene.views[2].camera.world_from_cam, pose)
    expected = pose @ np.linalg.inv(truth.cameras[2].world_from_cam)
    np.testing.assert_allclose(scene.views[0].camera.world_from_cam, expected, atol=5e-3)
    np.testing.assert_allclose(
        np.linalg.norm(scene.views[0].points - expected[:3, 3], axis=-1),
        np.linalg.norm(truth.points[0], axis=-1),
        rtol=1e-2,
    )


def test_wrong_given_poses_are_contradicted() -> None:
    truth = make_truth()
    inverted = {v: camera.cam_from_world for v, camera in enumerate(truth.cameras)}
    inverted[1][:3, :3] = inverted[1][:3, :3] @ np.diag([1.0, -1.0, -1.0])
    scene = build_scene(with_poses(truth, inverted), truth.points, truth.confidence)
    assert any("disagree" in sentence for sentence in scene.warnings)


def test_known_intrinsics_are_used_as_they_are() -> None:
    truth = make_truth(focals=(70.0, 90.0, 55.0, 120.0))
    views = Views(tuple(replace(v, intrinsics=c.intrinsics) for v, c in zip(truth.views, truth.cameras, strict=True)))
    scene = build_scene(views, truth.points, truth.confidence)
    assert_cameras(scene, truth.cameras)
    for view, camera in zip(scene.views, truth.cameras, strict=True):
        np.testing.assert_allclose(view.camera.intrinsics, camera.intrinsics, atol=1e-9)


def test_one_known_intrinsics_speaks_for_the_same_camera() -> None:
    truth = make_truth()
    views = Views((truth.views[0], replace(truth.views[1], intrinsics=truth.cameras[1].intrinsics), *truth.views[2:]))
    scene = build_scene(views, truth.points, truth.confidence)
    assert_cameras(scene, truth.cameras)


def test_focal_lengths_of_different_zooms() -> None:
    truth = make_truth(focals=(70.0, 90.0, 55.0, 120.0))
    scene = build_scene(truth.views, truth.points, truth.confidence, shared_focal=False)
    assert_cameras(scene, truth.cameras)


TRANSFORMS = (
    ImageTransform((480, 800), (48, 80), (0, 8), (48, 64)),  # landscape, resized, cropped left and right
    ImageTransform((480, 800), (48, 80), (0, 8), (48, 64), orientation=3),
    ImageTransform((480, 800), (107, 64), (30, 0), (48, 64), orientation=6),  # portrait by EXIF, cropped off-centre
    ImageTransform((300, 400), (48, 64), (0, 0), (48, 64)),  # another camera
    ImageTransform((480, 1000), (31, 64), (-8, 0), (48, 64)),  # padded above and below
)


@pytest.mark.parametrize("seed", range(3))
def test_cameras_belong_to_the_original_photos(seed: int) -> None:
    focals = (700.0, 700.0, 700.0, 420.0, 900.0)
    truth = make_truth(5, seed, focals, TRANSFORMS)
    scene = build_scene(truth.views, truth.points, truth.confidence)
    assert_cameras(scene, truth.cameras)
    for view, camera, points in zip(scene.views, truth.cameras, truth.points, strict=True):
        assert (view.camera.height, view.camera.width) == (camera.height, camera.width)
        expected, _ = camera.project(points[view.mask])
        found, _ = view.camera.project(points[view.mask])
        assert np.abs(found - expected).max() < 2e-3 * max(camera.height, camera.width)
    assert not (scene.views[4].mask & ~TRANSFORMS[4].inside).any()
    assert scene.views[4].mask.any()


def test_equal_images_are_named() -> None:
    truth = make_truth()
    views = list(truth.views)
    views[2] = replace(views[2], image=views[1].image)
    scene = build_scene(Views(tuple(views)), truth.points, truth.confidence)
    assert "photo1.jpg and photo2.jpg look identical: the second adds nothing." in scene.warnings
    assert [v.pose_status for v in scene.views] == ["estimated", "estimated", "degenerate", "estimated"]


def test_image_without_texture_is_named() -> None:
    truth = make_truth()
    views = list(truth.views)
    views[3] = replace(views[3], image=np.full((*SIZE, 3), 128, np.uint8))
    scene = build_scene(Views(tuple(views)), truth.points, truth.confidence)
    assert any(sentence.startswith("photo3.jpg has no texture") for sentence in scene.warnings)
    assert scene.views[3].pose_status == "degenerate"


def test_pure_rotation_is_named() -> None:
    truth = make_truth(move=0.0)
    scene = build_scene(truth.views, truth.points, truth.confidence)
    assert any("hardly move" in sentence for sentence in scene.warnings)
    assert [view.pose_status for view in scene.views] == ["estimated"] + ["degenerate"] * 3


def test_given_poses_cannot_scale_a_scene_without_movement() -> None:
    truth, moving = make_truth(move=0.0), make_truth(move=1.0)
    poses = {v: camera.world_from_cam for v, camera in enumerate(moving.cameras)}
    scene = build_scene(with_poses(truth, poses), truth.points, truth.confidence)
    assert scene.scale == "model"
    assert any("cannot fix the scale" in sentence for sentence in scene.warnings)


def test_failed_view_is_left_out_and_named() -> None:
    truth = make_truth()
    points = truth.points.copy()
    points[2] = np.random.default_rng(0).normal(0, 3, points[2].shape)
    scene = build_scene(truth.views, points, truth.confidence)
    assert any(sentence.startswith("photo2.jpg: no camera explains") for sentence in scene.warnings)
    assert [v.pose_status for v in scene.views] == ["estimated", "estimated", "failed", "estimated"]
    assert not scene.views[2].mask.any()
    assert_cameras(replace(scene, views=(*scene.views[:2], scene.views[3])), (*truth.cameras[:2], truth.cameras[3]))


def test_given_pose_of_a_failed_view_is_kept_but_its_points_are_not() -> None:
    truth = make_truth()
    points = truth.points.copy()
    points[2] = np.random.default_rng(0).normal(0, 3, points[2].shape)
    pose = truth.cameras[2].world_from_cam
    scene = build_scene(with_poses(truth, {2: pose}), points, truth.confidence)
    assert scene.views[2].pose_status == "given" and not scene.views[2].mask.any()
    np.testing.assert_array_equal(scene.views[2].camera.world_from_cam, pose)
    assert any(sentence.startswith("No view with a given pose could be located") for sentence in scene.warnings)


def test_frontal_plane_borrows_the_focal_length() -> None:
    intrinsics = np.array([[70.0, 0, (SIZE[1] - 1) / 2], [0, 70, (SIZE[0] - 1) / 2], [0, 0, 1]])
    x, y = np.meshgrid(np.arange(SIZE[1]), np.arange(SIZE[0]))
    plane = 2 * np.stack([x, y, np.ones_like(x)], axis=-1) @ np.linalg.inv(intrinsics).T
    estimates = estimate_cameras(
        np.stack([plane, plane + np.array([0.3, 0, 0])]), np.full((2, *SIZE), 5.0), shared_focal=False
    )
    assert estimates.status == ("estimated", "estimated")
    np.testing.assert_allclose(estimates.intrinsics[1, 0, 0], 70, rtol=1e-2)
    np.testing.assert_allclose(estimates.world_from_cam[1, :3, 3], [0.3, 0, 0], atol=1e-2)
    assert any("focal length cannot be told" in sentence for sentence in estimates.warnings)


def test_given_poses_at_one_place_contradict_moving_images() -> None:
    truth = make_truth()
    scene = build_scene(with_poses(truth, {0: np.eye(4), 1: np.eye(4)}), truth.points, truth.confidence)
    assert any("disagree" in sentence for sentence in scene.warnings)
    assert scene.scale == "model"


def test_low_confidence_is_named() -> None:
    truth = make_truth()
    confidence = truth.confidence.copy()
    confidence[1] = 1.001
    scene = build_scene(truth.views, truth.points, confidence, confidence_percent=30)
    assert any(sentence.startswith("photo1.jpg: the network is not confident") for sentence in scene.warnings)
    assert not scene.views[1].mask.any()
    everywhere = build_scene(truth.views, truth.points, np.full_like(confidence, 1.001))
    assert any("not confident about any view" in sentence for sentence in everywhere.warnings)


def test_invalid_pixels_are_masked_never_nan() -> None:
    truth = make_truth()
    points, confidence = truth.points.copy(), truth.confidence.copy()
    points[1, :5] = np.nan
    points[2, 3, 4] = np.inf
    confidence[3, 0] = np.nan
    points[0, 7] *= -1  # behind the camera
    scene = build_scene(truth.views, points, confidence)
    assert_cameras(scene, truth.cameras)
    for view in scene.views:
        assert np.isfinite(view.points).all() and np.isfinite(view.depth).all()
        assert (view.confidence > 0).all() and (view.depth[view.mask] > 0).all()
    assert not scene.views[1].mask[:5].any() and not scene.views[2].mask[3, 4] and not scene.views[0].mask[7].any()


def test_nothing_finite_is_reported_not_raised() -> None:
    truth = make_truth()
    scene = build_scene(truth.views, np.full_like(truth.points, np.nan), truth.confidence)
    assert any("nothing can be reconstructed" in sentence for sentence in scene.warnings)
    assert not any(view.mask.any() for view in scene.views)


def test_gaussians_follow_points_frame_and_unit() -> None:
    truth = make_truth()
    shape = truth.points.shape[:3]
    rng = np.random.default_rng(0)
    maps = GaussianMaps(
        scales=torch.from_numpy(rng.uniform(-0.01, 0.05, (*shape, 3)).astype(np.float32)),
        rotations=torch.nn.functional.normalize(
            torch.from_numpy(rng.normal(size=(*shape, 4)).astype(np.float32)), dim=-1
        ),
        opacities=torch.full((*shape, 1), 0.7),
        colors=torch.zeros(*shape, 3),
    )
    plain = build_scene(truth.views, truth.points, truth.confidence, gaussians=maps)
    turn = np.array([[0.0, -1, 0, 5], [1, 0, 0, 6], [0, 0, 1, 7], [0, 0, 0, 1]])
    poses = {}
    for v, camera in enumerate(truth.cameras):
        pose = camera.world_from_cam.copy()
        pose[:3, 3] *= 3
        poses[v] = turn @ pose
    moved = build_scene(with_poses(truth, poses), truth.points, truth.confidence, gaussians=maps)
    assert plain.gaussians is not None and moved.gaussians is not None
    points, colors, _ = plain.point_cloud()
    np.testing.assert_array_equal(plain.gaussians.means, points)
    np.testing.assert_allclose(plain.gaussians.colors, colors / 255, atol=1e-6)
    unit = np.linalg.norm(points, axis=1).mean()
    low, high = (unit * bound for bound in GAUSSIAN_SCALE_RANGE)
    assert plain.gaussians.scales.min() == pytest.approx(low, rel=1e-4)
    assert plain.gaussians.scales.max() == pytest.approx(high, rel=1e-4)
    np.testing.assert_allclose(moved.gaussians.scales, 3 * plain.gaussians.scales, rtol=1e-2)
    rotation = matrix_from_quaternion(torch.from_numpy(plain.gaussians.rotations[:50])).numpy()
    expected = turn[:3, :3] @ rotation
    found = matrix_from_quaternion(torch.from_numpy(moved.gaussians.rotations[:50])).numpy()
    np.testing.assert_allclose(found, expected, atol=5e-3)


def test_threshold_is_the_sorted_value() -> None:
    values = np.random.default_rng(0).permutation(200).astype(np.float32)
    assert confidence_threshold(values, 3) == 6
    assert confidence_threshold(values, 0) == 0
    assert (values >= confidence_threshold(values, 3)).sum() == 194


def test_wrong_arguments_are_one_sentence() -> None:
    truth = make_truth()
    with pytest.raises(InputError, match="reference view 9"):
        build_scene(truth.views, truth.points, truth.confidence, reference=9)
    with pytest.raises(InputError, match="3 poses for 4 views"):
        estimate_cameras(truth.points, truth.confidence, poses=[None] * 3)
    with pytest.raises(InputError, match="model size"):
        build_scene(truth.views, truth.points[:, :40], truth.confidence[:, :40])
