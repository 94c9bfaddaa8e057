"""One 3D Gaussian per pixel from the decoder tokens (MV-DUSt3R, section on novel view synthesis)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from worldline.models.layers.heads import tokens_to_pixels
from worldline.types import GaussianMaps

SCALE_FACTOR = 0.1
ROTATION_EPS = 1e-5


class GaussianHead(nn.Module):
    """Normalised tokens -> four small MLPs -> scale, rotation, opacity and colour of the Gaussian on each pixel.

    The Gaussian's centre is the pixel's predicted point itself, so no offset is predicted.
    """

    def __init__(self, dim: int, hidden_dim: int, patch_size: int, sh_degree: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.norm = nn.LayerNorm(dim)  # eps 1e-5, unlike the norms of the transformer
        self.color = self._mlp(dim, hidden_dim, 3 * (sh_degree + 1) ** 2)
        self.opacity = self._mlp(dim, hidden_dim, 1)
        self.scale = self._mlp(dim, hidden_dim, 3)
        self.rotation = self._mlp(dim, hidden_dim, 4)

    def _mlp(self, dim: int, hidden_dim: int, channels: int) -> nn.Sequential:
        layers = (
            nn.Linear(dim, hidden_dim, bias=False),
            nn.ReLU(),
            nn.Linear(hidden_dim, channels * self.patch_size**2, bias=False),
        )
        for layer in (layers[0], layers[2]):
            nn.init.trunc_normal_(layer.weight, std=0.02)
        return nn.Sequential(*layers)

    def forward(self, tokens: Float[Tensor, "batch token channel"], grid: tuple[int, int]) -> GaussianMaps:
        """Maps of [batch, height, width, ·]; the scale is linear in the network's output and may be negative."""
        tokens = self.norm(tokens)

        def maps(mlp: nn.Sequential) -> Float[Tensor, "batch height width channel"]:
            return tokens_to_pixels(mlp(tokens), *grid, self.patch_size).permute(0, 2, 3, 1)

        return GaussianMaps(
            scales=maps(self.scale) * SCALE_FACTOR,
            rotations=normalize(maps(self.rotation), dim=-1, eps=ROTATION_EPS),
            opacities=torch.sigmoid(maps(self.opacity)),
            colors=maps(self.color),
        )
