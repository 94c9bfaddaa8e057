"""LPIPS (Zhang et al. 2018, AlexNet): a learned distance of pictures, where it is installed; nothing is downloaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from worldline.errors import MissingExtraError, WeightsError

Perceptual = Callable[
    [Float[Tensor, "view 3 height width"], Float[Tensor, "view 3 height width"]], Float[Tensor, "view"]
]

SIDE = 224  # pixels, the published size at which pictures are compared
NO_LPIPS = "LPIPS: not installed (the packages lpips and torchvision, and torchvision's AlexNet weights)"
_BACKBONE = "alexnet-owt-*.pth"  # torchvision keeps it in torch's hub folder


def load_lpips(device: torch.device | str = "cpu") -> Perceptual | None:
    """The distance of every pair of pictures in [-1, 1], differentiable; None where package or weights are missing."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    if not _packages_are_here() or next(folder.glob(_BACKBONE), None) is None:
        return None
    network = _network(str(device))

    def distance(first: Tensor, second: Tensor) -> Tensor:
        result: Tensor = network(_resized(first), _resized(second)).flatten()
        return result

    return distance


@lru_cache(maxsize=2)  # every training step asks; an error is not kept
def need_lpips(device: torch.device | str = "cpu") -> Perceptual:
    """As :func:`load_lpips`; looked for once.

    Raises:
        MissingExtraError: a package is missing.
        WeightsError: the weights of its backbone are missing.
    """
    if not _packages_are_here():
        raise MissingExtraError("LPIPS", "lpips")
    distance = load_lpips(device)
    if distance is None:
        raise WeightsError(
            "The weights that LPIPS builds on are not on this machine.",
            "Let torchvision download them once: torchvision.models.alexnet(weights='DEFAULT') in Python.",
        )
    return distance


def _packages_are_here() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in ("lpips", "torchvision"))


@lru_cache(maxsize=2)
def _network(device: str) -> Any:
    import lpips

    return lpips.LPIPS(net="alex", verbose=False).eval().requires_grad_(False).to(device)


def _resized(pictures: Float[Tensor, "view 3 height width"]) -> Float[Tensor, "view 3 224 224"]:
    if tuple(pictures.shape[-2:]) == (SIDE, SIDE):
        return pictures
    return interpolate(pictures, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
