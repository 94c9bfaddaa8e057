"""From drawn scenes to what a training step sees.

A batch has two lives. A *draft* is decided on the processor: which views, mirrored or not, which change of colours; it
holds 8-bit images and depths as stored. It is *developed* on the device that trains, where points, correspondences and
colours of every pixel are computed in a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from worldline.errors import InputError
from worldline.train.appearance import Appearance, ColorChange
from worldline.train.correspondence import Cameras, cameras_of, choose_views, overlap, token_matches, world_points
from worldline.train.data import PosedImages, mirror, shrink

_COVERED = 0.7  # share of the pixels of a render-only view that one input view should see
Part = TypeVar("Part", "Batch", "Targets")


@dataclass(frozen=True)
class Targets:
    """Photos that the predicted Gaussians are rendered at: those of the inputs, then the render-only ones."""

    images: Float[Tensor, "scene target 3 height width"]  # in [-1, 1]
    valid: Bool[Tensor, "scene target height width"]
    world_from_cam: Float[Tensor, "scene target 4 4"]
    intrinsics: Float[Tensor, "scene target 3 3"]


@dataclass(frozen=True)
class Batch:
    """What one training step sees. World points: the loss moves them into the frame of each reference."""

    images: Float[Tensor, "scene view 3 height width"]  # in [-1, 1]
    points: Float[Tensor, "scene view height width 3"]
    valid: Bool[Tensor, "scene view height width"]
    world_from_cam: Float[Tensor, "scene view 4 4"]
    matches: Int[Tensor, "scene view view token"]  # see token_matches; -1 = none
    targets: Targets | None = None  # of the rendering loss, where the stage has one

    def __add__(self, other: Batch) -> Batch:
        """The scenes of both."""
        return _joined(self, other)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return _moved(self, device)


def _joined(first: Part, second: Part) -> Part:
    """Scene by scene behind each other; what both leave out stays out."""
    pairs = [(getattr(first, field.name), getattr(second, field.name)) for field in fields(first)]
    parts: list[Any] = [
        _joined(a, b) if isinstance(a, Targets) else a if a is None else torch.cat((a, b)) for a, b in pairs
    ]
    return type(first)(*parts)


def _moved(batch: Part, device: torch.device | str) -> Part:
    values = [getattr(batch, field.name) for field in fields(batch)]
    parts: list[Any] = [
        _moved(a, device) if isinstance(a, Targets) else a if a is None else a.to(device) for a in values
    ]
    return type(batch)(*parts)


@dataclass(frozen=True)
class Draft:
    """A batch before any pixel is computed."""

    images: UInt8[Tensor, "scene view height width 3"]
    depth: Float[Tensor, "scene view height width"]  # along the optical axis, as stored; 0 = invalid
    cameras: Cameras
    colors: ColorChange | None  # None: as they are
    intrinsics: Float[Tensor, "scene view 3 3"] | None = None  # where the batch has targets to render
    render_only: int = 0  # the last so many views are targets and not seen by the network

    def to(self, device: torch.device | str) -> Draft:
        """The same draft on another device."""
        return self._with(lambda part: part.to(device, non_blocking=True))

    def pinned(self) -> Draft:
        """The same draft in page-locked memory, from where it moves to a CUDA device beside the computation."""
        return self._with(Tensor.pin_memory)

    def develop(self) -> Batch:
        """Everything that a step needs, on the device of the draft."""
        depth = self.depth.float()
        valid = torch.isfinite(depth) & (depth > 0)
        depth = torch.where(valid, depth, 0.0)
        colors = self.images.float() / 255
        if self.colors is not None:
            colors = self.colors.apply(colors)
        images = (2 * colors - 1).permute(0, 1, 4, 2, 3).contiguous()
        poses, targets = self.cameras.world_from_cam, None
        if self.intrinsics is not None:
            targets = Targets(images, valid, poses, self.intrinsics)
        seen = slice(images.shape[1] - self.render_only)
        cameras = Cameras(*(part[:, seen] for part in self.cameras))
        points, matches = world_points(depth[:, seen], cameras), token_matches(depth[:, seen], cameras)
        return Batch(images[:, seen], points, valid[:, seen], poses[:, seen], matches, targets)

    def _with(self, change: Callable[[Tensor], Tensor]) -> Draft:
        colors = None if self.colors is None else self.colors.with_parts(change)
        inner = None if self.intrinsics is None else change(self.intrinsics)
        cameras = Cameras(*map(change, self.cameras))
        return Draft(change(self.images), change(self.depth), cameras, colors, inner, self.render_only)


def draw_batch(
    scenes: Sequence[PosedImages],
    rng: np.random.Generator,
    views: int,
    size: int,
    least_overlap: tuple[float, float] = (0.15, 0.15),
    augment: bool = True,
    render_only: int | None = None,
    appearance: Appearance | None = None,
) -> Draft:
    """Of every scene ``views`` overlapping views in random order, ``size`` pixels wide, some mirrored, recoloured.

    Args:
        render_only: further views per scene, behind the others, that are rendered and not shown to the network; the
            inputs see most of what they show. The colours of all views of a scene then change alike, because a
            rendering can only have the colours of the inputs. None: nothing is rendered.
        appearance: how much the images change, where they are augmented; None: a little.

    Raises:
        InputError: a scene has too few views, or its images cannot be reduced to that size.
    """
    drawn: list[PosedImages] = []
    further = render_only or 0
    for scene in scenes:
        shares = overlap(scene) if scene.overlap is None else scene.overlap
        chosen = choose_views(shares, views, rng, rng.uniform(*least_overlap))
        chosen += covered_views(shares, chosen, further, rng)
        if len(chosen) < views + further:
            raise InputError(
                f"A step asks for {views + further} views, the data have {len(chosen)} per scene.",
                "Render more views per scene.",
            )
        scene = shrink(scene.choose(chosen), size)
        drawn.append(mirror(scene) if augment and rng.random() < 0.5 else scene)
    intrinsics = np.stack([scene.intrinsics for scene in drawn])
    alike = (0.7, 0.7) if render_only is None else (1.0, 0.0)
    colors = ColorChange.draw(len(drawn), views + further, rng, alike, appearance) if augment else None
    return Draft(
        torch.from_numpy(np.stack([scene.images for scene in drawn])),
        torch.from_numpy(np.stack([scene.depth for scene in drawn])),
        cameras_of(intrinsics, np.stack([scene.world_from_cam for scene in drawn])),
        colors,
        None if render_only is None else torch.from_numpy(intrinsics.astype(np.float32)),
        further,
    )


def covered_views(
    shares: Float[np.ndarray, "view view"], inputs: Sequence[int], count: int, rng: np.random.Generator
) -> list[int]:
    """Other views whose pixels the inputs see: ``shares`` as of :func:`~worldline.train.correspondence.overlap`.

    Drawn among those of which one input sees at least 0.7; where there are too few, the best covered ones.
    """
    rest = [view for view in range(len(shares)) if view not in inputs]
    covered = np.array([shares[view, list(inputs)].max() for view in rest])
    good = int((covered >= _COVERED).sum())
    order = np.argsort(-covered, kind="stable")
    candidates = order[: max(count, good)]
    return [rest[index] for index in rng.permutation(candidates)[:count]]
