"""The points of a stage: two clouds per view, of what stands still and of what moves, thinned out to the budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32, Int64

from worldline.outputs.view.logic.coloring import ALL_COLORINGS
from worldline.outputs.view.logic.selection import PIXEL_FIELDS, VIEW_FIELDS, kept_pixels
from worldline.outputs.view.logic.thinning import count_parts, drawn_of, shown_parts, split, thinning

if TYPE_CHECKING:
    import viser

    from worldline.outputs.view.stage import Stage
    from worldline.outputs.view.state import ViewState
    from worldline.outputs.view.viewer import Viewer

_Key = tuple[int, int]  # id of the view, part of it
_NAMES = ("still", "moving")


class _Drawn(NamedTuple):
    """What a tab sees of one part."""

    number: int  # id of the view
    rows: Int32[np.ndarray, "n"]  # of its pixels
    radius: float


class Cloud:
    """Draws the points. Clouds are sent again only when their points or colours change; hiding costs nothing."""

    depends = VIEW_FIELDS | PIXEL_FIELDS | {"shown", "budget", "point_size", "coloring"}

    def __init__(self, viewer: Viewer, stage: Stage) -> None:
        self.viewer = viewer
        self.stage = stage
        self._handles: dict[_Key, viser.PointCloudHandle] = {}
        self._sent: dict[_Key, tuple[object, ...]] = {}  # what the client has of each part
        self._rows: dict[_Key, np.ndarray] = {}  # of the pixels that it has
        self._counts: dict[int, tuple[int, int]] = {}  # by the id of the view: pixels of its parts that pass
        self._choice: tuple[object, ...] = ()  # what they pass
        self._sizes = np.zeros(0)  # diameters of the points of each view
        self._drawn: tuple[_Drawn, ...] = ()  # replaced as a whole: other threads read it

    def refresh(self, state: ViewState, changed: frozenset[str]) -> None:
        """Draw the pixels that the state lets through, ``state.budget`` points at most.

        What is shown now is sent first; of other moments what they will need is sent while nothing else is asked.
        """
        stage, visible = self.stage, shown_parts(self.stage, state)
        points_wanted = state.shown == "points" or stage.scene.gaussians is None
        if not points_wanted:
            visible[:] = False
        self._count(state)
        counts = np.array([self._counts[key] for key in stage.ids], np.int64).reshape(-1, 2)
        share = self._share(state, counts)
        drawn = drawn_of(counts, share)
        self._sizes = state.point_size * stage.point_sizes(share, together=state.moment is None)
        self._show(visible & (drawn > 0), drawn, state)
        if points_wanted:
            self.viewer.count_points(stage, int(drawn[visible].sum()), int(counts[visible].sum()))
            self._send_ahead(~visible & (drawn > 0), drawn, state)

    def visible_points(self) -> list[tuple[Float32[np.ndarray, "n 3"], float]]:
        """What is drawn now: points in the frame of the scene, and the radius as which they are drawn.

        For any thread; views that are given up meanwhile are left out.
        """
        parts = [(self.stage.pixels_of(each.number), each) for each in self._drawn]
        return [(pixels.points[each.rows], each.radius) for pixels, each in parts if pixels is not None]

    def _count(self, state: ViewState) -> None:
        """Count the pixels that pass, where the choice or the views have changed; none are put in order for that."""
        threshold = self.stage.threshold(state.confidence)  # of other views it may be another
        choice = (threshold, state.depth, state.motion)
        index_of = {number: index for index, number in enumerate(self.stage.ids)}
        if choice != self._choice:
            self._counts.clear()
        self._choice = choice
        for key in [key for key in self._handles if key[0] not in index_of]:
            self._handles.pop(key).remove()
            self._sent.pop(key)
            self._rows.pop(key)
        self._counts = {number: count for number, count in self._counts.items() if number in index_of}
        for number in index_of.keys() - self._counts.keys():
            self._counts[number] = count_parts(self.stage, state, index_of[number], threshold)

    def _share(self, state: ViewState, counts: Int64[np.ndarray, "view 2"]) -> float:
        """How much of the points is drawn; the same at all moments."""
        timing = state.timing if state.moment is not None else None
        if state.sensors is not None:
            views = self.stage.scene.views
            counts = counts * np.array([v.sensor is None or v.sensor in state.sensors for v in views])[:, None]
        budget = state.budget // max(len(self.viewer.stages), 1)
        return thinning(counts, self.stage.moments, timing, budget)

    def _show(self, shown: Bool[np.ndarray, "view 2"], drawn: Int64[np.ndarray, "view 2"], state: ViewState) -> None:
        """Send what is missing of the parts that are shown, and hide all others."""
        for index, part in np.argwhere(shown).tolist():
            if self.viewer.stopped:
                return
            self._send(index, part, int(drawn[index, part]), state)
        index_of = {number: index for index, number in enumerate(self.stage.ids)}
        with self.viewer.server.atomic():
            for (number, part), handle in self._handles.items():
                index = index_of[number]
                if handle.point_size != self._sizes[index]:
                    handle.point_size = float(self._sizes[index])
                handle.visible = bool(shown[index, part])
        self._drawn = tuple(
            _Drawn(key[0], self._rows[key], handle.point_size)  # viser's size of a point is the radius of its disc
            for key, handle in self._handles.items()
            if handle.visible
        )

    def _send_ahead(
        self, hidden: Bool[np.ndarray, "view 2"], drawn: Int64[np.ndarray, "view 2"], state: ViewState
    ) -> None:
        """Send parts of other moments, hidden, until something else is asked."""
        for index, part in np.argwhere(hidden).tolist():
            if self.viewer.has_news or self.viewer.stopped:
                return
            self._send(index, part, int(drawn[index, part]), state, visible=False)

    def _send(self, index: int, part: int, count: int, state: ViewState, *, visible: bool = True) -> None:
        """Replace the cloud of one part, unless the client has it. Half floats about its camera are exact enough."""
        stage, key = self.stage, (self.stage.ids[index], part)
        wanted = (self._choice, count, state.coloring)
        if self._sent.get(key) == wanted:
            return
        pixels = stage.pixels(index)
        rows = split(pixels.dynamic, kept_pixels(stage, state, index))[part][:count].astype(np.int32)
        center = stage.scene.views[index].camera.center
        self._handles[key] = self.viewer.server.scene.add_point_cloud(
            f"{stage.prefix}/points/{key[0]}-{_NAMES[part]}",
            points=pixels.points[rows] - center.astype(np.float32),
            colors=ALL_COLORINGS[state.coloring](stage, index)[rows],
            position=center,
            point_size=float(self._sizes[index]),
            point_shape="circle",
            point_shading="flat",
            precision="float16",
            visible=visible,
        )
        self._sent[key], self._rows[key] = wanted, rows
