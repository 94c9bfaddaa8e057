"""Where a run stands, and what follows from it: the share that is done, the learning rate, what is due."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from worldline.train.recipes import Stage, TrainRecipe


@dataclass
class Progress:
    """Counts since the start of a run, over all devices and all its resumed parts."""

    step: int = 0  # optimiser steps tried, including skipped ones
    seconds: float = 0.0  # wall clock spent in the loop
    samples: int = 0  # scenes seen, with repetition
    views: int = 0
    skipped: int = 0  # steps thrown away because loss or gradient were not finite


def share_done(recipe: TrainRecipe, progress: Progress) -> float:
    """Share of the run that is done, in [0, 1], in the unit in which its length was given."""
    if recipe.minutes is not None:
        return min(1.0, progress.seconds / 60 / recipe.minutes)
    if recipe.samples is not None:
        return min(1.0, progress.samples / recipe.samples)
    return min(1.0, progress.step / (recipe.steps or 1))


def learning_rate(recipe: TrainRecipe, stage: Stage, progress: Progress) -> float:
    """Linear warm-up, optionally a plateau, then a cosine that ends with the run, times the stage's factor."""
    share, low = share_done(recipe, progress), recipe.final_learning_rate
    falling = max(0.0, share - recipe.hold) / (1 - recipe.hold)
    cosine = low + (recipe.learning_rate - low) * (1 + math.cos(math.pi * falling)) / 2
    rising = min(1.0, (progress.step + 1) / max(1, recipe.warmup_steps))
    if recipe.warmup:
        rising = min(rising, share / recipe.warmup)
    return cosine * rising * stage.learning_rate


class Timer:
    """Says every so many minutes that something is due."""

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.interval, self.clock = minutes * 60, clock
        self.last = clock()

    def due(self) -> bool:
        """True once per interval."""
        if self.clock() - self.last < self.interval:
            return False
        self.last = self.clock()
        return True
