"""Light in the open air: a far sun, the sky, and what the sky sends into the shadows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from worldline.worlds.world import Sky

SUN_DISTANCE = 2000.0  # metres; far enough for parallel shadows
_SUN_RADIUS = SUN_DISTANCE * np.tan(np.radians(0.27))


@dataclass(frozen=True)
class Daylight:
    """See the fields of ``World``."""

    sky: Sky
    position: Float64[np.ndarray, "1 3"]
    color: Float64[np.ndarray, "1 3"]
    axis: Float64[np.ndarray, "1 3"]
    radius: Float64[np.ndarray, "1"]
    ambient: Float64[np.ndarray, "3"]


def draw_daylight(rng: np.random.Generator) -> Daylight:
    """A clear, hazy or overcast day with the sun 12 to 65 degrees high; low suns are warm."""
    azimuth, height = rng.uniform(-np.pi, np.pi), np.radians(rng.uniform(12.0, 65.0))
    towards = np.array([np.cos(azimuth) * np.cos(height), np.sin(azimuth) * np.cos(height), np.sin(height)])
    cover = 0.0 if rng.random() < 0.5 else rng.uniform(0.2, 1.0)
    warmth = 0.3 * np.exp(-np.degrees(height) / 20.0) + rng.uniform(-0.03, 0.05)
    tint = np.array([1.0 + warmth, 1.0, 1.0 - 1.4 * warmth])
    strength = rng.uniform(2.0, 3.2) * (1.0 - 0.92 * cover)
    grey, bright = np.array([0.85, 0.9, 0.95]), rng.uniform(0.9, 1.3)
    blue = np.array([0.16, 0.34, 0.75]) * rng.uniform(0.8, 1.3)
    zenith = bright * ((1 - cover) * blue + 0.8 * cover * grey)
    horizon = bright * ((1 - cover) * np.array([0.62 + 0.6 * warmth, 0.78, 0.95 - 0.5 * warmth]) + 0.95 * cover * grey)
    shade = (1 - cover) * np.array([0.85, 0.97, 1.2]) + cover * np.ones(3)
    clouds = float(np.clip(rng.uniform(0.0, 0.5) + 0.6 * cover, 0.0, 1.0))
    return Daylight(
        Sky(zenith, horizon, clouds, int(rng.integers(2**31))),
        SUN_DISTANCE * towards[None],
        strength * tint[None] * SUN_DISTANCE**2,
        -towards[None],
        np.full(1, _SUN_RADIUS),
        (rng.uniform(0.45, 0.7) + 0.6 * cover) * shade,
    )
