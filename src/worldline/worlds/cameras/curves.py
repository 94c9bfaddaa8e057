"""Smooth curves in time: uniform cubic B-splines, the shake of a hand, and poses from angles."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64


def spline(controls: Float[np.ndarray, "n k"], at: Float64[np.ndarray, "t"]) -> Float64[np.ndarray, "t k"]:
    """Uniform cubic B-spline, twice continuously differentiable.

    ``at`` counts knots: 0 is where the curve begins, under the weight of the first three controls, and the last moment
    is len(controls) - 3. A value depends on four controls only.
    """
    first = np.clip(np.floor(at).astype(np.int64), 0, len(controls) - 4)
    u = (at - first)[:, None]
    return (
        (1.0 - u) ** 3 * controls[first]
        + (3.0 * u**3 - 6.0 * u**2 + 4.0) * controls[first + 1]
        + (-3.0 * u**3 + 3.0 * u**2 + 3.0 * u + 1.0) * controls[first + 2]
        + u**3 * controls[first + 3]
    ) / 6.0


@dataclass(frozen=True)
class Shake:
    """A sum of sines per axis: the slow sway of a standing person and the tremor of a hand."""

    amplitude: Float64[np.ndarray, "k axis"]
    frequency: Float64[np.ndarray, "k axis"]  # hertz
    phase: Float64[np.ndarray, "k axis"]

    @classmethod
    def draw(cls, rng: np.random.Generator, sway: float, tremor: float, axes: int = 3) -> Shake:
        """Three tones of sway below 1 Hz and two of tremor between 2.5 and 4.5 Hz; the strengths are sums."""
        frequency = np.concatenate([rng.uniform(0.12, 0.9, (3, axes)), rng.uniform(2.5, 4.5, (2, axes))])
        share = rng.uniform(0.3, 1.0, (5, axes))
        amplitude = share * np.array([sway / 3] * 3 + [tremor / 2] * 2)[:, None]
        return cls(amplitude, frequency, rng.uniform(0, 2 * np.pi, (5, axes)))

    def at(self, clock: Float64[np.ndarray, "t"]) -> Float64[np.ndarray, "t axis"]:
        """Offsets at some moments."""
        angle = 2 * np.pi * self.frequency * clock[:, None, None] + self.phase
        return (self.amplitude * np.sin(angle)).sum(1)


def poses(
    position: Float64[np.ndarray, "t 3"],
    yaw: Float64[np.ndarray, "t"],
    pitch: Float64[np.ndarray, "t"],
    roll: Float64[np.ndarray, "t"],
) -> Float64[np.ndarray, "t 4 4"]:
    """``world_from_cam`` with OpenCV axes; yaw from world x about z, pitch upwards, roll about the line of sight."""
    zero = np.zeros_like(yaw)
    forward = np.stack([np.cos(pitch) * np.cos(yaw), np.cos(pitch) * np.sin(yaw), np.sin(pitch)], -1)
    right = np.stack([np.sin(yaw), -np.cos(yaw), zero], -1)
    down = np.stack([np.sin(pitch) * np.cos(yaw), np.sin(pitch) * np.sin(yaw), -np.cos(pitch)], -1)
    cosine, sine = np.cos(roll)[:, None], np.sin(roll)[:, None]
    result = np.zeros((len(yaw), 4, 4))
    result[:, :3, 0] = cosine * right + sine * down
    result[:, :3, 1] = cosine * down - sine * right
    result[:, :3, 2] = forward
    result[:, :3, 3] = position
    result[:, 3, 3] = 1.0
    return result


def angles_to(offset: Float64[np.ndarray, "t 3"]) -> tuple[Float64[np.ndarray, "t"], Float64[np.ndarray, "t"]]:
    """Yaw (not unwrapped) and pitch of directions."""
    return np.arctan2(offset[:, 1], offset[:, 0]), np.arctan2(offset[:, 2], np.hypot(offset[:, 0], offset[:, 1]))


def wrap(angle: float) -> float:
    """The same angle in -pi..pi."""
    return float((angle + np.pi) % (2 * np.pi) - np.pi)
