"""What every format needs: the plan of a data set, photographs in affordable portions, and safe scene folders."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8, UInt16
from PIL import Image

from worldline.files import temporary_sibling
from worldline.worlds import sampling
from worldline.worlds.sampling import WorldSample
from worldline.worlds.world import World, choose_rows

MILLIMETRES = 1000.0
FURTHEST = 65.535  # metres that fit into 16 bits of millimetres
_PIXELS = 12_000_000  # rendered at a time: about 2 GB of tensors


@dataclass(frozen=True)
class Plan:
    """How the scenes of a data set are written, checked."""

    height: int
    width: int
    image_format: str  # png or jpg
    device: str
    flow: bool  # optical flow between neighbouring photos (ours)
    tracks: int  # points per clip or reconstruction (tapvid3d, colmap)


@dataclass(frozen=True)
class Format:
    """A kind of data set. A scene is there when all of its ``paths`` are, and each of them appears in one step."""

    says: str  # one line for people
    write: Callable[[World, Path, str, Plan], None]  # the scene of a name, below a root
    paths: Callable[[World, Path, str], list[Path]]
    check: Callable[[World], None] = lambda world: None  # InputError for worlds that the format cannot hold
    finish: Callable[[Path], None] = lambda root: None  # after the last scene
    size: tuple[int, int] = (224, 224)  # usual height and width
    image_format: str = "jpg"
    shooting: str | None = None  # the way of shooting that it wants


def choose_views(world: World, rows: Int64[np.ndarray, "n"]) -> World:
    """The same world with some of its photos; instants and motion stay."""
    return replace(world, cameras=choose_rows(world.cameras, rows), photo=choose_rows(world.photo, rows))


def photographs(world: World, rows: Int64[np.ndarray, "n"], plan: Plan) -> Iterator[tuple[int, WorldSample, int]]:
    """Render some photos of a world, as many at a time as fit into memory: (row, sample, view in the sample).

    The light meter looks at the first photo of a world, so that one is seen again in every portion.
    """
    step = max(1, _PIXELS // (plan.height * plan.width))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        extra = int(part[0] != 0)
        chosen = choose_views(world, np.r_[0, part] if extra else part)
        sample = sampling.render([chosen], height=plan.height, width=plan.width, device=plan.device)[0]
        for view, row in enumerate(part):
            yield int(row), sample, view + extra


def photo(sample: WorldSample, view: int) -> Image.Image:
    """One photo of a sample."""
    return Image.fromarray(np.asarray(sample.images[view].cpu()))


def save_photo(picture: Image.Image, path: Path) -> None:
    """PNG, or JPEG of quality 92 with full colour resolution, by the suffix of the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    options: dict[str, Any] = {"quality": 92, "subsampling": 0} if path.suffix == ".jpg" else {}
    picture.save(path, **options)


def save_map(values: UInt8[np.ndarray, "h w"] | UInt16[np.ndarray, "h w"], path: Path) -> None:
    """An 8 or 16 bit grey PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def millimetres(sample: WorldSample, view: int) -> UInt16[np.ndarray, "height width"]:
    """Depth along the optical axis as 16 bit millimetres; 0 in the sky and beyond 65.535 m."""
    depth = np.asarray(sample.depth[view].cpu())
    known = np.asarray(sample.valid[view].cpu()) & (depth <= FURTHEST)
    return np.rint(np.where(known, depth * MILLIMETRES, 0.0)).astype(np.uint16)


def is_video(world: World) -> bool:
    """Whether the photos were taken at more than one instant."""
    return len(np.unique(world.cameras.frame)) > 1


@contextmanager
def scene_folder(target: Path) -> Iterator[Path]:
    """Yield a hidden folder beside the target that takes its name if the block succeeds.

    If the target has appeared meanwhile (another process was faster), it is left alone.
    """
    scratch = temporary_sibling(target)
    scratch.mkdir(parents=True)
    try:
        yield scratch
        try:
            os.rename(scratch, target)  # noqa: PTH104 - Path.rename would replace an empty folder silently just the same
        except OSError:
            if not target.exists():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
