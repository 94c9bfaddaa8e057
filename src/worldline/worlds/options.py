"""What may be asked of a world beyond its seed, and the random streams that it is drawn from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from worldline.errors import InputError

Shooting = Literal["photos", "video", "walk", "orbit", "rig"]
MAX_VIEWS = 4096  # a long stream of a rig
MAX_PHOTOS = 64  # a chain of overlapping photos


@dataclass(frozen=True)
class WorldOptions:
    """Knobs of a world. The defaults are neutral: they leave the seed's own world as it is."""

    views: int  # photos in all: instants times cameras for a rig, instants for a video
    shooting: Shooting = "photos"  # photos: a sparse set at one instant; the others: one instant after another
    rate: float = 12.0  # instants per second of a video or a rig
    focal_per_view: bool = False  # photos: a focal length per view instead of one per set
    principal_offset: float = 0.0  # largest shift of the principal point, as a share of the longer image side
    overlap: tuple[float, float] | None = None  # photos: least and greatest share of pixels that a new view has in
    # common with an earlier one; None: drawn per seed
    objects: int | None = None  # number of loose objects; None: drawn per seed
    size: float = 1.0  # factor on the extent of the scene
    light_change: float | None = None  # stops of exposure by which views differ; None: drawn per seed
    effects: float = 1.0  # factor on all that lens, hand, sensor and file do to a photo; 0 gives ideal photos
    texture: float = 1.0  # factor on the contrast of all patterns, 0 makes every surface plain
    speed: float = 1.0  # factor on how fast cameras and things move

    def __post_init__(self) -> None:
        most = MAX_PHOTOS if self.shooting == "photos" else MAX_VIEWS
        if self.shooting not in get_args(Shooting):
            raise InputError(
                f"Unknown way of shooting {self.shooting!r}.", f"Choose one of: {', '.join(get_args(Shooting))}."
            )
        if not 1 <= self.views <= most:
            raise InputError(f"{self.views} views were asked for.", f"Ask for 1 to {most}.")
        if self.overlap is not None and not 0 <= self.overlap[0] < self.overlap[1] <= 1:
            raise InputError(f"The overlap {self.overlap} is no range.", "Give two rising shares between 0 and 1.")
        for name in ("rate", "size", "speed"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"The {name} {getattr(self, name)} is not positive.", "Give a number above 0.")
        if self.objects is not None and self.objects < 0:
            raise InputError(f"There cannot be {self.objects} objects.", "Give 0 or more.")
        if self.light_change is not None and not 0 <= self.light_change <= 10:
            raise InputError(f"The light change {self.light_change} is not in 0..10.", "It counts stops; 0 is none.")
        if not 0 <= self.principal_offset <= 0.5:
            raise InputError(
                f"The principal offset {self.principal_offset} is not in 0..0.5.", "0.5 is half the longer image side."
            )
        if not 0 <= self.effects <= 2:
            raise InputError(f"The strength of photo effects {self.effects} is not in 0..2.", "1 is usual, 0 is none.")
        if not 0 <= self.texture <= 1:
            raise InputError(f"The texture strength {self.texture} is not in 0..1.", "1 is full, 0 is plain.")

    @property
    def instants(self) -> int:
        """Moments in time at which something is photographed by a single moving camera."""
        return 1 if self.shooting == "photos" else self.views


@dataclass(frozen=True)
class Streams:
    """Independent random streams of one attempt at a seed: cameras may change while the scene stays."""

    scene: np.random.Generator
    cameras: np.random.Generator
    photo: np.random.Generator
    motion: np.random.Generator

    @classmethod
    def of(cls, layout: int, seed: int, attempt: int) -> Streams:
        """The streams of an attempt."""
        return cls(*(np.random.default_rng([layout, seed, attempt, stream]) for stream in range(4)))
