"""Several scenes in one world: side by side, each upright, or laid over each other as their frames are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float64

from worldline.outputs.facts.viewpoint import Viewpoint

if TYPE_CHECKING:
    import viser
    from viser import GuiApi

    from worldline.outputs.view.stage import Stage
    from worldline.outputs.view.viewer import Viewer

LAYOUTS = {"beside": "side by side", "overlay": "overlay"}
_SHARE = (0.02, 0.98)  # quantiles of the points between which a scene reaches
_GAP = 0.15  # of the width of the wider scene, between two scenes
_SAME_UP = np.cos(np.deg2rad(10))  # frames whose ups are closer than this count as equally upright
_PANEL = 0.15  # of the width of all scenes, by which the view goes to the right: the controls cover that side
_FOV = float(np.deg2rad(60))


class Place(NamedTuple):
    """Where a scene stands in the viewer's world."""

    position: Float64[np.ndarray, "3"]
    rotation: Float64[np.ndarray, "3 3"]  # axes of the scene in the world


def places(stages: Sequence[Stage], layout: str) -> list[Place]:
    """Where the scenes stand.

    The first one is the world. In "overlay" all have its frame: what has the same coordinates lies in the same place.
    In "beside" the others stand to its right, on the same height, turned upright where their up is another.

    Args:
        layout: one of LAYOUTS.
    """
    first = Place(np.zeros(3), np.eye(3))
    if layout == "overlay" or len(stages) == 1:
        return [first for _ in stages]
    up, forward = stages[0].up, _forward(stages[0])
    right = np.cross(forward, up)
    axes = np.stack([right, forward, up])  # rows: coordinates in which scenes are lined up
    base = _box(stages[0], axes)
    found, edge = [first], float(base[1, 0])
    for stage in stages[1:]:
        turn = np.eye(3) if stage.up @ up > _SAME_UP else axes.T @ np.stack(_axes(stage))
        low, high = _box(stage, axes @ turn)
        gap = _GAP * float(max(high[0] - low[0], base[1, 0] - base[0, 0]))
        # beside it, as far away as it in the middle, standing on the same ground
        shift = np.array([edge + gap - low[0], (base[:, 1].sum() - low[1] - high[1]) / 2, base[0, 2] - low[2]])
        found.append(Place(axes.T @ shift, turn))
        edge = float(high[0] + shift[0])
    return found


def start_of(stages: Sequence[Stage]) -> Viewpoint:
    """A viewpoint that sees all scenes where they stand: from behind the first one's camera, raised a little."""
    up, forward = stages[0].rotation @ stages[0].up, stages[0].rotation @ _forward(stages[0])
    axes = np.stack([np.cross(forward, up), forward, up])
    ends = [np.quantile(_in_world(stage) @ axes.T, _SHARE, axis=0) for stage in stages]
    low, high = np.min([e[0] for e in ends], axis=0), np.max([e[1] for e in ends], axis=0)
    width, height = float(high[0] - low[0]), float(high[2] - low[2])
    distance = 0.7 * max(width / 1.4, height) / np.tan(_FOV / 2)
    middle = axes.T @ ((low + high) / 2 + [_PANEL * width, 0, 0])
    eye = middle - forward * (distance + 0.5 * float(high[1] - low[1])) + 0.45 * distance * up
    return Viewpoint(eye, middle, up, _FOV)


def arrange(stages: Sequence[Stage], layout: str = "beside") -> None:
    """Put the stages where :func:`places` says."""
    for stage, place in zip(stages, places(stages, layout), strict=True):
        stage.position, stage.rotation = place.position, place.rotation


class ComparePanel:
    """Side by side or overlay, each scene on or off, and their names above them."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self._labels: list[viser.LabelHandle] = []

    def build(self, gui: GuiApi) -> None:
        """Add the controls where there are several scenes."""
        stages = self.viewer.stages
        if len(stages) < 2:
            return
        with gui.add_folder("Scenes"):
            layout = gui.add_dropdown("Arrange", tuple(LAYOUTS.values()), initial_value=LAYOUTS["beside"])
            names = {label: name for name, label in LAYOUTS.items()}
            layout.on_update(lambda _: self.arrange(names[layout.value]))
            for number, stage in enumerate(stages):
                self._add_switch(gui, number, stage)

    def arrange(self, layout: str) -> None:
        """Move the scenes; what is drawn of them moves along."""
        arrange(self.viewer.stages, layout)
        with self.viewer.server.atomic():
            for stage in self.viewer.stages:
                node = self.viewer.server.scene.get_handle_by_name(stage.prefix)
                if node is not None:
                    node.position, node.wxyz = stage.position, stage.wxyz
            for label in self._labels:  # names on top of each other say nothing
                label.visible = layout == "beside"

    def _add_switch(self, gui: GuiApi, number: int, stage: Stage) -> None:
        points = _points(stage)
        top = np.median(points, axis=0)
        top = top + stage.up * (float(np.quantile(points @ stage.up, _SHARE[1])) - float(top @ stage.up))
        label = self.viewer.server.scene.add_label(
            f"{stage.prefix}/name", stage.name, position=top + 0.05 * stage.extent * stage.up, anchor="bottom-center"
        )
        self._labels.append(label)
        box = gui.add_checkbox(f"{chr(ord('A') + number)}: {stage.name}", initial_value=True)

        def switch(_: object) -> None:
            node = self.viewer.server.scene.get_handle_by_name(stage.prefix)
            if node is not None:
                node.visible = box.value

        box.on_update(switch)


def _points(stage: Stage) -> Float64[np.ndarray, "n 3"]:
    points = stage.sample.points.astype(np.float64)
    return points if len(points) else np.zeros((1, 3))


def _in_world(stage: Stage) -> Float64[np.ndarray, "n 3"]:
    return _points(stage) @ stage.rotation.T + stage.position


def _box(stage: Stage, axes: Float64[np.ndarray, "3 3"]) -> Float64[np.ndarray, "2 3"]:
    """Lower and upper end of a scene along some axes (rows, in its frame)."""
    return np.quantile(_points(stage) @ axes.T, _SHARE, axis=0)


def _forward(stage: Stage) -> Float64[np.ndarray, "3"]:
    """Where the first camera looks, in the ground plane of the scene."""
    rotation = stage.scene.views[0].camera.world_from_cam[:3, :3]
    for direction in (rotation[:, 2], -rotation[:, 1], rotation[:, 0]):
        level = direction - stage.up * float(direction @ stage.up)
        if np.linalg.norm(level) > 0.1:
            return level / np.linalg.norm(level)
    raise AssertionError("three axes cannot all be vertical")


def _axes(stage: Stage) -> list[Float64[np.ndarray, "3"]]:
    forward = _forward(stage)
    return [np.cross(forward, stage.up), forward, stage.up]
