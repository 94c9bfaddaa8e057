"""Time, sensors, tracks, measuring, two scenes and a live stream, in a real browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import moving_scene
from browser_window import Window, changed_share, drawn_share
from worldline.outputs.view.live import LiveViewer, open_live
from worldline.outputs.view.state import ViewState
from worldline.scene import SceneWriter
from worldline.types import Provenance

PLAIN = ViewState(frusta=False, tracks=False, objects=False)


def look(window: Window, eye: tuple[float, float, float], at: tuple[float, float, float]) -> None:
    """Put the camera of the tab; y points down in the scenes used here."""
    camera = window.client.camera
    with window.client.atomic():
        camera.up_direction = (0.0, -1.0, 0.0)
        camera.position, camera.look_at = eye, at


def pixel(window: Window, point: np.ndarray) -> tuple[float, float]:
    """Where a point of the world appears in the tab."""
    camera = window.client.camera
    forward = np.asarray(camera.look_at) - camera.position
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, camera.up_direction)
    right /= np.linalg.norm(right)
    offset = point - np.asarray(camera.position)
    depth, focal = offset @ forward, camera.image_height / 2 / np.tan(camera.fov / 2)
    down = np.cross(forward, right)
    x = camera.image_width / 2 + focal * (offset @ right) / depth
    return x, camera.image_height / 2 + focal * (offset @ down) / depth


def reddish(picture: np.ndarray) -> np.ndarray:
    """Pixels of the moving square."""
    red, green, blue = np.moveaxis(picture.astype(int), -1, 0)
    return (red > 150) & (green < 110) & (blue < 110)


def test_playing_sensors_and_tracks(open_window) -> None:
    window = open_window(moving_scene.make_scene(), state=PLAIN, size=(640, 320))
    viewer, page = window.viewer, window.page
    look(window, (1.2, 0.0, -3.5), (1.2, 0.0, 4.0))
    first = window.settle()
    column = np.flatnonzero(reddish(first).any(0)).mean()
    sent = [len(layer._sent) for layer in viewer.layers if hasattr(layer, "_sent")]

    page.keyboard.press("k")  # play
    window.until(lambda: viewer.store.now.moment == 2)
    page.keyboard.press("k")
    window.until(lambda: "Pause" not in page.locator("body").inner_text())
    viewer.store.change(moment=2)
    second = window.settle()
    assert changed_share(first, second) > 0.01
    assert np.flatnonzero(reddish(second).any(0)).mean() > column + 20  # the square has gone to the right
    assert [len(layer._sent) for layer in viewer.layers if hasattr(layer, "_sent")] == sent  # nothing was sent anew
    assert "1.00 s, 3 of 4" in page.locator("body").inner_text()

    page.get_by_label("side", exact=True).click()  # the sensor's checkbox
    window.until(lambda: viewer.store.now.sensors == frozenset({"front"}))
    assert drawn_share(window.settle()) < 0.9 * drawn_share(second)

    viewer.store.change(tracks=True, objects=True, sensors=None)
    third = window.settle()
    window.picture("time_tracks_and_boxes")
    assert 0.002 < changed_share(second, third) < 0.3
    viewer.store.change(motion="dynamic", tracks=False, objects=False)
    only = window.settle()
    assert reddish(only).sum() > 0.9 * drawn_share(only) * only[..., 0].size
    window.check()


def test_measuring_gives_the_true_distance(open_window) -> None:
    window = open_window(moving_scene.make_scene(times=moving_scene.TIMES[:1]), state=PLAIN, size=(640, 320))
    look(window, (1.5, -0.4, -1.0), (2.2, 0.0, 4.0))
    window.settle()
    window.page.keyboard.press("m")
    panel = next(each for each in window.viewer.panels if hasattr(each, "lengths"))
    window.until(lambda: "Click the first point." in window.page.content())
    start, end = np.array([-1.5, 1.0, moving_scene.WALL]), np.array([1.5, -1.0, moving_scene.WALL])
    for point, wanted in ((start, "Click the second"), (end, "3.6")):
        window.page.mouse.click(*pixel(window, point))
        window.until(lambda text=wanted: text in panel._text.content)
    truth = float(np.linalg.norm(end - start))
    assert abs(panel.lengths[0] - truth) < 0.03 * truth
    window.settle()
    window.picture("time_measured")
    assert f"{panel.lengths[0]:.3f} m" in window.page.content()
    window.check()


def test_two_scenes_side_by_side_and_overlaid(open_window) -> None:
    scene = moving_scene.make_scene(tracks=False, objects=False, times=moving_scene.TIMES[:2])
    window = open_window(scene, scene.of("front"), names=["both", "one"], state=PLAIN, size=(1000, 420))
    beside = window.settle()
    window.picture("time_two_scenes")
    text = window.page.content()
    assert "both" in text and "one" in text
    second = window.viewer.stages[1]
    assert second.position[0] > 5.0  # to the right of the first, which is 11 m wide
    window.page.get_by_label("B: one").click()
    assert drawn_share(window.settle()) < 0.95 * drawn_share(beside)
    window.page.get_by_label("B: one").click()
    compare = next(each for each in window.viewer.panels if type(each).__name__ == "ComparePanel")
    compare.arrange("overlay")
    assert not second.position.any()
    assert changed_share(beside, window.settle()) > 0.02
    window.check()


def test_a_live_view_grows_with_its_folder(open_window, tmp_path: Path) -> None:
    said: list[str] = []
    assert open_live(tmp_path / "out", say=said.append, give_up=lambda: True) is None
    assert said and said[0].startswith("Waiting for a scene in")
    views = moving_scene.make_scene().views
    with SceneWriter(tmp_path / "out", provenance=Provenance(model="exact"), scale="known-poses") as writer:
        writer.add_many(views[:2])
        writer.flush()
        viewer = open_live(tmp_path / "out", port=0, interval=0.1, most_moments=2)
        assert viewer is not None
        try:
            viewer.store.change(frusta=False)
            window = open_window(viewer=viewer)
            before = window.settle()
            writer.add_many(views[2:8])
            writer.flush()
            window.until(lambda: viewer.stages[0].times == moving_scene.TIMES[2:])  # bounded: the newest two
            window.until(lambda: viewer.store.now.moment == 1)
            assert changed_share(before, window.settle()) > 0.005
            assert "8 views, the stream goes on" in window.page.locator("body").inner_text()
            window.picture("time_live")
            window.check()
        finally:
            viewer.stop()


def test_results_of_a_session_are_shown_as_they_come(open_window) -> None:
    class Final:
        scale_kind = "known-poses"

        def __init__(self, view) -> None:
            self.to_view = lambda: view

    class Answer:
        def __init__(self, views) -> None:
            self.completed = tuple(map(Final, views))

    live = LiveViewer(port=0)
    live.show(Answer([]))
    assert live.viewer is None and live.url is None
    views = moving_scene.make_scene().views
    try:
        live.show(Answer(views[:2]))
        assert live.viewer is not None
        live.show(Answer(views[2:4]))
        live.show([Final(view) for view in views[2:6]])  # as finish returns them; two are given again
        live.viewer.settle()
        assert live.viewer.stages[0].times == moving_scene.TIMES[:3] and len(live.viewer.stages[0]) == 6
        assert not live.viewer.failures
    finally:
        live.stop()
