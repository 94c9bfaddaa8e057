"""Depth, tracks, clouds, moving pixels and the scene of a video, from answers that are exact or wrong in known ways."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from exact_video import ExactVideo
from moving_world import moving_world
from worldline import worlds
from worldline.errors import InputError
from worldline.pipeline.video import squashed_views
from worldline.scene import Scene
from worldline.scene.video.asking import ask, cell_centers, check_size
from worldline.scene.video.assembly import VideoSceneOptions, video_scene
from worldline.scene.video.cameras import CameraOptions
from worldline.scene.video.cloud import CloudOptions, cloud_of, merge_surfaces
from worldline.scene.video.depth import depth_maps, discontinuities
from worldline.scene.video.dynamic import DynamicOptions, find_dynamic
from worldline.scene.video.intrinsics import estimate_intrinsics
from worldline.scene.video.tracks import follow_points
from worldline.types import View
from worldline.worlds.truth import track
from worldline.worlds.truth.queries import query
from worldline.worlds.world import World

HEIGHT, WIDTH, FRAMES = 48, 64, 4
FEW = CameraOptions(grid=8, anchors=2)
QUICK = VideoSceneOptions(cameras=FEW, dynamic_cells=16, tracks="grid:4", confidence_percent=0)


@pytest.fixture(scope="module")
def world() -> World:
    return worlds.describe("dynamic", worlds.TEST_SEEDS[1], views=FRAMES, shooting="walk")


@pytest.fixture(scope="module")
def images(world: World) -> np.ndarray:
    return np.asarray(worlds.render([world], height=HEIGHT, width=WIDTH)[0].images)


@pytest.fixture(scope="module")
def exact(world: World) -> ExactVideo:
    return ExactVideo(world, HEIGHT, WIDTH)


def views_of(images: np.ndarray, size: tuple[int, int] = (24, 24)) -> tuple[View, ...]:
    return squashed_views(images, (HEIGHT, WIDTH), size, seconds=np.arange(len(images)) / 12)


# --- asking


def test_blocks_do_not_change_answers(exact: ExactVideo) -> None:
    u, v = cell_centers(5, 7)
    time = np.arange(FRAMES)[:, None, None]
    whole, parts = (ask(exact, u, v, time, 1, 0, block=block) for block in (1 << 18, 13))
    for name in ("points", "uv", "visibility", "motion", "normal", "confidence"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    assert whole.points.shape == (FRAMES, 5, 7, 3) and whole.visibility.shape == (FRAMES, 5, 7)
    few = ask(exact, u, v, time, 1, 0, keep=("confidence",))
    assert few.points.shape == whole.points.shape and not few.points.any()


# --- depth


def test_depth_at_any_resolution(world: World, exact: ExactVideo) -> None:
    sample = worlds.render([world], height=HEIGHT, width=WIDTH)[0]
    full = depth_maps(exact, frames=[2, 0])
    assert full.depth.shape == (2, HEIGHT, WIDTH) and full.frames.tolist() == [2, 0]
    valid = np.asarray(sample.valid)[[2, 0]]
    np.testing.assert_allclose(full.depth[valid], np.asarray(sample.depth)[[2, 0]][valid], rtol=1e-4)
    coarse = depth_maps(exact, frames=1, size=(3, 5))
    assert coarse.depth.shape == (1, 3, 5) and coarse.valid.all()
    for bad in (-1, FRAMES, 1.5, []):
        with pytest.raises(InputError):
            depth_maps(exact, frames=bad)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no cells"):
        depth_maps(exact, size=(0, 4))


def test_edges_are_steps_and_not_slopes() -> None:
    rows, columns = np.mgrid[:20, :30]
    plane = 1 / (0.5 - 0.015 * rows + 0.001 * columns)  # a floor that reaches far
    assert not discontinuities(plane).any()
    step = plane.copy()
    step[:, 15:] *= 0.8
    assert discontinuities(step)[1:-1, 14:16].all() and not discontinuities(step)[:, [12, 18]].any()


# --- tracks


def test_tracks_are_those_of_the_world(world: World, exact: ExactVideo) -> None:
    starts = np.array([[10.0, 20.0, 0], [40.5, 11.25, 2], [-0.5, -0.5, 3], [63.5, 47.5, 1]])
    truth = track(world, *starts[:, :2].T, starts[:, 2].astype(int), height=HEIGHT, width=WIDTH)
    found = follow_points(exact, starts)
    assert len(found) == 4 and found.camera is None
    np.testing.assert_allclose(found.points, truth.position.transpose(1, 0, 2), atol=1e-3)
    np.testing.assert_array_equal(found.visible, truth.visible.T)
    np.testing.assert_allclose(found.pixels[found.visible], truth.pixel.transpose(1, 0, 2)[found.visible], atol=1e-2)
    still = follow_points(exact, starts, frame="world", reference=2)
    back = np.linalg.inv(world.cameras.world_from_cam[2])
    expected = truth.world.transpose(1, 0, 2) @ back[:3, :3].T + back[:3, 3]
    np.testing.assert_allclose(still.points, expected, atol=1e-3)
    assert still.camera == 2


def test_projected_tracks_are_those_of_the_uv_head(exact: ExactVideo) -> None:
    lens = estimate_intrinsics(exact).matrices
    for frame in ("camera", "world"):
        found = follow_points(exact, "grid:5", start=1, frame=frame, pixels="project", intrinsics=lens)  # type: ignore[arg-type]
        direct = follow_points(exact, "grid:5", start=1)
        assert found.queries[0].tolist() == pytest.approx([WIDTH / 10 - 0.5, HEIGHT / 10 - 0.5, 1])
        assert np.abs(found.pixels - direct.pixels)[direct.visible].max() < 0.02


@pytest.mark.parametrize(
    ("points", "message"),
    [("grid:0", "no points called"), ("all", "no points called"), (np.zeros((2, 4)), "no tracks' starts"),
     ([[64.0, 3.0, 0]], "Point 0 .64, 3, 0. is not in the video"), ([[1, 1, 0], [1, 1, 4]], "Point 1"),
     ([[1, 1, 0.5]], "Point 0"), ([[np.nan, 1, 0]], "Point 0"), ([], "list of points to follow is empty"),
     ([1.0, 2.0], r"or \[n, 2\]: x, y in frame 0"), ([[1, 2], [3, 4, 0]], "no array of numbers")],
)  # fmt: skip
def test_points_that_are_not_in_the_video(exact: ExactVideo, points: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        follow_points(exact, points)


@pytest.mark.parametrize("size", [32, None, (3.7, 4.2), (4,), (4, 4, 4), "32", (True, 4)])
def test_sizes_that_are_none(size: object) -> None:
    with pytest.raises(InputError, match="is no size of a grid"):
        check_size(size)


def test_sizes_and_frames_may_be_numpy_numbers(exact: ExactVideo) -> None:
    found = check_size(np.array([3, 4]))
    assert found == (3, 4) and all(type(side) is int for side in found)
    with pytest.raises(InputError, match=r"There is no frame 9: the video has 4 frames\."):
        depth_maps(exact, frames=[0, 9])


# --- what moves


def test_moving_pixels_are_found(world: World) -> None:
    moving = moving_world()
    video = ExactVideo(moving, HEIGHT, WIDTH)
    found = find_dynamic(video, DynamicOptions(smooth=1), size=(24, 32))
    u, v = cell_centers(24, 32)
    time = np.arange(video.frame_count)[:, None, None]
    body = query(moving, u, v, time, time, time, height=HEIGHT, width=WIDTH).body
    assert 0.02 < (body > 0).mean() < 0.3
    assert (found.mask & (body == 0)).sum() == 0  # the camera moves, and still things do not
    assert (found.mask & (body == 1)).sum() > 0.95 * (body == 1).sum()  # slides; the other one turns about itself
    slide = (body == 1) & found.mask
    np.testing.assert_allclose(found.displacement[slide], 0.2, rtol=1e-3)  # per frame


@pytest.mark.parametrize("evidence", ["points", "motion"])
def test_noise_is_not_motion(world: World, evidence: str) -> None:
    still = worlds.describe("rooms", worlds.TEST_SEEDS[1], views=FRAMES, shooting="walk")
    video = ExactVideo(still, HEIGHT, WIDTH, noise=0.02)
    assert find_dynamic(video, DynamicOptions(evidence=evidence), size=(24, 32)).mask.mean() < 0.01


# --- clouds


def test_cloud_is_the_surface_of_the_world(exact: ExactVideo, images: np.ndarray) -> None:
    everything = CloudOptions(confidence_percent=0, edges=0, merge=0)
    whole = cloud_of(exact, everything, camera=2, size=(24, 32), images=images)
    assert len(whole) == FRAMES * 24 * 32 and whole.camera == 2
    u, v = cell_centers(24, 32)
    time = np.arange(FRAMES)[:, None, None]
    truth = exact.query(u, v, time, time, 2).points.reshape(-1, 3)
    np.testing.assert_array_equal(whole.points, truth)
    assert whole.colors is not None
    row, column = (whole.uv[:, 1] * HEIGHT).astype(int), (whole.uv[:, 0] * WIDTH).astype(int)
    np.testing.assert_array_equal(whole.colors, images[whole.frames, row, column])
    some = cloud_of(exact, everything, frames=[1, 3], size=(24, 32))
    assert set(some.frames.tolist()) == {1, 3}


def test_one_moment_of_a_moving_world() -> None:
    """With a moment, all frames agree about where things are then; without one they leave a trail."""
    video = ExactVideo(moving_world(), HEIGHT, WIDTH)
    plain = CloudOptions(confidence_percent=0, edges=0, merge=0)
    u, v = cell_centers(24, 32)
    frames = np.arange(video.frame_count)[:, None, None]
    body = query(video.world, u, v, frames, frames, frames, height=HEIGHT, width=WIDTH).body.ravel() == 1
    trail, frozen = (cloud_of(video, plain, size=(24, 32), moment=moment) for moment in (None, 2))
    middle = video.world.motion.world_from_body[2, 1, :3, 3] - video.world.cameras.world_from_cam[0, :3, 3]
    assert np.abs(frozen.points[body, 0] - middle[0]).max() < 0.501  # half the box
    assert np.abs(trail.points[body, 0] - middle[0]).max() > 0.7


def test_walls_are_not_thick() -> None:
    """Ten looks at a wall with 2 % of depth error become one, and things behind it stay."""
    random = np.random.default_rng(0)
    u, v = (part.ravel() for part in cell_centers(20, 20))
    rays = np.stack([u - 0.5, v - 0.5, np.ones_like(u)], -1)
    looks = np.concatenate([3 * random.normal(1, 0.02, (400, 1)) * rays for _ in range(10)])
    behind = 5 * rays[:40]
    points = np.concatenate([looks, behind])
    confidence = random.uniform(0.2, 1, len(points))
    kept = merge_surfaces(points, confidence, angle=0.05, tolerance=0.1)
    assert len(kept) < 450 and (np.diff(kept) > 0).all()
    assert (kept >= 4000).sum() > 20
    assert confidence[kept].mean() > 0.85  # the most confident stay
    assert len(merge_surfaces(points, confidence, angle=1e-5, tolerance=1e-9)) == len(points)
    assert len(merge_surfaces(np.zeros((3, 3)), np.ones(3), 0.1, 0.1)) == 0
    confirmed = merge_surfaces(points, confidence, angle=0.05, tolerance=0.1, support=5)
    assert (confirmed < 4000).all() and len(confirmed) > 0.9 * (kept < 4000).sum()


def test_merging_keeps_the_most_confident_whatever_the_order() -> None:
    random = np.random.default_rng(1)
    points, confidence = random.normal((0, 0, 4), size=(500, 3)), random.permutation(500) + 1.0
    kept = set(merge_surfaces(points, confidence, 0.2, 0.1).tolist())
    order = random.permutation(500)
    assert {order[k] for k in merge_surfaces(points[order], confidence[order], 0.2, 0.1)} == kept
    assert int(confidence.argmax()) in kept


def test_filters_of_clouds(world: World) -> None:
    video = ExactVideo(world, HEIGHT, WIDTH, outliers=0.08)
    all_of_it = cloud_of(video, CloudOptions(confidence_percent=0, edges=0, merge=0), size=(24, 32))
    sure = cloud_of(video, CloudOptions(confidence_percent=15, edges=0, merge=0), size=(24, 32))
    assert all_of_it.confidence.min() < 0.2 < 0.8 < sure.confidence.min()
    merged = cloud_of(video, CloudOptions(), size=(24, 32))
    assert len(merged) < 0.6 * len(sure)
    with pytest.raises(InputError, match="no frame"):
        cloud_of(video, camera=FRAMES)


# --- the scene


@pytest.mark.parametrize("source", ["depth", "answers"])
def test_scene_projects_onto_its_pixels(exact: ExactVideo, images: np.ndarray, source: str) -> None:
    scene = video_scene(exact, views_of(images), replace(QUICK, points=source))
    assert scene.scale == "arbitrary" and not scene.warnings and len(scene) == FRAMES
    rows, columns = np.mgrid[:24, :24]
    for index, view in enumerate(scene.views):
        assert view.pose_status == "estimated" and view.timestamp == pytest.approx(index / 12)
        assert view.mask.mean() > 0.6 and view.dynamic is not None
        pixels, depth = view.model_camera.project(view.points)
        off = np.linalg.norm(pixels - np.stack([columns, rows], -1), axis=-1)
        assert off[view.mask].max() < 0.1
        np.testing.assert_allclose(depth[view.mask], view.depth[view.mask], rtol=1e-4)
        assert scene.tracks is not None
        pixels, _ = view.camera.project(scene.tracks.points[:, index])
        seen = scene.tracks.visible[:, index]
        assert np.abs(pixels - scene.tracks.pixels[:, index])[seen].max() < 0.1
    truth = exact.world.cameras.world_from_cam
    np.testing.assert_allclose(scene.views[3].camera.world_from_cam, np.linalg.inv(truth[0]) @ truth[3], atol=1e-4)


def test_scene_with_known_poses_is_metric(world: World, images: np.ndarray) -> None:
    video, poses = ExactVideo(world, HEIGHT, WIDTH, scale=0.25), world.cameras.world_from_cam
    for source in ("depth", "answers"):
        scene = video_scene(video, views_of(images), replace(QUICK, points=source), poses=poses)
        assert scene.scale == "known-poses" and {view.pose_status for view in scene.views} == {"given"}
        view = scene.views[2]
        np.testing.assert_array_equal(view.camera.world_from_cam, poses[2])
        u, v = cell_centers(24, 24)
        truth = query(world, u, v, 2, 2, 2, height=HEIGHT, width=WIDTH).world
        assert np.abs(view.points - truth)[view.mask].max() < 0.01


def test_exports_of_a_video(exact: ExactVideo, images: np.ndarray, tmp_path: Path) -> None:
    """An independent reader finds the points of the scene where the original frames show them."""
    pycolmap = pytest.importorskip("pycolmap")
    import trimesh

    scene = video_scene(exact, views_of(images), QUICK)
    written = scene.export(tmp_path, ["glb", "colmap", "tum"])
    model = pycolmap.Reconstruction(written["colmap"] / "sparse" / "0")
    found = {image.name.split(".")[0]: image for image in model.images.values()}
    focal = WIDTH / 2 / np.tan(exact.world.cameras.fov[0] / 2)
    worst = 0.0
    for view in scene.views:
        image = found[view.name]
        camera = model.cameras[image.camera_id]
        size = np.array([camera.width, camera.height])  # of the images that are written beside it
        np.testing.assert_allclose(np.diag(camera.calibration_matrix())[:2], focal * size / (WIDTH, HEIGHT), rtol=1e-3)
        points = view.points[view.mask][::7].astype(np.float64)
        local = (image.cam_from_world() * points) if callable(image.cam_from_world) else image.cam_from_world * points
        pixels = np.array([camera.img_from_cam(point) for point in local]) - 0.5
        rows, columns = (index[::7] for index in np.nonzero(view.mask))
        truth = (np.stack([columns, rows], -1) + 0.5) / 24 * size - 0.5
        worst = max(worst, float(np.abs(pixels - truth).max()))
    assert worst < 0.1
    lines = [line for line in written["tum"].read_text().splitlines() if not line.startswith("#")]
    assert len(lines) == FRAMES and float(lines[3].split()[0]) == pytest.approx(3 / 12)
    assert len(trimesh.load(written["glb"]).geometry) > 0
    scene.save(tmp_path / "saved")
    assert len(Scene.load(tmp_path / "saved")) == FRAMES


def test_failed_frames_are_there_and_empty(exact: ExactVideo, images: np.ndarray) -> None:
    class Torn:
        """Frame 2 knows nothing of the others."""

        frame_count, original_size = FRAMES, (HEIGHT, WIDTH)

        def query(self, u, v, t_src, t_tgt, t_cam):
            parts = np.broadcast_arrays(u, v, t_src, t_tgt, t_cam)
            answers = exact.query(*parts)
            across = (parts[2] == 2) != (parts[4] == 2)
            noise = np.random.default_rng(0).normal(size=answers.points.shape).astype(np.float32)
            return replace(answers, points=np.where(across[..., None], 9 * noise, answers.points))

    for source in ("depth", "answers"):
        scene = video_scene(Torn(), views_of(images), replace(QUICK, points=source))
        assert [view.pose_status for view in scene.views] == ["estimated", "estimated", "failed", "estimated"]
        assert not scene.views[2].mask.any() and scene.views[3].mask.any()
        assert scene.tracks is not None and not scene.tracks.visible[:, 2].any()
        assert all(np.isfinite(view.points).all() and np.isfinite(view.depth).all() for view in scene.views)
        assert "Frame 2 has no pose" in " ".join(scene.warnings)


def test_views_must_be_whole_frames(exact: ExactVideo, images: np.ndarray) -> None:
    views = views_of(images)
    with pytest.raises(InputError, match="3 views for 4 frames"):
        video_scene(exact, views[:3], QUICK)
    cropped = replace(views[1], transform=replace(views[1].transform, crop_offset=(0, 2)))
    with pytest.raises(InputError, match="not a whole frame"):
        video_scene(exact, (views[0], cropped, *views[2:]), QUICK)
