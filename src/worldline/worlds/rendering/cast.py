"""Batched analytic ray casting: packets of rays against convex solids, exact to float32.

Rays travel in packets that share an origin (an image tile seen from its camera, or the same tile's points seen from a
light). A packet's frustum is tested against the oriented bounds of all primitives at once; what survives is visited in
rounds: round k handles the k-th candidate of every packet with elementwise arithmetic and a running minimum. So the
cost follows the number of solids *near a ray*, and the same code is cache-friendly on a CPU and wide on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldline.worlds.rendering.hits import HITS, Hit, Rows, turned
from worldline.worlds.world import FLOOR, POLYTOPE, SHELL_FACES, SKY, World, pad_planes

NEAR = 1e-4  # hits closer than this (in units of the direction) are the origin's own surface
_CPU_PACKETS = 96  # packets per step on a CPU: the working set of a round stays in the cache


@dataclass(frozen=True)
class KindTable:
    """The primitives of one kind of all scenes, padded to the same number per scene."""

    center: Float[Tensor, "scene n 3"]
    rotation: Float[Tensor, "scene n 3 3"]  # world_from_local
    half: Float[Tensor, "scene n 3"]
    planes: Float[Tensor, "scene n f 4"]
    valid: Bool[Tensor, "scene n"]
    surface: Int[Tensor, "scene n"]  # surface id of the hit: SHELL_FACES + index in the world's primitive list


@dataclass(frozen=True)
class SceneTables:
    """Geometry of a batch of worlds on one device."""

    room_low: Float[Tensor, "scene 3"]
    room_high: Float[Tensor, "scene 3"]
    open_air: Bool[Tensor, "scene"]  # only the floor of the shell is there
    kinds: dict[int, KindTable]


@dataclass(frozen=True)
class Packets:
    """Groups of rays with a common origin, ordered by scene, equally many per scene."""

    origin: Float[Tensor, "packet 3"]
    direction: Rows
    scenes: int


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
        surface = np.zeros((len(worlds), count), np.int64)
        for index, (world, rows) in enumerate(zip(worlds, chosen, strict=True)):
            solids, n = world.primitives, len(rows)
            center[index, :n], half[index, :n] = solids.center[rows], solids.half[rows]
            rotation[index, :n], valid[index, :n] = solids.rotation[rows], True
            planes[index, :n] = pad_planes(kind, solids.planes[rows], faces)
            surface[index, :n] = SHELL_FACES + rows
        kinds[kind] = KindTable(
            tensor(center), tensor(rotation), tensor(half), tensor(planes), tensor(valid, torch.bool),
            tensor(surface, torch.int32),
        )  # fmt: skip
    low, high = (tensor(np.stack([getattr(w, name) for w in worlds])) for name in ("room_low", "room_high"))
    open_air = torch.tensor([w.sky is not None for w in worlds], device=device)
    return SceneTables(low, high, open_air, kinds)


def _plane_rows(kind: int, planes: np.ndarray) -> int:
    """Rows of the plane table that the solids of one kind need; the rest is padding."""
    used = (planes != (planes[:, -1:] if kind == POLYTOPE else 0.0)).any((0, 2))
    return max(1, len(used) - int(used[::-1].argmax()) + (kind == POLYTOPE)) if used.any() else 1


def cast(tables: SceneTables, packets: Packets) -> tuple[Float[Tensor, "packet ray"], Int[Tensor, "packet ray"]]:
    """Nearest hit of every ray: (distance in units of its direction, surface id); infinity and SKY in the open air."""
    distance, surface = _shell(tables, packets)
    for kind, table in tables.kinds.items():
        _run_rounds(HITS[kind], table, packets, distance, surface)
    return distance, surface


def occluded(tables: SceneTables, packets: Packets) -> Bool[Tensor, "packet ray"]:
    """Whether a solid lies between the origin (a light) and origin + direction (a surface point)."""
    distance = torch.ones_like(packets.direction[0])
    surface = torch.full(distance.shape, -1, dtype=torch.int32, device=distance.device)
    distance.mul_(1.0 - 2e-3)  # a point does not shade itself
    for kind, table in tables.kinds.items():
        _run_rounds(HITS[kind], table, packets, distance, surface)
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


def candidates(
    table: KindTable, packets: Packets, reach: Float[Tensor, "packet ray"]
) -> Bool[Tensor, "scene packet n"]:
    """Which oriented bounds meet which packet's frustum: never drops a solid that a ray hits before ``reach``."""
    scenes = packets.scenes
    planes, offsets = _frustum(packets, reach)
    per_scene = len(planes) // scenes
    planes = planes.view(scenes, per_scene * 5, 3)
    along = torch.einsum("spi,snij->spnj", planes, table.rotation).abs()
    radius = torch.einsum("spnj,snj->spn", along, table.half)
    origin = packets.origin.view(scenes, per_scene, 3)
    # signed distance of the solid's centre to each plane; planes 0..3 pass through the origin, 4 is the far end
    center = torch.einsum("spi,sni->spn", planes, table.center).view(scenes, per_scene, 5, -1)
    center = center - torch.einsum("spki,spi->spk", planes.view(scenes, per_scene, 5, 3), origin)[..., None]
    center = center - offsets.view(scenes, per_scene, 5, 1)
    meets = (center <= radius.view_as(center) + 1e-4).all(dim=2)
    return meets & table.valid[:, None]


def _frustum(packets: Packets, reach: Tensor) -> tuple[Tensor, Tensor]:
    """Five planes per packet (outward normals, offsets from the origin): four sides and the far end."""
    dx, dy, dz = packets.direction
    norm = torch.rsqrt(dx * dx + dy * dy + dz * dz)
    axis = torch.stack([(dx * norm).mean(1), (dy * norm).mean(1), (dz * norm).mean(1)], -1)
    axis = torch.nn.functional.normalize(axis, dim=-1)
    helper = torch.zeros_like(axis)
    helper.scatter_(1, axis.abs().argmin(1, keepdim=True), 1.0)
    right = torch.nn.functional.normalize(torch.linalg.cross(axis, helper), dim=-1)
    up = torch.linalg.cross(right, axis)

    def dot(v: Tensor) -> Tensor:
        return v[:, 0:1] * dx + v[:, 1:2] * dy + v[:, 2:3] * dz

    forward = dot(axis)
    wide = (forward * norm).amin(1) < 0.05  # nearly a hemisphere: keep everything
    safe = forward.clamp_min(1e-9)
    x, y = dot(right) / safe, dot(up) / safe
    margin = 1e-4
    low_x, high_x = x.amin(1, keepdim=True) - margin, x.amax(1, keepdim=True) + margin
    low_y, high_y = y.amin(1, keepdim=True) - margin, y.amax(1, keepdim=True) + margin
    planes = torch.stack(
        [right - high_x * axis, low_x * axis - right, up - high_y * axis, low_y * axis - up, axis], dim=1
    )
    offsets = torch.zeros(planes.shape[:2], dtype=planes.dtype, device=planes.device)
    offsets[:, 4] = (forward * reach).amax(1)
    offsets[wide] = torch.inf
    return planes, offsets


def _run_rounds(hit: Hit, table: KindTable, packets: Packets, distance: Tensor, surface: Tensor) -> None:
    """Running minimum over the candidates of each packet, in place."""
    meets = candidates(table, packets, distance)
    scene, local, solid = meets.nonzero(as_tuple=True)
    if len(scene) == 0:
        return
    row = scene * meets.shape[1] + local
    count = meets.sum(2).flatten()
    rank = torch.arange(len(row), device=row.device) - (count.cumsum(0) - count)[row]
    step = _CPU_PACKETS if distance.device.type == "cpu" else len(count)
    # order of visits: block of packets, then round, then packet
    block = row // step
    rounds = int(rank.max()) + 1
    key = block * rounds + rank
    order = torch.argsort(key, stable=True)
    row, flat = row[order], (scene * meets.shape[2] + solid)[order]
    sizes = torch.bincount(key, minlength=0).tolist()
    constants = _local_constants(table, packets, row, flat)
    near = torch.full((1, 1), NEAR, device=distance.device)
    start = 0
    for size in sizes:
        if size == 0:
            continue
        part = slice(start, start + size)
        start += size
        rows = row[part]
        turn, offset, half, planes = (c[part] for c in constants[:4])
        towards = turned(turn, (packets.direction[0][rows], packets.direction[1][rows], packets.direction[2][rows]))
        t = hit((offset[:, 0:1], offset[:, 1:2], offset[:, 2:3]), towards, half, planes, near)
        before = distance[rows]
        closer = t < before
        distance[rows] = torch.where(closer, t, before)
        surface[rows] = torch.where(closer, constants[-1][part], surface[rows])


def _local_constants(table: KindTable, packets: Packets, row: Tensor, flat: Tensor) -> tuple[Tensor, ...]:
    """Per (packet, solid): local_from_world rotation, local origin, half extents, planes, surface id."""
    rotation = table.rotation.flatten(0, 1)[flat].transpose(1, 2)
    offset = packets.origin[row] - table.center.flatten(0, 1)[flat]
    origin = (rotation * offset[:, None, :]).sum(-1)
    half = table.half.flatten(0, 1)[flat]
    planes = table.planes.flatten(0, 1)[flat]
    return rotation, origin, half, planes, table.surface.flatten()[flat][:, None]


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
