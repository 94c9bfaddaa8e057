"""What a log says about the steps since its last record: means, rates, and how long data were waited for."""

from __future__ import annotations

import time

import numpy as np

from worldline.train.feed import Request
from worldline.train.guard import StepResult, read
from worldline.train.recipes import TrainRecipe
from worldline.train.schedule import Progress
from worldline.train.tasks import Task


class Clock:
    """Adds the time since its last tick to the seconds of a run."""

    def __init__(self, progress: Progress) -> None:
        self.progress, self.last = progress, time.monotonic()

    def tick(self) -> None:
        """Account for the time until now."""
        now = time.monotonic()
        self.progress.seconds += now - self.last
        self.last = now


class Meter:
    """Means since the last record of the log."""

    def __init__(self, task: Task, recipe: TrainRecipe) -> None:
        self.task, self.recipe = task, recipe
        self.results: list[StepResult] = []
        self.samples, self.flops, self.started, self.waited = 0, 0, time.monotonic(), 0.0

    def add(self, result: StepResult, request: Request) -> None:
        """One more step. Its figures stay where they are."""
        self.results.append(result)
        samples = request.scenes * request.accumulate * request.devices
        self.samples += samples
        self.flops += samples * self.task.flops(self.recipe, request)

    def means(self) -> dict[str, float]:
        """Figures of the steps, samples and operations per second (all devices), share of the time without data.

        Waits for the device, so the rates are those of steps that are done.
        """
        read(self.results)
        numbers = [result.numbers() for result in self.results]
        seconds = max(time.monotonic() - self.started, 1e-9)
        means = {name: float(np.mean([entry[name] for entry in numbers])) for name in numbers[0]}
        rates = {"samples_per_second": self.samples / seconds, "tflops": self.flops / seconds / 1e12}
        return {**means, **rates, "waiting_for_data": self.waited / seconds}
