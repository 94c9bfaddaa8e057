"""A network with a memory that runs in a millisecond, with random weights."""

from __future__ import annotations

import torch

from worldline.models.config import Driv3rConfig
from worldline.models.driv3r import Driv3r
from worldline.models.memory import MemoryOptions


def tiny_network(seed: int = 0, relative_pose: bool = False, **memory: object) -> Driv3r:
    """In eval mode; further keywords are fields of :class:`MemoryOptions`."""
    config = Driv3rConfig(
        encoder_dim=32, encoder_depth=1, encoder_heads=2, decoder_dim=32, decoder_depth=1, decoder_heads=2,
        mlp_ratio=2, head="linear", value_depth=1, value_heads=2, relative_pose=relative_pose,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = Driv3r(config, MemoryOptions(**memory))  # type: ignore[arg-type]
        for parameter in network.parameters():  # heads and norms that start flat say little
            parameter.data += 0.05 * torch.randn_like(parameter)
    return network.eval()


def images(count: int, height: int = 32, width: int = 48, seed: int = 1) -> torch.Tensor:
    """Random images in [-1, 1], [count, 3, H, W]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, height, width, generator=generator) * 2 - 1
