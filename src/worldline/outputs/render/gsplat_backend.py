"""The published CUDA renderer (PyPI: gsplat) behind ``rasterize``: conventions converted in and out, nothing else."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from worldline.errors import InputError, MissingExtraError

Pictures = tuple[Float[Tensor, "c height width 3"], Float[Tensor, "c height width"], Float[Tensor, "c height width"]]


def chosen(backend: str, like: Tensor) -> bool:
    """Whether gsplat shall render tensors like this one.

    Raises:
        InputError: the backend is unknown, or gsplat is asked for tensors that it cannot take.
        MissingExtraError: gsplat is asked for and not installed.
    """
    if backend not in ("auto", "torch", "gsplat"):
        raise InputError(f"There is no backend {backend!r}.", "Choose one of: auto, torch, gsplat.")
    fits = like.device.type == "cuda" and like.dtype == torch.float32
    if backend == "torch" or (backend == "auto" and not fits):
        return False
    present = importlib.util.find_spec("gsplat") is not None
    if backend == "gsplat" and not present:
        raise MissingExtraError("Rendering with gsplat", "gsplat")
    if backend == "gsplat" and not fits:
        raise InputError(
            f"gsplat renders float32 on CUDA, the tensors are {like.dtype} on {like.device}.",
            'Move them there, or choose backend="torch".',
        )
    return present


def render(
    means: Float[Tensor, "n 3"], scales: Float[Tensor, "n 3"], rotations: Float[Tensor, "n 4"],
    opacities: Float[Tensor, "n"], colors: Tensor, cam_from_world: Float[Tensor, "c 4 4"],
    intrinsics: Float[Tensor, "c 3 3"], *, size: tuple[int, int], near: float, far: float, eps2d: float,
    sh_degree: int | None,
) -> Pictures:  # fmt: skip
    """Colours over black, expected depths and alphas by gsplat's classic mode; arguments as in ``rasterize``.

    gsplat counts pixels from the corner of the image, so the principal point moves by half a pixel.
    """
    gsplat: Any = importlib.import_module("gsplat")
    half = intrinsics.new_tensor([[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]])
    pictures, alpha, _ = gsplat.rasterization(
        means=means, quats=rotations, scales=scales, opacities=opacities, colors=colors, viewmats=cam_from_world,
        Ks=intrinsics + half, width=size[1], height=size[0], near_plane=near, far_plane=far, eps2d=eps2d,
        sh_degree=sh_degree, packed=False, render_mode="RGB+ED", rasterize_mode="classic",
    )  # fmt: skip
    return pictures[..., :3], pictures[..., 3], alpha[..., 0]
