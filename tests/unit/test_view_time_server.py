"""What the viewer sends while time passes; with its server but without a browser."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import moving_scene
from worldline.outputs.view import open_viewer
from worldline.outputs.view.layers.cloud import Cloud
from worldline.outputs.view.live import LiveViewer, open_live
from worldline.outputs.view.state import ViewState
from worldline.scene import SceneWriter
from worldline.types import Provenance

pytest.importorskip("viser", reason="needs the viewer: pip install 'worldline[view]'")
HANG = 300.0  # seconds after which a viewer counts as hung: far longer than a busy machine needs


@contextmanager
def viewing(*scenes: Any, **options: Any) -> Iterator[Any]:
    viewer = open_viewer(scenes, port=0, **options)
    try:
        viewer.settle(HANG)
        yield viewer
        assert not viewer.failures, viewer.failures
    finally:
        viewer.stop()


def panel_of(viewer: Any, name: str) -> Any:
    return next(each for each in viewer.panels if type(each).__name__ == name)


def sent(viewer: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A list to which every message is added that the server sends from now on."""
    messages: list[Any] = []
    web = viewer.server._websock_server
    original = web.queue_message
    monkeypatch.setattr(web, "queue_message", lambda message: (messages.append(message), original(message))[1])
    return messages


def array_bytes(message: Any) -> int:
    values = [*vars(message).values(), *vars(getattr(message, "props", message)).values()]
    values += list(getattr(message, "updates", {}).values())
    return sum(value.nbytes for value in values if isinstance(value, np.ndarray))


def test_playing_sends_no_points(monkeypatch: pytest.MonkeyPatch) -> None:
    state = ViewState(frusta=False)
    with viewing(moving_scene.make_scene(), state=state) as viewer:
        assert viewer.store.now.timing == "still" and viewer.store.now.moment == 0
        messages = sent(viewer, monkeypatch)
        for tick in (1, 2, 3, 0):
            viewer.store.change(moment=tick)
            viewer.settle(HANG)
        assert messages and len(messages) < 100
        assert max(map(array_bytes, messages)) < 100  # the arrow of the box; points would be thousands


def test_another_choice_of_points_sends_them_once(monkeypatch: pytest.MonkeyPatch) -> None:
    with viewing(moving_scene.make_scene(tracks=False), state=ViewState(frusta=False)) as viewer:
        messages = sent(viewer, monkeypatch)
        viewer.store.change(coloring="time")
        viewer.settle(HANG)
        clouds = [message for message in messages if type(message).__name__ == "PointCloudMessage"]
        assert len(clouds) == 8 + 4  # of each view what stands still, of those of one sensor what moves
        messages.clear()
        viewer.store.change(sensors=frozenset({"front"}))
        viewer.settle(HANG)
        assert not [message for message in messages if type(message).__name__ == "PointCloudMessage"]


def test_a_viewer_that_ends_sends_nothing_more(monkeypatch: pytest.MonkeyPatch) -> None:
    sent, original = [], Cloud._send
    with viewing(moving_scene.make_scene(tracks=False)) as viewer:

        def send(self: Cloud, *arguments: Any, **options: Any) -> None:
            original(self, *arguments, **options)
            sent.append(arguments[0])
            viewer._closed.set()

        monkeypatch.setattr(Cloud, "_send", send)
        viewer.store.change(coloring="time")
        viewer._painter.join()
        viewer._closed.clear()  # so that the end of the test ends it
        assert len(sent) == 1  # of twelve clouds


def test_play_and_pause_and_the_end_without_loop() -> None:
    with viewing(moving_scene.make_scene()) as viewer:
        panel = panel_of(viewer, "TimelinePanel")
        panel.clock.loop, panel.clock.speed = False, 50.0
        panel.toggle()
        deadline = time.monotonic() + HANG
        while (panel.clock.playing or panel._button.label == "Pause") and time.monotonic() < deadline:
            time.sleep(0.01)
        assert viewer.store.now.moment == 3 and panel._button.label == "Play" and panel._slider.value == 3


def test_photos_without_times_have_no_timeline() -> None:
    views = tuple(replace(view, timestamp=None, dynamic=None) for view in moving_scene.make_scene().views)
    with viewing(replace(moving_scene.make_scene(tracks=False, objects=False), views=views)) as viewer:
        assert viewer.store.now.moment is None and panel_of(viewer, "TimelinePanel").clock is None


def test_picking_sees_what_is_drawn_where_it_stands() -> None:
    scene = moving_scene.make_scene()
    with viewing(scene, scene, names=["a", "b"], state=ViewState(budget=10**6)) as viewer:
        panel, second = panel_of(viewer, "MeasurePanel"), viewer.stages[1]
        ahead = np.array([0.0, 0.0, 1.0])
        eye = np.array([moving_scene.center(10.0)[0], 0.01, 0.0])
        for shift in (np.zeros(3), second.position):
            found = panel.pick(eye + shift, ahead, 1e-3)
            assert found is not None
            np.testing.assert_allclose(found, eye + shift + moving_scene.NEAR * ahead, atol=0.05)
        viewer.store.change(motion="static", moment=0)
        viewer.settle(HANG)
        behind = panel.pick(eye, ahead, 1e-3)  # the wall, which other moments have seen there
        assert behind is not None and behind[2] == pytest.approx(moving_scene.WALL)


def test_measuring_begins_and_ends() -> None:
    with viewing(moving_scene.make_scene()) as viewer:
        panel, api = panel_of(viewer, "MeasurePanel"), viewer.server.scene
        client = SimpleNamespace(camera=SimpleNamespace(position=np.zeros(3), fov=1.0, image_height=400))
        panel.toggle()
        assert viewer.measuring and len(api._scene_pointer_cb) == 1
        for direction, text in (((0, 0.1, 1), "Click the second"), ((0, 0, -1), "no point"), ((0.1, 0.1, 1), " m**")):
            event = SimpleNamespace(client=client, ray_origin=(0, 0, 0), ray_direction=direction)
            api._scene_pointer_cb[0].callback(event)
            assert text in panel._text.content
        assert panel.lengths == [pytest.approx(0.4, abs=0.1)]
        nodes = [node.name for node in panel._nodes]
        assert len(nodes) == 4 and all(api.get_handle_by_name(name) for name in nodes)
        panel.clear()
        assert not panel.lengths and not any(api.get_handle_by_name(name) for name in nodes)
        panel.toggle()
        assert not viewer.measuring and not api._scene_pointer_cb


def test_the_moment_to_begin_with_can_be_given() -> None:
    with viewing(moving_scene.make_scene(), state=ViewState(moment=2, timing="until")) as viewer:
        assert viewer.store.now.moment == 2 and viewer.store.now.timing == "until"
        assert panel_of(viewer, "TimelinePanel")._slider.value == 2


def test_a_stream_that_is_started_again_takes_the_place_of_the_first(tmp_path: Path) -> None:
    views, said = moving_scene.make_scene().views, []
    with SceneWriter(tmp_path, provenance=Provenance(model="x"), scale="known-poses") as writer:
        writer.add_many(views[:4])
    viewer = open_live(tmp_path, port=0, interval=0.02, say=said.append)
    assert viewer is not None and len(viewer.stages[0]) == 4 and "4 views, the stream has ended" in said
    try:
        writer = SceneWriter(tmp_path, provenance=Provenance(model="x"), scale="known-poses")
        writer.add_many(moving_scene.renamed(view, f"again {view.name}", view.timestamp + 100) for view in views[:2])
        writer.flush()
        deadline = time.monotonic() + HANG
        while len(viewer.stages[0]) != 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        viewer.settle(HANG)
        assert viewer.stages[0].times == (110.0,) and viewer.store.now.moment == 0
        assert "Another stream has begun in the folder." in said and not viewer.failures
    finally:
        viewer.stop()


def test_a_live_scene_forgets_old_moments_and_their_nodes() -> None:
    class Final:
        scale_kind = "known-poses"

        def __init__(self, view: Any) -> None:
            self.view = view

        def to_view(self) -> Any:
            return self.view

    views = moving_scene.make_scene().views
    live = LiveViewer(port=0, most_moments=2)
    try:
        for number in range(0, 8, 2):
            live.show([Final(view) for view in views[number : number + 2]])
        viewer = live.viewer
        assert viewer is not None and live.url == viewer.url
        viewer.settle(HANG)
        stage, cloud = viewer.stages[0], viewer.layers[0]
        assert stage.times == moving_scene.TIMES[2:] and stage.ids == [4, 5, 6, 7]
        assert {key[0] for key in cloud._handles} == {4, 5, 6, 7}
        assert viewer.store.now.moment == 1
        assert not viewer.failures
    finally:
        live.stop()
