"""Batched ray casting: packets of rays against solids, exact to float32.

Rays travel in packets (an image tile seen from its camera, or the same tile's points on their way to a light). The
frustum around a packet is tested against the bounds of all solids at once; what survives is visited in rounds, from
near to far: round k handles the k-th candidate of every packet with elementwise arithmetic and a running minimum. So
the cost follows the number of solids *near a ray*, and the same code is cache-friendly on a CPU and wide on a GPU.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldline.worlds.rendering.hits import HITS, Rows, turned
from worldline.worlds.rendering.packets import Bounds, Frusta, Packets, Pairs
from worldline.worlds.world import FLOOR, HEIGHT_FIELD, POLYTOPE, SHELL_FACES, SKY, World, material_slices, pad_planes

__all__ = ["KindTable", "Packets", "SceneTables", "cast", "occluded", "pack", "surface_frames"]

Visit = Callable[..., tuple[Tensor, Tensor]]

NEAR = 1e-4  # hits closer than this (in units of the direction) are the origin's own surface
_CPU_PAIRS = 96  # packets per step on a CPU: the working set stays in the cache
_PHASES = (0, 3, 8, 20, 1 << 40)  # rounds after which candidates behind what was found are dropped


@dataclass(frozen=True)
class KindTable:
    """The primitives of one kind of all scenes, padded to the same number per scene."""

    center: Float[Tensor, "scene n 3"]
    rotation: Float[Tensor, "scene n 3 3"]  # world_from_local
    half: Float[Tensor, "scene n 3"]
    planes: Float[Tensor, "scene n f 4"]
    valid: Bool[Tensor, "scene n"]
    surface: Int[Tensor, "scene n"]  # surface id of the hit: SHELL_FACES + index in the world's primitive list
    shades: Bool[Tensor, "scene n"] | None = None  # which solids throw shadows; None: all

    def bounds(self, *, shading: bool = False) -> Bounds:
        """Boxes and balls around the solids, or around those that throw shadows."""
        chosen = self.valid if self.shades is None or not shading else self.valid & self.shades
        radius = self.half.norm(dim=-1).masked_fill(~chosen, -torch.inf)
        return Bounds(self.center, self.rotation, self.half, radius)


@dataclass(frozen=True)
class SceneTables:
    """Geometry of a batch of worlds on one device."""

    room_low: Float[Tensor, "scene 3"]
    room_high: Float[Tensor, "scene 3"]
    open_air: Bool[Tensor, "scene"]  # only the floor of the shell is there
    kinds: dict[int, KindTable]


def pack(worlds: Sequence[World], device: torch.device | str) -> SceneTables:
    """Copy the geometry of worlds to a device."""

    def tensor(array: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.as_tensor(np.ascontiguousarray(array), dtype=dtype, device=device)

    kinds = {}
    for kind in HITS:
        chosen = [np.flatnonzero(w.primitives.kind == kind) for w in worlds]
        count = max(len(c) for c in chosen)
        if count == 0:
            continue
        faces = max(_plane_rows(kind, w.primitives.planes[c]) for w, c in zip(worlds, chosen, strict=True))
        center, half = np.zeros((len(worlds), count, 3)), np.ones((len(worlds), count, 3))
        rotation = np.broadcast_to(np.eye(3), (len(worlds), count, 3, 3)).copy()
        planes, valid = np.zeros((len(worlds), count, faces, 4)), np.zeros((len(worlds), count), bool)
        surface, shades = np.zeros((len(worlds), count), np.int64), np.zeros((len(worlds), count), bool)
        for index, (world, rows) in enumerate(zip(worlds, chosen, strict=True)):
            solids, n = world.primitives, len(rows)
            center[index, :n], half[index, :n] = solids.center[rows], solids.half[rows]
            rotation[index, :n], valid[index, :n] = solids.rotation[rows], True
            planes[index, :n] = pad_planes(kind, solids.planes[rows], faces)
            surface[index, :n], shades[index, :n] = SHELL_FACES + rows, ~_around_lights(world)[rows]
        kinds[kind] = KindTable(
            tensor(center), tensor(rotation), tensor(half), tensor(planes), tensor(valid, torch.bool),
            tensor(surface, torch.int32), tensor(shades, torch.bool),
        )  # fmt: skip
    low, high = (tensor(np.stack([getattr(w, name) for w in worlds])) for name in ("room_low", "room_high"))
    open_air = torch.tensor([w.sky is not None for w in worlds], device=device)
    return SceneTables(low, high, open_air, kinds)


def _around_lights(world: World) -> Bool[np.ndarray, "n"]:
    """Solids that let light pass: what shines itself, and what a light is inside of (a lampshade)."""
    solids = world.primitives
    shines = world.material_table[:, material_slices()["emission"]][solids.material, 0] > 0
    away = world.light_position[:, None] - solids.center
    local = np.abs(np.einsum("nij,lni->lnj", solids.rotation, away))
    inside = (local <= solids.half).all(-1).any(0) & (solids.kind != HEIGHT_FIELD)
    return shines | inside


def _plane_rows(kind: int, planes: np.ndarray) -> int:
    """Rows of the plane table that the solids of one kind need; the rest is padding."""
    used = (planes != (planes[:, -1:] if kind == POLYTOPE else 0.0)).any((0, 2))
    rows = max(1, len(used) - int(used[::-1].argmax()) + (kind == POLYTOPE)) if used.any() else 1
    return -(-rows // 4) * 4 if kind == POLYTOPE else rows  # few different numbers: each is compiled by itself


def cast(
    tables: SceneTables, packets: Packets, step: Visit | None = None
) -> tuple[Float[Tensor, "packet ray"], Int[Tensor, "packet ray"]]:
    """Nearest hit of every ray: (distance in units of its direction, surface id); infinity and SKY in the open air.

    ``step`` takes the place of :func:`visit`: a compiled twin of it.
    """
    distance, surface = _shell(tables, packets)
    frusta = Frusta.around(packets)
    start = torch.full((1, 1), NEAR, device=distance.device)
    for kind, table in tables.kinds.items():
        pairs = frusta.until(distance).meet(table.bounds())
        for portion in _rounds(pairs, lambda p: p.nearest <= frusta.reach(distance)[p.row]):
            _run(step or visit, kind, table, packets, portion, start, distance, surface)
    return distance, surface


def occluded(
    tables: SceneTables, packets: Packets, start: Float[Tensor, "packet ray"], live: Bool[Tensor, "packet"],
    step: Visit | None = None,
) -> Bool[Tensor, "packet ray"]:  # fmt: skip
    """Whether a solid lies between the points of the packets and a light.

    Args:
        tables: the solids.
        packets: with ``points``.
        start: what lies closer to a point than this does not count, in units of the direction.
        live: packets that are of interest; the others are reported free.
        step: see :func:`cast`.
    """
    distance = torch.ones_like(start)
    surface = torch.full(distance.shape, -1, dtype=torch.int32, device=distance.device)
    frusta = Frusta.around(packets).until(distance)
    for kind, table in tables.kinds.items():
        pairs = frusta.meet(table.bounds(shading=True))
        pairs = pairs.take(live[pairs.row])
        for portion in _rounds(pairs, lambda p: (distance.amax(1) == 1.0)[p.row]):
            _run(step or visit, kind, table, packets, portion, start, distance, surface)
    return surface >= 0


def _shell(tables: SceneTables, packets: Packets) -> tuple[Tensor, Tensor]:
    """Exit point of the room's box, seen from inside."""
    per_scene = len(packets.origin) // packets.scenes
    low = tables.room_low.repeat_interleave(per_scene, 0) - packets.origin
    high = tables.room_high.repeat_interleave(per_scene, 0) - packets.origin
    distance = torch.full_like(packets.direction[0], torch.inf)
    surface = torch.full_like(distance, -1, dtype=torch.int32)
    for axis, d in enumerate(packets.direction):
        t = torch.where(d > 0, high[:, axis, None], low[:, axis, None]) / d
        closer = (t < distance) & (d != 0)
        surface = torch.where(closer, (d > 0).to(torch.int32) + 2 * axis, surface)
        distance = torch.where(closer, t, distance)
    if bool(tables.open_air.any()):
        sky = tables.open_air.repeat_interleave(per_scene)[:, None] & (surface != FLOOR)
        distance, surface = distance.masked_fill(sky, torch.inf), surface.masked_fill(sky, SKY)
    return distance, surface


def _rounds(pairs: Pairs, matters: Callable[[Pairs], Tensor]) -> Iterator[Pairs]:
    """Portions of pairs, near solids first, in which no packet occurs twice; what has ceased to matter is left out."""
    if len(pairs.row) == 0:
        return
    pairs = pairs.take(torch.argsort(pairs.nearest))
    pairs = pairs.take(torch.argsort(pairs.row, stable=True))
    place = torch.arange(len(pairs.row), device=pairs.row.device)
    fresh = torch.cat([place[:1] == 0, pairs.row[1:] != pairs.row[:-1]])
    rank = place - torch.where(fresh, place, 0).cummax(0).values
    most = _CPU_PAIRS if pairs.row.device.type == "cpu" else len(rank)
    for low, high in itertools.pairwise(_PHASES):
        chosen = (rank >= low) & (rank < high)
        if low > 0:
            chosen &= matters(pairs)
        ranks = rank[chosen]
        portion = pairs.take(chosen).take(torch.argsort(ranks, stable=True))
        sizes = torch.bincount(ranks).tolist()
        for size, end in zip(sizes, itertools.accumulate(sizes), strict=True):
            for start in range(end - size, end, most):
                yield portion.take(slice(start, min(start + most, end)))
        if high > len(rank):
            return


def _run(
    step: Visit, kind: int, table: KindTable, packets: Packets, pairs: Pairs, start: Tensor, distance: Tensor,
    surface: Tensor,
) -> None:  # fmt: skip
    """Running minimum over one solid per packet, in place."""
    row, solid = pairs.row, pairs.solid
    inverse = table.rotation.flatten(0, 1)[solid].transpose(1, 2)
    center = table.center.flatten(0, 1)[solid]
    half, planes = table.half.flatten(0, 1)[solid], table.planes.flatten(0, 1)[solid]
    ids = table.surface.flatten()[solid][:, None]
    distance[row], surface[row] = step(
        kind, row, inverse, center, half, planes, ids, packets.origin, packets.points, packets.direction, start,
        distance, surface,
    )  # fmt: skip


def visit(
    kind: int, row: Int[Tensor, "pair"], inverse: Float[Tensor, "pair 3 3"], center: Float[Tensor, "pair 3"],
    half: Float[Tensor, "pair 3"], planes: Float[Tensor, "pair f 4"], ids: Int[Tensor, "pair 1"],
    origin: Float[Tensor, "packet 3"], points: Rows | None, direction: Rows, start: Float[Tensor, "*packet ray"],
    distance: Float[Tensor, "packet ray"], surface: Int[Tensor, "packet ray"],
) -> tuple[Float[Tensor, "pair ray"], Int[Tensor, "pair ray"]]:  # fmt: skip
    """One solid for each of some packets: their new nearest distances and surface ids.

    Elementwise but for the gathering of rows, so that it compiles into one loop.
    """
    towards = turned(inverse, (direction[0][row], direction[1][row], direction[2][row]))
    if points is None:
        offset = (inverse * (origin[row] - center)[:, None, :]).sum(-1)
        begins = (offset[:, 0:1], offset[:, 1:2], offset[:, 2:3])
    else:
        begins = turned(inverse, (points[0][row] - center[:, 0:1], points[1][row] - center[:, 1:2],
                                  points[2][row] - center[:, 2:3]))  # fmt: skip
        start = start[row]
    t, before, was = HITS[kind](begins, towards, half, planes, start), distance[row], surface[row]
    closer = (t < before) | ((t == before) & (ids < was))  # of faces that coincide the same one everywhere
    return torch.where(closer, t, before), torch.where(closer, ids, was)


def surface_frames(tables: SceneTables, worlds: Sequence[World], device: torch.device | str) -> tuple[Tensor, ...]:
    """Tables over surface ids, for reading hits: (kind, center, rotation, half, planes), each [scene id ...]."""
    count = SHELL_FACES + max(len(w.primitives.kind) for w in worlds)
    scenes = len(worlds)
    faces = max((t.planes.shape[2] for t in tables.kinds.values()), default=1)
    kind = torch.full((scenes, count), -1, dtype=torch.int64, device=device)
    center = torch.zeros(scenes, count, 3, device=device)
    center[:, :SHELL_FACES] = 0.5 * (tables.room_low + tables.room_high)[:, None]
    rotation = torch.eye(3, device=device).expand(scenes, count, 3, 3).clone()
    half = torch.ones(scenes, count, 3, device=device)
    half[:, :SHELL_FACES] = 0.5 * (tables.room_high - tables.room_low)[:, None]
    planes = torch.zeros(scenes, count, faces, 4, device=device)
    for name, table in tables.kinds.items():
        scene, n = table.valid.nonzero(as_tuple=True)
        ids = table.surface[scene, n].long()
        kind[scene, ids], center[scene, ids] = name, table.center[scene, n]
        rotation[scene, ids], half[scene, ids] = table.rotation[scene, n], table.half[scene, n]
        planes[scene, ids, : table.planes.shape[2]] = table.planes[scene, n]
    return kind, center, rotation, half, planes
