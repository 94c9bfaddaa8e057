"""``worldline view`` as a program: it answers, says where, ends on Ctrl-C; mistakes get a sentence."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import synthetic_scene
from worldline.cli import main
from worldline.cli import view as verb

pytest.importorskip("viser", reason="needs the viewer: pip install 'worldline[view]'")
HANG = 300.0  # seconds after which a program counts as hung: far longer than a busy machine needs
posix = pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is no signal there")


@pytest.fixture(scope="module")
def scene_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_scene.make_scene().save(tmp_path_factory.mktemp("scenes") / "my room")


def hear_ctrl_c() -> None:
    """A shell starts background jobs deaf to Ctrl-C, and what they start inherits it: also these tests' programs."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def start(scene_folder: Path) -> Iterator[Callable[..., tuple[subprocess.Popen, list[str]]]]:
    """``start(*options)`` -> the running program and the lines it has printed, up to the address."""
    running = []

    def start_(*options: str) -> tuple[subprocess.Popen, list[str]]:
        command = [sys.executable, "-m", "worldline", "view", str(scene_folder), "--no-browser", *options]
        program = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear_ctrl_c
        )
        running.append(program)
        lines = []
        while not lines or not lines[-1].startswith("viewer: "):
            line = program.stdout.readline()
            assert line, program.stderr.read()
            lines.append(line.rstrip())
        return program, lines

    yield start_
    for program in running:
        program.kill()
        program.communicate()


@posix
def test_it_answers_and_ends_on_ctrl_c(start: Callable[..., tuple[subprocess.Popen, list[str]]]) -> None:
    program, lines = start("--port", "0")
    url = re.search(r"http://127\.0\.0\.1:\d+", lines[-1]).group()
    with urllib.request.urlopen(url, timeout=HANG) as answer:
        assert answer.status == 200 and b"<html" in answer.read()
    program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=HANG)
    assert program.returncode == 0 and err == ""
    assert "closed" in out and "viser" not in out


def test_a_busy_port_is_said_and_the_next_one_taken(start: Callable[..., tuple[subprocess.Popen, list[str]]]) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        busy = other.getsockname()[1]
        _, lines = start("--port", str(busy))
    assert f"port {busy} is in use" in lines[0]
    assert f":{busy} " not in lines[-1]


def test_opening_imports_nothing_heavy(tmp_path: Path) -> None:
    folder = replace(synthetic_scene.make_scene(), tracks=None).save(tmp_path / "scene")  # viser's balls need scipy
    code = (
        "import sys; from worldline.outputs.view import open_viewer; from worldline.scene import Scene; "
        f"viewer = open_viewer([Scene.load({str(folder)!r}, lazy=True)], port=0); viewer.settle(60); "
        "print([m for m in ('torch', 'scipy', 'pycolmap', 'matplotlib') if m in sys.modules]); viewer.stop()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        ([], "No scene was named"),
        (["{tmp}/nothing"], "is not a saved scene"),
        (["{scene}", "{tmp}"], "is not a saved scene"),
        (["{scene}", "--budget", "0"], "--budget is 0"),
        (["{scene}", "--port", "70000"], "There is no port 70000"),
        (["{scene}", "--host", "192.0.2.1"], "cannot listen on '192.0.2.1'"),
        (["{scene}", "{scene}", "--live"], "--live shows one stream"),
    ],
)
def test_mistakes_get_a_sentence(
    arguments: list[str], cause: str, scene_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    filled = [text.format(tmp=tmp_path, scene=scene_folder) for text in arguments]
    assert main(["view", "--no-browser", *filled]) == 2
    assert cause in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "text"), [("127.0.0.1", "ssh -L 8080"), ("0.0.0.0", "Everyone who can reach port 8080")]
)
def test_who_can_see_it_is_said(
    host: str, text: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from worldline.cli.common import console

    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.7 1 192.0.2.8 22")
    far = None if host == "127.0.0.1" else "http://192.0.2.8:8080"
    viewer = SimpleNamespace(port=8080, url="http://127.0.0.1:8080", network_url=far)
    verb._say_where(viewer, verb.View(scenes=(), host=host), console())
    said = capsys.readouterr().out
    assert text in said and ("http://192.0.2.8:8080" in said) == (far is not None)
    assert not verb.has_display()  # the browser of the far machine is of no use


def test_the_browser_is_opened_where_there_is_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    import webbrowser

    from worldline.cli.common import console

    opened = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    viewer = SimpleNamespace(port=8080, url="http://127.0.0.1:8080")
    verb._say_where(viewer, verb.View(scenes=()), console(quiet=True))
    verb._say_where(viewer, verb.View(scenes=(), browser=False), console(quiet=True))
    assert opened == ["http://127.0.0.1:8080"]
