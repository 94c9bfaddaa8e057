"""The viewer without a browser: state, thinning, camera mathematics, transport."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest

import synthetic_scene
from worldline.errors import InputError
from worldline.outputs.drawing import PALETTES, Scale, paint
from worldline.outputs.facts.viewpoint import (
    Viewpoint,
    fov_to_contain,
    home,
    horizontal_fov,
    orbit_up,
    quaternion,
    up_direction,
    vertical_fov,
)
from worldline.outputs.report.facts import collect
from worldline.outputs.view import open_viewer
from worldline.outputs.view.downloads import export_file, file_name
from worldline.outputs.view.layers.splats import covariances, transport_unit
from worldline.outputs.view.logic.coloring import legend
from worldline.outputs.view.logic.colors import COLORINGS, ramp
from worldline.outputs.view.logic.selection import kept_pixels
from worldline.outputs.view.logic.spacing import diameters, view_footprints, view_overlaps
from worldline.outputs.view.panels.information import count_text, describe, plain
from worldline.outputs.view.stage import Stage
from worldline.outputs.view.state import Store, ViewState
from worldline.scene.scene import SCALES
from worldline.types import Camera


@pytest.fixture(scope="module")
def stage() -> Stage:
    return Stage(synthetic_scene.make_scene(), "/a", "scene")


def test_the_store_tells_what_changed_and_only_that() -> None:
    store, heard = Store(), []
    store.subscribe(lambda state, changed: heard.append((state.confidence, changed)))
    store.change(confidence=20.0, frusta=True)  # frusta is True already
    store.change(confidence=20.0)
    assert heard == [(20.0, {"confidence"})]
    with pytest.raises(TypeError):
        store.change(confidense=1.0)


def test_every_beginning_of_the_pixels_is_an_even_and_repeatable_sample(stage: Stage) -> None:
    pixels = stage.pixels(0)
    assert np.array_equal(np.sort(pixels.index), np.flatnonzero(stage.scene.views[0].mask))
    again = Stage(stage.scene, "/a", "again").pixels(0)
    assert np.array_equal(pixels.index, again.index) and np.array_equal(pixels.points, again.points)
    height, width = stage.scene.views[0].mask.shape
    rows, columns = np.divmod(pixels.index[:1600], width)
    blocks = np.bincount(4 * (rows * 4 // height) + columns * 4 // width, minlength=16)
    assert blocks.min() > 60 and blocks.max() < 140  # 100 each; six standard deviations are 60


def test_pixels_belong_together(stage: Stage) -> None:
    view, pixels = stage.scene.views[1], stage.pixels(1)
    assert np.array_equal(pixels.points, view.points.reshape(-1, 3)[pixels.index])
    assert np.array_equal(pixels.colors, view.image.reshape(-1, 3)[pixels.index])
    assert np.array_equal(pixels.depth, view.depth.ravel()[pixels.index])


def test_points_of_one_view_just_close_its_surface() -> None:
    sizes = diameters(np.array([0.01]), np.array([1.0]), share=1.0)
    assert 0.01 < sizes[0] < 0.015
    assert diameters(np.array([0.01]), np.array([1.0]), share=0.25)[0] == pytest.approx(2 * sizes[0])


def test_views_of_the_same_surface_help_each_other() -> None:
    random = np.random.default_rng(0)
    floor = np.concatenate([random.uniform(0, 1, (4000, 2)), np.zeros((4000, 1))], axis=1).astype(np.float32)
    lonely = floor + np.array([5, 0, 0], np.float32)
    points, view = np.concatenate([*6 * [floor], lonely]), np.repeat(np.arange(7), 4000)
    overlaps = view_overlaps(points, view, 8, cell=0.1)  # view 7 shows nothing
    assert overlaps == pytest.approx([6, 6, 6, 6, 6, 6, 1, 1], abs=0.1)
    sizes = diameters(np.full(8, 0.01), overlaps, share=1.0)
    assert sizes[0] < 0.8 * sizes[6]
    # discs of that size leave next to nothing of the floor bare, all six views together
    near = 6 * 4000 * np.pi * (diameters(np.full(1, 4000**-0.5), overlaps[:1], share=1.0)[0] / 2) ** 2
    assert np.exp(-near) < 0.02


def test_footprints_are_depth_over_focal_length() -> None:
    depth, view = np.array([1.0, 2.0, 3.0, 8.0], np.float32), np.array([0, 0, 0, 1])
    found = view_footprints(depth, view, np.array([100.0, 200.0, 100.0]))
    assert found == pytest.approx([0.02, 0.04, 0.03])  # the last view shows nothing


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    bounded = Stage(synthetic_scene.make_scene(), "/a", "bounded")
    first = bounded.pixels(0)
    assert bounded.pixels(0) is first
    monkeypatch.setattr(Stage, "cache_bytes", first.nbytes + bounded.pixels(1).nbytes)
    assert bounded.pixels(0) is first  # both fit
    bounded.pixels(1)
    bounded.pixels(2)
    again = bounded.pixels(0)
    assert again is not first and np.array_equal(again.index, first.index)


def test_confidence_is_a_percentile_of_the_whole_scene(stage: Stage) -> None:
    counts = [sum(len(kept_pixels(stage, ViewState(confidence=c), i)) for i in range(len(stage))) for c in (0, 40, 90)]
    assert counts[0] == sum(int(view.mask.sum()) for view in stage.scene.views)
    assert counts[1] == pytest.approx(0.6 * counts[0], rel=0.02)
    assert counts[2] == pytest.approx(0.1 * counts[0], rel=0.05)
    rows = kept_pixels(stage, ViewState(confidence=90.0), 0)
    left_out = np.setdiff1d(np.arange(len(stage.pixels(0))), rows)
    assert stage.pixels(0).confidence[rows].min() >= stage.pixels(0).confidence[left_out].max()


def test_depth_is_cut_at_both_ends_and_the_right_end_is_no_limit(stage: Stage) -> None:
    limit, depth = stage.depth_limit, stage.pixels(0).depth
    kept = kept_pixels(stage, ViewState(depth=(0.9, 0.95)), 0)
    assert 0 < len(kept) < len(depth)
    assert depth[kept].min() >= 0.9 * limit and depth[kept].max() <= 0.95 * limit
    assert len(kept_pixels(stage, ViewState(depth=(0.0, 1.0)), 0)) == len(depth)


def test_motion_of_unknown_pixels_counts_as_still(stage: Stage) -> None:
    moving = stage.scene.views[0].depth > 4
    view = replace(stage.scene.views[0], dynamic=moving)
    known = Stage(replace(stage.scene, views=(view, *stage.scene.views[1:]), tracks=None), "/a", "known")
    assert len(kept_pixels(known, ViewState(motion="dynamic"), 0)) == int((moving & view.mask).sum())
    assert len(kept_pixels(known, ViewState(motion="dynamic"), 1)) == 0
    assert len(kept_pixels(known, ViewState(motion="static"), 1)) == int(stage.scene.views[1].mask.sum())


def turn(axis: np.ndarray, angle: float) -> np.ndarray:
    """Rotation about an axis (Rodrigues)."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


@pytest.mark.parametrize("angle", [0.0, 1e-9, 0.3, 2.0, np.pi - 1e-7, np.pi])
def test_quaternions_are_those_of_half_the_angle(angle: float) -> None:
    axis = np.array([0.48, -0.6, 0.64])
    expected = np.array([np.cos(angle / 2), *(np.sin(angle / 2) * axis)])
    found = quaternion(turn(axis, angle))
    assert min(np.abs(found - expected).max(), np.abs(found + expected).max()) < 1e-7


def test_up_is_level_where_photographers_look_down_from_all_sides() -> None:
    centers = [(3 * np.cos(a), -1.5, 3 * np.sin(a)) for a in np.linspace(0, 2.5, 6)]  # y points down
    poses = [synthetic_scene.look_at(center, (0.0, 0.0, 0.0)) for center in centers]
    assert up_direction(poses) @ [0, -1, 0] > np.cos(np.deg2rad(3))
    mean = -np.mean([pose[:3, 1] for pose in poses], axis=0)
    assert mean / np.linalg.norm(mean) @ [0, -1, 0] < np.cos(np.deg2rad(10))  # the plain mean is not


def test_up_of_one_camera_is_its_own() -> None:
    assert np.allclose(up_direction([np.eye(4)]), [0, -1, 0])


def test_the_window_contains_the_photo() -> None:
    camera = Camera(np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]]), np.eye(4), 240, 320)
    assert fov_to_contain(camera, 2.0) == pytest.approx(vertical_fov(camera))  # wider than the photo
    tall = fov_to_contain(camera, 0.5)
    assert 2 * np.arctan(np.tan(tall / 2) * 0.5) == pytest.approx(horizontal_fov(camera))


def test_a_viewpoint_looks_at_its_target_and_is_level() -> None:
    up = np.array([0.0, -1.0, 0.0])
    pose = Viewpoint(np.array([1.0, -2.0, 3.0]), np.array([0.0, 0.5, 4.0]), up, 1.0).pose
    assert np.allclose(pose[:3, :3].T @ pose[:3, :3], np.eye(3)) and np.linalg.det(pose[:3, :3]) > 0
    toward = np.array([-1.0, 2.5, 1.0])
    assert np.allclose(pose[:3, 2], toward / np.linalg.norm(toward))
    assert pose[:3, 0] @ up == pytest.approx(0, abs=1e-12) and -pose[:3, 1] @ up > 0


def test_orbiting_keeps_the_roll_of_a_pose() -> None:
    up = np.array([0.0, -1.0, 0.0])
    rolled = turn(np.array([0.2, 0.3, 1.0]), 0.4)
    axis = orbit_up(rolled, up)
    assert axis @ rolled[:, 0] == pytest.approx(0, abs=1e-12)  # so up, seen by the camera, is straight up
    assert axis @ up > 0.9
    upside_down = turn(np.array([0.0, 0.0, 1.0]), np.pi)
    assert np.allclose(orbit_up(upside_down, up), -upside_down[:, 1])


def test_home_steps_back_unless_something_stands_in_the_way(stage: Stage) -> None:
    camera, up = stage.scene.views[0].model_camera, stage.up
    free = home(camera, stage.sample.points, up)
    assert (free.position - camera.center) @ camera.world_from_cam[:3, 2] < -1
    x, y = np.meshgrid(np.linspace(-3, 3, 60), np.linspace(-3, 3, 60))
    wall = np.stack([x, y, np.full_like(x, -0.3)], axis=-1).reshape(-1, 3)  # behind the camera
    closed = home(camera, np.concatenate([stage.sample.points, wall]).astype(np.float32), up)
    assert (closed.position - camera.center) @ camera.world_from_cam[:3, 2] >= -0.3


@pytest.mark.parametrize("size", [1e-4, 1.0, 300.0])
def test_gaussians_of_every_size_survive_half_floats(size: float) -> None:
    random = np.random.default_rng(0)
    scales = (size * np.exp(random.uniform(-2, 0, (50, 3)))).astype(np.float32)
    rotations = synthetic_scene.unit(random.normal(size=(50, 4))).astype(np.float32)
    unit = transport_unit(scales)
    sent = covariances(scales / unit, rotations).astype(np.float16).astype(np.float64) * unit**2
    found = np.sort(np.linalg.eigvalsh(sent), axis=-1)
    assert np.allclose(found, np.sort(scales.astype(np.float64) ** 2, axis=-1), rtol=0.06)


def test_covariances_turn_with_their_quaternion() -> None:
    half = np.sqrt(0.5)  # a quarter turn about z takes x to y
    found = covariances(np.array([[2.0, 1.0, 0.5]], np.float32), np.array([[half, 0, 0, half]], np.float32))
    assert np.allclose(found[0], np.diag([1.0, 4.0, 0.25]), atol=1e-6)


def test_texts_of_a_scene_neither_format_nor_load_anything() -> None:
    bad = "![x](http://example.com/a.png) <img src=http://example.com> **b**"
    assert not set("<>[]()!*") & set(plain(bad))
    scene = replace(synthetic_scene.make_scene(), warnings=(bad,))
    text = describe(Stage(scene, "/a", "scene"))
    assert "http://example" not in text and "Apache" in text


def test_depth_and_confidence_have_the_colours_of_the_reports(stage: Stage) -> None:
    pixels, view = stage.pixels(0), stage.scene.views[0]
    colors = COLORINGS["depth"](stage, 0)
    expected = paint(view.depth, view.mask, Scale(*stage.depth_ends, log=True), "near")
    assert np.array_equal(colors, expected.reshape(-1, 3)[pixels.index])
    nearest, farthest = (colors[order].astype(int) for order in (pixels.depth.argmin(), pixels.depth.argmax()))
    assert nearest[0] > farthest[0] and nearest[2] < farthest[2]  # red is near, blue is far
    bar = legend("depth", stage)
    assert bar.index("rgb(122,4,3)") < bar.index("rgb(48,18,59)")
    near, far = (f"<span>{end:.3g} " for end in stage.depth_ends)
    assert bar.index(near) < bar.index(far)
    assert ramp(np.linspace(0, 1, 9)).tolist() == [list(color) for color in PALETTES["amount"]]


def test_depth_of_nothing_has_colours_too(stage: Stage) -> None:
    views = tuple(replace(view, mask=np.zeros_like(view.mask)) for view in stage.scene.views)
    empty = Stage(replace(stage.scene, views=views, tracks=None), "/a", "empty")
    assert len(COLORINGS["depth"](empty, 0)) == 0 and "depth" in legend("depth", empty)


@pytest.mark.parametrize("scale", SCALES)
def test_the_panel_and_the_report_say_the_same_of_the_scale(scale: str) -> None:
    scene = replace(synthetic_scene.make_scene(), scale=scale)
    words = collect(scene, (0,)).scale
    assert plain(words) in describe(Stage(scene, "/a", "scene"))
    assert ("in metres" in words) == scene.metric


def test_counts_are_stated() -> None:
    assert count_text(1_000_000, 4_816_896).replace("\u202f", " ") == "1 000 000 of 4 816 896 points"


def test_exports_are_one_file_each() -> None:
    scene = synthetic_scene.make_scene()
    name, content = export_file(scene, "my room/1", "glb")
    assert name == "my_room_1.glb" and content[:4] == b"glTF"
    name, content = export_file(scene, "room", "colmap")
    assert name == "room_colmap.zip"
    assert "colmap/sparse/0/cameras.bin" in zipfile.ZipFile(io.BytesIO(content)).namelist()
    assert file_name("///") == "scene"


def test_no_scene_is_a_mistake() -> None:
    with pytest.raises(InputError, match="no scene"):
        open_viewer([])
    with pytest.raises(InputError, match="2 names"):
        open_viewer([synthetic_scene.make_scene()], names=["a", "b"])
