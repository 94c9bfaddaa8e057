"""Materials of the open air in their usual colours: asphalt is grey, leaves are green."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from worldline.worlds.appearance import textures
from worldline.worlds.appearance.materials import material
from worldline.worlds.world import MATERIAL_WIDTH, Builder, material_slices

_COLUMNS = material_slices()
Range = tuple[float, float]


@dataclass(frozen=True)
class Paint:
    """Ranges from which a material is drawn; colours are display-referred hue, saturation and value."""

    patterns: tuple[int, ...]  # one of them, the first entries no likelier than the last
    hue: Range
    saturation: Range
    value: Range
    scale: Range  # metres per repetition
    second: Range = (0.7, 0.9)  # value of the second colour, relative to the first
    third: Range = (0.6, 0.85)  # and of the third
    contrast: Range = (0.1, 0.5)
    gloss: Range = (0.0, 0.0)
    hue_shift: float = 0.01  # spread between the hues of the three colours


_P = textures
PAINTS: dict[str, Paint] = {
    "asphalt": Paint((_P.ASPHALT,), (0.55, 0.7), (0.0, 0.06), (0.28, 0.46), (0.7, 1.8), (0.85, 1.15), (0.4, 0.6),
                    (0.3, 1.0)),
    "mark": Paint((_P.LANE,), (0.1, 0.15), (0.0, 0.08), (0.8, 0.94), (0.4, 1.2), (0.93, 1.0), (0.4, 0.55), (0.1, 0.9)),
    "kerb": Paint((_P.FBM, _P.TILES, _P.GRANITE), (0.08, 0.14), (0.0, 0.06), (0.5, 0.7), (0.4, 1.0)),
    "paving": Paint((_P.TILES, _P.BRICKS, _P.HERRINGBONE, _P.MOSAIC, _P.TILES), (0.02, 0.12), (0.02, 0.22), (0.45, 0.7),
                    (0.25, 0.7), (0.85, 0.97)),
    "grass": Paint((_P.GRASS,), (0.19, 0.3), (0.4, 0.7), (0.4, 0.62), (0.4, 1.2), (0.5, 0.75), (0.95, 1.2), (0.4,
                    1.0), hue_shift=0.03),
    "ground": Paint((_P.MOSAIC, _P.GRAVEL, _P.EARTH), (0.06, 0.12), (0.08, 0.3), (0.42, 0.65), (0.1, 0.5), (0.7, 0.95)),
    "plaster": Paint((_P.PLASTER, _P.PLAIN), (0.02, 0.17), (0.03, 0.42), (0.6, 0.92), (0.6, 2.5), (0.75, 0.92)),
    "painted": Paint((_P.PLASTER, _P.PLAIN), (0.0, 0.62), (0.05, 0.35), (0.55, 0.92), (0.6, 2.5), (0.75, 0.92)),
    "brick": Paint((_P.BRICKS,), (-0.01, 0.08), (0.3, 0.6), (0.36, 0.68), (0.22, 0.34), (0.6, 0.95), (1.1, 1.5)),
    "concrete": Paint((_P.PANELS, _P.PANELS, _P.FBM), (0.07, 0.14), (0.0, 0.1), (0.5, 0.78), (1.0, 3.0), (0.85, 1.0),
                    (0.5, 0.8)),
    "stone": Paint((_P.MASONRY,), (0.06, 0.13), (0.03, 0.3), (0.45, 0.82), (0.5, 1.2), (0.65, 0.95), (0.5, 0.95)),
    "cladding": Paint((_P.STRIPES, _P.WOOD, _P.PANELS), (0.0, 0.65), (0.02, 0.25), (0.35, 0.85), (0.25, 1.2)),
    "windows": Paint((_P.WINDOWS,), (0.02, 0.14), (0.05, 0.4), (0.5, 0.88), (1.8, 3.6), (0.8, 1.1), (0.9, 1.1)),
    "trim": Paint((_P.PLAIN,), (0.05, 0.15), (0.0, 0.15), (0.6, 0.95), (0.3, 1.0), (0.9, 0.97)),
    "glass": Paint((_P.PLAIN, _P.FBM), (0.52, 0.62), (0.15, 0.45), (0.12, 0.4), (1.0, 3.0), (0.5, 1.8), gloss=(0.2,
                    0.6)),
    "shopglass": Paint((_P.POSTER, _P.BOOKS), (0.0, 1.0), (0.2, 0.6), (0.2, 0.5), (0.6, 1.2), (0.5, 1.5), (0.5, 2.0)),
    "shopfront": Paint((_P.PLAIN,), (0.0, 1.0), (0.2, 0.85), (0.15, 0.8), (0.3, 1.0), (0.9, 0.97)),
    "door": Paint((_P.WOOD, _P.PLAIN), (0.0, 1.0), (0.15, 0.7), (0.2, 0.6), (0.15, 0.5)),
    "tiles": Paint((_P.ROOF_TILES, _P.BRICKS), (-0.02, 0.06), (0.4, 0.65), (0.4, 0.66), (0.35, 0.6), (0.7, 1.0),
                    (0.4, 0.7)),
    "slate": Paint((_P.ROOF_TILES, _P.BRICKS), (0.55, 0.7), (0.02, 0.15), (0.28, 0.46), (0.3, 0.6), (0.7, 1.1), (0.5,
                    1.2)),
    "metal": Paint((_P.PLAIN, _P.BRUSHED), (0.5, 0.65), (0.0, 0.12), (0.25, 0.6), (0.3, 1.0), (0.85, 0.97),
                    gloss=(0.1, 0.4)),
    "dark": Paint((_P.PLAIN,), (0.0, 1.0), (0.0, 0.1), (0.08, 0.2), (0.3, 1.0), (0.8, 0.97), contrast=(0.0, 0.2)),
    "chrome": Paint((_P.PLAIN,), (0.55, 0.65), (0.0, 0.05), (0.6, 0.85), (0.3, 1.0), (0.9, 0.97), gloss=(0.5, 0.9)),
    "wood": Paint((_P.WOOD,), (0.05, 0.1), (0.3, 0.6), (0.35, 0.65), (0.1, 0.25), (0.5, 0.8)),
    "bark": Paint((_P.BARK,), (0.05, 0.1), (0.15, 0.45), (0.35, 0.6), (0.1, 0.3), (0.35, 0.55), (0.9, 1.1)),
    "leaves": Paint((_P.FOLIAGE,), (0.19, 0.34), (0.45, 0.8), (0.5, 0.82), (0.1, 0.35), (0.4, 0.6), (1.0, 1.2), (0.4,
                    1.0),
                    hue_shift=0.025),
    "autumn": Paint((_P.FOLIAGE,), (0.02, 0.15), (0.55, 0.9), (0.6, 0.88), (0.1, 0.35), (0.4, 0.7), (0.9, 1.15),
                    (0.4, 1.0),
                    hue_shift=0.03),
    "hue": Paint((_P.PLAIN,), (0.0, 1.0), (0.5, 0.95), (0.3, 0.8), (0.3, 1.0), (0.92, 0.99), contrast=(0.0, 0.15)),
    "car": Paint((_P.PLAIN,), (0.0, 1.0), (0.5, 0.9), (0.2, 0.65), (0.5, 2.0), (0.93, 0.99), contrast=(0.0, 0.12),
                 gloss=(0.3, 0.8)),
    "carplain": Paint((_P.PLAIN,), (0.55, 0.65), (0.0, 0.1), (0.1, 0.95), (0.5, 2.0), (0.93, 0.99), contrast=(0.0,
                    0.12),
                      gloss=(0.3, 0.8)),
    "red": Paint((_P.PLAIN,), (-0.02, 0.01), (0.85, 0.95), (0.5, 0.8), (0.3, 1.0), (0.9, 0.99), contrast=(0.0, 0.1)),
    "yellow": Paint((_P.PLAIN,), (0.11, 0.14), (0.85, 0.95), (0.8, 0.95), (0.3, 1.0), (0.9, 0.99), contrast=(0.0, 0.1)),
    "green": Paint((_P.PLAIN,), (0.36, 0.42), (0.8, 0.95), (0.5, 0.8), (0.3, 1.0), (0.9, 0.99), contrast=(0.0, 0.1)),
    "blue": Paint((_P.PLAIN,), (0.58, 0.62), (0.8, 0.95), (0.45, 0.7), (0.3, 1.0), (0.9, 0.99), contrast=(0.0, 0.1)),
    "white": Paint((_P.PLAIN,), (0.1, 0.6), (0.0, 0.04), (0.85, 0.95), (0.3, 1.0), (0.93, 0.99), contrast=(0.0, 0.1)),
    "hair": Paint((_P.FBM,), (0.04, 0.11), (0.1, 0.6), (0.08, 0.5), (0.02, 0.05)),
    "trousers": Paint((_P.WEAVE, _P.PLAIN), (0.55, 0.68), (0.05, 0.5), (0.1, 0.5), (0.01, 0.05)),
}  # fmt: skip
# names of which any colour is usual: the families of materials draw them
FAMILY_OF = {"lettering": "text", "traffic sign": "sign", "skin": "skin", "cloth": "cloth", "tyre": "rubber"}


def paint(builder: Builder, rng: np.random.Generator, name: str, *, emission: float = 0.0) -> int:
    """Draw a material by its name in ``PAINTS`` or ``FAMILY_OF``."""
    if name in FAMILY_OF:
        return material(builder, rng, FAMILY_OF[name], emission=emission)
    choice = PAINTS[name]
    if name == "car" and rng.random() < 0.6:  # most cars are white, grey or black
        choice = PAINTS["carplain"]
    pattern = choice.patterns[int(rng.integers(len(choice.patterns)))]
    hue, saturation, value = (rng.uniform(*span) for span in (choice.hue, choice.saturation, choice.value))
    shades = (1.0, rng.uniform(*choice.second), rng.uniform(*choice.third))
    row: Float32[np.ndarray, "k"] = np.zeros(MATERIAL_WIDTH, np.float32)
    for column, shade in zip(("color_a", "color_b", "color_c"), shades, strict=True):
        own_hue = (hue + choice.hue_shift * rng.normal()) % 1.0
        row[_COLUMNS[column]] = np.array(colorsys.hsv_to_rgb(own_hue, saturation, min(0.97, value * shade))) ** 2.2
    row[_COLUMNS["scale"]] = np.exp(rng.uniform(*np.log(choice.scale)))
    row[_COLUMNS["ratio"]] = rng.choice([1.0, 1.0, 0.5, 2.0]) if pattern == _P.TILES else rng.uniform(0.9, 1.1)
    row[_COLUMNS["offset"]] = rng.uniform(0, 50, 3)
    row[_COLUMNS["contrast"]] = rng.uniform(*choice.contrast)
    row[_COLUMNS["gloss"]] = rng.uniform(*choice.gloss)
    row[_COLUMNS["emission"]] = emission
    return builder.material(pattern, row)
