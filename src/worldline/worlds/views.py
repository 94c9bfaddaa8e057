"""Pixels to ray packets and back: intrinsics from lenses, tiles of an image, and the inverse of tiling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor

from worldline.worlds.cast import Packets
from worldline.worlds.world import CameraSet


def intrinsics(cameras: CameraSet, height: int, width: int) -> Float64[np.ndarray, "v 3 3"]:
    """Pinhole matrices in pixels; pixel centres are at integers, so the image's middle is ((W - 1) / 2, (H - 1) / 2)."""
    longer = max(height, width)
    focal = 0.5 * longer / np.tan(0.5 * cameras.fov)
    matrix = np.zeros((len(focal), 3, 3))
    matrix[:, 0, 0] = matrix[:, 1, 1] = focal
    matrix[:, 0, 2] = 0.5 * (width - 1) + cameras.principal_offset[:, 0] * longer
    matrix[:, 1, 2] = 0.5 * (height - 1) + cameras.principal_offset[:, 1] * longer
    matrix[:, 2, 2] = 1.0
    return matrix


@dataclass(frozen=True)
class Tiling:
    """Images cut into square tiles, one ray packet per tile; the last row and column are padded."""

    scenes: int
    views: int
    height: int
    width: int
    tile: int = 16

    @property
    def rows(self) -> int:
        """Tiles per column."""
        return -(-self.height // self.tile)

    @property
    def columns(self) -> int:
        """Tiles per row."""
        return -(-self.width // self.tile)

    def packets(
        self, matrices: Float[Tensor, "image 3 3"], world_from_cam: Float[Tensor, "image 4 4"]
    ) -> tuple[Packets, Float[Tensor, "packet ray"]]:
        """Rays with unit z in their camera (so that the hit distance is the depth), and their lengths."""
        device, tile = matrices.device, self.tile
        y = torch.arange(self.rows * tile, device=device).view(self.rows, 1, tile, 1)
        x = torch.arange(self.columns * tile, device=device).view(1, self.columns, 1, tile)
        y, x = y.clamp_max(self.height - 1), x.clamp_max(self.width - 1)

        def column(value: Tensor) -> Tensor:
            return value.view(-1, 1, 1, 1, 1)

        right = ((x - column(matrices[:, 0, 2])) / column(matrices[:, 0, 0])).float()
        down = ((y - column(matrices[:, 1, 2])) / column(matrices[:, 1, 1])).float()
        right, down = torch.broadcast_tensors(right, down)
        rotation = world_from_cam[:, :3, :3].float()
        direction = tuple(
            (column(rotation[:, i, 0]) * right + column(rotation[:, i, 1]) * down + column(rotation[:, i, 2])).reshape(
                -1, tile * tile
            )
            for i in range(3)
        )
        length = (1.0 + right * right + down * down).sqrt().reshape(-1, tile * tile)
        origin = world_from_cam[:, :3, 3].float().repeat_interleave(self.rows * self.columns, 0)
        return Packets(origin, direction, self.scenes), length

    def untile(self, values: Tensor) -> Tensor:
        """[packet ray ...] -> [scene view height width ...], the padding dropped."""
        trailing = values.shape[2:]
        grid = values.reshape(self.scenes * self.views, self.rows, self.columns, self.tile, self.tile, *trailing)
        grid = grid.transpose(2, 3).reshape(
            self.scenes, self.views, self.rows * self.tile, self.columns * self.tile, *trailing
        )
        return grid[:, :, : self.height, : self.width].contiguous()
