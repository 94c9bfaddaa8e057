"""Dense motion between two photos of a sensor: optical flow, scene flow and what gets hidden."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from worldline.worlds.truth.queries import TOLERANCE, Shots, query
from worldline.worlds.truth.rays import Instants
from worldline.worlds.world import World


@dataclass(frozen=True)
class Flow:
    """Where the pixels of one photo go in another. In the sky ``valid`` is False and all is 0."""

    flow: Float32[np.ndarray, "height width 2"]  # pixels (x, y); 0 where the point is behind the other camera
    scene_flow: Float32[np.ndarray, "height width 3"]  # metres, world frame
    occluded: Bool[np.ndarray, "height width"]  # out of the other image, or hidden in it
    valid: Bool[np.ndarray, "height width"]


def flow(
    world: World, t_from: int, t_to: int, *, height: int, width: int, sensor: int | str = 0,
    tolerance: float = TOLERANCE, instants: Instants | None = None,
) -> Flow:  # fmt: skip
    """Exact flow of all pixels of photo ``t_from`` to photo ``t_to``, which may be earlier (backward flow).

    A pixel's flow is the projected motion of the surface point at its centre; ``pixel + flow`` is its place in the
    other image.

    Raises:
        InputError: photos or a sensor that do not exist.
    """
    y, x = np.mgrid[:height, :width].astype(np.float64)
    answers = query(
        world, (x + 0.5) / width, (y + 0.5) / height, t_from, t_to, t_to, height=height, width=width, sensor=sensor,
        tolerance=tolerance, instants=instants,
    )  # fmt: skip
    arrived = answers.uv * (width, height) - 0.5
    known = answers.valid & (answers.position[..., 2] > 0)
    turn = Shots.of(world, height=height, width=width, sensor=sensor).world_from_cam[t_to, :3, :3]
    return Flow(
        np.where(known[..., None], arrived - np.stack([x, y], -1), 0.0).astype(np.float32),
        (answers.motion @ turn.T).astype(np.float32),
        answers.valid & ~answers.visible,
        answers.valid,
    )


def flow_both_ways(
    world: World, t_from: int, t_to: int, *, height: int, width: int, sensor: int | str = 0
) -> tuple[Flow, Flow]:
    """Forward and backward flow between two photos of a sensor; see :func:`flow`."""
    instants = Instants(world)
    forward = flow(world, t_from, t_to, height=height, width=width, sensor=sensor, instants=instants)
    return forward, flow(world, t_to, t_from, height=height, width=width, sensor=sensor, instants=instants)
