"""Given trajectories: projections of world points, and what a clip keeps of them."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from worldline.train.clips.clips import ClipTracks

CLOSE = 1.5  # pixels between stated image positions and projections, in the median, under the right convention


def projected(
    world: Float[np.ndarray, "frame n 3"],
    intrinsics: Float[np.ndarray, "frame 3 3"],
    world_from_cam: Float[np.ndarray, "frame 4 4"],
) -> tuple[Float[np.ndarray, "frame n 2"], Bool[np.ndarray, "frame n"]]:
    """Pixels of world points in their frames, and which lie in front."""
    cam_from_world = np.linalg.inv(world_from_cam)
    local = world @ cam_from_world[:, :3, :3].swapaxes(1, 2) + cam_from_world[:, None, :3, 3]
    front = local[..., 2] > 1e-6
    image = (local / np.where(front, local[..., 2], 1.0)[..., None]) @ intrinsics.swapaxes(1, 2)
    return image[..., :2], front


def misfit(
    world: Float[np.ndarray, "frame n 3"],
    stated: Float[np.ndarray, "frame n 2"],
    good: Bool[np.ndarray, "frame n"],
    intrinsics: Float[np.ndarray, "frame 3 3"],
    world_from_cam: Float[np.ndarray, "frame 4 4"],
) -> float:
    """Median distance in pixels between projections and the image positions that the data set states."""
    pixels, front = projected(np.where(good[..., None], world, 0.0), intrinsics, world_from_cam)
    distance = np.where(front, np.linalg.norm(pixels - np.where(good[..., None], stated, 0.0), axis=-1), np.inf)
    return float(np.median(distance[good])) if good.any() else np.inf


def clip_tracks(
    world: Float[np.ndarray, "frame n 3"],
    seen: Bool[np.ndarray, "frame n"],
    valid: Bool[np.ndarray, "frame n"],
    cameras: tuple[Float[np.ndarray, "frame 3 3"], Float[np.ndarray, "frame 4 4"]],
    height: int,
    width: int,
) -> ClipTracks:
    """Trajectories that are known somewhere in the window; seen only within the image. World points may be infinite."""
    finite = np.isfinite(world).all(-1)
    valid, world = np.asarray(valid & finite), np.where(finite[..., None], world, 0.0)
    pixels, front = projected(world, *cameras)
    inside = front & (pixels >= -0.5).all(-1) & (pixels <= np.array([width, height]) - 0.5).all(-1)
    kept = np.asarray(valid.any(0))
    kept[:1] |= not kept.any()  # no tracks at all would mean that nothing moves
    visible = np.asarray(seen & valid & inside)
    return ClipTracks(world[:, kept].swapaxes(0, 1).astype(np.float32), visible[:, kept].T, valid[:, kept].T)
