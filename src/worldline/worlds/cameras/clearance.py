"""What a moving camera keeps away from, at any moment, and what it would see there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float64

from worldline.worlds.cameras.photos import PhotoPlan, distance_to_solids
from worldline.worlds.rendering.cast import cast, pack
from worldline.worlds.rendering.views import Tiling, intrinsics
from worldline.worlds.world import SHELL_FACES, STILL, CameraSet, Motion, Primitives, World, choose_rows

_COARSE = 16  # side of the square images in which a view is judged

Poses = Callable[[Float64[np.ndarray, "t"]], Float64[np.ndarray, "t b 4 4"]]  # world_from_body at moments of the clock


@dataclass(frozen=True)
class Judgement:
    """Coarse views, one entry each."""

    nearest: Float64[np.ndarray, "n"]  # metres along the optical axis
    middle: Float64[np.ndarray, "n"]  # median depth
    things: Float64[np.ndarray, "n"]  # share of the image that shows no wall, floor or sky
    moving: Float64[np.ndarray, "n"]  # share of the image that shows something that can move


@dataclass(frozen=True)
class Surroundings:
    """A world with the motion of its bodies as a function of the clock; ``poses`` None: nothing moves."""

    world: World
    poses: Poses | None
    _last: dict[bytes, np.ndarray] = field(default_factory=dict, repr=False, compare=False)  # one entry

    @cached_property
    def _still(self) -> Primitives:
        solids = self.world.primitives
        return choose_rows(solids, solids.body == STILL if self.poses else np.ones(len(solids.body), bool))

    @cached_property
    def _reach(self) -> Float64[np.ndarray, "n"]:
        return np.linalg.norm(self._still.half, axis=1)

    @cached_property
    def _carried(self) -> dict[int, Primitives]:
        solids = self.world.primitives
        bodies = np.unique(solids.body[solids.body != STILL]).tolist() if self.poses else []
        return {body: choose_rows(solids, solids.body == body) for body in bodies}

    @cached_property
    def _balls(self) -> tuple[Float64[np.ndarray, "b 3"], Float64[np.ndarray, "b"]]:
        """Balls in the frames of the bodies that hold their solids."""
        middle = np.array([solids.center.mean(0) for solids in self._carried.values()])
        radius = [
            (np.linalg.norm(solids.center - m, axis=1) + np.linalg.norm(solids.half, axis=1)).max()
            for m, solids in zip(middle, self._carried.values(), strict=True)
        ]
        return middle, np.array(radius)

    @property
    def bodies(self) -> list[int]:
        """Bodies that can move."""
        return list(self._carried)

    def clear(
        self, points: Float64[np.ndarray, "n 3"], clock: Float64[np.ndarray, "n"], keep: float
    ) -> Bool[np.ndarray, "n"]:
        """Whether the points are at least ``keep`` metres from every solid at their moments; walls are not looked at.

        The distance is to the oriented bounds of the solids, so it is never more than the true one.
        """
        low, high = points.min(0), points.max(0)
        gap = np.maximum(np.maximum(low - self._still.center, self._still.center - high), 0.0)
        near = np.linalg.norm(gap, axis=1) < keep + self._reach
        free = distance_to_solids(points, choose_rows(self._still, near)) >= keep
        if self.poses is None or not self._carried:
            return free
        moments, back = np.unique(clock, return_inverse=True)
        carry = self._carry(moments)[back]
        middle, radius = self._balls
        centers = np.einsum("nbij,bj->nbi", carry[..., :3, :3], middle) + carry[..., :3, 3]
        close = ((points[:, None] - centers) ** 2).sum(-1) < (keep + radius) ** 2
        for index, solids in enumerate(self._carried.values()):
            near = np.flatnonzero(close[:, index] & free)
            if len(near):
                pose = carry[near, index]
                local = np.einsum("nji,nj->ni", pose[:, :3, :3], points[near] - pose[:, :3, 3])
                free[near] = distance_to_solids(local, solids) >= keep
        return free

    def centers(self, clock: Float64[np.ndarray, "t"]) -> Float64[np.ndarray, "t b 3"]:
        """Middles of the bodies that can move, in the order of :attr:`bodies`, at some moments."""
        if self.poses is None or not self._carried:
            return np.zeros((len(clock), 0, 3))
        carry = self._carry(clock)
        middle, _ = self._balls
        return np.einsum("tbij,bj->tbi", carry[..., :3, :3], middle) + carry[..., :3, 3]

    def _carry(self, clock: Float64[np.ndarray, "t"]) -> Float64[np.ndarray, "t b 4 4"]:
        """Poses of :attr:`bodies`; the answer to the same question again is remembered."""
        key = clock.tobytes()
        if key not in self._last:
            self._last.clear()
            self._last[key] = self.poses(clock)[:, self.bodies] if self.poses else np.zeros((len(clock), 0, 4, 4))
        return self._last[key]

    def at(self, clock: float) -> World:
        """The world at one moment, everything in its place."""
        if self.poses is None:
            return self.world
        return replace(self.world, motion=Motion(np.zeros(1), self.poses(np.array([clock])))).at(0)

    def judge(self, world_from_cam: Float64[np.ndarray, "n 4 4"], clock: float, fov: float) -> Judgement:
        """See the world from some poses at one moment, in one batched cast of few rays."""
        count = len(world_from_cam)
        lens = CameraSet.photos(world_from_cam, np.full(count, fov), np.zeros((count, 2)))
        matrices = torch.as_tensor(intrinsics(lens, _COARSE, _COARSE))
        tiling = Tiling(1, count, _COARSE, _COARSE, tile=_COARSE // 2)
        packets, _, _ = tiling.packets(matrices, torch.as_tensor(world_from_cam))
        depth, surface = cast(pack([self.at(clock)], "cpu"), packets)
        depth, surface = (tiling.untile(part)[0].reshape(count, -1) for part in (depth, surface))
        things = (surface >= SHELL_FACES).float().mean(1)
        carried = torch.as_tensor(np.r_[np.zeros(SHELL_FACES, bool), self.world.primitives.body != STILL])
        moving = carried[surface.long()].float().mean(1)
        return Judgement(*(v.double().numpy() for v in (depth.amin(1), depth.median(1).values, things, moving)))


def keep_away(plan: PhotoPlan, fov: float) -> float:
    """Distance to everything such that no pixel of an image, square at most, has a depth below ``plan.nearest``."""
    corner = np.sqrt(1.0 + 2.0 * np.tan(0.5 * fov) ** 2)
    return max(plan.clearance, plan.nearest * float(corner))
