"""The viewer in a real browser: what a user sees and what the controls do."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

import synthetic_scene
from browser_window import Window, changed_share, drawn_share
from worldline.outputs.facts.viewpoint import quaternion, vertical_fov
from worldline.outputs.view.state import ViewState

EVIL = "![x](https://example.com/a.png) <img src='https://example.com/b.png'> <script>throw 1</script>"


@pytest.fixture(scope="module")
def shared(open_shared_window: Callable[..., Window]) -> Window:
    """One tab for all tests of this file."""
    made = synthetic_scene.make_scene()
    views = tuple(replace(view, timestamp=None, sensor=None) for view in made.views)
    scene = replace(made, views=views, tracks=None, warnings=(EVIL,))
    return open_shared_window(scene, names=["relief"])


@pytest.fixture
def window(shared: Window) -> Iterator[Window]:
    """The tab as it was opened; at the end nothing may have gone wrong on the page."""
    shared.viewer.store.change(**vars(ViewState()))
    shared.viewer.fly_home(shared.client)
    shared.settle()
    yield shared
    shared.check()


def test_page_shows_the_scene(window: Window) -> None:
    picture = window.picture("view_page")
    assert drawn_share(picture) > 0.12
    assert np.unique(picture.reshape(-1, 3), axis=0).shape[0] > 100
    assert "48\u202f352 points" in window.page.inner_text("body")


def test_a_camera_that_is_clicked_is_flown_to(window: Window) -> None:
    stage, tab = window.viewer.stages[0], window.client.camera
    cameras = [view.model_camera for view in stage.scene.views]
    middles = [camera.center + 0.1 * stage.extent * camera.world_from_cam[:3, 2] for camera in cameras]
    places = window.project(middles)
    free = [index for index in range(4) if 20 < places[index, 0] < 370 and 20 < places[index, 1] < 400]
    index = min(free, key=lambda each: float(np.linalg.norm(middles[each] - tab.position)))  # none stands before it
    camera = cameras[index]
    window.page.mouse.click(*places[index])
    window.until(lambda: np.allclose(tab.position, camera.center, atol=1e-4))
    assert abs(abs(tab.wxyz @ quaternion(camera.world_from_cam[:3, :3])) - 1) < 1e-6
    assert tab.fov == pytest.approx(vertical_fov(camera), rel=1e-5)  # the window is wider than the photo
    shown = window.viewer.server.scene.get_handle_by_name(f"{stage.prefix}/cameras/{index}")
    window.until(lambda: not shown.visible)  # its photo would hide what it sees


def test_from_its_camera_the_cloud_looks_like_the_photo(window: Window) -> None:
    view = window.viewer.stages[0].scene.views[0]
    window.viewer.store.change(frusta=False)
    window.viewer.fly_to_view(window.client, window.viewer.stages[0], 0)
    window.settle()
    picture = window.picture("view_from_camera")
    height = picture.shape[0]
    width = round(height * view.image.shape[1] / view.image.shape[0])
    left = (window.page.viewport_size["width"] - width) // 2
    seen = min(width, picture.shape[1] - left)  # the controls cover the rest
    photo = np.asarray(Image.fromarray(view.image).resize((width, height))).astype(int)
    assert np.abs(photo[:, :seen] - picture[:, left : left + seen]).mean() < 12
    assert np.abs(photo[::-1, :seen] - picture[:, left : left + seen]).mean() > 40  # the test can fail


def test_confidence_slider_leaves_points_out(window: Window) -> None:
    before = window.picture()
    slider = window.slider("Hide least sure")
    slider.press("End")
    window.until(lambda: window.viewer.store.now.confidence == 99)
    after = window.settle()
    assert drawn_share(after) < drawn_share(before) - 0.05
    window.until(lambda: "484\u202f" not in window.page.inner_text("body"))
    slider.press("Home")
    window.until(lambda: window.viewer.store.now.confidence == 0)
    assert changed_share(window.settle(), before) < 0.01


def test_budget_is_stated(window: Window) -> None:
    window.viewer.store.change(budget=20_000)
    window.settle()
    window.until(lambda: "of 48\u202f352 points" in window.page.inner_text("body"))
    assert drawn_share(window.picture()) > 0.1  # larger points take the place of those left out


def test_gaussians_take_the_place_of_points(window: Window) -> None:
    points = window.picture()
    window.page.mouse.move(10, 10)
    window.page.keyboard.press("g")
    window.until(lambda: window.viewer.store.now.shown == "gaussians")
    window.page.wait_for_timeout(500)  # they grow in
    gaussians = window.settle()
    assert changed_share(points, gaussians) > 0.1
    window.viewer.store.change(frusta=False)
    assert drawn_share(window.settle()) > 0.01
    assert "200 Gaussians" in window.page.inner_text("body")
    window.shot("view_gaussians")


def test_colours_and_background_follow_the_controls(window: Window) -> None:
    before = window.picture()
    window.viewer.store.change(coloring="depth", background="black")
    after = window.settle()
    assert changed_share(before, after) > 0.5
    assert drawn_share(after[-20:, -20:], background=20) == 0
    window.until(lambda: "black" in [box.input_value() for box in window.page.locator("input").all()])
    window.shot("view_depth")


def test_screenshot_is_what_the_tab_shows(window: Window) -> None:
    shown = window.picture()
    with window.page.expect_download() as download:
        window.page.get_by_role("button", name="Screenshot").click()
    picture = Image.open(io.BytesIO(download.value.path().read_bytes())).convert("RGB")
    assert download.value.suggested_filename == "relief.png"
    assert picture.width >= 1600 and picture.width / picture.height == pytest.approx(720 / 420, rel=0.01)
    small = np.asarray(picture.resize((720, 420)))[:, : shown.shape[1]]
    assert changed_share(small[:-60], shown[:-60], tolerance=60) < 0.05  # the corner shows the axes


def test_export_is_downloaded(window: Window) -> None:
    with window.page.expect_download() as download:
        window.page.get_by_role("button", name="Export").click()
    assert download.value.suggested_filename == "relief.glb"
    assert download.value.path().read_bytes()[:4] == b"glTF"


def test_texts_of_a_scene_load_nothing(window: Window) -> None:
    window.page.get_by_text("About this scene").click()
    window.until(lambda: "example.com/a.png" in window.page.inner_text("body"))
    window.page.wait_for_timeout(300)
    assert not [url for url in window.requests if "example.com" in url]
    window.page.get_by_text("About this scene").click()


def test_two_tabs_show_the_same_from_where_they_stand(window: Window, open_window: Callable[..., Window]) -> None:
    other = open_window(viewer=window.viewer, size=(640, 400))
    window.viewer.store.change(budget=20_000)
    other.until(lambda: "of 48\u202f352 points" in other.page.inner_text("body"))
    window.viewer.fly_to_view(other.client, window.viewer.stages[0], 2)
    there = window.viewer.stages[0].scene.views[2].camera.center
    other.until(lambda: np.allclose(other.client.camera.position, there, atol=1e-4))
    first = window.viewer.server.get_clients()[min(window.viewer.server.get_clients())]
    assert np.allclose(first.camera.position, window.viewer.start.position)
    other.check()
