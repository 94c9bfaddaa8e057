"""The parts of the viewer, one line each: layers draw a stage, panels are the controls. Imported when it opens."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from viser import GuiApi

    from worldline.outputs.view.stage import Stage
    from worldline.outputs.view.state import ViewState
    from worldline.outputs.view.viewer import Viewer


class Layer(Protocol):
    """One kind of thing that is drawn of one stage. All calls come from the one thread that draws."""

    depends: frozenset[str]  # fields of ViewState that it reads; it is refreshed when one of them changes

    def __init__(self, viewer: Viewer, stage: Stage) -> None: ...

    def refresh(self, state: ViewState, changed: frozenset[str]) -> None:
        """Draw what ``state`` asks for. ``changed`` names what differs from the last time (at first: all fields)."""


class Panel(Protocol):
    """A group of controls. It changes ``viewer.store`` and may subscribe to it; it draws nothing in the scene."""

    def __init__(self, viewer: Viewer) -> None: ...

    def build(self, gui: GuiApi) -> None:
        """Add the controls; nothing when the stages have no use for them."""


# module:class below this package; drawn in this order
LAYERS = (
    "layers.cloud:Cloud",
    "layers.splats:Splats",
    "layers.frusta:Frusta",
    "layers.tracks:TrackLayer",
    "layers.tracks:BoxLayer",
)

# module:class below this package; shown in this order
PANELS = (
    "panels.timeline:TimelinePanel",
    "panels.core:PointsPanel",
    "panels.motion:LegendPanel",
    "panels.motion:MotionPanel",
    "panels.compare:ComparePanel",
    "panels.sensors:SensorsPanel",
    "panels.core:CamerasPanel",
    "panels.measure:MeasurePanel",
    "panels.core:PagePanel",
    "panels.core:AboutPanel",
)


def load(name: str) -> type:
    """The class behind a line of :data:`LAYERS` or :data:`PANELS`."""
    module, part = name.split(":")
    loaded: type = getattr(importlib.import_module(f"worldline.outputs.view.{module}"), part)
    return loaded
