"""Measuring: two clicks on the points, a line between them and its length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float64
from viser import Icon

from worldline.outputs.view.logic.picking import length_text, pick, pixel_angle

if TYPE_CHECKING:
    import viser
    from viser import GuiApi

    from worldline.outputs.view.viewer import Viewer

_COLOR = (230, 30, 110)
_MARK = 5.0  # radius of an end, in pixels when it is set
_ROOT = "/measured"


class MeasurePanel:
    """A button to begin, the last length, and a button to clear."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.active = False
        self.lengths: list[float] = []  # in units of the world, the newest last
        self._from: Float64[np.ndarray, "3"] | None = None
        self._count = 0  # of nodes made, for their names
        self._nodes: list[Any] = []

    def build(self, gui: GuiApi) -> None:
        """Add the controls."""
        with gui.add_folder("Measure", expand_by_default=False):
            self._button = gui.add_button("Measure", icon=Icon.RULER_MEASURE, hint="Click two points; key M")
            self._text = gui.add_markdown("Distance between two points.")
            clear = gui.add_button("Clear", icon=Icon.ERASER)
        self._button.on_click(lambda _: self.toggle())
        clear.on_click(lambda _: self.clear())
        gui.add_command("Measure a distance", hotkey="M", icon=Icon.RULER_MEASURE).on_trigger(lambda _: self.toggle())

    def toggle(self) -> None:
        """Begin to measure, or end it; what was measured stays."""
        self.active, self._from = not self.active, None
        self.viewer.measuring = self.active
        scene = self.viewer.server.scene
        if self.active:
            scene.on_click()(self._click)
        else:
            scene.remove_click_callback(self._click)
        self._button.label = "Stop measuring" if self.active else "Measure"
        self._text.content = "Click the first point." if self.active else "Distance between two points."

    def clear(self) -> None:
        """Remove all measurements."""
        for node in self._nodes:
            node.remove()
        self._nodes, self._from = [], None
        self.lengths.clear()
        if self.active:
            self._text.content = "Click the first point."

    def _click(self, event: viser.SceneClickEvent) -> None:
        camera = event.client.camera
        pixel = pixel_angle(camera.fov, camera.image_height)
        point = self.pick(np.array(event.ray_origin), np.array(event.ray_direction), pixel)
        if point is None:
            self._text.content = "There is no point. Click one."
            return
        # a little nearer to the eye, so that the surface does not cover what is drawn on it
        eye, lift = np.asarray(camera.position), 3 * _MARK * pixel
        self._mark((1 - lift) * point + lift * eye, _MARK * pixel * float(np.linalg.norm(point - eye)))
        if self._from is None:
            self._from = point
            self._text.content = "Click the second point."
            return
        self._measure(self._from, point, (1 - lift) * np.stack([self._from, point]) + lift * eye)
        self._from = None

    def pick(
        self, origin: Float64[np.ndarray, "3"], direction: Float64[np.ndarray, "3"], pixel: float
    ) -> Float64[np.ndarray, "3"] | None:
        """The drawn point that a ray hits, in the viewer's world; see :func:`picking.pick`."""
        found: list[Float64[np.ndarray, "3"]] = []
        for layer in self.viewer.layers:
            visible = getattr(layer, "visible_points", None)
            if visible is None:
                continue
            stage = layer.stage  # type: ignore[attr-defined]
            node = self.viewer.server.scene.get_handle_by_name(stage.prefix)
            if node is not None and not node.visible:
                continue
            clouds = visible()
            # the ray goes to the stage, not the points to the world
            start, along = stage.rotation.T @ (origin - stage.position), stage.rotation.T @ direction
            point = pick([c[0] for c in clouds], start, along, pixel=pixel, radius=[c[1] for c in clouds])
            if point is not None:
                found.append(stage.rotation @ point + stage.position)
        return min(found, key=lambda point: float((point - origin) @ direction), default=None)

    def _mark(self, point: Float64[np.ndarray, "3"], radius: float) -> None:
        self._keep(
            self.viewer.server.scene.add_point_cloud(
                self._name(),
                points=np.zeros((1, 3), np.float32),
                colors=_COLOR,
                position=point,
                point_size=radius,
                point_shape="circle",
            )
        )

    def _measure(
        self, start: Float64[np.ndarray, "3"], end: Float64[np.ndarray, "3"], line: Float64[np.ndarray, "2 3"]
    ) -> None:
        """Say the length between two points, and draw it along a line."""
        scene, length = self.viewer.server.scene, float(np.linalg.norm(end - start))
        text = length_text(length, metric=all(stage.scene.metric for stage in self.viewer.stages))
        points = line[None].astype(np.float32)
        self._keep(
            scene.add_line_segments(self._name(), points=points, colors=_COLOR, thickness=3.0, thickness_units="screen")
        )
        self._keep(scene.add_label(self._name(), text, position=(start + end) / 2, anchor="bottom-center"))
        self.lengths.append(length)
        self._text.content = f"**{text}**. Click the next first point."

    def _name(self) -> str:
        self._count += 1
        return f"{_ROOT}/{self._count}"

    def _keep(self, node: Any) -> None:
        self._nodes.append(node)
