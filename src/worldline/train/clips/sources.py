"""Where clips come from: a pool on disk, or rendered when a step asks for them."""

from __future__ import annotations

from pathlib import Path

from worldline.train import data
from worldline.train.clips.clips import Clip, load_clip, render_clip
from worldline.train.clips.mixture import MixedClips
from worldline.train.clips.recipe import ClipRecipe
from worldline.train.sources import Pool, Rendered, Source


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


class RenderedClips(Rendered[Clip]):
    """Clips rendered on demand."""

    noun = "clips"

    def render(self, layout: str, seed: int, size: int, length: int) -> Clip:
        """See :class:`~worldline.train.sources.Rendered`."""
        return render_clip(layout, seed, frames=length, size=size, device=self.device)
