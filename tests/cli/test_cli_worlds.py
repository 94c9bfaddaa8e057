"""``worldline worlds``: data sets from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from worldline.cli import main


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def files(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}


def test_write_says_once_what_it_did(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    command = ("worlds", "write", "rooms", "-n", 2, "-o", tmp_path / "set", "--views", 2, "--size", 32)
    assert run(*command) == 0
    first = capsys.readouterr().out
    assert first.strip().splitlines() == [f"2 new scenes in {tmp_path / 'set'} (format ours)"]
    before = files(tmp_path)
    assert run(*command) == 0
    assert "already" in capsys.readouterr().out and files(tmp_path) == before
    assert run(*command[:4], 3, *command[5:]) == 0  # one more
    assert "1 new scene in" in capsys.readouterr().out
    assert before.items() <= files(tmp_path).items()


def test_a_video_has_times_and_masks(tmp_path: Path) -> None:
    assert run("worlds", "write", "rooms", "-n", 1, "-o", tmp_path, "--views", 3, "--height", 24, "--width", 32,
               "--shooting", "video", "--rate", 10, "--flow") == 0  # fmt: skip
    (file,) = tmp_path.rglob("scene.json")
    frames = json.loads(file.read_text())["frames"]
    assert [frame["time_index"] for frame in frames] == [0, 1, 2]
    assert np.allclose(np.diff([frame["timestamp"] for frame in frames]), 0.1)
    assert Image.open(file.parent / frames[0]["dynamic"]).size == (32, 24)
    assert "flow_forward" in frames[0] and "flow_backward" not in frames[0] and "flow_backward" in frames[2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--format", "kitti"), ("kitti", "nuscenes")),
        (("--format", "nuscenes"), ("rig",)),
        (("--format", "tapvid3d", "--focal-per-view", "--shooting", "photos"), ("intrinsics",)),
        (("--format", "tapvid3d", "--image-format", "png"), ("JPEG",)),
        (("--format", "colmap", "--flow"), ("flow",)),
        (("--format", "colmap", "--views", 1), ("two photos",)),
        (("--format", "colmap", "--tracks", 0), ("tracks",)),
        (("--shooting", "rig"), ("rig", "photos")),
        (("--shooting", "film"), ("film", "video")),
        (("--rate", 0, "--shooting", "video"), ("rate",)),
        (("--split", "dev"), ("dev", "validation")),
        (("--start", 2_000_000), ("seeds",)),
        (("--size", 0), ("height",)),
        (("--height", 0, "--size", 32), ("height", "1 or more")),
        (("--start", -1), ("start is -1", "0 or more")),
        (("--objects", -1), ("objects",)),
        (("--light-change", -1), ("light",)),
        (("--principal-offset", 3), ("principal",)),
        (("--device", "gpu"), ("gpu", "cpu")),
        (("--device", "mps"), ("mps", "cpu")),
        (("--rate", 5), ("rate", "photos", "video")),
        (("--speed", 2), ("speed", "photos", "video")),
        (("--overlap", 0.2, 0.5, "--shooting", "walk"), ("overlap", "walk", "photos")),
        (("--texture", 2), ("texture",)),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_rendered(
    options: tuple[object, ...], words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def render(*_: object, **__: object) -> None:
        raise AssertionError("something was rendered")

    monkeypatch.setattr("worldline.worlds.sampling.render", render)
    assert run("worlds", "write", "rooms", "-n", 1, "-o", tmp_path / "set", *options) == 2
    answer = capsys.readouterr().err
    assert all(word in answer for word in words), answer
    assert len(answer.strip().splitlines()) >= 2 and not (tmp_path / "set").exists()


def test_a_file_in_the_way_is_said_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "set").write_text("mine")
    assert run("worlds", "write", "rooms", "-n", 1, "-o", tmp_path / "set", "--views", 1, "--size", 16) == 2
    assert "set" in capsys.readouterr().err and (tmp_path / "set").read_text() == "mine"


def test_sheet_makes_a_picture(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert run("worlds", "sheet", "rooms", "-n", 2, "-o", tmp_path / "a" / "b.png", "--views", 2, "--size", 24) == 0
    assert Image.open(tmp_path / "a" / "b.png").size == (5 * 26, 2 * 26)
    assert run("worlds", "sheet", "rooms", "-o", tmp_path / "b.txt") == 2
    assert ".jpg" in capsys.readouterr().err


def test_list_names_layouts_and_formats(capsys: pytest.CaptureFixture) -> None:
    assert run("worlds", "list") == 0
    text = capsys.readouterr().out
    assert all(word in text for word in ("rooms", "photos", "ours", "nuscenes", "tapvid3d", "colmap"))
