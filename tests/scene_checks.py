"""Comparing scenes bit by bit, and a scene with everything that a scene can hold."""

import dataclasses

import numpy as np

from worldline.scene import Scene
from worldline.types import MovingObject, Rig


def assert_same(left: object, right: object, path: str = "scene") -> None:
    if dataclasses.is_dataclass(left):
        assert type(left) is type(right), path
        for field in dataclasses.fields(left):
            assert_same(getattr(left, field.name), getattr(right, field.name), f"{path}.{field.name}")
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype and left.shape == right.shape, path
        assert left.tobytes() == right.tobytes(), path
    elif isinstance(left, tuple):
        assert len(left) == len(right), path
        for index, pair in enumerate(zip(left, right, strict=True)):
            assert_same(*pair, f"{path}[{index}]")
    else:
        assert left == right, path


def with_motion(scene: Scene) -> Scene:
    """The scene with everything that came with version 2."""
    random = np.random.default_rng(3)
    views = tuple(
        dataclasses.replace(view, dynamic=None if index == 1 else random.uniform(size=view.mask.shape) > 0.7)
        for index, view in enumerate(scene.views)
    )
    objects = tuple(
        MovingObject(
            id=7 + count,
            timestamps=np.sort(random.uniform(0, 1e9, count)),
            centers=random.normal(size=(count, 3)).astype(np.float32),
            velocities=np.full((count, 3), np.nan, np.float32),
            size=random.uniform(size=3).astype(np.float32),
            sensors=("CAM_FRONT", "CAM BACK ü")[:count],
        )
        for count in (0, 1, 5)
    )
    rig = Rig(
        ("CAM", "CAM BACK ü"),
        intrinsics=random.normal(size=(2, 3, 3)),
        rig_from_cam=random.normal(size=(2, 4, 4)),
        sizes=((900, 1600), (240, 320)),
        ground=-1 / 3,
    )
    return dataclasses.replace(scene, views=views, objects=objects, rig=rig)
