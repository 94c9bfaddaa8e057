"""Solid and planar patterns, evaluated per pixel in batches of one pattern each.

Every pattern maps (point in the solid's own frame, face coordinates, material row, footprint of the pixel) to a linear
RGB albedo. Detail finer than the pixel's footprint fades out, so that two views of one surface agree in colour
and do not alias.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from worldline.worlds.appearance import indoor, outdoor, printed
from worldline.worlds.appearance.noise import fbm
from worldline.worlds.world import material_slices

PLAIN, FBM, WOOD, STRIPES, TILES, BRICKS, SPECKLE, POSTER, WEAVE, CAMOUFLAGE, BOOKS, OUTDOOR = range(12)
PLASTER, PLAID, CHEVRON, HERRINGBONE, ORNAMENT, CHECKER, DOTS, TEXT, LABEL, SIGN = range(12, 22)
ASPHALT, LANE, GRAVEL, MOSAIC, GRASS, EARTH, FOLIAGE, BARK, PANELS, MASONRY = range(22, 32)
ROOF_TILES, WINDOWS, MARBLE, LAYERS, GRANITE, WATER, BRUSHED = range(32, 39)

Pattern = Callable[[Tensor, Tensor, dict[str, Tensor], Tensor], Tensor]
PATTERNS: dict[int, Pattern] = {
    PLAIN: indoor.plain, FBM: indoor.cloudy, WOOD: indoor.wood, STRIPES: indoor.stripes, TILES: indoor.tiles,
    BRICKS: indoor.bricks, SPECKLE: indoor.speckle, POSTER: printed.poster, WEAVE: indoor.weave,
    CAMOUFLAGE: indoor.camouflage, BOOKS: printed.books, OUTDOOR: indoor.outdoor_view, PLASTER: indoor.plaster,
    PLAID: indoor.plaid, CHEVRON: indoor.chevron, HERRINGBONE: indoor.herringbone, ORNAMENT: indoor.ornament,
    CHECKER: indoor.checker, DOTS: indoor.dots, TEXT: printed.text, LABEL: printed.label, SIGN: printed.sign,
    ASPHALT: outdoor.asphalt, LANE: outdoor.lane, GRAVEL: outdoor.gravel, MOSAIC: outdoor.mosaic,
    GRASS: outdoor.grass, EARTH: outdoor.earth, FOLIAGE: outdoor.foliage, BARK: outdoor.bark, PANELS: outdoor.panels,
    MASONRY: outdoor.masonry, ROOF_TILES: outdoor.roof_tiles, WINDOWS: outdoor.windows, MARBLE: outdoor.marble,
    LAYERS: outdoor.layers, GRANITE: outdoor.granite, WATER: outdoor.water, BRUSHED: outdoor.brushed,
}  # fmt: skip
_COLUMNS = material_slices()


def albedo(
    kind: int,
    point: Float[Tensor, "n 3"],
    face_uv: Float[Tensor, "n 2"],
    rows: Float[Tensor, "n k"],
    footprint: Float[Tensor, "n"],
) -> Float[Tensor, "n 3"]:
    """Linear RGB albedo of pixels that share one pattern, within [0.003, 0.95].

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
    color = PATTERNS[kind](position, uv, material, foot)
    # wear: a slow variation over everything, so that no surface is a constant, though low-texture ones come close
    wear = fbm(point * 1.7 + offset, 2, footprint * 1.7)
    return (color * (1.0 + (0.05 + 0.35 * material["contrast"]) * wear)[:, None]).clamp(0.003, 0.95)
