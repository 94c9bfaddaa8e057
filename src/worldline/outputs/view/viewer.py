"""The viewer: a server, the stages on it, the state, and one thread that draws what the state asks for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING

from worldline.outputs.view import parts, server
from worldline.outputs.view.flight import fly
from worldline.outputs.view.stage import Stage
from worldline.outputs.view.state import Store, ViewState
from worldline.outputs.view.viewpoint import fov_to_contain, home

if TYPE_CHECKING:
    import viser

_log = logging.getLogger(__name__)


class Viewer:
    """A running viewer; make one with :func:`worldline.outputs.view.open_viewer`.

    Attributes:
        server: the viser server; nodes of a stage lie below its ``prefix``.
        stages: the scenes, in order.
        store: the state, shared by all tabs.
        layers: what draws, in order; :attr:`parts.LAYERS` for each stage.
        failures: errors of the drawing thread, which goes on after each.
    """

    def __init__(self, stages: Sequence[Stage], *, host: str, port: int, state: ViewState | None = None) -> None:
        self.stages = tuple(stages)
        self.store = Store(state)
        self.failures: list[Exception] = []
        self.host = host
        self._counts: dict[str, tuple[int, int]] = {}
        self._count_listeners: list[Callable[[int, int], None]] = []
        self._pending: set[str] = {each.name for each in fields(ViewState)}
        self._wake = threading.Condition()
        self._busy = True
        self._closed = threading.Event()
        self.server: viser.ViserServer = server.start(host, port, "worldline")
        self.layers: list[parts.Layer] = []
        self._set_stage()
        self.panels = [parts.load(name)(self) for name in parts.PANELS]
        for panel in self.panels:
            panel.build(self.server.gui)
        self.store.subscribe(self._note)
        self._painter = threading.Thread(target=self._paint, name="worldline-view", daemon=True)
        self._painter.start()

    @property
    def port(self) -> int:
        """The port that it listens on, which may be another than the one asked for."""
        return self.server.get_port()

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        name = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host
        return f"http://[{name}]:{self.port}" if ":" in name else f"http://{name}:{self.port}"

    def stop(self) -> None:
        """End the server and its threads; may be called twice."""
        if self._closed.is_set():
            return
        self._closed.set()
        with self._wake:
            self._wake.notify_all()
        self._painter.join(timeout=5)
        server.stop(self.server)

    def wait(self) -> None:
        """Block until :meth:`stop` is called or Ctrl-C is pressed (which raises KeyboardInterrupt)."""
        while not self._closed.wait(0.5):  # a timeout, so that Ctrl-C is noticed on Windows too
            pass

    def settle(self, timeout: float = 10.0) -> None:
        """Block until everything that the state asks for has been sent to the tabs.

        Raises:
            TimeoutError: it takes longer than ``timeout`` seconds.
        """
        with self._wake:
            if not self._wake.wait_for(lambda: not self._pending and not self._busy, timeout):
                raise TimeoutError(f"The viewer is still drawing after {timeout} s.")
        self.server.flush()

    def fly_to_view(self, client: viser.ClientHandle, stage: Stage, index: int) -> None:
        """Bring the camera of one tab to the camera of a view; the window then shows all of its photo."""
        camera = stage.scene.views[index].model_camera
        fly(client, stage.to_world(camera.world_from_cam), fov_to_contain(camera, client.camera.aspect))

    def fly_home(self, client: viser.ClientHandle) -> None:
        """Bring the camera of one tab back to where it started."""

    def count_points(self, stage: Stage, drawn: int, total: int) -> None:
        """Layers of points say how many they draw, and how many there are to draw."""
        self._counts[stage.prefix] = (drawn, total)
        drawn, total = (sum(each) for each in zip(*self._counts.values(), strict=True))
        for listener in self._count_listeners:
            listener(drawn, total)

    def on_count(self, listener: Callable[[int, int], None]) -> None:
        """Call ``listener(drawn, total)`` whenever the number of points changes."""
        self._count_listeners.append(listener)

    def _set_stage(self) -> None:
        """Nodes of the stages, and the camera that a new tab starts with."""
        for stage in self.stages:
            self.server.scene.add_frame(stage.prefix, show_axes=False, position=stage.position, wxyz=stage.wxyz)
        first = self.stages[0]
        up = first.rotation @ first.up
        self.server.scene.set_up_direction(up)
        start = home(first.scene.views[0].model_camera, first.extent, first.up)
        camera = self.server.initial_camera
        camera.position = first.position + first.rotation @ start.position
        camera.look_at = first.position + first.rotation @ start.look_at
        camera.up = up
        camera.fov = start.fov
        camera.near = 1e-3 * first.extent
        camera.far = 1e3 * first.extent

    def _note(self, _: ViewState, changed: frozenset[str]) -> None:
        with self._wake:
            self._pending |= changed
            self._wake.notify_all()

    def _paint(self) -> None:
        """Draw the newest state; states that come and go meanwhile are skipped, so sliders stay live."""
        self.layers = [parts.load(name)(self, stage) for stage in self.stages for name in parts.LAYERS]
        while True:
            with self._wake:
                self._busy = False
                self._wake.notify_all()
                self._wake.wait_for(lambda: self._pending or self._closed.is_set())
                if self._closed.is_set():
                    return
                changed, state = frozenset(self._pending), self.store.now
                self._pending.clear()
                self._busy = True
            for layer in self.layers:
                if layer.depends & changed:
                    self._refresh(layer, state, changed)

    def _refresh(self, layer: parts.Layer, state: ViewState, changed: frozenset[str]) -> None:
        try:
            layer.refresh(state, changed)
        except Exception as error:  # noqa: BLE001  one layer's fault must not freeze the others
            self.failures.append(error)
            _log.exception("the viewer could not draw %s", type(layer).__name__)
