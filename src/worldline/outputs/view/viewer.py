"""The viewer: a server, the stages on it, the state, and one thread that draws what the state asks for."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from worldline.outputs.facts.viewpoint import Viewpoint, fov_to_contain, home
from worldline.outputs.view import parts, server
from worldline.outputs.view.flight import Flights
from worldline.outputs.view.panels.compare import start_of
from worldline.outputs.view.stage import Stage
from worldline.outputs.view.state import Store, ViewState

if TYPE_CHECKING:
    import viser

_log = logging.getLogger(__name__)
BACKGROUNDS = {"white": (255, 255, 255), "black": (20, 20, 20)}  # as the page's light and dark theme paint them


class Viewer:
    """A running viewer; make one with :func:`worldline.outputs.view.open_viewer`.

    Attributes:
        server: the viser server; nodes of a stage lie below its ``prefix``.
        stages: the scenes, in order.
        store: the state, shared by all tabs.
        up: up in the world of the nodes, a unit vector.
        start: where the camera of a new tab is.
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
        self._flights = Flights()
        self.measuring = False  # clicks mean points: cameras take none
        self._errands: list[Callable[[], None]] = []
        self._stop_listeners: list[Callable[[], None]] = []
        self._camera_listeners: list[Callable[[Float64[np.ndarray, "tab 3"]], None]] = []
        self.server: viser.ViserServer = server.start(host, port, "worldline")
        self.up = self.stages[0].rotation @ self.stages[0].up
        self.start = self._find_start()
        self._set_stage()
        self.panels = [parts.load(name)(self) for name in parts.PANELS]
        for panel in self.panels:
            panel.build(self.server.gui)
        self.layers: list[parts.Layer] = [
            parts.load(name)(self, stage) for stage in self.stages for name in parts.LAYERS
        ]
        self.store.subscribe(self._note)
        self.server.on_client_connect(self._welcome)
        self._painter = threading.Thread(target=self._paint, name="worldline-view", daemon=True)
        self._painter.start()

    @property
    def port(self) -> int:
        """The port that it listens on, which may be another than the one asked for."""
        return self.server.get_port()

    @property
    def url(self) -> str:
        """Where a browser on this machine finds it."""
        return _url({"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(self.host, self.host), self.port)

    @property
    def network_url(self) -> str | None:
        """Where browsers on other machines find it; None where it answers this machine only."""
        if server.is_local(self.host):
            return None
        return _url(server.own_address(self.host), self.port)

    def stop(self) -> None:
        """End the server and its threads; may be called twice."""
        if self._closed.is_set():
            return
        self._closed.set()
        for listener in self._stop_listeners:
            listener()
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
        view = stage.scene.views[index]
        camera, depths = view.model_camera, view.depth[view.mask]
        self._flights.fly(
            client,
            stage.to_world(camera.world_from_cam),
            fov_to_contain(camera, client.camera.aspect),
            up=self.up,
            look_distance=float(np.median(depths)) if len(depths) else stage.extent,
        )

    def fly_home(self, client: viser.ClientHandle) -> None:
        """Bring the camera of one tab back to where it started."""
        distance = float(np.linalg.norm(self.start.look_at - self.start.position))
        self._flights.fly(client, self.start.pose, self.start.fov, up=self.up, look_distance=distance)

    def count_points(self, stage: Stage, drawn: int, total: int) -> None:
        """Layers of points say how many they draw, and how many there are to draw."""
        self._counts[stage.prefix] = (drawn, total)
        drawn, total = (sum(each) for each in zip(*self._counts.values(), strict=True))
        for listener in self._count_listeners:
            listener(drawn, total)

    def on_count(self, listener: Callable[[int, int], None]) -> None:
        """Call ``listener(drawn, total)`` whenever the number of points changes."""
        self._count_listeners.append(listener)

    @property
    def stopped(self) -> bool:
        """Whether :meth:`stop` was called."""
        return self._closed.is_set()

    def on_stop(self, listener: Callable[[], None]) -> None:
        """Call ``listener()`` when the viewer is stopped."""
        self._stop_listeners.append(listener)

    def on_camera(self, listener: Callable[[Float64[np.ndarray, "tab 3"]], None]) -> None:
        """Call ``listener(positions)`` with the cameras of all tabs, in the viewer's world, when one has moved."""
        self._camera_listeners.append(listener)

    def request(self, *names: str) -> None:
        """Have the drawing thread refresh the layers that depend on ``names``, fields of the state or others."""
        with self._wake:
            self._pending |= set(names)
            self._wake.notify_all()

    @property
    def has_news(self) -> bool:
        """Whether the state has changed since the drawing thread began with it: what can wait should."""
        return bool(self._pending)

    def redraw(self, change: Callable[[], None] = lambda: None) -> None:
        """Have the drawing thread call ``change``, then draw everything anew: for stages that change themselves."""
        with self._wake:
            self._errands.append(change)
            self._pending |= {each.name for each in fields(ViewState)}
            self._wake.notify_all()

    def _set_stage(self) -> None:
        """Nodes of the stages, and the camera that a new tab starts with."""
        for stage in self.stages:
            self.server.scene.add_frame(stage.prefix, show_axes=False, position=stage.position, wxyz=stage.wxyz)
        self.server.scene.set_up_direction(self.up)
        camera, extent = self.server.initial_camera, self.stages[0].extent
        camera.position, camera.look_at = self.start.position, self.start.look_at
        camera.up, camera.fov = self.start.up, self.start.fov
        camera.near, camera.far = 1e-3 * extent, 1e3 * extent
        self._set_background(self.store.now)

    def _find_start(self) -> Viewpoint:
        """Behind the first camera of the first stage, in the world of the nodes; several stages are all in sight."""
        if len(self.stages) > 1:
            return start_of(self.stages)
        stage = self.stages[0]
        found = home(stage.scene.views[0].model_camera, stage.sample.points, stage.up)
        turn, shift = stage.rotation, stage.position
        return Viewpoint(turn @ found.position + shift, turn @ found.look_at + shift, self.up, found.fov)

    def _set_background(self, state: ViewState) -> None:
        """Light or dark page, without the buttons that lead out of this machine."""
        self.server.gui.configure_theme(
            dark_mode=state.background == "black", show_logo=False, show_share_button=False, control_width="medium"
        )

    def _welcome(self, client: viser.ClientHandle) -> None:
        """Follow the camera of a new tab."""

        def moved(_: viser.CameraHandle) -> None:
            positions = np.array([each.camera.position for each in self.server.get_clients().values()])
            for listener in self._camera_listeners:
                listener(positions.reshape(-1, 3))

        client.camera.on_update(moved)
        moved(client.camera)

    def _note(self, state: ViewState, changed: frozenset[str]) -> None:
        if "background" in changed:
            self._set_background(state)
        self.request(*changed)

    def _paint(self) -> None:
        """Draw the newest state; states that come and go meanwhile are skipped, so sliders stay live."""
        while True:
            with self._wake:
                self._busy = False
                self._wake.notify_all()
                self._wake.wait_for(lambda: self._pending or self._closed.is_set())
                if self._closed.is_set():
                    return
                changed, state = frozenset(self._pending), self.store.now
                self._pending.clear()
                errands, self._errands = self._errands, []
                self._busy = True
            for errand in errands:
                self._attempt(errand, "a change of the scenes")
            for layer in self.layers:
                if layer.depends & changed:
                    self._attempt(partial(layer.refresh, state, changed), type(layer).__name__)

    def _attempt(self, action: Callable[[], None], name: str) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001  one layer's fault must not freeze the others
            self.failures.append(error)
            _log.exception("the viewer could not draw %s", name)


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
