"""A video, encoded once and asked anything (arXiv 2512.08924): the recipes of ``scene.video`` on a network's memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float64, UInt8

from worldline.errors import InputError, MemoryPlanError
from worldline.models.d4rt import D4rt, Memory, Queries
from worldline.pipeline.finish import provenance as provenance_of
from worldline.pipeline.memory import memory_errors
from worldline.pipeline.single_pass import with_choices
from worldline.pipeline.video.frames import PREVIEW, Footage, cameras_by_name, collect, open_footage, squashed_views
from worldline.pipeline.video.plan import LEAST_CHUNK, plan_video
from worldline.scene.video.answers import VideoAnswers
from worldline.scene.video.asking import check_size, checked_queries
from worldline.scene.video.assembly import VideoSceneOptions, video_scene
from worldline.scene.video.cameras import CameraOptions, VideoCameras, check_poses, estimate_cameras
from worldline.scene.video.cloud import CloudOptions, VideoCloud, cloud_of
from worldline.scene.video.depth import DepthMaps, depth_maps, moderate_size
from worldline.scene.video.dynamic import DynamicMasks, DynamicOptions, find_dynamic
from worldline.scene.video.intrinsics import (
    IntrinsicsOptions,
    VideoIntrinsics,
    check_intrinsics,
    estimate_intrinsics,
    recalibration,
)
from worldline.scene.video.occupancy import AllTracks, AllTracksOptions, Progress, all_tracks
from worldline.scene.video.tracks import VideoTracks, follow_points
from worldline.types import Provenance

if TYPE_CHECKING:
    from worldline.inputs import KnownCamera
    from worldline.pipeline.single_pass import ReconstructOptions, Reconstructor
    from worldline.pipeline.video.windows import LongVideo
    from worldline.scene import Scene

log = logging.getLogger("worldline")
_LEAST_CONFIDENCE = 1e-6  # a sigmoid can round to 0, and confidence is more than that
_TAILS = ((3,), (2,), (), (3,), (3,), ())  # of the arrays of VideoAnswers
_SomeTracks = TypeVar("_SomeTracks", bound=VideoTracks)


@dataclass(frozen=True)
class EncodeOptions:
    """How a video is read and encoded. The defaults are those of the command line."""

    fps: float | None = None  # frames per second to take; None: all of them
    max_frames: int | None = None  # at most so many
    spread: bool = False  # of a longer video, frames spread evenly over it instead of the first ones
    patches: Literal["model", "original"] = "model"  # frames that colour patches are cut from: as the network sees
    # them, which all networks are trained with, or at full size (appendix C: sharper edges, if trained for it)
    memory_limit: int | None = None  # bytes the run may take; None = what is free
    chunk: int | None = None  # queries at a time; None: by the memory plan

    def __post_init__(self) -> None:
        if self.patches not in ("model", "original"):
            raise InputError(f"Unknown patches {self.patches!r}.", "Choose one of: model, original.")
        if self.chunk is not None and self.chunk < 1:
            raise InputError(f"The chunk is {self.chunk}.", "It counts queries: at least 1, or None.")


@dataclass(frozen=True, eq=False)
class EncodedVideo:
    """A video in the memory of a network. Every method asks it; nothing encodes again.

    Frames are numbered from 0 as they were taken. Lengths are in the network's arbitrary unit; known poses change that
    of :meth:`cameras` and :meth:`scene` alone. See docs/video.md for what each method asks and which options it has.
    """

    network: D4rt = field(repr=False)
    memory: Memory = field(repr=False)
    original_size: tuple[int, int]  # (height, width) of the frames as shown
    images: UInt8[np.ndarray, "t h w 3"] = field(repr=False)  # small copies, for colours and exports
    chunk: int  # queries at a time
    footage: Footage | None = field(default=None, repr=False)  # where the frames came from, without their pixels
    known_intrinsics: Float64[np.ndarray, "t 3 3"] | None = field(default=None, repr=False)
    known_poses: Any = field(default=None, repr=False)  # [T, 4, 4], or a list with None
    provenance: Provenance = field(default_factory=lambda: Provenance(model="d4rt"), repr=False)

    @property
    def frame_count(self) -> int:
        """Number of frames T."""
        return len(self.images)

    @property
    def seconds(self) -> Float64[np.ndarray, "t"] | None:
        """When each frame is shown, since the first one of the file; None where nothing is known about time."""
        return None if self.footage is None else self.footage.seconds

    @property
    def pixel_aspect(self) -> float:
        """Width of a pixel of the original frames over its height."""
        return 1.0 if self.footage is None else self.footage.pixel_aspect

    def query(self, u: Any, v: Any, t_src: Any, t_tgt: Any, t_cam: Any) -> VideoAnswers:
        """Where is the point seen at (u, v) in frame ``t_src``, at the time of ``t_tgt``, in the camera of ``t_cam``?

        The five parts broadcast together; the answers have their shape. An answer depends on nothing else that is
        asked. Conventions: :class:`worldline.scene.video.answers.AnswersQueries`.

        Raises:
            InputError: a time or coordinate out of range (nothing is clamped), or shapes that do not broadcast.
        """
        parts, shape = checked_queries(u, v, t_src, t_tgt, t_cam, self.frame_count)
        device = self.memory.tokens.device
        kinds = (np.float32, np.float32, np.int64, np.int64, np.int64)
        flat = Queries(*(torch.from_numpy(part.astype(kind))[None] for part, kind in zip(parts, kinds, strict=True)))
        chunk, count, start = self.chunk, flat.u.shape[1], 0
        # made before the first portion: small results between large buffers would keep those from being given back
        values = [np.empty((count, *tail), np.float32) for tail in _TAILS]
        while start < count:
            portion = Queries(*(part[:, start : start + chunk].to(device) for part in flat))
            try:
                with memory_errors():
                    decoded = self._decoded(portion)
            except (torch.OutOfMemoryError, MemoryError) as error:
                if chunk <= LEAST_CHUNK:
                    raise MemoryPlanError(
                        f"Out of memory with {chunk} queries at a time.", "Use fewer frames, or another device."
                    ) from error
                chunk = max(LEAST_CHUNK, chunk // 4)
                log.warning("out of memory; once more with %d queries at a time", chunk)
                continue
            for whole, part in zip(values, decoded, strict=True):
                whole[start : start + chunk] = part
            start += chunk
        return VideoAnswers(*(each.reshape((*shape, *each.shape[1:])) for each in values))

    def depth(self, *, frames: Sequence[int] | int | None = None, size: tuple[int, int] | None = None) -> DepthMaps:
        """Depth of frames at any resolution; see :func:`worldline.scene.video.depth.depth_maps`."""
        return depth_maps(self, frames=frames, size=size)

    def intrinsics(self, options: IntrinsicsOptions | None = None, **choices: Any) -> VideoIntrinsics:
        """Focal lengths; the known ones where they were given to ``encode``."""
        options = with_choices(options or IntrinsicsOptions(), choices)
        return estimate_intrinsics(self, options, given=self.known_intrinsics, pixel_aspect=self.pixel_aspect)

    def cameras(
        self, options: CameraOptions | None = None, *, reference: int = 0,
        intrinsics_options: IntrinsicsOptions | None = None, **choices: Any,
    ) -> VideoCameras:  # fmt: skip
        """Intrinsics and poses of all frames; see :func:`worldline.scene.video.cameras.estimate_cameras`.

        Args:
            reference: frame whose camera is the world.
            choices: single fields of :class:`CameraOptions`, e.g. ``references="chain"``.
        """
        options = with_choices(options or CameraOptions(), choices)
        return estimate_cameras(
            self, options, reference=reference, intrinsics=self.known_intrinsics,
            poses=self.known_poses, intrinsics_options=intrinsics_options, pixel_aspect=self.pixel_aspect,
        )  # fmt: skip

    def tracks(
        self, points: Any = "grid:16", *, frame: Literal["camera", "world"] = "camera", start: int = 0,
        reference: int = 0, pixels: Literal["uv", "project"] = "uv",
    ) -> VideoTracks:  # fmt: skip
        """Points followed through all frames; see :func:`worldline.scene.video.tracks.follow_points`."""
        # the points are not recalibrated yet: those that are project to the same pixels with the known intrinsics
        lens = self._predicted_intrinsics if pixels == "project" else None
        found = follow_points(
            self, points, frame=frame, start=start, reference=reference, pixels=pixels, intrinsics=lens
        )
        return self._recalibrated(found)

    def all_tracks(
        self, options: AllTracksOptions | None = None, *, progress: Progress | None = None, **choices: Any
    ) -> AllTracks:
        """Every pixel of every frame on a track; see :func:`worldline.scene.video.occupancy.all_tracks`."""
        options = with_choices(options or AllTracksOptions(), choices)
        return self._recalibrated(all_tracks(self, options, progress=progress))

    def point_cloud(
        self, options: CloudOptions | None = None, *, frames: Sequence[int] | int | None = None, camera: int = 0,
        moment: int | None = None, size: tuple[int, int] | None = None, **choices: Any,
    ) -> VideoCloud:  # fmt: skip
        """Pixels of any frames in one camera's frame; see :func:`worldline.scene.video.cloud.cloud_of`."""
        options = with_choices(options or CloudOptions(), choices)
        return cloud_of(
            self, options, frames=frames, camera=camera, moment=moment, size=size,
            images=self.images, transform=self._recalibration,
        )  # fmt: skip

    def dynamic_mask(
        self, options: DynamicOptions | None = None, *, frames: Sequence[int] | int | None = None,
        size: tuple[int, int] | None = None, **choices: Any,
    ) -> DynamicMasks:  # fmt: skip
        """What moves; see :func:`worldline.scene.video.dynamic.find_dynamic`."""
        return find_dynamic(self, with_choices(options or DynamicOptions(), choices), frames=frames, size=size)

    def scene(
        self, options: VideoSceneOptions | None = None, *, size: tuple[int, int] | None = None, **choices: Any
    ) -> Scene:
        """All frames as views of one :class:`worldline.Scene`: save, export, view, render and evaluate it.

        Args:
            size: (height, width) of depth and points; None: the shape of the frames, with the longer side of the
                network's frames. A larger one is sharper and takes longer.
            choices: single fields of :class:`VideoSceneOptions`, e.g. ``tracks=None``.
        """
        options = with_choices(options or VideoSceneOptions(), choices)
        longest = max(self.network.config.image_size)
        views = squashed_views(
            self.images, self.original_size,
            moderate_size(self.original_size, longest) if size is None else check_size(size),
            names=None if self.footage is None else self.footage.names, seconds=self.seconds,
            source=None if self.footage is None else self.footage.source,
        )  # fmt: skip
        started = time.perf_counter()
        scene = video_scene(
            self, views, options, intrinsics=self.known_intrinsics, poses=self.known_poses,
            pixel_aspect=self.pixel_aspect, provenance=self.provenance,
            notes=() if self.footage is None else self.footage.notes,
        )  # fmt: skip
        timings = {**self.provenance.timings, "queries": time.perf_counter() - started}
        timings["total"] = sum(timings.values())
        return replace(scene, provenance=replace(self.provenance, timings=timings))

    @cached_property
    def _recalibration(self) -> Float64[np.ndarray, "t 3 3"] | None:
        """Maps of points in the cameras' frames, where the intrinsics are known."""
        if self.known_intrinsics is None:
            return None
        return recalibration(self.known_intrinsics, self._predicted_intrinsics)

    @cached_property
    def _predicted_intrinsics(self) -> Float64[np.ndarray, "t 3 3"]:
        """What the network's points tell, whatever is known."""
        return estimate_intrinsics(self, pixel_aspect=self.pixel_aspect).matrices

    def _recalibrated(self, found: _SomeTracks) -> _SomeTracks:
        """Tracks whose points fit the known intrinsics; their pixels stay."""
        if self._recalibration is None:
            return found
        every = np.arange(self.frame_count)
        bend = self._recalibration[every if found.camera is None else np.full_like(every, found.camera)]
        return replace(found, points=np.einsum("tij,ntj->nti", bend, found.points).astype(np.float32))

    def _decoded(self, queries: Queries) -> list[np.ndarray]:
        """Answers to one portion, as arrays in the order of :class:`VideoAnswers`."""
        autocast = torch.autocast("cuda", torch.bfloat16, enabled=queries.u.device.type == "cuda")
        with torch.inference_mode(), autocast:
            answers = self.network.decode(self.memory, queries, checked=True)
        values = (
            answers.points,
            answers.uv,
            answers.visibility.float().sigmoid(),
            answers.motion,
            torch.nn.functional.normalize(answers.normal.float(), dim=-1),
            answers.confidence.float().sigmoid().clamp_min(_LEAST_CONFIDENCE),
        )
        return [value[0].float().cpu().numpy() for value in values]


def encode_video(
    network: D4rt, source: Any, options: EncodeOptions | None = None, *, intrinsics: Any = None, poses: Any = None,
    provenance: Provenance | None = None,
) -> EncodedVideo:  # fmt: skip
    """Read a video and encode it.

    Args:
        source: video file, folder or list of photos, array ``[T, H, W, 3]``, or :class:`Footage`.
        intrinsics: known ``[3, 3]`` or ``[T, 3, 3]`` in pixels of the frames as shown.
        poses: known ``world_from_cam`` ``[T, 4, 4]`` or a list with None; T counts the frames taken.

    Raises:
        InputError: no video, or one that is longer than the network's clips.
        MemoryPlanError: it does not fit into memory.
    """
    options, started = options or EncodeOptions(), time.perf_counter()
    footage = open_footage(source, fps=options.fps, max_frames=options.max_frames, spread=options.spread)
    count, longest = len(footage), network.config.clip_frames
    if count > longest:
        raise InputError(
            f"The video has {count} frames, the network takes {longest} at once.",
            f"Take fewer (max_frames={longest}, with spread=True from the whole video, or a lower fps); without known "
            "cameras, a longer video goes through windows (pipeline.video.long.open_long).",
        )
    lens = None if intrinsics is None else check_intrinsics(intrinsics, count)
    check_poses(poses, count)
    device = next(network.parameters()).device
    original = footage.size if options.patches == "original" else None
    plan = plan_video(
        network.config, count, patch_pixels=None if original is None else original[0] * original[1],
        device=str(device), limit=options.memory_limit, chunk=options.chunk,
    )  # fmt: skip
    squares, small, large = collect(
        footage.frames(), network.config.image_size, moderate_size(footage.size, PREVIEW), original is not None
    )
    read = time.perf_counter() - started
    started = time.perf_counter()
    memory = _encoded(network, squares, footage.aspect_ratio, large, device)
    provenance = provenance or Provenance(model="d4rt")
    timings = {"read": read, "encode": time.perf_counter() - started}
    return EncodedVideo(
        network, memory, footage.size, small, plan.chunk, replace(footage, clip=None, array=None), lens, poses,
        replace(provenance, timings=timings),
    )  # fmt: skip


def encode_any(
    model: Reconstructor, source: Any, options: EncodeOptions, *, intrinsics: Any = None, poses: Any = None
) -> EncodedVideo | LongVideo:
    """What ``Reconstructor.encode`` does: one clip where the video fits, else windows.

    Raises:
        InputError: the model answers no queries; known cameras of a video that needs windows.
    """
    network = _answering(model)
    footage = open_footage(source, fps=options.fps, max_frames=options.max_frames, spread=options.spread)
    if len(footage) > network.config.clip_frames and intrinsics is None and poses is None:
        from worldline.pipeline.video.long import open_long  # looks this module up

        return open_long(model, footage, options)
    record = provenance_of(model, options, {})
    return encode_video(network, footage, options, intrinsics=intrinsics, poses=poses, provenance=record)


def reconstruct_video(
    model: Reconstructor, video: Any, options: ReconstructOptions, *, intrinsics: Any = None, poses: Any = None,
    known: dict[str, KnownCamera] | None = None,
) -> Scene:  # fmt: skip
    """What ``reconstruct`` means for a network that answers queries: as many frames as it takes at once, as a scene.

    Raises:
        InputError: as :func:`encode_video`.
    """
    network = _answering(model)
    longest = network.config.clip_frames
    most = longest if options.max_views is None else min(options.max_views, longest)
    wanted = VideoSceneOptions(
        reference=options.reference, confidence_percent=options.confidence_percent,
        intrinsics=IntrinsicsOptions(shared=options.shared_focal),
    )  # fmt: skip
    footage = open_footage(video, fps=options.fps, max_frames=most, spread=True)
    if known:
        intrinsics, poses = cameras_by_name(footage, known)
    encoded = encode_video(
        network, footage, EncodeOptions(memory_limit=options.memory_limit), intrinsics=intrinsics, poses=poses,
        provenance=provenance_of(model, options, {}),
    )  # fmt: skip
    size = None if options.size is None else moderate_size(encoded.original_size, options.size)
    return encoded.scene(wanted, size=size)


def _answering(model: Reconstructor) -> D4rt:
    if not isinstance(model.network, D4rt):
        raise InputError(f"{model.name} answers no queries.", "Load d4rt-mini, or a D4RT checkpoint.")
    return model.network


def _encoded(
    network: D4rt, squares: UInt8[np.ndarray, "t h w 3"], ratio: float, large: np.ndarray | None, device: torch.device
) -> Memory:
    """The clip in the network's memory."""
    autocast = torch.autocast("cuda", torch.bfloat16, enabled=device.type == "cuda")
    try:
        with memory_errors(), torch.inference_mode(), autocast:
            frames = torch.from_numpy(squares).to(device).permute(0, 3, 1, 2)[None].float() / 255
            memory = network.encode(frames, torch.tensor([ratio], dtype=torch.float32, device=device))
            if large is not None:
                memory = memory.with_pixels(torch.from_numpy(large).to(device).permute(0, 3, 1, 2)[None])
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise MemoryPlanError(
            f"Out of memory while encoding {len(squares)} frames.", "Use fewer frames, or another device."
        ) from error
    return memory
