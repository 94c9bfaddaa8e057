"""Where clips come from: a pool on disk, or rendered when a step asks for them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np

from worldline.train import data
from worldline.train.clips.clips import Clip, load_clip, render_clip
from worldline.train.clips.mixture import MixedClips
from worldline.train.clips.recipe import ClipRecipe
from worldline.train.produce import layout_of
from worldline.train.sources import ATTEMPTS, Pool, Source


def open_clips(recipe: ClipRecipe) -> Source[Clip]:
    """The source that a recipe names."""
    rendered: Source[Clip] = RenderedClips(recipe) if recipe.pool is None else ClipPool(recipe)
    if not recipe.data:
        return rendered
    return MixedClips(rendered, recipe.data, recipe.scene_views, recipe.largest_stride)


class ClipPool(Pool[Clip]):
    """Clips that :mod:`worldline.train.data` rendered; new files are noticed while the training goes on."""

    def read(self, path: Path) -> Clip:
        """One clip."""
        return load_clip(path)

    def validation(self) -> list[Clip]:
        """The first frames of the clips of the validation pool."""
        pool = self.recipe.validation_pool
        clips = [] if pool is None else [load_clip(path) for path in data.pool_files(pool)]
        return [clip.choose(range(min(self.recipe.validation_views, len(clip)))) for clip in clips]


class RenderedClips:
    """Clips rendered on demand, in this process."""

    def __init__(self, recipe: ClipRecipe) -> None:
        self.recipe = recipe
        device = recipe.render_device or recipe.device
        self.device = "cpu" if device == "mps" else device  # worlds are drawn in float64, which MPS does not know
        self._kept: dict[tuple[int, int], Clip] = {}
        self._lock = threading.Lock()

    def draw(self, rng: np.random.Generator, count: int, size: int) -> list[Clip]:
        """Different clips every time, or with ``recipe.scenes`` always the same few."""
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

    def validation(self) -> list[Clip]:
        """The first clips of the validation split, at the size with which the training ends."""
        from worldline.worlds import VALIDATION_SEEDS

        recipe, size = self.recipe, self.recipe.stages[-1].sizes[-1]
        seeds = VALIDATION_SEEDS[: recipe.validation_scenes]
        return [self._render(seed, size, recipe.validation_views) for seed in seeds]

    def facts(self) -> dict[str, Any]:
        """Layouts with weights, and where the seeds come from."""
        from worldline.worlds import TRAIN_SEEDS

        last = (self.recipe.scenes or len(TRAIN_SEEDS)) - 1
        return {
            "source": "clips rendered on demand",
            "layouts": dict(self.recipe.layouts),
            "seeds": f"{TRAIN_SEEDS[0]}..{TRAIN_SEEDS[last]}",
        }

    def _render(self, seed: int, size: int, frames: int) -> Clip:
        from worldline.errors import NoPlaceError

        layout = layout_of(seed, self.recipe.layouts)
        for attempt in range(ATTEMPTS):
            try:
                return render_clip(layout, seed + attempt, frames=frames, size=size, device=self.device)
            except NoPlaceError as error:
                reason = error
        raise reason
