"""What JPEG does to a picture (ITU-T T.81, baseline, 4:2:0), without writing a file: batched on any device."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

# ITU-T T.81, tables K.1 and K.2: the usual quantisation of luminance and chrominance at quality 50
_LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56,
    14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
_CHROMINANCE = (
    17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99,
    47, 66, 99, 99, 99, 99, 99, 99, *(99,) * 32,
)  # fmt: skip
_YCC_FROM_RGB = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
_RGB_FROM_YCC = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))


@cache
def _cosines(device: str) -> Float[Tensor, "8 8"]:
    """Orthonormal DCT-II of eight samples: coefficients = matrix @ samples."""
    k, n = np.arange(8)[:, None], np.arange(8)[None]
    matrix = 0.5 * np.cos((2 * n + 1) * k * np.pi / 16)
    matrix[0] *= np.sqrt(0.5)
    return torch.as_tensor(matrix, dtype=torch.float32, device=device)


def quantisation(quality: Int[np.ndarray, "n"], *, chroma: bool) -> Float[np.ndarray, "n 8 8"]:
    """Divisors of the DCT coefficients for qualities 1..100, scaled as the Independent JPEG Group does."""
    base = np.array(_CHROMINANCE if chroma else _LUMINANCE).reshape(8, 8)
    scale = np.where(quality < 50, 5000 // np.maximum(quality, 1), 200 - 2 * quality)
    return np.clip((base * scale[:, None, None] + 50) // 100, 1, 255).astype(np.float32)


def _code(plane: Float[Tensor, "n y x"], table: Float[Tensor, "n 8 8"]) -> Float[Tensor, "n y x"]:
    """Quantise the DCT of every 8x8 block of planes whose sides are multiples of 8."""
    n, height, width = plane.shape
    cosines = _cosines(str(plane.device))
    blocks = plane.view(n, height // 8, 8, width // 8, 8).transpose(2, 3) - 128.0
    step = table[:, None, None]
    kept = torch.round(cosines @ blocks @ cosines.T / step) * step
    return (cosines.T @ kept @ cosines + 128.0).transpose(2, 3).reshape(n, height, width).round().clamp(0, 255)


def compress(
    images: UInt8[Tensor, "n height width 3"], quality: Int[np.ndarray, "n"]
) -> UInt8[Tensor, "n height width 3"]:
    """The pictures after having been JPEG files of these qualities (1..100)."""
    _, height, width, _ = images.shape
    device = images.device
    planes = torch.einsum("nyxc,kc->nkyx", images.float(), torch.tensor(_YCC_FROM_RGB, device=device))
    planes = torch.nn.functional.pad(planes, (0, -width % 16, 0, -height % 16), mode="replicate")
    planes = planes.round()
    luma, chroma = planes[:, 0], torch.nn.functional.avg_pool2d(planes[:, 1:], 2) + 128.0
    # quarters are rounded by a bias of 1 and 2 in turn, as in the Independent JPEG Group's code
    odd = torch.arange(chroma.shape[3], device=device) % 2
    chroma = torch.floor(chroma + 0.25 * (1 + odd))
    tables = [torch.as_tensor(quantisation(quality, chroma=c), device=device) for c in (False, True)]
    luma = _code(luma, tables[0])
    chroma = _code(chroma.flatten(0, 1), tables[1].repeat_interleave(2, 0)).view_as(chroma)
    chroma = chroma[:, :, : -(-height // 2), : -(-width // 2)]
    chroma = torch.nn.functional.interpolate(chroma, scale_factor=2, mode="bilinear", align_corners=False) - 128.0
    planes = torch.cat([luma[:, None, :height, :width], chroma[:, :, :height, :width]], 1)
    rgb = torch.einsum("nkyx,ck->nyxc", planes, torch.tensor(_RGB_FROM_YCC, device=device))
    return rgb.round().clamp(0, 255).to(torch.uint8)
