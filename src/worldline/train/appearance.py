"""Random changes of colour and sharpness, so that a network does not rely on how its training images look.

Rendered images are clean, real photos are not: exposure, white balance, tone curve, colour, noise and focus differ from
photo to photo. A change is *drawn* on the processor and *applied* on the device that trains, without a look back.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldline.train.precise import turned

_LUMA = np.array([0.299, 0.587, 0.114])
_RADIUS = 3  # of the blur, pixels: enough for a standard deviation of 1.5


@dataclass(frozen=True)
class Appearance:
    """How much images change. Numbers are standard deviations where nothing else is said."""

    gain: float = 0.18  # of the logarithm of the brightness
    tint: float = 0.06  # of the logarithm of red and blue against green (half of that for green)
    contrast: float = 0.15  # of the logarithm of the spread around mid-grey
    saturation: float = 0.25  # of the factor on what differs from grey
    gamma: float = 0.12  # of the logarithm
    noise: float = 0.012  # of the noise's own standard deviation, colours in [0, 1]
    hue: float = 0.0  # of the angle, radians
    grey: float = 0.05  # share of the scenes without colours
    blur: float = 0.0  # share of the views that are out of focus
    sigma: tuple[float, float] = (0.4, 1.2)  # of the blur, pixels of the image that the network sees

    @classmethod
    def hard(cls) -> Self:
        """For weights that are to work on real photos."""
        return cls(0.3, 0.12, 0.25, 0.4, 0.25, 0.025, hue=0.25, grey=0.12, blur=0.3)


@dataclass(frozen=True)
class ColorChange:
    """One change per view of a batch."""

    matrix: Float[Tensor, "scene view 3 3"]  # applied to colours in [0, 1]
    offset: Float[Tensor, "scene view"]
    gamma: Float[Tensor, "scene view"]
    noise: Float[Tensor, "scene"]  # standard deviation
    noise_seed: int
    sigma: Float[Tensor, "scene view"] | None = None  # of the blur, pixels; None: nothing is blurred

    @classmethod
    def draw(
        cls,
        scenes: int,
        views: int,
        rng: np.random.Generator,
        shares: tuple[float, float] = (0.7, 0.7),
        options: Appearance | None = None,
    ) -> Self:
        """Partly shared by a scene, partly drawn per view: different photos of one place differ in all of these.

        ``shares`` are the standard deviations of the two parts.
        """
        options = options or Appearance()
        drawn = [_draw_colors(views, rng, shares, options) for _ in range(scenes)]
        matrix, offset, gamma, noise = (
            torch.from_numpy(np.stack(part).astype(np.float32)) for part in zip(*drawn, strict=True)
        )
        sigma = None
        if options.blur:
            blurred = rng.random((scenes, views)) < options.blur
            sigma = torch.from_numpy((rng.uniform(*options.sigma, (scenes, views)) * blurred).astype(np.float32))
        return cls(matrix, offset, gamma, noise, int(rng.integers(2**62)), sigma)

    def apply(self, colors: Float[Tensor, "scene view height width 3"]) -> Float[Tensor, "scene view height width 3"]:
        """Changed colours, in [0, 1] as the given ones: focus, then colours, tone, noise, as in a camera."""
        per_view = (..., None, None, None)
        if self.sigma is not None:
            colors = blurred(colors, self.sigma)
        changed = turned(colors, self.matrix[:, :, None, None]) + self.offset[per_view]
        changed = changed.clamp(1e-4, 1) ** self.gamma[per_view]
        generator = torch.Generator(colors.device).manual_seed(self.noise_seed)
        noise = torch.randn(colors.shape, generator=generator, device=colors.device)
        return (changed + noise * self.noise[:, None, None, None, None]).clamp(0, 1)

    def with_parts(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same with every tensor changed, e.g. moved."""
        parts: dict[str, Any] = {k: change(value) for k, value in vars(self).items() if isinstance(value, Tensor)}
        return replace(self, **parts)


def blurred(
    colors: Float[Tensor, "scene view height width 3"], sigma: Float[Tensor, "scene view"]
) -> Float[Tensor, "scene view height width 3"]:
    """Gaussian blur with a standard deviation in pixels per view (0: none); edge pixels are continued outwards."""
    steps = torch.arange(_RADIUS + 1, device=sigma.device)
    weights = torch.exp(-0.5 * (steps / sigma[..., None].clamp(min=1e-3)) ** 2)
    weights = weights / (2 * weights.sum(-1, keepdim=True) - weights[..., :1])
    for axis in (2, 3):
        size = colors.shape[axis]
        places = torch.arange(size, device=colors.device)
        total = colors * weights[..., 0, None, None, None]
        for step in range(1, _RADIUS + 1):
            pair = [colors.index_select(axis, (places + shift).clamp(0, size - 1)) for shift in (-step, step)]
            total = total + (pair[0] + pair[1]) * weights[..., step, None, None, None]
        colors = total
    return colors


def _draw_colors(
    views: int, rng: np.random.Generator, shares: tuple[float, float], options: Appearance
) -> tuple[Float[np.ndarray, "view 3 3"], Float[np.ndarray, "view"], Float[np.ndarray, "view"], np.ndarray]:
    """Matrix, offset, gamma of every view, and the noise of the scene."""

    def draw(spread: float) -> Float[np.ndarray, "view"]:
        return spread * (shares[0] * rng.standard_normal() + shares[1] * rng.standard_normal(views))

    tint = options.tint
    gain = np.exp(draw(options.gain)[:, None] + np.stack([draw(tint), draw(tint / 2), draw(tint)], -1))
    saturation = np.clip(1 + draw(options.saturation), 0, 2)
    if rng.random() < options.grey:
        saturation = np.zeros(views)
    contrast, gamma = np.exp(draw(options.contrast)), np.exp(draw(options.gamma))
    pure = _hue_turns(draw(options.hue)) if options.hue else np.eye(3)
    mix = saturation[:, None, None] * pure + (1 - saturation)[:, None, None] * _LUMA
    return (gain * contrast[:, None])[:, :, None] * mix, 0.5 * (1 - contrast), gamma, np.abs(draw(options.noise)[0])


def _hue_turns(angle: Float[np.ndarray, "view"]) -> Float[np.ndarray, "view 3 3"]:
    """Rotations around the axis of greys, which keep every grey (Rodrigues)."""
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    cos, sin = (part[:, None, None] for part in (np.cos(angle), np.sin(angle)))
    return cos * np.eye(3) + sin * cross + (1 - cos) / 3 * np.ones((3, 3))
