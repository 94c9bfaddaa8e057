"""Flying the camera of one tab to a pose, smoothly."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from worldline.outputs.view.viewpoint import quaternion

if TYPE_CHECKING:
    import viser

_STEPS_PER_SECOND = 30
_flights: dict[int, object] = {}  # client id -> token of the flight under way; a newer one takes over
_lock = threading.Lock()


def fly(
    client: viser.ClientHandle, world_from_cam: Float64[np.ndarray, "4 4"], fov: float, *, seconds: float = 0.5
) -> None:
    """Move the camera of ``client`` to a pose (OpenCV axes, viewer's world) and vertical field of view (radians).

    Blocks until it has arrived, or until another flight of the same client begins.
    """
    from scipy.spatial.transform import Rotation, Slerp

    token = object()
    with _lock:
        _flights[client.client_id] = token
    camera = client.camera
    start_position, start_fov = np.array(camera.position), camera.fov
    look_distance = float(np.linalg.norm(np.asarray(camera.look_at) - start_position)) or 1.0
    turns = Rotation.from_quat(np.stack([np.roll(camera.wxyz, -1), np.roll(quaternion(world_from_cam[:3, :3]), -1)]))
    slerp = Slerp([0.0, 1.0], turns)
    steps = max(1, round(seconds * _STEPS_PER_SECOND))
    for step in range(1, steps + 1):
        if _flights.get(client.client_id) is not token:
            return
        share = step / steps
        share = share * share * (3 - 2 * share)  # slow at both ends
        rotation = slerp(share).as_matrix()
        position = (1 - share) * start_position + share * world_from_cam[:3, 3]
        set_camera(client, position, rotation, (1 - share) * start_fov + share * fov, look_distance)
        time.sleep(seconds / steps)


def set_camera(
    client: viser.ClientHandle,
    position: Float64[np.ndarray, "3"],
    rotation: Float64[np.ndarray, "3 3"],
    fov: float,
    look_distance: float,
) -> None:
    """Put the camera of ``client`` somewhere at once; it turns about the point ``look_distance`` in front of it."""
    with client.atomic():
        # the camera's own up, so that it is exactly the pose asked for, roll included
        client.camera.up_direction = -rotation[:, 1]
        client.camera.position = position
        client.camera.look_at = position + look_distance * rotation[:, 2]
        client.camera.fov = fov
