"""Which patterns, sizes and colours each family of materials may have."""

from __future__ import annotations

from dataclasses import dataclass

from worldline.worlds.appearance import textures as t

Range = tuple[float, float]


@dataclass(frozen=True)
class Recipe:
    """One way in which a material of a family may look."""

    pattern: int
    weight: float  # relative frequency within the family
    scale: Range  # metres per repetition, drawn log-uniformly
    palette: str | None = None  # name in PALETTES; None: a scheme that fits the family
    contrast: Range = (0.1, 1.0)  # strength of the fine variation
    gloss: Range | None = None  # None: dull more often than not
    ratio: Range | None = None  # None: what is usual for the pattern


_MATT: Range = (0.0, 0.0)
_SMOOTH: Range = (0.0, 0.12)  # contrast of low-texture surfaces

FAMILIES: dict[str, tuple[Recipe, ...]] = {
    # rooms
    "wall": (
        Recipe(t.PLAIN, 2.2, (0.4, 1.5)),
        Recipe(t.PLAIN, 1.2, (0.6, 2.0), "calm", _SMOOTH),
        Recipe(t.PLAIN, 0.6, (0.6, 2.0), "white", _SMOOTH),
        Recipe(t.FBM, 1.2, (0.1, 0.8)),
        Recipe(t.STRIPES, 1.0, (0.08, 0.4)),
        Recipe(t.BRICKS, 1.0, (0.2, 0.45), "brick"),
        Recipe(t.BRICKS, 0.5, (0.2, 0.45)),
        Recipe(t.TILES, 0.9, (0.15, 0.6)),
        Recipe(t.WOOD, 0.7, (0.15, 0.4), "wood"),
        Recipe(t.POSTER, 0.4, (0.6, 1.6)),
        Recipe(t.CAMOUFLAGE, 0.3, (0.3, 1.0)),
        Recipe(t.ORNAMENT, 1.0, (0.3, 0.9)),
        Recipe(t.PLASTER, 1.2, (0.4, 1.5)),
        Recipe(t.CHEVRON, 0.5, (0.1, 0.5)),
        Recipe(t.DOTS, 0.4, (0.06, 0.3)),
        Recipe(t.MASONRY, 0.4, (0.3, 0.7), "stone"),
        Recipe(t.PANELS, 0.5, (0.5, 1.2)),
        Recipe(t.PLAID, 0.3, (0.3, 0.8)),
        Recipe(t.LAYERS, 0.3, (0.3, 1.0)),
    ),
    "floor": (
        Recipe(t.WOOD, 1.8, (0.15, 0.4), "wood"),
        Recipe(t.WOOD, 0.4, (0.15, 0.4)),
        Recipe(t.HERRINGBONE, 1.6, (0.25, 0.6), "wood"),
        Recipe(t.TILES, 2.0, (0.2, 0.7)),
        Recipe(t.SPECKLE, 1.2, (0.06, 0.2)),
        Recipe(t.WEAVE, 1.2, (0.02, 0.06)),
        Recipe(t.FBM, 0.8, (0.15, 0.6)),
        Recipe(t.BRICKS, 0.5, (0.2, 0.4)),
        Recipe(t.PLAIN, 0.5, (0.5, 1.5), "calm", _SMOOTH),
        Recipe(t.ORNAMENT, 0.9, (0.4, 1.4)),
        Recipe(t.MARBLE, 0.7, (0.4, 1.2), "marble"),
        Recipe(t.CHECKER, 0.6, (0.2, 0.5), "contrast"),
        Recipe(t.MOSAIC, 0.5, (0.15, 0.5), "stone"),
        Recipe(t.GRANITE, 0.4, (0.15, 0.5), "granite"),
        Recipe(t.PLAID, 0.3, (0.4, 1.0)),
        Recipe(t.CHEVRON, 0.3, (0.15, 0.5)),
    ),
    "ceiling": (
        Recipe(t.PLAIN, 3.5, (0.5, 2.0)),
        Recipe(t.PLAIN, 2.0, (0.5, 2.0), "white", _SMOOTH),
        Recipe(t.FBM, 0.8, (0.2, 0.8)),
        Recipe(t.TILES, 1.5, (0.5, 0.8)),
        Recipe(t.WOOD, 0.6, (0.2, 0.4), "wood"),
        Recipe(t.PLASTER, 1.0, (0.4, 1.2), "white"),
        Recipe(t.PANELS, 0.6, (0.6, 1.2), "concrete"),
    ),
    "furniture": (
        Recipe(t.WOOD, 3.2, (0.06, 0.25), "wood"),
        Recipe(t.WOOD, 0.6, (0.06, 0.25)),
        Recipe(t.PLAIN, 1.2, (0.3, 1.0)),
        Recipe(t.PLAIN, 0.8, (0.3, 1.0), "calm", _SMOOTH),
        Recipe(t.FBM, 0.8, (0.05, 0.4)),
        Recipe(t.SPECKLE, 0.5, (0.03, 0.1)),
        Recipe(t.STRIPES, 0.5, (0.04, 0.2)),
        Recipe(t.TILES, 0.3, (0.1, 0.3)),
        Recipe(t.BRUSHED, 0.5, (0.2, 0.6), "metal", gloss=(0.2, 0.6)),
        Recipe(t.MARBLE, 0.4, (0.15, 0.6), "marble"),
        Recipe(t.MARBLE, 0.2, (0.15, 0.6), "marble_dark"),
        Recipe(t.GRANITE, 0.3, (0.1, 0.3), "granite"),
        Recipe(t.LAYERS, 0.3, (0.1, 0.4)),
        Recipe(t.CHEVRON, 0.2, (0.05, 0.2)),
    ),
    "fabric": (
        Recipe(t.WEAVE, 2.4, (0.01, 0.05)),
        Recipe(t.STRIPES, 1.2, (0.04, 0.2)),
        Recipe(t.FBM, 0.8, (0.03, 0.2)),
        Recipe(t.CAMOUFLAGE, 0.7, (0.08, 0.3)),
        Recipe(t.TILES, 0.4, (0.05, 0.25)),
        Recipe(t.PLAIN, 0.8, (0.2, 1.0)),
        Recipe(t.PLAID, 1.2, (0.08, 0.4)),
        Recipe(t.CHEVRON, 0.9, (0.02, 0.12)),
        Recipe(t.DOTS, 0.7, (0.03, 0.15)),
        Recipe(t.ORNAMENT, 1.0, (0.12, 0.5)),
        Recipe(t.CHECKER, 0.3, (0.04, 0.15)),
    ),
    "thing": (
        Recipe(t.FBM, 1.2, (0.03, 0.2)),
        Recipe(t.STRIPES, 1.0, (0.02, 0.1)),
        Recipe(t.TILES, 0.7, (0.03, 0.12)),
        Recipe(t.SPECKLE, 0.9, (0.015, 0.06)),
        Recipe(t.POSTER, 1.2, (0.08, 0.3)),
        Recipe(t.WOOD, 0.8, (0.03, 0.15), "wood"),
        Recipe(t.CAMOUFLAGE, 0.7, (0.04, 0.2)),
        Recipe(t.BRICKS, 0.3, (0.05, 0.15)),
        Recipe(t.PLAIN, 1.0, (0.1, 0.5)),
        Recipe(t.PLAIN, 0.6, (0.1, 0.5), "vivid", _SMOOTH),
        Recipe(t.LABEL, 1.2, (0.1, 0.3), "label"),
        Recipe(t.TEXT, 0.4, (0.12, 0.3), "page"),
        Recipe(t.DOTS, 0.6, (0.02, 0.08)),
        Recipe(t.PLAID, 0.4, (0.06, 0.2)),
        Recipe(t.MARBLE, 0.5, (0.05, 0.2)),
        Recipe(t.LAYERS, 0.6, (0.04, 0.2)),
        Recipe(t.GRANITE, 0.4, (0.04, 0.15)),
        Recipe(t.MOSAIC, 0.5, (0.02, 0.08)),
        Recipe(t.ORNAMENT, 0.5, (0.06, 0.25)),
        Recipe(t.CHECKER, 0.3, (0.02, 0.08)),
        Recipe(t.BRUSHED, 0.4, (0.06, 0.2), "metal", gloss=(0.2, 0.7)),
        Recipe(t.CHEVRON, 0.3, (0.02, 0.08)),
    ),
    "poster": (
        Recipe(t.POSTER, 2.0, (0.25, 0.9)),
        Recipe(t.FBM, 0.5, (0.05, 0.3)),
        Recipe(t.CAMOUFLAGE, 0.4, (0.1, 0.3)),
        Recipe(t.TEXT, 1.0, (0.25, 0.8), "page"),
        Recipe(t.LABEL, 0.6, (0.3, 0.8), "label"),
        Recipe(t.SIGN, 0.5, (0.3, 1.0), "sign_white"),
        Recipe(t.ORNAMENT, 0.5, (0.2, 0.6)),
        Recipe(t.LAYERS, 0.6, (0.1, 0.4)),
        Recipe(t.MARBLE, 0.3, (0.1, 0.4), "vivid"),
        Recipe(t.OUTDOOR, 0.5, (0.15, 0.4), "outdoor"),
    ),
    "books": (Recipe(t.BOOKS, 1.0, (0.02, 0.045)),),
    "window": (Recipe(t.OUTDOOR, 1.0, (0.8, 1.8), "outdoor", gloss=_MATT),),
    "plain": (Recipe(t.PLAIN, 1.0, (0.2, 1.0)), Recipe(t.PLAIN, 0.4, (0.2, 1.0), "calm", _SMOOTH)),
    # streets and buildings
    "road": (Recipe(t.ASPHALT, 1.0, (0.7, 1.8), "asphalt", (0.3, 1.0), _MATT),),
    "lane": (
        Recipe(t.LANE, 1.0, (0.4, 1.2), "lane", (0.1, 0.9), _MATT),
        Recipe(t.LANE, 0.2, (0.4, 1.2), "lane_yellow", (0.1, 0.9), _MATT),
    ),
    "pavement": (
        Recipe(t.TILES, 1.5, (0.3, 0.8), "concrete", gloss=_MATT),
        Recipe(t.BRICKS, 0.8, (0.2, 0.35), "stone_grey"),
        Recipe(t.HERRINGBONE, 0.8, (0.25, 0.5), "brick", gloss=_MATT),
        Recipe(t.MOSAIC, 0.7, (0.1, 0.7), "stone_grey"),
        Recipe(t.BRICKS, 0.4, (0.2, 0.3), "brick", gloss=_MATT),
        Recipe(t.ASPHALT, 0.5, (0.6, 1.2), "asphalt"),
        Recipe(t.CHECKER, 0.1, (0.3, 0.5), "stone", gloss=_MATT),
    ),
    "ground": (
        Recipe(t.GRASS, 1.5, (0.4, 1.2), "grass", gloss=_MATT),
        Recipe(t.EARTH, 1.2, (0.4, 1.5), "earth", gloss=_MATT),
        Recipe(t.GRAVEL, 0.8, (0.03, 0.12), "pebbles", gloss=_MATT),
        Recipe(t.EARTH, 0.4, (0.5, 2.0), "sand", (0.0, 0.4)),
    ),
    "grass": (Recipe(t.GRASS, 1.0, (0.4, 1.2), "grass", gloss=_MATT),),
    "facade": (
        Recipe(t.PLASTER, 1.5, (0.6, 2.5), "plaster", gloss=_MATT),
        Recipe(t.PLASTER, 0.6, (0.6, 2.5), "plaster_vivid"),
        Recipe(t.PLAIN, 0.4, (0.8, 3.0), "plaster", _SMOOTH, _MATT),
        Recipe(t.BRICKS, 1.5, (0.22, 0.4), "brick", gloss=_MATT),
        Recipe(t.BRICKS, 0.6, (0.22, 0.4), "brick_pale", gloss=_MATT),
        Recipe(t.PANELS, 1.0, (1.0, 3.0), "concrete"),
        Recipe(t.PANELS, 0.4, (0.8, 2.0), "metal"),
        Recipe(t.MASONRY, 1.0, (0.5, 1.2), "stone", gloss=_MATT),
        Recipe(t.STRIPES, 0.3, (0.2, 0.5), "plaster_vivid"),
        Recipe(t.WOOD, 0.3, (0.15, 0.3), "wood", gloss=_MATT),
    ),
    "windows": (Recipe(t.WINDOWS, 1.0, (1.6, 4.0), "plaster", gloss=_MATT, ratio=(0.8, 1.4)),),
    "roof": (
        Recipe(t.ROOF_TILES, 1.5, (0.4, 0.7), "roof_red", gloss=_MATT),
        Recipe(t.ROOF_TILES, 0.7, (0.4, 0.7), "roof_slate", gloss=_MATT),
        Recipe(t.BRICKS, 0.5, (0.25, 0.4), "roof_slate", gloss=_MATT),
        Recipe(t.STRIPES, 0.3, (0.3, 0.5), "metal"),
        Recipe(t.GRAVEL, 0.2, (0.04, 0.1), "pebbles", gloss=_MATT),
    ),
    "glass": (
        Recipe(t.PLAIN, 1.0, (0.6, 2.5), "glass", (0.0, 0.4), (0.3, 0.8)),
        Recipe(t.FBM, 0.6, (1.0, 3.0), "glass", (0.0, 0.4), (0.3, 0.8)),
    ),
    # nature
    "foliage": (
        Recipe(t.FOLIAGE, 2.0, (0.1, 0.35), "leaves", (0.4, 1.0), (0.0, 0.1)),
        Recipe(t.FOLIAGE, 0.5, (0.1, 0.35), "leaves_autumn", (0.4, 1.0), (0.0, 0.1)),
        Recipe(t.FOLIAGE, 0.3, (0.1, 0.3), "flowers", (0.4, 1.0), (0.0, 0.1)),
    ),
    "bark": (
        Recipe(t.BARK, 1.5, (0.1, 0.3), "bark", gloss=_MATT),
        Recipe(t.BARK, 0.3, (0.1, 0.3), "birch", gloss=_MATT),
    ),
    "stone": (
        Recipe(t.GRANITE, 1.0, (0.1, 0.5), "granite"),
        Recipe(t.MARBLE, 0.7, (0.2, 0.8), "marble"),
        Recipe(t.MARBLE, 0.4, (0.2, 0.8), "marble_dark"),
        Recipe(t.LAYERS, 0.8, (0.15, 0.8), "stone"),
        Recipe(t.FBM, 0.6, (0.1, 0.5), "stone_grey", (0.5, 1.0)),
        Recipe(t.MASONRY, 0.4, (0.3, 0.8), "stone"),
    ),
    "water": (Recipe(t.WATER, 1.0, (0.5, 2.0), "water", (0.1, 0.4), (0.4, 0.9)),),
    # things
    "metal": (
        Recipe(t.BRUSHED, 1.0, (0.15, 0.6), "metal", gloss=(0.3, 0.8)),
        Recipe(t.PLAIN, 0.8, (0.3, 1.0), "metal", _SMOOTH, (0.4, 1.0)),
        Recipe(t.BRUSHED, 0.3, (0.15, 0.6), "brass", gloss=(0.3, 0.8)),
        Recipe(t.FBM, 0.3, (0.1, 0.5), "rust", (0.5, 1.0), _MATT),
    ),
    "car": (
        Recipe(t.PLAIN, 1.0, (0.8, 2.5), "car", _SMOOTH, (0.4, 0.9)),
        Recipe(t.PLAIN, 1.2, (0.8, 2.5), "car_grey", _SMOOTH, (0.4, 0.9)),
    ),
    "rubber": (
        Recipe(t.PLAIN, 1.0, (0.1, 0.5), "rubber", _SMOOTH, _MATT),
        Recipe(t.PLASTER, 0.4, (0.1, 0.3), "rubber", (0.2, 0.6), _MATT),
    ),
    "skin": (Recipe(t.PLAIN, 1.0, (0.05, 0.3), "skin", _SMOOTH, (0.0, 0.15)),),
    "cloth": (
        Recipe(t.WEAVE, 1.5, (0.005, 0.02), gloss=_MATT),
        Recipe(t.PLAIN, 1.2, (0.1, 0.5), None, _SMOOTH, _MATT),
        Recipe(t.STRIPES, 0.8, (0.03, 0.12), gloss=_MATT),
        Recipe(t.PLAID, 0.9, (0.06, 0.25), gloss=_MATT),
        Recipe(t.CHEVRON, 0.8, (0.015, 0.06), gloss=_MATT),
        Recipe(t.DOTS, 0.4, (0.02, 0.08), gloss=_MATT),
        Recipe(t.CAMOUFLAGE, 0.3, (0.08, 0.25), gloss=_MATT),
        Recipe(t.PLAIN, 0.4, (0.1, 0.5), "vivid", gloss=_MATT),
        Recipe(t.LABEL, 0.2, (0.3, 0.6), "label", gloss=_MATT),
    ),
    "text": (
        Recipe(t.TEXT, 1.2, (0.15, 0.5), "page", (0.0, 0.4)),
        Recipe(t.LABEL, 1.0, (0.1, 0.4), "label", (0.0, 0.4)),
        Recipe(t.SIGN, 0.4, (0.2, 0.6), "sign_white", (0.0, 0.3)),
    ),
    "sign": (
        Recipe(t.SIGN, 1.0, (0.6, 1.5), "sign_white", (0.0, 0.2), (0.0, 0.3)),
        Recipe(t.SIGN, 1.0, (0.6, 1.5), "sign_color", (0.0, 0.2), (0.0, 0.3)),
        Recipe(t.SIGN, 0.5, (0.6, 1.5), "sign_yellow", (0.0, 0.2), (0.0, 0.3)),
    ),
    "plastic": (
        Recipe(t.PLAIN, 1.5, (0.1, 0.5), "vivid", _SMOOTH, (0.15, 0.5)),
        Recipe(t.PLAIN, 0.8, (0.1, 0.5), "pastel", _SMOOTH, (0.15, 0.5)),
        Recipe(t.PLAIN, 0.5, (0.1, 0.5), "dark", _SMOOTH, (0.15, 0.5)),
    ),
    "ceramic": (
        Recipe(t.PLAIN, 1.0, (0.1, 0.5), "ceramic", _SMOOTH, (0.3, 0.7)),
        Recipe(t.STRIPES, 0.5, (0.03, 0.12), "ceramic", _SMOOTH, (0.3, 0.7)),
        Recipe(t.ORNAMENT, 0.6, (0.05, 0.2), "ceramic", _SMOOTH, (0.3, 0.7)),
        Recipe(t.SPECKLE, 0.5, (0.01, 0.04), "ceramic", _SMOOTH, (0.3, 0.7)),
        Recipe(t.DOTS, 0.4, (0.02, 0.08), "ceramic", _SMOOTH, (0.3, 0.7)),
        Recipe(t.LAYERS, 0.4, (0.05, 0.2), None, _SMOOTH, (0.3, 0.7)),
    ),
    "toy": (
        Recipe(t.PLAIN, 1.0, (0.1, 0.4), "vivid", _SMOOTH, (0.1, 0.5)),
        Recipe(t.STRIPES, 1.0, (0.02, 0.1), "vivid"),
        Recipe(t.DOTS, 1.0, (0.02, 0.1), "vivid"),
        Recipe(t.CHECKER, 0.8, (0.02, 0.08), "vivid"),
        Recipe(t.LABEL, 0.6, (0.1, 0.3), "label"),
        Recipe(t.CHEVRON, 0.5, (0.02, 0.1), "vivid"),
        Recipe(t.LAYERS, 0.4, (0.05, 0.2), "vivid"),
        Recipe(t.MOSAIC, 0.4, (0.02, 0.08), "vivid"),
    ),
}
