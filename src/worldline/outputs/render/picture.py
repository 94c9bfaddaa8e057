"""What rendering returns, and what is done to it afterwards: backgrounds, finer rendering, colours of depth."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from worldline.errors import InputError
from worldline.outputs.drawing import colorize
from worldline.types import Camera

BACKGROUNDS = {"white": (1.0, 1.0, 1.0), "black": (0.0, 0.0, 0.0), "grey": (0.5, 0.5, 0.5)}
Background = str | float | Sequence[float]
_PIXEL_BYTES = 70  # of memory that drawing takes, as measured
MOST_PIXELS = 1 << 26  # of a picture before it is averaged: 8K, or 4K drawn twice as fine in both directions


@dataclass(frozen=True, eq=False)
class Picture:
    """A rendered image: what a camera would see of a scene."""

    color: UInt8[np.ndarray, "height width 3"] = field(repr=False)  # sRGB, on the background
    depth: Float32[np.ndarray, "height width"] = field(repr=False)  # along the optical axis; 0 where nothing is
    alpha: Float32[np.ndarray, "height width"] = field(repr=False)  # share of the pixel that the scene covers


def background_color(background: Background) -> tuple[float, float, float]:
    """A name, "#rrggbb", a grey level in [0, 1] or three numbers in [0, 1] -> three numbers in [0, 1].

    Raises:
        InputError: none of these.
    """
    if isinstance(background, str):
        if background in BACKGROUNDS:
            return BACKGROUNDS[background]
        if re.fullmatch(r"#[0-9a-fA-F]{6}", background):
            red, green, blue = (int(background[start : start + 2], 16) / 255 for start in (1, 3, 5))
            return red, green, blue
    else:
        levels = np.broadcast_to(np.asarray(background, np.float64), (3,)) if np.size(background) in (1, 3) else None
        if levels is not None and ((levels >= 0) & (levels <= 1)).all():
            return float(levels[0]), float(levels[1]), float(levels[2])
    raise InputError(
        f"There is no background {background!r}.", f"Choose {', '.join(BACKGROUNDS)} or a colour such as #20303f."
    )


def check_pixels(size: tuple[int, int], supersample: int) -> None:
    """Refuse a picture that is too large to be drawn, before any work.

    Args:
        size: height and width in pixels.
        supersample: how many times finer it is drawn in both directions.

    Raises:
        InputError: supersampling below 1, or more than :data:`MOST_PIXELS` pixels with it.
    """
    if supersample < 1:
        raise InputError(f"The supersampling is {supersample}.", "Give 1 or more.")
    height, width = size
    pixels = height * width * supersample**2
    if pixels > MOST_PIXELS:
        raise InputError(
            f"A picture of {width}x{height} with supersampling {supersample} has {pixels / 1e6:,.0f} million pixels, "
            f"which would take about {pixels * _PIXEL_BYTES / 1e9:,.0f} GB.",
            f"Ask for at most {MOST_PIXELS / 1e6:.0f} million, with a smaller size or less supersampling.",
        )


def finer(camera: Camera, factor: int) -> Camera:
    """The camera of an image with ``factor`` x ``factor`` pixels for each pixel."""
    shift = (factor - 1) / 2
    enlarge = np.array([[factor, 0, shift], [0, factor, shift], [0, 0, 1.0]])
    return camera.mapped(enlarge, camera.height * factor, camera.width * factor)


@dataclass(frozen=True)
class Layers:
    """A rendering before it is put on a background; torch, on any device."""

    color: Float[Tensor, "height width 3"]  # 0..1, multiplied by alpha
    depth: Float[Tensor, "height width"]  # 0 where nothing is
    alpha: Float[Tensor, "height width"]

    def reduced(self, factor: int) -> Layers:
        """``factor`` x ``factor`` pixels become one: mean colour and coverage, nearest depth (means would float)."""
        if factor == 1:
            return self
        height, width = (side // factor for side in self.alpha.shape)
        split = height, factor, width, factor
        depth = torch.where(self.alpha > 0, self.depth, torch.inf).view(split).amin((1, 3))
        return Layers(
            self.color.view(*split, 3).mean((1, 3)),
            torch.where(depth.isinf(), 0.0, depth),
            self.alpha.view(split).mean((1, 3)),
        )

    def on(self, background: tuple[float, float, float]) -> Picture:
        """The picture on a background of one colour."""
        behind = torch.tensor(background, dtype=self.color.dtype, device=self.color.device)
        color = self.color + (1 - self.alpha)[..., None] * behind
        return Picture(
            (255 * color).round_().clamp_(0, 255).to(torch.uint8).numpy(force=True),
            self.depth.float().numpy(force=True),
            self.alpha.float().numpy(force=True),
        )


def depth_colors(
    picture: Picture, near: float, far: float, background: tuple[float, float, float]
) -> UInt8[np.ndarray, "height width 3"]:
    """Depth as colours, near is red and far is blue, in even steps of inverse depth as in the literature of stereo."""
    closeness = (1 / np.maximum(picture.depth, 1e-12) - 1 / far) / max(1 / near - 1 / far, 1e-12)
    alpha = picture.alpha[..., None]
    seen = np.where(picture.depth[..., None] > 0, colorize(closeness), 0)
    return np.rint(alpha * seen + (1 - alpha) * 255 * np.asarray(background)).astype(np.uint8)
