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

import torch
from jaxtyping import Float
from torch import Tensor

from worldline.errors import InputError
from worldline.outputs.render import harmonics
from worldline.outputs.render.compositing import Tiling, composite
from worldline.outputs.render.projection import Lens, Splats, gaussians, project

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
    scene = _Scene(means, scales, rotations, opacities, colors, world_from_cam, intrinsics)
    degree = scene.check(sh_degree)
    _check_numbers(size, near, far, eps2d)
    behind = _background(background, means)
    world = gaussians(means, scales, rotations, opacities)
    pictures = []
    for pose, matrix in zip(world_from_cam, intrinsics, strict=True):
        lens = Lens(_inverse(pose), matrix, size, near, far, eps2d)
        splats = project(world, lens)
        features = torch.cat([_seen(scene, splats, pose, degree), splats.depth[:, None]], -1)
        pictures.append(composite(splats, features, Tiling(size, _side(splats))))
    sums = torch.stack(pictures) if pictures else means.new_zeros(0, *size, 5)
    alpha = sums[..., 4]
    color = sums[..., :3] + (1 - alpha)[..., None] * behind
    depth = torch.where(alpha > 0, sums[..., 3] / torch.where(alpha > 0, alpha, 1), 0)
    return Rendering(color, depth, alpha)


@dataclass(frozen=True)
class _Scene:
    """The tensors of one call."""

    means: Tensor
    scales: Tensor
    rotations: Tensor
    opacities: Tensor
    colors: Tensor
    world_from_cam: Tensor
    intrinsics: Tensor

    def check(self, sh_degree: int | None) -> int | None:
        """Refuse what cannot be rendered; the degree of spherical harmonics to evaluate, None for plain colours."""
        count = len(self.means) if self.means.ndim else 0
        expected = {
            "means": (count, 3), "scales": (count, 3), "rotations": (count, 4), "opacities": (count,),
            "world_from_cam": (len(self.world_from_cam), 4, 4), "intrinsics": (len(self.world_from_cam), 3, 3),
        }  # fmt: skip
        for name, shape in expected.items():
            if tuple(getattr(self, name).shape) != shape:
                raise InputError(
                    f"{name} has shape {tuple(getattr(self, name).shape)}, not {shape}.",
                    "Give n Gaussians as means [n, 3], scales [n, 3], rotations [n, 4], opacities [n], and c cameras"
                    " as world_from_cam [c, 4, 4] and intrinsics [c, 3, 3].",
                )
        tensors = vars(self)
        first = self.means
        for name, tensor in tensors.items():
            if tensor.dtype != first.dtype or not tensor.is_floating_point() or tensor.device != first.device:
                raise InputError(
                    f"{name} is {tensor.dtype} on {tensor.device}, means is {first.dtype} on {first.device}.",
                    "Give all tensors in one floating-point type on one device.",
                )
        self._check_values()
        return _degree(self.colors, count, sh_degree)

    def _check_values(self) -> None:
        tests = {f"{name} has values that are not finite": ~v.isfinite().all() for name, v in vars(self).items()}
        tests["An opacity is below 0 or above 1"] = ((self.opacities < 0) | (self.opacities > 1)).any()
        tests["A scale is below 0"] = (self.scales < 0).any()
        tests["A rotation is the zero quaternion"] = (self.rotations == 0).all(-1).any()
        for (cause, _), failed in zip(tests.items(), torch.stack(list(tests.values())).tolist(), strict=True):
            if failed:
                raise InputError(f"{cause}.", "Give final values: standard deviations, opacities in [0, 1], wxyz.")


def _degree(colors: Tensor, count: int, sh_degree: int | None) -> int | None:
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
    color = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    if color.numel() not in (1, 3) or not bool(color.isfinite().all()):
        raise InputError(f"The background is {value}.", "Give one number or three, in the range of the colours.")
    return color.reshape(-1).expand(3)


def _inverse(pose: Float[Tensor, "4 4"]) -> Float[Tensor, "4 4"]:
    """cam_from_world of a rigid pose."""
    turned = pose[:3, :3].T
    return torch.cat([torch.cat([turned, -turned @ pose[:3, 3:]], 1), pose[3:]])


def _seen(scene: _Scene, splats: Splats, pose: Tensor, degree: int | None) -> Float[Tensor, "m 3"]:
    """Colours of the Gaussians as the camera sees them."""
    colors = scene.colors.index_select(0, splats.index)
    if degree is None:
        return colors
    return harmonics.evaluate(colors, scene.means.index_select(0, splats.index) - pose[:3, 3], degree)


def _side(splats: Splats) -> int:
    """Side of the tiles that wastes least: small tiles for small Gaussians."""
    return 4 if splats.radius.numel() == 0 or splats.radius.mean() < 4 else 8
