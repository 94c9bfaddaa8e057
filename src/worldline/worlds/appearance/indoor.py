"""Patterns of rooms and of what is in them: walls, wood, tiles, cloth, carpets.

Every pattern maps (point in the solid's own frame, face coordinates, both in repetitions; material; footprint) to a
linear RGB albedo. See :mod:`worldline.worlds.appearance.textures` for the material's entries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from worldline.worlds.appearance.noise import (
    above,
    blend,
    cell_random,
    cell_randoms,
    fbm,
    fbm2,
    fine,
    line,
    noise,
    noise2,
)

Material = dict[str, Tensor]
_TURN = 6.2831853


def plain(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """One colour, slowly drifting."""
    return blend(m["a"], m["b"], 0.5 * (0.5 + (noise(p * 0.3) - 0.5) * fine(foot * 0.3)))


def cloudy(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Clouds of two colours with islands of the third."""
    value = fbm(p, 4, foot)
    color = blend(m["a"], m["b"], (value * 1.5 + 0.5).clamp(0, 1))
    islands = (value * 3.0 - 0.8).clamp(0, 1)
    return blend(color, m["c"], torch.lerp(torch.full_like(islands, 0.06), islands, fine(0.7 * foot)))


def wood(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Growth rings around a slightly wavy axis, plus fibres along it."""
    stretched = p * torch.tensor([0.12, 1.0, 1.0], device=p.device)
    warp = noise(stretched * 0.8)
    radius = (stretched[:, 1] ** 2 + (stretched[:, 2] + 0.7) ** 2).sqrt() * 2.2 + 2.2 * warp
    ring = (radius - torch.floor(radius)) ** 1.6
    ring = torch.lerp(ring, torch.full_like(ring, 0.385), (foot * 3.0 - 0.3).clamp(0, 1))
    fibre = fbm(p * torch.tensor([0.7, 9.0, 9.0], device=p.device), 2, foot * 9)
    return blend(m["a"], m["b"], (ring + 0.5 * fibre).clamp(0, 1))


def stripes(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Broad bands with a thin line between every other pair."""
    x = uv[:, 0]
    color = blend(m["a"], m["b"], line(x, 0.12 + 0.25 * m["contrast"], foot))
    return blend(color, m["c"], line(x * 0.5 + 0.25, 0.03, foot * 0.5))


def grid(u: Tensor, v: Tensor, m: Material, foot: Tensor, grout: float) -> tuple[Tensor, Tensor]:
    """Cells of width 1 and height 1 / ratio: (cell, coverage of the joints)."""
    v = v * m["ratio"]
    cell = torch.stack([torch.floor(u), torch.floor(v)], -1)
    joint = torch.maximum(line(u, grout, foot), line(v, grout * m["ratio"], foot * m["ratio"]))
    return cell, joint


def tiles(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Glazed tiles with joints; every second material is chequered."""
    cell, joint = grid(uv[:, 0], uv[:, 1], m, foot, 0.025)
    mixed = (m["offset"][:, 0].frac() > 0.5).float()
    checked = torch.lerp(((cell[:, 0] + cell[:, 1]) % 2) * mixed, 0.5 * mixed, (foot - 0.5).clamp(0, 1))
    shade = 1.0 + m["contrast"] * fine(foot * 0.7) * (cell_random(cell, 3) - 0.5)
    color = blend(m["a"], m["b"], checked) * (shade + 0.25 * m["contrast"] * fbm(p * 4.0, 2, foot * 4))[:, None]
    return blend(color, m["c"], joint)


def bricks(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Running bond, each brick of its own shade and grain."""
    v = uv[:, 1] * m["ratio"] * 2.5
    cell, joint = grid(uv[:, 0] + 0.5 * (torch.floor(v) % 2), v / m["ratio"], m, foot, 0.035)
    color = blend(m["a"], m["b"], 0.5 + (cell_random(cell, 5) - 0.5) * fine(foot * 0.7))
    color = color * (1.0 + 0.5 * fbm(p * 6.0, 3, foot * 6))[:, None]
    return blend(color, m["c"], joint)


def speckle(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Terrazzo: two layers of chips of random size and colour."""
    color = m["a"]
    for layer, size in enumerate((1.0, 2.3)):
        q = uv * size
        left, low = torch.floor(q[:, 0]), torch.floor(q[:, 1])
        own = cell_randoms(left, low, layer)
        x = q[:, 0] - left - 0.3 - 0.4 * own[:, 0]
        y = q[:, 1] - low - 0.3 - 0.4 * own[:, 1]
        away = (x * x + y * y).sqrt() + 0.25 * x.abs()
        soft = fine(0.7 * foot * size)
        chip = above(0.12 + 0.2 * own[:, 2], away, foot * size)
        chip = torch.lerp(torch.full_like(chip, 0.12), chip, soft)
        pick = torch.lerp(torch.full_like(chip, 0.5), own[:, 3], soft)
        tint = blend(m["b"], m["c"], torch.lerp(torch.full_like(chip, 0.5), (own[:, 3] > 0.5).float(), soft))
        color = blend(color, tint * (0.6 + 0.8 * pick)[:, None], chip)
    return color


def weave(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Crossing threads, with a broad band now and then."""
    fade = (1.4 - 2.0 * foot).clamp(0, 1)
    thread = torch.sin(uv[:, 0] * _TURN) * torch.sin(uv[:, 1] * _TURN) * fade
    broad = fbm(p * 0.12, 2, foot * 0.12)
    color = blend(m["a"], m["b"], (0.5 + 0.45 * thread + broad).clamp(0, 1))
    band = torch.maximum(line(uv[:, 0] * 0.07, 0.09, foot * 0.07), line(uv[:, 1] * 0.07, 0.09, foot * 0.07))
    return blend(color, m["c"], band * (m["offset"][:, 1].frac() > 0.4))


def camouflage(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Large patches with sharp borders."""
    value, soft = fbm(p, 3, foot), foot.clamp_min(2e-3)
    keep = fine(0.6 * foot)
    light = torch.lerp(torch.full_like(value, 0.6), above(value, 0.08, soft), keep)
    dark = torch.lerp(torch.full_like(value, 0.34), above(-0.12 - value, 0.0, soft), keep)
    return blend(blend(m["a"], m["b"], light), m["c"], dark)


def plaster(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Rough-cast with faint stains that run down."""
    u, v = uv.unbind(-1)
    grain = fbm(p * 24.0, 2, foot * 24.0)
    stain = noise2(u * 3.0, v * 0.35) * noise2(u * 0.6 + 5.3, v * 0.6)
    stain = torch.lerp(torch.full_like(stain, 0.25), stain, fine(3.0 * foot))
    return blend(m["a"], m["b"], (0.9 * m["contrast"] * stain * 1.6).clamp(0, 1)) * (1.0 + 0.35 * grain)[:, None]


def plaid(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Tartan: the same sequence of bands along and across, mixed by a twill."""

    def sett(x: Tensor) -> Tensor:
        return line(x, 0.22, foot) + 0.5 * line(x + 0.5, 0.06, foot)

    def thin(x: Tensor) -> Tensor:
        return line(x + 0.36, 0.018, foot) + line(x - 0.36, 0.018, foot)

    u, v = uv.unbind(-1)
    twill = 0.5 + 0.35 * torch.sin((u + v) * 24 * _TURN) * fine(32 * foot)
    color = blend(m["a"], m["b"], torch.lerp(sett(u), sett(v), twill).clamp(0, 1))
    return blend(color, m["c"], torch.lerp(thin(u), thin(v), twill).clamp(0, 1))


def chevron(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Zigzag bands: knitwear and herringbone cloth when small, wallpaper when large."""
    u, v = uv.unbind(-1)
    fold = (u - torch.round(u)).abs()
    band = v * 2.0 + 1.6 * fold
    color = blend(m["a"], m["b"], line(band, 0.25, 2.6 * foot))
    edge = line(u, 0.04, foot) + line(u + 0.5, 0.04, foot)
    return blend(color, m["c"], 0.5 * edge)


def herringbone(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Parquet or paving of blocks four times as long as wide, along and across in turn."""
    u, v = (uv * 4.0).unbind(-1)  # one unit per width of a block
    x, y = torch.floor(u), torch.floor(v)
    step = torch.remainder(x - y, 8.0)
    flat = step < 4.0
    along = torch.where(flat, step + u - x, 7.0 - step + v - y)
    across = torch.where(flat, v - y, u - x)
    start_x, start_y = torch.where(flat, x - step, x), torch.where(flat, y, y - 7.0 + step)
    own = cell_randoms(start_x, start_y, 3)
    width = 4.0 * foot
    border = torch.minimum(torch.minimum(along, 4.0 - along), torch.minimum(across, 1.0 - across))
    joint = torch.lerp(torch.full_like(along, 0.09), above(0.035, border, width), fine(0.7 * width))
    grain = fbm2(along * 0.8 + 40 * own[:, 1], across * 5.0, 2, width * 5.0)
    shade = 0.5 + (own[:, 0] - 0.5) * fine(0.7 * width)
    return blend(blend(m["a"], m["b"], shade) * (1.0 + 0.4 * grain)[:, None], m["c"], joint)


def ornament(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Mirrored curls of wallpapers and carpets: level sets of noise, folded four ways in every cell."""
    u, v = uv[:, 0], uv[:, 1] * m["ratio"]
    x, y = (u - torch.round(u)).abs(), (v - torch.round(v)).abs()
    kind = m["offset"][:, 2] * 3.0
    value = noise2(x * 7.0 + kind, y * 7.0 + kind) + 0.45 * noise2(x * 13.0, y * 13.0 + kind) - x * y
    soft, keep = 9.0 * foot, fine(6.0 * foot)
    figure = torch.lerp(torch.full_like(value, 0.5), above(value, 0.68, soft), keep)
    rim = torch.lerp(torch.full_like(value, 0.12), above(0.05 - (value - 0.68).abs(), 0.0, soft), keep)
    return blend(blend(m["a"], m["b"], figure), m["c"], rim)


def checker(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Squares of two colours."""
    u, v = uv[:, 0] * 0.5, uv[:, 1] * 0.5
    a, b = line(u, 0.25, 0.5 * foot), line(v, 0.25, 0.5 * foot)
    return blend(m["a"], m["b"], a + b - 2.0 * a * b)


def dots(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Round dots in staggered rows, in two colours."""
    u, v = uv.unbind(-1)
    row = torch.round(v)
    u = u + 0.5 * (row % 2)
    column = torch.round(u)
    radius = 0.18 + 0.2 * m["contrast"]
    away = ((u - column) ** 2 + (v - row) ** 2).sqrt()
    keep = fine(0.7 * foot)
    dot = torch.lerp(3.1416 * radius**2, above(radius, away, foot), keep)
    other = torch.lerp(torch.full_like(u, 0.5), (cell_randoms(column, row)[:, 0] > 0.5).float(), keep)
    return blend(m["a"], blend(m["b"], m["c"], other), dot)


def outdoor_view(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """What a bright window shows: sky above a blurred row of trees."""
    height = uv[:, 1] + 0.5 * fbm2(uv[:, 0], uv[:, 1] * 0.5, 3, foot)
    sky = blend(m["a"], m["b"], (0.3 + 0.4 * height).clamp(0, 1))
    return blend(sky, m["c"], ((0.1 - height) * 4.0).clamp(0, 1))
