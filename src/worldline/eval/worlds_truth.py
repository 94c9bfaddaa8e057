"""The exact truth of procedural scenes."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from worldline import worlds
from worldline.eval.sequences import GroundTruth
from worldline.types import Camera


class PosedScene(Protocol):
    """Posed views of one scene with the truth of every pixel, as tensors or arrays; ``worlds.WorldSample`` is one."""

    @property
    def images(self) -> Any: ...  # [V, H, W, 3] uint8
    @property
    def points(self) -> Any: ...  # [V, H, W, 3], world frame
    @property
    def depth(self) -> Any: ...  # [V, H, W]
    @property
    def valid(self) -> Any: ...  # [V, H, W]
    @property
    def intrinsics(self) -> Any: ...  # [V, 3, 3]
    @property
    def world_from_cam(self) -> Any: ...  # [V, 4, 4]


@lru_cache(maxsize=1)
def worlds_version() -> str:
    """For names of files that keep rendered worlds: changes with every line of the code that makes and renders them.

    Equal seeds give equal pixels within one version only, and a number kept by hand would be forgotten.
    """
    digest, root = hashlib.sha256(), Path(worlds.__file__).parent
    for file in sorted(root.rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()[:10]


def truth_of(sample: PosedScene) -> GroundTruth:
    """The exact truth of a procedural scene whose images are fed to the network as they are.

    Where nothing was hit (sky) ``valid`` is False and points and depth are 0, whatever the sample holds there.
    """
    height, width = sample.depth.shape[1:]
    cameras = tuple(
        Camera(np.asarray(intrinsics, np.float64), np.asarray(pose, np.float64), height, width)
        for intrinsics, pose in zip(sample.intrinsics, sample.world_from_cam, strict=True)
    )
    points, depth = (np.asarray(values).astype(np.float64) for values in (sample.points, sample.depth))
    valid = np.asarray(sample.valid).astype(bool) & np.isfinite(depth) & np.isfinite(points).all(-1)
    return GroundTruth(np.where(valid[..., None], points, 0.0), np.where(valid, depth, 0.0), valid, cameras)
