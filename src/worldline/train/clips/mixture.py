"""Recorded clips beside the rendered ones: what the option ``--data`` of a training adds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worldline.errors import InputError
from worldline.train.clips.clips import Clip
from worldline.train.clips.readers import READERS, ClipWindows, open_clips
from worldline.train.sources import Source

WORLDS = "worlds"  # the kind that stands for rendered clips
_FORM = f"Write KIND:FOLDER or KIND:FOLDER=WEIGHT, or {WORLDS}=WEIGHT for rendered clips; kinds: {', '.join(READERS)}."
_PIXELS = 2  # recordings keep at least so many pixels per pixel of the network's images, as most of them are cropped

Data = tuple[tuple[str, str, float], ...]  # (kind of the reader, folder, weight); rendered clips have weight 1


def parse_data(texts: Sequence[str]) -> Data:
    """Parts of a mixture as the command line says them: ``vkitti:/data/vkitti2=2``, ``worlds=0.5``.

    Raises:
        InputError: not of this form, an unknown kind, or weights that are no mixture.
    """
    data = []
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            place, weight = (name, float(number)) if name else (text, 1.0)
        except ValueError:
            place, weight = text, 1.0  # the folder has a "=" in its name
        kind, _, folder = place.partition(":")
        data.append((kind, folder, weight))
    check_data(tuple(data))
    return tuple(data)


def check_data(data: Data) -> None:
    """Raise InputError unless these are parts of a mixture. Folders are looked at when the training starts."""
    for kind, folder, weight in data:
        if (kind not in READERS or not folder) and (kind != WORLDS or folder):
            raise InputError(f"There is no data {':'.join(filter(None, (kind, folder)))!r}.", _FORM)
        if not (weight >= 0 and math.isfinite(weight)):
            raise InputError(f"The data {kind} has the weight {weight:g}.", "Weights are 0 or more.")
    if data and not any(weight for *_, weight in data) and worlds_weight(data) == 0:
        raise InputError("All data have the weight 0.", "Give one of them a greater one.")


def worlds_weight(data: Data) -> float:
    """Weight of the rendered clips."""
    return next((weight for kind, _, weight in reversed(data) if kind == WORLDS), 1.0)


def _recorded(data: Data) -> Data:
    return tuple(part for part in data if part[0] != WORLDS and part[2] > 0)


def open_recorded(data: Data, frames: int, largest_stride: int) -> list[ClipWindows]:
    """The recorded parts of a mixture that are drawn from at all.

    Raises:
        InputError: a folder does not hold what its kind says.
    """
    return [
        open_clips(kind, Path(folder).expanduser(), frames=frames, strides=(1, largest_stride))
        for kind, folder, _ in _recorded(data)
    ]


class MixedClips:
    """Every clip of a batch comes from a source drawn by its weight; validation is that of the rendered ones."""

    def __init__(self, rendered: Source[Clip], data: Data, frames: int, largest_stride: int) -> None:
        """Look for the videos.

        Args:
            frames: length of the clips that are read.
            largest_stride: frames of a recording from one frame of a clip to the next.

        Raises:
            InputError: a folder does not hold what its kind says.
        """
        self.rendered = rendered
        self.recorded = open_recorded(data, frames, largest_stride)
        weights = np.array([worlds_weight(data), *(weight for *_, weight in _recorded(data))])
        self.shares = weights / weights.sum()

    def draw(self, rng: np.random.Generator, count: int, size: int) -> list[Clip]:
        """Clips in the order in which their sources are drawn."""
        choice = rng.choice(len(self.shares), size=count, p=self.shares)
        worlds = int((choice == 0).sum())
        rendered = iter(self.rendered.draw(rng, worlds, size) if worlds else [])
        return [next(rendered) if k == 0 else self.recorded[k - 1].draw(rng, _PIXELS * size) for k in choice]

    def validation(self) -> list[Clip]:
        """Rendered clips: the same ones, whatever is recorded."""
        return self.rendered.validation()

    def facts(self) -> dict[str, Any]:
        """What the exported card says about the data."""
        recorded = [
            {**windows.facts(), "share": round(float(share), 3)}
            for windows, share in zip(self.recorded, self.shares[1:], strict=True)
        ]
        worlds = {"share of rendered clips": round(float(self.shares[0]), 3)}
        return {**(self.rendered.facts() if self.shares[0] else {}), **worlds, "recorded": recorded}
