"""Where rays enter solids, in closed form or by safe steps: elementwise over [pair ray], one function per kind.

A pair is a solid and a packet of rays that may meet it. All functions take rays in the solid's frame and return the
entry distance in units of the direction, infinite where there is none or where it is not beyond ``start``: rays that
begin inside a solid do not see it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from worldline.worlds.world import BOX, CONE, CYLINDER, ELLIPSOID, HEIGHT_FIELD, POLYTOPE

Rows = tuple[Tensor, Tensor, Tensor]  # x, y, z components, each [pair ray]; origins may be [pair 1]
Hit = Callable[[Rows, Rows, Tensor, Tensor, Tensor], Tensor]

_SWEEPS, _STEPS = 64, 8  # a height field is marched in sweeps; after each the rays that have arrived drop out
_FLAT = 1e-6  # of a height field's extent: close enough for Newton's method to finish


def turned(rotation: Float[Tensor, "pair 3 3"], v: Rows) -> Rows:
    """Components of vectors in the frames of solids; ``rotation`` is local_from_world."""

    def component(i: int) -> Tensor:
        row = [rotation[:, i, k : k + 1] for k in range(3)]
        return torch.addcmul(torch.addcmul(row[0] * v[0], row[1], v[1]), row[2], v[2])

    return component(0), component(1), component(2)


def _slab(o: Tensor, d: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    inverse = d.reciprocal()
    first, second = (-half - o) * inverse, (half - o) * inverse
    return torch.minimum(first, second), torch.maximum(first, second)


def _bound(o: Rows, d: Rows, half: Float[Tensor, "pair 3"]) -> tuple[Tensor, Tensor]:
    """Entry into and exit from a box."""
    (near_x, far_x), (near_y, far_y), (near_z, far_z) = (_slab(o[i], d[i], half[:, i : i + 1]) for i in range(3))
    near = torch.maximum(torch.maximum(near_x, near_y), near_z)
    return near, torch.minimum(torch.minimum(far_x, far_y), far_z)


def _entry(near: Tensor, far: Tensor, start: Tensor) -> Tensor:
    return torch.where((near <= far) & (near > start), near, torch.inf)


def hit_box(o: Rows, d: Rows, half: Tensor, planes: Tensor, start: Tensor) -> Tensor:
    """Slab test."""
    return _entry(*_bound(o, d, half), start)


def hit_ellipsoid(o: Rows, d: Rows, half: Tensor, planes: Tensor, start: Tensor) -> Tensor:
    """Quadratic in the frame where the ellipsoid is the unit sphere."""
    scale = half.reciprocal()
    ox, oy, oz = (o[i] * scale[:, i : i + 1] for i in range(3))
    x, y, z = (d[i] * scale[:, i : i + 1] for i in range(3))
    inverse = (x * x + y * y + z * z).reciprocal()
    # closest approach instead of b*b - a*c: no cancellation for far, small solids
    closest = -(ox * x + oy * y + oz * z) * inverse
    px, py, pz = ox + closest * x, oy + closest * y, oz + closest * z
    room = 1.0 - (px * px + py * py + pz * pz)
    t = closest - (room.clamp_min(0.0) * inverse).sqrt()
    outside = (ox * ox + oy * oy + oz * oz) > 1.0
    return torch.where((room > 0) & (t > start) & outside, t, torch.inf)


def hit_cylinder(o: Rows, d: Rows, half: Tensor, planes: Tensor, start: Tensor) -> Tensor:
    """Infinite cylinder about local z, cut by the slab of its caps."""
    inverse = (d[0] * d[0] + d[1] * d[1]).clamp_min(1e-20).reciprocal()
    closest = -(o[0] * d[0] + o[1] * d[1]) * inverse
    px, py = o[0] + closest * d[0], o[1] + closest * d[1]
    radius = half[:, 0:1]
    room = radius * radius - (px * px + py * py)
    reach = (room.clamp_min(0.0) * inverse).sqrt()
    low, high = _slab(o[2], d[2], half[:, 2:3])
    t = _entry(torch.maximum(closest - reach, low), torch.minimum(closest + reach, high), start)
    return torch.where(room > 0, t, torch.inf)


def hit_cone(o: Rows, d: Rows, half: Tensor, planes: Tensor, start: Tensor) -> Tensor:
    """One nappe of an infinite cone about local z, cut by the slab of its ends."""
    bottom, top, height = planes[:, 0, 0:1], planes[:, 0, 1:2], half[:, 2:3]
    widen = 0.5 * (top - bottom) / height
    # from the point of the ray nearest to the middle: no cancellation for far, small solids
    x, y, z = d
    middle = -(o[0] * x + o[1] * y + o[2] * z) / (x * x + y * y + z * z)
    px, py, pz = o[0] + middle * x, o[1] + middle * y, o[2] + middle * z
    radius, growth = 0.5 * (bottom + top) + widen * pz, widen * z
    a = x * x + y * y - growth * growth
    b = px * x + py * y - radius * growth
    c = px * px + py * py - radius * radius
    room = b * b - a * c
    q = -(b + torch.copysign(room.clamp_min(0.0).sqrt(), b))
    first, second = q / a, c / torch.where(q == 0, 1e-20, q)
    low, high = torch.minimum(first, second), torch.maximum(first, second)
    # a steep ray is inside beyond one of its two hits: the one with the nappe of positive radius
    steep, opens = a < 0, growth > 0
    near = torch.where(steep, torch.where(opens, high, -torch.inf), low)
    far = torch.where(steep, torch.where(opens, torch.inf, low), high)
    below, above = _slab(o[2], z, height)
    t = _entry(torch.maximum(near + middle, below), torch.minimum(far + middle, above), start)
    return torch.where(steep | (room > 0), t, torch.inf)


def hit_polytope(o: Rows, d: Rows, half: Tensor, planes: Tensor, start: Tensor) -> Tensor:
    """Half-space clipping: last entry against first exit."""
    near = torch.full_like(d[0], -torch.inf)
    far = torch.full_like(near, torch.inf)
    for k in range(planes.shape[1]):
        nx, ny, nz, offset = (planes[:, k, i : i + 1] for i in range(4))
        slope = torch.addcmul(torch.addcmul(nx * d[0], ny, d[1]), nz, d[2])
        t = (offset - (nx * o[0] + ny * o[1] + nz * o[2])) / slope
        near = torch.where(slope < 0, torch.maximum(near, t), near)
        far = torch.where(slope > 0, torch.minimum(far, t), far)
    return _entry(near, far, start)


def hit_height_field(o: Rows, d: Rows, half: Tensor, planes: Tensor, start: Tensor) -> Tensor:
    """Steps that cannot pass through the surface, until Newton's method is safe.

    Along a ray the height above ground is g(t) = z(t) - sum A sin(phi + omega t). Its slope is at least
    dz - sum |A omega|, and changes by at most sum |A| omega^2 per unit: both bound how soon g can reach zero. The
    second bound makes the steps those of Newton's method near the surface, hence few.
    """
    near, far = _bound(o, d, half)
    meets = (near < far) & (far > start)
    found = torch.full_like(near, torch.inf)
    pair, ray = meets.nonzero(as_tuple=True)
    if len(pair) == 0:
        return found
    waves = planes[pair]  # ray wave 4
    ox, oy, oz = (c.expand_as(near)[meets] for c in o)
    dx, dy, dz = (c[meets] for c in d)
    phase = waves[..., 0] * ox[:, None] + waves[..., 1] * oy[:, None] + waves[..., 2]
    omega = waves[..., 0] * dx[:, None] + waves[..., 1] * dy[:, None]
    ground = _Ground(oz, dz, phase.T, omega.T, waves[..., 3].T, half[pair].sum(-1) * _FLAT)
    entry, exit_, first = near[meets], far[meets], start.expand_as(near)[meets]
    begin = torch.maximum(entry, first)
    buried = ground.above(begin)[0] <= 0  # through a side or the bottom, or the ray begins in the ground
    walled = torch.where(entry > first, entry, torch.inf)
    found[pair, ray] = torch.where(buried, walled, _march(ground, begin, exit_, buried))
    return found


@dataclass(frozen=True)
class _Ground:
    """Rays above height fields. One column per ray, one row per wave."""

    oz: Float[Tensor, "n"]
    dz: Float[Tensor, "n"]
    phase: Float[Tensor, "w n"]
    omega: Float[Tensor, "w n"]
    amplitude: Float[Tensor, "w n"]
    near: Float[Tensor, "n"]  # heights that count as arrived, metres

    def above(self, t: Float[Tensor, "n"]) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """Height above ground and its slope along the ray."""
        angle = torch.addcmul(self.phase, self.omega, t)
        height = torch.addcmul(self.oz, self.dz, t) - (self.amplitude * angle.sin()).sum(0)
        return height, self.dz - (self.amplitude * self.omega * angle.cos()).sum(0)

    def take(self, rows: Tensor) -> _Ground:
        """Some of the rays."""
        return _Ground(*(getattr(self, f.name)[..., rows] for f in fields(self)))


def _march(ground: _Ground, begin: Tensor, end: Tensor, skip: Tensor) -> Float[Tensor, "n"]:
    """First arrival of rays that begin above the ground; infinite for those that reach their end first."""
    result = torch.full_like(begin, torch.inf)
    rows = (~skip).nonzero().squeeze(1)
    ground, t, end = ground.take(rows), begin[rows], end[rows]
    for _ in range(_SWEEPS):
        if len(rows) == 0:
            break
        bend = (ground.amplitude * ground.omega**2).abs().sum(0)
        fall = ((ground.amplitude * ground.omega).abs().sum(0) - ground.dz).clamp_min(1e-20)
        for _ in range(_STEPS):
            height, slope = ground.above(t)
            quick = (
                2.0 * height / ((slope * slope + 2.0 * bend * height.clamp_min(0.0)).sqrt() - slope).clamp_min(1e-20)
            )
            step = torch.maximum(height / fall, quick)
            t = torch.minimum(t + torch.where(height > ground.near, step, 0.0), end)
        height = ground.above(t)[0]
        arrived = height <= ground.near
        result[rows[arrived]] = _polish(ground.take(arrived), t[arrived], end[arrived])
        on = (~arrived & (t < end)).nonzero().squeeze(1)
        ground, t, end, rows = ground.take(on), t[on], end[on], rows[on]
    return result


def _polish(ground: _Ground, t: Tensor, end: Tensor) -> Tensor:
    for _ in range(2):
        height, slope = ground.above(t)
        t = torch.where(slope < -1e-6, t - height / slope.clamp_max(-1e-6), t)
    return torch.minimum(t, end)


HITS: dict[int, Hit] = {
    BOX: hit_box, ELLIPSOID: hit_ellipsoid, CYLINDER: hit_cylinder, POLYTOPE: hit_polytope, CONE: hit_cone,
    HEIGHT_FIELD: hit_height_field,
}  # fmt: skip
