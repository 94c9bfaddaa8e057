"""A scene folder that grows, is restarted, or is not there yet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

import synthetic_scene
from worldline.outputs.view.following import SceneFollower
from worldline.scene import SceneView, SceneWriter
from worldline.types import MovingObject, Provenance

PROVENANCE = Provenance(model="exact")
BASE = synthetic_scene.make_view(2, None)


def view(number: int, sensor: str = "left") -> SceneView:
    points = BASE.points + np.float32(number)
    return replace(BASE, name=f"{sensor}_{number:06d}", timestamp=0.5 * number, sensor=sensor, points=points)


def test_waits_for_a_folder_that_is_not_there(tmp_path: Path) -> None:
    follower = SceneFollower(tmp_path / "out")
    assert follower.poll().kind == "waiting" and "Waiting for a scene in" in follower.poll().message
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "scene.json").write_text("{ half a docu")
    assert follower.poll().kind == "waiting"


def test_every_view_is_reported_once(tmp_path: Path) -> None:
    follower = SceneFollower(tmp_path)
    with SceneWriter(tmp_path, provenance=PROVENANCE, scale="known-poses") as writer:
        assert follower.poll().kind == "waiting"
        writer.add_many([view(0), view(1)])
        assert follower.poll().kind == "waiting"  # no shard is complete
        writer.flush()
        news = follower.poll()
        assert news.kind == "grown" and news.scene is not None and not news.finished
        assert [each.name for each in news.scene.views] == ["left_000000", "left_000001"]
        np.testing.assert_array_equal(news.scene.views[1].points, BASE.points + 1)
        assert news.scene.scale == "known-poses" and news.message == "2 views, the stream goes on"
        assert follower.poll().kind == "same"
        writer.add(view(2))
        writer.flush()
        news = follower.poll()
        assert news.scene is not None and [each.name for each in news.scene.views] == ["left_000002"]
        thing = MovingObject(
            3, np.array([0.0, 1.0]), np.zeros((2, 3), np.float32), np.ones((2, 3), np.float32), np.ones(3, np.float32)
        )
        writer.finish(objects=[thing])
    news = follower.poll()
    assert news.kind == "same" and news.finished and news.message == "3 views, the stream has ended"
    assert news.scene is not None and [each.id for each in news.scene.objects] == [3]


def test_of_a_long_stream_only_the_newest_moments_are_read(tmp_path: Path) -> None:
    views = [view(number, sensor) for number in range(6) for sensor in ("left", "right")]
    with SceneWriter(tmp_path, provenance=PROVENANCE, shard_bytes=1) as writer:  # a shard per view
        writer.add_many(views)
    (tmp_path / "arrays-00000.safetensors").write_bytes(b"unreadable")  # of a moment that is not asked for
    news = SceneFollower(tmp_path, most_moments=2).poll()
    assert news.kind == "grown" and news.left_out == 8 and news.scene is not None
    assert [each.name for each in news.scene.views] == ["left_000004", "right_000004", "left_000005", "right_000005"]


def test_a_restarted_stream_is_noticed_and_a_resumed_one_goes_on(tmp_path: Path) -> None:
    follower = SceneFollower(tmp_path)
    with SceneWriter(tmp_path, provenance=PROVENANCE) as writer:
        writer.add_many([view(0), view(1)])
    assert follower.poll().kind == "grown"
    with SceneWriter.resume(tmp_path) as writer:
        writer.add(view(2))
    news = follower.poll()
    assert news.kind == "grown" and news.scene is not None and len(news.scene) == 1
    writer = SceneWriter(tmp_path, provenance=PROVENANCE)
    assert follower.poll().kind == "same"  # the earlier scene stays until the new one has views
    writer.add(view(0, "other"))
    writer.flush()
    news = follower.poll()
    assert news.kind == "restarted" and news.scene is not None
    assert [each.name for each in news.scene.views] == ["other_000000"]


def test_a_missing_array_file_is_tried_again(tmp_path: Path) -> None:
    with SceneWriter(tmp_path, provenance=PROVENANCE) as writer:
        writer.add(view(0))
    path = tmp_path / "arrays-00000.safetensors"
    hidden = path.rename(tmp_path / "away")
    follower = SceneFollower(tmp_path)
    assert follower.poll().kind == "waiting"
    hidden.rename(path)
    assert follower.poll().kind == "grown"
