"""Changes of colour that are the same for all frames of a clip (arXiv 2512.08924, appendix A)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

_LUMA = np.array([0.299, 0.587, 0.114])
_RADIUS = 2.5  # of the blur, in standard deviations


@dataclass(frozen=True)
class ColorOptions:
    """How much colours change. The paper names the kinds and the two probabilities, not the magnitudes."""

    brightness: float = 0.2  # standard deviation of the logarithm of the gain
    contrast: float = 0.2  # of the logarithm of the spread around mid-grey
    saturation: float = 0.3  # of the factor on what differs from grey
    hue: float = 0.15  # of the angle, in radians
    drop: float = 0.2  # share of the clips that lose their colours
    blur: float = 0.4  # share of the clips that are blurred
    sigma: tuple[float, float] = (0.2, 1.2)  # of the blur, in pixels at an image size of 128


@dataclass(frozen=True)
class ClipColors:
    """One change per clip."""

    matrix: Float[Tensor, "clip 3 3"]  # applied to colours in [0, 1]
    offset: Float[Tensor, "clip"]
    sigma: Float[
        np.ndarray, "clip"
    ]  # standard deviation of the blur in image widths; 0 = none. Stays on the processor:
    # it decides which kernels are called

    @classmethod
    def draw(cls, clips: int, options: ColorOptions, rng: np.random.Generator) -> Self:
        """Changes for so many clips."""
        gain, contrast = (np.exp(part * rng.standard_normal(clips)) for part in (options.brightness, options.contrast))
        saturation = np.clip(1 + options.saturation * rng.standard_normal(clips), 0, 2)
        saturation[rng.random(clips) < options.drop] = 0
        hue = options.hue * rng.standard_normal(clips)
        grey = np.broadcast_to(_LUMA, (3, 3))
        mixed = saturation[:, None, None] * _hue_turns(hue) + (1 - saturation[:, None, None]) * grey
        sigma = rng.uniform(*options.sigma, clips) / 128 * (rng.random(clips) < options.blur)
        matrix = (gain * contrast)[:, None, None] * mixed
        tensors = [torch.from_numpy(part.astype(np.float32)) for part in (matrix, 0.5 * (1 - contrast))]
        return cls(tensors[0], tensors[1], sigma.astype(np.float32))

    def apply(self, images: Float[Tensor, "clip frame 3 height width"]) -> Float[Tensor, "clip frame 3 height width"]:
        """Changed colours, in [0, 1] as the given ones."""
        turned = torch.matmul(self.matrix[:, None], images.flatten(-2)).view_as(images)
        turned = turned.add_(self.offset[:, None, None, None, None]).clamp_(0, 1)
        sigma = self.sigma * np.float32(images.shape[-1])
        for row in np.flatnonzero(sigma):
            turned[row] = blurred(turned[row], float(sigma[row]))
        return turned


def blurred(images: Float[Tensor, "frame 3 height width"], sigma: float) -> Float[Tensor, "frame 3 height width"]:
    """Gaussian blur with a standard deviation in pixels; the edge pixels are continued outwards."""
    radius, (height, width) = max(1, math.ceil(_RADIUS * sigma)), images.shape[-2:]
    weights = [math.exp(-0.5 * (step / sigma) ** 2) for step in range(radius + 1)]
    total = 2 * sum(weights) - weights[0]
    around = pad(images, (radius,) * 4, mode="replicate")
    for axis, size in ((-1, width), (-2, height)):  # sums of shifted planes: ten times faster than a convolution here
        sums = around.narrow(axis, radius, size) * (weights[0] / total)
        for step in range(1, radius + 1):
            pair = around.narrow(axis, radius - step, size) + around.narrow(axis, radius + step, size)
            sums.add_(pair, alpha=weights[step] / total)
        around = sums
    return around


def _hue_turns(angle: Float[np.ndarray, "clip"]) -> Float[np.ndarray, "clip 3 3"]:
    """Rotations around the axis of greys, which keep every grey (Rodrigues)."""
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    cos, sin = (part[:, None, None] for part in (np.cos(angle), np.sin(angle)))
    return cos * np.eye(3) + sin * cross + (1 - cos) / 3 * np.ones((3, 3))
