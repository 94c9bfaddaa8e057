"""What a hit lies on: unit normals, and the coordinates in which its pattern is drawn."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from worldline.worlds.world import BOX, CONE, CYLINDER, ELLIPSOID, HEIGHT_FIELD, POLYTOPE, SHELL_FACES


def hit_geometry(
    frames: tuple[Tensor, ...], index: Int[Tensor, "n"], surface: Int[Tensor, "n"],
    point: Float[Tensor, "n 3"], direction: Float[Tensor, "n 3"],
) -> tuple[Float[Tensor, "n 3"], Float[Tensor, "n 3"], Float[Tensor, "n 2"]]:  # fmt: skip
    """Unit normals that face the ray's origin, local points and face coordinates.

    Args:
        frames: tables over (scene, surface id), flattened to rows by ``index``.
        index: row of the hit solid.
        surface: surface id; below SHELL_FACES it is a face of the room.
        point: world frame.
        direction: ray, any length.
    """
    kind, center, rotation, half, planes = frames
    turn = rotation[index]  # world_from_local
    local = torch.einsum("nji,nj->ni", turn, point - center[index])
    towards = torch.einsum("nji,nj->ni", turn, direction)
    extent = half[index]
    normal = torch.zeros_like(local)
    solid = kind[index]
    shell = (surface < SHELL_FACES).nonzero().squeeze(1)
    face = surface[shell].long()
    normal[shell, face // 2] = 1.0 - 2.0 * (face % 2).float()
    for name, normal_of in _NORMALS.items():
        rows = (solid == name).nonzero().squeeze(1)
        if len(rows):
            shape = planes[index[rows]] if name in _SHAPED else planes[:0]
            normal[rows] = normal_of(local[rows], towards[rows], extent[rows], shape)
    normal = torch.nn.functional.normalize(normal, dim=-1)
    # grazing round-off can turn a curved normal away by an ulp: it faces the camera by definition
    normal = torch.where(((normal * towards).sum(-1) > 0)[:, None], -normal, normal)
    uv = _face_coordinates(local, normal, solid, extent)
    return torch.einsum("nij,nj->ni", turn, normal), local, uv


def _box(local: Tensor, towards: Tensor, extent: Tensor, planes: Tensor) -> Tensor:
    """The face whose slab the point lies on, among those that the ray can enter."""
    entering = local * towards < 0
    excess = local.abs() - extent
    axis = torch.where(entering, excess, excess - 1e3).argmax(1, keepdim=True)
    return torch.zeros_like(local).scatter_(1, axis, -torch.sign(towards.gather(1, axis)))


def _ellipsoid(local: Tensor, towards: Tensor, extent: Tensor, planes: Tensor) -> Tensor:
    return local / extent**2


def _ends(local: Tensor, towards: Tensor, extent: Tensor, depth: Tensor, side: Tensor) -> Tensor:
    """The flat ends of a round solid where they are closer than its side, which is ``depth`` deep below the point."""
    capped = (extent[:, 2] - local[:, 2].abs() < depth) & (local[:, 2] * towards[:, 2] < 0)
    cap = torch.zeros_like(side)
    cap[:, 2] = -torch.sign(towards[:, 2])
    return torch.where(capped[:, None], cap, side)


def _cylinder(local: Tensor, towards: Tensor, extent: Tensor, planes: Tensor) -> Tensor:
    side = local * torch.tensor([1.0, 1.0, 0.0], device=local.device)
    return _ends(local, towards, extent, extent[:, 0] - local[:, :2].norm(dim=1), side)


def _cone(local: Tensor, towards: Tensor, extent: Tensor, planes: Tensor) -> Tensor:
    bottom, top = planes[:, 0, 0], planes[:, 0, 1]
    widen = 0.5 * (top - bottom) / extent[:, 2]
    away = local[:, :2].norm(dim=1)
    depth = (0.5 * (bottom + top) + widen * local[:, 2] - away) * (1.0 + widen**2).rsqrt()
    side = torch.cat([local[:, :2] / away.clamp_min(1e-12)[:, None], -widen[:, None]], 1)
    return _ends(local, towards, extent, depth, side)


def _polytope(local: Tensor, towards: Tensor, extent: Tensor, planes: Tensor) -> Tensor:
    gap = (planes[..., :3] * local[:, None]).sum(-1) - planes[..., 3]
    slope = (planes[..., :3] * towards[:, None]).sum(-1)
    best = torch.where(slope < 0, gap, -torch.inf).argmax(1)
    return planes[torch.arange(len(best), device=best.device), best, :3]


def _height_field(local: Tensor, towards: Tensor, extent: Tensor, planes: Tensor) -> Tensor:
    """The waves, or the sides and the bottom of the block that carries them: whatever is nearest to the point."""
    kx, ky, phase, amplitude = planes.unbind(-1)
    angle = kx * local[:, 0:1] + ky * local[:, 1:2] + phase
    swing = amplitude * angle.cos()
    top = torch.stack([-(kx * swing).sum(1), -(ky * swing).sum(1), torch.ones_like(local[:, 0])], -1)
    away = ((amplitude * angle.sin()).sum(1) - local[:, 2]).abs() / top.norm(dim=1)
    inside = torch.stack(
        [extent[:, 0] - local[:, 0].abs(), extent[:, 1] - local[:, 1].abs(), extent[:, 2] + local[:, 2]], -1
    )
    outward = torch.cat([local[:, :2], torch.full_like(local[:, 2:], -1.0)], 1)
    inside = torch.where(outward * towards < 0, inside.clamp_min(0.0), torch.inf)
    least, axis = inside.min(1, keepdim=True)
    wall = torch.zeros_like(local).scatter_(1, axis, -torch.sign(towards.gather(1, axis)))
    return torch.where(least < away[:, None], wall, top)


_SHAPED = (POLYTOPE, CONE, HEIGHT_FIELD)  # kinds that read `planes`
_Normal = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
_NORMALS: dict[int, _Normal] = {
    BOX: _box, ELLIPSOID: _ellipsoid, CYLINDER: _cylinder, POLYTOPE: _polytope, CONE: _cone,
    HEIGHT_FIELD: _height_field,
}  # fmt: skip


def _face_coordinates(local: Tensor, normal: Tensor, solid: Tensor, extent: Tensor) -> Float[Tensor, "n 2"]:
    """The two local coordinates along the face: z is 'up' on upright faces; round sides unroll, hills lie flat."""
    axis = normal.abs().argmax(1)
    hill = (solid == HEIGHT_FIELD) & (normal[:, 2] != 0)
    axis = torch.where(hill, 2, axis)
    x, y, z = local.unbind(-1)
    u = torch.where(axis == 0, y, x)
    v = torch.where(axis == 2, y, z)
    side = ((solid == CYLINDER) | (solid == CONE)) & (normal[:, :2].abs().amax(1) > 1e-6)
    return torch.stack([torch.where(side, torch.atan2(y, x) * extent[:, 0], u), torch.where(side, z, v)], -1)
