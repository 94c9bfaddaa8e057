"""Colours of materials: three related ones, from named ranges or from a scheme that fits the family."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

Range = tuple[float, float]
Colors = tuple[Float64[np.ndarray, "3"], Float64[np.ndarray, "3"], Float64[np.ndarray, "3"]]


@dataclass(frozen=True)
class Shade:
    """A colour relative to the first of a palette, or (``free``) on its own. Display-referred HSV."""

    hue: Range = (-0.015, 0.015)  # added
    saturation: Range = (0.8, 1.1)  # factor
    value: Range = (0.75, 0.95)  # factor
    free: bool = False  # the ranges are the colour itself


@dataclass(frozen=True)
class Palette:
    """Ranges of the three colours of a material."""

    hue: Range
    saturation: Range
    value: Range
    second: Shade = Shade()
    third: Shade = Shade(value=(0.55, 0.85))


_INK = Shade((0.0, 1.0), (0.1, 0.95), (0.15, 0.8), free=True)
_JOINT = Shade((0.05, 0.14), (0.0, 0.12), (0.45, 0.85), free=True)
_DARK = Shade((0.0, 1.0), (0.0, 0.3), (0.05, 0.2), free=True)
_LIGHT = Shade((0.0, 1.0), (0.0, 0.1), (0.8, 0.97), free=True)
_CLOSE = Shade((-0.01, 0.01), (0.9, 1.1), (0.93, 1.04))
_ANY = Shade((0.0, 1.0), (0.5, 1.0), (0.4, 0.95), free=True)

PALETTES: dict[str, Palette] = {
    "asphalt": Palette((0.55, 0.7), (0.0, 0.07), (0.24, 0.48), Shade(value=(0.8, 1.2)), Shade(value=(0.35, 0.6))),
    "lane": Palette((0.1, 0.2), (0.0, 0.06), (0.8, 0.95), _CLOSE, Shade((0.5, 0.7), (0.0, 0.06), (0.3, 0.45), True)),
    "lane_yellow": Palette(
        (0.1, 0.14), (0.6, 0.9), (0.75, 0.95), _CLOSE, Shade((0.5, 0.7), (0.0, 0.06), (0.3, 0.45), True)
    ),
    "concrete": Palette((0.07, 0.6), (0.0, 0.07), (0.45, 0.78), Shade(value=(0.8, 1.05)), Shade(value=(0.4, 0.8))),
    "brick": Palette((-0.02, 0.07), (0.4, 0.68), (0.38, 0.72), Shade(value=(0.6, 0.95)), _JOINT),
    "brick_pale": Palette((0.08, 0.13), (0.15, 0.45), (0.6, 0.85), Shade(value=(0.75, 1.0)), _JOINT),
    "plaster": Palette((0.02, 0.17), (0.0, 0.42), (0.6, 0.95), Shade((-0.02, 0.02), (0.8, 1.1), (0.6, 0.85))),
    "plaster_vivid": Palette((0.0, 1.0), (0.25, 0.7), (0.55, 0.9), Shade((-0.02, 0.02), (0.7, 1.1), (0.65, 0.9))),
    "stone": Palette((0.06, 0.13), (0.03, 0.3), (0.45, 0.82), Shade(value=(0.65, 0.95)), Shade(value=(0.45, 0.95))),
    "stone_grey": Palette((0.5, 0.65), (0.0, 0.1), (0.35, 0.75), Shade(value=(0.6, 1.2)), Shade(value=(0.4, 1.4))),
    "granite": Palette((-0.02, 0.1), (0.0, 0.25), (0.5, 0.85), Shade(value=(0.4, 0.8)), _DARK),
    "marble": Palette((0.05, 0.6), (0.0, 0.08), (0.8, 0.95), Shade(value=(0.85, 1.0)), Shade(value=(0.3, 0.7))),
    "marble_dark": Palette((0.0, 1.0), (0.1, 0.5), (0.15, 0.45), Shade(value=(0.6, 1.6)), _LIGHT),
    "roof_red": Palette((-0.02, 0.06), (0.45, 0.7), (0.42, 0.72), Shade(value=(0.7, 1.0)), Shade(value=(0.4, 0.7))),
    "roof_slate": Palette((0.55, 0.7), (0.02, 0.18), (0.28, 0.5), Shade(value=(0.7, 1.15)), Shade(value=(0.5, 1.3))),
    "glass": Palette((0.5, 0.62), (0.1, 0.5), (0.1, 0.3), Shade(value=(0.7, 1.8)), Shade(value=(1.0, 2.0))),
    "leaves": Palette(
        (0.2, 0.36),
        (0.5, 0.85),
        (0.5, 0.85),
        Shade((-0.02, 0.04), (0.9, 1.2), (0.35, 0.6)),
        Shade((-0.07, -0.01), (0.8, 1.1), (1.0, 1.3)),
    ),
    "leaves_autumn": Palette(
        (0.01, 0.15),
        (0.6, 0.95),
        (0.6, 0.9),
        Shade((-0.04, 0.06), (0.8, 1.1), (0.4, 0.7)),
        Shade((-0.03, 0.06), (0.9, 1.1), (0.9, 1.2)),
    ),
    "flowers": Palette((0.24, 0.34), (0.5, 0.8), (0.45, 0.7), Shade((-0.02, 0.04), (0.9, 1.2), (0.4, 0.6)), _ANY),
    "bark": Palette(
        (0.04, 0.11),
        (0.1, 0.5),
        (0.35, 0.62),
        Shade(value=(0.3, 0.55)),
        Shade((0.12, 0.3), (0.2, 0.4), (0.4, 0.65), True),
    ),
    "birch": Palette((0.08, 0.15), (0.0, 0.08), (0.75, 0.92), Shade(value=(0.2, 0.5)), Shade(value=(0.5, 0.8))),
    "grass": Palette(
        (0.18, 0.32),
        (0.45, 0.8),
        (0.4, 0.7),
        Shade((-0.01, 0.03), (0.9, 1.1), (0.5, 0.75)),
        Shade((-0.09, -0.03), (0.7, 1.0), (0.95, 1.25)),
    ),
    "earth": Palette(
        (0.05, 0.11),
        (0.25, 0.6),
        (0.32, 0.62),
        Shade((-0.01, 0.02), (0.7, 1.1), (0.6, 0.9)),
        Shade((0.05, 0.12), (0.0, 0.2), (0.45, 0.75), True),
    ),
    "sand": Palette((0.09, 0.13), (0.2, 0.45), (0.7, 0.92), Shade(value=(0.85, 1.0)), Shade(value=(0.7, 0.95))),
    "pebbles": Palette(
        (0.03, 0.14),
        (0.05, 0.3),
        (0.45, 0.8),
        Shade(value=(0.5, 0.9)),
        Shade((0.5, 0.7), (0.0, 0.15), (0.4, 0.7), True),
    ),
    "metal": Palette((0.5, 0.65), (0.0, 0.1), (0.35, 0.85), Shade(value=(0.6, 0.9)), _LIGHT),
    "brass": Palette((0.06, 0.13), (0.35, 0.65), (0.5, 0.85), Shade(value=(0.6, 0.9)), _LIGHT),
    "rust": Palette(
        (0.02, 0.07),
        (0.5, 0.8),
        (0.3, 0.6),
        Shade((-0.02, 0.02), (0.6, 1.1), (0.5, 0.9)),
        Shade((0.5, 0.65), (0.0, 0.1), (0.35, 0.6), True),
    ),
    "car": Palette((0.0, 1.0), (0.55, 0.95), (0.2, 0.75), _CLOSE, _CLOSE),
    "car_grey": Palette((0.5, 0.65), (0.0, 0.1), (0.08, 0.95), _CLOSE, _CLOSE),
    "rubber": Palette((0.0, 1.0), (0.0, 0.08), (0.1, 0.25), Shade(value=(0.8, 1.3)), Shade(value=(0.8, 1.8))),
    "skin": Palette(
        (0.03, 0.08),
        (0.3, 0.62),
        (0.32, 0.92),
        Shade((-0.01, 0.01), (0.95, 1.1), (0.9, 0.98)),
        Shade((-0.02, 0.0), (1.0, 1.2), (0.85, 0.95)),
    ),
    "water": Palette((0.42, 0.6), (0.3, 0.75), (0.18, 0.42), Shade((-0.03, 0.03), (0.4, 0.8), (1.3, 2.2)), _LIGHT),
    "page": Palette((0.08, 0.16), (0.0, 0.14), (0.84, 0.96), _INK, _ANY),
    "label": Palette((0.0, 1.0), (0.0, 0.95), (0.4, 0.96), _ANY, _ANY),
    "sign_white": Palette(
        (0.1, 0.6), (0.0, 0.04), (0.85, 0.95), _DARK, Shade((-0.02, 0.01), (0.8, 0.95), (0.6, 0.85), True)
    ),
    "sign_color": Palette((0.0, 1.0), (0.7, 0.95), (0.35, 0.8), _LIGHT, _LIGHT),
    "sign_yellow": Palette((0.1, 0.15), (0.8, 0.95), (0.85, 0.96), _DARK, _DARK),
    "ceramic": Palette((0.0, 1.0), (0.0, 0.25), (0.75, 0.96), Shade((0.5, 0.7), (0.4, 0.9), (0.3, 0.8), True), _INK),
    "vivid": Palette((0.0, 1.0), (0.7, 0.98), (0.55, 0.95), _ANY, Shade((0.0, 1.0), (0.0, 1.0), (0.3, 0.97), True)),
    "pastel": Palette(
        (0.0, 1.0),
        (0.12, 0.35),
        (0.8, 0.96),
        Shade((-0.1, 0.1), (0.5, 1.5), (0.85, 1.05)),
        Shade((0.0, 1.0), (0.1, 0.35), (0.7, 0.95), True),
    ),
    "dark": Palette(
        (0.0, 1.0),
        (0.0, 0.6),
        (0.08, 0.3),
        Shade((-0.1, 0.1), (0.6, 1.2), (0.6, 2.0)),
        Shade((0.0, 1.0), (0.0, 0.7), (0.2, 0.8), True),
    ),
    "contrast": Palette((0.0, 1.0), (0.0, 0.15), (0.8, 0.96), _DARK, _ANY),
    "calm": Palette((0.0, 1.0), (0.0, 0.35), (0.35, 0.95), _CLOSE, Shade((-0.02, 0.02), (0.8, 1.2), (0.8, 1.1))),
    "white": Palette((0.0, 1.0), (0.0, 0.05), (0.78, 0.96), _CLOSE, _CLOSE),
    "wood": Palette(
        (0.04, 0.12),
        (0.25, 0.65),
        (0.35, 0.85),
        Shade((-0.015, 0.0), (1.1, 1.5), (0.45, 0.8)),
        Shade((0.05, 0.1), (0.4, 0.6), (0.12, 0.3), True),
    ),
    "outdoor": Palette(
        (0.55, 0.6),
        (0.0, 0.25),
        (0.97, 1.0),
        Shade((0.55, 0.6), (0.2, 0.6), (0.9, 1.0), True),
        Shade((0.22, 0.4), (0.5, 0.65), (0.4, 0.5), True),
    ),
}


def linear_rgb(hue: float, saturation: float, value: float) -> Float64[np.ndarray, "3"]:
    """Linear RGB from display-referred HSV; saturation and value are clipped, the hue wraps."""
    rgb = colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0))
    return np.array(rgb) ** 2.2


def draw(rng: np.random.Generator, name: str) -> Colors:
    """Three colours of a named palette, linear RGB."""
    palette = PALETTES[name]
    hue, saturation, value = (rng.uniform(*span) for span in (palette.hue, palette.saturation, palette.value))

    def shade(relative: Shade) -> Float64[np.ndarray, "3"]:
        h, s, v = (rng.uniform(*span) for span in (relative.hue, relative.saturation, relative.value))
        return linear_rgb(h, s, v) if relative.free else linear_rgb(hue + h, saturation * s, value * v)

    return linear_rgb(hue, saturation, value), shade(palette.second), shade(palette.third)


# family of a room -> (saturation at most, value at least, how often it is one colour in three shades)
_MANNERS = {
    "wall": (0.3, 0.5, 0.6),
    "ceiling": (0.1, 0.75, 0.9),
    "plain": (0.25, 0.4, 0.0),
    "floor": (0.4, 0.3, 0.5),
    "furniture": (0.45, 0.25, 0.6),
    "fabric": (0.65, 0.25, 0.3),
}


def scheme(rng: np.random.Generator, family: str) -> Colors:
    """Three colours that go together: muted for the surfaces of a building, free for small things.

    Now and then anything goes: a surface of a building may be vivid, pastel, dark or nearly white as well.
    """
    most, least, calm = _MANNERS.get(family, (0.9, 0.25, 0.0))
    bold = rng.random()
    if bold < 0.22 and family != "ceiling":
        return draw(rng, ("vivid", "pastel", "dark", "contrast")[int(bold / 0.055)])
    hue = rng.random()
    saturation, value = most * rng.random() ** 1.5, rng.uniform(least, 0.95)
    shift = rng.choice([0.0, 0.08, 0.33, 0.5]) + rng.normal(0, 0.03)
    darker = value * rng.uniform(0.35, 0.8) if rng.random() < 0.7 else min(1.0, value * rng.uniform(1.1, 1.6))
    third = rng.uniform(0.1, 0.95)
    if rng.random() < calm:  # one colour in three shades
        shift *= 0.1
        darker = value * rng.uniform(0.7, 0.95)
        third = value * rng.uniform(0.55, 1.05)
    return (
        linear_rgb(hue, saturation, value),
        linear_rgb(hue + shift, saturation * rng.uniform(0.6, 1.3), darker),
        linear_rgb(hue + rng.normal(0, 0.1) + shift, saturation * rng.uniform(0.2, 1.4), third),
    )
