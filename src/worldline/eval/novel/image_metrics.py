"""How like a photo a rendered picture is: PSNR, SSIM and, where it is installed, LPIPS (MV-DUSt3R+, section 4.3).

Alignment: none; nothing is shifted, and colours are not corrected. Values are in [0, 1]; what is rendered beyond is
clipped, as in the published evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldline.eval.metrics import psnr, ssim_map
from worldline.eval.perceptual import Perceptual

PSNR_CAP = 60.0  # decibels, of equal pictures: far beyond what 8-bit photos can tell apart
FEWEST_PIXELS = 64  # a figure of fewer says nothing


def image_scores(
    rendered: Float[Tensor, "view 3 height width"],
    true: Float[Tensor, "view 3 height width"],
    mask: Bool[Tensor, "view height width"] | None = None,
    *,
    distance: Perceptual | None = None,
) -> dict[str, float]:
    """Means over views of PSNR (decibels) and SSIM, and of LPIPS (AlexNet) if ``distance`` is given.

    SSIM's data range is that of the two pictures, as in the published evaluation (torchmetrics' default).

    Args:
        mask: pixels over which PSNR and SSIM are given as well; views with fewer than :data:`FEWEST_PIXELS` of them
            are left out there. SSIM's windows are not cut: a pixel near the mask's border sees beyond it.
        distance: see :func:`worldline.eval.perceptual.load_lpips`.

    Returns:
        ``psnr``, ``ssim``, with a mask ``psnr_masked``, ``ssim_masked`` (NaN where no view counts), with a distance
        ``lpips``.
    """
    rendered = rendered.clamp(0, 1)
    maps = torch.stack([ssim_map(*pair) for pair in zip(rendered, true, strict=True)])
    scores = {"psnr": _mean([capped_psnr(*pair) for pair in zip(rendered, true, strict=True)])}
    scores["ssim"] = float(maps.mean())
    if mask is not None:
        kept = [view for view in range(len(true)) if mask[view].sum() >= FEWEST_PIXELS]
        pairs = [(rendered[view][:, mask[view]], true[view][:, mask[view]]) for view in kept]
        scores["psnr_masked"] = _mean([capped_psnr(*pair) for pair in pairs])
        scores["ssim_masked"] = _mean([float(maps[view][:, mask[view]].mean()) for view in kept])
    if distance is not None:
        scores["lpips"] = float(distance(2 * rendered.float() - 1, 2 * true.float() - 1).mean())
    return scores


def capped_psnr(first: Float[Tensor, "*n"], second: Float[Tensor, "*n"]) -> float:
    """PSNR in decibels (data range 1), at most :data:`PSNR_CAP`: equal pictures have no finite one."""
    return min(PSNR_CAP, psnr(first, second))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
