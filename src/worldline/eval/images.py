"""Image metrics of rendered views: PSNR, SSIM and, where it is installed, LPIPS (MV-DUSt3R+, section 4.3)."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from worldline.eval.metrics import psnr, ssim

_BACKBONE = "alexnet-owt-*.pth"  # what LPIPS builds on; torchvision keeps it in torch's hub folder


def image_scores(
    rendered: Float[Tensor, "view 3 height width"], true: Float[Tensor, "view 3 height width"]
) -> dict[str, float]:
    """Means over views of PSNR (decibels), SSIM and LPIPS (AlexNet; NaN where it is not installed).

    Alignment: none; whole images, rendered from given poses. Values in [0, 1]; what is rendered beyond is clipped.
    SSIM's data range is that of the image, as in the published evaluation.
    """
    rendered = rendered.clamp(0, 1)
    pairs = list(zip(rendered, true, strict=True))
    return {
        "psnr": sum(psnr(*pair) for pair in pairs) / len(pairs),
        "ssim": sum(ssim(*pair) for pair in pairs) / len(pairs),
        "lpips": _lpips(rendered, true),
    }


def lpips_is_installed() -> bool:
    """Whether the package ``lpips`` and its backbone's weights are on this machine; nothing is ever downloaded."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return importlib.util.find_spec("lpips") is not None and next(folder.glob(_BACKBONE), None) is not None


def _lpips(rendered: Float[Tensor, "view 3 height width"], true: Float[Tensor, "view 3 height width"]) -> float:
    if not lpips_is_installed():
        return math.nan
    import lpips

    network = lpips.LPIPS(net="alex", verbose=False).eval()
    with torch.inference_mode():
        return float(network(rendered.float() * 2 - 1, true.float() * 2 - 1).mean())
