"""Which scenes a step sees, and preparing them in threads while earlier steps compute."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from worldline.train.recipes import Stage, TrainRecipe
from worldline.train.schedule import Progress, share_done
from worldline.train.sources import Source
from worldline.train.tasks import AnyBatch, AnyDraft, Task

Prepared = Sequence[AnyBatch] | Sequence[AnyDraft]

_SHAPE, _SCENES = 0, 1  # separate the random streams of a step


@dataclass(frozen=True)
class Request:
    """What one step needs on every device: number of views, size and sensors are the same for all of them."""

    step: int
    stage: Stage
    views: int
    size: int
    sensors: int
    scenes: int  # or drives, per device and batch
    accumulate: int
    devices: int

    def drafts(self, task: Task, source: Source[Any], recipe: TrainRecipe, rank: int) -> list[AnyDraft]:
        """The batches of one device: other scenes on every device, the same ones whenever they are asked for."""
        parts = ([recipe.seed, self.step, _SCENES, rank, part] for part in range(self.accumulate))
        return [task.draft(recipe, self, source, np.random.default_rng(entropy)) for entropy in parts]


@dataclass(frozen=True)
class Plan:
    """The next request. It runs ahead of the training, so it counts the samples itself."""

    recipe: TrainRecipe
    progress: Progress  # once all earlier requests are trained on
    devices: int

    def request(self) -> Request:
        """Stage, views and size follow from the share of the run, the seed and the number of the step."""
        stage = self.recipe.stage_at(share_done(self.recipe, self.progress))
        return request_at(self.recipe, self.progress.step, stage, self.devices)

    def after(self, trained: Progress) -> Plan:
        """The plan for the step behind this one. Clock time cannot be foreseen: it is taken from the training."""
        request = self.request()
        samples = self.progress.samples + request.scenes * request.accumulate * request.devices
        ahead = replace(self.progress, step=request.step + 1, samples=samples, seconds=trained.seconds)
        return replace(self, progress=ahead)


def request_at(recipe: TrainRecipe, step: int, stage: Stage, devices: int) -> Request:
    """What a step of a stage needs; views, size and sensors are drawn from the seed and the number of the step."""
    rng = np.random.default_rng([recipe.seed, step, _SHAPE])
    views = int(rng.integers(stage.views[0], stage.views[1] + 1))
    size = int(rng.choice(stage.sizes))
    fewest, most = stage.cameras
    sensors = int(rng.integers(fewest, most + 1))
    scenes = max(1, stage.views_per_step // (views * sensors))
    return Request(step, stage, views, size, sensors, scenes, recipe.accumulate, devices)


def first_request(recipe: TrainRecipe, progress: Progress, devices: int) -> Plan:
    """The plan at the beginning of a run or of its resumed part."""
    return Plan(recipe, replace(progress), devices)


class Feed:
    """Prepares requests in threads and hands them out in the order in which they were asked for."""

    def __init__(self, prepare: Callable[[Request], Prepared], workers: int) -> None:
        self._prepare, self._workers = prepare, workers
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="feed")
        self._waiting: deque[tuple[Request, Future[Prepared]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown(cancel_futures=True)

    @property
    def has_room(self) -> bool:
        """Whether another request would be prepared now: one per thread and one to compute on."""
        return len(self._waiting) <= self._workers

    def ask(self, request: Request) -> None:
        """Queue a request."""
        self._waiting.append((request, self._executor.submit(self._prepare, request)))

    def take(self) -> tuple[Request, Prepared]:
        """The oldest request with its batches; waits for them. Errors of the preparation come out here."""
        request, future = self._waiting.popleft()
        return request, future.result()
