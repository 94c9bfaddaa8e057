"""Recordings for Rerun, read back through the SDK's own reader and compared with the scene; no viewer, no network."""

import dataclasses
import importlib.util
import io
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import moving_world
import synthetic_scene
from scene_checks import with_motion
from worldline.cli import main
from worldline.errors import MissingExtraError, OutputError
from worldline.outputs.export import check_formats
from worldline.outputs.export.rrd import _most_bytes
from worldline.pipeline.exact import exact_scene
from worldline.scene import Scene
from worldline.worlds import sampling

needs_rerun = pytest.mark.skipif(
    importlib.util.find_spec("rerun") is None, reason="needs pip install 'worldline[rerun]'"
)
Recording = dict[str, dict[str, dict[float | None, np.ndarray]]]  # entity -> component -> time in seconds -> values


def read(path: Path) -> Recording:
    """Everything in a recording; the time of what holds always is None."""
    from rerun.chunk import RrdReader

    RrdReader(path).store()  # only a complete file has the table of contents that this takes
    found: Recording = defaultdict(lambda: defaultdict(dict))
    for chunk in RrdReader(path).stream().to_chunks():
        batch = chunk.to_record_batch()
        times = [None] * batch.num_rows
        for timeline in chunk.timeline_names:
            assert timeline in ("time", "date")
            times = (batch.column(timeline).cast("int64").to_numpy() / 1e9).tolist()
        for name in batch.schema.names:
            if name not in ("time", "date", "rerun.controls.RowId"):
                for time, value in zip(times, batch.column(name), strict=True):
                    if value.is_valid:
                        found[chunk.entity_path][name][time] = np.array(value.as_py())
    return found


def rgb(packed: np.ndarray) -> np.ndarray:
    """0xRRGGBBAA -> RGB bytes."""
    return np.stack([packed >> 24 & 255, packed >> 16 & 255, packed >> 8 & 255], axis=-1)


@needs_rerun
def test_photos(exact_scene: Scene, tmp_path: Path) -> None:
    views = tuple(dataclasses.replace(view, timestamp=None) for view in exact_scene.views)
    scene = dataclasses.replace(exact_scene, views=views, tracks=None)
    found = read(scene.export(tmp_path, ["rrd"])["rrd"])
    about = str(found["/about"]["TextDocument:text"][None][0])
    assert "**licence**: Apache-2.0" in about and "**scale**: model" in about and "padding was added" in about
    entities = [r"/world/cameras/holiday\/IMG\ 1.png", "/world/cameras/turned.png"]
    for view, entity in zip([views[0], views[2]], entities, strict=True):
        camera = {name: values[None] for name, values in found[entity].items()}
        pose = np.eye(4)
        pose[:3, :3] = camera["Transform3D:mat3x3"][0].reshape(3, 3).T  # the SDK's matrices are column by column
        pose[:3, 3] = camera["Transform3D:translation"][0]
        assert np.abs(pose - view.camera.world_from_cam).max() < 1e-6
        intrinsics = camera["Pinhole:image_from_camera"][0].reshape(3, 3).T
        world, pixels = synthetic_scene.world_points(view)
        x, y, z = intrinsics @ np.linalg.inv(pose)[:3] @ np.column_stack([world, np.ones(len(world))]).T
        expected = view.transform.to_model(pixels)  # the pinhole belongs to the image below it
        assert np.abs(np.stack([x / z, y / z], axis=1) - expected).max() < 1e-3
        assert tuple(camera["Pinhole:resolution"][0]) == view.image.shape[1::-1]
        assert np.allclose(camera["photo_intrinsics"].reshape(3, 3), view.camera.intrinsics, rtol=1e-6)
        assert tuple(camera["photo_size"]) == view.transform.original_size and camera["view"][0] == view.name
        picture = found[f"{entity}/image"]["EncodedImage:blob"][None][0]
        image = np.asarray(Image.open(io.BytesIO(picture.astype(np.uint8).tobytes()))).astype(int)
        assert np.abs(image - view.image)[view.mask].mean() < 2
        for name, truth in (("depth", np.where(view.mask, view.depth, 0)), ("confidence", view.confidence)):
            (buffer,) = (v for k, v in found[f"{entity}/{name}"].items() if k.endswith(":buffer"))
            values = buffer[None][0].astype(np.uint8).tobytes()
            assert np.array_equal(np.frombuffer(values, "<f4").reshape(view.depth.shape), truth)
    assert found["/world"]["ViewCoordinates:xyz"][None].ravel().tolist() == [3, 2, 5]  # right, down, forward


@needs_rerun
def test_points_and_gaussians(exact_scene: Scene, tmp_path: Path) -> None:
    views = tuple(dataclasses.replace(view, timestamp=None) for view in exact_scene.views)
    scene = dataclasses.replace(exact_scene, views=views, tracks=None)
    found = read(scene.export(tmp_path, ["rrd"])["rrd"])
    points, colors, _ = scene.point_cloud()
    clouds = [values for name, values in found.items() if name.startswith("/world/points/")]
    assert len(clouds) == len(views)
    have = np.concatenate([cloud["Points3D:positions"][None] for cloud in clouds]).astype(np.float32)
    paint = np.concatenate([rgb(cloud["Points3D:colors"][None]) for cloud in clouds])
    order, have_order = np.lexsort(points.T), np.lexsort(have.T)
    assert np.array_equal(points[order], have[have_order]) and np.array_equal(colors[order], paint[have_order])
    splats, truth = found["/world/gaussians"], scene.gaussians
    assert np.array_equal(splats["GaussianSplats3D:centers"][None].astype(np.float32), truth.means)
    assert np.allclose(splats["GaussianSplats3D:scales"][None], truth.scales, rtol=1e-6)
    assert np.allclose(splats["GaussianSplats3D:quaternions"][None][:, [3, 0, 1, 2]], truth.rotations, atol=1e-6)
    packed = splats["GaussianSplats3D:colors"][None]
    assert np.abs(rgb(packed) / 255 - truth.colors).max() < 0.5 / 255 + 1e-6
    assert np.abs((packed & 255) / 255 - truth.opacities).max() < 0.5 / 255 + 1e-6


@needs_rerun
@pytest.mark.parametrize("start", [0.0, 1_600_000_000.0])
def test_time_and_what_moves(tmp_path: Path, start: float) -> None:
    (sample,) = sampling.render([moving_world.moving_world()], height=24, width=32)
    scene = exact_scene(sample, tracks=12)
    views = tuple(dataclasses.replace(view, timestamp=view.timestamp + start) for view in scene.views)
    objects = tuple(dataclasses.replace(each, timestamps=each.timestamps + start) for each in scene.objects)
    scene = dataclasses.replace(scene, views=views, objects=objects)
    found = read(scene.export(tmp_path, ["rrd"])["rrd"])
    times = [round(time, 6) for time in scene.times]
    for entity in ("/world/cameras/camera", "/world/points/camera", "/world/moving/camera", "/world/tracks"):
        assert [round(t, 6) for t in sorted(next(iter(found[entity].values())))] == times
    for index, (view, time) in enumerate(zip(scene.views, sorted(found["/world/tracks"]["track"]), strict=True)):
        camera = found["/world/cameras/camera"]
        assert np.allclose(camera["Transform3D:translation"][time][0], view.camera.center, atol=1e-6)
        still = found["/world/points/camera"]["Points3D:positions"][time]
        moving = found["/world/moving/camera"]["Points3D:positions"][time]
        assert np.array_equal(still, view.points[view.mask & ~view.dynamic])
        assert np.array_equal(moving, view.points[view.mask & view.dynamic]) and len(moving)
        (mask,) = (v for k, v in found["/world/cameras/camera/dynamic"].items() if k.endswith(":buffer"))
        assert np.array_equal(mask[time][0].reshape(view.mask.shape) == 1, view.dynamic)
        tracks = found["/world/tracks"]
        assert np.array_equal(tracks["Points3D:positions"][time], scene.tracks.points[tracks["track"][time], index])
        assert np.array_equal(tracks["visible"][time].astype(bool), scene.tracks.visible[tracks["track"][time], index])
        boxes = found["/world/objects"]
        for row, label in enumerate(boxes["Boxes3D:labels"][time]):
            thing = next(each for each in scene.objects if str(each.id) == label)
            assert np.array_equal(boxes["Boxes3D:centers"][time][row], thing.centers[index])
            assert np.array_equal(boxes["Boxes3D:half_sizes"][time][row], thing.size / 2)
            arrow = found["/world/objects/velocity"]["Arrows3D:vectors"][time][row]
            assert np.array_equal(arrow, thing.velocities[index])
    way = found["/world/trajectory/camera"]["LineStrips3D:strips"][None][0]
    assert np.allclose(way, [view.camera.center for view in scene.views], atol=1e-6)


@needs_rerun
def test_frames_without_times(tmp_path: Path) -> None:
    from rerun.chunk import RrdReader

    (sample,) = sampling.render([moving_world.moving_world()], height=12, width=16)
    scene = exact_scene(sample, tracks=12)
    frames = tuple(dataclasses.replace(view, timestamp=None) for view in scene.views)
    path = dataclasses.replace(scene, views=frames).export(tmp_path, ["rrd"])["rrd"]
    chunks = [chunk for chunk in RrdReader(path).stream().to_chunks() if chunk.entity_path == "/world/cameras/camera"]
    numbers = [n for chunk in chunks for n in chunk.to_record_batch().column("frame").to_pylist()]
    assert sorted(set(numbers)) == [0, 1, 2, 3, 4]


@needs_rerun
def test_the_layout_is_in_the_file(exact_scene: Scene, tmp_path: Path) -> None:
    from rerun.chunk import RrdReader

    reader = RrdReader(exact_scene.export(tmp_path, ["rrd"])["rrd"])
    (recording,), (layout,) = reader.recordings(), reader.blueprints()
    assert recording.application_id == layout.application_id == "worldline"
    classes = set()
    for chunk in reader.stream(store=layout).to_chunks():
        batch = chunk.to_record_batch()
        for name in batch.schema.names:
            if name.endswith(":class_identifier"):
                classes |= {value for row in batch.column(name).to_pylist() for value in row or []}
    assert classes == {"3D", "2D", "TextDocument"}
    again = RrdReader(exact_scene.export(tmp_path, ["rrd"])["rrd"]).recordings()
    assert again[0].recording_id == recording.recording_id  # a viewer replaces the scene, not adds to it


@needs_rerun
def test_whatever_a_scene_may_hold(exact_scene: Scene, tmp_path: Path) -> None:
    failed = dataclasses.replace(exact_scene.views[1], pose_status="failed", timestamp=None)
    empty = dataclasses.replace(exact_scene.views[0], mask=np.zeros_like(exact_scene.views[0].mask))
    twice = tuple(dataclasses.replace(exact_scene.views[2], name=name) for name in ("a", "b"))  # one time, one sensor
    scene = with_motion(dataclasses.replace(exact_scene, tracks=None, views=(failed, empty, *twice)))
    found = read(scene.export(tmp_path / "all", ["rrd"])["rrd"])
    assert "Pinhole:resolution" not in found[r"/world/cameras/café\/IMG\ 1.png"]
    assert "/world/cameras/a" in found and "/world/cameras/b" in found
    assert Scene(views=()).export(tmp_path / "none", ["rrd"])["rrd"].stat().st_size > 0


@needs_rerun
def test_a_disk_without_room(exact_scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDK waits for ever for its thread when the disk is full, so the room is looked at before."""
    size = exact_scene.export(tmp_path, ["rrd"])["rrd"].stat().st_size
    assert size < _most_bytes(exact_scene) < 8 * size + 4e6
    before = (tmp_path / "scene.rrd").read_bytes()
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=size // 2))
    with pytest.raises(OutputError, match="the disk is full"):
        exact_scene.export(tmp_path, ["rrd"])
    assert (tmp_path / "scene.rrd").read_bytes() == before and not list(tmp_path.glob(".partial*"))


def test_without_the_package(exact_scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:  # type: ignore[no-untyped-def]
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "rerun" else find(name, *rest))
    with pytest.raises(MissingExtraError, match=r"pip install 'worldline\[rerun\]'"):
        check_formats(["ply", "rrd"])
    saved = exact_scene.save(tmp_path / "scene")
    before = sorted(path.name for path in saved.iterdir())
    assert main(["export", str(saved), "--to", "ply,rrd"]) == 2
    assert "worldline[rerun]" in capsys.readouterr().err
    assert sorted(path.name for path in saved.iterdir()) == before
