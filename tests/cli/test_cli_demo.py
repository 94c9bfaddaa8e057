"""``worldline demo`` ends with pictures and with commands that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import report_scenes
from worldline.cli import VERBS, main


def test_the_demo_ends_with_pictures_and_the_next_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    asked: list[Any] = []

    def execute(arguments: Any) -> int:  # a small scene instead of the network's
        asked.append(arguments)
        report_scenes.photos(3).save(arguments.out)
        return 0

    monkeypatch.setattr("worldline.cli.reconstruct.execute", execute)
    out = tmp_path / "demo"
    assert main(["demo", "-o", str(out)]) == 0
    assert len(list(Path(asked[0].path[0]).glob("*.jpg"))) >= 4  # the bundled photos
    with Image.open(out / "still.png") as still, Image.open(out / "overview.jpg") as figure:
        assert still.size == (960, 540) and figure.width == 1800
    assert "<h1>Six photos of a room</h1>" in (out / "report.html").read_text(encoding="utf-8")
    text = capsys.readouterr().out
    assert f"worldline view {out}" in text and f"worldline render {out} -o {out / 'film.mp4'}" in text
    assert all(verb in VERBS for verb in re.findall(r"^ +worldline (\w+)", text, re.MULTILINE))
