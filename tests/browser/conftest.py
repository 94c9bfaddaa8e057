"""A real Chromium without a window, a viewer on a free port, and what a test asks of the page.

``open_window(scene, ...)`` serves scenes, opens a tab and waits until it has drawn. Pictures go to the folder in
WORLDLINE_BROWSER_SHOTS, or to pytest's temporary one. One browser serves all tests of a worker. With
WORLDLINE_NEED_BROWSER=1 a test that lacks the browser, playwright or viser fails instead of being skipped.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from browser_window import HANG, SIZE, Window, leave_out, need, watch
from worldline.scene import Scene

FLAGS = [
    *("--headless", "--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
    *("--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--mute-audio", "--force-device-scale-factor=1"),
]


def find_chromium() -> str | None:
    """A Chromium of this machine: WORLDLINE_CHROMIUM, or the usual names."""
    given = os.environ.get("WORLDLINE_CHROMIUM")
    names = [given] if given else ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"]
    return next((found for name in names if (found := shutil.which(name))), None)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """The browser (playwright's ``Browser``); tests that ask for it are left out where there is none."""
    api = need("playwright.sync_api", "needs playwright: pip install playwright")
    path = find_chromium()
    with api.sync_playwright() as playwright:
        if path is None and not Path(playwright.chromium.executable_path).exists():
            leave_out("needs Chromium: apt install chromium, or playwright install chromium")
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder for pictures to look at."""
    given = os.environ.get("WORLDLINE_BROWSER_SHOTS")
    folder = Path(given) if given else tmp_path_factory.mktemp("shots")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def opening(chromium: Any, shots: Path) -> Iterator[Callable[..., Window]]:
    """What the fixtures below give; all that was opened is closed at the end."""
    need("viser", "needs the viewer: pip install 'worldline[view]'")
    from worldline.outputs.view import open_viewer

    with ExitStack() as stack:

        def open_(*scenes: Scene, size: tuple[int, int] = SIZE, viewer: Any = None, **options: Any) -> Window:
            if viewer is None:
                viewer = open_viewer(scenes, port=options.pop("port", 0), **options)
                stack.callback(viewer.stop)
            tab = chromium.new_page(viewport={"width": size[0], "height": size[1]})
            stack.callback(tab.close)
            tab.set_default_timeout(1000 * HANG)  # ms
            window, known = Window(viewer, tab, shots), set(viewer.server.get_clients())
            watch(window)
            tab.goto(viewer.url)
            window.until(lambda: set(viewer.server.get_clients()) - known)
            window.dismiss()
            window.settle()
            return window

        yield open_


@pytest.fixture
def open_window(chromium: Any, shots: Path) -> Iterator[Callable[..., Window]]:
    """``open_window(*scenes, size=(w, h), **options of open_viewer)`` -> a :class:`Window` that has drawn.

    ``viewer=`` opens another tab of a viewer that runs already. All end with the test.
    """
    with opening(chromium, shots) as open_:
        yield open_


@pytest.fixture(scope="module")
def open_shared_window(chromium: Any, shots: Path) -> Iterator[Callable[..., Window]]:
    """As ``open_window``, for windows that all tests of a file use: opening one is what takes long."""
    with opening(chromium, shots) as open_:
        yield open_
