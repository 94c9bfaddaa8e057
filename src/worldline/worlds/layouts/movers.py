"""Things with joints: one root that follows a path, and parts that turn with the distance travelled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float64

from worldline.worlds.world import Builder, Part, Thing, yaw_matrix

Joints = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Assembly:
    """A vehicle or a person: rigid groups of parts, each in its own frame. It faces +x; z = 0 is the ground."""

    groups: list[list[Part]]  # the root first
    joints: Joints  # (metres travelled [t], speed in m/s [t]) -> pose of every group in the frame of the path [t k 4 4]
    half: tuple[float, float]  # footprint in any posture, half extents along x and y
    height: float


@dataclass(frozen=True)
class Mover:
    """An assembly in a world, every group carried by a body of its own."""

    assembly: Assembly
    bodies: tuple[int, ...]
    object_id: int

    def poses(
        self, path: Float64[np.ndarray, "t 4 4"], travelled: Float[np.ndarray, "t"], speed: Float[np.ndarray, "t"]
    ) -> Float64[np.ndarray, "t k 4 4"]:
        """World poses of its bodies.

        Args:
            path: pose of the point on the ground below the middle, x forward.
            travelled: metres since some start.
            speed: metres per second.
        """
        return path[:, None] @ self.assembly.joints(travelled, speed)


def add_mover(builder: Builder, assembly: Assembly) -> Mover:
    """Put an assembly into a world as moving bodies."""
    bodies, object_id = [], None
    for group in assembly.groups:
        body = builder.body()
        object_id = builder.place(Thing(group, assembly.half, assembly.height), np.zeros(3), 0.0, body=body,
                                  object_id=object_id)  # fmt: skip
        bodies.append(body)
    assert object_id is not None  # an assembly has a root
    return Mover(assembly, tuple(bodies), object_id)


def add_still(
    builder: Builder, assembly: Assembly, position: Float[np.ndarray, "3"], yaw: float, phase: float = 0.0
) -> int:
    """Put an assembly into a world where it never moves; ``phase`` is the distance that sets its joints."""
    joints = assembly.joints(np.array([phase]), np.zeros(1))[0]
    parts = []
    for group, joint in zip(assembly.groups, joints, strict=True):
        for part in group:
            center = joint[:3, :3] @ part.center + joint[:3, 3]
            parts.append(replace(part, center=center, rotation=joint[:3, :3] @ part.rotation))
    return builder.place(Thing(parts, assembly.half, assembly.height), position, yaw)


def translation(x: float, y: float, z: float) -> Float64[np.ndarray, "4 4"]:
    """A pose without rotation."""
    pose = np.eye(4)
    pose[:3, 3] = x, y, z
    return pose


def turn_y(angle: Float[np.ndarray, "t"]) -> Float64[np.ndarray, "t 4 4"]:
    """Rotations about y: positive tips what is up towards +x, so a wheel that rolls along +x turns positively."""
    pose = np.broadcast_to(np.eye(4), (len(angle), 4, 4)).copy()
    pose[:, 0, 0] = pose[:, 2, 2] = np.cos(angle)
    pose[:, 0, 2], pose[:, 2, 0] = np.sin(angle), -np.sin(angle)
    return pose


def ground_pose(xy: Float[np.ndarray, "t 2"], yaw: Float[np.ndarray, "t"]) -> Float64[np.ndarray, "t 4 4"]:
    """Poses on the ground, x forward."""
    pose = np.broadcast_to(np.eye(4), (len(yaw), 4, 4)).copy()
    pose[:, :3, :3] = np.stack([yaw_matrix(float(angle)) for angle in yaw])
    pose[:, :2, 3] = xy
    return pose
