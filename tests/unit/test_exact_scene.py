"""The truth of a procedural world as a scene."""

import numpy as np
import pytest

from worldline import worlds
from worldline.cli import main
from worldline.pipeline.exact import exact_scene
from worldline.scene import Scene


def _sample(layout, views, **knobs):
    return worlds.sample_batch(layout, [worlds.TEST_SEEDS[5]], views=views, height=48, width=64, **knobs)[0]


def test_points_project_onto_their_own_pixels_with_their_depth():
    scene = exact_scene(_sample("rooms", 3))
    assert scene.metric and not scene.times and not scene.sensors and scene.tracks is None
    for view in scene.views:
        rows, columns = np.nonzero(view.mask)
        pixels, depth = view.camera.project(view.points[view.mask])
        assert np.abs(pixels - np.stack([columns, rows], 1)).max() < 1e-3
        assert np.abs(depth - view.depth[view.mask]).max() < 1e-4


def test_a_rig_has_sensors_times_and_masks():
    scene = exact_scene(_sample("street", 12, shooting="rig", rate=4.0), tracks=10)
    assert len(scene.sensors) == 6 and len(scene.times) == 2
    assert len(scene.at(0)) == 6 and len(scene.of("CAM_BACK")) == 2
    assert all(view.dynamic is not None for view in scene.views) and scene.tracks is None
    sky = ~scene.views[0].mask
    assert (scene.views[0].depth[sky] == 0).all()


def test_tracks_and_boxes_of_a_video_hold_the_moving_points():
    sample = _sample("dynamic", 6, shooting="video")
    scene = exact_scene(sample, tracks=40)
    assert scene.tracks is not None and scene.tracks.points.shape[1:] == (6, 3)
    for index, view in enumerate(scene.views):
        pixels, depth = view.camera.project(scene.tracks.points[:, index])
        visible = scene.tracks.visible[:, index] & (depth > 0)
        assert np.abs(pixels - scene.tracks.pixels[:, index])[visible].max() < 1e-2
    assert scene.objects
    moving = np.concatenate([view.points[view.dynamic & view.mask] for view in scene.views[2:3]])
    held = np.zeros(len(moving), bool)
    for thing in scene.objects:
        held |= (np.abs(moving - thing.centers[2]) <= 0.5 * thing.size + 1e-3).all(-1)
    assert len(moving) and held.mean() > 0.99


def test_the_command_saves_a_scene_and_refuses_nonsense(tmp_path, capsys):
    arguments = ["worlds", "scene", "rooms", "--views", "2", "--height", "32", "--width", "32"]
    assert main([*arguments, "-o", str(tmp_path / "room")]) == 0
    assert len(Scene.load(tmp_path / "room")) == 2
    assert main([*arguments, "-o", str(tmp_path / "x"), "--start", "-1"]) == 2
    assert "out of range" in capsys.readouterr().err


@pytest.mark.parametrize("layout", ["objects", "outdoor"])
def test_every_layout_has_an_exact_scene(layout):
    assert len(exact_scene(_sample(layout, 2))) == 2
