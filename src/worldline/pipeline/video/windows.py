"""A video of any length as one: windows that are encoded one after the other, joined by what they share (appendix B).

One window is in memory at a time, and of the others only what was asked for: seams, poses, answers. Every question
goes through the windows in their order, so ask for much at once rather than often.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol, get_args

import numpy as np

from worldline.errors import InputError
from worldline.geometry import Similarity
from worldline.pipeline.memory import free_memory
from worldline.pipeline.single_pass import with_choices
from worldline.pipeline.video.elsewhere import Elsewhere
from worldline.scene.video.answers import AnswersQueries, VideoAnswers
from worldline.scene.video.asking import check_frame, checked_queries, chosen_frames
from worldline.scene.video.cameras import CameraOptions, VideoCameras
from worldline.scene.video.cloud import CloudOptions, VideoCloud
from worldline.scene.video.depth import DepthMaps
from worldline.scene.video.long_occupancy import AllLongTracks, AllPixels
from worldline.scene.video.occupancy import AllTracksOptions, Progress
from worldline.scene.video.relay import LEAST_CONFIDENCE, LongTracks, Relay, placed_points
from worldline.scene.video.tracks import Frame, track_queries
from worldline.scene.video.windows import (
    Seam,
    Window,
    WindowOptions,
    join_known,
    overlap_points,
    owners,
    place,
    plan_windows,
)

if TYPE_CHECKING:
    from worldline.scene import Scene
    from worldline.scene.video.assembly import VideoSceneOptions

Points = tuple[np.ndarray, np.ndarray, np.ndarray]


class WindowVideo(AnswersQueries, Protocol):
    """What a window must be able to do; :class:`worldline.pipeline.video.EncodedVideo` can."""

    def depth(self, *, frames: Any = None, size: tuple[int, int] | None = None) -> DepthMaps:
        """Depth maps."""

    def cameras(self, options: CameraOptions | None = None) -> VideoCameras:
        """Cameras, in the frame of the first."""

    def point_cloud(
        self, options: CloudOptions | None = None, *, frames: Any = None, size: tuple[int, int] | None = None
    ) -> VideoCloud:
        """A cloud in the camera of the first frame."""

    def scene(self, options: VideoSceneOptions | None = None, *, size: tuple[int, int] | None = None) -> Scene:
        """A scene in the camera of the first frame."""


class LongVideo:
    """A video whose frames do not fit into one window; it answers what a short one answers.

    The frame of everything is the camera of the video's first frame, the unit that of its first window. Where two
    windows cannot be joined the video falls apart: poses beyond are "failed", answers across the gap have visibility 0
    and next to no confidence, tracks end; :attr:`warnings` says where.
    """

    def __init__(
        self, open_window: Callable[[Window], WindowVideo], frame_count: int, original_size: tuple[int, int],
        window: int, options: WindowOptions | None = None,
    ) -> None:  # fmt: skip
        """
        Args:
            open_window: encodes frames ``start`` … ``stop - 1``; called anew whenever the window is needed again.
            window: most frames that a window may have; ``options.window`` may ask for fewer.
        """
        self.options = options or WindowOptions()
        self.frame_count, self.original_size = frame_count, original_size
        length = window if self.options.window is None else min(window, self.options.window)
        self.windows = plan_windows(frame_count, length, self.options.overlap)
        self.encoded = 0  # windows so far
        self._open_window = open_window
        self._current: tuple[int, WindowVideo] | None = None
        self._edges: dict[tuple[int, str], Points] = {}
        self._seams: dict[int, Seam] = {}
        self._cameras: VideoCameras | None = None

    def __repr__(self) -> str:
        height, width = self.original_size
        return f"LongVideo({self.frame_count} frames of {width}x{height} in {len(self.windows)} windows)"

    def walk(self, step: int = 1, only: Callable[[int], bool] | None = None) -> Iterator[tuple[int, WindowVideo]]:
        """(number, window) one after the other, each encoded when its turn comes.

        Args:
            step: 1 in order, -1 from the last to the first.
            only: asked just before a window's turn; False skips it. Seams need all windows in order once.
        """
        numbers = range(len(self.windows))
        for number in numbers[::step]:
            if only is None or only(number):
                yield number, self.open(number)

    def open(self, number: int) -> WindowVideo:
        """One window, encoded unless it is the last that was; what it says about its overlaps is kept."""
        if self._current is None or self._current[0] != number:
            self._current = None  # makes room first
            self._current = number, self._open_window(self.windows[number])
            self.encoded += 1
            self._note_edges(number, self._current[1])
        return self._current[1]

    @property
    def seams(self) -> tuple[Seam, ...]:
        """How neighbouring windows fit; goes through all windows the first time."""
        if len(self._seams) < len(self.windows) - 1:
            for _ in self.walk():
                pass
        return tuple(self._seams[number] for number in range(len(self.windows) - 1))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should know about the seams."""
        if len(self.windows) == 1:
            return ()
        said = [seam.sentence(n + 1, self.windows[n + 1].start) for n, seam in enumerate(self.seams)]
        errors = [seam.error for seam in self.seams if seam.failure is None]
        if errors:
            worst = int(np.argmax([-1.0 if seam.failure else seam.error for seam in self.seams]))
            shared = self.windows[worst + 1].start, self.windows[worst].stop - 1
            said.append(
                f"{len(self.windows)} windows were joined: their points differ by {100 * np.median(errors):.1f} % of "
                f"their distance (median of the seams), at worst by {100 * max(errors):.1f} % (frames {shared[0]} to "
                f"{shared[1]})."
            )
        return tuple(sentence for sentence in said if sentence)

    def placement(self, number: int) -> tuple[Similarity, int]:
        """(window -> whole video, number of the piece), from the seams before it, which must be known."""
        return place([self._seams[each] for each in range(number)])[number]

    def whole(self, number: int) -> bool:
        """Whether a window is joined to the first one."""
        return self.placement(number)[1] == 0

    def query(self, u: Any, v: Any, t_src: Any, t_tgt: Any, t_cam: Any) -> VideoAnswers:
        """Answers to queries, see :class:`worldline.scene.video.answers.AnswersQueries`, for frames of any windows.

        What lies in one window is answered there. Where t_src and t_tgt share none, the point is handed over from
        window to window as tracks are, and the answer says invisible, with next to no confidence, if it is lost.
        Where t_cam is elsewhere, the answer goes through the poses of the cameras.

        Raises:
            InputError: as there.
        """
        parts, shape = checked_queries(u, v, t_src, t_tgt, t_cam, self.frame_count)
        self.seams  # noqa: B018 (scales are needed before the first answer)
        answers = Elsewhere(self, parts).answers()
        return VideoAnswers(*(each.reshape((*shape, *each.shape[1:])) for each in answers))

    def depth(self, *, frames: Sequence[int] | int | None = None, size: tuple[int, int] | None = None) -> DepthMaps:
        """Depth of frames, each from the window in which it is most central, in the unit of the whole video.

        Beyond a seam that failed nobody knows it in that unit: depth is 0 there, with next to no confidence.
        """
        chosen = chosen_frames(self, frames)
        self.seams  # noqa: B018
        found: list[DepthMaps] = []
        answering = owners(self.windows)[chosen]
        for number, video in self.walk(only=lambda number: bool((answering == number).any())):
            maps = video.depth(frames=chosen[answering == number] - self.windows[number].start, size=size)
            scale = np.float32(self.placement(number)[0].scale)
            if self.whole(number):
                found.append(replace(maps, depth=maps.depth * scale))
            else:
                unknown = np.full_like(maps.confidence, LEAST_CONFIDENCE)
                found.append(replace(maps, depth=np.zeros_like(maps.depth), confidence=unknown))
        order = np.argsort(np.argsort(answering, kind="stable"))
        return DepthMaps(
            np.concatenate([each.depth for each in found])[order],
            np.concatenate([each.confidence for each in found])[order],
            chosen,
        )

    def cameras(self, options: CameraOptions | None = None, **choices: Any) -> VideoCameras:
        """Cameras of all frames, each from the window in which it is most central; "failed" beyond a broken seam.

        With default options they are found once and kept. ``choices``: single fields of :class:`CameraOptions`.
        """
        options = with_choices(options or CameraOptions(), choices) if choices else options
        if options is None and self._cameras is not None:
            return self._cameras
        found = [video.cameras(options) for _, video in self.walk()]
        merged = self._merged(found)
        if options is None:
            self._cameras = merged
        return merged

    def tracks(self, points: Any = "grid:16", *, frame: Frame = "camera", start: int = 0) -> LongTracks:
        """Points followed through all windows, before and after their frame, until a whole overlap hides them.

        Args:
            points: as in :func:`worldline.scene.video.tracks.follow_points`.
            frame: "camera": positions in the camera of each moment; "world": in that of the first frame.

        Raises:
            InputError: points outside of the video, or an unknown ``frame``.
        """
        world = _in_world(frame)
        relay = Relay(track_queries(points, self, start), self.windows, self.original_size, world=world)
        self.relay(relay)
        return relay.tracks()

    def relay(self, relay: Relay | AllPixels) -> None:
        """Send tracks through all windows that they reach, forwards and backwards."""
        for step in (1, -1):
            known = len(self._seams) == len(self.windows) - 1
            for number, video in self.walk(step, partial(relay.waits_for, step=step) if known else None):
                relay.visit(number, video, self.placement(number)[0], step=step, joined=self.joined(number, step))

    def joined(self, number: int, step: int) -> bool:
        """Whether there is a seam between a window and the one that comes before it in direction ``step``."""
        seam = self._seams.get(min(number, number - step))
        return seam is not None and seam.failure is None

    def all_tracks(
        self, options: AllTracksOptions | None = None, *, frame: Frame = "camera", progress: Progress | None = None,
        **choices: Any,
    ) -> AllLongTracks:  # fmt: skip
        """Every pixel of every frame on a track; see :class:`worldline.scene.video.long_occupancy.AllPixels`.

        Raises:
            MemoryPlanError: the tracks will not fit into what is free now.
        """
        chosen, world = with_choices(options or AllTracksOptions(), choices), _in_world(frame)
        limit = free_memory("cpu")
        pixels = AllPixels(self.windows, self.original_size, chosen, world=world, progress=progress, limit=limit)
        self.relay(pixels)
        return pixels.tracks()

    def point_cloud(
        self, options: CloudOptions | None = None, *, frames: Sequence[int] | int | None = None, camera: int = 0,
        size: tuple[int, int] | None = None, **choices: Any,
    ) -> VideoCloud:  # fmt: skip
        """Pixels of any frames in one camera's frame, where they were when seen; duplicates are merged within windows.

        ``choices``: single fields of :class:`CloudOptions`.
        """
        options = with_choices(options or CloudOptions(), choices)
        chosen, camera = chosen_frames(self, frames), check_frame(self, camera, "camera")
        self.seams  # noqa: B018
        answering = owners(self.windows)[chosen]
        found: list[VideoCloud] = []
        for number, video in self.walk(only=lambda n: self.whole(n) and bool((answering == n).any())):
            first = self.windows[number].start
            cloud = video.point_cloud(options, frames=chosen[answering == number] - first, size=size)
            points = placed_points(cloud.points, self.placement(number)[0], world=True)
            found.append(replace(cloud, points=points, frames=cloud.frames + first))
        joined = _joined_clouds(found, camera)
        if camera == 0:
            return joined
        pose = np.linalg.inv(self.cameras().world_from_cam[camera])
        return replace(joined, points=(joined.points @ pose[:3, :3].T + pose[:3, 3]).astype(np.float32))

    def scene(
        self, options: VideoSceneOptions | None = None, *, size: tuple[int, int] | None = None, **choices: Any
    ) -> Scene:
        """All frames as views of one scene; see :func:`worldline.pipeline.video.long_scene.long_scene`."""
        from worldline.pipeline.video.long_scene import long_scene

        return long_scene(self, options, size=size, **choices)

    def _note_edges(self, number: int, video: AnswersQueries) -> None:
        """Keep what a window says about the frames that it shares with its neighbours, until both have spoken."""
        window = self.windows[number]
        if number + 1 < len(self.windows) and number not in self._seams:
            shared = np.arange(self.windows[number + 1].start, window.stop)
            self._edges[number, "earlier"] = overlap_points(video, shared - window.start, self.options.grid)
        if number and number - 1 not in self._seams:
            shared = np.arange(window.start, self.windows[number - 1].stop)
            self._edges[number - 1, "later"] = overlap_points(video, shared - window.start, self.options.grid)
        for seam in (number - 1, number):
            if (seam, "earlier") in self._edges and (seam, "later") in self._edges:
                both = self._edges.pop((seam, "earlier")), self._edges.pop((seam, "later"))
                self._seams[seam] = join_known(*both, self.options)

    def _merged(self, found: list[VideoCameras]) -> VideoCameras:
        """Cameras of all windows in one frame."""
        import torch

        answering = owners(self.windows)
        poses, status = np.full((self.frame_count, 4, 4), np.nan), ["failed"] * self.frame_count
        for number, (window, cameras) in enumerate(zip(self.windows, found, strict=True)):
            placement, piece = self.placement(number)
            own = np.flatnonzero(answering == number)
            if piece == 0:
                local = torch.from_numpy(cameras.world_from_cam[own - window.start])
                poses[own] = placement.apply_to_poses(local).numpy()
                for frame in own:
                    status[frame] = cameras.status[frame - window.start]

        def of_owner(name: str) -> np.ndarray:
            values = [getattr(each, name) for each in found]
            return np.stack([values[n][t - self.windows[n].start] for t, n in enumerate(answering)])

        return VideoCameras(
            intrinsics=of_owner("intrinsics"),
            world_from_cam=poses,
            status=tuple(status),
            residual=of_owner("residual"),
            inlier_share=of_owner("inlier_share"),
            disagreement=of_owner("disagreement"),
            reference=0,
            world_from_reference=Similarity.identity(),
            distortion=found[0].distortion,
            warnings=tuple(dict.fromkeys((*self.warnings, *(said for each in found for said in each.warnings)))),
        )


def _in_world(frame: Frame) -> bool:
    """Whether positions are wanted in the world; anything but the two choices is an error."""
    if frame not in get_args(Frame):
        raise InputError(f"Unknown choice frame={frame!r}.", f"Choose one of: {', '.join(get_args(Frame))}.")
    return frame == "world"


def _joined_clouds(parts: Sequence[VideoCloud], camera: int) -> VideoCloud:
    names = ("points", "confidence", "frames", "uv")
    joined = {name: np.concatenate([getattr(each, name) for each in parts]) for name in names}
    colors = [each.colors for each in parts if each.colors is not None]
    return VideoCloud(**joined, camera=camera, colors=np.concatenate(colors) if len(colors) == len(parts) else None)
