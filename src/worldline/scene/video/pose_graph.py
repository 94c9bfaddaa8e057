"""From relative poses between some frames to the poses of all frames in one of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64

from worldline.geometry import invert_rigid, rotation_angle
from worldline.scene.video.robust import average_rigid

_AGREE = 3.0  # candidates further from the middle one than so many typical distances do not count


@dataclass(frozen=True, eq=False)
class Links:
    """Relative poses ``target_from_source`` between frames."""

    source: Int64[np.ndarray, "n"]  # frame numbers
    target: Int64[np.ndarray, "n"]
    target_from_source: Float64[np.ndarray, "n 4 4"]
    variance: Float64[np.ndarray, "n"]  # relative
    residual: Float64[np.ndarray, "n"]  # as a share of the points' distance
    inlier_share: Float64[np.ndarray, "n"]
    valid: Bool[np.ndarray, "n"]
    distance: float  # of the scene from the reference camera: makes shifts comparable with turns


@dataclass(frozen=True, eq=False)
class Placed:
    """Poses of all frames in the camera of the reference."""

    reference_from_cam: Float64[np.ndarray, "t 4 4"]
    found: Bool[np.ndarray, "t"]
    residual: Float64[np.ndarray, "t"]  # of the link that each frame hangs on; 0 for the reference
    inlier_share: Float64[np.ndarray, "t"]
    disagreement: Float64[np.ndarray, "t"]  # degrees


def place_cameras(links: Links, count: int, reference: int) -> Placed:
    """Every frame by its most certain path from the reference, then averaged over all links that lead to it."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    poses = np.broadcast_to(np.eye(4), (count, 4, 4)).copy()
    residual, share, disagreement = np.zeros(count), np.ones(count), np.zeros(count)
    found = np.arange(count) == reference
    good = np.flatnonzero(links.valid)
    if not len(good):
        return Placed(poses, found, np.where(found, 0, np.nan), np.where(found, 1.0, 0.0), disagreement)
    edge = np.full((count, count), -1)
    cost = np.zeros((count, count))
    both = np.concatenate([np.stack([links.target, links.source, links.variance])[:, good],
                           np.stack([links.source, links.target, links.variance])[:, good]], 1)  # fmt: skip
    rows, columns = both[:2].astype(np.int64)
    cost[rows, columns] = both[2]
    edge[rows, columns] = np.r_[good, good]
    total, before = dijkstra(csr_array(cost), indices=reference, return_predecessors=True)
    found = np.isfinite(total)
    for frame in np.argsort(total)[1 : int(found.sum())]:  # the nearer ones first: a product of 4x4 matrices each
        link = edge[before[frame], frame]
        motion = links.target_from_source[link]
        forward = links.source[link] == before[frame]
        poses[frame] = poses[before[frame]] @ (np.linalg.inv(motion) if forward else motion)
        residual[frame], share[frame] = links.residual[link], links.inlier_share[link]
    share[~found], residual[~found] = 0.0, np.nan
    return _averaged(links, Placed(poses, found, residual, share, disagreement), total, reference)


def _averaged(links: Links, placed: Placed, total: Float64[np.ndarray, "t"], reference: int) -> Placed:
    """Poses as weighted means of what all links from placed frames say."""
    count = len(placed.found)
    usable = links.valid & placed.found[links.source] & placed.found[links.target]
    rows = np.flatnonzero(usable)
    if not len(rows):
        return placed
    place = np.zeros(len(rows), np.int64)
    order = np.argsort(links.target[rows], kind="stable")
    rows = rows[order]
    target = links.target[rows]
    place = np.arange(len(rows)) - np.searchsorted(target, target)  # position among the links of the same frame
    width = int(place.max()) + 1
    candidates = np.broadcast_to(np.eye(4), (count, width, 4, 4)).copy()
    weights = np.zeros((count, width))
    start = torch.from_numpy(placed.reference_from_cam[links.source[rows]])
    candidates[target, place] = (start @ invert_rigid(torch.from_numpy(links.target_from_source[rows]))).numpy()
    weights[target, place] = 1 / (total[links.source[rows]] + links.variance[rows])
    several = (weights > 0).sum(1) > 1
    several[reference] = False
    if not several.any():
        return placed
    poses, spread = placed.reference_from_cam.copy(), placed.disagreement.copy()
    mean, angle = _agreed(torch.from_numpy(candidates[several]), torch.from_numpy(weights[several]), links.distance)
    poses[several], spread[several] = mean.numpy(), angle.numpy()
    return Placed(poses, placed.found, placed.residual, placed.inlier_share, spread)


def _agreed(candidates: torch.Tensor, weights: torch.Tensor, distance: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean of the candidates near the middle one, which is closest to all others, and their spread in degrees."""
    rotations, centers = candidates[..., :3, :3], candidates[..., :3, 3]
    turns = rotation_angle(rotations[:, :, None], rotations[:, None])  # [t, n, n]
    shifts = (centers[:, :, None] - centers[:, None]).norm(dim=-1) / max(distance, 1e-12)
    apart = turns + shifts
    medoid = (apart * weights[:, None]).sum(-1).masked_fill(weights == 0, torch.inf).argmin(-1)
    row = torch.arange(len(medoid))
    near = apart[row, medoid]
    typical = ((near * weights).sum(-1) / weights.sum(-1)).clamp_min(1e-9)[:, None]
    kept = torch.where(near <= _AGREE * typical, weights, 0.0)
    mean = average_rigid(candidates, kept)
    off = rotation_angle(mean[:, None, :3, :3], rotations)
    return mean, torch.rad2deg(((weights * off.square()).sum(-1) / weights.sum(-1)).sqrt())
