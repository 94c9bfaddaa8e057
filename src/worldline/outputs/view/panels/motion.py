"""Controls of what moves: still or moving points, tracks and boxes; and what the colours of the points mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

from worldline.outputs.facts.trails import drawn_tracks
from worldline.outputs.view.logic.coloring import legend
from worldline.outputs.view.panels.core import bind, on_value
from worldline.scene.scene import MOTIONS

if TYPE_CHECKING:
    from viser import GuiApi

    from worldline.outputs.view.state import ViewState
    from worldline.outputs.view.viewer import Viewer

_MOST_TRACKS = 5000  # right end of the slider
_LONGEST = 5.0  # seconds of a trail, right end of the slider


class LegendPanel:
    """What the colours of the points mean, where they are not those of the photos."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer

    def build(self, gui: GuiApi) -> None:
        """Add the legend, which follows the choice of colours."""
        store, stage = self.viewer.store, self.viewer.stages[0]
        text = gui.add_html(legend(store.now.coloring, stage), visible=False)

        def explain(state: ViewState, changed: frozenset[str]) -> None:
            if "coloring" in changed:
                text.content = legend(state.coloring, stage)
                text.visible = bool(text.content)

        explain(store.now, frozenset({"coloring"}))
        store.subscribe(explain)


class MotionPanel:
    """Still or moving points, tracks and boxes; nothing where it is not known what moves."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer

    def build(self, gui: GuiApi) -> None:
        """Add what the scenes have a use for."""
        stages, store = self.viewer.stages, self.viewer.store
        known = any(view.dynamic is not None for stage in stages for view in stage.scene.views)
        total = max((len(s.scene.tracks.points) for s in stages if s.scene.tracks is not None), default=0)
        boxes = sum(len(stage.scene.objects) for stage in stages)
        if not (known or total or boxes):
            return
        with gui.add_folder("Motion"):
            if known:
                labels = dict(zip(MOTIONS, ("all", "what stands still", "what moves"), strict=True))
                shown = gui.add_dropdown("Points", tuple(labels.values()), initial_value=labels[store.now.motion])
                names = {label: name for name, label in labels.items()}
                bind(store, shown, "motion", to_state=names.__getitem__, to_control=labels.__getitem__)
            if boxes:
                bind(store, gui.add_checkbox(f"Moving objects ({boxes})", store.now.objects), "objects")
            if total:
                self._add_tracks(gui, total)

    def _add_tracks(self, gui: GuiApi, total: int) -> None:
        store = self.viewer.store
        shown = gui.add_checkbox("Tracks", store.now.tracks, hint="Hidden points are smaller and fainter")
        trail = gui.add_slider("Trail (s)", 0.0, _LONGEST, 0.1, min(store.now.trail, _LONGEST))
        largest = min(total, _MOST_TRACKS)
        most = gui.add_slider("At most", 1, largest, 1, min(store.now.most_tracks, largest))
        note = gui.add_markdown(self._count(int(most.value)))
        bind(store, shown, "tracks")
        bind(store, trail, "trail", to_state=float)
        bind(store, most, "most_tracks", to_state=int, to_control=lambda value: min(value, largest))
        on_value(most, lambda value: setattr(note, "content", self._count(int(value))))

    def _count(self, most: int) -> str:
        """How many tracks are drawn of how many."""
        scenes = [stage.scene for stage in self.viewer.stages if stage.scene.tracks is not None]
        counts = [(drawn_tracks(scene, most), len(scene.tracks.points)) for scene in scenes if scene.tracks is not None]
        return ", ".join(f"{drawn} of {total} tracks" for drawn, total in counts)
