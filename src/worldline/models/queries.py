"""Questions to a video, and what the decoder of D4RT knows of them: place, times, colours (arXiv 2512.08924, 2.2)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import gelu

from worldline.errors import InputError
from worldline.models.config import D4rtConfig
from worldline.models.layers.blocks import init_linear_layers
from worldline.models.layers.clip_position import time_waves
from worldline.models.layers.color_patch import color_patches
from worldline.models.layers.trunk import full_precision

_WAVES = 6  # octaves of the code of time


class Queries(NamedTuple):
    """Questions to a batch of videos. All of one shape."""

    u: Float[Tensor, "batch query"]  # (x + 0.5) / W of the point in frame t_src
    v: Float[Tensor, "batch query"]  # (y + 0.5) / H
    t_src: Int[Tensor, "batch query"]  # frame in which it is seen
    t_tgt: Int[Tensor, "batch query"]  # when its position is wanted
    t_cam: Int[Tensor, "batch query"]  # in the camera of which frame

    def split(self, count: int) -> list[Queries]:
        """Portions of at most ``count`` queries per video."""
        parts = [part.split(count, 1) for part in self]
        return [Queries(*pieces) for pieces in zip(*parts, strict=True)]


TIMES = ("t_src", "t_tgt", "t_cam")


def check_times(queries: Queries, frames: int, names: tuple[str, ...] = TIMES) -> None:
    """Raise InputError unless all times (of these names) are frames of a clip of so many frames."""
    for name in names:
        times = getattr(queries, name)
        if times.numel() and not (int(times.min()) >= 0 and int(times.max()) < frames):
            raise InputError(
                f"{name} reaches from {int(times.min())} to {int(times.max())}, the clip has frames 0 to {frames - 1}.",
                "Times count the frames of the clip, from 0.",
            )


class QueryEmbedding(nn.Module):
    """One token per query: Fourier features of (u, v) + three times + the colours around the point (section 2.2)."""

    frequencies: Tensor

    def __init__(self, config: D4rtConfig) -> None:
        super().__init__()
        self.config = config
        dim = config.decoder_dim
        self.uv = nn.Linear(2 + 4 * config.fourier_bands, dim)
        self.times = nn.ModuleList(
            # an Embedding's own random start, on the meta device, takes seconds to import PyTorch's compiler
            nn.Embedding.from_pretrained(torch.empty(config.clip_frames, dim), freeze=False)
            if config.time_code == "table"
            else nn.Linear(2 * _WAVES, dim)
            for _ in range(3)
        )
        self.colors: nn.Module | None = None
        if config.color_patch:
            self.colors = nn.Sequential(nn.Linear(3 * config.color_patch**2, dim), nn.GELU(), nn.Linear(dim, dim))
        self.norm = nn.LayerNorm(dim, eps=config.norm_eps)
        self.mlp = nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim)) if config.query_mlp else None
        # on the processor even where the network is built without memory: no state dict brings these
        octaves = torch.arange(config.fourier_bands, dtype=torch.float32, device="cpu")
        self.register_buffer("frequencies", math.pi * 2.0**octaves, persistent=False)
        init_linear_layers(self)
        for layer in self.times:
            if isinstance(layer, nn.Embedding):
                nn.init.trunc_normal_(layer.weight, std=0.02)

    def forward(self, queries: Queries, pixels: Tensor) -> Float[Tensor, "batch query channel"]:
        """Tokens of queries about videos whose frames are ``pixels``."""
        height, width = pixels.shape[2:4]
        u, v = queries.u, queries.v
        if self.config.corners:
            rows, columns = self.config.image_size
            u, v = (columns * u - 0.5) / (columns - 1), (rows * v - 0.5) / (rows - 1)
        u, v = u.float(), v.float()
        with full_precision(u.device):
            token = self.uv(torch.cat((self._waves(u), self._waves(v)), -1))
            for layer, time in zip(self.times, queries[2:], strict=True):
                token = token + (layer(time) if isinstance(layer, nn.Embedding) else layer(time_waves(time, _WAVES)))
            if self.colors is not None:
                x, y = (
                    (u * (width - 1), v * (height - 1)) if self.config.corners else (u * width - 0.5, v * height - 0.5)
                )
                colors = color_patches(pixels, x, y, queries.t_src, self.config.color_patch)
                token = token + self.colors(colors)
            return self.norm(token) if self.mlp is None else token + self.mlp(gelu(self.norm(token)))

    def _waves(self, place: Float[Tensor, "batch query"]) -> Float[Tensor, "batch query wave"]:
        angle = place[..., None] * self.frequencies
        return torch.cat((place[..., None], angle.sin(), angle.cos()), -1)
