"""The sweeps: the question each one answers, its levels, and what is varied in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from worldline.errors import InputError
from worldline.eval.sweeps.measure import (
    Measure,
    measure_models,
    measure_paths,
    measure_reference,
    measure_single_pass,
)


@dataclass(frozen=True)
class Level:
    """One point of the axis."""

    value: float  # where it is drawn
    views: int | None = None  # number of photos, where that is what varies
    world: Mapping[str, Any] = field(default_factory=dict)  # keywords of worlds.sample


@dataclass(frozen=True)
class Sweep:
    """One property varied. The seeds are the same at every level, so levels can be compared scene by scene."""

    name: str
    question: str
    axis: str  # label of the x axis, with its unit
    values: tuple[float, ...]
    base: float  # the level that the others are compared with
    level: Callable[[float], Level]
    measure: Measure = measure_models
    scenes: int = 16  # per level, by default
    views: int = 4  # where that is not what varies
    panels: tuple[str, ...] = ("point_error", "abs_rel", "rotation")
    per_scene: bool = False  # also the best and the worst level of each scene
    note: str = ""  # what a reader must know to read the figures right


def _views(value: float) -> Level:
    return Level(value, views=int(value))


def _plain(value: float) -> Level:
    return Level(value)


def _world(keyword: str, kind: Callable[[float], Any] = float) -> Callable[[float], Level]:
    return lambda value: Level(value, world={keyword: kind(value)})


def _overlap(value: float) -> Level:
    half = 0.1
    return Level(value, world={"overlap": (round(max(0.0, value - half), 3), round(min(1.0, value + half), 3))})


_ALL = (
    Sweep(
        "views", "How does accuracy change with the number of photos of the same scene?", "number of views",
        (2, 4, 8, 12, 16, 24), 4, _views, panels=("point_error", "abs_rel", "rotation", "seconds"),
        note="The photos of a smaller set are the first ones of the larger set.",
    ),
    Sweep(
        "overlap", "How much must photos overlap?", "overlap with an earlier view (share of pixels, ±0.1)",
        (0.2, 0.4, 0.6, 0.8), 0.6, _overlap,
        note="Each view but the first is placed so that it shares that part of its pixels with an earlier one; the "
             "column overlap has what was measured, with whichever other view shows most.",
    ),
    Sweep(
        "size", "How does accuracy change with the size of the scene?", "factor on the extent of the scene",
        (0.5, 0.75, 1, 1.5, 2, 3), 1, _world("size"),
        note="Errors are relative to distance or aligned in scale, so a larger scene is not wrong by its unit.",
    ),
    Sweep(
        "objects", "How does accuracy change with the number of objects?", "number of objects",
        (0, 2, 4, 8, 16), 4, _world("objects", int),
    ),
    Sweep(
        "lighting", "What does a change of light or exposure between the photos cost?",
        "change between views (stops)", (0, 0.5, 1, 2, 3), 0, _world("light_change"),
    ),
    Sweep(
        "texture", "What do plain surfaces cost?", "factor on the contrast of patterns",
        (0, 0.25, 0.5, 0.75, 1), 1, _world("texture"),
    ),
    Sweep(
        "reference", "How much does the choice of the reference view matter?",
        "rank of the reference by what it sees of the other views (1 = most)", (1, 2, 3, 4, 5, 6), 1, _plain,
        measure_reference, views=6, per_scene=True,
        note="Views are ranked with the truth; the same photos are reconstructed once per reference.",
    ),
    Sweep(
        "paths", "What does fusing several reference paths give?", "reference paths", (1, 2, 4), 4, _plain,
        measure_paths, views=8, panels=("point_error", "abs_rel", "rotation", "seconds"),
        note="The same weights at every level; 1 = without the fusion blocks, which these weights were not trained for "
             "(a model trained with one path may do better than that level shows).",
    ),
    Sweep(
        "single-pass", "One pass over all views, or pairs and global alignment?", "number of views", (2, 4, 8), 4,
        _views, measure_single_pass, scenes=4, panels=("point_error", "abs_rel", "rotation", "seconds"),
        note="The same weights; pairs use the model with two views and one path, then 300 steps of global alignment.",
    ),
)  # fmt: skip

SWEEPS: dict[str, Sweep] = {sweep.name: sweep for sweep in _ALL}


def sweep_named(name: str) -> Sweep:
    """A sweep by its name.

    Raises:
        InputError: there is no such sweep; lists the names.
    """
    if name not in SWEEPS:
        raise InputError(f"There is no sweep '{name}'.", f"Choose one of: {', '.join(SWEEPS)}.")
    return SWEEPS[name]
