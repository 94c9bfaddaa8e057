"""Patterns of streets, buildings and nature, and of stone and metal anywhere."""

from __future__ import annotations

import torch
from torch import Tensor

from worldline.worlds.appearance.indoor import Material
from worldline.worlds.appearance.noise import (
    above,
    between,
    blend,
    cell_randoms,
    fbm,
    fbm2,
    fine,
    line,
    noise,
    noise2,
    voronoi,
)

_TURN = 6.2831853


def _settle(value: Tensor, mean: float, keep: Tensor) -> Tensor:
    """A value that goes to its mean where it is not resolved."""
    return mean + (value - mean) * keep


def asphalt(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Grit in a dark binder, patches of another age, cracks with branches."""
    u, v = uv.unbind(-1)
    grit = fbm2(u * 40.0, v * 40.0, 2, foot * 40.0)
    broad = fbm2(u * 0.6, v * 0.6, 2, foot * 0.6)
    color = blend(m["a"], m["b"], (0.5 + broad).clamp(0, 1)) * (1.0 + 0.9 * grit)[:, None]
    # rectangular patches in one of six cells of 2.5 repetitions
    left, low = torch.floor(u * 0.4), torch.floor(v * 0.4)
    own = cell_randoms(left, low, 1)
    x, y = (u * 0.4 - left - 0.5).abs(), (v * 0.4 - low - 0.5).abs()
    inside = torch.minimum(0.15 + 0.3 * own[:, 1] - x, 0.15 + 0.3 * own[:, 2] - y)
    patch = above(inside, 0.0, 0.4 * foot) * (own[:, 0] > 0.84)
    patch = _settle(patch, 0.058, fine(0.4 * foot))
    color = color * (1.0 - 0.45 * patch)[:, None]
    # cracks: where two noises are equal, in the worn parts only
    bend = noise2(u * 3.0 + 9.1, v * 3.0)
    gap = (noise2(u * 0.8 + 0.25 * bend, v * 0.8 + 0.25 * bend) - noise2(u * 0.8 + 20.5, v * 0.8 + 4.7)).abs()
    crack = above(0.012, gap, 0.8 * foot) * above(broad, 0.08 - 0.3 * m["contrast"], torch.full_like(u, 0.2))
    return blend(color, m["c"], 0.9 * _settle(crack, 0.02, fine(2.0 * foot)))


def lane(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Road paint, chipped where wheels go: the ground shows through."""
    u, v = uv.unbind(-1)
    wear = fbm2(u * 6.0, v * 6.0, 3, foot * 6.0) + 0.35 * fbm2(u, v, 1, foot)
    chipped = _settle(above(wear, 0.45 - 0.4 * m["contrast"], 0.1 + 6.0 * foot), 0.1, fine(2.0 * foot))
    return blend(m["a"], m["c"], 0.85 * chipped) * (1.0 + 0.2 * fbm2(u * 40.0, v * 40.0, 1, foot * 40.0))[:, None]


def gravel(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Pebbles: rounded, each of its own colour, dark between them."""
    keep = fine(0.8 * foot)
    away, border, own = voronoi(uv[:, 0], uv[:, 1])
    color = blend(m["a"], m["b"], _settle(own[:, 2], 0.5, keep))
    color = blend(color, m["c"], _settle((own[:, 3] > 0.7).float(), 0.3, keep))
    dome = 1.15 - 0.9 * away * away + 0.5 * (own[:, 4] - 0.5)
    dome = dome * (0.3 + 0.7 * above(border, 0.06, foot + 0.06))
    return color * _settle(dome, 0.8, keep)[:, None]


def mosaic(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Irregular flat pieces with joints: crazy paving when large, mosaic when small."""
    keep = fine(0.8 * foot)
    _, border, own = voronoi(uv[:, 0], uv[:, 1])
    color = blend(m["a"], m["b"], _settle(own[:, 2], 0.5, keep)) * (1.0 + 0.3 * fbm(p * 5.0, 2, foot * 5.0))[:, None]
    return blend(color, m["c"], _settle(above(0.035, border, foot), 0.16, keep))


def grass(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Blades in two directions over patches of fresh and dry."""
    u, v = uv.unbind(-1)
    patch = fbm2(u * 0.7, v * 0.7, 3, foot * 0.7)
    bend = 2.0 * patch
    one = noise2(u * 34.0 + bend, v * 9.0) - 0.5
    two = noise2(u * 10.0, v * 30.0 + bend) - 0.5
    blades = (one + two + 0.7 * torch.maximum(one, two)) * fine(22.0 * foot) + 0.5 * fbm2(u * 5, v * 5, 2, foot * 5)
    color = blend(m["a"], m["b"], (0.5 - 0.9 * blades).clamp(0, 1))
    color = blend(color, m["c"], (1.6 * patch).clamp(0, 0.8))
    return color * (1.0 + 0.9 * blades).clamp_min(0.15)[:, None]


def earth(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Soil with crumbs, stones here and there, and tracks of another shade."""
    u, v = uv.unbind(-1)
    broad = fbm2(u, v, 4, foot)
    crumbs = fbm2(u * 22.0, v * 22.0, 2, foot * 22.0)
    left, low = torch.floor(u * 5.0), torch.floor(v * 5.0)
    own = cell_randoms(left, low, 2)
    away = ((u * 5.0 - left - 0.3 - 0.4 * own[:, 0]) ** 2 + (v * 5.0 - low - 0.3 - 0.4 * own[:, 1]) ** 2).sqrt()
    stone = above(0.08 + 0.2 * own[:, 2], away, 5.0 * foot) * (own[:, 3] > 0.7)
    color = blend(m["a"], m["b"], (0.5 + 1.2 * broad).clamp(0, 1)) * (1.0 + 0.7 * crumbs)[:, None]
    return blend(color, m["c"] * (0.7 + 0.6 * own[:, 4:5]), _settle(stone, 0.03, fine(4.0 * foot)))


def foliage(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Leaves in layers: bright ones in front, darker ones in the gaps between them, black depth behind."""
    clumps = fbm(p * 0.5, 2, foot * 0.5)
    shade = torch.full_like(foot, 0.24)
    color = blend(m["b"], m["a"], torch.full_like(foot, 0.45))
    for layer, size in enumerate((3.1, 2.3)):
        q = p * size + 3.7 * layer + 0.35 * clumps[:, None]
        value, tint = noise(q), noise(q * 2.7 + 11.3)
        keep = fine(size * foot)
        # the creases of the noise are the outlines of leaves, its heights their distance
        leaf = _settle(above(value + 0.5 * (tint - 0.5), 0.5, 0.12 + size * foot), 0.5, keep)
        bright = (0.35 + 0.5 * layer) * (0.6 + 0.9 * _settle(tint, 0.5, keep))
        shade = torch.lerp(shade, bright, leaf)
        color = torch.lerp(color, blend(m["a"], m["c"], _settle(value, 0.5, keep).clamp(0, 1)), 0.6 * leaf[:, None])
    return color * (shade * (1.0 + 0.9 * clumps)).clamp_min(0.1)[:, None]


def bark(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Ridges along the trunk (local z) with dark furrows, and lichen."""
    stretched = p * torch.tensor([1.0, 1.0, 0.22], device=p.device)
    bend = noise(p * 0.7)
    ridge = 1.0 - 2.0 * (noise(stretched * 4.0 + 1.5 * bend[:, None]) - 0.5).abs()
    ridge = 0.6 * ridge + 0.4 * (1.0 - 2.0 * (noise(stretched * 9.0) - 0.5).abs())
    furrow = _settle(((ridge - 0.72) * 5.0).clamp(0, 1), 0.3, fine(4.0 * foot))
    color = blend(m["a"], m["b"], furrow) * (1.0 + 0.5 * fbm(p * 14.0, 1, foot * 14.0))[:, None]
    return blend(color, m["c"], 0.5 * _settle(((bend - 0.66) * 8.0).clamp(0, 1), 0.05, fine(foot)))


def panels(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Precast or metal panels: thin joints, bolts in the corners, each panel of its own shade, streaks of dirt."""
    u, v = uv[:, 0], uv[:, 1] * m["ratio"]
    x, y = u - torch.floor(u), v - torch.floor(v)
    own = cell_randoms(torch.floor(u), torch.floor(v), 6)
    keep = fine(0.7 * foot)
    color = blend(m["a"], m["b"], _settle(own[:, 0] ** 2, 0.33, keep))
    joint = torch.maximum(line(u, 0.01, foot), line(v, 0.01 * m["ratio"], foot * m["ratio"]))
    corner = torch.minimum(x, 1.0 - x) - 0.07, torch.minimum(y, 1.0 - y) / m["ratio"] - 0.07
    bolt = above(0.016, (corner[0] ** 2 + corner[1] ** 2).sqrt(), foot) * (m["offset"][:, 2].frac() > 0.4)
    dirt = noise2(u * 14.0, v * 0.7) * y * noise2(u * 1.3, v * 1.3 + 4.0)
    color = color * (1.0 - 0.9 * m["contrast"] * _settle(dirt, 0.12, fine(10.0 * foot)))[:, None]
    return blend(color, 0.25 * m["c"], torch.maximum(joint, _settle(bolt, 0.003, fine(8.0 * foot))))


def masonry(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Ashlar: rows of equal height, blocks of unequal length, rough faces."""
    v = uv[:, 1] * 2.0 * m["ratio"]
    row = torch.floor(v)
    per_row = cell_randoms(row, torch.zeros_like(row), 8)
    u = uv[:, 0] * (0.7 + 0.7 * per_row[:, 0]) + 9.0 * per_row[:, 1]
    u = u + 0.12 * torch.sin(u * _TURN)  # uneven lengths within the row
    own = cell_randoms(torch.floor(u), row, 9)
    joint = torch.maximum(line(u, 0.02, 1.3 * foot), line(v, 0.035, 2.0 * foot * m["ratio"]))
    keep = fine(1.2 * foot)
    color = blend(m["a"], m["b"], _settle(own[:, 0], 0.5, keep))
    color = color * (1.0 + 0.6 * fbm(p * 4.0 + 3.0 * own[:, 1:2], 3, foot * 4.0))[:, None]
    return blend(color, m["c"], joint)


def roof_tiles(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Overlapping rows of tiles with round ends, each row in the shadow of the one above it."""
    v = uv[:, 1] * 1.5
    row = torch.floor(v)
    u = uv[:, 0] * 2.0 + 0.5 * (row % 2)
    x = u - torch.floor(u) - 0.5
    y = v - row - 0.35 * (1.0 - (1.0 - (1.9 * x) ** 2).clamp_min(0.0).sqrt())  # the round end of the tile
    hidden = y < 0.0  # between two round ends the row below is seen
    own = cell_randoms(torch.where(hidden, torch.floor(u + 0.5), torch.floor(u)), torch.where(hidden, row - 1, row), 2)
    y = torch.where(hidden, y + 1.0, y)
    keep = fine(1.7 * foot)
    shadow = 1.0 - 0.65 * _settle((1.0 - (1.0 - y) * 4.0).clamp(0, 1), 0.12, keep)
    side = 1.0 - 0.55 * _settle(4.0 * x * x, 0.33, keep)
    color = blend(m["a"], m["b"], _settle(own[:, 0], 0.5, keep))
    color = blend(color, m["c"], 0.6 * _settle((own[:, 1] > 0.86).float(), 0.14, keep))
    return color * (shadow * side * (1.0 + 0.4 * fbm2(uv[:, 0] * 9, uv[:, 1] * 9, 2, foot * 9)))[:, None]


def windows(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """A far facade: rows of windows with frames in a wall; curtains, lights and reflections differ."""
    u, v = uv[:, 0], uv[:, 1] * m["ratio"]
    column, row = torch.floor(u), torch.floor(v)
    x, y = u - column - 0.5, v - row - 0.5
    own = cell_randoms(column, row, 5)
    high = m["ratio"] * foot
    half_x, half_y = 0.2 + 0.22 * m["offset"][:, 0].frac(), 0.2 + 0.2 * m["offset"][:, 1].frac()
    keep = fine(0.8 * foot)
    opening = between(x, -half_x, half_x, foot) * between(y, -half_y, half_y, high)
    pane = between(x, -half_x + 0.03, half_x - 0.03, foot) * between(y, -half_y + 0.03, half_y - 0.03, high)
    pane = pane * (1.0 - between(x, -0.012, 0.012, foot)) * (1.0 - between(y, 0.06, 0.085, high))
    sill = between(x, -half_x - 0.05, half_x + 0.05, foot) * between(y, -half_y - 0.06, -half_y, high)
    glass = (0.02 + 0.3 * own[:, 0] ** 3 + 0.12 * (x + y + 0.5)).clamp(0.01, 0.6)
    curtain = between(y, half_y - 2.0 * half_y * own[:, 1], half_y, high) * (own[:, 2] > 0.5)
    tint = torch.tensor([0.85, 0.95, 1.1], device=p.device) * glass[:, None]
    tint = blend(tint, 0.5 * m["c"] + 0.15, 0.8 * curtain)
    wall = m["a"] * (1.0 + 0.25 * fbm2(u * 8.0, v * 8.0, 3, foot * 8.0))[:, None]
    storey = line(v, 0.035, high)
    color = blend(blend(wall, m["b"], torch.maximum(sill, storey)), m["c"], opening)
    color = blend(color, tint, pane)
    # the share of every part, for far views: openings, what of them is glass, sills and storeys
    whole, glazed = 4.0 * half_x * half_y, (2.0 * half_x - 0.084) * (2.0 * half_y - 0.085)
    trim = 0.07 + 0.06 * (2.0 * half_x + 0.1)
    average = blend(m["a"], m["b"], trim / (1.0 - whole))
    average = blend(average, blend(m["c"], 0.1 * m["c"] + 0.154, glazed / whole), whole)
    return torch.lerp(average, color, keep[:, None])


def marble(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Veins in warped noise: thin dark ones and broad faint ones."""
    warp = fbm(p, 2, foot)
    q = p + 1.1 * warp[:, None] * torch.tensor([1.0, -0.7, 0.8], device=p.device)
    gap = (noise(q * 1.3) - 0.5).abs()
    vein = _settle(above(0.035, gap, 0.05 + foot), 0.12, fine(foot))
    color = blend(m["a"], m["b"], (0.5 + 1.1 * fbm(q * 0.9 + 5.0, 2, foot)).clamp(0, 1))
    return blend(color, m["c"], 0.85 * vein)


def layers(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Layered noise: bands of two colours along a warped direction, as in agate and sandstone."""
    warp = fbm(p * 0.9, 3, foot * 0.9)
    height = p[:, 2] * 1.4 + 0.35 * p[:, 0] + 1.8 * warp
    width = 4.0 * foot
    broad = 0.5 + 0.5 * torch.sin(height * _TURN) * fine(width)
    thin = torch.sin(height * 3.7 * _TURN) * fine(3.7 * width)
    color = blend(m["a"], m["b"], (broad + 0.2 * thin).clamp(0, 1))
    return blend(color, m["c"], 0.7 * _settle((0.6 * thin + warp * fine(foot)).clamp(0, 1), 0.2, fine(width)))


def granite(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Crystals of three colours in 3D."""
    value, other = noise(p * 9.0), noise(p * 13.0 + 4.4)
    keep, soft = fine(9.0 * foot), 12.0 * foot + 0.05
    color = blend(m["a"], m["b"], _settle(above(value, 0.56, soft), 0.4, keep))
    color = blend(color, m["c"], _settle(above(other, 0.66, soft), 0.2, keep))
    return color * (1.0 + 0.3 * fbm(p, 1, foot))[:, None]


def water(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Ripples: dark troughs, the sky on the slopes, glints on the crests."""
    u, v = uv.unbind(-1)
    swell = fbm2(u, v * 2.4, 2, foot * 2.4)
    ripple = fbm2(u * 4.0 + swell, v * 9.0 + 2.0 * swell, 2, foot * 9.0)
    height = 0.7 * swell + 0.6 * ripple
    color = blend(m["a"], m["b"], (0.4 + 1.3 * height).clamp(0, 1))
    return blend(color, m["c"], ((height - 0.42) * 6.0).clamp(0, 0.9))


def brushed(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Brushed metal: hair lines along u, broad bands of reflection, scratches."""
    u, v = uv.unbind(-1)
    hair = (noise2(u * 1.5, v * 90.0) - 0.5) * fine(90.0 * foot) + (noise2(u * 0.7, v * 25.0) - 0.5) * fine(25.0 * foot)
    band = noise2(u * 0.15, v * 1.1) - 0.5
    scratch = (noise2(u * 2.0 + 3.0 * v, v * 1.2) - 0.5).abs()
    scratch = above(0.006, scratch, 2.0 * foot) * fine(4.0 * foot)
    value = (0.5 + 0.5 * hair + 1.2 * band * fine(foot)).clamp(0, 1)
    return blend(blend(m["a"], m["b"], value), m["c"], 0.5 * scratch * m["contrast"])
