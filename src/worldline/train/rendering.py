"""The rendering loss of MV-DUSt3R+ (arXiv 2412.06974, section 3.4): photos of the scene against its Gaussians.

One Gaussian per input pixel, at the predicted point and with the photo's own colour; the network decides how large,
how turned and how opaque it is. All of them together are rendered at the true cameras of the inputs and of some further
views.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, NamedTuple, TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor

from worldline.eval.perceptual import need_lpips
from worldline.outputs.render import rasterize
from worldline.scene.assemble import GAUSSIAN_SCALE_RANGE
from worldline.train.batches import Batch, Targets
from worldline.train.losses import in_reference_frame
from worldline.types import GaussianMaps, Pointmaps

# how the published loss renders
EPS2D = 0.1  # added to the variances on the image, pixels²
NEAR, FAR = 0.01, 100.0  # in units of the normalised scene
BACKGROUND = 1.0  # white, colours in [-1, 1]
Part = TypeVar("Part", Batch, Targets, Pointmaps, GaussianMaps)


class RenderingLoss(NamedTuple):
    """The terms, those of all devices adding up to those of the whole batch."""

    rgb: Float[Tensor, ""]  # mean Euclidean distance of the colours over the valid pixels of all targets
    scale: Float[Tensor, ""]  # mean squared excess of the scales over their range
    perceptual: Float[Tensor, ""]  # weighted LPIPS, 0 where it is not asked for

    @property
    def total(self) -> Float[Tensor, ""]:
        """Their sum."""
        return self.rgb + self.scale + self.perceptual


class NormalisedGaussians(NamedTuple):
    """Gaussians of one scene in the frame of its reference view, unit: mean distance of the input pixels' points."""

    means: Float[Tensor, "n 3"]
    scales: Float[Tensor, "n 3"]
    rotations: Float[Tensor, "n 4"]
    opacities: Float[Tensor, "n"]
    colors: Float[Tensor, "n 3"]  # in [-1, 1]


def rendering_loss(
    maps: Pointmaps,
    batch: Batch,
    *,
    size: int | None = None,
    scenes: int | None = None,
    perceptual_weight: float = 0.0,
    summed: Callable[[Tensor], Tensor] = lambda counts: counts,
) -> RenderingLoss:
    """Of the path whose reference is view 0.

    Args:
        maps: points ``[scene, view, height, width, 3]`` and Gaussians of the input views in the frame of view 0.
        batch: the truth; its targets begin with the input views.
        size: render a random square of so many pixels of each target; None: all of it. Drawn from torch's generator.
        scenes: render the first so many scenes of the batch; None: all of them.
        perceptual_weight: of LPIPS between renderings (clipped to [-1, 1]) and photos; needs the extra ``lpips``.
        summed: adds counts up over all devices.
    """
    targets = batch.targets
    if targets is None or maps.gaussians is None:
        raise ValueError("a rendering loss needs targets and Gaussians")  # the recipe has been checked: a bug
    if scenes is not None and scenes < len(batch.images):
        maps, batch, targets = _first_scenes(maps, scenes), _first_scenes(batch, scenes), _first_scenes(targets, scenes)
    factor = _mean_distance(maps.points, batch).detach()
    truth = _mean_distance(in_reference_frame(batch.points, batch.world_from_cam[:, 0]), batch)
    poses = _relative(targets.world_from_cam, batch.world_from_cam[:, 0], truth)
    crops = _crops(targets, size)
    colors, distances = [], []
    for scene in range(len(batch.images)):
        picture = _render(normalised(maps, batch, factor, scene), poses[scene], crops, scene)
        valid = crops.valid[scene]
        difference = torch.where(valid[..., None], picture - crops.images[scene].permute(0, 2, 3, 1), 0.0)
        distances.append(torch.linalg.vector_norm(difference, dim=-1).sum())
        colors.append(picture)
    pixels = summed(crops.valid.sum().float()).clamp(min=1)
    scales = cast(GaussianMaps, maps.gaussians).scales / factor[:, None, None, None, None]
    perceptual = torch.zeros((), device=pixels.device)
    if perceptual_weight:
        pictures = torch.cat(colors).permute(0, 3, 1, 2).clamp(-1, 1)
        views = summed(torch.full((), float(len(pictures)), device=pixels.device))
        distances_seen = need_lpips(pictures.device)(pictures, crops.images.flatten(0, 1))
        perceptual = perceptual_weight * distances_seen.sum() / views
    entries = summed(torch.full((), float(scales.numel()), device=pixels.device))
    return RenderingLoss(torch.stack(distances).sum() / pixels, scale_excess(scales).sum() / entries, perceptual)


def scale_excess(scales: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Squared amount by which normalised scales lie outside of their range."""
    low, high = GAUSSIAN_SCALE_RANGE
    return ((scales - high).clamp(min=0) + (low - scales).clamp(min=0)) ** 2


def normalised(maps: Pointmaps, batch: Batch, factor: Float[Tensor, "scene"], scene: int) -> NormalisedGaussians:
    """The Gaussians of one scene: one per pixel of every input view, in the photo's colour."""
    drawn = cast(GaussianMaps, maps.gaussians)
    low, high = GAUSSIAN_SCALE_RANGE
    return NormalisedGaussians(
        (maps.points[scene] / factor[scene]).reshape(-1, 3),
        (drawn.scales[scene] / factor[scene]).clamp(low, high).reshape(-1, 3),
        drawn.rotations[scene].reshape(-1, 4),
        drawn.opacities[scene].reshape(-1),
        batch.images[scene].permute(0, 2, 3, 1).reshape(-1, 3),
    )


def _render(
    gaussians: NormalisedGaussians, world_from_cam: Float[Tensor, "target 4 4"], targets: Targets, scene: int
) -> Float[Tensor, "target height width 3"]:
    height, width = targets.images.shape[-2:]
    return rasterize(
        *gaussians, world_from_cam=world_from_cam, intrinsics=targets.intrinsics[scene], size=(height, width),
        background=BACKGROUND, near=NEAR, far=FAR, eps2d=EPS2D,
    ).color  # fmt: skip


def _first_scenes(part: Part, scenes: int) -> Part:
    """The same for fewer scenes; what is missing stays so."""
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    kept: dict[str, Any] = {
        name: value[:scenes] if isinstance(value, Tensor) else _first_scenes(value, scenes)
        for name, value in values.items()
        if value is not None
    }
    return replace(part, **kept)


def _mean_distance(points: Float[Tensor, "scene view height width 3"], batch: Batch) -> Float[Tensor, "scene"]:
    """Mean distance to the reference camera over the valid pixels of the input views."""
    distance = torch.where(batch.valid, torch.linalg.vector_norm(points, dim=-1), 0.0).flatten(1)
    return (distance.sum(1) / batch.valid.flatten(1).sum(1).clamp(min=1)).clamp(min=1e-8)


def _relative(
    world_from_cam: Float[Tensor, "scene target 4 4"],
    world_from_reference: Float[Tensor, "scene 4 4"],
    unit: Float[Tensor, "scene"],
) -> Float[Tensor, "scene target 4 4"]:
    """Poses in the frame of the reference, their translations in the given unit; inverted in float64."""
    inverse, _ = torch.linalg.inv_ex(world_from_reference.double())  # its error would have to be read
    poses = inverse[:, None] @ world_from_cam.double()
    poses[..., :3, 3] /= unit.double()[:, None, None]
    return poses.to(world_from_cam.dtype)


def _crops(targets: Targets, size: int | None) -> Targets:
    """A random square of every target, with the intrinsics that belong to it."""
    scenes, count, _, height, width = targets.images.shape
    if size is None or size >= min(height, width):
        return targets
    corners = torch.stack(
        [torch.randint(side - size + 1, (scenes, count)) for side in (width, height)], -1
    )  # scene target (x, y)
    images = targets.images.new_empty(scenes, count, 3, size, size)
    valid = targets.valid.new_empty(scenes, count, size, size)
    for scene in range(scenes):
        for target in range(count):
            x, y = (int(value) for value in corners[scene, target])
            images[scene, target] = targets.images[scene, target, :, y : y + size, x : x + size]
            valid[scene, target] = targets.valid[scene, target, y : y + size, x : x + size]
    intrinsics = targets.intrinsics.clone()
    intrinsics[..., :2, 2] -= corners.to(intrinsics, non_blocking=True)
    return Targets(images, valid, targets.world_from_cam, intrinsics)
