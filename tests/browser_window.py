"""A tab of a headless Chromium that looks at a viewer, and what tests ask of it; see browser/conftest.py."""

from __future__ import annotations

import importlib
import io
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from PIL import Image

SIZE = (720, 420)  # width, height of the tab in pixels: software rendering is slow
HANG = 300.0  # seconds after which the page counts as hung: far longer than a busy machine needs
PANEL = 330  # pixels on the right that the controls cover
# not errors of the page: the browser's chatter about software rendering; the mesh on which viser draws Gaussians, whose
# vertices hold data instead of positions
HARMLESS = (
    *("GPU stall due to ReadPixels", "GL Driver Message", "Automatic fallback to software WebGL"),
    "computeBoundingSphere(): Computed radius is NaN",
)


def leave_out(reason: str) -> NoReturn:
    """Skip the test that needs a browser; with WORLDLINE_NEED_BROWSER, as CI sets it where there is one, it fails."""
    if os.environ.get("WORLDLINE_NEED_BROWSER", "0") not in ("", "0"):
        pytest.fail(f"{reason} (WORLDLINE_NEED_BROWSER is set, so this is no reason to skip)", pytrace=False)
    pytest.skip(reason)


def need(module: str, reason: str) -> Any:
    """A module that browser tests need; without it they are left out."""
    try:
        return importlib.import_module(module)
    except ImportError:
        leave_out(reason)


@dataclass
class Window:
    """A tab that looks at a viewer."""

    viewer: Any  # worldline.outputs.view.viewer.Viewer
    page: Any  # playwright's Page
    folder: Path  # where pictures go
    errors: list[str] = field(default_factory=list)  # of the page: console errors and uncaught exceptions
    requests: list[str] = field(default_factory=list)  # addresses that the page asked for

    @property
    def client(self) -> Any:
        """The server's side of this tab (viser's ClientHandle); the last one that connected."""
        clients = self.viewer.server.get_clients()
        return clients[max(clients)]

    def shot(self, name: str = "") -> np.ndarray:
        """The tab as RGB [height, width, 3] uint8; saved as a PNG where it is given a name."""
        png = self.page.screenshot()
        if name:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / f"{name}.png").write_bytes(png)
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))

    def picture(self, name: str = "") -> np.ndarray:
        """The part of the tab that the controls do not cover."""
        return self.shot(name)[:, :-PANEL]

    def dismiss(self) -> None:
        """Close the notifications, such as viser's about drawing in software."""
        self.page.wait_for_selector("canvas")
        for button in self.page.locator(".mantine-Notification-closeButton").all():
            button.click()

    def slider(self, label: str) -> Any:
        """The (first) thumb of the slider that stands beside a label; it takes keys such as "End"."""
        row = self.page.get_by_text(label, exact=True).bounding_box()
        thumbs = self.page.get_by_role("slider").all()
        return min(thumbs, key=lambda thumb: abs(thumb.bounding_box()["y"] - row["y"]))

    def project(self, points: Any) -> np.ndarray:
        """Where the tab shows points of the viewer's world: (x, y) in its pixels, [n, 2]."""
        import viser.transforms

        camera = self.client.camera
        rotation = viser.transforms.SO3(np.asarray(camera.wxyz)).as_matrix()
        x, y, z = ((np.atleast_2d(points) - camera.position) @ rotation).T
        focal = camera.image_height / 2 / np.tan(camera.fov / 2)
        return np.stack([camera.image_width / 2 + focal * x / z, camera.image_height / 2 + focal * y / z], axis=-1)

    def settle(self, seconds: float = HANG) -> np.ndarray:
        """Wait until the tab has drawn all that the state asks for; returns the picture.

        That the picture no longer changes says nothing on a busy machine, which may not have begun to draw. So the tab
        is asked for a picture of its own first: it answers after what was sent before.
        """
        self.viewer.settle(seconds)
        self.client.get_render(16, 16, timeout=seconds)
        before, deadline = self.picture(), time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.page.wait_for_timeout(150)
            after = self.picture()
            if np.array_equal(before, after):
                return after
            before = after
        raise AssertionError(f"the picture still changes after {seconds} s")

    def until(self, condition: Callable[[], Any], seconds: float = HANG) -> Any:
        """Poll until ``condition()`` is true and return its value; the page stays responsive meanwhile."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            if time.monotonic() > deadline:
                raise AssertionError(f"did not happen within {seconds} s: {condition}")
            self.page.wait_for_timeout(50)
        return value

    def check(self) -> None:
        """No errors in the console or the drawing thread, and nothing asked of another host."""
        assert not self.viewer.failures, self.viewer.failures
        assert not self.errors, self.errors
        strangers = [url for url in self.requests if not url.startswith((self.viewer.url, "data:", "blob:", "ws://"))]
        assert not strangers, strangers


def drawn_share(picture: np.ndarray, background: int | Sequence[int] = 255, tolerance: int = 12) -> float:
    """Share of the pixels, in [0, 1], whose colour is not the background's."""
    apart = np.abs(picture.astype(int) - np.asarray(background)).max(axis=-1)
    return float((apart > tolerance).mean())


def changed_share(before: np.ndarray, after: np.ndarray, tolerance: int = 12) -> float:
    """Share of the pixels, in [0, 1], that differ between two pictures of the same size."""
    return float((np.abs(before.astype(int) - after.astype(int)).max(axis=-1) > tolerance).mean())


def watch(window: Window) -> None:
    """Collect what goes wrong on the page and what it asks for."""

    def note(message: Any) -> None:
        if message.type == "error" and not any(text in message.text for text in HARMLESS):
            window.errors.append(f"{message.text} ({message.location.get('url', '')})")

    window.page.on("console", note)
    window.page.on("pageerror", lambda error: window.errors.append(str(error)))
    window.page.on("request", lambda request: window.requests.append(request.url))
    window.page.on("websocket", lambda socket: window.requests.append(socket.url))
