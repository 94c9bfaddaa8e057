"""From decoder tokens to dense points and confidence."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle

from worldline.models.layers.skip_branch import SkipBranch


def tokens_to_pixels(
    tokens: Float[Tensor, "batch token channel"], rows: int, columns: int, patch_size: int
) -> Float[Tensor, "batch channel_out height width"]:
    """Unfold each token over its patch: channel c·p² + a·p + b goes to channel c, sub-row a, sub-column b."""
    grid = tokens.transpose(1, 2).unflatten(2, (rows, columns))
    return pixel_shuffle(grid, patch_size)


def points_from_raw(raw: Float[Tensor, "*batch 3"], mode: str) -> Float[Tensor, "*batch 3"]:
    """Raw network output to points: ``exp`` spends resolution near the camera, r -> r/|r| · (e^|r| - 1)."""
    if mode == "linear":
        return raw
    length = raw.norm(dim=-1, keepdim=True)
    direction = raw / length.clamp(min=1e-8)
    return direction * (length.square() if mode == "square" else torch.expm1(length))


def confidence_from_raw(
    raw: Float[Tensor, "*batch"], mode: str, lowest: float, highest: float
) -> Float[Tensor, "*batch"]:
    """Raw network output to confidence in [lowest, highest]: ``exp`` or ``sigmoid``."""
    if mode == "sigmoid":
        return lowest + (highest - lowest) * torch.sigmoid(raw)
    return lowest + raw.exp().clamp(max=highest - lowest)


class LinearHead(nn.Module):
    """One linear layer per token gives 4 numbers per pixel: raw point and raw confidence.

    With ``skip_dim`` > 0 a convolutional branch sees the photo beside the raw points and corrects them at full
    resolution (MV-DUSt3R's image skip).
    """

    def __init__(self, dim: int, patch_size: int, skip_dim: int = 0) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.projection = nn.Linear(dim, 4 * patch_size**2)
        self.skip = SkipBranch(skip_dim) if skip_dim else None
        nn.init.trunc_normal_(self.projection.weight, std=0.02)
        nn.init.zeros_(self.projection.bias)

    def forward(
        self,
        tokens: Float[Tensor, "batch token channel"],
        grid: tuple[int, int],
        images: Float[Tensor, "batch 3 height width"] | None = None,
    ) -> Float[Tensor, "batch 4 height width"]:
        """Raw maps (before :func:`points_from_raw`) in float32; ``images`` are needed by the image skip only."""
        raw = tokens_to_pixels(self.projection(tokens), *grid, self.patch_size)
        if self.skip is None or images is None:
            return raw
        points, confidence = raw[:, :3], raw[:, 3:]
        return torch.cat((points + self.skip(images, points), confidence), dim=1)
