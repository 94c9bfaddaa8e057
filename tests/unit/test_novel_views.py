"""Novel views: exact reconstructions look like the photos, wrong ones do not, and what is held out is chosen well."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import synthetic_scene
from worldline import worlds
from worldline.errors import InputError, NoPlaceError
from worldline.eval.novel import scenes as novel_scenes
from worldline.eval.novel.gallery import pick_scenes
from worldline.eval.novel.image_metrics import PSNR_CAP
from worldline.eval.novel.methods import CEILING, MEAN_COLOR, NEAREST, baselines_of, shows_of_scene
from worldline.eval.novel.report import NovelReport, NovelTrial
from worldline.eval.novel.scenes import HeldOutScene, NovelSpec, get_scene, render_scene
from worldline.eval.novel.splats import own_gaussians, pixel_scales, render, scale_of, splats, true_splats
from worldline.eval.novel.suite import NovelSettings, evaluate_novel, novel_psnr, re_rendered, score_pictures
from worldline.eval.sequences import GroundTruth
from worldline.eval.worlds_truth import worlds_version
from worldline.models.config import MVDust3rConfig
from worldline.models.mvdust3r import MVDust3r
from worldline.scene import Scene, SceneView
from worldline.types import Camera, Gaussians, ImageTransform
from worldline.worlds.truth.rays import Instants

SIZE, HELD_OUT = 64, 2
CENTERS = ((0.3, 0.1, 0.2), (0.6, 0.1, 0.1), (-0.5, 0.3, -0.1), (0.1, 0.2, 0.15), (-0.1, -0.1, 0.1))
SPEC = NovelSpec("rooms", worlds.TEST_SEEDS[0], inputs=3, judged=3, size=48)


@pytest.fixture(scope="module")
def relief() -> HeldOutScene:
    """A smooth surface with smooth colours, seen by five cameras: nothing is hidden."""
    matrix = np.array([[62.0, 0, 30.7], [0, 64.0, 32.4], [0, 0, 1]])
    cameras = tuple(
        Camera(matrix, synthetic_scene.look_at(center, (0.0, 0.0, 4.0), roll=0.1 * place), SIZE, SIZE)
        for place, center in enumerate(CENTERS)
    )
    points, depth, photos = (np.stack(parts) for parts in zip(*map(synthetic_scene.surface, cameras), strict=True))
    forward = np.stack([(p - c.center) @ c.world_from_cam[:3, 2] for p, c in zip(points, cameras, strict=True)])
    return HeldOutScene("relief", photos, GroundTruth(points, forward, depth > 0, cameras), HELD_OUT)


@pytest.fixture(scope="module")
def room() -> HeldOutScene:
    return render_scene(SPEC)


@pytest.fixture
def few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less to render where it does not matter which photos are held out."""
    monkeypatch.setattr(novel_scenes, "CANDIDATES", 3)
    monkeypatch.setattr(novel_scenes, "LEAST_SEEN", 0.0)


def exact(scene: HeldOutScene, count: int, unit: float = 1.0, shift: float = 0.0) -> Scene:
    """The true points of the shown photos as a model gives them: in the first camera's frame, in some unit."""
    inverse = np.linalg.inv(scene.truth.cameras[0].world_from_cam)
    views = []
    for view in range(count):
        camera = scene.truth.cameras[view]
        points = scene.truth.points[view] @ inverse[:3, :3].T + inverse[:3, 3] + (shift, 0, 0)
        pose = inverse @ camera.world_from_cam
        pose[:3, 3] *= unit
        size = (camera.height, camera.width)
        views.append(
            SceneView(
                f"{view}", scene.photos[view], ImageTransform.identity(*size), replace(camera, world_from_cam=pose),
                (unit * points).astype(np.float32), (unit * scene.truth.depth[view]).astype(np.float32),
                np.ones(size, np.float32), scene.truth.valid[view],
            )
        )  # fmt: skip
    return Scene(tuple(views))


def psnr_of(scene: HeldOutScene, reconstruction: Scene, views: list[int], method: str = "pixel-sized points") -> float:
    case = scene.shown(len(reconstruction))
    show = shows_of_scene(case, reconstruction, "exact")[f"exact, {method}"]
    return score_pictures(case, views, show(views))["psnr_seen"]


@pytest.mark.parametrize("views", [[0, 1], [3, 4]], ids=["shown", "held out"])
def test_an_exact_reconstruction_in_any_unit_looks_like_the_photos(relief: HeldOutScene, views: list[int]) -> None:
    found = psnr_of(relief, exact(relief, 3, unit=7.3), views)
    assert found > 30
    assert psnr_of(relief, exact(relief, 3, shift=0.1), views) < found - 5


def test_the_unit_of_a_reconstruction_does_not_matter(relief: HeldOutScene) -> None:
    small, large = (psnr_of(relief, exact(relief, 3, unit), [3, 4], "points") for unit in (0.01, 40.0))
    assert small == pytest.approx(large, abs=0.01)


def test_pictures_are_not_shifted_by_a_fraction_of_a_pixel() -> None:
    """The cameras' conventions are exact. On a frontal plane: of two splats the nearer one, or else the earlier one,
    covers more, so a slanted plane is shifted, and a frontal one is rendered in both orders.
    """
    matrix = np.array([[62.0, 0, 30.7], [0, 64.0, 32.4], [0, 0, 1]])
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[1, :2, 3] = 5 * 4 / 62, -3 * 4 / 64  # pixels fall on pixels
    cameras = tuple(Camera(matrix, pose, SIZE, SIZE) for pose in poses)
    rows, columns = np.indices((SIZE, SIZE))
    rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(matrix).T
    points = 4 * rays + poses[:, None, None, :3, 3]
    photos = np.rint(synthetic_scene.color(points[..., 0], points[..., 1])).astype(np.uint8)
    truth = GroundTruth(points, points[..., 2], np.ones((2, SIZE, SIZE), bool), cameras)
    case = HeldOutScene("plane", photos, truth, 1).shown(1)
    forward, errors = true_splats(case), {}
    backward = Gaussians(*(getattr(forward, field.name)[::-1] for field in fields(Gaussians)))
    for x, y in [(0.0, 0.0), (0.25, 0.0), (-0.25, 0.0), (0.0, 0.25), (0.0, -0.25)]:
        camera = case.camera(1)
        moved = replace(camera, intrinsics=camera.intrinsics + np.array([[0, 0, x], [0, 0, y], [0, 0, 0]]))
        color = (render(forward, [moved]).color[0] + render(backward, [moved]).color[0]) / 2
        errors[x, y] = float(np.abs(color - photos[1] / 255)[8:-8, 8:-8].mean())
    exact_error = errors.pop((0.0, 0.0))
    assert exact_error < 0.002
    assert exact_error < 0.5 * min(errors.values()), errors


def test_the_ceiling_beats_all_other_baselines_and_a_wrong_reconstruction(relief: HeldOutScene) -> None:
    case = relief.shown(3)
    scores = {name: score_pictures(case, [3, 4], show([3, 4])) for name, show in baselines_of(case).items()}
    ceiling = scores[CEILING]
    assert ceiling["psnr_seen"] > 30 and ceiling["ssim_seen"] > 0.95
    assert all(ceiling["psnr_seen"] > scores[name]["psnr_seen"] + 5 for name in (NEAREST, MEAN_COLOR))
    assert ceiling["coverage"] == pytest.approx(ceiling["seen"], abs=0.05)
    assert scores[NEAREST]["coverage"] == 1


def test_the_nearest_photo_of_a_shown_pose_is_that_photo(room: HeldOutScene) -> None:
    case = room.shown(3)
    for view in range(3):
        assert case.nearest(view) == view
    assert score_pictures(case, [1], baselines_of(case)[NEAREST]([1]))["psnr"] == PSNR_CAP
    twin = replace_photo(room, source=1, target=3)  # a held-out photo with the pose of a shown one
    assert twin.shown(3).nearest(3) == 1
    assert score_pictures(twin.shown(3), [3], baselines_of(twin.shown(3))[NEAREST]([3]))["psnr"] == PSNR_CAP


def replace_photo(scene: HeldOutScene, source: int, target: int) -> HeldOutScene:
    rows = np.arange(len(scene.photos))
    rows[target] = source
    truth = scene.truth
    cameras = tuple(truth.cameras[row] for row in rows)
    truth = GroundTruth(truth.points[rows], truth.depth[rows], truth.valid[rows], cameras)
    return HeldOutScene(scene.name, scene.photos[rows], truth, scene.held_out)


def test_own_cameras_forgive_a_wrong_lens_but_true_ones_do_not(relief: HeldOutScene) -> None:
    """A scene that is twice too deep looks right through a lens that is twice too long."""
    case, view = relief.shown(1), exact(relief, 1).views[0]
    matrix = view.camera.intrinsics.copy()
    matrix[[0, 1], [0, 1]] *= 2
    points = (view.points * np.array([1, 1, 2])).astype(np.float32)
    camera = replace(view.camera, intrinsics=matrix)
    scene = Scene((replace(view, camera=camera, points=points, depth=2 * view.depth),))
    scores = [
        score_pictures(case, [0], shows_of_scene(case, scene, "x", own_cameras=own)["x, pixel-sized points"]([0]))
        for own in (True, False)
    ]
    assert scores[0]["psnr"] > 30
    assert scores[1]["psnr"] < scores[0]["psnr"] - 10


def test_gaussians_of_a_scene_come_before_its_points(relief: HeldOutScene) -> None:
    case, scene = relief.shown(3), exact(relief, 3, unit=5.0)
    points, colors, _ = scene.point_cloud()
    depth = np.concatenate([view.depth[view.mask] for view in scene.views])
    own = splats(points, colors, pixel_scales(depth, 62.0))
    shows = shows_of_scene(case, replace(scene, gaussians=own), "exact")
    assert list(shows) == ["exact", "exact, points", "exact, pixel-sized points"]
    assert score_pictures(case, [3, 4], shows["exact"]([3, 4]))["psnr_seen"] > 30
    moved = own_gaussians(replace(scene, gaussians=own), scale_of(scene, case))
    assert moved is not None
    distance = np.linalg.norm(moved.means, axis=1).mean()
    assert distance == pytest.approx(1, abs=1e-3)  # all pixels are valid here
    assert own_gaussians(scene, 1.0) is None


def test_what_the_inputs_see_agrees_with_rays(room: HeldOutScene) -> None:
    """Against exact ray casting: a pixel is seen where the ray from an input's centre to its point meets nothing."""
    case = room.shown(3)
    instants = Instants(worlds.describe("rooms", SPEC.seed, views=3 + novel_scenes.CANDIDATES, light_change=0.0))
    for view in case.held_out:
        points = room.truth.points[view].reshape(-1, 3)
        expected = np.zeros(len(points), bool)
        for shown in range(3):
            camera = room.truth.cameras[shown]
            pixels, depth = camera.project(points)
            inside = (depth > 0) & ((pixels > -0.5) & (pixels < SPEC.size - 0.5)).all(1)
            strikes = instants.cast(
                np.zeros(1, np.int64), camera.center[None], np.zeros(len(points), np.int64), points - camera.center
            )
            expected |= inside & (strikes.distance > 0.99)
        assert (case.seen(view).ravel() == expected).mean() > 0.95
        assert case.seen(view).mean() >= novel_scenes.LEAST_SEEN - 0.1


def test_scenes_are_kept_and_damaged_files_made_anew(
    room: HeldOutScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[NovelSpec] = []
    monkeypatch.setattr(novel_scenes, "render_scene", lambda spec: made.append(spec) or room)
    for damaged, renderings in ((False, 1), (False, 1), (True, 2), (False, 2)):
        if damaged:
            next(tmp_path.iterdir()).write_bytes(b"damaged")
        scene = get_scene(SPEC, tmp_path)
        assert len(made) == renderings
        assert (scene.name, scene.held_out) == (room.name, room.held_out)
        assert np.array_equal(scene.photos, room.photos)
        assert np.array_equal(scene.truth.points, room.truth.points)
        assert np.array_equal(scene.truth.depth, room.truth.depth)
        assert np.array_equal(scene.truth.valid, room.truth.valid)
        assert np.array_equal(scene.truth.world_from_cam, room.truth.world_from_cam)


def test_a_scene_that_was_kept_by_another_renderer_is_rendered_anew(
    room: HeldOutScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[NovelSpec] = []
    monkeypatch.setattr(novel_scenes, "render_scene", lambda spec: made.append(spec) or room)
    for version, renderings in (("a", 1), ("b", 2), ("a", 2)):
        monkeypatch.setattr(novel_scenes, "worlds_version", lambda version=version: version)
        get_scene(SPEC, tmp_path)
        assert len(made) == renderings


def test_the_version_of_worlds_is_that_of_their_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = []
    for text in ("a = 1", "a = 2", "a = 1"):
        (tmp_path / "deep").mkdir(exist_ok=True)
        for name in ("__init__.py", "deep/walls.py"):
            (tmp_path / name).write_text(text)
        monkeypatch.setattr(worlds, "__file__", str(tmp_path / "__init__.py"))
        worlds_version.cache_clear()
        versions.append(worlds_version())
    worlds_version.cache_clear()
    assert versions[0] == versions[2] != versions[1]


def test_a_file_of_another_shape_is_damaged_too(
    room: HeldOutScene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(novel_scenes, "render_scene", lambda spec: room)
    get_scene(SPEC, tmp_path)
    [path] = tmp_path.iterdir()
    parts = load_file(path)
    save_file(parts | {"world_from_cam": parts["world_from_cam"][:-1]}, path)  # one pose is missing
    assert len(get_scene(SPEC, tmp_path).photos) == len(room.photos)
    assert len(load_file(path)["world_from_cam"]) == len(room.photos)


def test_of_photos_that_exist_those_are_held_out_that_the_others_see(relief: HeldOutScene) -> None:
    truth = relief.truth
    away = truth.cameras[1].world_from_cam.copy()
    away[:3, :3] = away[:3, :3] @ np.diag([-1.0, 1.0, -1.0])  # looks the other way: nobody sees its points
    points = truth.points.copy()
    points[1, ..., 2] = -9.0
    sample = SimpleNamespace(
        images=relief.photos, points=points, depth=truth.depth, valid=truth.valid,
        intrinsics=np.stack([camera.intrinsics for camera in truth.cameras]),
        world_from_cam=np.stack([away if row == 1 else pose for row, pose in enumerate(truth.world_from_cam)]),
    )  # fmt: skip
    scene = novel_scenes.hold_out(sample, "some", 2)
    assert scene is not None and (len(scene.photos), scene.inputs) == (5, 3)
    assert np.array_equal(scene.photos[:2], relief.photos[:2])  # the first one, and the one that looks away
    assert np.array_equal(scene.truth.points[:2], points[:2])
    assert np.array_equal(np.sort(scene.photos.mean((1, 2, 3))), np.sort(relief.photos.mean((1, 2, 3))))
    assert novel_scenes.hold_out(sample, "some", 4) is None  # no network reconstructs a single photo


def test_what_is_farther_than_published_is_not_rendered(relief: HeldOutScene) -> None:
    camera = Camera(np.array([[62.0, 0, 30.7], [0, 64.0, 32.4], [0, 0, 1]]), np.eye(4), SIZE, SIZE)
    for depth, shown in ((99.0, True), (101.0, False)):
        disc = splats(np.array([[0.0, 0.0, depth]]), np.zeros((1, 3), np.uint8), 10.0)
        assert (render(disc, [camera]).alpha.max() > 0.5) == shown


def test_the_held_out_photos_do_not_depend_on_how_many_are_shown(few_candidates: None) -> None:
    settings = NovelSettings(counts=(2, 3), size=16)
    scene = render_scene(settings.spec(worlds.TEST_SEEDS[0]))
    assert (scene.inputs, scene.shown(2).held_out, scene.shown(3).held_out) == (3, [3, 4], [3, 4])
    assert re_rendered(4) == [0, 2] and re_rendered(2) == [0, 1] and re_rendered(1) == [0]


def test_worlds_without_enough_to_hold_out_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(novel_scenes, "CANDIDATES", 2)
    monkeypatch.setattr(novel_scenes, "LEAST_SEEN", 1.01)
    said: list[str] = []
    with pytest.raises(NoPlaceError, match="photos to hold out"):
        evaluate_novel({}, NovelSettings(scenes=1, counts=(2,), size=16), say=said.append)
    assert len(said) == 4 and all("half seen" in line for line in said)


def test_mistakes_are_refused() -> None:
    with pytest.raises(InputError, match="Unknown layout"):
        evaluate_novel({}, NovelSettings("moon"))
    with pytest.raises(InputError, match="test scenes cannot be had"):
        NovelSettings(scenes=0)
    with pytest.raises(InputError, match="nothing to hold out"):
        NovelSettings(held_out=0)


def trial(scene: str, method: str, psnr: float, group: str = "novel") -> NovelTrial:
    figures = {"psnr": psnr, "psnr_seen": psnr + 1, "ssim": psnr / 40, "coverage": 0.5, "seen": 1.0}
    return NovelTrial("rooms", 4, scene, method, group, figures)


def test_the_report_compares_scene_by_scene() -> None:
    about = {"suite": "novel views of rooms", "models": {}, "held out": 2, "size": 64, "lpips": "LPIPS: not installed",
             "versions": {"torch": "2"}}  # fmt: skip
    trials = [trial(f"{n}", method, 20 + n + gain) for n in range(3) for method, gain in (("new", 1), ("old", 0))]
    report = NovelReport(about, [*trials, trial("0", "new", math.nan, "input")])
    (row,) = [row for row in report.comparison() if row["figure"] == "PSNR"]
    assert (row["difference"], row["scenes better"]) == (1.0, "3 of 3")
    means = report.as_json()["means"]
    assert means[0]["psnr"][0] == 22 and means[0]["scenes"] == 3
    assert pick_scenes(report) == {"best": "2", "middle": "1", "worst": "0"}
    few = NovelReport(about, trials[:3:2])
    assert pick_scenes(few) == {"best": "1", "worst": "0"}  # each scene once
    page = report.as_markdown()
    assert "no recipe trains" not in page  # e.g. photos of a folder: a model may have seen them
    report.about["first seed"] = 0
    assert "on which no recipe trains" in report.as_markdown()
    assert "LPIPS: not installed" in page and "new minus the others" in page and "one factor per scene" in page


def test_a_network_in_training_is_measured(room: HeldOutScene) -> None:
    torch.manual_seed(0)
    network = MVDust3r(replace(MVDust3rConfig.mini(), gaussians=True)).eval()
    figures = novel_psnr(network, [room])
    assert set(figures) >= {"psnr", "psnr_seen", "ssim", "ssim_seen", "coverage"}
    assert 0 < figures["psnr"] < 30
    assert 0 <= figures["coverage"] <= 1
