"""Another implementation of D4RT, the PyPI package ``d4rt``, at sizes equal to ours; measured where it is installed.

It has one token per frame and patch (ours: per two frames), gated MLPs and three outputs per query (ours: thirteen).
By default its attention is normalised over the queries, so that an answer depends on what else is asked.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

import torch
from torch import Tensor

from worldline.models.config import D4rtConfig
from worldline.models.queries import Queries


def peer_installed() -> bool:
    """Whether ``pip install d4rt`` was run."""
    return importlib.util.find_spec("d4rt") is not None


def comparable(config: D4rtConfig) -> bool:
    """Whether the peer has a network of these sizes: square frames, one width, heads of 64, MLPs 4 times as wide."""
    dim, (height, width) = config.encoder_dim, config.image_size
    return (
        height == width
        and config.decoder_dim == dim
        and config.encoder_heads == config.decoder_heads
        and config.encoder_mlp_dim == config.decoder_mlp_dim == 4 * dim
        and config.patch[1] == config.patch[2]
        and dim == 64 * config.encoder_heads
    )


class Peer:
    """The package's network with random weights, asked as ours is.

    Args:
        inverted: attention normalised over the queries, the package's default; False: over the memory, as in the paper.
    """

    def __init__(self, config: D4rtConfig, *, inverted: bool, seed: int = 0) -> None:
        network = importlib.import_module("d4rt").D4RT
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.network: Any = network(
                dim=config.encoder_dim,
                video_image_size=config.image_size[0],
                video_patch_size=config.patch[1],
                video_max_time_len=config.clip_frames,
                enc_depth=config.encoder_depth,
                dec_depth=config.decoder_depth,
                enc_heads=config.encoder_heads,
                dec_heads=config.decoder_heads,
                video_has_latent_ar_module=False,
                inverted_cross_attention=inverted,
            ).eval()
        self.size = config.image_size
        self.video: Tensor | None = None

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(each.numel() for each in self.network.parameters())

    def encode(self, frames: Tensor) -> Tensor:
        """Clip -> memory."""
        self.video = frames
        return self.network.video_encoder(frames)

    def decode(self, memory: Tensor, queries: Queries) -> Tensor:
        """Points of queries; places are rounded to pixels, as the package wants them. After :meth:`encode`."""
        height, width = self.size
        rows, columns = (
            (place * side).long().clamp(0, side - 1)
            for place, side in zip((queries.v, queries.u), (height, width), strict=True)
        )
        places = torch.stack((rows, columns), -1)
        return self.network(
            self.video, coors=places, time_src=queries.t_src, time_tgt=queries.t_tgt, time_camera=queries.t_cam,
            encoded_video=memory,
        )  # fmt: skip
