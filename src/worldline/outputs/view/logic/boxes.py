"""Moving objects as boxes: where each is at a time."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from worldline.types import MovingObject

_SLOW = 0.02  # of the size of the box per second: what is slower has no arrow


@dataclass(frozen=True, eq=False)
class BoxState:
    """A moving object at one time. World frame."""

    center: Float64[np.ndarray, "3"]
    velocity: Float64[np.ndarray, "3"]  # units per second

    @property
    def speed(self) -> float:
        """Units per second."""
        return float(np.linalg.norm(self.velocity))


def box_at(thing: MovingObject, time: float, *, slack: float = 1e-3) -> BoxState | None:
    """Where an object is, between the instants at which it is known; None before the first and after the last.

    Args:
        time: seconds, as in the object's timestamps.
        slack: seconds by which ``time`` may miss the first or last instant.
    """
    times = thing.timestamps
    if not len(times) or not times[0] - slack <= time <= times[-1] + slack:
        return None
    both = np.concatenate([thing.centers, thing.velocities], axis=1).astype(np.float64)
    values = np.array([np.interp(time, times, column) for column in both.T])
    return BoxState(values[:3], values[3:])


def arrow(thing: MovingObject, state: BoxState) -> Float64[np.ndarray, "2 3"] | None:
    """From the centre of the box to where it will be in a second; None where it hardly moves."""
    if state.speed < _SLOW * float(np.linalg.norm(thing.size)):
        return None
    return np.stack([np.zeros(3), state.velocity])


def object_color(number: int) -> tuple[int, int, int]:
    """A colour that says which object it is: neighbouring numbers look different."""
    red, green, blue = colorsys.hls_to_rgb(0.618034 * number % 1.0, 0.55, 0.85)
    return round(255 * red), round(255 * green), round(255 * blue)


def object_text(thing: MovingObject, state: BoxState, *, metric: bool) -> str:
    """Its number and speed."""
    return f"#{thing.id}  {state.speed:.1f} {'m/s' if metric else 'units/s'}"
