"""How good a D4RT is on clips: depth, tracks and camera rotation from nothing but queries, beside a constant depth."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Int
from torch import nn

from worldline.eval.video.tracks3d import Tracks3D, intrinsics_at_256, score_tracks_3d
from worldline.geometry.rigid import rotation_angle
from worldline.geometry.similarity import fit_similarity
from worldline.models.d4rt import Answers, D4rt, Memory
from worldline.models.queries import Queries
from worldline.train.clips.batches import square_images
from worldline.train.clips.clips import Clip
from worldline.train.clips.queries import QueryOptions, answer, draw_sources

GRID = 16  # depth is asked for at so many places per row and column of a frame
POSE_GRID = 8  # and camera motion
TRACKS = 96  # points that are followed, drawn uniformly from what all frames show
MOVING = 0.05  # metres between the farthest positions of a point that moves
_NEAREST = 0.1  # metres: predicted depths below count as this
_PORTION = 4096  # queries at a time


@torch.no_grad()
def score_clips(network: nn.Module, clips: Iterable[Clip], size: int) -> dict[str, float]:
    """Means over the clips.

    ``abs_rel``: mean relative error of depth, with one scale per clip (median ratio); ``abs_rel_constant``: the same of
    a constant depth. ``apd3d``, ``average_jaccard``, ``occlusion_accuracy``: tracks in the camera of each frame by the
    rules of TAPVid-3D with its median scale, ``apd3d_moving`` over points that move. ``rpe_rotation``: mean error in
    degrees of the rotation between neighbouring frames, from rigid fits of two sets of answers (section 2.1).
    """
    assert isinstance(network, D4rt)
    rows: list[dict[str, float]] = []
    for clip in clips:
        asked = _Asked(network, clip, size)
        rows.append(score_depth(asked, clip) | score_tracks(asked, clip) | score_rotation(asked, clip))
    if not rows:
        return {}
    names = dict.fromkeys(name for row in rows for name in row)
    means = {name: [row[name] for row in rows if np.isfinite(row.get(name, np.nan))] for name in names}
    return {"clips": float(len(rows))} | {name: float(np.mean(values)) for name, values in means.items() if values}


class _Asked:
    """A clip in the memory of a network."""

    def __init__(self, network: D4rt, clip: Clip, size: int) -> None:
        self.network, self.device = network, next(network.parameters()).device
        images = square_images(clip, size).to(self.device).float()[None] / 255
        ratio = torch.tensor([clip.size[1] / clip.size[0]], device=self.device)
        self.memory: Memory = network.encode(images, ratio)

    def __call__(self, u: np.ndarray, v: np.ndarray, *times: np.ndarray) -> Answers:
        """Answers ``[query]`` to flat queries, on the processor."""
        places = (torch.from_numpy(part.astype(np.float32)) for part in (u, v))
        moments = (torch.from_numpy(part.astype(np.int64)) for part in times)
        queries = Queries(*(part[None].to(self.device) for part in (*places, *moments)))
        parts = [self.network.decode(self.memory, part) for part in queries.split(_PORTION)]
        joined = Answers.join(parts)
        return Answers(*(getattr(joined, name)[0].float().cpu() for name in Answers.__annotations__))


def score_depth(ask: _Asked, clip: Clip) -> dict[str, float]:
    """Relative error of the depth of a grid of pixels in all frames."""
    if clip.depth is None:
        return {}
    height, width = clip.size
    frame, y, x = _grid(len(clip), height, width, GRID)
    true = clip.depth[frame, y, x].astype(np.float64)
    seen = true > 0
    frame, y, x, true = (part[seen] for part in (frame, y, x, true))
    if not len(true):
        return {}
    found = ask((x + 0.5) / width, (y + 0.5) / height, frame, frame, frame).points[:, 2].double().numpy()
    found = found * np.median(true) / max(float(np.median(found)), 1e-6)
    errors = [np.abs(np.maximum(part, _NEAREST) - true) / true for part in (found, np.full_like(true, np.median(true)))]
    within = np.maximum(found / true, true / np.maximum(found, _NEAREST)) < 1.25
    return {
        "abs_rel": float(errors[0].mean()),
        "abs_rel_constant": float(errors[1].mean()),
        "delta_1.25": float((within & (found > 0)).mean()),
    }


def score_tracks(ask: _Asked, clip: Clip) -> dict[str, float]:
    """Points followed through all frames, each in the camera of the frame."""
    sources = draw_sources(clip, QueryOptions(TRACKS, edges=0.0), np.random.default_rng(0))
    if sources is None:
        return {}
    frames, (height, width) = len(clip), clip.size
    every = type(sources)(*(np.repeat(part, frames, 0) for part in sources))
    times = np.tile(np.arange(frames), TRACKS)
    true = answer(clip, every, times, times)
    world = answer(clip, every, times, np.zeros_like(times)).points.reshape(TRACKS, frames, 3)
    found = ask(true.u, true.v, true.t_src, times, times)
    matrix = clip.intrinsics[0]
    four = np.array([matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]])

    def tracks(points: np.ndarray, visible: np.ndarray, kept: np.ndarray) -> Tracks3D:
        points, visible = points.reshape(TRACKS, frames, 3)[kept], visible.reshape(TRACKS, frames)[kept]
        return Tracks3D(points.astype(np.float64), visible)

    moves = np.linalg.norm(world - world[:, :1], axis=-1).max(1) > MOVING
    figures: dict[str, float] = {}
    for name, kept in (("", np.ones(TRACKS, bool)), ("_moving", moves)):
        if not kept.any():
            continue
        scores = score_tracks_3d(
            tracks(found.points.numpy(), (found.visibility > 0).numpy(), kept),
            tracks(true.points, true.visible & true.has_points, kept),
            intrinsics_at_256(four, height, width), order="n t",
        )  # fmt: skip
        figures[f"apd3d{name}"] = float(scores.average_within[0])
        if not name:
            figures["average_jaccard"] = float(scores.average_jaccard[0])
            figures["occlusion_accuracy"] = float(scores.occlusion_accuracy[0])
    return figures


def score_rotation(ask: _Asked, clip: Clip) -> dict[str, float]:
    """Error of the camera's turn from each frame to the next: the same points at the same moment, in two cameras."""
    frames, (height, width) = len(clip), clip.size
    if frames < 2:
        return {}
    frame, y, x = _grid(frames - 1, height, width, POSE_GRID)
    u, v = (x + 0.5) / width, (y + 0.5) / height
    here, there = (ask(u, v, frame, frame, camera) for camera in (frame, frame + 1))
    sets = [side.points.double().view(frames - 1, -1, 3) for side in (here, there)]
    weights = here.confidence.double().sigmoid().view(frames - 1, -1)
    found = fit_similarity(sets[0], sets[1], weights, with_scale=False).rotation
    poses = torch.from_numpy(clip.world_from_cam[:, :3, :3].astype(np.float64))
    true = poses[1:].mT @ poses[:-1]
    still = rotation_angle(true, torch.eye(3, dtype=true.dtype).expand_as(true))
    return {
        "rpe_rotation": float(torch.rad2deg(rotation_angle(found, true)).mean()),
        "rpe_rotation_none": float(torch.rad2deg(still).mean()),
    }


def _grid(frames: int, height: int, width: int, count: int) -> tuple[Int[np.ndarray, "n"], ...]:
    """(frame, y, x) of pixels in the middle of the cells of a grid; frames are the slowest."""
    rows, columns = (((np.arange(count) + 0.5) / count * edge).astype(np.int64) for edge in (height, width))
    return tuple(part.ravel() for part in np.meshgrid(np.arange(frames), rows, columns, indexing="ij"))
