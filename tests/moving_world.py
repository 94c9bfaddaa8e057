"""A small world in which everything is known by a formula: two boxes move past a pillar, a camera or a rig slides."""

from __future__ import annotations

import numpy as np

from worldline.worlds.appearance.materials import material
from worldline.worlds.options import Streams
from worldline.worlds.world import (
    BOX,
    Builder,
    CameraSet,
    Motion,
    Part,
    PhotoEffects,
    Sky,
    Thing,
    World,
    yaw_matrix,
)

INSTANTS = 5
STEP = np.array([0.2, 0.0, 0.0])  # of the sliding box, metres per instant
SPIN = 0.1  # of the turning box, radians per instant
INWARD = np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])  # camera that looks along +y, upright


def pose(position: tuple[float, float, float], rotation: np.ndarray = INWARD) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, position
    return matrix


def moving_world(*, camera_step: float = 0.05, open_air: bool = False, rig: bool = False) -> World:
    """A box 1 m wide slides along x behind a pillar, another turns in place; the camera slides along x."""
    builder, rng = Builder(), Streams.of(0, 7, 0).scene
    paint = [material(builder, rng, "plain") for _ in range(4)]

    def box(half: tuple[float, float, float], number: int) -> Thing:
        part = Part(BOX, np.zeros(3), np.array(half), paint[number])
        return Thing([part], half[:2], 2 * half[2])

    sliding, turning = builder.body(), builder.body()
    builder.place(box((0.5, 0.4, 0.5), 0), np.zeros(3), 0.0, body=sliding)  # object 6
    builder.place(box((0.4, 0.4, 0.4), 1), np.zeros(3), 0.0, body=turning)  # object 7
    builder.place(box((0.1, 0.1, 1.0), 2), np.array([0.0, 1.5, 1.0]), 0.0)  # object 8, the pillar
    poses = np.broadcast_to(np.eye(4), (INSTANTS, 3, 4, 4)).copy()
    for instant in range(INSTANTS):
        poses[instant, sliding, :3, 3] = np.array([-0.4, 3.0, 0.5]) + instant * STEP
        poses[instant, turning] = pose((1.5, 3.0, 0.4), yaw_matrix(0.3 + instant * SPIN))
    drives = [pose((camera_step * instant, -1.0, 0.0), yaw_matrix(np.pi / 2)) for instant in range(INSTANTS)]
    views = [pose((camera_step * instant, -1.0, 1.0)) for instant in range(INSTANTS)]
    cameras, names = CameraSet.video(np.stack(views), np.pi / 2), ("camera",)
    if rig:  # a second camera half a metre to the right, instants first
        both = np.stack([v for view in views for v in (view, view @ pose((0.5, 0, 0), np.eye(3)))])
        frames, sensors = np.repeat(np.arange(INSTANTS), 2), np.tile([0, 1], INSTANTS)
        cameras = CameraSet(both, np.full(len(both), np.pi / 2), np.zeros((len(both), 2)), frames, sensors)
        names = ("left", "right")
    return World(
        layout="test", seed=7, room_low=np.array([-4.0, -3.0, 0.0]), room_high=np.array([4.0, 5.0, 3.0]),
        shell_material=np.full(6, paint[3]), primitives=builder.primitives(),
        sky=Sky(np.full(3, 0.5), np.full(3, 0.8), 0.2, 1) if open_air else None,
        motion=Motion(np.arange(INSTANTS) / 10.0, poses),
        material_kind=np.array(builder.material_kind), material_table=np.stack(builder.material_rows),
        light_position=np.array([[0.0, 0.0, 2.9]]), light_color=np.full((1, 3), 5.0),
        light_axis=np.array([[0.0, 0.0, -1.0]]), light_focus=np.zeros(1), light_radius=np.zeros(1),
        ambient=np.full(3, 0.3), cameras=cameras, photo=PhotoEffects.none(len(cameras.fov)), sensors=names,
        world_from_rig=np.stack(drives) if rig else None,
    )  # fmt: skip
