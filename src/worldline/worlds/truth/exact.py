"""Hits in double precision: where a ray meets a solid that it is known to hit, and the normal there.

The renderer finds *which* surface a ray meets in float32. A hundred metres from the world's origin such a hit is good
to 1e-4 m, and worse where the ray grazes; here the one surface is met again in float64.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float64, Int, Int64

from worldline.worlds.world import BOX, CYLINDER, ELLIPSOID, POLYTOPE, SHELL_FACES, Primitives, World

Entry = tuple[np.ndarray, np.ndarray]  # distance [n] in units of the direction, outward normal [n 3], not yet unit
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
            exact, outward = entry(solids, row, start, along)
        found[rays] = exact
        normal[rays] = np.einsum("nij,nj->ni", turn, outward)
    agrees = np.abs(found - distance) <= _AGREES * distance  # False for NaN
    length = np.linalg.norm(normal, axis=1, keepdims=True)
    normal /= np.where(length > 0, length, 1.0)
    away = (normal * direction).sum(1) > 0
    return np.where(agrees, found, distance), np.where(away[:, None], -normal, normal)


def _box(solids: Primitives, row: np.ndarray, start: np.ndarray, along: np.ndarray) -> Entry:
    """The last of the three slabs to be entered."""
    near = (-np.copysign(solids.half[row], along) - start) / along
    near[along == 0] = -np.inf
    axis = near.argmax(1)
    rays = np.arange(len(row))
    normal = np.zeros_like(start)
    normal[rays, axis] = -np.sign(along[rays, axis])
    return near[rays, axis], normal


def _ellipsoid(solids: Primitives, row: np.ndarray, start: np.ndarray, along: np.ndarray) -> Entry:
    half = solids.half[row]
    near = _sphere_entry(start / half, along / half)
    return near, (start + near[:, None] * along) / half**2


def _sphere_entry(start: np.ndarray, along: np.ndarray) -> np.ndarray:
    """First of the two places where a line meets the unit sphere, or its closest approach."""
    square = (along * along).sum(1)
    closest = -(start * along).sum(1) / square
    room = 1.0 - ((start + closest[:, None] * along) ** 2).sum(1)
    return closest - np.sqrt(np.maximum(room, 0.0) / square)


def _cylinder(solids: Primitives, row: np.ndarray, start: np.ndarray, along: np.ndarray) -> Entry:
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


def _polytope(solids: Primitives, row: np.ndarray, start: np.ndarray, along: np.ndarray) -> Entry:
    """The last of the half-spaces to be entered."""
    planes = solids.planes[row]
    slope = np.einsum("nfk,nk->nf", planes[..., :3], along)
    near = (planes[..., 3] - np.einsum("nfk,nk->nf", planes[..., :3], start)) / slope
    near = np.where(slope < 0, near, -np.inf)
    face = near.argmax(1)
    rays = np.arange(len(row))
    return near[rays, face], planes[rays, face, :3]


_ENTRIES: dict[int, Callable[..., Entry]] = {
    BOX: _box,
    ELLIPSOID: _ellipsoid,
    CYLINDER: _cylinder,
    POLYTOPE: _polytope,
}
