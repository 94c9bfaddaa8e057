"""Which scenes a step sees, and preparing them in threads while earlier steps compute."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from worldline.train.batches import Batch, Draft, draw_batch
from worldline.train.recipes import Stage, TrainRecipe
from worldline.train.schedule import Progress, share_done
from worldline.train.sources import Source

_SHAPE, _SCENES = 0, 1  # separate the random streams of a step


@dataclass(frozen=True)
class Request:
    """What one step needs on every device: the number of views and the size are the same for all of them."""

    step: int
    stage: Stage
    views: int
    size: int
    scenes: int  # per device and batch
    accumulate: int
    devices: int

    def drafts(self, source: Source, seed: int, rank: int) -> list[Draft]:
        """The batches of one device: other scenes on every device, the same ones whenever they are asked for."""
        return [self._draft(source, [seed, self.step, _SCENES, rank, part]) for part in range(self.accumulate)]

    def _draft(self, source: Source, entropy: list[int]) -> Draft:
        rng = np.random.default_rng(entropy)
        scenes = source.draw(rng, self.scenes, self.size)
        return draw_batch(scenes, rng, self.views, self.size, self.stage.least_overlap)


@dataclass(frozen=True)
class Plan:
    """The next request. It runs ahead of the training, so it counts the samples itself."""

    recipe: TrainRecipe
    progress: Progress  # once all earlier requests are trained on
    devices: int

    def request(self) -> Request:
        """Stage, views and size follow from the share of the run, the seed and the number of the step."""
        recipe, step = self.recipe, self.progress.step
        stage = recipe.stage_at(share_done(recipe, self.progress))
        rng = np.random.default_rng([recipe.seed, step, _SHAPE])
        views = int(rng.integers(stage.views[0], stage.views[1] + 1))
        size = int(rng.choice(stage.sizes))
        scenes = max(1, stage.views_per_step // views)
        return Request(step, stage, views, size, scenes, recipe.accumulate, self.devices)

    def after(self, trained: Progress) -> Plan:
        """The plan for the step behind this one. Clock time cannot be foreseen: it is taken from the training."""
        request = self.request()
        samples = self.progress.samples + request.scenes * request.accumulate * request.devices
        ahead = replace(self.progress, step=request.step + 1, samples=samples, seconds=trained.seconds)
        return replace(self, progress=ahead)


def first_request(recipe: TrainRecipe, progress: Progress, devices: int) -> Plan:
    """The plan at the beginning of a run or of its resumed part."""
    return Plan(recipe, replace(progress), devices)


class Feed:
    """Prepares requests in threads and hands them out in the order in which they were asked for."""

    def __init__(self, prepare: Callable[[Request], list[Batch] | list[Draft]], workers: int) -> None:
        self._prepare, self._workers = prepare, workers
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="feed")
        self._waiting: deque[tuple[Request, Future[list[Batch] | list[Draft]]]] = deque()

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

    def take(self) -> tuple[Request, list[Batch] | list[Draft]]:
        """The oldest request with its batches; waits for them. Errors of the preparation come out here."""
        request, future = self._waiting.popleft()
        return request, future.result()
