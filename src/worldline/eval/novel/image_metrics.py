"""How like a photo a rendered picture is: PSNR, SSIM and, where it is installed, LPIPS (MV-DUSt3R+, section 4.3).

Alignment: none; nothing is shifted, and colours are not corrected. Values are in [0, 1]; what is rendered beyond is
clipped, as in the published evaluation.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from worldline.eval.metrics import psnr, ssim_map

PSNR_CAP = 60.0  # decibels, of equal pictures: far beyond what 8-bit photos can tell apart
FEWEST_PIXELS = 64  # a figure of fewer says nothing

Distance = Callable[[Float[Tensor, "view 3 height width"], Float[Tensor, "view 3 height width"]], float]

_BACKBONE = "alexnet-owt-*.pth"  # what LPIPS builds on; torchvision keeps it in torch's hub folder
NO_LPIPS = "LPIPS: not installed (the package lpips or torchmetrics, torchvision and its AlexNet weights)"


def image_scores(
    rendered: Float[Tensor, "view 3 height width"],
    true: Float[Tensor, "view 3 height width"],
    mask: Bool[Tensor, "view height width"] | None = None,
    *,
    distance: Distance | None = None,
) -> dict[str, float]:
    """Means over views of PSNR (decibels) and SSIM, and of LPIPS (AlexNet) if ``distance`` is given.

    SSIM's data range is that of the two pictures, as in the published evaluation (torchmetrics' default).

    Args:
        mask: pixels over which PSNR and SSIM are given as well; views with fewer than :data:`FEWEST_PIXELS` of them
            are left out there. SSIM's windows are not cut: a pixel near the mask's border sees beyond it.
        distance: see :func:`perceptual_distance`.

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
        scores["lpips"] = distance(rendered, true)
    return scores


def capped_psnr(first: Float[Tensor, "*n"], second: Float[Tensor, "*n"]) -> float:
    """PSNR in decibels (data range 1), at most :data:`PSNR_CAP`: equal pictures have no finite one."""
    return min(PSNR_CAP, psnr(first, second))


def perceptual_distance() -> Distance | None:
    """LPIPS (AlexNet), mean over views of pictures in [0, 1]; None where it cannot be had. Nothing is downloaded.

    It takes the package ``lpips`` or else ``torchmetrics``, and the weights of its backbone in torch's hub folder.
    """
    if not _backbone_is_here():
        return None
    if importlib.util.find_spec("lpips") is not None:
        import lpips

        network = lpips.LPIPS(net="alex", verbose=False).eval()
        return lambda rendered, true: float(network(rendered.float() * 2 - 1, true.float() * 2 - 1).mean())
    if importlib.util.find_spec("torchmetrics") is not None:
        from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

        metric = LearnedPerceptualImagePatchSimilarity(net_type="alex", normalize=True).eval()
        return lambda rendered, true: float(metric(rendered.float().clamp(0, 1), true.float()))
    return None


def _backbone_is_here() -> bool:
    """Whether torchvision and the weights of AlexNet are on this machine."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    return importlib.util.find_spec("torchvision") is not None and next(folder.glob(_BACKBONE), None) is not None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan
