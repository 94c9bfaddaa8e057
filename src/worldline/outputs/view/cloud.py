"""The points of a stage: one cloud per view, thinned out evenly to the budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from worldline.outputs.view.colors import COLORINGS
from worldline.outputs.view.selection import PIXEL_FIELDS, VIEW_FIELDS, kept_pixels, shares, shown_views

if TYPE_CHECKING:
    import viser

    from worldline.outputs.view.stage import Stage
    from worldline.outputs.view.state import ViewState
    from worldline.outputs.view.viewer import Viewer


class Cloud:
    """Draws the points. Clouds are sent again only when their points or colours change; hiding costs nothing."""

    depends = VIEW_FIELDS | PIXEL_FIELDS | {"shown", "budget", "point_size", "coloring"}

    def __init__(self, viewer: Viewer, stage: Stage) -> None:
        self.viewer = viewer
        self.stage = stage
        self._handles: dict[int, viser.PointCloudHandle] = {}
        self._sent: dict[int, tuple[object, ...]] = {}  # what the client has of each view

    def refresh(self, state: ViewState, changed: frozenset[str]) -> None:
        """Draw the pixels that the state lets through, ``state.budget`` points at most."""
        stage, visible = self.stage, shown_views(self.stage, state)
        if state.shown != "points":
            visible[:] = False
        choice = (state.confidence, state.depth, state.motion)
        kept = [kept_pixels(stage, state, index) if visible[index] else _NONE for index in range(len(stage))]
        counts = np.array([len(rows) for rows in kept], np.int64)
        drawn = shares(counts, state.budget // max(len(self.viewer.stages), 1))
        size = stage.spacing * state.point_size * float(np.sqrt(max(counts.sum(), 1) / max(drawn.sum(), 1)))
        for index in range(len(stage)):
            if not visible[index] or not drawn[index]:
                if index in self._handles:
                    self._handles[index].visible = False
                continue
            wanted = (choice, int(drawn[index]), state.coloring)
            if self._sent.get(index) != wanted:
                self._send(index, kept[index][: drawn[index]], state.coloring, size)
                self._sent[index] = wanted
            self._handles[index].point_size = size
            self._handles[index].visible = True
        if state.shown == "points":
            self.viewer.count_points(stage, int(drawn.sum()), int(counts.sum()))

    def _send(self, index: int, rows: np.ndarray, coloring: str, size: float) -> None:
        """Replace the cloud of one view. Half floats about its camera are exact to a fraction of a pixel."""
        stage = self.stage
        pixels, center = stage.pixels(index), stage.scene.views[index].camera.center
        self._handles[index] = self.viewer.server.scene.add_point_cloud(
            f"{stage.prefix}/points/{index}",
            points=pixels.points[rows] - center.astype(np.float32),
            colors=COLORINGS[coloring](stage, index)[rows],
            position=center,
            point_size=size,
            point_shape="circle",
            point_shading="flat",
            precision="float16",
        )


_NONE = np.zeros(0, np.int64)
