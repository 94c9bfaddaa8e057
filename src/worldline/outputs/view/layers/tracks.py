"""Followed points with their trails, and moving objects as boxes."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8, UInt32

from worldline.outputs.facts.trails import Trails, trail_range, trails_of
from worldline.outputs.view.logic.boxes import arrow, box_at, object_color, object_text

if TYPE_CHECKING:
    import viser

    from worldline.outputs.view.stage import Stage
    from worldline.outputs.view.state import ViewState
    from worldline.outputs.view.viewer import Viewer
    from worldline.types import MovingObject

_HEAD = 0.012  # diameter of a point, as a share of the usual depth
_HIDDEN_SIZE, _HIDDEN_OPACITY = 0.7, 0.35  # of points that are hidden
_NEWEST, _OLDEST = 2.5, 1.0  # thickness of a trail in pixels
_LABEL = 0.2  # height of a label, as a share of the mean side of its box
# corners of the unit box, and which of them its twelve edges join
_CORNERS = np.array(list(product((-0.5, 0.5), repeat=3)), np.float32)
_EDGES = np.array([(a, b) for a in range(8) for b in range(a + 1, 8) if bin(a ^ b).count("1") == 1])


class _Moment(NamedTuple):
    """The nodes of one moment."""

    heads: viser.BatchedMeshHandle | None  # the points as little balls: discs would lie in the surface; None: no point
    piece: viser.LineSegmentsHandle  # the way from the moment before


class TrackLayer:
    """Draws the tracks: nodes per moment are sent once, playing only shows and hides them."""

    depends = frozenset({"moment", "tracks", "trail", "most_tracks", "sensors"})

    def __init__(self, viewer: Viewer, stage: Stage) -> None:
        self.viewer, self.stage = viewer, stage
        self.trails: Trails | None = None
        self._most = 0
        self._nodes: list[_Moment] = []
        self._shown: set[int] = set()  # moments of which something may be visible

    def refresh(self, state: ViewState, changed: frozenset[str]) -> None:
        """Show the points of the moment and the trails behind them."""
        if self.stage.scene.tracks is None or not (state.tracks or self._nodes):
            return
        if self._most != state.most_tracks:
            self._send(state.most_tracks)
        moment = state.moment if state.moment is not None else len(self._nodes) - 1
        now = self.stage.moment_at(moment) if len(self.stage.times) else moment
        with self.viewer.server.atomic():
            self._show(now, state)

    def _show(self, now: int, state: ViewState) -> None:
        times = self.stage.times or tuple(float(number) for number in range(len(self._nodes)))
        trail = trail_range(times, now, state.trail) if state.tracks and now >= 0 else range(0)
        wanted = set(trail) | ({now} if state.tracks and now >= 0 else set())
        for moment in self._shown | wanted:
            node = self._nodes[moment]
            if node.heads is not None:
                node.heads.visible = moment == now and state.tracks
            node.piece.visible = moment in trail
            if moment in trail:
                age = (times[now] - times[moment]) / max(state.trail, 1e-9)
                # in steps, so that few messages say so
                node.piece.thickness = round(2 * (_NEWEST + (_OLDEST - _NEWEST) * age)) / 2
        self._shown = wanted

    def _send(self, most: int) -> None:
        """Replace the nodes of all moments."""
        self._most, self._shown = most, set()
        for node in self._nodes:
            node.piece.remove()
            if node.heads is not None:
                node.heads.remove()
        self._nodes = []
        self.trails = trails_of(self.stage.scene, most=most)
        if self.trails is None:
            return
        size = _HEAD * self.stage.extent
        for moment in range(self.trails.points.shape[1]):
            self._nodes.append(self._send_moment(self.trails, moment, size))

    def _send_moment(self, trails: Trails, moment: int, size: float) -> _Moment:
        scene, path = self.viewer.server.scene, f"{self.stage.prefix}/tracks/{moment}"
        points, colors, visible = trails.heads(moment)
        heads = None
        if len(points):
            heads = scene.add_batched_meshes_simple(
                *(f"{path}-points", *_ball(), np.tile((1.0, 0.0, 0.0, 0.0), (len(points), 1)), points),
                batched_scales=np.where(visible, size, _HIDDEN_SIZE * size).astype(np.float32),
                batched_colors=colors,
                batched_opacities=np.where(visible, 1.0, _HIDDEN_OPACITY).astype(np.float32),
                lod="off",
                cast_shadow=False,
                receive_shadow=False,
                visible=False,
            )
        lines, ends = trails.pieces(moment)
        piece = scene.add_line_segments(
            *(f"{path}-trail", lines, linear_light(ends)), thickness=_NEWEST, thickness_units="screen", visible=False
        )
        return _Moment(heads, piece)


class _Box(NamedTuple):
    """The nodes of one object; all of them move with the frame."""

    frame: viser.FrameHandle
    label: viser.LabelHandle
    arrow: viser.ArrowHandle


class BoxLayer:
    """Draws moving objects as boxes with their number, speed and an arrow to where they will be in a second."""

    depends = frozenset({"moment", "objects", "sensors"})

    def __init__(self, viewer: Viewer, stage: Stage) -> None:
        self.viewer, self.stage = viewer, stage
        self._boxes: dict[int, _Box] = {}

    def refresh(self, state: ViewState, changed: frozenset[str]) -> None:
        """Put the boxes where the objects are at the moment; without a moment none is drawn."""
        objects, stage = self.stage.scene.objects, self.stage
        now = -1 if state.moment is None or not stage.timed else stage.moment_at(state.moment)
        for key in [key for key in self._boxes if key >= len(objects)]:
            self._boxes.pop(key).frame.remove()
        with self.viewer.server.atomic():
            for number, thing in enumerate(objects):
                place = box_at(thing, stage.times[now]) if now >= 0 and state.objects else None
                unseen = state.sensors is not None and thing.sensors and not state.sensors & set(thing.sensors)
                if place is None or unseen:
                    if number in self._boxes:
                        self._boxes[number].frame.visible = False
                    continue
                box = self._boxes.get(number) or self._add(number, thing)
                line = arrow(thing, place)
                box.frame.position = place.center
                box.frame.visible = True
                box.label.text = object_text(thing, place, metric=stage.scene.metric)
                box.arrow.visible = line is not None
                if line is not None:
                    box.arrow.points = line[None].astype(np.float32)

    def _add(self, number: int, thing: MovingObject) -> _Box:
        scene, path = self.viewer.server.scene, f"{self.stage.prefix}/objects/{number}"
        color, size = object_color(thing.id), float(np.cbrt(np.prod(np.maximum(thing.size, 1e-3))))
        frame = scene.add_frame(path, show_axes=False)
        scene.add_line_segments(
            f"{path}/edges", points=box_edges(thing.size), colors=color, thickness=2.0, thickness_units="screen"
        )
        top = np.array(self.stage.up) * 0.5 * float(np.abs(self.stage.up) @ thing.size)
        # as large as befits the box, so that labels far away do not cover each other
        label = scene.add_label(
            *(f"{path}/label", ""),
            position=top,
            anchor="bottom-center",
            font_size_mode="scene",
            font_scene_height=_LABEL * size,
        )
        line = scene.add_arrows(
            f"{path}/arrow",
            points=np.zeros((1, 2, 3), np.float32),
            colors=color,
            shaft_radius=0.03 * size,
            head_radius=0.08 * size,
            head_length=0.2 * size,
        )
        self._boxes[number] = _Box(frame, label, line)
        return self._boxes[number]


def _ball() -> tuple[Float32[np.ndarray, "v 3"], UInt32[np.ndarray, "f 3"]]:
    """Vertices and faces of a coarse ball of diameter one."""
    from trimesh.creation import icosphere

    mesh = icosphere(subdivisions=1, radius=0.5)
    return mesh.vertices.astype(np.float32), mesh.faces.astype(np.uint32)


def linear_light(colors: UInt8[np.ndarray, "*n 3"]) -> UInt8[np.ndarray, "*n 3"]:
    """sRGB -> what viser's page takes the colours of the ends of lines for, alone of all its colours."""
    share = colors / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return np.rint(255 * linear).astype(np.uint8)


def box_edges(size: Float32[np.ndarray, "3"]) -> Float32[np.ndarray, "12 2 3"]:
    """The edges of a box about the origin."""
    return (_CORNERS * size)[_EDGES].astype(np.float32)
