"""Printed matter: pages of text, labels, signs, posters, book spines. Letters are random strokes, not a script.

The averages that far views go to were fitted to near views of random materials.
"""

from __future__ import annotations

import torch
from torch import Tensor

from worldline.worlds.appearance.indoor import Material
from worldline.worlds.appearance.noise import above, between, blend, cell_random, cell_randoms, fine, line

_INK = 0.3  # mean coverage of a line of letters


def letters(u: Tensor, v: Tensor, foot: Tensor, salt: int = 0) -> Tensor:
    """Coverage by ink of rows of letters: a letter per 0.6 units along u, a row per unit along v, read along +u.

    A letter is a choice of strokes of a seven-segment figure, slanted a little; one in six is a blank.
    """
    row = torch.floor(v)
    y = v - row
    u = u / 0.6 + 0.12 * y
    column = torch.floor(u)
    x = u - column
    own = cell_randoms(column, row, salt)
    width, high = foot / 0.6, (y > 0.52)
    left = between(x, 0.10, 0.28, width) * (torch.where(high, own[:, 1], own[:, 2]) > 0.25)
    right = between(x, 0.62, 0.80, width) * (torch.where(high, own[:, 3], own[:, 4]) > 0.45)
    stem = torch.maximum(left, right) * between(y, 0.2, 0.84, foot)
    bars = (between(y, 0.73, 0.84, foot) * (own[:, 5] > 0.4) + between(y, 0.465, 0.575, foot) * (own[:, 6] > 0.35)
            + between(y, 0.2, 0.31, foot) * (own[:, 7] > 0.4))  # fmt: skip
    ink = torch.maximum(stem, bars * between(x, 0.10, 0.80, width)) * (own[:, 0] > 0.17)
    return torch.lerp(torch.full_like(ink, _INK), ink, fine(2.2 * foot))


def text(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Pages: margins, a headline, paragraphs in one or two columns, a picture on some."""
    u, v = uv[:, 0], uv[:, 1] / 1.4
    column, row = torch.floor(u), torch.floor(v)
    x, y = u - column, 1.4 * (v - row)  # a page is 1 wide and 1.4 high
    own = cell_randoms(column, row, 1)
    lines = torch.floor(16.0 + 18.0 * own[:, 0])  # rows of text per unit
    sheet = between(x, 0.09, 0.91, foot) * between(y, 0.1, 1.3, foot)
    body = torch.floor(y * lines)
    along = cell_randoms(body, column, 2)
    two = own[:, 1] > 0.55
    side = torch.where(two & (x > 0.5), 0.53, 0.09)
    reach = torch.where(two, 0.38, 0.82)
    end = side + reach * torch.where(along[:, 0] > 0.8, along[:, 1], torch.ones_like(x))
    blank = (along[:, 2] > 0.9).float()
    small = letters(u * lines, y * lines, foot * lines) * above(end, x, foot) * above(x, side, foot) * (1.0 - blank)
    head = letters(u * 9.0, y * 9.0 - 0.35, foot * 9.0, 4) * between(y, 1.15, 1.26, foot)
    written = torch.where(y > 1.12, head, small)
    middle = 0.3 + 0.6 * own[:, 2]
    picture = between(y, middle, middle + 0.28, foot) * (own[:, 3] > 0.55)
    shade = cell_randoms(torch.floor(u * 12.0), torch.floor(y * 12.0), 6)[:, 0]
    color = blend(m["a"], 0.05 * m["b"], written * sheet * (1.0 - picture))
    content = blend(m["b"], m["c"], torch.lerp(torch.full_like(shade, 0.5), shade, fine(12.0 * foot)))
    page = blend(color, content, picture * sheet)
    edge = torch.maximum(line(u, 0.008, foot), line(v, 0.008, foot))
    average = 0.81 * m["a"] + 0.05 * m["b"] + 0.03 * m["c"]
    return torch.lerp(average, page * (1.0 - 0.5 * edge)[:, None], fine(0.6 * foot)[:, None])


def label(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Packaging: a coloured band with a name in large letters, a disc, small print and a bar code."""
    u, v = uv.unbind(-1)
    column, row = torch.floor(u), torch.floor(v)
    x, y = u - column, v - row
    own = cell_randoms(column, row, 2)
    low = 0.45 + 0.2 * own[:, 0]
    band = between(y, low, low + 0.3, foot)
    name = letters(u * 4.5, (y - low) * 4.5 - 0.18, foot * 4.5, 1) * between(y, low + 0.04, low + 0.26, foot)
    name = name * between(x, 0.06, 0.94, foot)
    away = ((x - 0.25 - 0.5 * own[:, 1]) ** 2 + (y - 0.2) ** 2).sqrt()
    disc = above(0.1 + 0.07 * own[:, 2], away, foot)
    print_ = letters(u * 22.0, y * 22.0, foot * 22.0, 3) * between(y, 0.06, 0.28, foot)
    print_ = print_ * above(x, 0.1, foot) * above(0.5, x, foot)
    bar = (cell_random(torch.stack([torch.floor(u * 60.0), column], -1), 4) > 0.5).float()
    code = torch.lerp(torch.full_like(bar, 0.5), bar, fine(80.0 * foot)) * between(y, 0.08, 0.24, foot)
    code = code * between(x, 0.62, 0.9, foot)
    color = blend(blend(m["a"], m["b"], band), m["c"], disc * (own[:, 3] > 0.3))
    ink = torch.maximum(print_, code) * (1.0 - disc)
    color = blend(color, 0.05 * m["a"], ink)
    color = blend(color, torch.where((own[:, 4] > 0.5)[:, None], m["c"], 0.9 + 0.0 * m["c"]), name)
    average = 0.64 * m["a"] + 0.27 * m["b"] + 0.07 * m["c"]
    return torch.lerp(average, color, fine(0.6 * foot)[:, None])


def sign(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """A sign: a border, and in it one or two lines of large letters, or an arrow."""
    u, v = uv[:, 0], uv[:, 1] * 2.0
    column, row = torch.floor(u), torch.floor(v)
    x, y = u - column - 0.5, 0.5 * (v - row) - 0.25  # a sign is 1 wide and 0.5 high
    own = cell_randoms(column, row, 3)
    depth = torch.minimum(0.5 - x.abs(), 0.25 - y.abs())
    border = between(depth, 0.018, 0.04, foot)
    size = torch.where(own[:, 0] > 0.5, 3.2, 6.0)
    shift = torch.where(own[:, 0] > 0.5, 0.5, 1.0)
    words = letters(u * size, y * size + shift, foot * size, 5) * between(x, -0.42, 0.42, foot)
    words = words * above(shift / size - 0.01, y.abs(), foot)
    side = torch.where(own[:, 2] > 0.5, x, -x)
    shaft = between(side, -0.3, 0.1, foot) * above(0.045, y.abs(), foot)
    tip = above(0.3 - side, 1.3 * y.abs(), foot) * above(side, 0.1, foot)
    arrow = torch.maximum(shaft, tip)
    figure = torch.where(own[:, 1] > 0.75, arrow, words)
    color = blend(m["a"], m["b"], torch.maximum(border, figure))
    color = blend(color, m["c"], above(0.006, depth, foot))
    average = 0.78 * m["a"] + 0.18 * m["b"] + 0.04 * m["c"]
    return torch.lerp(average, color, fine(0.7 * foot)[:, None])


def hue(value: Tensor, m: Material) -> Tensor:
    """A palette over [0, 1) around the material's three colours."""
    color = blend(m["a"], m["b"], (value * 3 - 1).clamp(0, 1))
    return blend(color, m["c"], (value * 3 - 2).clamp(0, 1)) * (0.45 + 1.1 * ((value * 7.7) % 1.0))[:, None]


def poster(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Printed matter: coarse colour blocks, a disc, and lines of letters."""
    block = torch.floor(uv * 1.5)
    color = hue(cell_random(block, 7), m)
    corner = torch.floor(uv * 4.0)
    color = blend(color, hue(cell_random(corner, 8), m), (cell_random(corner, 9) > 0.72).float())
    nearest = torch.round(uv * 0.75)
    disc = 0.16 + 0.2 * cell_random(nearest, 10) - (uv * 0.75 - nearest).norm(dim=1)
    color = blend(color, m["c"], above(disc, 0.0, foot))
    ink = letters(uv[:, 0] * 9.0, uv[:, 1] * 9.0, foot * 9.0)
    ink = ink * (cell_random(torch.floor(uv * 1.5 + 0.5), 12) > 0.45)
    color = blend(color, 0.06 * m["a"], ink)
    average = 0.34 * m["a"] + 0.22 * m["b"] + 0.32 * m["c"]
    return torch.lerp(average, color, fine(0.6 * foot)[:, None])


def books(p: Tensor, uv: Tensor, m: Material, foot: Tensor) -> Tensor:
    """Spines side by side: random colours, gaps, label bands and titles."""
    u, v = uv.unbind(-1)
    x = u + 0.3 * torch.sin(torch.floor(u) * 2.4)
    left = torch.floor(x)
    own = cell_randoms(left, torch.zeros_like(left), 4)
    keep = fine(0.7 * foot)
    color = hue(own[:, 0], m)
    band = line(v * 0.12 + own[:, 1], 0.08, foot * 0.12) * (own[:, 2] > 0.4)
    color = blend(color, hue(own[:, 3], m), band)
    title = letters(v * 1.8 + 9.0 * own[:, 4], (1.0 - x + left) * 1.6 - 0.3, foot * 1.8, 7)
    title = title * between(x - left, 0.2, 0.8, foot) * line(v * 0.12 + own[:, 5], 0.2, foot * 0.12)
    color = blend(color, torch.where((own[:, 6] > 0.5)[:, None], 0.04 * m["a"], 0.3 + 0.6 * m["b"]), title * keep)
    color = torch.lerp(0.51 * m["a"] + 0.32 * m["b"] + 0.14 * m["c"], color, keep[:, None])
    return color * (1.0 - 0.75 * line(x, 0.07, foot))[:, None]
