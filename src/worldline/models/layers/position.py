"""Where in the photo a token lies. Rotary positions alone only say how far two tokens are from each other."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

_OCTAVES = (1, 2, 4)  # waves per half of the longer side


class PhotoPosition(nn.Module):
    """Adds a learned code of each token's offset from the photo's centre, in units of half the longer side.

    The direction in which a pixel looks depends on this offset and on the focal length. A network with rotary
    positions only must find out from the content where the borders are; the published models had the training for
    that, a small one has not. The unit makes the code the same at every resolution. Our addition, not in the papers.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.projection = nn.Linear(3 + 4 * len(_OCTAVES), dim)
        nn.init.xavier_uniform_(self.projection.weight)
        nn.init.zeros_(self.projection.bias)

    def forward(
        self, tokens: Float[Tensor, "batch token channel"], rows: int, columns: int
    ) -> Float[Tensor, "batch token channel"]:
        """Tokens of a grid of ``rows`` x ``columns``, row-major."""
        return tokens + self.projection(_features(rows, columns, self.projection.weight))


def _features(rows: int, columns: int, like: Tensor) -> Float[Tensor, "token feature"]:
    unit = max(rows, columns) / 2
    y, x = (
        (torch.arange(count, device=like.device, dtype=torch.float32) + 0.5 - count / 2) / unit
        for count in (rows, columns)
    )
    offset = torch.stack(torch.meshgrid(y, x, indexing="ij"), -1).reshape(-1, 2)
    waves = torch.cat([math.pi / 2 * octave * offset for octave in _OCTAVES], -1)
    return torch.cat([offset, offset.square().sum(-1, keepdim=True), waves.sin(), waves.cos()], -1).to(like.dtype)
