"""A video that answers queries from the exact truth of a procedural world, with chosen errors on top.

Errors belong to the query and not to the batch: asking again, in any order or company, gives the same answer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float64

from worldline.scene.video.answers import VideoAnswers
from worldline.worlds.truth.queries import query
from worldline.worlds.truth.rays import Instants
from worldline.worlds.world import World

GOOD, BAD, SKY = 0.9, 0.1, 1e-6  # confidences of right, wrong and meaningless answers


class ExactVideo:
    """The photos of a world's first sensor as a video whose memory knows everything (an ``AnswersQueries``).

    Where a query sees the sky: a point at the camera of t_cam (Z = 0), invisible, confidence 1e-6.

    Args:
        world: one photo per instant, e.g. of ``describe("dynamic", seed, WorldOptions(views=8, shooting="walk"))``.
        height, width: of the frames in pixels.
        noise: standard deviation of the error of ``points`` and ``motion``, as a share of the point's distance.
        uv_noise: standard deviation of the error of ``uv``, image coordinates.
        outliers: share of source pixels (u, v, t_src, t_tgt) whose points are wrong by about their distance.
        false_confidence: outliers claim the confidence of good answers; else they admit a low one.
        scale: factor on all lengths: a network's unit is not the metre.
        seed: of the errors.
    """

    def __init__(
        self, world: World, height: int = 96, width: int = 128, *, noise: float = 0.0, uv_noise: float = 0.0,
        outliers: float = 0.0, false_confidence: bool = False, scale: float = 1.0, seed: int = 0,
    ) -> None:  # fmt: skip
        self.world, self.height, self.width = world, height, width
        self.noise, self.uv_noise, self.outliers = noise, uv_noise, outliers
        self.false_confidence, self.scale, self.seed = false_confidence, scale, seed
        self.instants = Instants(world)
        self.asked = 0  # queries answered so far
        self.calls = 0  # in so many calls

    @property
    def frame_count(self) -> int:
        return int((self.world.cameras.sensor == 0).sum())

    @property
    def original_size(self) -> tuple[int, int]:
        return self.height, self.width

    def query(self, u: Any, v: Any, t_src: Any, t_tgt: Any, t_cam: Any) -> VideoAnswers:
        exact = query(
            self.world, u, v, t_src, t_tgt, t_cam, height=self.height, width=self.width, instants=self.instants
        )
        shape = exact.valid.shape
        self.asked, self.calls = self.asked + exact.valid.size, self.calls + 1
        parts = [np.broadcast_to(np.asarray(part, np.float64), shape) for part in (u, v, t_src, t_tgt, t_cam)]
        wrong = exact.valid & (_uniform([*parts[:4]], self.seed, 0) < self.outliers)
        distance = np.linalg.norm(exact.position, axis=-1, keepdims=True)
        error = self.noise * _normal(parts, self.seed, 1, 3) + np.where(
            wrong[..., None], _normal(parts, self.seed, 2, 3), 0.0
        )
        unlike = self.noise * _normal(parts, self.seed, 3, 3)
        confidence = np.where(wrong & (not self.false_confidence), BAD, np.where(exact.valid, GOOD, SKY))
        uv = exact.uv + self.uv_noise * _normal(parts, self.seed, 4, 2)
        return VideoAnswers(
            points=(self.scale * (exact.position + distance * error)).astype(np.float32),
            uv=uv.astype(np.float32),
            visibility=np.where(exact.visible, 0.98, 0.02).astype(np.float32),
            motion=(self.scale * (exact.motion + distance * unlike)).astype(np.float32),
            normal=exact.normal.astype(np.float32),
            confidence=confidence.astype(np.float32),
        )


def _uniform(parts: list[np.ndarray], seed: int, stream: int) -> Float64[np.ndarray, "*q"]:
    """A number in [0, 1) that depends on the query alone (splitmix64 over the bits of its parts)."""
    state = np.full(parts[0].shape, (seed * 64 + stream + 1) & 0xFFFF, np.uint64)
    for part in parts:
        state = _mixed(state ^ np.ascontiguousarray(part + 0.0, np.float64).view(np.uint64))
    return (state >> np.uint64(11)).astype(np.float64) / float(1 << 53)


def _mixed(state: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        state = state + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))


def _normal(parts: list[np.ndarray], seed: int, stream: int, axes: int) -> Float64[np.ndarray, "*q k"]:
    """Normally distributed errors (Box and Muller), one per axis."""
    drawn = []
    for axis in range(axes):
        first, second = (_uniform(parts, seed, 8 * stream + 2 * axis + half) for half in (0, 1))
        drawn.append(np.sqrt(-2 * np.log1p(-first)) * np.cos(2 * np.pi * second))
    return np.stack(drawn, -1)
