"""TartanAir: still simulated worlds with exact depth and the camera's path.

A trajectory is a folder ``ENVIRONMENT/Easy|Hard/P000`` with ``image_left/000000_left.png``,
``depth_left/000000_left_depth.npy`` (float metres along the optical axis; the sky is some 10 km away) and
``pose_left.txt``, a line ``tx ty tz qx qy qz qw`` per frame.

Traps: the quaternion's w is last; world *and camera* have NED axes (the camera looks along x, its y is right, its z
down); the publisher's optical centre (320, 240) counts from the corner of the 640 x 480 image: with 90 degrees of view
and 320 pixels of focal length the axis meets the middle.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from worldline.errors import InputError
from worldline.train.clips.readers import axes
from worldline.train.clips.readers.files import REMEDY, folders_with, numbered, read_color, read_floats, read_numbers
from worldline.train.clips.readers.sequence import Frame, VideoSequence, sky_of

RATE = 10.0  # frames per second; the publisher states no times
_SKY = 1000.0  # metres from which on a depth is the sky's


class Trajectory(VideoSequence):
    """The left camera of a trajectory. Nothing moves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images = numbered(folder / "image_left", "*.png")
        self.depths = numbered(folder / "depth_left", "*.npy")
        super().__init__(str(folder), [n for n in self.images if n in self.depths], RATE)

    def frame(self, index: int) -> Frame:
        number = int(self.numbers[index])
        depth = read_floats(self.depths[number])
        sky = ~(depth < _SKY)
        return sky_of(Frame(read_color(self.images[number]), depth), sky)

    def cameras(
        self, index: Int[np.ndarray, "frame"], height: int, width: int
    ) -> tuple[Float[np.ndarray, "frame 3 3"], Float[np.ndarray, "frame 4 4"]]:
        matrix = axes.centered(width / 2, height, width)  # 90 degrees across
        return np.repeat(matrix[None], len(index), 0), self.world_from_cam[self.numbers[index]]

    @cached_property
    def world_from_cam(self) -> Float[np.ndarray, "frame 4 4"]:
        """Poses of all frames, OpenCV axes."""
        path = self.folder / "pose_left.txt"
        rows = read_numbers(path, 7)
        if len(rows) <= max(self.images):
            raise InputError(f"{path} has {len(rows)} poses for {len(self.images)} images.", REMEDY)
        theirs = axes.poses(rows[:, :3], axes.rotations(rows[:, [6, 3, 4, 5]]))
        return axes.with_opencv_axes(theirs, axes.NED)


def find(folder: Path) -> list[VideoSequence]:
    """All trajectories below a folder."""
    return [Trajectory(each) for each in folders_with(folder, "pose_left.txt")]
