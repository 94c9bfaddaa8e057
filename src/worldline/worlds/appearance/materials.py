"""Random materials: which patterns and colours a wall, a table or a cushion may have."""

from __future__ import annotations

import colorsys

import numpy as np
from jaxtyping import Float32, Float64

from worldline.worlds.appearance import textures
from worldline.worlds.world import MATERIAL_WIDTH, Builder, material_slices

_COLUMNS = material_slices()

# family -> [(pattern, weight, (scale low, high) in metres)]
_FAMILIES: dict[str, list[tuple[int, float, tuple[float, float]]]] = {
    "wall": [
        (textures.PLAIN, 3.0, (0.4, 1.5)), (textures.FBM, 1.5, (0.1, 0.8)), (textures.STRIPES, 1.2, (0.08, 0.4)),
        (textures.BRICKS, 1.5, (0.2, 0.45)), (textures.TILES, 1.0, (0.15, 0.6)), (textures.WOOD, 0.8, (0.15, 0.4)),
        (textures.POSTER, 0.5, (0.6, 1.6)), (textures.CAMOUFLAGE, 0.5, (0.3, 1.0)),
    ],
    "floor": [
        (textures.WOOD, 2.5, (0.15, 0.4)), (textures.TILES, 2.5, (0.2, 0.7)), (textures.SPECKLE, 1.5, (0.06, 0.2)),
        (textures.WEAVE, 1.5, (0.02, 0.06)), (textures.FBM, 1.0, (0.15, 0.6)), (textures.BRICKS, 0.6, (0.2, 0.4)),
        (textures.PLAIN, 0.5, (0.5, 1.5)),
    ],
    "ceiling": [
        (textures.PLAIN, 5.0, (0.5, 2.0)), (textures.FBM, 1.0, (0.2, 0.8)), (textures.TILES, 1.5, (0.5, 0.8)),
        (textures.WOOD, 0.6, (0.2, 0.4)),
    ],
    "furniture": [
        (textures.WOOD, 4.0, (0.06, 0.25)), (textures.PLAIN, 1.5, (0.3, 1.0)), (textures.FBM, 1.0, (0.05, 0.4)),
        (textures.SPECKLE, 0.7, (0.03, 0.1)), (textures.STRIPES, 0.6, (0.04, 0.2)), (textures.TILES, 0.4, (0.1, 0.3)),
    ],
    "fabric": [
        (textures.WEAVE, 3.0, (0.01, 0.05)), (textures.STRIPES, 1.5, (0.04, 0.2)), (textures.FBM, 1.0, (0.03, 0.2)),
        (textures.CAMOUFLAGE, 1.0, (0.08, 0.3)), (textures.TILES, 0.7, (0.05, 0.25)), (textures.PLAIN, 0.8, (0.2, 1.0)),
    ],
    "thing": [
        (textures.FBM, 1.5, (0.03, 0.2)), (textures.STRIPES, 1.2, (0.02, 0.1)), (textures.TILES, 1.0, (0.03, 0.12)),
        (textures.SPECKLE, 1.2, (0.015, 0.06)), (textures.POSTER, 1.5, (0.08, 0.3)),
        (textures.WOOD, 1.0, (0.03, 0.15)), (textures.CAMOUFLAGE, 1.0, (0.04, 0.2)),
        (textures.BRICKS, 0.4, (0.05, 0.15)), (textures.PLAIN, 1.0, (0.1, 0.5)),
    ],
    "poster": [
        (textures.POSTER, 3.0, (0.25, 0.9)), (textures.FBM, 0.7, (0.05, 0.3)), (textures.CAMOUFLAGE, 0.6, (0.1, 0.3)),
    ],
    "books": [(textures.BOOKS, 1.0, (0.02, 0.045))],
    "window": [(textures.OUTDOOR, 1.0, (0.8, 1.8))],
    "plain": [(textures.PLAIN, 1.0, (0.2, 1.0))],
}  # fmt: skip


def _hsv(hue: float, saturation: float, value: float) -> Float64[np.ndarray, "3"]:
    """Linear RGB from display-referred HSV."""
    rgb = colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))
    return np.array(rgb) ** 2.2


def _tone(rng: np.random.Generator, family: str) -> tuple[float, float]:
    """Saturation and value: buildings are mostly muted, things free, and now and then anything goes."""
    if rng.random() < 0.1:
        return rng.uniform(0.0, 0.9), rng.uniform(0.25, 0.95)
    high = {"wall": 0.3, "ceiling": 0.1, "plain": 0.25, "floor": 0.4, "furniture": 0.45, "fabric": 0.65}.get(
        family, 0.9
    )
    low = {"wall": 0.5, "ceiling": 0.75, "plain": 0.4, "floor": 0.3}.get(family, 0.25)
    return high * rng.random() ** 1.5, rng.uniform(low, 0.95)


def _palette(rng: np.random.Generator, family: str, pattern: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Three related colours; muted for surfaces of a building, free for small things."""
    hue = rng.random()
    if pattern == textures.WOOD and rng.random() < 0.75:
        hue, value = rng.uniform(0.04, 0.12), rng.uniform(0.35, 0.85)
        return (
            _hsv(hue, rng.uniform(0.25, 0.65), value),
            _hsv(hue - 0.01, rng.uniform(0.4, 0.75), value * rng.uniform(0.45, 0.8)),
            _hsv(hue, 0.5, 0.2),
        )
    if pattern == textures.BRICKS and rng.random() < 0.6:
        hue, value = rng.uniform(-0.02, 0.08), rng.uniform(0.45, 0.8)
        return _hsv(hue, 0.6, value), _hsv(hue + 0.02, 0.55, value * 0.65), _hsv(0.1, 0.08, rng.uniform(0.55, 0.85))
    if pattern == textures.OUTDOOR:
        green = rng.uniform(0.22, 0.4)
        return _hsv(0.58, rng.uniform(0.0, 0.25), 1.0), _hsv(0.58, rng.uniform(0.2, 0.6), 0.95), _hsv(green, 0.6, 0.45)
    saturation, value = _tone(rng, family)
    shift = rng.choice([0.0, 0.08, 0.33, 0.5]) + rng.normal(0, 0.03)
    darker = value * rng.uniform(0.35, 0.8) if rng.random() < 0.7 else min(1.0, value * rng.uniform(1.1, 1.6))
    third = rng.uniform(0.1, 0.95)
    calm = {"wall": 0.6, "ceiling": 0.9, "floor": 0.5, "furniture": 0.6, "fabric": 0.3}.get(family, 0.0)
    if rng.random() < calm:  # one colour in three shades
        shift *= 0.1
        darker = value * rng.uniform(0.7, 0.95)
        third = value * rng.uniform(0.55, 1.05)
    return (
        _hsv(hue, saturation, value),
        _hsv(hue + shift, saturation * rng.uniform(0.6, 1.3), darker),
        _hsv(hue + rng.normal(0, 0.1) + shift, saturation * rng.uniform(0.2, 1.4), third),
    )


def material(
    builder: Builder, rng: np.random.Generator, family: str, *, emission: float = 0.0, gloss: float | None = None
) -> int:
    """Draw a material of a family (wall, floor, ceiling, furniture, fabric, thing, poster, books, window, plain)."""
    choices = _FAMILIES[family]
    weights = np.array([weight for _, weight, _ in choices])
    pattern, _, (low, high) = choices[rng.choice(len(choices), p=weights / weights.sum())]
    row: Float32[np.ndarray, "k"] = np.zeros(MATERIAL_WIDTH, np.float32)
    for name, color in zip(("color_a", "color_b", "color_c"), _palette(rng, family, pattern), strict=True):
        row[_COLUMNS[name]] = color
    row[_COLUMNS["scale"]] = np.exp(rng.uniform(np.log(low), np.log(high)))
    row[_COLUMNS["ratio"]] = rng.choice([1.0, 1.0, 0.5, 2.0]) if pattern == textures.TILES else rng.uniform(0.8, 1.3)
    row[_COLUMNS["offset"]] = rng.uniform(0, 50, 3)
    upright = family in ("wall", "poster", "books", "window")
    row[_COLUMNS["angle"]] = 0.0 if upright or rng.random() < 0.6 else rng.uniform(-np.pi, np.pi)
    row[_COLUMNS["contrast"]] = rng.uniform(0.1, 1.0)
    row[_COLUMNS["gloss"]] = (rng.uniform(0.0, 0.35) if rng.random() < 0.4 else 0.0) if gloss is None else gloss
    row[_COLUMNS["emission"]] = emission
    return builder.material(pattern, row)
