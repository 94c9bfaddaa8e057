"""From clips to what a training step sees: frames at the network's size, queries, true answers.

As for the other tasks, a *draft* is decided on the processor and *developed* on the device that trains. Every
augmentation is the same for all frames of a clip, and moves images, cameras, bodies and tracks together (appendix A of
arXiv 2512.08924). Only images are ever resampled: queries start at pixel centres of the clip as it was stored, whose
targets are exact, and (u, v) do not change when an image is resized.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from typing import Any, Self, TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from worldline.errors import InputError
from worldline.models.queries import Queries
from worldline.train.clips.clips import Clip
from worldline.train.clips.colors import ClipColors, ColorOptions
from worldline.train.clips.dense import DenseTargets, dense_targets
from worldline.train.clips.losses import Targets
from worldline.train.clips.queries import Asked, QueryOptions, draw_queries

_LEAST = 24  # pixels of the shorter side of a crop
_ZOOM = (0.1, 0.3)  # share of the area that a zoomed-in crop keeps
Parts = TypeVar("Parts")


@dataclass(frozen=True)
class CropOptions:
    """Random crops; the defaults are the paper's."""

    share: float = 1.0  # of the clips that are cropped
    area: tuple[float, float] = (0.3, 1.0)  # share of the image that is kept, uniform
    zoom: float = 0.05  # share of the crops that keep less than that
    aspect: tuple[float, float] = (0.4, 2.5)  # width / height, log-uniform among those that fit into the image


@dataclass(frozen=True)
class ClipOptions:
    """What is drawn from clips; the fields are those of the recipe and its stages."""

    frames: int
    size: int  # edge of the square images
    queries: QueryOptions = field(default_factory=QueryOptions)
    crop: CropOptions = field(default_factory=CropOptions)
    colors: ColorOptions = field(default_factory=ColorOptions)
    stride: int = 4  # largest step between frames
    reverse: float = 0.5  # share of the clips that run backwards
    dense_patch: int = 0  # edge of a token whose pixels have targets, 0 = none
    augment: bool = True  # False: the first frames as they are, and no change of colours


@dataclass(frozen=True)
class ClipBatch:
    """What one training step sees."""

    images: Float[Tensor, "clip frame 3 size size"]  # in [0, 1]
    aspect_ratio: Float[Tensor, "clip"]  # width / height before the frames were made square
    queries: Queries
    targets: Targets
    dense: DenseTargets | None = None

    def to(self, device: torch.device | str) -> Self:
        """The same batch on another device."""
        return changed(self, lambda part: part.to(device))


@dataclass(frozen=True)
class ClipDraft:
    """A batch before any colour is computed."""

    images: UInt8[Tensor, "clip frame 3 size size"]
    aspect_ratio: Float[Tensor, "clip"]
    queries: Queries
    targets: Targets
    colors: ClipColors | None  # None: as they are
    dense: DenseTargets | None = None

    def to(self, device: torch.device | str) -> Self:
        """The same draft on another device."""
        return changed(self, lambda part: part.to(device, non_blocking=True))

    def pinned(self) -> Self:
        """The same draft in page-locked memory, from where it moves to a CUDA device beside the computation."""
        return changed(self, Tensor.pin_memory)

    def develop(self) -> ClipBatch:
        """Everything that a step needs, on the device of the draft."""
        images = self.images.float() / 255
        if self.colors is not None:
            images = self.colors.apply(images)
        return ClipBatch(images, self.aspect_ratio, self.queries, self.targets, self.dense)


def changed(parts: Parts, change: Callable[[Tensor], Tensor]) -> Parts:
    """A dataclass or named tuple of tensors, and of more such, with every tensor changed."""
    if isinstance(parts, Tensor):
        return change(parts)  # type: ignore[return-value]
    if is_dataclass(parts) and not isinstance(parts, type):
        return replace(parts, **{name: changed(value, change) for name, value in vars(parts).items()})
    if isinstance(parts, tuple):
        made: Any = type(parts)
        return made(*(changed(value, change) for value in parts))  # type: ignore[no-any-return]
    return parts


def draw_clips(clips: Sequence[Clip], options: ClipOptions, rng: np.random.Generator) -> ClipDraft:
    """Some frames of every clip, changed alike, and queries about them.

    Raises:
        InputError: a clip has too few frames.
    """
    drawn = [draw_clip(clip, options, rng) for clip in clips]
    asked = [draw_queries(clip, options.queries, rng) for clip in drawn]
    queries, targets = stacked(asked)
    aspect = [clip.size[1] / clip.size[0] for clip in drawn]
    return ClipDraft(
        images=torch.stack([square_images(clip, options.size) for clip in drawn]),
        aspect_ratio=torch.tensor(aspect, dtype=torch.float32),
        queries=queries,
        targets=targets,
        colors=ClipColors.draw(len(drawn), options.colors, rng) if options.augment else None,
        dense=_dense(drawn, options) if options.dense_patch else None,
    )


def _dense(clips: Sequence[Clip], options: ClipOptions) -> DenseTargets:
    parts = zip(*(dense_targets(clip, options.size, options.dense_patch) for clip in clips), strict=True)
    return DenseTargets(*(torch.from_numpy(np.stack(part)) for part in parts))


def draw_clip(clip: Clip, options: ClipOptions, rng: np.random.Generator) -> Clip:
    """The part of a clip that a step sees."""
    if len(clip) < options.frames:
        raise InputError(
            f"A step asks for {options.frames} frames, a clip has {len(clip)}.", "Render longer clips, or ask for less."
        )
    if not options.augment:
        return clip if len(clip) == options.frames else clip.choose(range(options.frames))
    most = min(options.stride, (len(clip) - 1) // max(1, options.frames - 1))
    stride = int(rng.integers(1, most + 1))
    start = int(rng.integers(len(clip) - stride * (options.frames - 1)))
    times = list(range(start, start + stride * options.frames, stride))[: options.frames]
    if rng.random() < options.reverse:
        times.reverse()
    part = clip.choose(times)
    if rng.random() < options.crop.share:
        part = part.crop(*draw_box(clip.size, options.crop, rng))
    return part.mirror() if rng.random() < 0.5 else part


def draw_box(size: tuple[int, int], options: CropOptions, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """(top, left, height, width) of a crop: first its area, then a shape that fits, then its place."""
    rows, columns = size
    zoomed = rng.random() < options.zoom
    area = rng.uniform(*(_ZOOM if zoomed else options.area)) * rows * columns
    # columns >= width = sqrt(area * aspect) and rows >= height = sqrt(area / aspect)
    low, high = max(area / rows**2, options.aspect[0]), min(columns**2 / area, options.aspect[1])
    own = columns / rows  # always fits; where no wanted shape does, it is taken
    aspect = math.exp(rng.uniform(math.log(low), math.log(high))) if low < high else own
    least = min(_LEAST, rows, columns)
    height = min(rows, max(least, round(math.sqrt(area / aspect))))
    width = min(columns, max(least, round(math.sqrt(area * aspect))))
    return int(rng.integers(rows - height + 1)), int(rng.integers(columns - width + 1)), height, width


def square_images(clip: Clip, size: int) -> UInt8[Tensor, "frame 3 size size"]:
    """Frames stretched to a square, smoothed where they shrink; pixel edges stay in place, so (u, v) do not change."""
    images = torch.from_numpy(np.ascontiguousarray(clip.images)).permute(0, 3, 1, 2)
    if images.shape[-2:] == (size, size):
        return images
    return interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)


def stacked(asked: Sequence[Asked]) -> tuple[Queries, Targets]:
    """Queries and answers of several clips as tensors."""

    def stack(name: str) -> Tensor:
        return torch.from_numpy(np.stack([getattr(each, name) for each in asked]))

    queries = Queries(*(stack(name) for name in Queries._fields))
    names = [name for name in Targets.__annotations__ if name != "has_motion"]
    known = {name: stack(name) for name in names}
    return queries, Targets(**known, has_motion=known["has_points"])
