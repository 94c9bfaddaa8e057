"""The camera that follows a rig: behind it, above it, looking where it goes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from worldline.scene import SceneView

if TYPE_CHECKING:
    import viser

    from worldline.outputs.view.stage import Stage
    from worldline.outputs.view.state import ViewState
    from worldline.outputs.view.viewer import Viewer

_BACK, _UP, _AHEAD = 1.0, 0.75, 1.2  # distances, as shares of the chase distance


@dataclass(frozen=True, eq=False)
class EyePose:
    """Where the eye of the user is put. World frame."""

    position: Float64[np.ndarray, "3"]
    target: Float64[np.ndarray, "3"]
    up: Float64[np.ndarray, "3"]


def chase_pose(views: Sequence[SceneView], distance: float) -> EyePose:
    """Behind and above the cameras of one moment.

    Forward is where the first camera looks, up the mean of all of them, so that a rig that looks all around has its
    horizon level.

    Args:
        views: of one moment, at least one.
        distance: how far behind, in units of the scene.
    """
    poses = np.stack([view.camera.world_from_cam for view in views])
    up = -poses[:, :3, 1].mean(0)
    up /= max(float(np.linalg.norm(up)), 1e-9)
    forward = poses[0, :3, 2] - up * float(poses[0, :3, 2] @ up)
    length = float(np.linalg.norm(forward))
    forward = forward / length if length > 0.05 else -poses[0, :3, 1]  # a camera that looks straight up or down
    center = poses[:, :3, 3].mean(0)
    return EyePose(
        position=center + distance * (_UP * up - _BACK * forward), target=center + _AHEAD * distance * forward, up=up
    )


def chase_distance(views: Sequence[SceneView]) -> float:
    """A distance from which the rig and what is around it can be seen: half of the usual depth."""
    depths = [view.depth[::4, ::4][view.mask[::4, ::4]] for view in views]
    known = np.concatenate([np.zeros(0, np.float32), *depths])
    return 0.5 * float(np.median(known)) if len(known) else 1.0


class Chase:
    """Moves the cameras of all tabs along with the cameras of the first scene, while it is :attr:`on`.

    Only by how far they went: whoever turns the view or flies somewhere keeps that view of what moves.
    """

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.on = False
        self._center: Float64[np.ndarray, "3"] | None = None

    def start(self) -> None:
        """Put all tabs behind the cameras of the moment, and follow from there."""
        self.on, self._center = True, None
        for client in self.viewer.server.get_clients().values():
            self.welcome(client)

    def welcome(self, client: viser.ClientHandle) -> None:
        """Put one tab behind the cameras of the moment, if it is to follow them."""
        views = self._views(self.viewer.store.now) if self.on else []
        if not views:
            return
        stage = self.viewer.stages[0]
        pose = chase_pose(views, chase_distance(views))
        with client.atomic():
            client.camera.position = stage.rotation @ pose.position + stage.position
            client.camera.look_at = stage.rotation @ pose.target + stage.position
        self._center = _center(stage, views)

    def move(self, state: ViewState, changed: frozenset[str]) -> None:
        """Follow to the moment of the state."""
        views = self._views(state) if self.on and "moment" in changed else []
        if not views:
            return
        center = _center(self.viewer.stages[0], views)
        if self._center is not None:
            for client in self.viewer.server.get_clients().values():
                eye, target = np.array(client.camera.position), np.array(client.camera.look_at)
                with client.atomic():
                    client.camera.position = eye + center - self._center
                    client.camera.look_at = target + center - self._center
        self._center = center

    def _views(self, state: ViewState) -> list[SceneView]:
        stage = self.viewer.stages[0]
        if state.moment is None or not stage.times:
            return []
        return stage.views_at(stage.moment_at(state.moment))


def _center(stage: Stage, views: Sequence[SceneView]) -> Float64[np.ndarray, "3"]:
    """Middle of some cameras, in the viewer's world."""
    return stage.rotation @ np.mean([view.camera.center for view in views], axis=0) + stage.position
