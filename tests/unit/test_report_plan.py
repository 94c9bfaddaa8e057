"""The map of a scene: exact, to scale, upright, without the ceiling."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import report_scenes
from worldline.outputs.drawing import INK
from worldline.outputs.report.facts import Sample, sample_points
from worldline.outputs.report.plan import extent, make_plan, scale_bar
from worldline.outputs.report.top_view import draw_top_view
from worldline.scene import Scene
from worldline.types import Tracks

SIZE = {"width": 450, "height": 320}
RED = (250, 5, 5)


def room(degrees: float = 0.0, ceiling: bool = True) -> Sample:
    """A grey room 6 x 4 x 2.6 units, turned about z, with a red ceiling."""
    random = np.random.default_rng(3)
    points = random.uniform((-3, -2, 0), (3, 2, 2.6), (30_000, 3))
    side = random.integers(0, 6, len(points))
    axis, end = side // 2, side % 2
    low, high = np.array([-3, -2, 0]), np.array([3, 2, 2.6])
    points[np.arange(len(points)), axis] = np.where(end == 0, low[axis], high[axis])
    colors = np.where((points[:, 2:] == 2.6), RED, (120, 120, 120))
    keep = np.full(len(points), True) if ceiling else points[:, 2] < 2.6
    turned = points[keep] @ report_scenes.turned(degrees).T
    return Sample(turned.astype(np.float32), colors[keep].astype(np.uint8))


def cameras(degrees: float = 0.0, tilt: float = 20.0) -> Scene:
    """Four tilted cameras near the middle of the room."""
    places = [(0.5, 0.2), (-0.5, 0.3), (0.4, -0.6), (-0.2, -0.4)]
    views = []
    for row, (x, y) in enumerate(places):
        center = report_scenes.turned(degrees) @ (x, y, 1.5)
        eye = report_scenes.camera(tuple(center), degrees + 40 * row, tilt)
        views.append(report_scenes.view(f"{row}", eye))
    return Scene(tuple(views))


def test_up_is_against_gravity_although_all_cameras_look_down() -> None:
    plan = make_plan(cameras(tilt=25), room(), **SIZE)
    assert plan.world_from_plan[:, 2] @ (0, 0, 1) > np.cos(np.radians(3))
    assert np.linalg.det(plan.world_from_plan) == pytest.approx(1.0)  # no mirror image


def test_places_on_the_map_are_orthographic() -> None:
    plan = make_plan(cameras(), room(30), **SIZE)
    random = np.random.default_rng(0)
    points = random.uniform(-2, 2, (50, 3))
    above = points + random.uniform(0.1, 5, (50, 1)) * plan.world_from_plan[:, 2]
    np.testing.assert_allclose(plan.place(points), plan.place(above), atol=1e-9)
    flat = points - np.outer(points @ plan.world_from_plan[:, 2], plan.world_from_plan[:, 2])
    lengths = np.linalg.norm(np.diff(plan.place(points), axis=0), axis=1)
    np.testing.assert_allclose(lengths, plan.pixels * np.linalg.norm(np.diff(flat, axis=0), axis=1))


@pytest.mark.parametrize("degrees", [0, 17, 33, 62])
def test_walls_are_parallel_to_the_page_and_the_room_fills_it(degrees: float) -> None:
    plan = make_plan(cameras(degrees), room(degrees), **SIZE)
    wall = report_scenes.turned(degrees)[:, 0] @ plan.world_from_plan
    assert max(abs(wall[0]), abs(wall[1])) > np.cos(np.radians(2.5))
    assert abs(wall[0]) > 0.99  # the long side lies along the long side of the page
    corners = plan.place(np.array([(x, y, 1.0) for x in (-3, 3) for y in (-2, 2)]) @ report_scenes.turned(degrees).T)
    assert (corners > 0).all() and (corners < (450, 320)).all()
    assert np.ptp(corners[:, 0]) > 0.85 * 450 or np.ptp(corners[:, 1]) > 0.85 * 320
    size = extent(cameras(degrees), room(degrees))
    assert size is not None and size == pytest.approx((6, 4, 2.6), rel=0.06)


def test_a_point_is_drawn_where_the_map_has_it() -> None:
    sample = room(ceiling=False)
    mark = np.array([[1.234, -1.111, 0.8]], np.float32)
    block = mark + 0.004 * np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1], [0]), -1).reshape(-1, 3)
    marked = Sample(
        np.concatenate([sample.points, block]).astype(np.float32),
        np.concatenate([sample.colors, np.tile(np.array([RED], np.uint8), (len(block), 1))]),
    )
    scene = cameras()
    picture = draw_top_view(scene, marked, [], **SIZE).astype(int)
    redness = np.clip(picture[..., 0] - picture[..., 1] - 100, 0, None)
    rows, columns = np.nonzero(redness)
    place = make_plan(scene, marked, **SIZE).place(mark)[0]
    near = (abs(columns - place[0]) < 4) & (abs(rows - place[1]) < 4)
    weight = redness[rows, columns][near]
    found = np.array([(columns[near] * weight).sum(), (rows[near] * weight).sum()]) / weight.sum()
    assert np.abs(found - place).max() < 1


def test_the_ceiling_is_cut_off() -> None:
    picture = draw_top_view(cameras(), room(), [], **SIZE).astype(int)
    red = (picture[..., 0] > 200) & (picture[..., 1] < 40)
    grey = (abs(picture - 120).max(-1) < 8).mean()
    assert not red.any() and grey > 0.1


@pytest.mark.parametrize("zoom", [0.013, 1.0, 7.7, 4300.0])
def test_the_scale_bar_is_as_long_as_it_says(zoom: float) -> None:
    sample, scene = room(ceiling=False), cameras()
    larger = Sample(sample.points * np.float32(zoom), sample.colors)
    views = []
    for view in scene.views:
        pose = view.camera.world_from_cam.copy()
        pose[:3, 3] *= zoom
        views.append(replace(view, camera=replace(view.camera, world_from_cam=pose)))
    scene = replace(scene, views=tuple(views))
    plan = make_plan(scene, larger, **SIZE)
    length, pixels = scale_bar(plan)
    assert f"{length:.0e}"[0] in "125" and length == pytest.approx(float(f"{length:.0e}"))
    start, end = plan.place(np.stack([np.zeros(3), length * plan.world_from_plan[:, 0]]))
    assert np.linalg.norm(end - start) == pytest.approx(pixels)
    assert 0.08 * SIZE["width"] < pixels <= 0.2201 * SIZE["width"]
    corner = draw_top_view(scene, larger, [], **SIZE)[-40:, -140:]
    dark = (np.abs(corner.astype(int) - INK).max(-1) < 30).sum(1).max()  # the longest dark line
    assert dark == pytest.approx(pixels, abs=3)


def test_a_camera_without_a_pose_is_not_on_the_map() -> None:
    scene = report_scenes.photos(3)  # the third has none
    sample = sample_points(scene)
    with_number = draw_top_view(scene, sample, [0, 1, 2], **SIZE)
    without = draw_top_view(replace(scene, views=scene.views[:2]), sample, [0, 1], **SIZE)
    np.testing.assert_array_equal(with_number, without)


@pytest.mark.parametrize("make", [report_scenes.stream, report_scenes.video, lambda: report_scenes.photos(1)])
def test_every_kind_of_scene_can_be_drawn(make) -> None:
    scene = make()
    picture = draw_top_view(scene, sample_points(scene), range(len(scene)), **SIZE)
    assert picture.shape == (320, 450, 3) and picture.std() > 5


def test_tracks_are_drawn_where_they_are_visible_and_only_there() -> None:
    scene = report_scenes.photos(4)
    sample = sample_points(scene)
    plan = make_plan(scene, sample, **SIZE)
    start, step = plan.middle, 0.1 * plan.world_from_plan[:, 0] * SIZE["width"] / plan.pixels
    points = (start + np.arange(-1, 3)[:, None] * step).astype(np.float32)[None]
    visible = np.array([[True, True, True, False]])
    tracks = Tracks(points, np.zeros((1, 4, 2), np.float32), visible)
    plain = draw_top_view(scene, sample, [], **SIZE)
    with_track = draw_top_view(replace(scene, tracks=tracks), sample, [], **SIZE)
    rows, columns = np.nonzero((plain != with_track).any(-1))
    first, last = plan.place(points[0, 0]), plan.place(points[0, 2])
    assert abs(columns.min() - first[0]) <= 2 and abs(columns.max() - last[0]) <= 2
    assert np.abs(rows - first[1]).max() <= 2
