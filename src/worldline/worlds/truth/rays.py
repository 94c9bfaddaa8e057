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

from worldline.worlds.rendering.cast import Packets, SceneTables, cast, pack
from worldline.worlds.truth.exact import meet
from worldline.worlds.world import SHELL_FACES, SKY, STILL, World

PACKET = 32  # rays per packet
_CELLS = 64  # directions are sorted in a grid of so many cells per face of a cube
_PAIRS = 1 << 23  # packets times solids that are looked at together: bounds the memory to some 500 MB


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

    Which surface a ray meets is found in float32, as in the images; where it meets it, in float64.
    """

    def __init__(self, world: World, device: torch.device | str = "cpu") -> None:
        self.world = world
        self.device = torch.device(device)
        self.instance = _by_surface(world, np.arange(SHELL_FACES), world.primitives.object_id)
        self.body = _by_surface(world, np.full(SHELL_FACES, STILL), world.primitives.body)
        self._tables: dict[tuple[int, ...], SceneTables] = {}

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
        distance, surface = np.full(count, np.inf), np.full(count, SKY, np.int64)
        order = np.lexsort((_direction_cells(direction), group, frame[group]))  # by instant, origin, then direction
        step = PACKET * max(64, _PAIRS // (1 + len(self.world.primitives.kind)))
        for start in range(0, count, step):
            rows = order[start : start + step]
            own = group[rows]
            distance[rows], surface[rows] = self._cast_sorted(frame[own], origin[own], own, direction[rows])
        hit = np.flatnonzero(np.isfinite(distance))
        normal, instance, body = np.zeros((count, 3)), np.full(count, -1, np.int64), np.full(count, -1, np.int64)
        distance[hit], normal[hit] = meet(
            self.world, frame[group[hit]], surface[hit], origin[group[hit]], direction[hit], distance[hit]
        )
        instance[hit], body[hit] = self.instance[surface[hit]], self.body[surface[hit]]
        return Strikes(distance, surface, normal, instance, body)

    def _cast_sorted(
        self, frame: np.ndarray, origin: np.ndarray, group: np.ndarray, direction: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        frames, scene = np.unique(frame, return_inverse=True)
        tables = self._prepare(tuple(int(f) for f in frames))
        rays, packet, lane = _packets(scene, group, len(frames))

        def upload(values: np.ndarray) -> Tensor:
            return torch.as_tensor(np.ascontiguousarray(values), dtype=torch.float32, device=self.device)

        x, y, z = (upload(direction[rays, axis]) for axis in range(3))
        with torch.no_grad():
            distance, surface = cast(tables, Packets(upload(origin[rays[:, 0]]), (x, y, z), len(frames)))
        return distance.cpu().numpy()[packet, lane], surface.cpu().numpy()[packet, lane]

    def _prepare(self, frames: tuple[int, ...]) -> SceneTables:
        if frames not in self._tables:  # the last ones only: memory stays bounded
            self._tables = {frames: pack([self.world.at(frame) for frame in frames], self.device)}
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
