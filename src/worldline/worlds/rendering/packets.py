"""Packets of rays and the frusta around them: which solids a packet may meet.

The rays of a packet lie between an apex and a patch of a surface: an image tile seen from its camera, or the points
that the tile sees, looked at from a light.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldline.worlds.rendering.hits import Rows

_SLOPE = 3e-6  # margin of the frusta, as a share of the distance from the apex: the rounding of float32
_MARGIN = 1e-4  # metres
_SPARSE = 7  # every so many rays are enough to choose how a frustum is turned
_TURNS = 8  # angles that are tried


@dataclass(frozen=True)
class Packets:
    """Groups of rays, ordered by scene, equally many per scene.

    Without ``points`` all rays of a packet start at ``origin``. With them, rays start at the points and end at
    point + direction, which lies within ``spread`` of ``origin``: the way to a light of that radius.
    """

    origin: Float[Tensor, "packet 3"]
    direction: Rows
    scenes: int
    points: Rows | None = None
    spread: Float[Tensor, "packet"] | None = None


@dataclass(frozen=True)
class Bounds:
    """Oriented boxes around solids, and the balls around those. All solids of a kind, flattened over scenes."""

    center: Float[Tensor, "scene n 3"]
    rotation: Float[Tensor, "scene n 3 3"]
    half: Float[Tensor, "scene n 3"]
    radius: Float[Tensor, "scene n"]  # negative infinity for padding


@dataclass(frozen=True)
class Pairs:
    """Packets and solids that may meet."""

    row: Int[Tensor, "pair"]  # packet
    solid: Int[Tensor, "pair"]  # scene * n + solid
    nearest: Float[Tensor, "pair"]  # no hit comes before this, along the packet's axis, metres from the apex

    def take(self, chosen: Tensor | slice) -> Pairs:
        """Some of them."""
        return Pairs(self.row[chosen], self.solid[chosen], self.nearest[chosen])


@dataclass(frozen=True)
class Frusta:
    """Five planes around each packet: four sides and the far end, x inside where normal . x <= limit."""

    normal: Float[Tensor, "packet 5 3"]  # unit, outwards
    limit: Float[Tensor, "packet 5"]
    forward: Float[Tensor, "packet ray"]  # part of the directions from the apex along the packet's axis
    start: Float[Tensor, "packet"]  # of the apex along the axis
    wide: Bool[Tensor, "packet"]  # nearly a hemisphere: everything may be met
    scenes: int

    @classmethod
    def around(cls, packets: Packets) -> Frusta:
        """Frusta without far ends."""
        apex = packets.origin
        if packets.points is None:
            dx, dy, dz = packets.direction
        else:
            dx, dy, dz = (packets.points[i] - apex[:, i : i + 1] for i in range(3))
        norm = torch.rsqrt(dx * dx + dy * dy + dz * dz)
        axis = torch.stack([(dx * norm).mean(1), (dy * norm).mean(1), (dz * norm).mean(1)], -1)
        axis = torch.nn.functional.normalize(axis, dim=-1)
        helper = torch.zeros_like(axis)
        helper.scatter_(1, axis.abs().argmin(1, keepdim=True), 1.0)
        right = torch.nn.functional.normalize(torch.linalg.cross(axis, helper), dim=-1)
        up = torch.linalg.cross(right, axis)

        def along(v: Tensor) -> Tensor:
            return v[:, 0:1] * dx + v[:, 1:2] * dy + v[:, 2:3] * dz

        forward = along(axis)
        wide = (forward * norm).amin(1) < 0.05
        safe = forward.clamp_min(1e-9)
        inverse = safe.reciprocal()
        x, y = along(right) * inverse, along(up) * inverse
        if packets.points is not None:  # image tiles are square anyway
            cosine, sine = _narrowest(x[:, ::_SPARSE], y[:, ::_SPARSE])
            right, up = cosine * right + sine * up, cosine * up - sine * right
            x, y = cosine * x + sine * y, cosine * y - sine * x
        offset, ends = torch.zeros_like(safe[:, :1]), (x, y)
        if packets.spread is not None:
            # sides that touch the ball around the apex: lateral <= offset + slope * forward, where offset must be at
            # least spread * sqrt(1 + slope^2), and |slope| is at most ``steep`` + offset / closest
            steep = torch.maximum(x.abs().amax(1, keepdim=True), y.abs().amax(1, keepdim=True))
            closest, spread = safe.amin(1, keepdim=True), packets.spread[:, None]
            offset = spread * (1.0 + (steep + 1.0) ** 2).sqrt()
            wide = wide | (offset > closest)[:, 0]
            offset = spread * (1.0 + (steep + offset / closest) ** 2).sqrt()
            ends = (x - offset * inverse, y - offset * inverse)
            x, y = x + offset * inverse, y + offset * inverse
        slopes = [
            ends[0].amax(1, keepdim=True) + _SLOPE, -x.amin(1, keepdim=True) + _SLOPE,
            ends[1].amax(1, keepdim=True) + _SLOPE, -y.amin(1, keepdim=True) + _SLOPE,
        ]  # fmt: skip
        sides = [side - slope * axis for side, slope in zip((right, -right, up, -up), slopes, strict=True)]
        normal = torch.stack([*sides, axis], dim=1)
        length = normal.norm(dim=-1, keepdim=True)
        normal = normal / length
        slack = _MARGIN + 4e-7 * apex.norm(dim=1, keepdim=True)
        limit = torch.einsum("pki,pi->pk", normal, apex) + slack + offset / length[..., 0]
        limit[:, 4] = torch.inf
        limit[wide] = torch.inf
        return cls(normal, limit, forward, torch.einsum("pi,pi->p", axis, apex), wide, packets.scenes)

    def until(self, distance: Float[Tensor, "packet ray"]) -> Frusta:
        """With far ends at the given distances, in units of the directions from the apex."""
        limit = self.limit.clone()
        limit[:, 4] = torch.where(self.wide, torch.inf, self.start + self.reach(distance) + _MARGIN)
        return replace(self, limit=limit)

    def reach(self, distance: Float[Tensor, "packet ray"]) -> Float[Tensor, "packet"]:
        """How far a packet goes along its axis."""
        return (self.forward * distance).amax(1) * (1.0 + 1e-6)

    def meet(self, bounds: Bounds) -> Pairs:
        """All solids whose oriented bounds meet the frusta: none that a ray hits is left out.

        The balls around the bounds are tested first, all against all in five products of matrices; the boxes only of
        those that pass.
        """
        shape = (self.scenes, len(self.normal) // self.scenes)
        center = bounds.center.transpose(1, 2)
        beyond = torch.full((), -torch.inf, device=center.device)
        for k in range(5):
            outside = self.normal[:, k].view(*shape, 3) @ center - self.limit[:, k].view(*shape, 1)
            beyond = torch.maximum(beyond, outside)
        scene, local, solid = (beyond <= bounds.radius[:, None]).nonzero(as_tuple=True)
        row, solid = scene * shape[1] + local, scene * bounds.radius.shape[1] + solid
        normal, rotation = self.normal[row], bounds.rotation.flatten(0, 1)[solid]
        extent = (torch.bmm(normal, rotation).abs() * bounds.half.flatten(0, 1)[solid][:, None]).sum(-1)
        place = torch.bmm(normal, bounds.center.flatten(0, 1)[solid][..., None])[..., 0]
        pairs = Pairs(row, solid, place[:, 4] - extent[:, 4] - self.start[row] - _MARGIN)
        return pairs.take((place - extent <= self.limit[row]).all(1))


def _narrowest(x: Float[Tensor, "packet ray"], y: Float[Tensor, "packet ray"]) -> tuple[Tensor, Tensor]:
    """Cosine and sine [packet 1] of the turn that makes the rectangle around points of a plane smallest.

    A tile of ground, looked at from the sun, is long and narrow, and lies at any angle.
    """
    angle = torch.arange(_TURNS, device=x.device) * (0.5 * torch.pi / _TURNS)
    cosine, sine = angle.cos()[:, None, None], angle.sin()[:, None, None]
    along, across = cosine * x + sine * y, cosine * y - sine * x
    area = (along.amax(2) - along.amin(2) + _SLOPE) * (across.amax(2) - across.amin(2) + _SLOPE)
    best = area.argmin(0)
    return angle.cos()[best][:, None], angle.sin()[best][:, None]
