"""Photos to files through the command line, and every mistake that a user makes on the way."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pycolmap
import pytest
import torch
import trimesh
from PIL import Image

from worldline import Scene, weights, worlds
from worldline.cli import main
from worldline.models.config import MVDust3rConfig
from worldline.models.mvdust3r import MVDust3r


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model folder that makes the mechanics run; what it sees is nonsense."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("models") / "untrained"
    weights.save_model(MVDust3r(MVDust3rConfig.mini()), folder, card={"name": "untrained", "license": "Apache-2.0"})
    return str(folder)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos of a test room, one portrait, one stored sideways with an EXIF orientation."""
    folder = tmp_path_factory.mktemp("photos")
    sample = worlds.sample("rooms", worlds.TEST_SEEDS[0], views=3, height=96, width=128)
    images = [Image.fromarray(image) for image in np.asarray(sample.images)]
    images[0].save(folder / "a.jpg")
    images[1].crop((16, 0, 88, 96)).save(folder / "b portrait.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    images[2].transpose(Image.Transpose.ROTATE_90).save(folder / "c.jpg", exif=exif, quality=95)
    return folder


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_photos_become_a_scene_and_its_exports(
    photos: Path, untrained: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    assert run("reconstruct", photos, "-o", out, "--model", untrained, "--to", "glb,ply,colmap,nerfstudio,npz") == 0
    scene = Scene.load(out)
    assert [view.name for view in scene.views] == ["a.jpg", "b portrait.png", "c.jpg"]
    assert [(view.camera.width, view.camera.height) for view in scene.views] == [(128, 96), (72, 96), (128, 96)]
    assert len(trimesh.load(out / "scene.glb").geometry) > 0
    assert pycolmap.Reconstruction(out / "colmap" / "sparse" / "0").num_reg_images() >= 1
    text = capsys.readouterr().out
    assert "b portrait.png" in text and "scene.glb" in text and "outside the square crop" in text


def test_a_saved_scene_is_exported_without_the_model(photos: Path, untrained: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run("reconstruct", photos, "-o", out, "--model", untrained, "--quiet")
    assert run("export", out, "--to", "tum,depth-png,splat", "-o", tmp_path / "files") == 0
    assert {path.name for path in (tmp_path / "files").iterdir()} >= {"trajectory.txt", "depth", "scene.splat"}


def test_zip_and_list_and_letterbox_work_too(photos: Path, untrained: str, tmp_path: Path) -> None:
    archive = tmp_path / "photos.zip"
    with zipfile.ZipFile(archive, "w") as target:
        for photo in sorted(photos.iterdir()):
            target.write(photo, photo.name)
    assert run("reconstruct", archive, "-o", tmp_path / "zip", "--model", untrained, "--fit", "pad") == 0
    assert Scene.load(tmp_path / "zip").views[0].transform.used_share == 1
    files = sorted(photos.iterdir())[:2]
    assert run("reconstruct", *files, "-o", tmp_path / "list", "--model", untrained) == 0
    assert len(Scene.load(tmp_path / "list").views) == 2


def test_known_cameras_are_used(photos: Path, untrained: str, tmp_path: Path) -> None:
    poses = [np.eye(4), np.eye(4), np.eye(4)]
    poses[1][0, 3] = 2.0
    frames = [
        {"image": name, "K": [100, 100, 63.5, 47.5], "T_c2w": pose.tolist()}
        for name, pose in zip(("a.jpg", "b portrait.png", "c.jpg"), poses, strict=True)
    ]
    (tmp_path / "cameras.json").write_text(json.dumps({"frames": frames}))
    command = ("reconstruct", photos, "-o", tmp_path / "out", "--model", untrained)
    assert run(*command, "--cameras", tmp_path / "cameras.json") == 0
    view = Scene.load(tmp_path / "out").views[1]
    np.testing.assert_allclose(view.camera.world_from_cam, poses[1], atol=1e-9)
    assert view.camera.intrinsics[0, 0] == pytest.approx(100)


MISTAKES = (
    "empty folder",
    "missing folder",
    "one photo",
    "text files",
    "unknown format",
    "unknown model",
    "file as output",
    "reference out of range",
    "broken cameras",
    "no such device",
)


def mistakes(photos: Path, tmp_path: Path) -> dict[str, tuple[list[object], str]]:
    """What a user does wrong -> arguments, a word of the answer."""
    empty, one, text = tmp_path / "empty", tmp_path / "one", tmp_path / "text"
    for folder in (empty, one, text):
        folder.mkdir()
    (one / "a.jpg").write_bytes((photos / "a.jpg").read_bytes())
    for name in ("x.jpg", "y.jpg"):
        (text / name).write_text("this is no picture")
    file = tmp_path / "file"
    file.write_text("in the way")
    broken = tmp_path / "cameras.json"
    broken.write_text("{")
    return {
        "empty folder": ([empty], "empty"),
        "missing folder": ([tmp_path / "nowhere"], "nowhere"),
        "one photo": ([one], "at least 2"),
        "text files": ([text], "y.jpg"),
        "unknown format": ([photos, "--to", "glb,obj"], "obj"),
        "unknown model": ([photos, "--model", "mvdust3r-plus-mni"], "mvdust3r-plus-mini"),
        "file as output": ([photos, "-o", file], "file"),
        "reference out of range": ([photos, "--reference", 7], "7"),
        "broken cameras": ([photos, "--cameras", broken], "cameras.json"),
        "no such device": ([photos, "--device", "tpu"], "tpu"),
    }


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_get_a_sentence_and_a_remedy(
    mistake: str, photos: Path, untrained: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    arguments, word = mistakes(photos, tmp_path)[mistake]
    defaults: list[object] = [] if "--model" in arguments else ["--model", untrained]
    defaults += [] if "-o" in arguments else ["-o", tmp_path / "out"]
    assert run("reconstruct", *arguments, *defaults) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert word in "\n".join(lines)
    assert lines[0].startswith("worldline reconstruct: ")
    assert len(lines) >= 2, "a cause and a remedy"
    assert "Traceback" not in "\n".join(lines)
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_place_is_noticed_before_the_work(photos: Path, untrained: str, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert run("reconstruct", photos, "-o", tmp_path / "out", "--model", untrained) == 2


def test_bad_files_can_be_skipped(photos: Path, untrained: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for photo in photos.iterdir():
        (tmp_path / "in" / photo.name).write_bytes(photo.read_bytes())
    (tmp_path / "in" / "z.jpg").write_text("no picture")
    command = ("reconstruct", tmp_path / "in", "-o", tmp_path / "out", "--model", untrained)
    assert run(*command) == 2
    assert run(*command, "--skip-bad") == 0
    assert any("z.jpg" in warning for warning in Scene.load(tmp_path / "out").warnings)


def test_nothing_of_the_users_is_lost(photos: Path, untrained: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    for _ in range(2):
        assert run("reconstruct", photos, "-o", out, "--model", untrained, "--to", "ply", "--quiet") == 0
    assert (out / "notes.txt").read_text() == "mine"


def test_doctor_plans_for_a_published_model_without_having_it(capsys: pytest.CaptureFixture) -> None:
    assert run("doctor", "--model", "mvdust3r-plus", "--views", 4, 24, "--device", "cpu") == 0
    text = capsys.readouterr().out
    assert "661" in text and "CC BY-NC" in text and "GiB" in text


def test_worlds_are_written_and_left_alone_the_second_time(tmp_path: Path) -> None:
    command = ("worlds", "write", "rooms", "-n", 1, "-o", tmp_path, "--views", 2, "--size", 48)
    assert run(*command) == 0
    (scene,) = tmp_path.rglob("scene.json")
    before = scene.stat().st_mtime_ns
    assert run(*command) == 0
    assert scene.stat().st_mtime_ns == before
