"""A viewer whose scene grows and begins anew: frusta, clouds, measuring and thresholds stay those of their views."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import moving_scene
from worldline.outputs.view.live import Feed, open_live
from worldline.outputs.view.stage import Stage
from worldline.scene import Scene, SceneView, SceneWriter
from worldline.types import Provenance

pytest.importorskip("viser", reason="needs the viewer: pip install 'worldline[view]'")
HANG = 300.0  # seconds after which a viewer counts as hung: far longer than a busy machine needs


def view(number: int, *, confidence: tuple[float, float] = (1.0, 5.0)) -> SceneView:
    """At moment ``number`` the camera stands ``number`` metres to the right, and so does what it sees."""
    base = moving_scene.make_view("front", moving_scene.TIMES[0])
    pose = base.camera.world_from_cam.copy()
    pose[0, 3] += number
    return replace(
        base,
        name=f"{number:06d}",
        timestamp=float(number),
        camera=replace(base.camera, world_from_cam=pose),
        points=base.points + np.float32([number, 0, 0]),
        confidence=np.random.default_rng(number).uniform(*confidence, base.depth.shape).astype(np.float32),
    )


def views(*numbers: int, **options: Any) -> Scene:
    return Scene(views=tuple(view(number, **options) for number in numbers), scale="known-poses")


@pytest.fixture
def feeding() -> Iterator[Callable[..., Feed]]:
    """``feeding(first, most_moments=)`` -> a feed whose viewer has drawn; nothing may have failed at the end."""
    feeds: list[Feed] = []

    def feeding_(first: Scene, most_moments: int = 3) -> Feed:
        feeds.append(Feed(first, "stream", host="127.0.0.1", port=0, most_moments=most_moments))
        feeds[-1].viewer.store.change(timing="all")
        feeds[-1].viewer.settle(HANG)
        return feeds[-1]

    yield feeding_
    for feed in feeds:
        feed.viewer.stop()
        assert feed.viewer.failures == []


def layer_of(feed: Feed, name: str) -> Any:
    return next(each for each in feed.viewer.layers if type(each).__name__ == name)


def stand_at(feed: Feed, position: np.ndarray) -> None:
    """As if the camera of a tab had moved there."""
    for listener in feed.viewer._camera_listeners:
        listener(np.asarray(position, np.float64).reshape(1, 3))
    feed.viewer.settle(HANG)


def check_frusta(feed: Feed) -> None:
    """There is a frustum for each view that is there, where its camera stands, and no other."""
    stage, frusta, scene = feed.viewer.stages[0], layer_of(feed, "Frusta"), feed.viewer.server.scene
    assert set(frusta._handles) <= set(stage.ids)
    for number in range(max(stage.ids) + 1):
        node = scene.get_handle_by_name(f"{stage.prefix}/cameras/{number}")
        assert (node is not None) == (number in stage.ids)
        if node is not None:
            camera = stage.scene.views[stage.ids.index(number)].camera
            np.testing.assert_allclose(node.position, camera.center)


def check_measuring(feed: Feed) -> None:
    """What measuring takes for drawn is what was sent."""
    cloud = layer_of(feed, "Cloud")
    sent = [handle.points.astype(np.float64) + handle.position for handle in cloud._handles.values() if handle.visible]
    found = cloud.visible_points()
    assert len(found) == len(sent) > 0
    for (points, radius), expected in zip(found, sent, strict=True):
        np.testing.assert_allclose(points, expected, atol=5e-3)  # half floats
        assert radius > 0


def test_frusta_stay_with_their_views_while_old_moments_go(
    feeding: Callable[..., Feed], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed, flown = feeding(views(0, 1)), []
    for number in range(2, 7):
        feed.add(views(number))
        feed.viewer.settle(HANG)
        check_frusta(feed)
    stage = feed.viewer.stages[0]
    assert stage.ids == [4, 5, 6]
    monkeypatch.setattr(feed.viewer, "fly_to_view", lambda client, stage, index: flown.append(stage.scene.views[index]))
    handle = layer_of(feed, "Frusta")._handles[5]
    click = handle._impl.click_cb[0].callback
    click(SimpleNamespace(client=object()))
    assert [each.name for each in flown] == ["000005"]
    feed.restart(views(20))
    feed.viewer.settle(HANG)
    click(SimpleNamespace(client=object()))  # it was on its way when the view went
    assert len(flown) == 1


def test_colours_of_views_stay_while_old_moments_go(feeding: Callable[..., Feed]) -> None:
    feed = feeding(views(0, 1))
    feed.viewer.store.change(coloring="view")
    for number in (2, 3, 4):
        feed.add(views(number))
        feed.viewer.settle(HANG)
    frusta, cloud = layer_of(feed, "Frusta"), layer_of(feed, "Cloud")
    colors = {number: tuple(handle.color) for number, handle in frusta._handles.items()}
    assert len(set(colors.values())) == 3
    assert all(tuple(cloud._handles[number, 0].colors[0]) == color for number, color in colors.items())


def test_a_tab_inside_a_frustum_survives_a_restart(feeding: Callable[..., Feed]) -> None:
    feed = feeding(views(0, 1, 2))
    frusta = layer_of(feed, "Frusta")
    stand_at(feed, view(2).camera.center)
    assert not frusta._handles[2].visible and frusta._handles[0].visible
    feed.restart(views(9))
    feed.viewer.settle(HANG)
    check_frusta(feed)
    assert frusta._handles[3].visible and feed.viewer.stages[0].ids == [3]
    feed.add(views(10))
    feed.viewer.settle(HANG)
    stand_at(feed, view(10).camera.center)  # a camera that came later steps aside as well
    assert frusta._handles[3].visible and not frusta._handles[4].visible
    feed.restart(views(10, 11))  # and so does one that appears around a tab that stands still
    feed.viewer.settle(HANG)
    assert 5 not in frusta._handles and frusta._handles[6].visible


def test_measuring_means_what_is_drawn_past_the_oldest_moments_and_a_restart(
    feeding: Callable[..., Feed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Stage, "cache_bytes", 1)  # views are read again for every click
    feed = feeding(views(0, 1, 2))
    feed.viewer.store.change(budget=3000)
    panel = next(each for each in feed.viewer.panels if type(each).__name__ == "MeasurePanel")
    for change in (lambda: feed.add(views(3)), lambda: feed.add(views(4, 5)), lambda: feed.restart(views(8, 9))):
        change()
        feed.viewer.settle(HANG)
        check_measuring(feed)
        check_frusta(feed)
        (points, _), *_ = layer_of(feed, "Cloud").visible_points()
        found = panel.pick(np.zeros(3), points[7].astype(np.float64), 1e-6)
        assert found is not None


def test_a_click_while_views_come_and_go(feeding: Callable[..., Feed], monkeypatch: pytest.MonkeyPatch) -> None:
    feed, found = feeding(views(0, 1, 2)), []
    stage, cloud = feed.viewer.stages[0], layer_of(feed, "Cloud")
    drawn = {float(points[:, 0].min()): points for points, _ in cloud.visible_points()}
    original = stage.replace_views

    def replace_views(*arguments: Any) -> None:
        original(*arguments)
        found.append(cloud.visible_points())  # as a click on another thread, before the clouds are drawn anew

    monkeypatch.setattr(stage, "replace_views", replace_views)
    feed.add(views(3))
    feed.restart(views(30))
    feed.viewer.settle(HANG)
    assert len(found) == 2 and len(found[0]) == len(drawn) - 2 and not found[1]  # still and moving things of a view
    for points, _ in found[0]:
        np.testing.assert_array_equal(points, drawn[float(points[:, 0].min())])


def test_the_least_sure_are_hidden_of_all_views_while_a_stream_grows(feeding: Callable[..., Feed]) -> None:
    feed, counted = feeding(views(0, 1), most_moments=9), []
    feed.viewer.on_count(lambda drawn, total: counted.append(drawn))
    feed.viewer.store.change(confidence=50.0)
    feed.viewer.settle(HANG)
    cloud = layer_of(feed, "Cloud")
    pixels = moving_scene.HEIGHT * moving_scene.WIDTH

    def drawn() -> int:
        rows = sum(len(points) for points, _ in cloud.visible_points())
        assert counted[-1] == rows
        return rows

    assert drawn() == pytest.approx(pixels, rel=0.03)
    before = dict(cloud._handles)
    feed.add(views(2))  # as sure as the others: nothing of those is sent again
    feed.viewer.settle(HANG)
    assert drawn() == pytest.approx(1.5 * pixels, rel=0.05)
    assert all(cloud._handles[key] is handle for key, handle in before.items())
    feed.add(views(3, 4, 5, confidence=(6.0, 9.0)))  # surer than all that was there
    feed.viewer.settle(HANG)
    assert drawn() == pytest.approx(3 * pixels, rel=0.05)
    assert {key[0] for key, handle in cloud._handles.items() if len(handle.points)} >= {3, 4, 5}


def test_the_folder_that_one_stands_in_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "drive"
    with SceneWriter(folder, provenance=Provenance(model="x"), scale="known-poses") as writer:
        writer.add(view(0))
    monkeypatch.chdir(folder)
    viewer = open_live(".", port=0)
    assert viewer is not None
    viewer.stop()
    assert viewer.stages[0].name == "drive"
