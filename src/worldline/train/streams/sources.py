"""Where drives come from: a pool on disk, or rendered when a step asks for them."""

from __future__ import annotations

from pathlib import Path

from worldline.train import data
from worldline.train.sources import Pool, Rendered, Source
from worldline.train.streams.drives import Drive, load_drive, render_drive
from worldline.train.streams.recipe import StreamRecipe


def open_drives(recipe: StreamRecipe) -> Source[Drive]:
    """The source that a recipe names."""
    return RenderedDrives(recipe) if recipe.pool is None else DrivePool(recipe)


class DrivePool(Pool[Drive]):
    """Drives that :mod:`worldline.train.data` rendered; new files are noticed while the training goes on."""

    def read(self, path: Path) -> Drive:
        """One drive."""
        return load_drive(path)

    def validation(self) -> list[Drive]:
        """The first steps of the drives of the validation pool."""
        pool = self.recipe.validation_pool
        drives = [] if pool is None else [load_drive(path) for path in data.pool_files(pool)]
        return [_beginning(drive, self.recipe.validation_views) for drive in drives]


class RenderedDrives(Rendered[Drive]):
    """Drives rendered on demand."""

    noun = "drives"
    recipe: StreamRecipe

    def render(self, layout: str, seed: int, size: int, length: int) -> Drive:
        """See :class:`~worldline.train.sources.Rendered`."""
        return render_drive(layout, seed, self.recipe.shape(size), self.device, length)


def _beginning(drive: Drive, steps: int) -> Drive:
    return drive.choose(range(min(steps, len(drive.times))), range(drive.depth.shape[1]))
