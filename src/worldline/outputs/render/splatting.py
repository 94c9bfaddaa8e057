"""Gaussian splatting (Kerbl et al. 2023) in plain torch: any device, float32 or float64, gradients for training.

What is composited, and every choice behind it, is written down in docs/splatting.md. In short, at a pixel centre d
away from the ellipse's centre, a Gaussian has alpha = min(0.999, opacity · exp(-½ dᵀ Σ⁻¹ d)) with Σ its covariance in
the image plus eps2d · I; alphas below 1/255 are left out; nearer Gaussians (by the depth of their mean) come first;
the one that would leave a transmittance of 1e-4 or less ends the pixel and is left out itself. A Gaussian reaches
exactly the pixels where its alpha is 1/255 or more: nothing depends on tiles, chunks or other cameras.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from worldline.errors import InputError
from worldline.outputs.render import gsplat_backend, harmonics
from worldline.outputs.render.compositing import Tiling, composite
from worldline.outputs.render.projection import Lens, Splats, full_precision, gaussians, per_ellipse, project

_LEAST_LENGTH = 1e-30  # squared, of a quaternion
_LEAST_FOCAL = 1e-6  # pixels
_LARGE = 1e3  # pixels: beyond this no radius changes the choice of tiles
Backend = Literal["auto", "torch", "gsplat"]


@dataclass(frozen=True)
class Rendering:
    """Pictures of c cameras."""

    color: Float[Tensor, "c height width 3"]
    """Composited over the background; in the range of the colours given."""
    depth: Float[Tensor, "c height width"]
    """Expected depth along the optical axis: sum of w z / sum of w over the means; 0 where alpha is 0."""
    alpha: Float[Tensor, "c height width"]
    """Sum of the weights, 0 to 1."""


def rasterize(
    means: Float[Tensor, "n 3"], scales: Float[Tensor, "n 3"], rotations: Float[Tensor, "n 4"],
    opacities: Float[Tensor, "n"], colors: Float[Tensor, "n 3"] | Float[Tensor, "n k 3"], *,
    world_from_cam: Float[Tensor, "c 4 4"], intrinsics: Float[Tensor, "c 3 3"], size: tuple[int, int],
    background: float | Sequence[float] | Tensor = 1.0, near: float = 0.01, far: float = 1e10, eps2d: float = 0.3,
    sh_degree: int | None = None, backend: Backend = "auto",
) -> Rendering:  # fmt: skip
    """Render Gaussians into c cameras; differentiable with respect to the Gaussians, the poses and the intrinsics.

    Args:
        means: centres in the world, in its unit.
        scales: standard deviations along the Gaussian's own axes, 0 or more, in the world's unit.
        rotations: quaternions (w, x, y, z) of the Gaussian's axes in the world, of any length but 0.
        opacities: 0 to 1.
        colors: [n, 3] of any range, used as they are; or spherical harmonics [n, k, 3] with k = 1, 4, 9 or 16
            coefficients, evaluated along the direction from the camera to the mean, plus 0.5 and not below 0.
        world_from_cam: poses, OpenCV axes (x right, y down, z forward).
        intrinsics: pinhole matrices without skew, pixels; (0, 0) is the centre of the top-left pixel.
        size: (height, width) of the pictures, pixels.
        background: one number or three, in the range of the colours.
        near: Gaussians whose mean is not deeper than this are left out; the world's unit, above 0.
        far: the same for those not nearer than this.
        eps2d: variance in pixels² added to both axes in the image, above 0.
        sh_degree: highest degree of spherical harmonics to use; by default all that ``colors`` has.
        backend: "torch"; "gsplat", the published CUDA renderer; "auto": gsplat where it is installed and the tensors
            are on CUDA, else torch.

    Raises:
        InputError: shapes, types or values that cannot be rendered.
        MissingExtraError: gsplat is asked for and not installed.
    """
    _Inputs(means, scales, rotations, opacities, colors, world_from_cam, intrinsics).check()
    degree = _degree(colors, len(means), sh_degree)
    _check_numbers(size, near, far, eps2d)
    behind = _background(background, means)
    cam_from_world = _inverse(world_from_cam)
    if gsplat_backend.chosen(backend, means):
        seen, depth, alpha = gsplat_backend.render(
            means, scales, rotations, opacities, colors, cam_from_world, intrinsics,
            size=size, near=near, far=far, eps2d=eps2d, sh_degree=degree,
        )  # fmt: skip
        return Rendering(seen + (1 - alpha)[..., None] * behind, depth, alpha)
    with full_precision(means.device):  # bf16 has too few digits for a place in an image
        world = gaussians(means, scales, rotations, opacities)
        pictures = [means.new_zeros(0, *size, 5)]
        portion = _portion(means)
        for begin in range(0, len(intrinsics), portion):
            part = slice(begin, begin + portion)
            splats = project(world, Lens(cam_from_world[part], intrinsics[part], size, near, far, eps2d))
            seen = _seen(colors, means, splats, world_from_cam[part, :3, 3], degree)
            features = torch.cat([seen, splats.depth[:, None]], -1)
            pictures.append(composite(splats, features, _tiling(size, splats, len(intrinsics[part]))))
    sums = torch.cat(pictures)
    alpha = sums[..., 4]
    depth = torch.where(alpha > 0, sums[..., 3] / torch.where(alpha > 0, alpha, 1), 0)
    return Rendering(sums[..., :3] + (1 - alpha)[..., None] * behind, depth, alpha)


@dataclass(frozen=True)
class _Inputs:
    """The tensors of one call."""

    means: Tensor
    scales: Tensor
    rotations: Tensor
    opacities: Tensor
    colors: Tensor
    world_from_cam: Tensor
    intrinsics: Tensor

    def check(self) -> None:
        """Refuse tensors that cannot be rendered."""
        count, cameras = (len(value) if value.ndim else 0 for value in (self.means, self.world_from_cam))
        expected = {
            "means": (count, 3), "scales": (count, 3), "rotations": (count, 4), "opacities": (count,),
            "world_from_cam": (cameras, 4, 4), "intrinsics": (cameras, 3, 3),
        }  # fmt: skip
        for name, shape in expected.items():
            if tuple(getattr(self, name).shape) != shape:
                raise InputError(
                    f"{name} has shape {tuple(getattr(self, name).shape)}, not {shape}.",
                    "Give n Gaussians as means [n, 3], scales [n, 3], rotations [n, 4], opacities [n], and c cameras"
                    " as world_from_cam [c, 4, 4] and intrinsics [c, 3, 3].",
                )
        for name, tensor in vars(self).items():
            if tensor.dtype not in (torch.float32, torch.float64):
                raise InputError(f"{name} is {tensor.dtype}.", "Give float32 or float64 tensors.")
            if tensor.dtype != self.means.dtype or tensor.device != self.means.device:
                raise InputError(
                    f"{name} is {tensor.dtype} on {tensor.device}, means is {self.means.dtype} on {self.means.device}.",
                    "Give all tensors in one type on one device.",
                )
        self._check_values()

    @torch.no_grad()
    def _check_values(self) -> None:
        """One look at sums and extremes, so that a GPU is waited for once; the culprit is sought only if that fails."""
        lengths = self.rotations.square().sum(-1)
        focals = self.intrinsics.diagonal(dim1=1, dim2=2)[:, :2]
        limits = {
            "An opacity is below 0": self.opacities, "An opacity is above 1": 1 - self.opacities,
            "A scale is below 0": self.scales, "A rotation is (0, 0, 0, 0)": lengths - _LEAST_LENGTH,
            "A focal length is not above 0": focals - _LEAST_FOCAL,
        }  # fmt: skip
        zero = self.means.new_zeros(())
        least = [value.amin() if value.numel() else zero for value in limits.values()]
        totals = [value.sum() for value in vars(self).values()]
        found = torch.stack([*least, *(total - total for total in totals)])
        if bool((found >= 0).all()):
            return
        remedy = "Give final values: standard deviations, opacities in [0, 1], quaternions wxyz, pinhole matrices."
        for name, value in vars(self).items():
            if not bool(value.isfinite().all()):
                raise InputError(f"{name} has values that are not finite.", remedy)
        for cause, value in zip(limits, found.tolist(), strict=False):
            if value < 0:
                raise InputError(f"{cause}.", remedy)


def _degree(colors: Tensor, count: int, sh_degree: int | None) -> int | None:
    """The degree of spherical harmonics to evaluate; None for plain colours."""
    if tuple(colors.shape) == (count, 3):
        if sh_degree is not None:
            raise InputError(
                f"sh_degree is {sh_degree}, but colors [n, 3] are plain colours.", "Give [n, k, 3] coefficients."
            )
        return None
    held = {(degree + 1) ** 2: degree for degree in range(harmonics.MAX_DEGREE + 1)}
    if colors.ndim != 3 or len(colors) != count or colors.shape[2] != 3 or colors.shape[1] not in held:
        raise InputError(
            f"colors has shape {tuple(colors.shape)} for {count} Gaussians.",
            "Give plain colours [n, 3] or 1, 4, 9 or 16 coefficients of spherical harmonics [n, k, 3].",
        )
    most = held[colors.shape[1]]
    if sh_degree is not None and not 0 <= sh_degree <= most:
        raise InputError(f"sh_degree is {sh_degree}, but colors has degrees 0 to {most}.", "Ask for one of these.")
    return most if sh_degree is None else sh_degree


def _check_numbers(size: tuple[int, int], near: float, far: float, eps2d: float) -> None:
    if len(size) != 2 or min(size) < 1:
        raise InputError(f"The size of the pictures is {tuple(size)}.", "Give (height, width), each 1 or more.")
    if not (0 < near < far):
        raise InputError(f"near is {near} and far is {far}.", "Give 0 < near < far.")
    if not (eps2d > 0 and math.isfinite(eps2d)):
        raise InputError(f"eps2d is {eps2d}.", "Give a variance above 0 in pixels²; 0.3 is the usual one.")


def _background(value: float | Sequence[float] | Tensor, like: Tensor) -> Float[Tensor, "3"]:
    """A tensor is taken along; numbers of the host are looked at there and written, not copied: nothing waits."""
    if isinstance(value, Tensor):
        color = value.to(like).reshape(-1)
        fits = color.numel() in (1, 3) and bool(color.isfinite().all())
    else:
        numbers = [float(number) for number in np.ravel(value)]
        fits = len(numbers) in (1, 3) and all(map(math.isfinite, numbers))
        color = torch.cat([like.new_full((1,), number) for number in numbers]) if fits else like.new_zeros(1)
    if not fits:
        raise InputError(f"The background is {value}.", "Give one number or three, in the range of the colours.")
    return color.expand(3)


def _inverse(poses: Float[Tensor, "c 4 4"]) -> Float[Tensor, "c 4 4"]:
    """cam_from_world of rigid poses."""
    turned = poses[:, :3, :3].transpose(1, 2)
    shift = -(turned * poses[:, None, :3, 3]).sum(-1, keepdim=True)
    return torch.cat([torch.cat([turned, shift], 2), poses[:, 3:]], 1)


def _seen(
    colors: Tensor, means: Float[Tensor, "n 3"], splats: Splats, eyes: Float[Tensor, "c 3"], degree: int | None
) -> Float[Tensor, "m 3"]:
    """Colours of Gaussians as their cameras see them."""
    chosen = colors.index_select(0, splats.index)
    if degree is None:
        return chosen
    eye = per_ellipse(eyes, splats.place, len(means)).T
    return harmonics.evaluate(chosen, means.index_select(0, splats.index) - eye, degree)


def _portion(means: Float[Tensor, "n 3"]) -> int:
    """How many cameras are rendered together: one on a processor, where only memory would grow; else what fits."""
    if means.device.type == "cpu":
        return 1
    return max(1, _elements(means.device) // 16 // max(1, len(means)))


def _elements(device: torch.device) -> int:
    """Pixels x Gaussians that a device evaluates at once, in some 24 bytes each: a fortieth of its memory."""
    if device.type != "cuda":
        return 1 << 26
    memory = torch.cuda.get_device_properties(device).total_memory
    return min(max(memory // 1024, 1 << 22), 1 << 27)


def _tiling(size: tuple[int, int], splats: Splats, cameras: int = 1) -> Tiling:
    """Tiles of the side that costs least, as measured: small ones for small Gaussians. Devices get larger portions."""
    radius = float(splats.radius.clamp_max(_LARGE).mean()) if splats.radius.numel() else 0
    side = 4 if radius < 4 else 8 if radius < 32 else 16
    device = splats.radius.device
    if device.type == "cpu":
        return Tiling(size, side, cameras)
    elements = _elements(device)
    return Tiling(size, side, cameras, depth=64, slots=elements // 16, elements=elements, pairs=elements // 4, ahead=8)
