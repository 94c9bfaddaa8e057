"""One video of a data set on disk, read window by window."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int, Int8, UInt8
from PIL import Image

from worldline.errors import InputError
from worldline.train.clips.clips import SKY, Clip, ClipTracks
from worldline.train.clips.readers.surfaces import normals_of_depth

_SKY_LABEL = -1


@dataclass(frozen=True)
class Frame:
    """What the files say about one frame."""

    image: UInt8[np.ndarray, "height width 3"]
    depth: Float[np.ndarray, "height width"]  # metres along the optical axis; 0 = unknown or sky
    labels: Int[np.ndarray, "height width"] | None = None  # thing that a pixel shows: 0 = still world, -1 = sky
    normals: Int8[np.ndarray, "height width 3"] | None = None  # world frame, times 127; None: take them from the depth


class VideoSequence(ABC):
    """A video of a data set, from which windows are read.

    Frames count from 0 in the order of time, whatever their numbers in the data set.
    """

    def __init__(self, name: str, count: int) -> None:
        self.name = name
        self.count = count  # of frames

    def __len__(self) -> int:
        return self.count

    def usable(self) -> Int[np.ndarray, "n"]:
        """The frames that can be read: all, but where a format says that some have no camera."""
        return np.arange(len(self))

    @abstractmethod
    def read(self, index: Sequence[int], longest: int | None = None) -> Clip:
        """The clip of some frames.

        Args:
            index: frames, from 0.
            longest: images are thinned, see :func:`thinned`, as far as their longer side keeps so many pixels.

        Raises:
            InputError: a file is missing, damaged or not what its format says; it is named.
        """


class FrameSequence(VideoSequence):
    """A video with files per frame: frames, cameras and things are read when they are asked for.

    Nothing is kept between reads but tables of poses. A format overrides what it knows more about.
    """

    smoothing = 0  # radius in pixels for normals from depth; noisy sensors need some

    def __init__(self, name: str, numbers: Sequence[int], rate: float) -> None:
        super().__init__(name, len(numbers))
        self.numbers = np.asarray(numbers, np.int64)  # of the frames in the data set
        self.rate = rate  # frames per second

    def times(self, index: Int[np.ndarray, "frame"]) -> Float[np.ndarray, "frame"]:
        """Seconds at which frames were taken."""
        return self.numbers[index] / self.rate

    @abstractmethod
    def frame(self, index: int) -> Frame:
        """One frame."""

    @abstractmethod
    def cameras(
        self, index: Int[np.ndarray, "frame"], height: int, width: int
    ) -> tuple[Float[np.ndarray, "frame 3 3"], Float[np.ndarray, "frame 4 4"]]:
        """Intrinsics for images of this size, and ``world_from_cam`` with OpenCV axes."""

    def things(
        self, labels: Int[np.ndarray, "thing"], index: Int[np.ndarray, "frame"]
    ) -> tuple[Float[np.ndarray, "frame thing 4 4"], Bool[np.ndarray, "thing"]]:
        """``world_from_body`` of things by their labels, and which of them are known in all of these frames."""
        none = np.broadcast_to(np.eye(4), (len(index), len(labels), 4, 4))
        return none, np.zeros(len(labels), bool)

    def tracks(self, index: Int[np.ndarray, "frame"], height: int, width: int) -> ClipTracks | None:
        """Trajectories through these frames."""
        return None

    def read(self, index: Sequence[int], longest: int | None = None) -> Clip:
        """See :class:`VideoSequence`."""
        frames = np.asarray(index, np.int64)
        first = self.frame(int(frames[0]))
        height, width = first.depth.shape
        intrinsics, world_from_cam = self.cameras(frames, height, width)
        thin, parts = thinning(max(height, width), longest), []
        for place, number in enumerate(frames):
            part = first if place == 0 else self.frame(int(number))
            if part.depth.shape != (height, width) or part.image.shape[:2] != (height, width):
                raise InputError(f"The frames of {self.name} differ in size.", "Move this sequence away.")
            parts.append(thinned(part, thin))
        intrinsics = thinned_intrinsics(intrinsics, thin)
        normals = [
            part.normals if part.normals is not None else normals_of_depth(part.depth, k, pose, self.smoothing)
            for part, k, pose in zip(parts, intrinsics, world_from_cam, strict=True)
        ]
        depth = np.stack([part.depth for part in parts])
        body, world_from_body, depth = self._bodies(parts, frames, depth)
        return Clip(
            images=np.stack([part.image for part in parts]),
            depth=depth,
            normals=np.stack(normals),
            body=body,
            world_from_body=world_from_body,
            intrinsics=intrinsics.astype(np.float32),
            world_from_cam=world_from_cam.astype(np.float32),
            times=self.times(frames),
            tracks=self.tracks(frames, height, width),
        )

    def _bodies(
        self, parts: Sequence[Frame], frames: np.ndarray, depth: np.ndarray
    ) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray]:
        """Bodies numbered from 1. What shows a thing whose pose is not known throughout loses its depth."""
        if any(part.labels is None for part in parts):
            return None, None, depth
        labels = np.stack([part.labels for part in parts if part.labels is not None])
        present = np.unique(labels[labels > 0])
        poses, known = self.things(present, frames)
        kept = np.flatnonzero(known)[: SKY - 1]
        number = np.zeros(len(present) + 1, np.uint8)
        number[1 + kept] = np.arange(1, len(kept) + 1)
        place = np.where(labels > 0, np.searchsorted(present, labels) + 1, 0)
        lost = (labels > 0) & (number[place] == 0)
        body = np.where(labels == _SKY_LABEL, SKY, number[place]).astype(np.uint8)
        still = np.broadcast_to(np.eye(4), (len(frames), 1, 4, 4))
        world_from_body = np.concatenate([still, poses[:, kept]], 1).astype(np.float32)
        return body, world_from_body, np.where(lost, np.float32(0), depth)


def thinning(edge: int, longest: int | None) -> int:
    """Greatest odd factor that leaves at least ``longest`` pixels of an edge: odd, as blocks need a middle pixel."""
    factor = max(1, edge // longest) if longest else 1
    return factor - 1 + factor % 2


def thinned(frame: Frame, factor: int) -> Frame:
    """A frame smaller by an odd factor.

    Colours are means over blocks, everything else is that of the block's middle pixel, so that it stays exact.
    """
    if factor == 1:
        return frame
    height, width = (edge // factor for edge in frame.depth.shape)
    cut = np.ascontiguousarray(frame.image[: height * factor, : width * factor])
    image = np.asarray(Image.fromarray(cut).reduce(factor))

    def middle(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[factor // 2 :: factor, factor // 2 :: factor][:height, :width]

    return Frame(image, middle(frame.depth), middle(frame.labels), middle(frame.normals))  # type: ignore[arg-type]


def thinned_intrinsics(intrinsics: Float[np.ndarray, "*n 3 3"], factor: int) -> Float[np.ndarray, "*n 3 3"]:
    """Intrinsics of thinned frames: pixel i of the small image is pixel factor * i + factor // 2 of the large one."""
    smaller = intrinsics.copy()
    smaller[..., :2, 2] -= factor // 2
    smaller[..., :2, :] /= factor
    return smaller


def sky_of(frame: Frame, sky: Bool[np.ndarray, "height width"]) -> Frame:
    """A frame of a still world, with its sky: no depth and its own label there."""
    labels = np.where(sky, _SKY_LABEL, 0 if frame.labels is None else frame.labels)
    return replace(frame, depth=np.where(sky, np.float32(0), frame.depth), labels=labels)
