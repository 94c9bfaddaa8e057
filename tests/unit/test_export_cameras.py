"""Exported cameras, read back by independent readers: a world point lands where the photo as shown has it."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pycolmap
import pytest
import trimesh
from PIL import Image

import synthetic_scene
from worldline.scene import Scene
from worldline.types import Camera

TOLERANCE = 0.1  # pixels of the photo
COLMAP_FROM_OURS = 0.5


@pytest.fixture(scope="module")
def exported(exact_scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    formats = ["colmap", "colmap-text", "nerfstudio", "tum", "npz", "glb"]
    return exact_scene.export(tmp_path_factory.mktemp("exported"), formats)


def assert_shows(picture: np.ndarray, pixels: np.ndarray, points: np.ndarray) -> None:
    """The picture has the colour of the surface points at these pixels."""
    columns, rows = np.rint(pixels).astype(int).T
    expected = synthetic_scene.color(points[:, 0], points[:, 1])
    assert np.abs(picture[rows, columns].astype(float) - expected).max() < 4


@pytest.mark.parametrize("name", ["colmap", "colmap-text"])
def test_colmap_reprojects_into_the_photo(exact_scene: Scene, exported: dict[str, Path], name: str) -> None:
    model = pycolmap.Reconstruction(exported[name] / "sparse" / "0")
    assert sorted(model.images) == [1, 2, 3, 4]
    for index, view in enumerate(exact_scene.views):
        image = model.images[index + 1]
        points, pixels = synthetic_scene.world_points(view)
        found = np.array([image.project_point(point) for point in points]) - COLMAP_FROM_OURS
        assert np.abs(found - pixels).max() < TOLERANCE
        assert (image.camera.height, image.camera.width) == view.transform.original_size
        picture = np.asarray(Image.open(exported[name] / "images" / image.name))
        assert picture.shape == (*view.transform.original_size, 3)
        assert_shows(picture, found, points)


def test_colmap_tracks_hold_in_every_view(exact_scene: Scene, exported: dict[str, Path]) -> None:
    model = pycolmap.Reconstruction(exported["colmap"] / "sparse" / "0")
    assert model.num_points3D() > 300
    lengths = [point.track.length() for point in model.points3D.values()]
    assert min(lengths) >= 2 and max(lengths) == 4
    assert model.compute_mean_reprojection_error() < TOLERANCE
    for point_id, point in model.points3D.items():
        for element in point.track.elements:
            image = model.images[element.image_id]
            observed = image.points2D[element.point2D_idx]
            assert observed.point3D_id == point_id
            expected, depth = exact_scene.views[element.image_id - 1].camera.project(point.xyz)
            assert depth > 0 and np.linalg.norm(observed.xy - COLMAP_FROM_OURS - expected) < TOLERANCE
        expected = synthetic_scene.color(point.xyz[0], point.xyz[1])
        assert np.abs(point.color - expected).max() < 4


def noisy(scene: Scene, amount: float) -> Scene:
    """The scene as a network would give it: points and cameras that do not quite agree."""
    random = np.random.default_rng(3)
    views = []
    for index, view in enumerate(scene.views):
        smooth = 1 + amount * np.sin(np.arange(view.depth.shape[0]) / 9 + index)[:, None]
        center = view.camera.center
        points = center + (view.points - center) * smooth[..., None] + random.normal(0, amount / 4, view.points.shape)
        pose = view.camera.world_from_cam.copy()
        pose[:3, 3] += random.normal(0, amount, 3)
        camera = dataclasses.replace(view.camera, world_from_cam=pose)
        views.append(dataclasses.replace(view, points=points.astype(np.float32), camera=camera))
    return dataclasses.replace(scene, views=tuple(views))


def test_bundle_adjustment_runs_and_helps(exact_scene: Scene, tmp_path: Path) -> None:
    folder = noisy(exact_scene, 0.01).export(tmp_path, ["colmap"])["colmap"]
    model = pycolmap.Reconstruction(folder / "sparse" / "0")
    assert model.num_points3D() > 200
    before = model.compute_mean_reprojection_error()
    pycolmap.bundle_adjustment(model)
    model.update_point_3d_errors()
    after = model.compute_mean_reprojection_error()
    assert before > 0.3  # otherwise there was nothing to adjust
    assert after < 0.8 * before


def test_bundle_adjustment_leaves_an_exact_scene_alone(exported: dict[str, Path]) -> None:
    model = pycolmap.Reconstruction(exported["colmap"] / "sparse" / "0")
    pycolmap.bundle_adjustment(model)
    model.update_point_3d_errors()
    assert model.compute_mean_reprojection_error() < 0.01


def test_points_that_another_view_does_not_confirm_get_no_track(exact_scene: Scene, tmp_path: Path) -> None:
    views = [
        dataclasses.replace(view, points=view.points * np.float32(1 + 0.3 * index))
        for index, view in enumerate(exact_scene.views)
    ]
    folder = dataclasses.replace(exact_scene, views=tuple(views)).export(tmp_path, ["colmap"])["colmap"]
    assert pycolmap.Reconstruction(folder / "sparse" / "0").num_points3D() < 30


def test_a_view_whose_surface_lies_elsewhere_observes_nothing(exact_scene: Scene, tmp_path: Path) -> None:
    """Moved sideways, its depths still agree with what the others project into it; only the way back tells."""
    aside = exact_scene.views[1].points + np.float32(0.2) * exact_scene.views[1].camera.world_from_cam[:3, 0]
    moved = dataclasses.replace(exact_scene.views[1], points=aside.astype(np.float32))
    scene = dataclasses.replace(exact_scene, views=(exact_scene.views[0], moved, *exact_scene.views[2:]))
    model = pycolmap.Reconstruction(scene.export(tmp_path, ["colmap"])["colmap"] / "sparse" / "0")
    assert model.images[1].num_points3D > 300 and model.images[2].num_points3D == 0


def test_nerfstudio_reprojects_into_the_photo(exact_scene: Scene, exported: dict[str, Path]) -> None:
    document = json.loads((exported["nerfstudio"] / "transforms.json").read_text(encoding="utf-8"))
    assert np.array_equal(document["applied_transform"], np.eye(4)[:3])
    assert (exported["nerfstudio"] / document["ply_file_path"]).is_file()
    for view, frame in zip(exact_scene.views, document["frames"], strict=True):
        points, pixels = synthetic_scene.world_points(view)
        in_camera = np.linalg.inv(frame["transform_matrix"]) @ np.c_[points, np.ones(len(points))].T
        x, y, depth = in_camera[0], -in_camera[1], -in_camera[2]  # OpenGL: y up, looking along -z
        assert (depth > 0).all()
        columns = frame["fl_x"] * x / depth + frame["cx"] - 0.5  # nerfstudio counts from the corner, as COLMAP does
        rows = frame["fl_y"] * y / depth + frame["cy"] - 0.5
        assert np.abs(np.stack([columns, rows], axis=-1) - pixels).max() < TOLERANCE
        picture = np.asarray(Image.open(exported["nerfstudio"] / frame["file_path"]))
        assert picture.shape == (frame["h"], frame["w"], 3) == (*view.transform.original_size, 3)
        assert_shows(picture, pixels, points)


def test_tum_has_the_poses(exact_scene: Scene, exported: dict[str, Path]) -> None:
    rows = np.loadtxt(exported["tum"], comments="#", ndmin=2)
    assert rows.shape == (4, 8)
    for view, row in zip(exact_scene.views, rows, strict=True):
        assert row[0] == pytest.approx(view.timestamp, abs=1e-6)
        x, y, z, w = row[4:]
        rotation = np.array(
            [
                [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
            ]
        )
        pose = np.eye(4)
        pose[:3, :3], pose[:3, 3] = rotation, row[1:4]
        points, pixels = synthetic_scene.world_points(view)
        found, _ = Camera(view.camera.intrinsics, pose, view.camera.height, view.camera.width).project(points)
        assert np.abs(found - pixels).max() < TOLERANCE


def test_tum_counts_where_there_is_no_time(exact_scene: Scene, tmp_path: Path) -> None:
    views = (dataclasses.replace(exact_scene.views[0], timestamp=None), *exact_scene.views[1:])
    path = dataclasses.replace(exact_scene, views=views).export(tmp_path, ["tum"])["tum"]
    assert np.loadtxt(path)[:, 0].tolist() == [0, 1, 2, 3]


def test_npz_has_both_cameras(exact_scene: Scene, exported: dict[str, Path]) -> None:
    with np.load(exported["npz"], allow_pickle=False) as arrays:
        assert arrays["names"].tolist() == [view.name for view in exact_scene.views]
        assert str(arrays["scale"]) == "model"
        for index, view in enumerate(exact_scene.views):
            points, pixels = synthetic_scene.world_points(view)
            pose = np.linalg.inv(arrays["world_from_cam"][index])
            in_camera = points @ pose[:3, :3].T + pose[:3, 3]
            found = (in_camera / in_camera[:, 2:]) @ arrays["intrinsics"][index].T
            assert np.abs(found[:, :2] - pixels).max() < TOLERANCE
            mask, depth = arrays[f"masks_{index:04d}"], arrays[f"depths_{index:04d}"]
            rows, columns = np.nonzero(mask)
            rays = np.stack([columns, rows, np.ones_like(rows)], axis=-1)
            rays = rays @ np.linalg.inv(arrays["model_intrinsics"][index]).T
            world = (rays * depth[mask][:, None]) @ np.linalg.inv(pose)[:3, :3].T + np.linalg.inv(pose)[:3, 3]
            assert np.abs(world - arrays[f"points_{index:04d}"][mask]).max() < 1e-4
            assert np.array_equal(arrays[f"images_{index:04d}"], view.image)


def test_npz_stacks_views_of_one_size(exact_scene: Scene, tmp_path: Path) -> None:
    view = exact_scene.views[0]
    scene = Scene(views=(view, dataclasses.replace(view, name="again")))
    with np.load(scene.export(tmp_path, ["npz"])["npz"], allow_pickle=False) as arrays:
        assert arrays["points"].shape == (2, 112, 128, 3) and arrays["masks"].dtype == bool


def test_glb_frusta_end_at_the_corners_of_the_photo(exact_scene: Scene, exported: dict[str, Path]) -> None:
    content = trimesh.load_scene(exported["glb"])
    for index, view in enumerate(exact_scene.views):
        node = f"camera_{index:04d}"
        transform, name = content.graph[node]
        vertices = content.geometry[name].vertices @ transform[:3, :3].T + transform[:3, 3]
        world = np.unique(np.round(vertices * [1, -1, -1], 6), axis=0)  # glTF has y up
        assert len(world) == 5
        away = np.linalg.norm(world - view.camera.center, axis=1) > 1e-4
        assert away.sum() == 4
        pixels, depth = view.camera.project(world[away])
        height, width = view.transform.original_size
        corners = {(-0.5, -0.5), (width - 0.5, -0.5), (width - 0.5, height - 0.5), (-0.5, height - 0.5)}
        assert {(round(x, 1) + 0.0, round(y, 1) + 0.0) for x, y in pixels.tolist()} == corners
        assert (depth > 0).all()


def test_equal_intrinsics_share_one_colmap_camera(exact_scene: Scene, tmp_path: Path) -> None:
    view = exact_scene.views[0]
    scene = Scene(views=(view, dataclasses.replace(view, name="again.png"), exact_scene.views[1]))
    model = pycolmap.Reconstruction(scene.export(tmp_path, ["colmap"])["colmap"] / "sparse" / "0")
    assert [model.images[i].camera_id for i in (1, 2, 3)] == [1, 1, 2]
    pycolmap.bundle_adjustment(model)


def test_views_without_photos_get_pictures_and_cameras_of_model_size(tmp_path: Path) -> None:
    scene = synthetic_scene.make_scene(None)
    folder = scene.export(tmp_path, ["colmap"])["colmap"]
    model = pycolmap.Reconstruction(folder / "sparse" / "0")
    assert model.num_points3D() > 300 and model.compute_mean_reprojection_error() < TOLERANCE
    for index, view in enumerate(scene.views):
        image = model.images[index + 1]
        picture = np.asarray(Image.open(folder / "images" / image.name))
        assert picture.shape == (*view.transform.model_size, 3)
        assert (image.camera.height, image.camera.width) == view.transform.model_size
        points = view.points[view.mask][::97]
        found = np.array([image.project_point(point) for point in points]) - COLMAP_FROM_OURS
        assert_shows(picture, found, points)


def test_views_without_a_pose_are_left_out(exact_scene: Scene, tmp_path: Path) -> None:
    failed = dataclasses.replace(exact_scene.views[1], pose_status="failed")
    scene = dataclasses.replace(exact_scene, views=(exact_scene.views[0], failed, *exact_scene.views[2:]))
    written = scene.export(tmp_path, ["colmap", "nerfstudio", "tum", "glb"])
    model = pycolmap.Reconstruction(written["colmap"] / "sparse" / "0")
    assert sorted(model.images) == [1, 3, 4] and model.num_points3D() > 200
    assert len(json.loads((written["nerfstudio"] / "transforms.json").read_text())["frames"]) == 3
    assert len(np.loadtxt(written["tum"])) == 3
    assert "camera_0001" not in trimesh.load_scene(written["glb"]).geometry


def test_skew_that_a_format_cannot_hold_is_said(exact_scene, tmp_path):
    view = exact_scene.views[0]
    intrinsics = view.camera.intrinsics.copy()
    intrinsics[0, 1] = 2.0
    skewed = dataclasses.replace(view, camera=dataclasses.replace(view.camera, intrinsics=intrinsics))
    scene = dataclasses.replace(exact_scene, views=(skewed, *exact_scene.views[1:]))
    with pytest.warns(UserWarning, match="skew"):
        scene.export(tmp_path, ["nerfstudio"])
