"""``worldline stream`` end to end: a log in nuScenes format -> a 4D scene on disk."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from stream_network import tiny_network
from worldline import Scene, worlds
from worldline.cli import main
from worldline.inputs import open_log
from worldline.pipeline.stream import StreamSession
from worldline.weights.storage import save_model

STEPS = 3


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "tiny"
    return save_model(tiny_network(relative_pose=True), folder, card={"name": "tiny", "license": "Apache-2.0"})


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log")
    worlds.write("street", 1, folder, format="nuscenes", views=6 * STEPS, height=36, width=64, rate=2.0, effects=0.0)
    return folder


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "frames.jsonl").read_text().splitlines()]


def test_a_log_becomes_a_scene(model: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    arguments = ["stream", str(log), "-o", str(out), "--model", str(model), "--to", "ply,tum"]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert f"{STEPS} steps, {6 * STEPS} images" in said
    scene, drive = Scene.load(out), open_log(log)
    assert len(scene) == 6 * STEPS
    assert scene.sensors == drive.sensors
    assert len(scene.times) == STEPS
    for view in scene.views:
        step = scene.times.index(view.timestamp)
        image = drive.steps[step].images[view.sensor]
        expected = image.world_from_rig @ drive.rig.rig_from_cam[drive.rig.index(view.sensor)]
        np.testing.assert_allclose(view.camera.world_from_cam, expected, atol=1e-6)
        assert (view.camera.height, view.camera.width) == (36, 64)
    lines = records(out)
    assert [line["step"] for line in lines] == list(range(STEPS))
    assert all(line["latency"] > 0 and len(line["sensors"]) == 6 for line in lines)
    assert [len(line["completed"]) for line in lines] == [0, 6, 6]
    assert (out / "scene.ply").is_file() or list(out.glob("*.ply"))
    assert not (out / "stream.safetensors").exists()


def test_some_cameras_some_steps_and_missing_files(
    model: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken, out = tmp_path / "log", tmp_path / "out"
    shutil.copytree(log, broken)
    victim = open_log(broken).steps[1].images["CAM_BACK"].path
    victim.write_bytes(victim.read_bytes()[:200])
    arguments = ["stream", str(broken), "-o", str(out), "--model", str(model), "--sensors", "CAM_BACK", "CAM_FRONT"]
    assert main([*arguments, "--start", "1"]) == 0
    said = capsys.readouterr().out
    assert "issue: " in said
    assert "CAM_BACK" in said
    views = [(view.sensor, view.name) for view in Scene.load(out).views]
    assert sorted(sensor for sensor, _ in views) == ["CAM_BACK", "CAM_FRONT", "CAM_FRONT"]


def test_an_interrupted_stream_goes_on(model: Path, log: Path, tmp_path: Path) -> None:
    from worldline.inputs.logs import Log
    from worldline.pipeline import load
    from worldline.pipeline.stream.run import write_stream

    class Cut(Exception):
        pass

    def cut(result: object) -> None:
        if result.step == 1:  # type: ignore[attr-defined]
            raise Cut

    drive: Log = open_log(log)
    whole, part = tmp_path / "whole", tmp_path / "part"
    network = load(model)
    write_stream(network.stream(drive.rig, motion=False), drive, whole)
    with pytest.raises(Cut):
        write_stream(network.stream(drive.rig, motion=False), drive, part, save_every=1, progress=cut)
    assert len(Scene.load(part)) == 6
    write_stream(network.stream(drive.rig, motion=False), drive, part, resume=True)
    expected, got = Scene.load(whole), Scene.load(part)
    assert [view.name for view in got.views] == [view.name for view in expected.views]
    for one, other in zip(got.views, expected.views, strict=True):
        np.testing.assert_array_equal(one.points, other.points)
    assert [line["step"] for line in records(part)] == [0, 1, 2]


@pytest.mark.parametrize("killed", [0, STEPS - 1])
def test_a_killed_stream_loses_nothing(killed: int, model: Path, log: Path, tmp_path: Path) -> None:
    from worldline.pipeline import load
    from worldline.pipeline.stream.run import write_stream

    drive, network, out, left = open_log(log), load(model), tmp_path / "whole", tmp_path / "left"
    moments = []

    def copy(result: object) -> None:  # what lies on the disk when step ``killed`` + 1, or the end, has not come
        moments.append(result)
        if len(moments) == killed + 2:
            shutil.copytree(out, left)

    def finish() -> tuple:
        if killed == STEPS - 1:
            shutil.copytree(out, left)
        return StreamSession.finish(session)

    session = network.stream(drive.rig, motion=False)
    session.finish = finish  # type: ignore[method-assign]
    write_stream(session, drive, out, save_every=1, progress=copy)
    with (left / "frames.jsonl").open("a") as record:
        record.write('{"step": 9, "timest')
    write_stream(network.stream(drive.rig, motion=False), drive, left, resume=True)
    expected, got = Scene.load(out), Scene.load(left)
    assert [view.name for view in got.views] == [view.name for view in expected.views]
    assert got.scale == expected.scale
    assert [line["step"] for line in records(left)] == list(range(STEPS))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nowhere"], "nowhere"),
        (["LOG", "--model", "mvdust3r-plus-mini"], "no memory"),
        (["LOG", "--sensors", "ROOF"], "ROOF"),
        (["LOG", "--resume"], "no interrupted stream"),
        (["LOG", "--to", "gltf9"], "gltf9"),
    ],
)
def test_mistakes_get_a_sentence(
    arguments: list[str], says: str, model: Path, log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(log) if word == "LOG" else word for word in arguments]
    if "--model" not in given:
        given += ["--model", str(model)]
    assert main(["stream", *given, "-o", str(tmp_path / "out")]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out" / "scene.json").exists()
