"""TartanAir and TartanAir V2: still simulated worlds with exact depth and the camera's path.

A trajectory is a folder ``ENVIRONMENT/Easy|Hard/P000`` with ``image_left/000000_left.png``,
``depth_left/000000_left_depth.npy`` (float metres along the optical axis; the sky is some 10 km away) and
``pose_left.txt``, a line ``tx ty tz qx qy qz qw`` per frame.

TartanAir V2 has ``image_lcam_front/000000_lcam_front.png``, ``depth_lcam_front/000000_lcam_front_depth.png`` and
``pose_lcam_front.txt``.

Traps: the quaternion's w is last; world *and camera* have NED axes (the camera looks along x, its y is right, its z
down); the publisher's optical centre (320, 240) counts from the corner of the 640 x 480 image: with 90 degrees of view
and 320 pixels of focal length the axis meets the middle; a depth of V2 is the four bytes of a float as blue, green, red
and opacity of a pixel.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int
from PIL import Image

from worldline.errors import InputError
from worldline.train.clips.readers import axes
from worldline.train.clips.readers.files import (
    REMEDY,
    folders_with,
    naming,
    numbered,
    read_color,
    read_floats,
    read_numbers,
)
from worldline.train.clips.readers.sequence import Frame, FrameSequence, VideoSequence, sky_of

RATE = 10.0
_CAMERAS = (("pose_left.txt", "left", "*.npy"), ("pose_lcam_front.txt", "lcam_front", "*.png"))
_SKY = 1000.0  # metres from which on a depth is the sky's


class Trajectory(FrameSequence):
    """The left camera of a trajectory, of V2 the one that looks forward. Nothing moves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.poses, camera, self.kind = next(names for names in _CAMERAS if (folder / names[0]).is_file())
        self.images, self.depths = folder / f"image_{camera}", folder / f"depth_{camera}"
        depths = numbered(self.depths, self.kind)
        super().__init__(str(folder), [n for n in numbered(self.images, "*.png") if n in depths], RATE)

    def frame(self, index: int) -> Frame:
        number = int(self.numbers[index])
        path = numbered(self.depths, self.kind)[number]
        depth = read_floats(path) if path.suffix == ".npy" else read_packed(path)
        sky = ~(depth < _SKY)
        return sky_of(Frame(read_color(numbered(self.images, "*.png")[number]), depth), sky)

    def cameras(
        self, index: Int[np.ndarray, "frame"], height: int, width: int
    ) -> tuple[Float[np.ndarray, "frame 3 3"], Float[np.ndarray, "frame 4 4"]]:
        matrix = axes.centered(width / 2, height, width)  # 90 degrees across
        return np.repeat(matrix[None], len(index), 0), self.world_from_cam[self.numbers[index]]

    @cached_property
    def world_from_cam(self) -> Float[np.ndarray, "frame 4 4"]:
        """Poses of all frames, OpenCV axes."""
        path = self.folder / self.poses
        rows = read_numbers(path, 7)
        if len(rows) <= self.numbers.max():
            raise InputError(f"{path} has {len(rows)} poses for {self.numbers.max() + 1} images.", REMEDY)
        theirs = axes.poses(rows[:, :3], axes.rotations(rows[:, [6, 3, 4, 5]]))
        return axes.with_opencv_axes(theirs, axes.NED)


def read_packed(path: Path) -> Float[np.ndarray, "height width"]:
    """Floats whose bytes are the channels of an image, in the order blue, green, red, opacity."""
    with naming(path), Image.open(path) as image:
        if image.mode != "RGBA":
            raise ValueError(f"pixels are {image.mode}, not RGBA")
        channels = np.ascontiguousarray(np.asarray(image)[..., [2, 1, 0, 3]])
    return channels.view("<f4")[..., 0].astype(np.float32)


def find(folder: Path) -> list[VideoSequence]:
    """All trajectories below a folder."""
    return [Trajectory(each) for each in folders_with(folder, *(names[0] for names in _CAMERAS))]
