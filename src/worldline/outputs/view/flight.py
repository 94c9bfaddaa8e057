"""Flying the cameras of the tabs to poses, smoothly."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from worldline.outputs.facts.viewpoint import orbit_up

if TYPE_CHECKING:
    import viser

_STEPS_PER_SECOND = 30


class Flights:
    """The flights of the tabs of one viewer: a tab's newest takes over from the one under way."""

    def __init__(self) -> None:
        self._newest: dict[int, object] = {}  # client id, unique within one server -> token of the flight under way
        self._lock = threading.Lock()

    def fly(
        self,
        client: viser.ClientHandle,
        world_from_cam: Float64[np.ndarray, "4 4"],
        fov: float,
        *,
        up: Float64[np.ndarray, "3"],
        look_distance: float,
        seconds: float = 0.5,
    ) -> None:
        """Move the camera of a tab to a pose. Blocks until it has arrived, or until another flight of the tab begins.

        Args:
            client: the tab.
            world_from_cam: where to, OpenCV axes, in the viewer's world.
            fov: vertical field of view on arrival, radians.
            up: up in the viewer's world; the camera orbits about it afterwards, as far as the pose allows.
            look_distance: distance of the point in front of the camera that it orbits about afterwards.
            seconds: how long it takes.
        """
        from viser.transforms import SO3

        token = object()
        with self._lock:
            self._newest[client.client_id] = token
        camera = client.camera
        start_position, start_fov = np.array(camera.position), camera.fov
        start_distance = float(np.linalg.norm(np.asarray(camera.look_at) - start_position)) or look_distance
        start_rotation = SO3(np.array(camera.wxyz)).as_matrix()
        turn = SO3.from_matrix(start_rotation.T @ world_from_cam[:3, :3]).log()
        steps = max(1, round(seconds * _STEPS_PER_SECOND))
        for step in range(1, steps + 1):
            if self._newest.get(client.client_id) is not token:
                return
            share = step / steps
            share = share * share * (3 - 2 * share)  # slow at both ends
            rotation = start_rotation @ SO3.exp(share * turn).as_matrix() if step < steps else world_from_cam[:3, :3]
            position = (1 - share) * start_position + share * world_from_cam[:3, 3]
            distance = (1 - share) * start_distance + share * look_distance
            with client.atomic():
                camera.up_direction = orbit_up(rotation, up)
                camera.position = position
                camera.look_at = position + distance * rotation[:, 2]
                camera.fov = (1 - share) * start_fov + share * fov
            client.flush()
            time.sleep(seconds / steps)
        with self._lock:
            if self._newest.get(client.client_id) is token:
                del self._newest[client.client_id]
