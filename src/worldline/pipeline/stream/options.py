"""Choices of a stream that are no data."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from worldline.errors import InputError
from worldline.models.memory import MemoryOptions
from worldline.models.pool import PoolOptions
from worldline.scene.align.rig import AlignOptions

WHOLE_PIXELS = 128 * 224  # of a whole image at the network: what the embedded weights were trained at


@dataclass(frozen=True)
class StreamOptions:
    """Everything about a stream that is a choice. The defaults are those of the command line."""

    mode: Literal["pool", "official"] = "pool"  # pool: what the paper describes; official: what was released
    pool: PoolOptions = field(default_factory=PoolOptions)  # memory of the pool mode
    memory: MemoryOptions | None = None  # memory of the official mode; None: the model's own
    framing: Literal["auto", "whole", "crops"] = "auto"  # whole wide images, or overlapping squares as published;
    # auto: squares for published weights
    pixels: int = WHOLE_PIXELS  # of a whole image at the network, whatever its aspect
    square: int = 224  # side of the square crops
    preview: bool = True  # answer with a result for the image just pushed, at the price of one head
    motion: bool | None = None  # find what moves; None: where what it needs is installed
    flow: str = "dis"  # where optical flow comes from, see worldline.scene.motion
    align: AlignOptions = field(default_factory=AlignOptions)  # sources of scale
    confidence_percent: float = 3.0  # share of the least confident pixels of every image to mask
    keep: int = 64  # steps whose results :meth:`StreamSession.scene` can still return; memory grows with it
    max_gap: float = 5.0  # seconds without an image after which a camera starts anew
    static_voxel: float = 0.0  # metres; above 0 a map of what does not move is kept, at that resolution
    static_points: int = 1_000_000  # at most so many; what lies furthest from the car leaves first

    def __post_init__(self) -> None:
        for name, choices in (("mode", ("pool", "official")), ("framing", ("auto", "whole", "crops"))):
            if getattr(self, name) not in choices:
                raise InputError(f"Unknown {name} {getattr(self, name)!r}.", f"Choose one of: {', '.join(choices)}.")
        if self.keep < 1 or self.pixels < 16 * 16 or self.square < 16 or self.square % 16 or not self.max_gap > 0:
            raise InputError(
                "A number of the stream is out of range.",
                "keep is 1 or more, pixels 256 or more, square a multiple of 16, max_gap positive.",
            )
        if not 0 <= self.confidence_percent < 100 or self.static_voxel < 0 or self.static_points < 1:
            raise InputError(
                "A number of the stream is out of range.",
                "confidence_percent is in 0..100, static_voxel 0 or more metres, static_points 1 or more.",
            )
