"""Colours around a point of a frame, at sub-pixel accuracy and with the border repeated."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


def color_patches(
    pixels: Tensor,  # [batch, frame, height, width, 3], uint8 or float in [0, 1]
    x: Float[Tensor, "batch query"],
    y: Float[Tensor, "batch query"],
    frame: Int[Tensor, "batch query"],
    edge: int,
) -> Float[Tensor, "batch query channels"]:
    """Bilinear samples at offsets -(edge // 2) … edge // 2 around pixels (x, y), as 3 * edge² numbers in [0, 1].

    Order: colour channel, row, column. A patch has one sub-pixel offset for all its samples, so it is a blend of four
    windows of whole pixels. Only those pixels are read; the memory does not depend on the size of the frames.
    """
    batch, _, height, width, _ = pixels.shape
    reach = edge // 2
    left, top = x.floor(), y.floor()
    steps = torch.arange(-reach, edge - reach + 1, device=x.device)  # one more than the edge, for the blend

    def within(first: Tensor, size: int) -> Int[Tensor, "batch query step"]:
        bounded = first.clamp(-edge - 1.0, size + edge + 1.0).long()  # far outside all samples are the border's
        return (bounded[..., None] + steps).clamp(0, size - 1)

    rows, columns = within(top, height), within(left, width)
    which = torch.arange(batch, device=x.device)[:, None] * pixels.shape[1] + frame
    index = (which[..., None] * height + rows)[..., :, None] * width + columns[..., None, :]
    window = pixels.reshape(-1, 3)[index.flatten()].view(*index.shape, 3)  # batch query row column 3
    window = window.float() / 255 if window.dtype == torch.uint8 else window.float()
    across, down = (x - left)[..., None, None, None], (y - top)[..., None, None, None]
    window = torch.lerp(window[..., :-1, :], window[..., 1:, :], across)
    window = torch.lerp(window[..., :-1, :, :], window[..., 1:, :, :], down)
    return window.movedim(-1, 2).flatten(2)
