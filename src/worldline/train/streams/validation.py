"""How good a stream model is on drives: depth and points with one scale per stream, beside a constant depth."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from worldline.models.driv3r import Driv3r
from worldline.train.streams.drives import Drive, shrink_drive
from worldline.train.streams.sequences import (
    SequenceOptions,
    StreamBatch,
    draw_sequences,
)

_NEAREST = 0.1  # metres: predicted depths below count as this


@torch.no_grad()
def score_streams(
    network: nn.Module, drives: Iterable[Drive], size: tuple[int, int], farthest: float | None = None
) -> dict[str, float]:
    """Means over the streams (one per drive and sensor) of whole drives, all sensors reading their ring neighbours.

    Every stream is scaled once, by the median ratio of true and predicted distances to its first camera over all
    frames. ``abs_rel`` is then the mean relative error of each frame's own depth (true relative poses take the points
    into its camera), ``abs_rel_frame`` the same where every frame has a scale of its own; ``point_error`` is the mean
    distance of points, divided by the mean distance of the true ones to the first camera; ``abs_rel_alone`` is
    ``abs_rel`` without neighbours, ``abs_rel_constant`` that of a constant depth, scaled per frame.
    """
    assert isinstance(network, Driv3r)
    rows: list[dict[str, float]] = []
    device = next(network.parameters()).device
    for drive in drives:
        drive = shrink_drive(drive, size)
        batch, cameras = _whole(drive, farthest)
        batch = batch.to(device)
        maps = network.forward_rig(batch.images, batch.neighbors, batch.relative).final
        alone = network.forward_rig(batch.images).final
        for sensor in range(batch.images.shape[1]):
            truth, valid = batch.points[0, sensor].cpu(), batch.valid[0, sensor].cpu()
            if not all(bool(frame.any()) for frame in valid):
                continue
            frames = torch.from_numpy(cameras[sensor])
            found = score_stream(maps.points[0, sensor].cpu(), truth, valid, frames)
            single = score_stream(alone.points[0, sensor].cpu(), truth, valid, frames)
            rows.append(found | {"abs_rel_alone": single["abs_rel"]})
    if not rows:
        return {}
    return {"drives": float(len({*map(id, drives)})), "streams": float(len(rows))} | {
        name: float(np.mean([row[name] for row in rows])) for name in rows[0]
    }


def score_stream(
    points: Float[Tensor, "step height width 3"],
    truth: Float[Tensor, "step height width 3"],
    valid: Bool[Tensor, "step height width"],
    cam_from_start: Float[Tensor, "step 3 4"],
) -> dict[str, float]:
    """Figures of one stream, see :func:`score_streams`. Every frame needs a valid pixel."""
    scale = (truth[valid].norm(dim=-1) / points[valid].norm(dim=-1).clamp_min(1e-6)).median()
    points = points * scale
    per_frame, per_frame_scaled, constant = [], [], []
    for step, pose in enumerate(cam_from_start.to(points.dtype)):
        seen = valid[step]
        depth, true_depth = (part[step][seen] @ pose[2, :3] + pose[2, 3] for part in (points, truth))
        per_frame.append(_relative(depth, true_depth))
        ratio = (true_depth / depth.clamp_min(_NEAREST)).median()
        per_frame_scaled.append(_relative(depth * ratio, true_depth))
        constant.append(_relative(true_depth.median().expand_as(true_depth), true_depth))
    distance = truth[valid].norm(dim=-1).mean()
    return {
        "abs_rel": float(np.mean(per_frame)),
        "abs_rel_last": per_frame[-1],
        "abs_rel_frame": float(np.mean(per_frame_scaled)),
        "abs_rel_constant": float(np.mean(constant)),
        "point_error": float((points - truth)[valid].norm(dim=-1).mean() / distance),
    }


def _relative(depth: Tensor, truth: Tensor) -> float:
    return float(((depth.clamp_min(_NEAREST) - truth).abs() / truth).mean())


def _whole(drive: Drive, farthest: float | None) -> tuple[StreamBatch, Float[np.ndarray, "sensor step 3 4"]]:
    """A drive as one batch, unchanged, and the poses cam_from_start of its frames."""
    steps, sensors = drive.depth.shape[:2]
    options = SequenceOptions(steps, sensors, drive.size, farthest=farthest, augment=False)
    draft = draw_sequences([drive], options, np.random.default_rng(0))
    poses = drive.world_from_cam.swapaxes(0, 1).astype(np.float64)
    return draft.develop(), (np.linalg.inv(poses) @ poses[:, :1])[:, :, :3]
