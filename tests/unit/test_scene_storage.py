"""Saving and loading a scene: exact, atomic, and gentle with what else is in the folder."""

import dataclasses
import errno
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import synthetic_scene
from scene_checks import assert_same, with_motion
from worldline.errors import InputError, OutputError
from worldline.scene import Scene
from worldline.types import Camera, MovingObject, Rig, Tracks


def test_round_trip_is_exact(exact_scene: Scene, tmp_path: Path) -> None:
    assert exact_scene.save(tmp_path / "new" / "scene") == tmp_path / "new" / "scene"
    assert_same(exact_scene, Scene.load(tmp_path / "new" / "scene"))


def test_awkward_numbers_survive(exact_scene: Scene, tmp_path: Path) -> None:
    view = exact_scene.views[0]
    pose = view.camera.world_from_cam.copy()
    pose[:3, 3] = [1 / 3, 5e-324, -1.7976931348623157e308]
    odd = dataclasses.replace(view, camera=Camera(view.camera.intrinsics, pose, 240, 320), name="a [ 1 ] “ü”.png")
    scene = Scene(views=(odd,))
    scene.save(tmp_path / "s")
    assert_same(scene, Scene.load(tmp_path / "s"))


def test_empty_gaussians_and_tracks_stay_none(tmp_path: Path) -> None:
    scene = dataclasses.replace(synthetic_scene.make_scene(gaussians=False), tracks=None)
    loaded = Scene.load(scene.save(tmp_path / "s"))
    assert loaded.gaussians is None and loaded.tracks is None


def test_arguments_of_a_run_become_json(exact_scene: Scene, tmp_path: Path) -> None:
    arguments = {"path": Path("a/b"), "size": np.int64(3), "nan": float("nan"), "list": (1, np.arange(2))}
    provenance = dataclasses.replace(exact_scene.provenance, arguments=arguments)
    loaded = Scene.load(dataclasses.replace(exact_scene, provenance=provenance).save(tmp_path / "s"))
    assert loaded.provenance.arguments == {"path": str(Path("a/b")), "size": 3, "nan": "nan", "list": [1, [0, 1]]}


def test_document_is_readable_and_has_no_pickle(exact_scene: Scene, tmp_path: Path) -> None:
    exact_scene.save(tmp_path / "s")
    document = json.loads((tmp_path / "s" / "scene.json").read_text(encoding="utf-8"))
    assert document["format"] == "worldline-scene" and document["version"] == 1
    assert [view["name"] for view in document["views"]] == [view.name for view in exact_scene.views]
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == [
        "arrays.safetensors",
        "scene.json",
        "thumbnails",
    ]
    assert len(list((tmp_path / "s" / "thumbnails").glob("*.jpg"))) == 4


def test_saving_again_keeps_the_files_of_the_user(exact_scene: Scene, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "arrays.safetensors").write_text("mine too")
    exact_scene.save(folder)
    smaller = dataclasses.replace(exact_scene, views=exact_scene.views[:2])
    smaller.save(folder)
    smaller.save(folder)
    assert_same(smaller, Scene.load(folder))
    assert (folder / "notes.txt").read_text() == "mine" and (folder / "arrays.safetensors").read_text() == "mine too"
    assert len(list(folder.glob("*.safetensors"))) == 2  # no stale arrays
    assert len(list((folder / "thumbnails").iterdir())) == 2


def test_a_scene_json_of_somebody_else_is_not_touched(exact_scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "scene.json").write_text('{"format": "other"}')
    with pytest.raises(OutputError, match="not written by worldline"):
        exact_scene.save(tmp_path)
    assert (tmp_path / "scene.json").read_text() == '{"format": "other"}'


@pytest.mark.parametrize("fails_at", [0, 1, 3, 5])
def test_a_full_disk_leaves_the_earlier_scene(
    exact_scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    folder = exact_scene.save(tmp_path / "s")
    before = sorted(path.name for path in folder.iterdir())
    calls = []
    replace = Path.replace

    def full(path: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) > fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match=r"the disk is full\. Free some space"):
        dataclasses.replace(exact_scene, warnings=("new",)).save(folder)
    monkeypatch.undo()
    assert_same(exact_scene, Scene.load(folder))
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_full_disk_leaves_nothing_of_a_new_scene(
    exact_scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def full(path: Path, target: Path) -> Path:
        if target.name == "scene.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match="the disk is full"):
        exact_scene.save(tmp_path / "s")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way(exact_scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for target in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(OutputError, match=r"is a file|a file is where") as caught:
            exact_scene.save(target)
        assert caught.value.remedy
    assert (tmp_path / "file").read_text() == "mine"


def test_loading_what_is_no_scene(exact_scene: Scene, tmp_path: Path) -> None:
    for target in (tmp_path, tmp_path / "absent", exact_scene.save(tmp_path / "s") / "scene.json"):
        with pytest.raises(InputError, match="not a saved scene"):
            Scene.load(target)


def edit(folder: Path, **changes: object) -> None:
    document = json.loads((folder / "scene.json").read_text(encoding="utf-8"))
    (folder / "scene.json").write_text(json.dumps({**document, **changes}), encoding="utf-8")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 3}, "reads versions up to 2"),
        ({"version": "x"}, "no valid version"),
        ({"format": "x"}, "not a worldline scene"),
        ({"arrays": "../arrays.safetensors"}, "names no array file"),
        ({"arrays": "absent.safetensors"}, "is missing"),
        ({"views": [{}]}, "damaged"),
        ({"provenance": {"unknown": 1}}, "damaged"),
    ],
)
def test_wrong_documents(exact_scene: Scene, tmp_path: Path, changes: dict, message: str) -> None:
    folder = exact_scene.save(tmp_path / "s")
    edit(folder, **changes)
    with pytest.raises(InputError, match=message) as caught:
        Scene.load(folder)
    assert caught.value.remedy


def test_damaged_files(exact_scene: Scene, tmp_path: Path) -> None:
    folder = exact_scene.save(tmp_path / "s")
    data = (folder / "arrays.safetensors").read_bytes()
    for broken in (data[: len(data) // 2], data[:5], b""):
        (folder / "arrays.safetensors").write_bytes(broken)
        with pytest.raises(InputError, match="damaged or cut short"):
            Scene.load(folder)
    (folder / "scene.json").write_bytes(b'{"format": \xff')
    with pytest.raises(InputError, match="not JSON"):
        Scene.load(folder)


def test_point_cloud_holds_the_valid_pixels(exact_scene: Scene) -> None:
    points, colors, confidence = exact_scene.point_cloud()
    assert len(points) == len(colors) == len(confidence) == sum(view.mask.sum() for view in exact_scene.views)
    assert points.dtype == np.float32 and colors.dtype == np.uint8
    few, _, high = exact_scene.point_cloud(min_confidence=3.0)
    assert 0 < len(few) < len(points) and high.min() >= 3.0


def test_model_camera_projects_each_point_to_its_pixel(exact_scene: Scene) -> None:
    for view in exact_scene.views:
        rows, columns = np.nonzero(view.mask)
        pixels, depth = view.model_camera.project(view.points[view.mask])
        assert np.abs(pixels - np.stack([columns, rows], axis=-1)).max() < 1e-3
        assert np.allclose(depth, view.depth[view.mask], atol=1e-5)


def test_wrong_scenes_are_refused(exact_scene: Scene) -> None:
    view = exact_scene.views[0]
    with pytest.raises(InputError, match="same name"):
        Scene(views=(view, view))
    with pytest.raises(InputError, match="depth has shape"):
        dataclasses.replace(view, depth=view.depth[1:])
    with pytest.raises(InputError, match="the camera is for 112x128"):
        dataclasses.replace(view, camera=view.model_camera)
    with pytest.raises(InputError, match="the timestamp is nan"):
        dataclasses.replace(view, timestamp=float("nan"))
    with pytest.raises(InputError, match="pose status"):
        dataclasses.replace(view, pose_status="fine")
    with pytest.raises(InputError, match="Unknown scale"):
        Scene(views=(view,), scale="metres")


VERSION_1 = Path(__file__).parent / "data" / "scene_v1"  # saved before there was a version 2


@pytest.mark.parametrize("lazy", [False, True])
def test_motion_objects_and_rig_come_back_exactly(exact_scene: Scene, tmp_path: Path, lazy: bool) -> None:
    scene = with_motion(exact_scene)
    assert_same(scene, Scene.load(scene.save(tmp_path / "s"), lazy=lazy))
    bare = dataclasses.replace(scene, rig=Rig(("A", "B")), objects=())
    assert_same(bare, Scene.load(bare.save(tmp_path / "s"), lazy=lazy))


@pytest.mark.parametrize("lazy", [False, True])
def test_a_scene_of_version_1_is_read_and_written_as_it_was(tmp_path: Path, lazy: bool) -> None:
    scene = Scene.load(VERSION_1, lazy=lazy)
    assert [view.name for view in scene.views] == ["0.png", "1.png"] and scene.views[1].timestamp == 0.1
    assert scene.views[0].points[2, 3].tolist() == [15, float(np.float32(15 / 7)), 2.875]
    assert scene.views[0].mask.dtype == bool and not scene.views[0].mask[0, 0]
    assert scene.views[0].dynamic is None and scene.objects == () and scene.rig is None
    assert scene.gaussians is not None and scene.tracks is not None and not scene.tracks.visible[0, 1]
    folder = scene.save(tmp_path / "s")
    assert (folder / "scene.json").read_bytes() == (VERSION_1 / "scene.json").read_bytes()
    before, after = (load_file(str(each / "arrays.safetensors")) for each in (VERSION_1, folder))
    assert before.keys() == after.keys()
    for name, value in before.items():
        assert value.dtype == after[name].dtype and value.tobytes() == after[name].tobytes(), name


def test_only_what_is_new_needs_the_new_version(exact_scene: Scene, tmp_path: Path) -> None:
    full = with_motion(exact_scene)
    news = [{"views": full.views}, {"objects": full.objects}, {"rig": full.rig}]
    for number, changes in [(1, {}), *((2, each) for each in news)]:
        folder = dataclasses.replace(exact_scene, **changes).save(tmp_path / "s")
        assert json.loads((folder / "scene.json").read_text(encoding="utf-8"))["version"] == number


def test_a_lazy_scene_reads_windows_into_the_file(exact_scene: Scene, tmp_path: Path) -> None:
    scene = Scene.load(with_motion(exact_scene).save(tmp_path / "s"), lazy=True)
    points = scene.views[0].points
    assert not points.flags.writeable and not points.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        points[0] = 0
    scene.save(tmp_path / "s")  # over the file that it reads from
    assert_same(scene, Scene.load(tmp_path / "s"))


def test_lazy_loading_finds_damage_when_it_opens(exact_scene: Scene, tmp_path: Path) -> None:
    folder = exact_scene.save(tmp_path / "s")
    data = (folder / "arrays.safetensors").read_bytes()
    for broken in (data[:-1], data[: len(data) // 2], data[:5], b""):
        (folder / "arrays.safetensors").write_bytes(broken)
        with pytest.raises(InputError, match="damaged or cut short"):
            Scene.load(folder, lazy=True)


def test_static_and_dynamic_pixels_make_the_whole_cloud(exact_scene: Scene) -> None:
    scene = with_motion(exact_scene)
    everything, static, moving = (scene.point_cloud(dynamic=each) for each in ("all", "static", "dynamic"))
    assert len(moving[0]) == sum((view.mask & view.dynamic).sum() for view in scene.views if view.dynamic is not None)
    assert len(static[0]) + len(moving[0]) == len(everything[0]) and len(moving[0]) > 0
    assert len(exact_scene.point_cloud(dynamic="static")[0]) == len(everything[0])
    assert len(scene.point_cloud(3.0, dynamic="dynamic")[0]) < len(moving[0])
    with pytest.raises(InputError, match=r"Unknown choice of dynamic 'still'\. Choose one of all, static, dynamic"):
        scene.point_cloud(dynamic="still")


def steps(scene: Scene) -> Scene:
    """Two sensors, three moments; one view without a time."""
    views = tuple(
        dataclasses.replace(scene.views[index % 4], name=str(index), sensor=sensor, timestamp=time)
        for index, (sensor, time) in enumerate([("B", 0.5), ("A", 0.5), ("B", 0.0), ("A", 1.0), ("B", None)])
    )
    moving = MovingObject(
        1,
        np.array([0.0, 0.5]),
        np.zeros((2, 3), np.float32),
        np.zeros((2, 3), np.float32),
        np.ones(3, np.float32),
        ("A",),
    )
    tracks = Tracks(np.zeros((2, 5, 3), np.float32), np.arange(20, dtype=np.float32).reshape(2, 5, 2), np.eye(2, 5) > 0)
    return dataclasses.replace(scene, views=views, objects=(moving,), rig=Rig(("A", "B", "C")), tracks=tracks)


def test_moments_and_sensors_of_a_scene(exact_scene: Scene) -> None:
    scene = steps(exact_scene)
    assert scene.sensors == ("B", "A") and scene.times == (0.0, 0.5, 1.0)
    for moment in (1, -2, 0.5, 0.6):
        chosen = scene.at(moment)
        assert [view.name for view in chosen.views] == ["0", "1"] and chosen.views[0] is scene.views[0]
    assert chosen.rig is scene.rig and chosen.objects == scene.objects and chosen.gaussians is None
    assert scene.at(-1).objects == ()
    of_a = scene.of("A")
    assert [view.name for view in of_a.views] == ["1", "3"] and of_a.rig.sensors == ("A",)
    assert of_a.tracks.pixels[0, :, 0].tolist() == [2, 6] and of_a.objects == scene.objects
    assert scene.of("B").objects == () and scene.of("A").at(1.0).times == (1.0,)


def test_moments_and_sensors_that_do_not_exist(exact_scene: Scene) -> None:
    scene = steps(exact_scene)
    for moment, message in [(3, "3 moments"), (-4, "3 moments"), (1.6, "nothing at 1.6"), (float("nan"), "nothing at")]:
        with pytest.raises(InputError, match=message):
            scene.at(moment)
    with pytest.raises(InputError, match=r"no view of sensor 'C'. It has: B, A"):
        scene.of("C")
    timeless = dataclasses.replace(exact_scene, views=(dataclasses.replace(exact_scene.views[0], timestamp=None),))
    with pytest.raises(InputError, match="no times"):
        timeless.at(0)


def test_wrong_objects_and_motion_are_refused(exact_scene: Scene) -> None:
    with pytest.raises(InputError, match=r"dynamic has shape"):
        dataclasses.replace(exact_scene.views[0], dynamic=np.zeros((3, 3), bool))
    with pytest.raises(InputError, match=r"Moving object 4: velocities has shape"):
        flat = np.zeros((2, 3), np.float32)
        MovingObject(4, np.zeros(2), flat, flat[:1], np.ones(3, np.float32))
