"""The networks that are measured, by name, and the questions they are asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor

from worldline.errors import InputError
from worldline.models.config import D4rtConfig
from worldline.models.d4rt import D4rt
from worldline.models.queries import Queries


def small(side: int) -> D4rtConfig:
    """A size between ``mini`` and ViT-B at which other implementations of D4RT were measured too: 33 M parameters."""
    return D4rtConfig(
        clip_frames=16, image_size=(side, side), encoder_dim=384, encoder_depth=12, encoder_heads=6,
        encoder_mlp_dim=1536, decoder_dim=384, decoder_depth=6, decoder_heads=6, decoder_mlp_dim=1536,
    )  # fmt: skip


def tiny() -> D4rtConfig:
    """The smallest network with all parts, for tests."""
    return D4rtConfig(
        clip_frames=4, image_size=(32, 32), encoder_dim=32, encoder_depth=2, encoder_heads=2, encoder_mlp_dim=64,
        decoder_dim=32, decoder_depth=2, decoder_heads=2, decoder_mlp_dim=64,
    )  # fmt: skip


SIZES: dict[str, Callable[[], D4rtConfig]] = {
    "mini": D4rtConfig.mini,
    "small-128": lambda: small(128),
    "small-256": lambda: small(256),
    "vit-b": lambda: D4rtConfig.published("b"),
    "vit-l": lambda: D4rtConfig.published("l"),
    "vit-h": lambda: D4rtConfig.published("h"),
    "vit-g": lambda: D4rtConfig.published("g"),
    "tiny": tiny,
}


@dataclass(frozen=True)
class QueryNetwork:
    """Which network to measure; small enough to be sent to another process."""

    model: str = "mini"  # one of SIZES with random weights, or a model: registry id, folder or file

    @property
    def label(self) -> str:
        """For reports."""
        return f"{self.model}, random weights" if self._random else self.model

    @property
    def _random(self) -> bool:
        from worldline import weights

        return self.model in SIZES or not weights.is_available(self.model)

    @property
    def config(self) -> D4rtConfig:
        """Its sizes.

        Raises:
            InputError: a model that answers no queries.
            WeightsError: unknown name.
        """
        from worldline import weights

        if self.model in SIZES:
            return SIZES[self.model]()
        config = weights.config_of(self.model)
        if not isinstance(config, D4rtConfig):
            raise InputError(
                f"{self.model} answers no queries.", f"Choose a D4RT model, or one of: {', '.join(SIZES)}."
            )
        return config

    def load(self) -> D4rt:
        """The network in eval mode; random weights of its size where there are none."""
        from worldline import pipeline

        if not self._random:
            return cast(D4rt, pipeline.load(self.model, "cpu").network)
        return random_network(self.config)


def random_network(config: D4rtConfig, seed: int = 0) -> D4rt:
    """A network in eval mode as it is before training, the same for every call."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return D4rt(config).eval().requires_grad_(False)


def random_clip(config: D4rtConfig, frames: int | None = None, seed: int = 0) -> Float[Tensor, "1 frame 3 h w"]:
    """Noise, as long as the network takes."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(1, frames or config.clip_frames, 3, *config.image_size, generator=generator)


def random_queries(count: int, frames: int, seed: int = 0) -> Queries:
    """Questions about random places and times, [1, count]."""
    generator = torch.Generator().manual_seed(seed)
    u, v = (torch.rand(1, count, generator=generator) for _ in range(2))
    times = (torch.randint(0, frames, (1, count), generator=generator) for _ in range(3))
    return Queries(u, v, *times)
