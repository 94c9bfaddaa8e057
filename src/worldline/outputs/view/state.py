"""What is chosen in the viewer: one frozen record, and a store that tells everyone who asked when it changes.

Panels change the state, layers draw it; neither knows the other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

DEFAULT_BUDGET = 1_000_000  # points that an ordinary laptop still turns at 60 frames per second


@dataclass(frozen=True)
class ViewState:
    """Everything that the panels of the viewer choose. Shared by all tabs that look at the same viewer."""

    # what is drawn
    shown: str = "points"  # "points" or "gaussians"
    confidence: float = 0.0  # percentile in [0, 100]: pixels of lower confidence are left out
    depth: tuple[float, float] = (0.0, 1.0)  # nearest and farthest depth, as shares of Stage.depth_limit; 1 = no limit
    budget: int = DEFAULT_BUDGET  # points drawn at most, of all stages together
    point_size: float = 1.0  # times the spacing of the points
    coloring: str = "photo"  # a name in colors.COLORINGS
    # cameras
    frusta: bool = True
    frustum_size: float = 1.0  # times the size that suits the scene
    # time and sensors (moments are ticks of the timeline, see Stage.moment_at; None: all moments together)
    moment: int | None = None
    timing: str = "all"  # which moments are drawn at a moment, a name in clock.MODES
    sensors: frozenset[str] | None = None  # sensors whose views are drawn; None: all of them
    motion: str = "all"  # "all", "static" or "dynamic"; see Scene.point_cloud
    # tracks and moving objects
    tracks: bool = True
    trail: float = 1.0  # seconds of the past that tracks draw behind them
    most_tracks: int = 1000  # tracks drawn at most, per stage
    objects: bool = True
    # page
    background: str = "white"  # "white" or "black"


class Store:
    """Holds the state; ``change`` replaces it and calls the subscribers with the state and the names that changed."""

    def __init__(self, state: ViewState | None = None) -> None:
        self._state = state or ViewState()
        self._lock = threading.Lock()
        self._subscribers: list[Callable[[ViewState, frozenset[str]], None]] = []

    @property
    def now(self) -> ViewState:
        """The current state."""
        return self._state

    def subscribe(self, callback: Callable[[ViewState, frozenset[str]], None]) -> None:
        """Call ``callback(state, changed)`` after each change, on the thread that made it; it must be quick."""
        self._subscribers.append(callback)

    def change(self, **values: Any) -> ViewState:
        """Replace some fields; those that already have the value given do not count as changed."""
        with self._lock:
            before = self._state
            self._state = state = replace(before, **values)
        changed = frozenset(
            each.name for each in fields(state) if getattr(state, each.name) != getattr(before, each.name)
        )
        if changed:
            for callback in tuple(self._subscribers):
                callback(state, changed)
        return state
