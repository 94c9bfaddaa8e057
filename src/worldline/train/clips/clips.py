"""Clips: a video with everything that queries can be asked about, as rendered once and kept in a pool.

One safetensors file per clip, named after layout and seed like the scenes of :mod:`worldline.train.data`::

    images [T,H,W,3] uint8 · depth [T,H,W] float16, metres along the optical axis, 0 = invalid
    normals [T,H,W,3] int8, world frame, times 127 · body [T,H,W] uint8, 0 = what stands still, 255 = sky
    world_from_body [T,B,4,4] · intrinsics [T,3,3] · world_from_cam [T,4,4] float32 · times [T] float64, seconds
    tracks.world [N,T,3] float32 · tracks.visible, tracks.valid [N,T] bool

A rendered clip knows the rigid body that every pixel belongs to, so every pixel is a trajectory. A recorded one may
have trajectories of some points instead, or depth of a world in which nothing moves; what it does not have is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int8, UInt8
from safetensors import SafetensorError
from safetensors.numpy import save_file

from worldline.errors import InputError
from worldline.train.data import mapped_arrays

if TYPE_CHECKING:
    from worldline.worlds import WorldSample

FRAMES = 16  # of a rendered clip
SKY = 255  # as a body
SHAPES = ((120, 160), (108, 192), (144, 144), (120, 160), (108, 192), (160, 120))  # height and width, drawn by seed
SHAPE_SIZE = 128  # edge of the square network input that these shapes are made for
RATE = (4.0, 24.0)  # frames per second, drawn log-uniformly
SHOOTING = {  # how the layouts that can be filmed are filmed; the seed draws one
    "dynamic": ("video",), "rooms": ("walk", "video"), "objects": ("orbit", "video"), "street": ("video",),
}  # fmt: skip
_OPTIONS = 11  # separates this random stream from other uses of the seed
_NORMAL_UNIT = 127


@dataclass(frozen=True)
class ClipTracks:
    """Trajectories of points, for clips that do not know which pixel belongs to which body."""

    world: Float[np.ndarray, "track frame 3"]  # metres; anything where not valid
    visible: Bool[np.ndarray, "track frame"]  # seen in the image of the frame; only where valid
    valid: Bool[np.ndarray, "track frame"]  # the position is known


@dataclass(frozen=True)
class Clip:
    """Frames of one camera with its exact path and what is known about the points that it sees.

    ``depth`` without ``body`` and ``tracks`` means that nothing moves. With ``tracks`` these are what is asked about;
    ``depth`` and ``normals`` only add to it.
    """

    images: UInt8[np.ndarray, "frame height width 3"]
    depth: Float[np.ndarray, "frame height width"] | None  # metres along the optical axis; 0 = unknown or sky
    normals: Int8[np.ndarray, "frame height width 3"] | None  # world frame, towards the camera, × 127; 0 = unknown
    body: UInt8[np.ndarray, "frame height width"] | None  # rigid body: column of ``world_from_body``; SKY
    world_from_body: Float[np.ndarray, "frame body 4 4"] | None  # body 0 is the still world
    intrinsics: Float[np.ndarray, "frame 3 3"]  # pixels of exactly these images
    world_from_cam: Float[np.ndarray, "frame 4 4"]
    times: Float[np.ndarray, "frame"]  # seconds
    tracks: ClipTracks | None = None

    def __post_init__(self) -> None:
        if self.depth is None and self.tracks is None:
            raise InputError("A clip has neither depth nor tracks.", "Give one of them: queries need targets.")
        if (self.body is None) != (self.world_from_body is None):
            raise InputError("A clip has one of body and world_from_body only.", "Give both or none.")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images."""
        height, width = self.images.shape[1:3]
        return height, width

    def choose(self, frames: Sequence[int]) -> Clip:
        """The given frames, in the given order: a part, every second one, backwards."""
        index = list(frames)
        chosen: dict[str, Any] = {
            name: value[index] for name, value in vars(self).items() if isinstance(value, np.ndarray)
        }
        if self.tracks is not None:
            chosen["tracks"] = ClipTracks(*(part[:, index] for part in vars(self.tracks).values()))
        return replace(self, **chosen)

    def crop(self, top: int, left: int, height: int, width: int) -> Clip:
        """The pixels of a box. Intrinsics follow; points, poses and trajectories do not depend on the crop.

        Raises:
            InputError: the box is not inside the images.
        """
        rows, columns = self.size
        if not (0 <= top < top + height <= rows and 0 <= left < left + width <= columns):
            raise InputError(
                f"A box of {height}×{width} pixels at ({top}, {left}) is not inside images of {rows}×{columns}.",
                "Crop within the image.",
            )
        box = (slice(None), slice(top, top + height), slice(left, left + width))
        maps: dict[str, Any] = {name: value[box] for name, value in self._maps().items()}
        intrinsics = self.intrinsics.copy()
        intrinsics[:, 0, 2] -= left
        intrinsics[:, 1, 2] -= top
        return replace(self, **maps, intrinsics=intrinsics)

    def mirror(self) -> Clip:
        """The world seen in a mirror: images flipped left to right; x negated in the world, in cameras and bodies."""
        flip = np.diag([-1.0, 1.0, 1.0, 1.0]).astype(np.float32)
        changed: dict[str, Any] = {name: value[:, :, ::-1] for name, value in self._maps().items()}
        if self.normals is not None:
            changed["normals"] = changed["normals"] * np.array([-1, 1, 1], np.int8)
        if self.world_from_body is not None:
            changed["world_from_body"] = flip @ self.world_from_body @ flip
        if self.tracks is not None:
            changed["tracks"] = replace(self.tracks, world=self.tracks.world * flip.diagonal()[:3])
        intrinsics = self.intrinsics.copy()
        intrinsics[:, 0, 2] = self.size[1] - 1 - intrinsics[:, 0, 2]
        return replace(self, **changed, intrinsics=intrinsics, world_from_cam=flip @ self.world_from_cam @ flip)

    def _maps(self) -> dict[str, np.ndarray]:
        """What there is per pixel."""
        maps = {name: getattr(self, name) for name in ("images", "depth", "normals", "body")}
        return {name: value for name, value in maps.items() if value is not None}


def from_video(sample: WorldSample) -> Clip:
    """A sample of a world as the pool stores it; only bodies that are seen are kept, numbered from 1."""
    body = sample.body.cpu().numpy()
    poses = sample.world.motion.world_from_body[np.asarray(sample.frame)]
    seen = np.unique(body[body > 0])
    if len(seen) >= SKY:
        raise InputError(f"{len(seen)} bodies are seen, a clip can tell {SKY - 1} apart.", "Leave this world out.")
    number = np.full(poses.shape[1] + 1, SKY, np.uint8)  # the last entry is for -1, the sky
    number[0] = 0
    number[seen] = np.arange(1, len(seen) + 1)
    return Clip(
        images=sample.images.cpu().numpy(),
        depth=np.where(sample.valid.cpu().numpy(), sample.depth.cpu().numpy(), 0).astype(np.float16),
        normals=np.round(sample.normals.cpu().numpy() * _NORMAL_UNIT).astype(np.int8),
        body=number[np.maximum(body, -1)],
        world_from_body=poses[:, np.r_[0, seen]].astype(np.float32),
        intrinsics=sample.intrinsics.cpu().numpy().astype(np.float32),
        world_from_cam=sample.world_from_cam.cpu().numpy().astype(np.float32),
        times=np.asarray(sample.times, np.float64),
    )


def render_clip(
    layout: str, seed: int, *, frames: int = FRAMES, size: int = SHAPE_SIZE, device: str = "cpu", compile: bool = False
) -> Clip:
    """Film a world. Shape of the images, frame rate and the way of the camera follow from the seed.

    Args:
        layout: one of ``SHOOTING``.
        frames: number of frames.
        size: edge of the square network input; images have about as many pixels as that.

    Raises:
        InputError: the layout cannot be filmed.
        NoPlaceError: the seed has no place for it.
    """
    from worldline import worlds

    check_filmed([(layout, 1.0)])
    rng = np.random.default_rng([_OPTIONS, seed])
    height, width = (round(edge * size / SHAPE_SIZE) for edge in SHAPES[rng.integers(len(SHAPES))])
    rate = float(np.exp(rng.uniform(*np.log(RATE))))
    ways = SHOOTING[layout]
    (sample,) = worlds.sample_batch(
        layout, [seed], views=frames, height=height, width=width, device=device, compile=compile,
        shooting=ways[rng.integers(len(ways))], rate=rate,
    )  # fmt: skip
    return from_video(sample)


def check_filmed(layouts: Sequence[tuple[str, float]]) -> None:
    """Raise InputError unless all layouts can be filmed."""
    for name, _ in layouts:
        if name not in SHOOTING:
            raise InputError(f"The layout {name} is not filmed.", f"Choose from: {', '.join(SHOOTING)}.")


def save_clip(clip: Clip, path: Path) -> None:
    """Write one clip; the file appears complete or not at all."""
    tensors = {name: value for name, value in vars(clip).items() if isinstance(value, np.ndarray)}
    if clip.depth is not None:
        tensors["depth"] = clip.depth.astype(np.float16)
    if clip.tracks is not None:
        tensors |= {f"tracks.{name}": value for name, value in vars(clip.tracks).items()}
    partial = path.with_suffix(".partial")
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, partial)
    partial.replace(path)


def load_clip(path: Path) -> Clip:
    """Read one clip of a pool.

    Raises:
        InputError: the file is no clip.
    """
    tensors: dict[str, Any] = dict.fromkeys(("depth", "normals", "body", "world_from_body"))
    try:
        tensors |= mapped_arrays(path)
        names = [f"tracks.{field.name}" for field in fields(ClipTracks)]
        tracks = ClipTracks(*(tensors.pop(name) for name in names)) if names[0] in tensors else None
        return Clip(**tensors, tracks=tracks)
    except (SafetensorError, TypeError, KeyError, InputError) as error:
        raise InputError(f"{path} is not a clip of a training pool ({error}).", "Delete the file.") from error
