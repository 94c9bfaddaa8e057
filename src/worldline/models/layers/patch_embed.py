"""Images to tokens: one linear projection per patch, also for batches that mix portrait and landscape."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from worldline.models.layers.rope import RopeTable, grid_rope


class PatchEmbed(nn.Module):
    """Non-overlapping patches, each projected to one token; tokens are row-major."""

    def __init__(self, patch_size: int, dim: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.projection = nn.Conv2d(3, dim, kernel_size=patch_size, stride=patch_size)
        nn.init.xavier_uniform_(self.projection.weight.view(dim, -1))
        nn.init.zeros_(self.projection.bias)  # type: ignore[arg-type]

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """(rows, columns) of tokens of an image."""
        return height // self.patch_size, width // self.patch_size

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch token channel"]:
        """Tokens of images that share one orientation."""
        return self.projection(images).flatten(2).transpose(1, 2)

    def mixed(
        self, images: Float[Tensor, "batch 3 height width"], portrait: tuple[bool, ...]
    ) -> Float[Tensor, "batch token channel"]:
        """Tokens of images that are all *stored* landscape; portrait ones are turned back before the projection."""
        tokens = [
            self(image.transpose(1, 2)[None] if turned else image[None])
            for image, turned in zip(images, portrait, strict=True)
        ]
        return torch.cat(tokens)


def mixed_rope(
    rows: int, columns: int, portrait: tuple[bool, ...], head_dim: int, base: float, device: torch.device
) -> RopeTable:
    """One table per sample; portrait samples have the transposed grid (``rows`` and ``columns`` are as stored)."""
    upright = grid_rope(rows, columns, head_dim, base, device)
    turned = grid_rope(columns, rows, head_dim, base, device)
    chosen = [turned if flag else upright for flag in portrait]
    return RopeTable(torch.stack([table.cos for table in chosen]), torch.stack([table.sin for table in chosen]))
