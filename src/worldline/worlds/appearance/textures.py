"""Solid and planar patterns, evaluated per pixel in batches of one pattern each.

Every pattern maps (point in the solid's own frame, face coordinates, material row, footprint of the pixel) to a linear
RGB albedo. Detail finer than the pixel's footprint fades out, so that two views of one surface agree in colour
and do not alias.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from worldline.worlds.world import material_slices

PLAIN, FBM, WOOD, STRIPES, TILES, BRICKS, SPECKLE, POSTER, WEAVE, CAMOUFLAGE, BOOKS, OUTDOOR = range(12)
_LATTICE = 64
_COLUMNS = material_slices()


@cache
def _random_table(device: str) -> Float32[Tensor, "c"]:
    """White noise on a periodic 64^3 lattice; the same numbers on every device."""
    values = np.random.default_rng(20240617).random(_LATTICE**3, dtype=np.float32)
    return torch.as_tensor(values, device=device)


@cache
def _corner_table(device: str) -> Float32[Tensor, "c 8"]:
    """The eight corners of every lattice cell side by side: one memory access per noise value instead of eight."""
    cube = _random_table(device).view(_LATTICE, _LATTICE, _LATTICE)
    shifts = [(-a, -b, -c) for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    return torch.stack([torch.roll(cube, shift, (0, 1, 2)).flatten() for shift in shifts], -1).contiguous()


def lattice(i: Tensor, j: Tensor, k: Tensor) -> Float[Tensor, "n"]:
    """Uniform random number of an integer cell."""
    mask = _LATTICE - 1
    index = ((i & mask) << 12) | ((j & mask) << 6) | (k & mask)
    return _random_table(str(i.device)).index_select(0, index)


def cell_random(cell: Float[Tensor, "n 2"], channel: Tensor | int) -> Float[Tensor, "n"]:
    """Uniform random number of a 2D cell, several independent ones by channel."""
    cell = cell.int()
    k = torch.as_tensor(channel, dtype=torch.int32, device=cell.device)
    return lattice(cell[:, 0] + 17 * k, cell[:, 1] + 29 * k, (cell[:, 0] >> 6) * 5 + (cell[:, 1] >> 6) * 3 + k)


def noise(p: Float[Tensor, "n 3"]) -> Float[Tensor, "n"]:
    """Smooth value noise in [0, 1], one feature per unit."""
    base = torch.floor(p)
    f = p - base
    f = f * f * (3.0 - 2.0 * f)
    i, j, k = (base.int() & (_LATTICE - 1)).unbind(-1)
    value = _corner_table(str(p.device)).index_select(0, (i << 12) | (j << 6) | k)
    value = torch.lerp(value[:, :4], value[:, 4:], f[:, 0:1])
    value = torch.lerp(value[:, :2], value[:, 2:], f[:, 1:2])
    return torch.lerp(value[:, 0], value[:, 1], f[:, 2])


def fbm(p: Float[Tensor, "n 3"], octaves: int, footprint: Float[Tensor, "n"]) -> Float[Tensor, "n"]:
    """Octaves of value noise, centred on 0, about [-1, 1]; octaves below the footprint fade out."""
    total = torch.zeros_like(footprint)
    amplitude, frequency = 1.0, 1.0
    for octave in range(octaves):
        fade = (1.6 - 1.6 * footprint * frequency).clamp(0.0, 1.0)
        total = total + amplitude * fade * (noise(p * frequency + 7.31 * octave) - 0.5)
        amplitude, frequency = amplitude * 0.55, frequency * 2.03
    return total * 1.3


def _mix(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    return a + (b - a) * weight[:, None]


def _line(x: Tensor, half_width: Tensor | float, footprint: Tensor) -> Tensor:
    """1 within half_width of an integer, else 0, box-filtered over the footprint."""
    away = (x - torch.round(x)).abs()
    soft = footprint.clamp_min(1e-4)
    covered = ((half_width - away) / soft + 0.5).clamp(0.0, 1.0)
    mean = 2.0 * torch.as_tensor(half_width)
    return torch.lerp(covered, mean.expand_as(covered), (soft - 0.5).clamp(0.0, 1.0))


def _plain(p: Tensor, uv: Tensor, m: dict[str, Tensor], foot: Tensor) -> Tensor:
    return _mix(m["a"], m["b"], 0.5 * noise(p * 0.3))


def _fbm(p: Tensor, uv: Tensor, m: dict[str, Tensor], foot: Tensor) -> Tensor:
    value = fbm(p, 4, foot)
    color = _mix(m["a"], m["b"], (value * 1.5 + 0.5).clamp(0, 1))
    return _mix(color, m["c"], (value * 3.0 - 0.8).clamp(0, 1))


def _wood(p: Tensor, uv: Tensor, m: dict[str, Tensor], foot: Tensor) -> Tensor:
    """Growth rings around a slightly wavy axis, plus fibres along it."""
    stretched = p * torch.tensor([0.12, 1.0, 1.0], device=p.device)
    warp = noise(stretched * 0.8)
    radius = (stretched[:, 1] ** 2 + (stretched[:, 2] + 0.7) ** 2).sqrt() * 2.2 + 2.2 * warp
    ring = (radius - torch.floor(radius)) ** 1.6
    ring = torch.lerp(ring, torch.full_like(ring, 0.4), (foot * 3.0 - 0.3).clamp(0, 1))
    fibre = fbm(p * torch.tensor([0.7, 9.0, 9.0], device=p.device), 2, foot * 9)
    return _mix(m["a"], m["b"], (ring + 0.5 * fibre).clamp(0, 1))


def _stripes(p: Tensor, uv: Tensor, m: dict[str, Tensor], foot: Tensor) -> Tensor:
    x = uv[:, 0]
    color = _mix(m["a"], m["b"], _line(x, 0.12 + 0.25 * m["contrast"], foot))
    return _mix(color, m["c"], _line(x * 0.5 + 0.25, 0.03, foot * 0.5))


def _grid(uv: Tensor, m: dict[str, Tensor], foot: Tensor, grout: float) -> tuple[Tensor, Tensor]:
    """Cells of width 1 and height 1 / ratio: (cell, coverage of the joints)."""
    v = uv[:, 1] * m["ratio"]
    cell = torch.stack([torch.floor(uv[:, 0]), torch.floor(v)], -1)
    joint = torch.maximum(_line(uv[:, 0], grout, foot), _line(v, grout * m["ratio"], foot * m["ratio"]))
    return cell, joint


def _tiles(p: Tensor, uv: Tensor, m: dict[str, Tensor], foot: Tensor) -> Tensor:
    cell, joint = _grid(uv, m, foot, 0.025)
    checked = ((cell[:, 0] + cell[:, 1]) % 2) * (m["offset"][:, 0].frac() > 0.5)
    checked = torch.lerp(checked, torch.full_like(checked, 0.5) * (checked >= 0), (foot - 0.5).clamp(0, 1))
    shade = 1.0 + m["contrast"] * (cell_random(cell, 3) - 0.5)
    color = _mix(m["a"], m["b"], checked) * (shade + 0.25 * m["contrast"] * fbm(p * 4.0, 2, foot * 4))[:, None]
    return _mix(color, m["c"], joint)


def _bricks(p: Tensor, uv: Tensor, m: dict[str, Tensor], foot: Tensor) -> Tensor:
    v = uv[:, 1] * m["ratio"] * 2.5
    shifted = torch.stack([uv[:, 0] + 0.5 * (torch.floor(v) % 2), v / m["ratio"]], -1)
    cell, joint = _grid(shifted, m, foot, 0.035)
    color = _mix(m["a"], m["b"], cell_random(cell, 5))
    color = color * (1.0 + 0.5 * fbm(p * 6.0, 3, foot * 6))[:, None]
    return _mix(color, m["c"], joint)


def _speckle(p: Tensor, uv: Tensor, m: dict[str, Tensor], foot: Tensor) -> Tensor:
    """Terrazzo: two layers of chips of random size and colour."""
    color = m["a"]
    for layer, size in enumerate((1.0, 2.3)):
        q = uv * size
        cell = torch.floor(q)
        channel = 4 * layer
        x = q[:, 0] - cell[:, 0] - 0.3 - 0.4 * cell_random(cell, channel)
        y = q[:, 1] - cell[:, 1] - 0.3 - 0.4 * cell_random(cell, channel + 1)
        radius = 0.12 + 0.2 * cell_random(cell, channel + 2)
        pick = cell_random(cell, channel + 3)
        away = (x * x + y * y).sqrt() + 0.25 * x.abs()
        chip = ((radius - away) / (foot * size).clamp_min(1e-3) + 0.5).clamp(0, 1)
        chip = chip * (1.8 - 1.5 * foot * size).clamp(0, 1)
        color = _mix(color, _mix(m["b"], m["c"], (pick > 0.5).float()) * (0.6 + 0.8 * pick)[:, None], chip)
    return color


def _hue(value: Tensor, m: dict[str, Tensor]) -> Tensor:
    """A palette over [0, 1) around the material's three colours."""
    color = _mix(m["a"], m["b"], (value * 3 - 1).clamp(0, 1))
    return _mix(color, m["c"], (value * 3 - 2).clamp(0, 1)) * (0.45 + 1.1 * ((value * 7.7) % 1.0))[:, None]


def _poster(p: Tensor, uv: Tensor, m: dict[str, Tensor], foot: Tensor) -> Tensor:
    """Printed matter: coarse colour blocks, a disc, and rows of text-like dashes."""
    block = torch.floor(uv * 1.5)
    color = _hue(cell_random(block, 7), m)
    fine = torch.floor(uv * 4.0)
    color = _mix(color, _hue(cell_random(fine, 8), m), (cell_random(fine, 9) > 0.72).float())
    middle = uv * 0.75 - torch.round(uv * 0.75)
    disc = 0.16 + 0.2 * cell_random(torch.round(uv * 0.75), 10) - middle.norm(dim=1)
    color = _mix(color, m["c"], (disc / foot.clamp_min(1e-3) + 0.5).clamp(0, 1))
    rows = uv * torch.tensor([16.0, 9.0], device=uv.device)
    word = torch.stack([torch.floor(rows[:, 0]), torch.floor(rows[:, 1])], -1)
    ink = _line(rows[:, 1] + 0.5, 0.28, foot * 9) * (cell_random(word, 11) > 0.3)
    ink = ink * (cell_random(torch.floor(uv * 1.5 + 0.5), 12) > 0.45) * (1.5 - foot * 8).clamp(0, 1)
    return _mix(color, 0.06 * m["a"], ink)


def _weave(p: Tensor, uv: Tensor, m: dict[str, Tensor], foot: Tensor) -> Tensor:
    fade = (1.4 - 2.0 * foot).clamp(0, 1)
    thread = torch.sin(uv[:, 0] * 6.2832) * torch.sin(uv[:, 1] * 6.2832) * fade
    broad = fbm(p * 0.12, 3, foot * 0.12)
    color = _mix(m["a"], m["b"], (0.5 + 0.45 * thread + broad).clamp(0, 1))
    band = torch.maximum(_line(uv[:, 0] * 0.07, 0.09, foot * 0.07), _line(uv[:, 1] * 0.07, 0.09, foot * 0.07))
    return _mix(color, m["c"], band * (m["offset"][:, 1].frac() > 0.4))


def _camouflage(p: Tensor, uv: Tensor, m: dict[str, Tensor], foot: Tensor) -> Tensor:
    value, soft = fbm(p, 3, foot), foot.clamp_min(2e-3)
    color = _mix(m["a"], m["b"], ((value - 0.08) / soft + 0.5).clamp(0, 1))
    return _mix(color, m["c"], ((-0.12 - value) / soft + 0.5).clamp(0, 1))


def _books(p: Tensor, uv: Tensor, m: dict[str, Tensor], foot: Tensor) -> Tensor:
    """Spines side by side: random colours, gaps and label bands."""
    x = uv[:, 0] + 0.3 * torch.sin(torch.floor(uv[:, 0]) * 2.4)
    spine = torch.stack([torch.floor(x), torch.zeros_like(x)], -1)
    color = _hue(cell_random(spine, 13), m)
    label = _line(uv[:, 1] * 0.12 + cell_random(spine, 14), 0.08, foot * 0.12) * (cell_random(spine, 15) > 0.4)
    color = _mix(color, _hue(cell_random(spine, 16), m), label)
    return color * (1.0 - 0.75 * _line(x, 0.07, foot))[:, None]


def _outdoor(p: Tensor, uv: Tensor, m: dict[str, Tensor], foot: Tensor) -> Tensor:
    """What a bright window shows: sky above a blurred row of trees."""
    height = uv[:, 1] + 0.5 * fbm(torch.stack([uv[:, 0], uv[:, 1] * 0.5, uv[:, 0] * 0.0], -1), 3, foot)
    sky = _mix(m["a"], m["b"], (0.3 + 0.4 * height).clamp(0, 1))
    return _mix(sky, m["c"], ((0.1 - height) * 4.0).clamp(0, 1))


_PATTERNS: dict[int, Callable[[Tensor, Tensor, dict[str, Tensor], Tensor], Tensor]] = {
    PLAIN: _plain, FBM: _fbm, WOOD: _wood, STRIPES: _stripes, TILES: _tiles, BRICKS: _bricks, SPECKLE: _speckle,
    POSTER: _poster, WEAVE: _weave, CAMOUFLAGE: _camouflage, BOOKS: _books, OUTDOOR: _outdoor,
}  # fmt: skip


def albedo(
    kind: int,
    point: Float[Tensor, "n 3"],
    face_uv: Float[Tensor, "n 2"],
    rows: Float[Tensor, "n k"],
    footprint: Float[Tensor, "n"],
) -> Float[Tensor, "n 3"]:
    """Linear RGB albedo of pixels that share one pattern.

    Args:
        kind: pattern.
        point: in the solid's own frame, metres.
        face_uv: the two coordinates of ``point`` along the face that was hit, metres.
        rows: material rows.
        footprint: size of the pixel on the surface, metres.
    """
    scale = rows[:, _COLUMNS["scale"]]
    offset = rows[:, _COLUMNS["offset"]]
    angle = rows[:, _COLUMNS["angle"]].squeeze(1)
    cosine, sine = angle.cos(), angle.sin()
    u, v = face_uv.unbind(-1)
    uv = torch.stack([cosine * u - sine * v, sine * u + cosine * v], -1) / scale + offset[:, :2]
    material = {
        "a": rows[:, _COLUMNS["color_a"]],
        "b": rows[:, _COLUMNS["color_b"]],
        "c": rows[:, _COLUMNS["color_c"]],
        "ratio": rows[:, _COLUMNS["ratio"]].squeeze(1),
        "contrast": rows[:, _COLUMNS["contrast"]].squeeze(1),
        "offset": offset,
    }
    position = point / scale + offset
    foot = footprint / scale.squeeze(1)
    color = _PATTERNS[kind](position, uv, material, foot)
    # wear: a slow variation over everything, so that no surface is a constant
    wear = fbm(point * 1.7 + offset, 2, footprint * 1.7)
    return (color * (1.0 + (0.1 + 0.3 * material["contrast"]) * wear)[:, None]).clamp(0.003, 0.95)
