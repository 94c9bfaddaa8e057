"""The trained parts of a memory: keys and queries from decoder tokens, values from pointmaps, the read."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldline.models.config import Driv3rConfig
from worldline.models.layers.blocks import NORM_EPS, EncoderBlock, init_linear_layers
from worldline.models.layers.patch_embed import PatchEmbed
from worldline.models.memory import read_memory

READ_NORM_EPS = 1e-5  # unlike all other norms of the family
READ_DROPOUT = 0.15  # of attention weights, in training


class KeyHead(nn.Sequential):
    """Encoder and last decoder token of a view -> its key (reference side) or the next query (target side)."""

    def __init__(self, config: Driv3rConfig) -> None:
        joint = config.encoder_dim + config.decoder_dim
        super().__init__(nn.Linear(joint, joint), nn.GELU(), nn.Linear(joint, config.encoder_dim))
        init_linear_layers(self)

    def of(
        self, encoded: Float[Tensor, "batch patch encoder"], decoded: Float[Tensor, "batch patch decoder"]
    ) -> Float[Tensor, "batch patch encoder"]:
        """``encoded`` comes from the encoder itself, not from the memory."""
        return self(torch.cat((encoded, decoded), -1))


class ValueEncoder(nn.Module):
    """A pointmap, seen as an image of three channels, -> one token per patch. No rotary positions."""

    def __init__(self, config: Driv3rConfig) -> None:
        super().__init__()
        dim = config.encoder_dim
        self.patch_embed = PatchEmbed(config.patch_size, dim)
        self.blocks = nn.ModuleList(
            EncoderBlock(dim, config.value_heads, config.mlp_ratio) for _ in range(config.value_depth)
        )
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)
        self.output = nn.Linear(dim, dim)
        init_linear_layers(self.blocks)

    def forward(self, points: Float[Tensor, "batch height width 3"]) -> Float[Tensor, "batch patch channel"]:
        """Points as they are, in the unit of the network."""
        tokens = self.patch_embed(points.permute(0, 3, 1, 2))
        for block in self.blocks:
            tokens = block(tokens, None)
        return self.output(self.norm(tokens))


class MemoryReader(nn.Module):
    """Norms of queries, keys and values, and the read itself (spec of Spann3R, section 3.2 of its paper)."""

    def __init__(self, config: Driv3rConfig) -> None:
        super().__init__()
        self.query_norm, self.key_norm, self.value_norm = (
            nn.LayerNorm(config.encoder_dim, eps=READ_NORM_EPS) for _ in range(3)
        )
        self.dropout = READ_DROPOUT
        self.relation = nn.Linear(12, config.encoder_dim) if config.relative_pose else None
        if self.relation is not None:
            nn.init.zeros_(self.relation.weight)
            nn.init.zeros_(self.relation.bias)

    def forward(
        self,
        query: Float[Tensor, "batch patch channel"],
        keys: Float[Tensor, "batch token channel"],
        values: Float[Tensor, "batch token channel"],
        *,
        cut: float = 0.0,
        present: Bool[Tensor, "batch token"] | None = None,
        confidence: Float[Tensor, "batch token"] | None = None,
        keep_nan: bool = False,
    ) -> tuple[Float[Tensor, "batch patch channel"], Float[Tensor, "batch token"]]:
        """What replaces the reference's encoder tokens: read + raw query; and the attention per memory token."""
        read, received = read_memory(
            self.query_norm(query),
            self.key_norm(keys),
            self.value_norm(values),
            cut=0.0 if self.training else cut,
            dropout=self.dropout if self.training else 0.0,
            present=present,
            confidence=confidence,
            keep_nan=keep_nan,
        )
        return read + query, received

    def relate(self, relative: Float[Tensor, "*batch 3 4"]) -> Float[Tensor, "*batch channel"]:
        """Code of a neighbouring camera's pose in the reader's camera, added to the neighbour's keys and values."""
        assert self.relation is not None
        return self.relation(relative.flatten(-2))
