"""The cameras of a stage: frusta with their photo, in the colour of their view; a click flies there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, UInt8

from worldline.outputs.facts.viewpoint import quaternion, vertical_fov
from worldline.outputs.view.logic.coloring import view_color
from worldline.outputs.view.logic.selection import VIEW_FIELDS, shown_views

if TYPE_CHECKING:
    import viser

    from worldline.outputs.view.stage import Stage
    from worldline.outputs.view.state import ViewState
    from worldline.outputs.view.viewer import Viewer

NEARBY = "nearby"  # requested when the camera of a tab enters or leaves a frustum
_LOOMS = 4.0  # times the size of a frustum: from nearer its photo hides most of the picture
_THUMBNAIL = 96  # pixels of its longer side


class Frusta:
    """Draws one frustum per view."""

    depends = VIEW_FIELDS | {"frusta", "frustum_size", NEARBY}

    def __init__(self, viewer: Viewer, stage: Stage) -> None:
        self.viewer = viewer
        self.stage = stage
        self._handles: dict[int, viser.CameraFrustumHandle] = {}
        poses = [stage.to_world(view.camera.world_from_cam) for view in stage.scene.views]
        self._centers = np.stack([pose[:3, 3] for pose in poses])
        self._inside: frozenset[int] = frozenset()  # views in whose frustum a tab's camera is
        viewer.on_camera(self._note_cameras)

    def refresh(self, state: ViewState, changed: frozenset[str]) -> None:
        """Show the frusta of the views that are shown, at the chosen size."""
        visible = shown_views(self.stage, state) & state.frusta
        visible[list(self._inside)] = False  # its photo would hide everything
        for index in range(len(self.stage)):
            if visible[index] and index not in self._handles:
                self._handles[index] = self._add(index)
            if index in self._handles:
                self._handles[index].scale = self.base_size * state.frustum_size
                self._handles[index].visible = bool(visible[index])

    def _note_cameras(self, positions: Float64[np.ndarray, "tab 3"]) -> None:
        """Find the frusta that stand around or just before the camera of a tab, as after flying there."""
        reach = _LOOMS * self.base_size * self.viewer.store.now.frustum_size
        apart = np.linalg.norm(self._centers[:, None] - positions, axis=-1)
        inside = frozenset(np.flatnonzero((apart < reach).any(axis=1)).tolist())
        if inside != self._inside:
            self._inside = inside
            self.viewer.request(NEARBY)

    @property
    def base_size(self) -> float:
        """Length of a frustum of size 1: small beside the scene."""
        return 0.06 * self.stage.extent

    def _add(self, index: int) -> viser.CameraFrustumHandle:
        view = self.stage.scene.views[index]
        camera = view.model_camera
        handle = self.viewer.server.scene.add_camera_frustum(
            f"{self.stage.prefix}/cameras/{index}",
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
            if event.client is not None and not self.viewer.measuring:
                self.viewer.fly_to_view(event.client, self.stage, index)

        return handle


def thumbnail(image: UInt8[np.ndarray, "h w 3"], longest: int = _THUMBNAIL) -> UInt8[np.ndarray, "h2 w2 3"]:
    """The image with its longer side at most ``longest`` pixels, averaged down."""
    from PIL import Image

    picture = Image.fromarray(np.asarray(image))
    picture.thumbnail((longest, longest), Image.Resampling.BOX)
    return np.asarray(picture)
