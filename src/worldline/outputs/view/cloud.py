"""The points of a stage: two clouds per view, of what stands still and of what moves, thinned out to the budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float32, Int64

from worldline.outputs.view.coloring import ALL_COLORINGS
from worldline.outputs.view.selection import PIXEL_FIELDS, VIEW_FIELDS, kept_pixels
from worldline.outputs.view.thinning import drawn_of, shown_parts, split, thinning

if TYPE_CHECKING:
    import viser

    from worldline.outputs.view.stage import Stage
    from worldline.outputs.view.state import ViewState
    from worldline.outputs.view.viewer import Viewer

_Key = tuple[int, int]  # id of the view, part of it
_NAMES = ("still", "moving")


class Cloud:
    """Draws the points. Clouds are sent again only when their points or colours change; hiding costs nothing."""

    depends = VIEW_FIELDS | PIXEL_FIELDS | {"shown", "budget", "point_size", "coloring"}

    def __init__(self, viewer: Viewer, stage: Stage) -> None:
        self.viewer = viewer
        self.stage = stage
        self._handles: dict[_Key, viser.PointCloudHandle] = {}
        self._sent: dict[_Key, tuple[object, ...]] = {}  # what the client has of each part
        self._rows: dict[_Key, np.ndarray] = {}  # of the pixels that pass
        self._choice: tuple[object, ...] = ()  # what _rows were chosen by
        self._size = 0.0  # of the points that were sent
        self._index: dict[int, int] = {}  # of the view of an id

    def refresh(self, state: ViewState, changed: frozenset[str]) -> None:
        """Draw the pixels that the state lets through, ``state.budget`` points at most.

        What is shown now is sent first; of other moments what they will need is sent while nothing else is asked.
        """
        stage, visible = self.stage, shown_parts(self.stage, state)
        points_wanted = state.shown == "points" or stage.scene.gaussians is None
        if not points_wanted:
            visible[:] = False
        self._choose_rows(state)
        counts = np.array([[len(self._rows[key, part]) for part in (0, 1)] for key in stage.ids], np.int64)
        share = self._share(state, counts)
        drawn = drawn_of(counts, share)
        size = stage.spacing * state.point_size / float(np.sqrt(max(share, 1e-6)))
        self._show(visible & (drawn > 0), drawn, state, size)
        if points_wanted:
            self.viewer.count_points(stage, int(drawn[visible].sum()), int(counts[visible].sum()))
            self._send_ahead(~visible & (drawn > 0), drawn, state, size)

    def visible_points(self) -> list[tuple[Float32[np.ndarray, "n 3"], float]]:
        """What is drawn now: points in the frame of the scene, and the radius as which they are drawn."""
        return [
            (
                self.stage.pixels(self._index[key[0]]).points[self._rows[key][: self._sent[key][1]]],
                handle.point_size / 2,
            )
            for key, handle in tuple(self._handles.items())
            if handle.visible
        ]

    def _choose_rows(self, state: ViewState) -> None:
        """Find the pixels that pass, where the choice or the views have changed."""
        choice = (state.confidence, state.depth, state.motion)
        self._index = {number: index for index, number in enumerate(self.stage.ids)}
        if choice != self._choice:
            self._rows.clear()
        self._choice = choice
        for key in [key for key in (self._rows.keys() | self._handles.keys()) if key[0] not in self._index]:
            self._rows.pop(key, None)
            self._sent.pop(key, None)
            if key in self._handles:
                self._handles.pop(key).remove()
        for number, index in self._index.items():
            if (number, 0) not in self._rows:
                rows = kept_pixels(self.stage, state, index).astype(np.int32)
                self._rows[number, 0], self._rows[number, 1] = split(self.stage.pixels(index).dynamic, rows)

    def _share(self, state: ViewState, counts: Int64[np.ndarray, "view 2"]) -> float:
        """How much of the points is drawn; the same at all moments."""
        timing = state.timing if state.moment is not None else None
        if state.sensors is not None:
            views = self.stage.scene.views
            counts = counts * np.array([v.sensor is None or v.sensor in state.sensors for v in views])[:, None]
        budget = state.budget // max(len(self.viewer.stages), 1)
        return thinning(counts, self.stage.moments, timing, budget)

    def _show(
        self, shown: Bool[np.ndarray, "view 2"], drawn: Int64[np.ndarray, "view 2"], state: ViewState, size: float
    ) -> None:
        """Send what is missing of the parts that are shown, and hide all others."""
        for index, part in np.argwhere(shown).tolist():
            self._send(index, part, int(drawn[index, part]), state, size)
        with self.viewer.server.atomic():
            for key, handle in self._handles.items():
                if size != self._size:
                    handle.point_size = size
                handle.visible = bool(shown[self._index[key[0]], key[1]])
        self._size = size

    def _send_ahead(
        self, hidden: Bool[np.ndarray, "view 2"], drawn: Int64[np.ndarray, "view 2"], state: ViewState, size: float
    ) -> None:
        """Send parts of other moments, hidden, until something else is asked."""
        for index, part in np.argwhere(hidden).tolist():
            if self.viewer.has_news:
                return
            self._send(index, part, int(drawn[index, part]), state, size, visible=False)

    def _send(self, index: int, part: int, count: int, state: ViewState, size: float, *, visible: bool = True) -> None:
        """Replace the cloud of one part, unless the client has it. Half floats about its camera are exact enough."""
        stage, key = self.stage, (self.stage.ids[index], part)
        wanted = (self._choice, count, state.coloring)
        if self._sent.get(key) == wanted:
            return
        rows, pixels = self._rows[key][:count], stage.pixels(index)
        center = stage.scene.views[index].camera.center
        self._handles[key] = self.viewer.server.scene.add_point_cloud(
            f"{stage.prefix}/points/{key[0]}-{_NAMES[part]}",
            points=pixels.points[rows] - center.astype(np.float32),
            colors=ALL_COLORINGS[state.coloring](stage, index)[rows],
            position=center,
            point_size=size,
            point_shape="circle",
            point_shading="flat",
            precision="float16",
            visible=visible,
        )
        self._sent[key] = wanted
