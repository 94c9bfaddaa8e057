"""The image skip: convolutions at full resolution that sharpen raw points with the photo's own detail."""

from __future__ import annotations

from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import conv2d, selu

from worldline.models.layers.winograd import pays_off, winograd_conv2d

OUTPUT_SCALE = 1e-4  # the branch starts as a whisper beside the token head
KERNEL_SIZES = (3, 5, 5, 3)


class NormalisedConv(nn.Module):
    """Convolution with "same" zero padding, then batch normalisation."""

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel_size, padding=kernel_size // 2)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, maps: Float[Tensor, "batch channel_in h w"]) -> Float[Tensor, "batch channel_out h w"]:
        """Training form: statistics of the batch."""
        return self.norm(self.conv(maps))

    def folded(self) -> tuple[Float[Tensor, "channel_out channel_in k k"], Float[Tensor, "channel_out"]]:
        """Weight and bias of the one convolution that equals convolution and normalisation with running statistics."""
        conv, norm = self.conv, self.norm
        mean, variance, bias = (cast(Tensor, part) for part in (norm.running_mean, norm.running_var, conv.bias))
        gain = norm.weight * torch.rsqrt(variance + norm.eps)
        return conv.weight * gain[:, None, None, None], (bias - mean) * gain + norm.bias


class SkipBranch(nn.Module):
    """[photo, raw points] -> correction of the raw points; zero before training."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        widths = (6, dim, dim, dim, 3)
        self.layers = nn.ModuleList(
            NormalisedConv(widths[i], widths[i + 1], size) for i, size in enumerate(KERNEL_SIZES)
        )
        for parameter in cast(NormalisedConv, self.layers[-1]).conv.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, images: Float[Tensor, "batch 3 height width"], points: Float[Tensor, "batch 3 height width"]
    ) -> Float[Tensor, "batch 3 height width"]:
        """Correction in raw (pre-mapping) units; ``images`` in [-1, 1]."""
        maps = torch.cat((images, points), dim=1).contiguous(memory_format=torch.channels_last)
        last = len(self.layers) - 1
        for index, child in enumerate(self.layers):
            layer = cast(NormalisedConv, child)
            maps = layer(maps) if self.training else _convolve(maps, *layer.folded())
            if index < last:
                maps = selu(maps, inplace=True)
        return maps * OUTPUT_SCALE


def _convolve(
    maps: Float[Tensor, "batch channel_in h w"],
    weight: Float[Tensor, "channel_out channel_in k k"],
    bias: Float[Tensor, "channel_out"],
) -> Float[Tensor, "batch channel_out h w"]:
    """ "Same" convolution, the fastest way there is for this width and device."""
    if pays_off(maps, weight):
        return winograd_conv2d(maps, weight, bias)
    weight = weight.contiguous(memory_format=torch.channels_last)
    return conv2d(maps, weight, bias, padding=weight.shape[-1] // 2)
