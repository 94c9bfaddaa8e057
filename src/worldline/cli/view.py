"""``worldline view OUT``: a saved scene in the browser of this machine; several side by side; a stream as it runs."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from rich.console import Console

    from worldline.outputs.view.viewer import Viewer


@dataclass(frozen=True)
class View:
    """Look at saved scenes in the browser. Ends with Ctrl-C."""

    scenes: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of saved scenes; several are shown side by side."""
    host: str = "127.0.0.1"
    """Address to listen on. The default is reached from this machine only; 0.0.0.0 lets the whole network look."""
    port: int = 8080
    """Port to listen on; the next free one is taken where it is in use."""
    browser: bool = True
    """Open the browser, where there is a display."""
    budget: int = 1_000_000
    """Points drawn at most, picked evenly; there is a slider for it."""
    live: bool = False
    """The scene is being written by `worldline stream`: show what is new as it comes."""


def run(argv: list[str]) -> int:
    """Parse the arguments and run."""
    return execute(tyro.cli(View, args=argv, prog="worldline view"))


def execute(arguments: View) -> int:
    """Open the viewer, say where it is, and stay until Ctrl-C."""
    from worldline.cli.common import check_positive, console
    from worldline.errors import InputError

    if not arguments.scenes:
        raise InputError("No scene was named.", "Give the folder that `worldline reconstruct -o` wrote.")
    if arguments.live and len(arguments.scenes) > 1:
        raise InputError("--live shows one stream.", "Give one folder.")
    check_positive(budget=arguments.budget)
    out = console()
    try:
        viewer = _open(arguments, out)
        try:
            _say_where(viewer, arguments, out)
            viewer.wait()
        finally:
            viewer.stop()
    except KeyboardInterrupt:  # the way to end it
        out.print("viewer closed")
    return 0


def _open(arguments: View, out: Console) -> Viewer:
    from worldline.outputs.view import open_viewer
    from worldline.outputs.view.state import ViewState

    if arguments.live:
        from worldline.outputs.view.live import open_live

        viewer = open_live(arguments.scenes[0], host=arguments.host, port=arguments.port, say=out.print)
        if viewer is None:
            raise KeyboardInterrupt
        viewer.store.change(budget=arguments.budget)
        return viewer
    from worldline.scene import Scene

    scenes = [Scene.load(folder, lazy=True) for folder in arguments.scenes]
    names = [folder.resolve().name for folder in arguments.scenes]
    state = ViewState(budget=arguments.budget)
    return open_viewer(scenes, host=arguments.host, port=arguments.port, names=names, state=state)


def _say_where(viewer: Viewer, arguments: View, out: Console) -> None:
    """Print the address and who reaches it, and open the browser."""
    from worldline.outputs.view.server import is_local

    if arguments.port not in (0, viewer.port):
        out.print(f"port {arguments.port} is in use; taking {viewer.port}")
    out.print(f"viewer: {viewer.url}   (Ctrl-C ends it)")
    if not is_local(arguments.host):
        out.print(f"from other machines: {viewer.network_url}")
        out.print(f"Everyone who can reach port {viewer.port} of this machine sees the scene and can download it.")
    elif "SSH_CONNECTION" in os.environ:
        forward = f"ssh -L {viewer.port}:127.0.0.1:{viewer.port}"
        out.print(f"To see it from your own machine, log in with: {forward} ...")
    sys.stdout.flush()
    if arguments.browser and has_display():
        import webbrowser

        webbrowser.open(viewer.url)


def has_display() -> bool:
    """Whether a browser window can be opened for the person at this terminal."""
    if "SSH_CONNECTION" in os.environ:
        return False
    return sys.platform in ("win32", "darwin") or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
