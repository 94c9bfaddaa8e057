"""What keeps the lights from reaching the hits: hard shadows of points, soft ones of balls.

A pixel sends one ray to each light. For a light with a radius, the pixels of a 4 x 4 block aim at sixteen different
points of its disc; the mean over a window of that size, taken among pixels of the same face, is then the share of the
disc that is seen. So a soft shadow costs what a hard one does.
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from worldline.worlds.rendering.cast import SceneTables, Visit, occluded
from worldline.worlds.rendering.hits import Rows
from worldline.worlds.rendering.packets import Packets

PATTERN = 4  # side of the block of pixels that share out the points of a light's disc
_REACH = PATTERN // 2  # of the window, whose outermost pixels count half: every point of the disc has the same weight
_OWN = 1e-3  # metres: what lies closer to a point than this is its own surface
_ROUNDING = 2e-5  # share of the viewing distance by which a point may be off, with a wide margin
_SAME_FACE = 0.9  # cosine between normals


def disc_points(device: torch.device | str) -> Float[Tensor, "16 2"]:
    """Evenly spread points of the unit disc (a sunflower), in an order that mixes near and far neighbours."""
    k = np.arange(PATTERN**2)
    k = (k * 7) % PATTERN**2
    radius, angle = np.sqrt((k + 0.5) / PATTERN**2), k * np.pi * (3.0 - np.sqrt(5.0))
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle)], -1)
    return torch.as_tensor(points, dtype=torch.float32, device=device)


def pattern_of(y: Int[Tensor, "*n"], x: Int[Tensor, "*n"]) -> Int[Tensor, "*n"]:
    """Which point of a light's disc the ray of a pixel aims at."""
    return (y % PATTERN) * PATTERN + x % PATTERN


def light_arrives(
    tables: SceneTables, points: Rows, normals: Float[Tensor, "packet ray 3"], depth: Float[Tensor, "packet ray"],
    light: Float[Tensor, "packet 3"], radius: Float[Tensor, "packet"], shines: Bool[Tensor, "packet"],
    aim: Int[Tensor, "packet ray"], step: Visit | None = None,
) -> Float[Tensor, "packet ray"]:  # fmt: skip
    """1 where the ray to a light is free or the surface faces away from it anyway, 0 where something is between.

    Args:
        tables: the solids.
        points: hits of the packets' rays, world frame.
        normals: there.
        depth: of the hits; 0 in the sky, where nothing is asked.
        light: position of the light of each packet's scene.
        radius: of that light, metres.
        shines: whether there is such a light.
        aim: see :func:`pattern_of`.
        step: see :func:`worldline.worlds.rendering.cast.cast`.
    """
    middle = torch.stack([p.mean(1) for p in points], -1)
    towards = torch.nn.functional.normalize(light - middle, dim=-1)
    helper = torch.zeros_like(towards).scatter_(1, towards.abs().argmin(1, keepdim=True), 1.0)
    right = torch.nn.functional.normalize(torch.linalg.cross(towards, helper), dim=-1) * radius[:, None]
    up = torch.linalg.cross(towards, right)
    u, v = disc_points(depth.device)[aim].unbind(-1)

    def way(i: int) -> Tensor:
        return torch.addcmul(
            torch.addcmul(light[:, i : i + 1] - points[i], right[:, i : i + 1], u), up[:, i : i + 1], v
        )

    x, y, z = way(0), way(1), way(2)
    facing = (normals[..., 0] * x + normals[..., 1] * y + normals[..., 2] * z > 0) & (depth > 0)
    live = facing.any(1) & shines
    # rays that do not matter copy one that does: they must not widen the packet's frustum
    first = facing.float().argmax(1, keepdim=True)

    def narrowed(values: Tensor) -> Tensor:
        return torch.where(facing, values, values.gather(1, first))

    starts = narrowed(points[0]), narrowed(points[1]), narrowed(points[2])
    ways = narrowed(x), narrowed(y), narrowed(z)
    length = (ways[0] * ways[0] + ways[1] * ways[1] + ways[2] * ways[2]).clamp_min(1e-12).sqrt()
    packets = Packets(light, ways, tables.open_air.shape[0], starts, radius)
    blocked = occluded(tables, packets, (_OWN + _ROUNDING * depth) / length, live, step)
    return 1.0 - (blocked & facing & live[:, None]).float()


def smooth(
    lit: Float[Tensor, "scene view height width light"],
    surface: Int[Tensor, "scene view height width"],
    normals: Float[Tensor, "scene view height width 3"],
    soft: Bool[Tensor, "scene light"],
) -> Float[Tensor, "scene view height width light"]:
    """Shares of soft lights that arrive: means over windows, among pixels of the same face."""
    if not bool(soft.any()):
        return lit
    result = lit.clone()
    height, width = surface.shape[2:]
    flat = lit.flatten(0, 1).permute(0, 3, 1, 2)  # image light height width
    window = 2 * _REACH + 1
    highest = torch.nn.functional.max_pool2d(flat, window, 1, _REACH)
    lowest = -torch.nn.functional.max_pool2d(-flat, window, 1, _REACH)
    mixed = (highest > lowest) & soft.repeat_interleave(lit.shape[1], 0)[:, :, None, None]
    for number in range(lit.shape[-1]):
        image, y, x = mixed[:, number].nonzero(as_tuple=True)
        own, facing = surface.flatten(0, 1)[image, y, x], normals.flatten(0, 1)[image, y, x]
        total, weight = torch.zeros(len(y), device=lit.device), torch.zeros(len(y), device=lit.device)
        for dy in range(-_REACH, _REACH + 1):
            for dx in range(-_REACH, _REACH + 1):
                row, column = (y + dy).clamp(0, height - 1), (x + dx).clamp(0, width - 1)
                same = surface.flatten(0, 1)[image, row, column] == own
                same &= (normals.flatten(0, 1)[image, row, column] * facing).sum(-1) > _SAME_FACE
                share = same * (0.5 ** ((abs(dy) == _REACH) + (abs(dx) == _REACH)))
                total += share * flat[image, number, row, column]
                weight += share
        mean = torch.where(weight > 0, total / weight, flat[image, number, y, x])
        result[..., number].flatten(0, 1)[image, y, x] = mean
    return result


def from_neighbours(
    lit: Float[Tensor, "image height width light"], surface: Int[Tensor, "image height width"],
    normals: Float[Tensor, "image height width 3"], image: Int[Tensor, "n"], y: Int[Tensor, "n"], x: Int[Tensor, "n"],
    own: Int[Tensor, "n"], facing: Float[Tensor, "n 3"], fallback: Float[Tensor, "n light"],
) -> Float[Tensor, "n light"]:  # fmt: skip
    """What arrives at points between pixels: the mean of the pixels around that show the same face."""
    height, width = surface.shape[1:]
    total, weight = torch.zeros_like(fallback), torch.zeros(len(y), 1, device=lit.device)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            row, column = (y + dy).clamp(0, height - 1), (x + dx).clamp(0, width - 1)
            same = surface[image, row, column] == own
            same &= (normals[image, row, column] * facing).sum(-1) > _SAME_FACE
            total += same[:, None] * lit[image, row, column]
            weight += same[:, None]
    return torch.where(weight > 0, total / weight.clamp_min(1.0), fallback)
