"""Windows of an exactly known video, each in a unit of its own, as a network would answer for them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from worldline.errors import InputError
from worldline.pipeline.video.frames import squashed_views
from worldline.scene.scene import Scene
from worldline.scene.video.answers import AnswersQueries, VideoAnswers
from worldline.scene.video.assembly import VideoSceneOptions, video_scene
from worldline.scene.video.cameras import CameraOptions, VideoCameras, estimate_cameras
from worldline.scene.video.cloud import CloudOptions, VideoCloud, cloud_of
from worldline.scene.video.depth import DepthMaps, depth_maps


@dataclass
class Part:
    """Frames ``start`` … ``stop - 1`` of another video; times count from its own first frame."""

    video: AnswersQueries
    start: int
    stop: int
    scale: float = 1.0  # of all lengths: the unit that this window chose
    blind: bool = False  # it knows nothing: every point is at the origin

    @property
    def frame_count(self) -> int:
        return self.stop - self.start

    @property
    def original_size(self) -> tuple[int, int]:
        return self.video.original_size

    def query(self, u: Any, v: Any, t_src: Any, t_tgt: Any, t_cam: Any) -> VideoAnswers:
        times = [np.asarray(each) for each in (t_src, t_tgt, t_cam)]
        if any(each.size and (each.min() < 0 or each.max() >= self.frame_count) for each in times):
            raise InputError("A time is outside of the window.", "Times count from the window's first frame.")
        exact = self.video.query(u, v, *(each + self.start for each in times))
        factor = np.float32(0 if self.blind else self.scale)
        return replace(exact, points=exact.points * factor, motion=exact.motion * factor)

    def depth(self, *, frames: Any = None, size: tuple[int, int] | None = None) -> DepthMaps:
        return depth_maps(self, frames=frames, size=size)

    def cameras(self, options: CameraOptions | None = None) -> VideoCameras:
        return estimate_cameras(self, options)

    def point_cloud(
        self, options: CloudOptions | None = None, *, frames: Any = None, size: tuple[int, int] | None = None
    ) -> VideoCloud:
        return cloud_of(self, options, frames=frames, size=size)

    def scene(self, options: VideoSceneOptions | None = None, *, size: tuple[int, int] | None = None) -> Scene:
        height, width = self.original_size
        images = np.zeros((self.frame_count, height, width, 3), np.uint8)
        images[...] = (10 * np.arange(self.start, self.stop))[:, None, None, None]
        names = tuple(f"frame_{index:06d}" for index in range(self.start, self.stop))
        seconds = np.arange(self.start, self.stop) / 12
        views = squashed_views(images, (height, width), size or (height, width), names=names, seconds=seconds)
        return video_scene(self, views, options)
