"""Arbitrary rays through the instants of a world: what queries, tracks and LiDAR sweeps are made of.

The image renderer casts pixel tiles; here rays come in any number and direction, from any origin and instant. Rays that
share an origin and an instant are sorted by direction and cut into packets, so that a packet's frustum stays narrow.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float64, Int, Int64
from torch import Tensor

from worldline.worlds.rendering.cast import Packets, SceneTables, cast, pack, surface_frames
from worldline.worlds.rendering.shading import hit_geometry
from worldline.worlds.world import SHELL_FACES, SKY, STILL, World

PACKET = 32  # rays per packet
_CELLS = 64  # directions are sorted in a grid of so many cells per face of a cube
_RAYS = 1 << 20  # rays cast at a time


@dataclass(frozen=True)
class Strikes:
    """What rays hit. Where the sky is met, distance is infinity, surface SKY, instance and body -1, normals 0."""

    distance: Float64[np.ndarray, "n"]  # in units of the ray's direction
    surface: Int64[np.ndarray, "n"]  # 0..5 the shell's faces, then 6 + row of ``World.primitives``
    normal: Float64[np.ndarray, "n 3"]  # unit, world frame, on the side of the ray's origin
    instance: Int64[np.ndarray, "n"]
    body: Int64[np.ndarray, "n"]

    @property
    def hit(self) -> np.ndarray:
        """Rays that end on a surface."""
        return np.isfinite(self.distance)


class Instants:
    """A world at all its instants, ready to have rays cast into it. Geometry is prepared when an instant is asked for.

    Hits are found in float32, like those of the images: they agree with the depth maps to round-off (1e-6 of the
    distance, about 1e-5 m in a room).
    """

    def __init__(self, world: World, device: torch.device | str = "cpu") -> None:
        self.world = world
        self.device = torch.device(device)
        self.instance = _by_surface(world, np.arange(SHELL_FACES), world.primitives.object_id)
        self.body = _by_surface(world, np.full(SHELL_FACES, STILL), world.primitives.body)
        self._tables: dict[tuple[int, ...], tuple[SceneTables, tuple[Tensor, ...]]] = {}

    def cast(
        self,
        frame: Int[np.ndarray, "g"],
        origin: Float64[np.ndarray, "g 3"],
        group: Int[np.ndarray, "n"],
        direction: Float64[np.ndarray, "n 3"],
    ) -> Strikes:
        """First hit of every ray.

        Args:
            frame: instant of every group of rays: row of ``world.motion.times``.
            origin: where the rays of a group start, world frame, metres.
            group: the group that a ray belongs to.
            direction: world frame; distances are in units of its length.
        """
        count = len(group)
        distance, surface, normal = np.full(count, np.inf), np.full(count, SKY, np.int64), np.zeros((count, 3))
        order = np.lexsort((_direction_cells(direction), group, frame[group]))  # by instant, origin, then direction
        for start in range(0, count, _RAYS):
            rows = order[start : start + _RAYS]
            distance[rows], surface[rows], normal[rows] = self._cast_sorted(
                frame[group[rows]], origin[group[rows]], group[rows], direction[rows]
            )
        hit = np.isfinite(distance)
        normal[~hit] = 0.0
        instance = np.where(hit, self.instance[surface], -1)
        return Strikes(distance, surface, normal, instance, np.where(hit, self.body[surface], -1))

    def _cast_sorted(
        self, frame: np.ndarray, origin: np.ndarray, group: np.ndarray, direction: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        frames, scene = np.unique(frame, return_inverse=True)
        tables, lookup = self._prepare(tuple(int(f) for f in frames))
        rays, packet, lane = _packets(scene, group, len(frames))

        def upload(values: np.ndarray) -> Tensor:
            return torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float32, device=self.device)

        x, y, z = (upload(direction[rays, axis]) for axis in range(3))
        start = upload(origin[rays[:, 0]])
        with torch.no_grad():
            distance, surface = cast(tables, Packets(start, (x, y, z), len(frames)))
            towards, hit = torch.stack((x, y, z), -1).flatten(0, 1), surface.flatten()
            reached = distance.flatten().nan_to_num(posinf=0.0)[:, None] * towards
            point = start.repeat_interleave(PACKET, 0) + reached
            per_scene = len(lookup[0]) // len(frames)
            row = torch.arange(len(frames), device=self.device).repeat_interleave(len(hit) // len(frames)) * per_scene
            normal = hit_geometry(lookup, row + hit, hit, point, towards)[0]
        found = (distance, surface, normal.view(*surface.shape, 3))
        ends, ids, faces = (values.cpu().numpy()[packet, lane] for values in found)
        return ends, ids, faces

    def _prepare(self, frames: tuple[int, ...]) -> tuple[SceneTables, tuple[Tensor, ...]]:
        if frames not in self._tables:
            worlds = [self.world.at(frame) for frame in frames]
            tables = pack(worlds, self.device)
            lookup = tuple(t.flatten(0, 1) for t in surface_frames(tables, worlds, self.device))
            self._tables = {frames: (tables, lookup)}  # the last one only: memory stays bounded
        return self._tables[frames]


def _by_surface(world: World, shell: np.ndarray, own: np.ndarray) -> Int64[np.ndarray, "s"]:
    table = np.concatenate([shell, own]).astype(np.int64)
    if world.sky is not None:
        table[SKY] = -1
    return table


def _direction_cells(direction: Float64[np.ndarray, "n 3"]) -> Int64[np.ndarray, "n"]:
    """Cell of each direction on a cube, numbered along a Morton curve: what follows each other is close in angle."""
    size = np.abs(direction)
    axis = size.argmax(1)
    rows = np.arange(len(direction))
    longest = np.maximum(size[rows, axis], 1e-300)
    face = 2 * axis + (direction[rows, axis] > 0)
    tangents = (direction[rows, (axis + k) % 3] / longest for k in (1, 2))
    code = face.astype(np.int64)
    a, b = (np.clip((t + 1.0) * (0.5 * _CELLS), 0, _CELLS - 1).astype(np.int64) for t in tangents)
    for bit in reversed(range(_CELLS.bit_length() - 1)):
        code = (code << 2) | (((a >> bit) & 1) << 1) | ((b >> bit) & 1)
    return code


def _packets(
    scene: Int[np.ndarray, "n"], group: Int[np.ndarray, "n"], scenes: int
) -> tuple[Int[np.ndarray, "p k"], Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """Cut sorted rays into packets of one group, equally many per scene.

    Returns the ray of every place of every packet [packet, PACKET] (short packets repeat their last ray, short scenes
    their last packet), and the packet and lane of every ray.
    """
    count = len(group)
    fresh = np.r_[True, (group[1:] != group[:-1]) | (scene[1:] != scene[:-1])]
    first = np.flatnonzero(fresh)
    run = np.cumsum(fresh) - 1
    size = np.diff(np.r_[first, count])
    pieces = -(-size // PACKET)
    inner = np.arange(count) - first[run]
    packet = (np.cumsum(pieces) - pieces)[run] + inner // PACKET  # numbered over all scenes
    start = np.flatnonzero(inner % PACKET == 0)
    length = np.diff(np.r_[start, count])
    rays = start[:, None] + np.minimum(np.arange(PACKET), length[:, None] - 1)
    own = np.bincount(scene[start], minlength=scenes)
    most = int(own.max())
    before = np.cumsum(own) - own
    layout = (before[:, None] + np.minimum(np.arange(most), own[:, None] - 1)).ravel()
    place = scene * most + (packet - before[scene])
    return rays[layout], place, inner % PACKET
