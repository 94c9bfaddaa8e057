"""The cameras of a stage: frusta with their photo, in the colour of their view; a click flies there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float64, Int64, UInt8

from worldline.outputs.facts.viewpoint import quaternion, vertical_fov
from worldline.outputs.view.logic.coloring import view_color
from worldline.outputs.view.logic.selection import VIEW_FIELDS, shown_views
from worldline.scene import Scene

if TYPE_CHECKING:
    import viser

    from worldline.outputs.view.stage import Stage
    from worldline.outputs.view.state import ViewState
    from worldline.outputs.view.viewer import Viewer

NEARBY = "nearby"  # requested when the camera of a tab enters or leaves a frustum
_LOOMS = 4.0  # times the size of a frustum: from nearer its photo hides most of the picture
_THUMBNAIL = 96  # pixels of its longer side


class _Cameras(NamedTuple):
    """The cameras of a scene."""

    scene: Scene
    ids: Int64[np.ndarray, "view"]
    centers: Float64[np.ndarray, "view 3"]  # frame of the scene


class Frusta:
    """Draws one frustum per view."""

    depends = VIEW_FIELDS | {"frusta", "frustum_size", NEARBY}

    def __init__(self, viewer: Viewer, stage: Stage) -> None:
        self.viewer = viewer
        self.stage = stage
        self._handles: dict[int, viser.CameraFrustumHandle] = {}  # by the id of the view
        self._cameras = _cameras_of(stage.scene, stage.ids)  # replaced as a whole: other threads read it
        self._tabs = np.zeros((0, 3))  # cameras of the tabs, in the viewer's world
        self._inside: frozenset[int] = frozenset()  # ids of the views in whose frustum a tab's camera is
        viewer.on_camera(self._note_tabs)

    def refresh(self, state: ViewState, changed: frozenset[str]) -> None:
        """Show the frusta of the views that are shown, at the chosen size."""
        stage = self.stage
        if self._cameras.scene is not stage.scene:
            self._cameras = _cameras_of(stage.scene, stage.ids)
        for number in self._handles.keys() - set(stage.ids):
            self._handles.pop(number).remove()
        visible, scale = shown_views(stage, state) & state.frusta, self.base_size * state.frustum_size
        self._inside = self._near_a_tab(scale)
        for index, number in enumerate(stage.ids):
            shown = bool(visible[index]) and number not in self._inside  # its photo would hide everything
            if shown and number not in self._handles:
                self._handles[number] = self._add(index, number)
            if number in self._handles:
                self._handles[number].scale = scale
                self._handles[number].visible = shown

    def _note_tabs(self, positions: Float64[np.ndarray, "tab 3"]) -> None:
        """A tab's camera has moved."""
        self._tabs = positions
        if self._near_a_tab(self.base_size * self.viewer.store.now.frustum_size) != self._inside:
            self.viewer.request(NEARBY)

    def _near_a_tab(self, scale: float) -> frozenset[int]:
        """The views whose frusta stand around or just before the camera of a tab, as after flying there."""
        cameras, tabs = self._cameras, (self._tabs - self.stage.position) @ self.stage.rotation
        apart = np.linalg.norm(cameras.centers[:, None] - tabs, axis=-1)
        return frozenset(cameras.ids[(apart < _LOOMS * scale).any(axis=1)].tolist())

    @property
    def base_size(self) -> float:
        """Length of a frustum of size 1: small beside the scene."""
        return 0.06 * self.stage.extent

    def _add(self, index: int, number: int) -> viser.CameraFrustumHandle:
        view = self.stage.scene.views[index]
        camera = view.model_camera
        handle = self.viewer.server.scene.add_camera_frustum(
            f"{self.stage.prefix}/cameras/{number}",
            fov=vertical_fov(camera),
            aspect=np.tan(np.arctan2(camera.width / 2, camera.intrinsics[0, 0])) / np.tan(vertical_fov(camera) / 2),
            scale=self.base_size,
            thickness=2.0,
            thickness_units="screen",
            color=view_color(self.stage, index),
            image=thumbnail(view.image),
            format="jpeg",
            wxyz=quaternion(camera.world_from_cam[:3, :3]),
            position=camera.center,
            cast_shadow=False,
            receive_shadow=False,
        )

        @handle.on_click
        def _(event: viser.SceneNodePointerEvent[viser.CameraFrustumHandle]) -> None:
            now = self.stage.index_of(number)  # views before it may be gone by the time of the click, and so may it
            if event.client is not None and not self.viewer.measuring and now is not None:
                self.viewer.fly_to_view(event.client, self.stage, now)

        return handle


def _cameras_of(scene: Scene, ids: Sequence[int]) -> _Cameras:
    centers = np.array([view.camera.center for view in scene.views], np.float64).reshape(-1, 3)
    return _Cameras(scene, np.array(ids, np.int64), centers)


def thumbnail(image: UInt8[np.ndarray, "h w 3"], longest: int = _THUMBNAIL) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The image with its longer side at most ``longest`` pixels, averaged down."""
    from PIL import Image

    picture = Image.fromarray(np.asarray(image))
    picture.thumbnail((longest, longest), Image.Resampling.BOX)
    return np.asarray(picture)
