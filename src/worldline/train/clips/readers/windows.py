"""Windows of videos, drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worldline.errors import InputError
from worldline.train.clips.clips import Clip
from worldline.train.clips.readers.sequence import VideoSequence

STRIDES = (1, 4)  # fewest and most frames from one frame of a clip to the next
FRAMES = 16
_TRIES = 16


class ClipWindows:
    """Clips of so many frames from the videos of a data set.

    A video is drawn in proportion to its length, then the stride, then where the window starts. Only the frames of the
    window are read, so the memory does not depend on the data set.
    """

    def __init__(
        self,
        kind: str,
        folder: Path,
        sequences: Sequence[VideoSequence],
        *,
        frames: int = FRAMES,
        strides: tuple[int, int] = STRIDES,
    ) -> None:
        """See :func:`worldline.train.clips.readers.open_clips`."""
        if frames < 1 or not 1 <= strides[0] <= strides[1]:
            raise InputError(f"Windows of {frames} frames with strides {strides}.", "Give 1 or more, strides rising.")
        self.kind, self.folder, self.frames, self.strides = kind, folder, frames, strides
        self.sequences = [each for each in sequences if len(each) > (frames - 1) * strides[0]]
        if not self.sequences:
            most = max((len(each) for each in sequences), default=0)
            raise InputError(
                f"{folder} has no {kind} video of {(frames - 1) * strides[0] + 1} frames; the longest has {most}.",
                "Ask for fewer frames or smaller strides, or check that frames and depth were unpacked side by side.",
            )
        lengths = np.array([len(each) for each in self.sequences], np.float64)
        self._shares = np.cumsum(lengths / lengths.sum())

    def __len__(self) -> int:
        return len(self.sequences)

    def draw(self, rng: np.random.Generator, longest: int | None = None) -> Clip:
        """One window, a function of the generator and the files.

        Args:
            longest: pixels that the longer side of the images may not fall below when they are reduced, by an odd
                factor; None keeps their size.

        Raises:
            InputError: a file of the window is missing or damaged; it is named.
        """
        for _ in range(_TRIES):
            place = min(int(np.searchsorted(self._shares, rng.random(), side="right")), len(self) - 1)
            usable = self.sequences[place].usable()
            steps = max(self.frames - 1, 1)
            most = min(self.strides[1], (len(usable) - 1) // steps)
            if most < self.strides[0]:
                continue  # too many of its frames have no camera
            stride = int(rng.integers(self.strides[0], most + 1))
            start = int(rng.integers(len(usable) - (self.frames - 1) * stride))
            window = usable[start : start + (self.frames - 1) * stride + 1 : stride]
            return self.sequences[place].read(window.tolist(), longest)
        raise InputError(
            f"{_TRIES} videos of {self.folder} in a row have too few frames with a camera.",
            "Ask for fewer frames or smaller strides.",
        )

    def facts(self) -> dict[str, Any]:
        """What the exported card says about the data."""
        return {"kind": self.kind, "videos": len(self), "frames": sum(len(each) for each in self.sequences)}
