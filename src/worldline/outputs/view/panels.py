"""The controls of the core: points and cameras."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from worldline.outputs.view.colors import COLORINGS

if TYPE_CHECKING:
    from viser import GuiApi, GuiEvent, GuiInputHandle

    from worldline.outputs.view.viewer import Viewer


def on_value(control: GuiInputHandle[Any], change: Callable[[Any], object]) -> None:
    """Call ``change`` with the newest value of a control whenever someone moves it."""

    @control.on_update
    def _(_: GuiEvent[Any]) -> None:
        change(control.value)


class PointsPanel:
    """Confidence, depth, size, budget and colour of the points."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer

    def build(self, gui: GuiApi) -> None:
        """Add the controls; their changes go to the store at once."""
        store = self.viewer.store
        with gui.add_folder("Points"):
            confidence = gui.add_slider("Confidence", min=0, max=99, step=1, initial_value=int(store.now.confidence))
            size = gui.add_slider("Point size", min=0.2, max=4.0, step=0.1, initial_value=store.now.point_size)
            coloring = gui.add_dropdown("Colour", tuple(COLORINGS), initial_value=store.now.coloring)
            count = gui.add_markdown("")
        on_value(confidence, lambda value: store.change(confidence=float(value)))
        on_value(size, lambda value: store.change(point_size=float(value)))
        on_value(coloring, lambda value: store.change(coloring=value))

        def say(drawn: int, total: int) -> None:
            count.content = f"{drawn:,} of {total:,} points".replace(",", " ")

        self.viewer.on_count(say)


class CamerasPanel:
    """Frusta: whether and how large."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer

    def build(self, gui: GuiApi) -> None:
        """Add the controls."""
        store = self.viewer.store
        with gui.add_folder("Cameras"):
            shown = gui.add_checkbox("Show cameras", store.now.frusta)
            size = gui.add_slider("Camera size", min=0.1, max=4.0, step=0.1, initial_value=store.now.frustum_size)
        on_value(shown, lambda value: store.change(frusta=value))
        on_value(size, lambda value: store.change(frustum_size=float(value)))
