"""The cameras of a rig, each on or off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from worldline.outputs.view.logic.coloring import patches, sensor_color

if TYPE_CHECKING:
    from viser import GuiApi, GuiEvent

    from worldline.outputs.view.state import ViewState
    from worldline.outputs.view.viewer import Viewer


class SensorsPanel:
    """A checkbox per sensor; the points, cameras and objects of those that are off are hidden."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self._boxes: dict[str, Any] = {}  # viser's checkboxes

    def build(self, gui: GuiApi) -> None:
        """Add the checkboxes, where there is more than one sensor."""
        names = tuple(dict.fromkeys(name for stage in self.viewer.stages for name in stage.scene.sensors))
        if len(names) < 2:
            return
        with gui.add_folder("Sensors"):
            gui.add_html(patches((sensor_color(name, names), name) for name in names))
            for name in names:
                self._boxes[name] = gui.add_checkbox(name, initial_value=True)
                self._boxes[name].on_update(self._choose)

        self.viewer.store.subscribe(self._follow)

    def _follow(self, state: ViewState, changed: frozenset[str]) -> None:
        """Tick what is shown, whoever chose it."""
        if "sensors" in changed:
            for name, box in self._boxes.items():
                on = state.sensors is None or name in state.sensors
                if box.value != on:
                    box.value = on

    def _choose(self, event: GuiEvent[Any]) -> None:
        """Show what the user has ticked."""
        if event.client is None:
            return
        chosen = frozenset(name for name, box in self._boxes.items() if box.value)
        self.viewer.store.change(sensors=None if len(chosen) == len(self._boxes) else chosen)
