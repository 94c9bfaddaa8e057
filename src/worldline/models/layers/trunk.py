"""The parts that pairwise and multi-view models share: image encoder and the two-role decoder step."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldline.errors import InputError
from worldline.models.config import PointmapConfig
from worldline.models.layers.blocks import NORM_EPS, DecoderBlock, EncoderBlock, init_linear_layers
from worldline.models.layers.patch_embed import PatchEmbed
from worldline.models.layers.position import PhotoPosition
from worldline.models.layers.rope import RopeTable, grid_rope


class Encoder(nn.Module):
    """A vision transformer with rotary positions; the same weights for every view."""

    def __init__(self, config: PointmapConfig) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(config.patch_size, config.encoder_dim)
        self.position = PhotoPosition(config.encoder_dim) if config.photo_position else None
        self.blocks = nn.ModuleList(
            EncoderBlock(config.encoder_dim, config.encoder_heads, config.mlp_ratio)
            for _ in range(config.encoder_depth)
        )
        self.norm = nn.LayerNorm(config.encoder_dim, eps=NORM_EPS)
        self.head_dim = config.encoder_dim // config.encoder_heads
        self.rope_base = config.rope_base
        init_linear_layers(self.blocks)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch token channel"]:
        """Tokens of images in [-1, 1] whose sides are multiples of the patch size."""
        rows, columns = self.patch_embed.grid(*images.shape[-2:])
        rope = grid_rope(rows, columns, self.head_dim, self.rope_base, images.device)
        tokens = self.patch_embed(images)
        if self.position is not None:
            tokens = self.position(tokens, rows, columns)
        return self.transform(tokens, rope)

    def transform(
        self, tokens: Float[Tensor, "batch token channel"], rope: RopeTable
    ) -> Float[Tensor, "batch token channel"]:
        """The blocks and the final norm, on embedded patches."""
        for block in self.blocks:
            tokens = block(tokens, rope)
        return self.norm(tokens)


def decoder_blocks(config: PointmapConfig) -> nn.ModuleList:
    """One stack of decoder blocks, initialised for training from scratch."""
    blocks = nn.ModuleList(
        DecoderBlock(config.decoder_dim, config.decoder_heads, config.mlp_ratio) for _ in range(config.decoder_depth)
    )
    init_linear_layers(blocks)
    return blocks


def full_precision(device: torch.device) -> AbstractContextManager[object]:
    """Heads map logarithms to distances, so they stay in float32 even where the trunk runs under autocast."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def check_image_sizes(images: Tensor, name: str, patch_size: int, dims: int) -> None:
    """Raise InputError unless ``images`` has ``dims`` axes, 3 channels and sides that are multiples of the patch."""
    layout = "[batch, view, 3, height, width]" if dims == 5 else "[batch, 3, height, width]"
    if not isinstance(images, Tensor) or images.dim() != dims or images.shape[-3] != 3:
        shape = list(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise InputError(
            f"`{name}` must be a tensor {layout}, got {shape}.", "Stack images of equal size along the axes."
        )
    if not torch.is_floating_point(images):
        raise InputError(f"`{name}` has dtype {images.dtype}.", "Convert pixels to float in [-1, 1].")
    height, width = images.shape[-2:]
    if not height or not width or height % patch_size or width % patch_size:
        raise InputError(
            f"Images of {height}×{width} pixels (height×width) do not divide into patches of {patch_size}.",
            f"Resize or crop both sides to multiples of {patch_size}.",
        )
