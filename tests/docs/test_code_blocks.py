"""What README and docs tell people to type works: blocks run in a folder with photos/ and walk.mp4."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import worldline
from worldline.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PHOTOS = Path(worldline.__file__).parent / "assets" / "demo"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
NOT_RUN = ("train", "eval", "bench")  # minutes to hours; their options are checked


def blocks(language: str) -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for number, (tag, body) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8"))):
            if tag == language:
                found.append((f"{page.relative_to(ROOT)}-{number}", body))
    return found


def command_lines() -> list[tuple[str, str]]:
    lines = []
    for page in PAGES:
        for _, body in BLOCK.findall(page.read_text(encoding="utf-8")):
            for line in body.splitlines():
                if line.startswith("worldline "):
                    lines.append((str(page.relative_to(ROOT)), line.split("  #")[0].strip()))
    return lines


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which a reader of the documentation sits."""
    folder = tmp_path_factory.mktemp("reader")
    shutil.copytree(PHOTOS, folder / "photos")
    with av.open(str(folder / "walk.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for photo in sorted((folder / "photos").iterdir()):
            picture = np.asarray(Image.open(photo).resize((320, 240)))
            for _ in range(3):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    before = Path.cwd()
    os.chdir(folder)
    yield folder
    os.chdir(before)


@pytest.mark.parametrize(("name", "body"), blocks("python"), ids=[name for name, _ in blocks("python")])
def test_python_blocks_run(name: str, body: str, workplace: Path) -> None:
    exec(compile(body, name, "exec"), {})


@pytest.mark.parametrize(("name", "body"), blocks("bash"), ids=[name for name, _ in blocks("bash")])
def test_command_blocks_run(name: str, body: str, workplace: Path) -> None:
    for line in body.splitlines():
        words = shlex.split(line, comments=True)
        if words[:1] == ["worldline"] and words[1] not in NOT_RUN:
            assert main(words[1:]) == 0, line


@pytest.mark.parametrize(("page", "line"), command_lines(), ids=[line for _, line in command_lines()])
def test_commands_have_the_options_they_are_given(page: str, line: str, capsys: pytest.CaptureFixture) -> None:
    words = shlex.split(line, comments=True)
    options = [word.split("=")[0] for word in words if word.startswith("--")]
    verbs = [word for word in words[1:3] if re.fullmatch(r"[a-z][a-z0-9-]+", word)]
    for depth in (len(verbs), 1):  # "models info", else "models"
        with pytest.raises(SystemExit):
            main([*verbs[:depth], "--help"])
        text = capsys.readouterr().out
        if text.startswith("usage") and all(option in text for option in options):
            return
    pytest.fail(f"{page}: `{line}` uses an option that does not exist")


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
