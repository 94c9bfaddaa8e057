"""Small networks of the D4RT family with random weights, for tests of what holds whatever the weights."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch

from worldline.models.config import D4rtConfig
from worldline.models.d4rt import Answers, D4rt, Queries

SIZES = {
    "clip_frames": 8, "image_size": (32, 48), "patch": (2, 8, 8), "encoder_dim": 24, "encoder_depth": 4,
    "encoder_heads": 2, "encoder_mlp_dim": 40, "decoder_dim": 36, "decoder_depth": 2, "decoder_heads": 3,
    "decoder_mlp_dim": 50, "fourier_bands": 5, "color_patch": 5, "max_tokens": 200,
}  # fmt: skip
CONFIGS = {
    "paper": D4rtConfig(**SIZES),
    "open": replace(D4rtConfig.open(8), **SIZES),
    "mini": replace(D4rtConfig.mini(), **SIZES),
}
FLOAT_NOISE = 1e-5


@cache
def network(name: str, **changes: object) -> D4rt:
    """One of CONFIGS with random values everywhere, so that nothing is hidden by a zero or an identity."""
    generator = torch.Generator().manual_seed(0)
    model = D4rt(replace(CONFIGS[name], **changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise / parameter[0].numel() ** 0.5 if parameter.dim() > 1 else parameter + 0.2 * noise)
    return model


def video(frames: int = 8, batch: int = 1, seed: int = 0, size: tuple[int, int] = (32, 48)) -> torch.Tensor:
    """Noise [batch, frame, 3, height, width] in [0, 1]."""
    return torch.rand(batch, frames, 3, *size, generator=torch.Generator().manual_seed(seed))


def questions(count: int, frames: int = 8, batch: int = 1, seed: int = 0) -> Queries:
    """Random queries, some of them outside of the image."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.rand(2, batch, count, generator=generator) * 1.2 - 0.1
    return Queries(*place, *torch.randint(frames, (3, batch, count), generator=generator))


def chosen(queries: Queries, rows: torch.Tensor) -> Queries:
    """Some of the queries, in any order."""
    return Queries(*(part[:, rows] for part in queries))


def difference(first: Answers, second: Answers) -> float:
    """Largest of all outputs, relative where they are larger than 1: some lengths grow exponentially."""
    return max(_difference(getattr(first, name), getattr(second, name)) for name in Answers.__annotations__)


def _difference(first: torch.Tensor, second: torch.Tensor) -> float:
    return float((first - second).abs().max() / first.abs().max().clamp_min(1))


def rows_of(answers: Answers, rows: torch.Tensor) -> Answers:
    """Some of the answers."""
    return Answers(*(getattr(answers, name)[:, rows] for name in Answers.__annotations__))
