"""Dense supervision of D4RT's encoder: what every token shows, and where that goes in the frames around it.

Queries are expensive, so a step asks less than one per token, and a small network that is trained on them alone learns
where things usually are before it learns to look (measured: after 500 steps its tokens told no more of depth than their
place in the image does). A linear layer on the tokens has targets for every pixel at almost no cost: the logarithm of
its depth, and for the middle of every token its image coordinates one frame later and earlier. Ours, not in the paper;
the layer (``D4rt.dense``) is for training only and answers no query.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from worldline.models.config import D4rtConfig
from worldline.train.clips.clips import SKY, Clip
from worldline.train.clips.queries import Sources, place_at

FLOW = 4  # offsets of (u, v) to the next and to the previous frame
_FAR = 1.0  # offsets are learned up to so many image sizes
_FLOW_WEIGHT = 2.0  # beside the logarithm of depth; offsets are shares of an image and small


class DenseTargets(NamedTuple):
    """What a clip shows at the size of the network. Depth 0 and masks False: unknown."""

    depth: Float[Tensor, "clip frame size size"]  # divided by the mean depth of the clip
    flow: Float[Tensor, "clip frame row column 4"]  # of token middles
    has_flow: Bool[Tensor, "clip frame row column 2"]


def dense_targets(clip: Clip, size: int, patch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One clip's part of :class:`DenseTargets`; nothing is known where a clip has no dense depth."""
    frames, cells = len(clip), size // patch
    nothing = np.zeros((frames, cells, cells, FLOW), np.float32), np.zeros((frames, cells, cells, 2), bool)
    if clip.depth is None:
        return np.zeros((frames, size, size), np.float32), *nothing
    height, width = clip.size
    rows, columns = _centers(size, height), _centers(size, width)
    depth = clip.depth[:, rows[:, None], columns].astype(np.float32)
    if clip.body is not None:
        depth[clip.body[:, rows[:, None], columns] == SKY] = 0
    known = depth > 0
    depth /= max(float(depth[known].mean()) if known.any() else 1.0, 1e-6)
    if clip.tracks is not None:  # things move in unknown ways between the tracks
        return depth, *nothing
    return depth, *_flow(clip, _centers(cells, height), _centers(cells, width))


def _centers(cells: int, pixels: int) -> np.ndarray:
    """The pixels nearest to the middles of cells."""
    return np.clip(np.round((np.arange(cells) + 0.5) / cells * pixels - 0.5).astype(np.int64), 0, pixels - 1)


def _flow(
    clip: Clip, rows: np.ndarray, columns: np.ndarray
) -> tuple[Float32[np.ndarray, "frame row column 4"], Bool[np.ndarray, "frame row column 2"]]:
    """Offsets of the surfaces at some pixels to the next and to the previous frame."""
    shape = (len(clip), len(rows), len(columns))
    frame, y, x = (part.ravel() for part in np.meshgrid(np.arange(len(clip)), rows, columns, indexing="ij"))
    assert clip.depth is not None
    shows = clip.depth[frame, y, x] > 0
    if clip.body is not None:
        shows &= clip.body[frame, y, x] != SKY
    sources = Sources.at(clip, frame, x, y)
    own = (sources.pixel + 0.5) / clip.size[::-1]
    offsets, known = [], []
    for step in (1, -1):
        other = frame + step
        there = (other >= 0) & (other < len(clip))
        uv, front = place_at(clip, sources, np.where(there, other, frame))
        offset = uv - own
        known.append(there & front & shows & (np.abs(offset) < _FAR).all(-1))
        offsets.append(np.where(known[-1][:, None], offset, 0.0))
    return np.concatenate(offsets, -1).astype(np.float32).reshape(*shape, FLOW), np.stack(known, -1).reshape(*shape, 2)


def dense_loss(
    said: Float[Tensor, "clip token number"],
    targets: DenseTargets,
    config: D4rtConfig,
    summed: Callable[[Tensor], Tensor] = lambda counts: counts,
) -> Float[Tensor, ""]:
    """L1 of the logarithm of depth over all pixels, plus that of the offsets over all token middles.

    Args:
        said: of ``D4rt.dense``, for the tokens of slices, rows and columns.
        summed: adds counts of known targets up over all devices.
    """
    per_slice, height, width = config.patch
    clips, frames, size, _ = targets.depth.shape
    cells = size // height
    said = said.float().view(clips, -1, cells, cells, per_slice, height * width + FLOW)
    pixels = said[..., :-FLOW].unflatten(-1, (height, width)).permute(0, 1, 4, 2, 5, 3, 6)
    found = pixels.reshape(clips, -1, size, size)[:, :frames]
    flow = said[..., -FLOW:].movedim(4, 2).flatten(1, 2)[:, :frames]
    known, moved = targets.depth > 0, targets.has_flow.repeat_interleave(2, -1)
    counts = summed(torch.stack([known.sum(), moved.sum()]).float()).clamp_min(1)
    depth = (found - targets.depth.clamp_min(1e-4).log()).abs()
    return (
        torch.where(known, depth, 0.0).sum() / counts[0]
        + _FLOW_WEIGHT * torch.where(moved, (flow - targets.flow).abs(), 0.0).sum() / counts[1]
    )
