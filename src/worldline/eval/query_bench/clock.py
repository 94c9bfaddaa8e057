"""Timing of several things in turn, so that a machine whose speed drifts is unfair to none of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Seconds:
    """Medians of several runs."""

    wall: float
    cpu: float  # of all threads of the process; other programs on the machine disturb it less


def alternate(actions: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Seconds]:
    """Run every action once for nothing, then all of them in turn, so many times."""
    for action in actions.values():
        action()
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in actions}
    for _ in range(repeats):
        for name, action in actions.items():
            wall, cpu = time.perf_counter(), time.process_time()
            action()
            runs[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    return {name: Seconds(*np.median(values, axis=0).tolist()) for name, values in runs.items()}
