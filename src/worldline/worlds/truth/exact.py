"""Hits in double precision: where a ray meets a solid that it is known to hit, and the normal there.

The renderer finds *which* surface a ray meets in float32. A hundred metres from the world's origin such a hit is good
to 1e-4 m, and worse where the ray grazes; here the one surface is met again in float64.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Int, Int64

from worldline.worlds.world import (
    BOX,
    CONE,
    CYLINDER,
    ELLIPSOID,
    HEIGHT_FIELD,
    POLYTOPE,
    SHELL_FACES,
    Primitives,
    World,
)

Entry = tuple[np.ndarray, np.ndarray]  # distance [n] in units of the direction, outward normal [n 3], not yet unit
_STEPS = 4  # of Newton's method: float32 is a good start
_AGREES = 1e-2  # relative difference to the float32 distance beyond which that one is kept: the ray grazes an outline


def meet(
    world: World, frame: Int[np.ndarray, "n"], surface: Int64[np.ndarray, "n"], origin: Float64[np.ndarray, "n 3"],
    direction: Float64[np.ndarray, "n 3"], distance: Float64[np.ndarray, "n"],
) -> tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n 3"]]:  # fmt: skip
    """Distances to the surfaces that rays are known to hit, and unit normals on the side of the origins.

    Args:
        frame: instant of every ray.
        surface: surface id of every ray's first hit: 0..5 the shell's faces, then 6 + row of ``World.primitives``.
        distance: the approximate distances, in units of the direction.
    """
    found, normal = distance.copy(), np.zeros((len(surface), 3))
    shell = np.flatnonzero(surface < SHELL_FACES)
    axis = surface[shell] // 2
    wall = np.where(surface[shell] % 2 == 1, world.room_high[axis], world.room_low[axis])
    found[shell] = (wall - origin[shell, axis]) / direction[shell, axis]
    normal[shell, axis] = 1.0 - 2.0 * (surface[shell] % 2)
    solids = world.primitives
    for kind, entry in _ENTRIES.items():
        rays = np.flatnonzero(surface >= SHELL_FACES)
        rays = rays[solids.kind[surface[rays] - SHELL_FACES] == kind]
        if len(rays) == 0:
            continue
        row = surface[rays] - SHELL_FACES
        body = world.motion.world_from_body[frame[rays], solids.body[row]]
        turn = body[:, :3, :3] @ solids.rotation[row]  # world_from_local
        center = np.einsum("nij,nj->ni", body[:, :3, :3], solids.center[row]) + body[:, :3, 3]
        start = np.einsum("nji,nj->ni", turn, origin[rays] - center)
        along = np.einsum("nji,nj->ni", turn, direction[rays])
        with np.errstate(divide="ignore", invalid="ignore"):
            exact, outward = entry(solids, row, start, along, distance[rays])
        found[rays] = exact
        normal[rays] = np.einsum("nij,nj->ni", turn, outward)
    agrees = np.abs(found - distance) <= _AGREES * distance  # False for NaN
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    normal /= np.where(length > 0, length, 1.0)
    away = (normal * direction).sum(1) > 0
    return np.where(agrees, found, distance), np.where(away[:, None], -normal, normal)


def _box(solids: Primitives, row: np.ndarray, start: np.ndarray, along: np.ndarray, _: np.ndarray) -> Entry:
    """The last of the three slabs to be entered."""
    near = (-np.copysign(solids.half[row], along) - start) / along
    near[along == 0] = -np.inf
    axis = near.argmax(1)
    rays = np.arange(len(row))
    normal = np.zeros_like(start)
    normal[rays, axis] = -np.sign(along[rays, axis])
    return near[rays, axis], normal


def _ellipsoid(solids: Primitives, row: np.ndarray, start: np.ndarray, along: np.ndarray, _: np.ndarray) -> Entry:
    half = solids.half[row]
    near = _sphere_entry(start / half, along / half)
    return near, (start + near[:, None] * along) / half**2


def _sphere_entry(start: np.ndarray, along: np.ndarray) -> np.ndarray:
    """First of the two places where a line meets the unit sphere, or its closest approach."""
    square = (along * along).sum(1)
    closest = -(start * along).sum(1) / square
    room = 1.0 - ((start + closest[:, None] * along) ** 2).sum(1)
    return closest - np.sqrt(np.maximum(room, 0.0) / square)


def _cylinder(solids: Primitives, row: np.ndarray, start: np.ndarray, along: np.ndarray, _: np.ndarray) -> Entry:
    radius, half = solids.half[row, 0], solids.half[row, 2]
    side = _sphere_entry(start[:, :2] / radius[:, None], along[:, :2] / radius[:, None])
    side = np.where((along[:, :2] == 0).all(1), -np.inf, side)
    cap = (-np.copysign(half, along[:, 2]) - start[:, 2]) / along[:, 2]
    cap = np.where(along[:, 2] == 0, -np.inf, cap)
    near = np.maximum(side, cap)
    flat = np.zeros_like(start)
    flat[:, 2] = -np.sign(along[:, 2])
    round_ = (start + near[:, None] * along) * np.array([1.0, 1.0, 0.0])
    return near, np.where((cap >= side)[:, None], flat, round_)


def _polytope(solids: Primitives, row: np.ndarray, start: np.ndarray, along: np.ndarray, _: np.ndarray) -> Entry:
    """The last of the half-spaces to be entered."""
    planes = solids.planes[row]
    slope = np.einsum("nfk,nk->nf", planes[..., :3], along)
    near = (planes[..., 3] - np.einsum("nfk,nk->nf", planes[..., :3], start)) / slope
    near = np.where(slope < 0, near, -np.inf)
    face = near.argmax(1)
    rays = np.arange(len(row))
    return near[rays, face], planes[rays, face, :3]


def _cone(solids: Primitives, row: np.ndarray, start: np.ndarray, along: np.ndarray, near: np.ndarray) -> Entry:
    """The end or the round side that the approximate hit lies on."""
    bottom, top, half = solids.planes[row, 0, 0], solids.planes[row, 0, 1], solids.half[row, 2]
    widen = (0.5 * (top - bottom) / half)[:, None]
    middle = 0.5 * (bottom + top)

    def side(point: np.ndarray) -> Entry:
        radius = middle + widen[:, 0] * point[:, 2]
        slope = 2.0 * np.concatenate([point[:, :2], -widen * radius[:, None]], 1)
        return (point[:, :2] ** 2).sum(1) - radius**2, slope

    round_, outward = _follow(side, start, along, near)
    cap = (-np.copysign(half, along[:, 2]) - start[:, 2]) / along[:, 2]
    on_cap = np.isfinite(cap) & (np.abs(cap - near) < np.abs(round_ - near))
    flat = np.zeros_like(start)
    flat[:, 2] = -np.sign(along[:, 2])
    return np.where(on_cap, cap, round_), np.where(on_cap[:, None], flat, outward)


def _height_field(solids: Primitives, row: np.ndarray, start: np.ndarray, along: np.ndarray, near: np.ndarray) -> Entry:
    """The waves, or the flat face of the block that the approximate hit lies on."""
    waves = solids.planes[row]

    def top(point: np.ndarray) -> Entry:
        phase = (waves[..., :2] * point[:, None, :2]).sum(-1) + waves[..., 2]
        slope = (waves[..., 3:] * np.cos(phase)[..., None] * waves[..., :2]).sum(1)
        height = (waves[..., 3] * np.sin(phase)).sum(1)
        return point[:, 2] - height, np.concatenate([-slope, np.ones((len(point), 1))], 1)

    hill, outward = _follow(top, start, along, near)
    block, face = _box(solids, row, start, along, near)
    on_face = np.isfinite(block) & (np.abs(block - near) < np.abs(hill - near))
    return np.where(on_face, block, hill), np.where(on_face[:, None], face, outward)


def _follow(implicit: Callable[[np.ndarray], Entry], start: np.ndarray, along: np.ndarray, near: np.ndarray) -> Entry:
    """Newton's method along the rays, from the approximate hits; the gradient of the surface is its normal."""
    distance = near.copy()
    for _ in range(_STEPS):
        value, slope = implicit(start + distance[:, None] * along)
        distance -= value / (slope * along).sum(1)
    return distance, implicit(start + distance[:, None] * along)[1]


_ENTRIES: dict[int, Callable[..., Entry]] = {
    BOX: _box,
    ELLIPSOID: _ellipsoid,
    CYLINDER: _cylinder,
    POLYTOPE: _polytope,
    CONE: _cone,
    HEIGHT_FIELD: _height_field,
}
