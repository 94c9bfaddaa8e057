"""Writing a scene while it is made: exact, loadable at every moment, and at constant memory."""

import dataclasses
import errno
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scene_checks import assert_same, with_motion
from worldline.errors import InputError, OutputError
from worldline.scene import Scene, SceneView, SceneWriter
from worldline.types import Camera, ImageTransform, MovingObject, Provenance, Rig

PROVENANCE = Provenance("driv3r", license="Apache-2.0", arguments={"pixels": 256})
VIEW_BYTES = 16 * 16 * 26  # 3 + 12 + 4 + 4 + 1 + 1 per pixel, and a Boolean for motion


def make_view(index: int, size: int = 16, *, dynamic: bool = True) -> SceneView:
    random = np.random.default_rng(index)
    pose = np.eye(4)
    pose[:3, 3] = random.normal(size=3)
    return SceneView(
        name=f"CAM_{index % 2}_{index // 2:06d}",
        image=random.integers(0, 255, (size, size, 3), np.uint8),
        transform=ImageTransform.identity(size, size),
        camera=Camera(np.diag([20.0, 20.0, 1.0]), pose, size, size),
        points=random.normal(size=(size, size, 3)).astype(np.float32),
        depth=random.normal(size=(size, size)).astype(np.float32),
        confidence=random.uniform(1, 5, (size, size)).astype(np.float32),
        mask=random.uniform(size=(size, size)) > 0.1,
        dynamic=random.uniform(size=(size, size)) > 0.9 if dynamic else None,
        timestamp=0.1 * (index // 2),
        sensor=f"CAM_{index % 2}",
    )


def make_object(number: int = 3) -> MovingObject:
    path = np.arange(6, dtype=np.float32).reshape(2, 3)
    return MovingObject(number, np.array([0.1, 0.7]), path, path / 3, np.ones(3, np.float32) / 7, ("CAM_0",))


def writer_to(folder: Path, per_shard: int = 2, **options: object) -> SceneWriter:
    return SceneWriter(folder, provenance=PROVENANCE, shard_bytes=per_shard * VIEW_BYTES, **options)


def shards(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.safetensors"))


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    count=st.integers(0, 7),
    per_shard=st.integers(1, 4),
    known=st.lists(st.booleans(), min_size=7, max_size=7),
    objects=st.integers(0, 2),
    lazy=st.booleans(),
)
def test_round_trip_is_exact(
    tmp_path_factory: pytest.TempPathFactory, count: int, per_shard: int, known: list[bool], objects: int, lazy: bool
) -> None:
    folder = tmp_path_factory.mktemp("w") / "new" / "scene"
    views = tuple(make_view(index, dynamic=known[index]) for index in range(count))
    rig = Rig(("CAM_0", "CAM_1"), ground=0.1)
    things = tuple(make_object(number) for number in range(objects))
    with writer_to(folder, per_shard, rig=rig) as writer:
        writer.add_many(views)
        assert writer.finish(objects=things, warnings=["dark"], scale="known-poses") == folder
    expected = Scene(views, None, None, "known-poses", PROVENANCE, ("dark",), things, rig)
    assert_same(expected, Scene.load(folder, lazy=lazy))


def test_a_scene_of_photos_round_trips_too(exact_scene: Scene, tmp_path: Path) -> None:
    scene = dataclasses.replace(with_motion(exact_scene), gaussians=None, tracks=None, warnings=())
    with SceneWriter(tmp_path, provenance=scene.provenance, rig=scene.rig, scale="model") as writer:
        writer.add_many(scene.views)
        writer.finish(objects=scene.objects)
    assert_same(scene, Scene.load(tmp_path))


def test_the_document_is_for_people(tmp_path: Path) -> None:
    with writer_to(tmp_path) as writer:
        writer.add_many(make_view(index) for index in range(5))
        writer.finish(objects=[make_object()])
    document = json.loads((tmp_path / "scene.json").read_text(encoding="utf-8"))
    assert document["version"] == 2 and document["finished"] is True
    assert document["arrays"] == [
        {"file": f"arrays-{number:05d}.safetensors", "views": views} for number, views in enumerate([2, 2, 1, 0])
    ]
    assert document["objects"] == [{"id": 3, "sensors": ["CAM_0"], "times": 2}]
    assert all((tmp_path / view["thumbnail"]).is_file() for view in document["views"])
    assert all(path.stat().st_size < 2 * VIEW_BYTES + 4096 for path in tmp_path.glob("*.safetensors"))


def test_the_folder_is_a_scene_at_every_moment(tmp_path: Path) -> None:
    writer, views = writer_to(tmp_path / "s", 3), [make_view(index) for index in range(8)]
    for index, view in enumerate(views):
        writer.add(view)
        complete = index // 3 * 3
        if complete:
            scene = Scene.load(tmp_path / "s")
            assert_same(tuple(views[:complete]), scene.views)
            assert f"goes on: {complete} views so far" in scene.warnings[0]
    writer.flush()
    assert len(Scene.load(tmp_path / "s")) == len(writer) == 8


def test_arrays_may_be_used_again_by_the_caller(tmp_path: Path) -> None:
    view, kept = make_view(0), make_view(0)
    with writer_to(tmp_path) as writer:
        writer.add(view)
        view.points[:] = 0
    assert_same((kept,), Scene.load(tmp_path).views)


def test_an_exception_loses_no_view(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), writer_to(tmp_path, 3) as writer:
        writer.add_many(make_view(index) for index in range(4))
        raise KeyboardInterrupt
    assert len(Scene.load(tmp_path)) == 4 and not writer.finished


def test_a_killed_program_keeps_complete_shards_and_can_be_resumed(tmp_path: Path) -> None:
    script = (
        "import os, sys; sys.path[:0] = sys.argv[2:]; from pathlib import Path; import test_scene_writer as t\n"
        "w = t.writer_to(Path(sys.argv[1]))\n"
        "w.add_many(t.make_view(i) for i in range(7)); os._exit(9)"
    )
    here = Path(__file__).parent
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path), str(here), str(here.parent)], check=False)
    assert done.returncode == 9
    assert len(Scene.load(tmp_path)) == 6
    with SceneWriter.resume(tmp_path, shard_bytes=2 * VIEW_BYTES) as writer:
        assert writer.names == tuple(make_view(index).name for index in range(6))
        with pytest.raises(InputError, match="same name"):
            writer.add(make_view(5))
        writer.add_many(make_view(index) for index in range(6, 9))
    scene = Scene.load(tmp_path)
    assert_same(tuple(make_view(index) for index in range(9)), scene.views)
    assert scene.warnings == () and scene.provenance == PROVENANCE and len(shards(tmp_path)) == 5


def test_resuming_keeps_objects_until_there_are_new_ones(tmp_path: Path) -> None:
    with writer_to(tmp_path) as writer:
        writer.add(make_view(0))
        writer.finish(objects=[make_object(1)], warnings=["dark"], scale="known-poses")
    with SceneWriter.resume(tmp_path) as writer:
        writer.add(make_view(1))
        writer.flush()
        assert Scene.load(tmp_path).objects[0].id == 1
    assert Scene.load(tmp_path).objects[0].id == 1 and Scene.load(tmp_path).warnings == ("dark",)
    with SceneWriter.resume(tmp_path) as writer:
        writer.add(make_view(2))
        writer.finish(objects=[make_object(2)])
    scene = Scene.load(tmp_path)
    assert scene.objects[0].id == 2 and scene.scale == "known-poses" and len(scene) == 3
    assert len(shards(tmp_path)) == 4  # the file of the old objects is gone


def test_a_scene_that_was_saved_whole_can_go_on(exact_scene: Scene, tmp_path: Path) -> None:
    whole = dataclasses.replace(exact_scene, gaussians=None, tracks=None)
    whole.save(tmp_path / "s")
    with SceneWriter.resume(tmp_path / "s") as writer:
        writer.add(make_view(0))
    assert_same(dataclasses.replace(whole, views=(*whole.views, make_view(0))), Scene.load(tmp_path / "s"))
    exact_scene.save(tmp_path / "g")
    with pytest.raises(InputError, match="fixed set of views"):
        SceneWriter.resume(tmp_path / "g")
    with pytest.raises(InputError, match="not a saved scene"):
        SceneWriter.resume(tmp_path / "absent")


def test_an_earlier_scene_stays_until_the_first_shard_is_complete(exact_scene: Scene, tmp_path: Path) -> None:
    folder = exact_scene.save(tmp_path / "s")
    for name in ("notes.txt", "arrays-00001.safetensors"):
        (folder / name).write_text("mine")
    with writer_to(folder) as writer:
        writer.add_many([make_view(0), make_view(1)])
        assert_same(exact_scene, Scene.load(folder))
        writer.add(make_view(2))
        assert len(Scene.load(folder)) == 2
        assert not (folder / "arrays.safetensors").exists()
    with writer_to(folder) as writer:  # once more, over a scene of several shards
        writer.add(make_view(7))
    assert_same((make_view(7),), Scene.load(folder).views)
    assert shards(folder) == ["arrays-00001.safetensors", "arrays-00003.safetensors"]
    assert [path.name for path in (folder / "thumbnails").iterdir()] == ["0000_CAM_1_000003.jpg"]
    exact_scene.save(folder)
    assert_same(exact_scene, Scene.load(folder))
    assert shards(folder) == ["arrays-00001.safetensors", "arrays.safetensors"]
    assert all((folder / name).read_text() == "mine" for name in ("notes.txt", "arrays-00001.safetensors"))


@pytest.mark.parametrize("fails_at", [0, 1, 2, 3])
def test_a_full_disk_keeps_what_was_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int) -> None:
    writer = writer_to(tmp_path)
    writer.add_many(make_view(index) for index in range(2))
    writer.flush()
    before = sorted(path.name for path in tmp_path.rglob("*"))
    writer.add_many(make_view(index) for index in range(2, 4))
    calls: list[Path] = []
    rename = Path.replace

    def full(path: Path, target: Path) -> Path:
        calls.append(target)
        if len(calls) > fails_at:
            raise OSError(errno.ENOSPC, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(OutputError, match=r"the disk is full\. Free some space"):
        writer.add(make_view(4))
    monkeypatch.undo()
    assert sorted(path.name for path in tmp_path.rglob("*")) == before
    assert len(Scene.load(tmp_path)) == 2
    writer.add(make_view(4))  # there is space again
    writer.finish()
    assert_same(tuple(make_view(index) for index in range(5)), Scene.load(tmp_path).views)


def test_a_full_disk_does_not_hide_why_the_program_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(path: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(ZeroDivisionError), writer_to(tmp_path) as writer:
        writer.add(make_view(0))
        raise ZeroDivisionError
    assert "The last 1 views are lost" in caplog.text and "disk is full" in caplog.text


@pytest.mark.parametrize("damage", ["missing", "cut", "foreign"])
@pytest.mark.parametrize("lazy", [False, True])
def test_a_lost_shard_is_named_and_the_rest_can_be_loaded(tmp_path: Path, damage: str, lazy: bool) -> None:
    with writer_to(tmp_path) as writer:
        writer.add_many(make_view(index) for index in range(5))
        writer.finish(objects=[make_object()])
    path = tmp_path / "arrays-00001.safetensors"
    data = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(data[:-3] if damage == "cut" else (tmp_path / "arrays-00000.safetensors").read_bytes())
    with pytest.raises(InputError, match=r"arrays-00001.* 2 of 5 views.*partial=True") as caught:
        Scene.load(tmp_path, lazy=lazy)
    assert caught.value.remedy
    scene = Scene.load(tmp_path, lazy=lazy, partial=True)
    assert_same(tuple(make_view(index) for index in (0, 1, 4)), scene.views)
    assert_same((make_object(),), scene.objects)
    assert len(scene.warnings) == 1 and "arrays-00001" in scene.warnings[0] and "2 of 5 views" in scene.warnings[0]


def test_lost_objects_and_nothing_left(tmp_path: Path) -> None:
    with writer_to(tmp_path) as writer:
        writer.add_many(make_view(index) for index in range(2))
        writer.finish(objects=[make_object()])
    (tmp_path / "arrays-00001.safetensors").unlink()
    with pytest.raises(InputError, match=r"arrays-00001.safetensors is missing.*moving objects"):
        Scene.load(tmp_path)
    scene = Scene.load(tmp_path, partial=True)
    assert len(scene) == 2 and scene.objects == () and "moving objects" in " ".join(scene.warnings)
    (tmp_path / "arrays-00000.safetensors").unlink()
    with pytest.raises(InputError, match="Nothing of the scene"):
        Scene.load(tmp_path, partial=True)


def test_memory_does_not_grow_with_the_stream(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        tracemalloc.start()
        with writer_to(tmp_path / str(count), 10, thumbnails=False) as writer:
            for index in range(count):
                writer.add(make_view(index))
        result = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return result

    peak(20)  # imports
    short, long = peak(50), peak(300)
    assert long - short < 250 * 2500  # the records of 250 views; their arrays are 250 * 6656 bytes
    assert long < 300 * VIEW_BYTES
    assert len(Scene.load(tmp_path / "300", lazy=True)) == 300


def test_a_scene_without_thumbnails_is_replaced_like_any_other(tmp_path: Path) -> None:
    with writer_to(tmp_path, thumbnails=False) as writer:
        writer.add_many(make_view(index) for index in range(3))
    (tmp_path / "None").write_text("mine")
    with writer_to(tmp_path) as writer:
        writer.add(make_view(5))
    assert_same((make_view(5),), Scene.load(tmp_path).views)
    assert len(shards(tmp_path)) == 1 and (tmp_path / "None").exists()


def test_an_interrupted_shard_is_not_written_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with writer_to(tmp_path / "old") as writer:
        writer.add(make_view(9))

    def interrupt(*_: object) -> None:
        monkeypatch.undo()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), writer_to(tmp_path / "old") as writer:
        writer.add_many(make_view(index) for index in range(2))
        monkeypatch.setattr("worldline.scene.storage.writer.remove_files", interrupt)  # scene.json is there already
        writer.add(make_view(2))
    assert [view.name for view in Scene.load(tmp_path / "old").views] == [make_view(index).name for index in (0, 1)]


def test_mistakes_are_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Unknown scale 'metres'"):
        writer_to(tmp_path / "a", scale="metres")
    assert not (tmp_path / "a").exists()
    (tmp_path / "scene.json").write_text("{}")
    with pytest.raises(OutputError, match="not written by worldline"):
        writer_to(tmp_path)
    with pytest.raises(OutputError, match="is a file"):
        writer_to(tmp_path / "scene.json")
    with writer_to(tmp_path / "b") as writer:
        writer.add(make_view(0))
        with pytest.raises(InputError, match="Unknown scale"):
            writer.finish(scale="metres")
    for action in (writer.finish, lambda: writer.add(make_view(1))):
        with pytest.raises(InputError, match="is finished"):
            action()
