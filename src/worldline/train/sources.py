"""Where training scenes come from: a pool on disk, or worlds that are rendered when a step asks for them.

Both are pure functions of the random generator they are given (a pool also of the files that lie in it), and the
generator is seeded with (seed of the run, step, process). So a resumed run sees what the uninterrupted one would have
seen, and processes see different scenes.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
from jaxtyping import Float

from worldline.errors import InputError, NoPlaceError
from worldline.train import data
from worldline.train.correspondence import overlap
from worldline.train.data import PosedImages
from worldline.train.produce import layout_of
from worldline.train.recipes import TrainRecipe
from worldline.train.tasks import task_of

log = logging.getLogger(__name__)

_POOL_REFRESH_SECONDS = 20.0
ATTEMPTS = 8  # seeds in a row, where some have no place for the cameras


Scene = TypeVar("Scene")


class Source(Protocol[Scene]):
    """Scenes (or drives) to learn from and to validate on."""

    def draw(self, rng: np.random.Generator, count: int, size: int) -> list[Scene]:
        """So many scenes whose views are ``size`` pixels high, or a multiple of it."""

    def validation(self) -> list[Scene]:
        """Always the same scenes, none of which is ever drawn; empty: no validation."""

    def facts(self) -> dict[str, Any]:
        """What the exported card says about the data."""


def open_source(recipe: TrainRecipe) -> Source[PosedImages]:
    """The source that a recipe names."""
    return WorldSource(recipe) if recipe.pool is None else PoolSource(recipe)


class Pool(ABC, Generic[Scene]):
    """Scenes that :mod:`worldline.train.data` rendered; new files are noticed while the training goes on."""

    def __init__(self, recipe: TrainRecipe) -> None:
        assert recipe.pool is not None
        self.pool, self.recipe = recipe.pool, recipe
        self._files: dict[Path, tuple[float, list[Path]]] = {}
        self._drawn = 0
        self._lock = threading.Lock()

    @abstractmethod
    def read(self, path: Path) -> Scene:
        """One scene."""

    @abstractmethod
    def validation(self) -> list[Scene]:
        """The scenes of the validation pool."""

    def draw(self, rng: np.random.Generator, count: int, size: int) -> list[Scene]:
        """Recent scenes are a little more likely, so that new material is seen soon after it arrives."""
        files = self._present(size)
        return [self.read(files[_draw_index(len(files), rng)]) for _ in range(count)]

    def facts(self) -> dict[str, Any]:
        """Number of scenes and seeds in every folder that steps draw from."""
        for size in sorted({size for stage in self.recipe.stages for size in stage.sizes}):
            with suppress(InputError):  # no scenes of that size, or none yet
                self._present(size)
        pools = {}
        for folder, (_, files) in self._files.items():
            if not files:
                continue
            seeds = [file.stem.rpartition("-")[2] for file in files]
            pools[folder.name] = {"scenes": len(files), "seeds": f"{seeds[0]}..{seeds[-1]}" if seeds else ""}
            pools[folder.name]["layouts"] = sorted({file.stem.rpartition("-")[0] for file in files})
        return {"source": "pool of rendered worlds", "pools": pools}

    def _present(self, size: int) -> list[Path]:
        """The subfolder named after the size, if there is one, else the whole pool."""
        folder = self.pool / str(size)
        folder = folder if folder.is_dir() else self.pool
        with self._lock:
            read, files = self._files.get(folder, (-math.inf, []))
            if time.monotonic() - read > _POOL_REFRESH_SECONDS:
                files = data.pool_files(folder)
                self._files[folder] = time.monotonic(), files
        if not files:
            options = " ".join(task_of(self.recipe).producer(self.recipe))
            raise InputError(
                f"The training pool {folder} holds no scenes.",
                f"Fill it: python -m worldline.train.data {folder} {options}",
            )
        return files


class PoolSource(Pool[PosedImages]):
    """A pool of still scenes. What their views have in common is computed once."""

    def __init__(self, recipe: TrainRecipe) -> None:
        super().__init__(recipe)
        self._overlaps: dict[Path, Float[np.ndarray, "view view"]] = {}

    def read(self, path: Path) -> PosedImages:
        """One scene."""
        scene = data.load_scene(path)
        if path not in self._overlaps:
            self._overlaps[path] = overlap(scene)
        return replace(scene, overlap=self._overlaps[path])

    def validation(self) -> list[PosedImages]:
        """The scenes of the validation pool."""
        pool, views = self.recipe.validation_pool, range(self.recipe.validation_views)
        return [data.load_scene(file).choose(views) for file in data.pool_files(pool)] if pool is not None else []


class WorldSource:
    """Scenes rendered on demand, in this process, on the processor or beside the training on its device."""

    def __init__(self, recipe: TrainRecipe) -> None:
        from worldline import worlds

        offered = tuple((name, weight) for name, weight in recipe.layouts if name in worlds.LAYOUTS)
        if len(offered) < len(recipe.layouts):
            log.warning("layouts that this version does not have are left out: %s", set(recipe.layouts) - set(offered))
        if not offered:
            raise InputError(
                f"None of the layouts {dict(recipe.layouts)} exists.",
                f"Choose from: {', '.join(sorted(worlds.LAYOUTS))}",
            )
        self.recipe, self.layouts = recipe, offered
        device = recipe.render_device or recipe.device
        self.device = "cpu" if device == "mps" else device  # worlds are drawn in float64, which MPS does not know
        self._kept: OrderedDict[tuple[int, int], PosedImages] = OrderedDict()
        self._lock = threading.Lock()

    def draw(self, rng: np.random.Generator, count: int, size: int) -> list[PosedImages]:
        """Different worlds every time, or with ``recipe.scenes`` always from the same few."""
        from worldline.worlds import TRAIN_SEEDS

        seeds = [TRAIN_SEEDS[int(rng.integers(self.recipe.scenes or len(TRAIN_SEEDS)))] for _ in range(count)]
        if self.recipe.scenes is None:
            return self._render(seeds, self.recipe.scene_views, size)
        with self._lock:
            for seed in {seed for seed in seeds if (seed, size) not in self._kept}:
                # one by one: which scenes are new differs after a resume, and a batch may round otherwise
                (self._kept[seed, size],) = self._render([seed], self.recipe.scene_views, size)
            return [self._kept[seed, size] for seed in seeds]

    def validation(self) -> list[PosedImages]:
        """The first worlds of the validation split, at the size with which the training ends."""
        from worldline.worlds import VALIDATION_SEEDS

        seeds = list(VALIDATION_SEEDS[: self.recipe.validation_scenes])
        return self._render(seeds, self.recipe.validation_views, self.recipe.stages[-1].sizes[-1])

    def facts(self) -> dict[str, Any]:
        """Layouts with weights, and where the seeds come from."""
        from worldline.worlds import TRAIN_SEEDS

        last = (self.recipe.scenes or len(TRAIN_SEEDS)) - 1
        seeds = f"{TRAIN_SEEDS[0]}..{TRAIN_SEEDS[last]}"
        return {"source": "worlds rendered on demand", "layouts": dict(self.layouts), "seeds": seeds}

    def _render(self, seeds: list[int], views: int, size: int) -> list[PosedImages]:
        """One batch per layout, in the order of the seeds."""
        from worldline import worlds

        scenes: dict[int, PosedImages] = {}
        for layout in {layout_of(seed, self.layouts) for seed in seeds}:
            mine = [seed for seed in dict.fromkeys(seeds) if layout_of(seed, self.layouts) == layout]
            try:
                samples = worlds.sample_batch(layout, mine, views=views, height=size, width=size, device=self.device)
            except NoPlaceError:  # some world has no place for the cameras
                samples = [self._next_possible(layout, seed, views, size) for seed in mine]
            scenes |= {seed: data.from_world(sample) for seed, sample in zip(mine, samples, strict=True)}
        return [scenes[seed] for seed in seeds]

    def _next_possible(self, layout: str, seed: int, views: int, size: int) -> Any:
        from worldline import worlds

        for attempt in range(ATTEMPTS):
            try:
                return worlds.sample(layout, seed + attempt, views=views, height=size, width=size, device=self.device)
            except NoPlaceError as error:
                reason = error
        raise reason


class Rendered(ABC, Generic[Scene]):
    """Scenes rendered one by one on demand, in this process."""

    noun: ClassVar[str]  # what is rendered, for the card

    def __init__(self, recipe: TrainRecipe) -> None:
        self.recipe = recipe
        device = recipe.render_device or recipe.device
        self.device = "cpu" if device == "mps" else device  # worlds are drawn in float64, which MPS does not know
        self._kept: dict[tuple[int, int], Scene] = {}
        self._lock = threading.Lock()

    @abstractmethod
    def render(self, layout: str, seed: int, size: int, length: int) -> Scene:
        """One scene of so many moments.

        Raises:
            NoPlaceError: the seed has no place for it.
        """

    def draw(self, rng: np.random.Generator, count: int, size: int) -> list[Scene]:
        """Different ones every time, or with ``recipe.scenes`` always the same few."""
        from worldline.worlds import TRAIN_SEEDS

        recipe = self.recipe
        seeds = [TRAIN_SEEDS[int(rng.integers(recipe.scenes or len(TRAIN_SEEDS)))] for _ in range(count)]
        if recipe.scenes is None:
            return [self._render(seed, size, recipe.scene_views) for seed in seeds]
        with self._lock:
            for seed in seeds:
                if (seed, size) not in self._kept:
                    self._kept[seed, size] = self._render(seed, size, recipe.scene_views)
            return [self._kept[seed, size] for seed in seeds]

    def validation(self) -> list[Scene]:
        """The first ones of the validation split, at the size with which the training ends."""
        from worldline.worlds import VALIDATION_SEEDS

        recipe, size = self.recipe, self.recipe.stages[-1].sizes[-1]
        seeds = VALIDATION_SEEDS[: recipe.validation_scenes]
        return [self._render(seed, size, recipe.validation_views) for seed in seeds]

    def facts(self) -> dict[str, Any]:
        """Layouts with weights, and where the seeds come from."""
        from worldline.worlds import TRAIN_SEEDS

        last = (self.recipe.scenes or len(TRAIN_SEEDS)) - 1
        return {
            "source": f"{self.noun} rendered on demand",
            "layouts": dict(self.recipe.layouts),
            "seeds": f"{TRAIN_SEEDS[0]}..{TRAIN_SEEDS[last]}",
        }

    def _render(self, seed: int, size: int, length: int) -> Scene:
        layout = layout_of(seed, self.recipe.layouts)
        for attempt in range(ATTEMPTS):
            try:
                return self.render(layout, seed + attempt, size, length)
            except NoPlaceError as error:
                reason = error
        raise reason


def _draw_index(count: int, rng: np.random.Generator) -> int:
    recent = min(count, max(count // 5, 32))
    return count - 1 - int(rng.integers(recent)) if rng.random() < 0.3 else int(rng.integers(count))
