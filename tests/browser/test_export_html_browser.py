"""The exported page in a real Chromium, from a file and with the network cut: what it draws is where the photos say."""

import dataclasses
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import moving_world
import synthetic_scene
from worldline.pipeline.exact import exact_scene
from worldline.scene import Scene
from worldline.worlds import sampling

WIDE = (640, 420)
VIEW = "({ center: window.worldline.eye.center, axes: window.worldline.eye.axes })"
Open = Callable[..., Any]


@pytest.fixture
def open_page(chromium: Any, tmp_path: Path) -> Iterator[Open]:
    """``open_page(scene, hash, size)`` -> a tab of the exported page that has drawn; all it asks for is checked."""
    contexts, complaints = [], []

    def open_(scene: Scene, fragment: str = "", size: tuple[int, int] = WIDE) -> Any:
        path = scene.export(tmp_path / "out", ["html"])["html"]
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]}, offline=True, has_touch=size[0] < 400
        )
        contexts.append(context)
        tab = context.new_page()
        tab.on("request", lambda request: complaints.append(request.url) if request.url[:5] not in known else None)
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)
        tab.goto(f"{path.as_uri()}#{fragment}")
        tab.wait_for_selector("body[data-ready]")
        return tab

    known = ("file:", "data:", "blob:")
    yield open_
    for context in contexts:
        context.close()
    assert not [text for text in complaints if "ReadPixels" not in text]  # a remark about software drawing


def picture(tab: Any) -> np.ndarray:
    """What the canvas shows, as float RGB."""
    tab.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return np.asarray(Image.open(io.BytesIO(tab.screenshot())).convert("RGB")).astype(np.float64)


def drawn(pixels: np.ndarray) -> float:
    """Share of pixels that are not the white background."""
    return float((pixels < 250).any(axis=-1).mean())


def set_value(tab: Any, name: str, value: float | str) -> None:
    tab.evaluate(
        "([id, value]) => { const e = document.getElementById(id); e.value = value; e.oninput(); }", [name, value]
    )


def shift_between(first: np.ndarray, second: np.ndarray, where: np.ndarray) -> np.ndarray:
    """The (x, y) by which ``first`` lies beside ``second``, in pixels, by least squares on the gradients."""
    down, right = np.gradient(second, axis=(0, 1))
    slopes = np.stack([right[where].ravel(), down[where].ravel()], axis=1)
    return -np.linalg.lstsq(slopes, (first - second)[where].ravel(), rcond=None)[0]


@pytest.mark.parametrize("index", range(4))
def test_from_a_camera_the_page_shows_its_photo(exact_scene: Scene, open_page: Open, shots: Path, index: int) -> None:
    view = exact_scene.views[index]
    height, width = view.transform.original_size
    scene = dataclasses.replace(exact_scene, views=(view,))  # by no other camera's help
    tab = open_page(scene, "photo=0&bare&size=1.5", (width, height))
    found, photo = picture(tab), synthetic_scene.surface(view.camera)[2].astype(np.float64)
    Image.fromarray(found.astype(np.uint8)).save(shots / f"export_html_photo_{index}.png")
    rows, columns = np.mgrid[0:height, 0:width]
    place = view.transform.to_model(np.stack([columns, rows], axis=-1).reshape(-1, 2)).round().astype(int)
    inside = ((place >= 2) & (place < np.array(view.mask.shape)[::-1] - 2)).all(axis=-1)
    seen = np.zeros(len(place), bool)
    seen[inside] = view.mask[place[inside, 1], place[inside, 0]]
    seen = seen.reshape(height, width)
    seen[[0, -1]] = seen[:, [0, -1]] = False
    assert (found[seen] < 250).any(axis=-1).mean() > 0.999  # a closed surface
    error = np.mean((found[seen] - photo[seen]) ** 2)
    assert 10 * np.log10(255**2 / error) > 40
    assert np.abs(shift_between(found, photo, seen)).max() < 0.2


def test_the_page_opens_with_the_scene_in_sight(exact_scene: Scene, open_page: Open, shots: Path) -> None:
    tab = open_page(exact_scene)
    pixels = picture(tab)
    Image.fromarray(pixels.astype(np.uint8)).save(shots / "export_html_overview.png")
    assert 0.15 < drawn(pixels) < 0.98
    text = tab.inner_text("body")
    assert "A scene of 4 frames" in text and "exact (licence Apache-2.0)" in text and "points" in text
    up = tab.evaluate("window.worldline.eye.axes[1].map((v) => -v)")
    assert up[1] < -0.7  # y points down in this world


def test_switches_change_what_is_drawn(exact_scene: Scene, open_page: Open) -> None:
    timeless = [dataclasses.replace(view, timestamp=None) for view in exact_scene.views]
    tab = open_page(dataclasses.replace(exact_scene, views=tuple(timeless), tracks=None))
    assert tab.is_hidden("#time-row") and tab.is_hidden("#tracks-row") and tab.is_hidden("#objects-row")
    whole = picture(tab)
    set_value(tab, "confidence", 192)
    fewer = picture(tab)
    assert tab.inner_text("#hidden") == "75 %" and drawn(fewer) < 0.8 * drawn(whole)
    set_value(tab, "confidence", 0)
    set_value(tab, "size", 0.3)
    assert drawn(picture(tab)) < 0.9 * drawn(whole)
    set_value(tab, "size", 1.3)
    assert np.array_equal(picture(tab), whole)
    red = (np.abs(whole - [215, 50, 40]) < 8).all(axis=-1).sum()
    tab.click("#cameras")
    assert red > 100 and (np.abs(picture(tab) - [215, 50, 40]) < 8).all(axis=-1).sum() < red / 4
    tab.click("#dark")
    assert np.median(picture(tab)) < 60 or drawn(whole) > 0.5


def test_mouse_and_fingers(exact_scene: Scene, open_page: Open) -> None:
    timeless = [dataclasses.replace(view, timestamp=None) for view in exact_scene.views]
    tab = open_page(dataclasses.replace(exact_scene, views=tuple(timeless)))
    start = tab.evaluate(VIEW)

    def moved(act: Callable[[], None]) -> tuple[float, float]:
        before = tab.evaluate(VIEW)
        act()
        after = tab.evaluate(VIEW)
        step = np.linalg.norm(np.subtract(after["center"], before["center"]))
        turn = np.degrees(np.arccos(np.clip(np.dot(after["axes"][2], before["axes"][2]), -1, 1)))
        axes = np.array(after["axes"])
        assert np.abs(axes @ axes.T - np.eye(3)).max() < 1e-6
        return step, turn

    def drag(button: str) -> None:
        tab.mouse.move(420, 220)
        tab.mouse.down(button=button)
        tab.mouse.move(500, 250, steps=3)
        tab.mouse.up(button=button)

    step, turn = moved(lambda: drag("left"))
    assert step > 0.1 and 15 < turn < 45
    step, turn = moved(lambda: drag("right"))
    assert step > 0.05 and turn < 1e-4
    target = tab.evaluate("window.worldline.eye.target")
    eye = tab.evaluate("window.worldline.eye.center")
    tab.mouse.wheel(0, -400)
    tab.wait_for_timeout(100)
    closer = tab.evaluate("window.worldline.eye.center")
    assert np.linalg.norm(np.subtract(closer, target)) < 0.8 * np.linalg.norm(np.subtract(eye, target))
    tab.evaluate("window.worldline.lookFrom(-1)")
    assert tab.evaluate(VIEW)["center"] == start["center"]
    tab.mouse.dblclick(420, 220)
    pivot = tab.evaluate("window.worldline.eye.target")
    assert abs(pivot[2] - synthetic_scene.relief(pivot[0], pivot[1])) < 0.02  # on the surface


def test_a_double_click_finds_only_what_is_shown(exact_scene: Scene, open_page: Open) -> None:
    far = exact_scene.views[0]
    center, moves = far.camera.center.astype(np.float32), np.ones_like(far.mask)
    near = dataclasses.replace(far, name="near", points=center + (far.points - center) / 2, depth=far.depth / 2)
    views = tuple(
        dataclasses.replace(view, dynamic=moves, timestamp=float(time)) for time, view in enumerate((far, near))
    )
    tab = open_page(dataclasses.replace(exact_scene, views=views, tracks=None, objects=()), "photo=0&bare")
    tab.evaluate("document.getElementById('cameras').checked = false")
    reach = {}
    for show, moment in (("now", 0), ("now", 1), ("moving", 0), ("moving", 1), ("all", 0)):
        set_value(tab, "show", show)
        set_value(tab, "time", moment)
        tab.mouse.dblclick(320, 210)
        pivot = tab.evaluate("window.worldline.eye.target")
        reach[show, moment] = np.linalg.norm(np.subtract(pivot, far.camera.center))
    assert reach["now", 1] == pytest.approx(reach["now", 0] / 2, rel=0.05)
    assert reach["moving", 0] == reach["now", 0] and reach["moving", 1] == reach["now", 1] == reach["all", 0]


def test_a_click_on_a_picture_goes_there(exact_scene: Scene, open_page: Open) -> None:
    timeless = [dataclasses.replace(view, timestamp=None) for view in exact_scene.views]
    tab = open_page(dataclasses.replace(exact_scene, views=tuple(timeless)))
    page = "window.worldline.eye"
    eye = tab.evaluate(f"({{ c: {page}.center, axes: {page}.axes, k: {page}.lens.k }})")
    pose, length = exact_scene.views[1].camera.world_from_cam, tab.evaluate("window.worldline.scene.frustum")
    x, y, z = np.array(eye["axes"]) @ (pose[:3, 3] + length * pose[:3, 2] - eye["c"])  # middle of the second picture
    scale = min(WIDE[0] / 1280, WIDE[1] / 720)  # the overview is composed for 1280 x 720
    where = np.array(WIDE) / 2 + scale * np.array([eye["k"][0] * x / z, eye["k"][1] * y / z])
    tab.mouse.click(*where)
    assert tab.evaluate("window.worldline.eye.center") == pytest.approx(list(exact_scene.views[1].camera.center))
    assert tab.input_value("#photo") == "1"


def test_time(open_page: Open, shots: Path) -> None:
    (sample,) = sampling.render([moving_world.moving_world()], height=60, width=80)
    scene = exact_scene(sample, tracks=20)
    tab = open_page(scene, "photo=0&bare&moment=0", (320, 240))
    first = picture(tab)
    set_value(tab, "time", 4)
    last = picture(tab)
    Image.fromarray(last.astype(np.uint8)).save(shots / "export_html_time.png")
    assert np.abs(first - last).mean() > 1  # the box has gone on
    set_value(tab, "show", "now")
    assert not np.array_equal(picture(tab), last)
    tab.evaluate("document.body.classList.remove('bare')")
    tab.click("#play")
    moments = set()
    for _ in range(20):
        tab.wait_for_timeout(110)
        moments.add(tab.input_value("#time"))
    assert len(moments) >= 3 and tab.inner_text("#clock").endswith(" s")
    tab.click("#play")


def test_a_phone(exact_scene: Scene, open_page: Open) -> None:
    tab = open_page(exact_scene, size=(390, 700))
    assert tab.evaluate("document.documentElement.scrollWidth") == 390
    panel = tab.locator("#panel").bounding_box()
    assert panel["height"] < 200 and tab.evaluate("document.getElementById('controls').open") is False
    start, hands = tab.evaluate(VIEW), tab.context.new_cdp_session(tab)
    for kind, spread in (("touchStart", 40), ("touchMove", 60), ("touchMove", 80), ("touchEnd", None)):
        fingers = [] if spread is None else [{"x": 200 + side * spread, "y": 450, "id": side} for side in (1, -1)]
        hands.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": fingers})
    end, target = tab.evaluate(VIEW), np.array(tab.evaluate("window.worldline.eye.target"))
    nearer = np.linalg.norm(end["center"] - target) / np.linalg.norm(start["center"] - target)
    assert nearer == pytest.approx(0.5, abs=0.02)  # fingers twice as far apart
    assert np.abs(np.subtract(end["axes"], start["axes"])).max() < 1e-6
