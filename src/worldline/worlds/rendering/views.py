"""Pixels to ray packets and back: intrinsics from lenses, tiles of an image, and the inverse of tiling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from worldline.worlds.rendering.cast import Packets
from worldline.worlds.world import CameraSet


def intrinsics(cameras: CameraSet, height: int, width: int) -> Float64[np.ndarray, "v 3 3"]:
    """Pinhole matrices in pixels; pixel centres are at integers, so the middle is ((W - 1) / 2, (H - 1) / 2)."""
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

    def pixel(self, place: Int[Tensor, "*n"]) -> tuple[Int[Tensor, "*n"], Int[Tensor, "*n"]]:
        """(y, x) of a position in the tile order of one image. Padding lies outside the image."""
        inner, tile = place % self.tile**2, place // self.tile**2
        y = (tile // self.columns) * self.tile + inner // self.tile
        x = (tile % self.columns) * self.tile + inner % self.tile
        return y, x

    def packets(
        self, matrices: Float[Tensor, "image 3 3"], world_from_cam: Float[Tensor, "image 4 4"]
    ) -> tuple[Packets, Float[Tensor, "packet ray"], Float[Tensor, "packet"]]:
        """The rays through all pixel centres; padding repeats the last row and column. See :meth:`rays`."""
        place = torch.arange(self.rows * self.columns * self.tile**2, device=matrices.device)
        y, x = self.pixel(place)
        y, x = y.clamp_max(self.height - 1), x.clamp_max(self.width - 1)
        shape = (1, self.rows * self.columns, self.tile**2)
        return self.rays(x.view(shape), y.view(shape), matrices, world_from_cam)

    def rays(
        self, x: Tensor, y: Tensor, matrices: Float[Tensor, "image 3 3"], world_from_cam: Float[Tensor, "image 4 4"]
    ) -> tuple[Packets, Float[Tensor, "packet ray"], Float[Tensor, "packet"]]:
        """Rays with unit z in their camera (so that the hit distance is the depth), their lengths, and focal lengths.

        ``x`` and ``y`` are pixel coordinates [image or 1, packet, ray].
        """

        def per_image(value: Tensor) -> Tensor:
            return value.float().view(-1, 1, 1)

        right = (x.float() - per_image(matrices[:, 0, 2])) / per_image(matrices[:, 0, 0])
        down = (y.float() - per_image(matrices[:, 1, 2])) / per_image(matrices[:, 1, 1])
        turn, count = world_from_cam[:, :3, :3], x.shape[1]

        def component(i: int) -> Tensor:
            along = torch.addcmul(per_image(turn[:, i, 2]), per_image(turn[:, i, 0]), right)
            return torch.addcmul(along, per_image(turn[:, i, 1]), down).flatten(0, 1)

        direction = component(0), component(1), component(2)
        length = (1.0 + right * right + down * down).sqrt().flatten(0, 1)
        origin = world_from_cam[:, :3, 3].float().repeat_interleave(count, 0)
        focal = matrices[:, 0, 0].float().repeat_interleave(count, 0)
        return Packets(origin, direction, self.scenes), length, focal

    def untile(self, values: Tensor) -> Tensor:
        """[packet ray ...] -> [scene view height width ...], the padding dropped."""
        trailing = values.shape[2:]
        grid = values.reshape(self.scenes * self.views, self.rows, self.columns, self.tile, self.tile, *trailing)
        grid = grid.transpose(2, 3).reshape(
            self.scenes, self.views, self.rows * self.tile, self.columns * self.tile, *trailing
        )
        return grid[:, :, : self.height, : self.width].contiguous()

    def tiled(self, images: Tensor) -> Tensor:
        """[scene view height width ...] -> [image, pixel in tile order, ...]; the padding is filled with zeros."""
        trailing = images.shape[4:]
        full = (self.rows * self.tile, self.columns * self.tile)
        grid = images.new_zeros(self.scenes * self.views, *full, *trailing)
        grid[:, : self.height, : self.width] = images.flatten(0, 1)
        grid = grid.view(-1, self.rows, self.tile, self.columns, self.tile, *trailing).transpose(2, 3)
        return grid.reshape(len(grid), -1, *trailing)
