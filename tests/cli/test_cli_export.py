"""``worldline export OUT --to html,rrd``: from a saved scene to files to look at."""

import importlib.util
from pathlib import Path

import pytest

from worldline.cli import main
from worldline.scene import Scene


@pytest.mark.skipif(importlib.util.find_spec("rerun") is None, reason="needs pip install 'worldline[rerun]'")
def test_files_to_look_at(exact_scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = exact_scene.save(tmp_path / "scene")
    assert main(["export", str(saved), "--to", "html,rrd", "-o", str(tmp_path / "files")]) == 0
    files = tmp_path / "files"
    assert capsys.readouterr().out.split() == ["html:", f"{files / 'scene.html'}", "rrd:", f"{files / 'scene.rrd'}"]
    assert (files / "scene.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert (files / "scene.rrd").read_bytes().startswith(b"RRF")


def test_a_page_of_the_users_stays(exact_scene: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = exact_scene.save(tmp_path / "scene")
    (saved / "scene.html").write_text("mine")
    assert main(["export", str(saved), "--to", "ply,html"]) == 2
    assert "scene.html exists and was not written by worldline" in capsys.readouterr().err
    assert (saved / "scene.html").read_text() == "mine" and not (saved / "points.ply").exists()
