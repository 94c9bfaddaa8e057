"""How the scripts of Open-D4RT read videos that are longer than a clip, for comparison with its published numbers.

"Anchor": every frame is asked about in a clip of its own, made of the frame that queries start in and the frames
before the wanted one. "Windows": overlapping clips, each fitted to what those before it have merged. Both are slow
and have faults that are kept here (docs/models/opend4rt.md lists them); :class:`.windows.LongVideo` has neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Float64, Int, UInt8
from torch import Tensor

from worldline.errors import InputError
from worldline.geometry import Similarity, fit_similarity
from worldline.inputs.published_resize import resize_as_published
from worldline.models.d4rt import Answers, D4rt, Memory, Queries
from worldline.scene.video.windows import Window, WindowOptions, fit_seam, plan_windows

Route = Literal["anchor", "windows"]
PORTION = 2048  # queries at a time
_LEAST_PAIRS = 16  # finite points, below which there is no pose
_TINY = 1e-6  # of |x| and |y|, and of focal lengths in pixels
_SEAMS = WindowOptions(robust=False, least_points=3)  # the 85 % most confident points, plain least squares


@dataclass(frozen=True, eq=False)
class OpenTracks:
    """Points followed through a video. ``visibility`` and ``confidence`` are logits."""

    local: Float32[np.ndarray, "q t 3"]  # in the camera of each moment
    reference: Float32[np.ndarray, "q t 3"]  # in the camera of the first frame of the clip that was asked
    uv: Float32[np.ndarray, "q t 2"]  # (x + 0.5) / W, (y + 0.5) / H in the view of each moment
    visibility: Float32[np.ndarray, "q t"]
    confidence: Float32[np.ndarray, "q t"]


@dataclass(frozen=True, eq=False)
class OpenCloud:
    """Points of every frame in the camera of frame 0."""

    points: Float32[np.ndarray, "t q 3"]
    confidence: Float32[np.ndarray, "t q"]  # logits
    placed: tuple[tuple[Window, Similarity], ...] = ()  # route "windows": frame 0 from the frame of each window


@dataclass(frozen=True, eq=False)
class OpenCameras:
    """Pinhole cameras. A pose that too few points determine is NaN (published: the identity)."""

    intrinsics: Float64[np.ndarray, "t 3 3"]  # original pixels, centres at integers
    pose: Float64[np.ndarray, "t 4 4"]  # frame 0 from the camera of each frame


def anchor_clip(frames: int, clip: int, source: int, target: int) -> tuple[int, ...]:
    """Frames of the clip in which a point of frame ``source`` is asked about at ``target``.

    The source and the ``clip`` - 1 frames that end at the target, or the first ones where there are not so many
    before it. If the source is among them the clip is one frame shorter; for target 0 of source 0 it holds it twice.
    """
    if frames <= clip:
        return tuple(range(frames))
    if clip == 1:
        return (target,)
    start = min(max(target - clip + 2, 0), frames - clip + 1)
    if source:
        return tuple(sorted({source, *range(start, start + clip - 1)}))
    start = max(start, min(target, 1))
    return (0, *range(start, start + clip - 1))


class OpenVideo:
    """A video of any length, read as the scripts of Open-D4RT do. One clip is in memory at a time."""

    def __init__(
        self, model: D4rt, frames: UInt8[np.ndarray, "t height width 3"], aspect_ratio: float | None = None
    ) -> None:
        """
        Args:
            model: of ``from_official(..., compat=True)``; a corrected one repeats the last frame of odd clips.
            frames: of any size; resized as published.
            aspect_ratio: that the network is told; None: width / height of ``frames``. The published table of
                WorldTrack was made with 1, whatever the video.
        """
        self.model, self.original_size = model.eval(), frames.shape[1:3]
        resized = resize_as_published(frames, model.config.image_size)
        self.frames = torch.from_numpy(resized).permute(0, 3, 1, 2)
        self.aspect_ratio = frames.shape[2] / frames.shape[1] if aspect_ratio is None else aspect_ratio
        self.windows = plan_windows(len(frames), model.config.clip_frames)
        self._current: tuple[tuple[int, ...], Memory] | None = None

    def __len__(self) -> int:
        return len(self.frames)

    def tracks(self, uv: Float[np.ndarray, "q 2"], sources: Int[np.ndarray, "q"]) -> OpenTracks:
        """Follow points through all frames, by anchor clips.

        Args:
            uv: of points, each in its frame of ``sources``.
        """
        self._check(uv, sources)
        count, parts = len(uv), {"points": 3, "reference": 3, "uv": 2, "visibility": 0, "confidence": 0}
        found = {name: np.zeros((count, len(self), width)[: 3 if width else 2], np.float32)
                 for name, width in parts.items()}  # fmt: skip
        for source in np.unique(sources):
            rows = np.flatnonzero(sources == source)
            for target in range(len(self)):
                clip = anchor_clip(len(self), self.model.config.clip_frames, int(source), target)
                start, end = clip.index(int(source)), clip.index(target)
                answers = self._ask(clip, uv[rows], start, end, end)
                for name in ("points", "uv", "visibility", "confidence"):
                    found[name][rows, target] = getattr(answers, name)[0].cpu().numpy()
                found["reference"][rows, target] = self._ask(clip, uv[rows], start, end, 0).points[0].cpu().numpy()
        return OpenTracks(found["points"], *(found[name] for name in ("reference", "uv", "visibility", "confidence")))

    def cloud(self, uv: Float[np.ndarray, "q 2"], route: Route = "anchor") -> OpenCloud:
        """The points of every frame that are seen at ``uv``, in the camera of frame 0."""
        self._check(uv, np.zeros(len(uv), np.int64))
        points, confidence = torch.zeros(len(self), len(uv), 3), torch.full((len(self), len(uv)), -torch.inf)
        if route == "anchor":
            for frame, clip in self._anchored():
                now = clip.index(frame)
                answers = self._ask(clip, uv, now, now, 0)
                points[frame], confidence[frame] = answers.points[0].cpu(), answers.confidence[0].cpu()
            return OpenCloud(points.numpy(), confidence.numpy())
        placed = []
        for window in self.windows:
            fresh, sure = self._window_points(window, uv)
            placement = self._fitted(window, points, confidence, fresh, sure)
            placed.append((window, placement))
            fresh, part = placement.apply(fresh.double()).float(), slice(window.start, window.stop)
            better = sure >= confidence[part]  # of equals the later window
            points[part] = torch.where(better[..., None], fresh, points[part])
            confidence[part] = torch.where(better, sure, confidence[part])
        return OpenCloud(points.numpy(), confidence.numpy(), tuple(placed))

    def cameras(
        self, size: tuple[int, int] | None = None, grid: int = 16, route: Route = "anchor"
    ) -> OpenCameras:  # fmt: skip
        """Cameras of all frames.

        Args:
            size: (height, width) of the frames that the intrinsics are for; None: those that were given.
            grid: points per side; the outer ones lie on the centres of the border's pixels.
        """
        size, uv = size or self.original_size, self._grid(grid)
        intrinsics, pose = np.full((len(self), 3, 3), np.nan), np.full((len(self), 4, 4), np.nan)
        if route == "anchor":
            for frame, clip in self._anchored():
                now = clip.index(frame)
                pose[frame] = self._pose(clip, uv, now)
                seen = self._ask(clip, uv, now, now, 0).points[0]
                intrinsics[frame] = published_intrinsics(seen, self._ends(uv), size)
            return OpenCameras(intrinsics, pose)
        points, confidence = torch.zeros(len(self), len(uv), 3), torch.full((len(self), len(uv)), -torch.inf)
        for window in self.windows:
            fresh, sure = self._window_points(window, uv)
            placement = self._fitted(window, points, confidence, fresh, sure)
            fresh = placement.apply(fresh.double())
            for frame in range(window.start, window.stop):  # later windows overwrite, however sure they are
                local = self._pose(tuple(range(window.start, window.stop)), uv, frame - window.start)
                pose[frame] = placement.apply_to_poses(torch.from_numpy(local)[None])[0].numpy()
                intrinsics[frame] = published_intrinsics(fresh[frame - window.start], self._ends(uv), size)
            part = slice(window.start, window.stop)
            points[part], confidence[part] = fresh.float(), sure
        return OpenCameras(intrinsics, pose)

    def _anchored(self) -> Iterator[tuple[int, tuple[int, ...]]]:
        for frame in range(len(self)):
            yield frame, anchor_clip(len(self), self.model.config.clip_frames, 0, frame)

    def _window_points(self, window: Window, uv: Float[np.ndarray, "q 2"]) -> tuple[Tensor, Tensor]:
        """Points [frame, q, 3] in the camera of the window's first frame, and the logits of their confidence."""
        clip = tuple(range(window.start, window.stop))
        answers = [self._ask(clip, uv, now, now, 0) for now in range(len(clip))]
        return (torch.cat([part.points for part in answers]).cpu(),
                torch.cat([part.confidence for part in answers]).cpu())  # fmt: skip

    def _fitted(
        self, window: Window, points: Tensor, confidence: Tensor, fresh: Tensor, sure: Tensor
    ) -> Similarity:  # fmt: skip
        """Where a window stands, from the frames of which points are known already."""
        if window.start == 0:
            return Similarity.identity()
        known = slice(window.start, self.windows[self.windows.index(window) - 1].stop)
        shared = known.stop - known.start
        score = torch.minimum(confidence[known], sure[:shared])
        seam = fit_seam(points[known].numpy(), fresh[:shared].numpy(), score.numpy(), _SEAMS)
        if seam.failure:
            raise InputError(
                f"The clip that begins at frame {window.start} cannot be joined to the one before: {seam.failure}.",
                "Let worldline track find its own windows, which say where a video falls apart.",
            )
        return seam.previous_from_current

    def _pose(self, clip: tuple[int, ...], uv: Float[np.ndarray, "q 2"], frame: int) -> Float64[np.ndarray, "4 4"]:
        """First camera of the clip from that of its frame number ``frame``: a plain rigid fit."""
        first, other = (self._ask(clip, uv, 0, 0, camera).points[0].double().cpu() for camera in (0, frame))
        finite = torch.isfinite(first).all(-1) & torch.isfinite(other).all(-1)
        if int(finite.sum()) < _LEAST_PAIRS:
            return np.full((4, 4), np.nan)
        fit = fit_similarity(other[finite], first[finite], with_scale=False)
        return fit.matrix.numpy()

    def _ask(
        self, clip: tuple[int, ...], uv: Float[np.ndarray, "q 2"], source: int, target: int, camera: int
    ) -> Answers:
        """Answers [1, q, ...] about points of one frame of a clip; times count its frames."""
        place = torch.from_numpy(uv).double().to(self._device)[None]
        times = (torch.full(place.shape[:2], time, device=self._device) for time in (source, target, camera))
        memory, queries = self._encoded(clip), Queries(place[..., 0], place[..., 1], *times)
        with torch.inference_mode():
            return Answers.join([self.model.decode(memory, part) for part in queries.split(PORTION)])

    def _encoded(self, clip: tuple[int, ...]) -> Memory:
        if self._current is None or self._current[0] != clip:
            self._current = None  # makes room first
            frames = self.frames[list(clip)][None].to(self._device).float() / 255
            ratio = torch.tensor([self.aspect_ratio], device=self._device)
            with torch.inference_mode():
                self._current = clip, self.model.encode(frames, ratio)
        return self._current[1]

    @property
    def _device(self) -> torch.device:
        return next(self.model.parameters()).device

    def _grid(self, side: int) -> Float64[np.ndarray, "q 2"]:
        """Row by row, from the centre of the network's first pixel to that of its last."""
        axes = [(np.linspace(0, 1, side) * (pixels - 1) + 0.5) / pixels for pixels in self.model.config.image_size]
        v, u = np.meshgrid(*axes, indexing="ij")
        return np.stack((u.ravel(), v.ravel()), -1)

    def _ends(self, uv: Float64[np.ndarray, "q 2"]) -> Float64[np.ndarray, "q 2"]:
        """Places as shares of the way from the first pixel's centre to the last one's."""
        size = np.array(self.model.config.image_size[::-1])
        return (uv * size - 0.5) / (size - 1)

    def _check(self, uv: np.ndarray, sources: np.ndarray) -> None:
        if uv.ndim != 2 or uv.shape[1] != 2 or sources.shape != uv.shape[:1]:
            raise InputError(
                f"Points {uv.shape} and their frames {sources.shape} do not belong together.",
                "Give uv [q, 2] and one frame per point.",
            )
        if len(sources) and not (sources.min() >= 0 and sources.max() < len(self)):
            raise InputError(f"A point begins in a frame beyond the {len(self)} of the video.", "Count from 0.")


def published_intrinsics(
    points: Float[Tensor, "n 3"], uv: Float[np.ndarray, "n 2"], size: tuple[int, int], *, shared: bool = True
) -> Float64[np.ndarray, "3 3"]:
    """Focal lengths as the medians of z |u - cx| / |x| and z |v - cy| / |y|; the principal point is the centre.

    Args:
        points: in a camera's frame. The recipe takes those of camera 0 for all frames, which is right for none else.
        uv: x / (W - 1), y / (H - 1) of the pixels in which they are seen.
        size: (height, width).
        shared: one focal length, the mean of both.
    """
    height, width = size
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    place, depth = points.double().cpu().numpy(), points[:, 2:].double().cpu().numpy()
    votes = depth * np.abs(uv * (2 * center) - center) / np.maximum(np.abs(place[:, :2]), _TINY)
    focal = np.array([np.median(axis[axis > _TINY]) if (axis > _TINY).any() else np.nan for axis in votes.T])
    focal = np.repeat(focal.mean(), 2) if shared else focal
    return np.array([[focal[0], 0, center[0]], [0, focal[1], center[1]], [0, 0, 1]])
