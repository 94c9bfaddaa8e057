"""Where clips are hard: edges of depth, edges between things that move differently, and what moves."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int64

from worldline.train.clips.clips import SKY, Clip

MAPPED_PIXELS = 150_000  # edges are looked for in so many pixels of a clip, in whole frames
MOVES = 1e-3  # metres or radians by which the pose of a body changes during a clip in which it moves
EDGE = 0.1  # a depth that changes by this share per pixel is a discontinuity


def mapped_frames(clip: Clip, rng: np.random.Generator) -> Int64[np.ndarray, "frame"]:
    """The frames in which edges are looked for: all of them, unless they are large."""
    most = max(1, MAPPED_PIXELS // (clip.size[0] * clip.size[1]))
    return np.arange(len(clip)) if most >= len(clip) else rng.choice(len(clip), most, replace=False)


def edges(clip: Clip, frames: Int64[np.ndarray, "frame"]) -> Bool[np.ndarray, "frame height width"]:
    """Where depth or body change within a pixel: relative Sobel derivative of the inverse depth, whose sky is 0."""
    height, width = clip.size
    found = np.zeros((len(frames), height, width), bool)
    if clip.depth is None or min(height, width) < 3:
        return found
    depth = clip.depth[frames].astype(np.float32)
    inverse = np.divide(1, depth, out=np.zeros_like(depth), where=depth > 0)
    down = inverse[:, :-2] + 2 * inverse[:, 1:-1] + inverse[:, 2:]
    along = inverse[..., :-2] + 2 * inverse[..., 1:-1] + inverse[..., 2:]
    steep = np.maximum(np.abs(down[..., 2:] - down[..., :-2]), np.abs(along[:, 2:] - along[:, :-2]))
    found[:, 1:-1, 1:-1] = steep > 8 * EDGE * inverse[:, 1:-1, 1:-1]  # 8: the sum of the weights on one side, twice
    if clip.body is not None:
        body = clip.body[frames]
        for other in (body[:, 1:] != body[:, :-1], (body[..., 1:] != body[..., :-1])):
            axis = 1 if other.shape[1] < height else 2
            for side in (slice(None, -1), slice(1, None)):
                found[(slice(None),) * axis + (side,)] |= other
    return found & (depth > 0)


def moving_pixels(clip: Clip, frames: Int64[np.ndarray, "frame"]) -> Bool[np.ndarray, "frame height width"]:
    """Which pixels show a body that moves during the clip."""
    moving = np.zeros(SKY + 1, bool)
    if clip.body is None or clip.world_from_body is None:
        return np.zeros((len(frames), *clip.size), bool)
    poses = clip.world_from_body.astype(np.float64)
    moving[: poses.shape[1]] = np.ptp(poses, axis=0).max((1, 2)) > MOVES
    return moving[clip.body[frames]]


def moving_tracks(clip: Clip) -> Bool[np.ndarray, "track"]:
    """Which trajectories move, as far as they are known."""
    assert clip.tracks is not None
    known = clip.tracks.valid[..., None]
    low, high = (np.where(known, clip.tracks.world, fill) for fill in (np.inf, -np.inf))
    return np.asarray((high.max(1) - low.min(1)).max(-1) > MOVES)
