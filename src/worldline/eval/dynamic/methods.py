"""What is measured on films: networks that answer queries, networks for photos, and answers that need no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from worldline.eval.dynamic.films import Film
from worldline.eval.dynamic.scores import Predicted
from worldline.eval.video.methods import HasRecipes, encoder, find_depth, find_tracks
from worldline.scene.video.answers import AnswersQueries, VideoAnswers
from worldline.scene.video.asking import checked_queries
from worldline.scene.video.cameras import estimate_cameras
from worldline.scene.video.dynamic import find_dynamic
from worldline.scene.video.intrinsics import FALLBACK_VIEW

if TYPE_CHECKING:
    from worldline.pipeline import Reconstructor

STAY = "stay"


@dataclass(frozen=True)
class Asked:
    """What methods are asked for."""

    depth: tuple[int, int] | None = (45, 60)  # cells, odd divisors of the frame's size; None: nothing
    masks: tuple[int, int] | None = (27, 36)
    mask_step: int = 4  # every so-manieth frame gets a mask
    cameras: bool = True
    world: bool = True  # tracks also in the camera of the first frame


@dataclass(frozen=True)
class FilmMethod:
    """A way to understand films, under the name that reports show."""

    name: str
    predict: Callable[[Film, Asked], Predicted]
    about: Mapping[str, object] = field(default_factory=dict)
    answers: bool = True  # answers queries, so that it has tracks and masks


def query_method(model: Reconstructor, name: str) -> FilmMethod:
    """A network that answers queries, e.g. ``d4rt-mini``; longer films go through it in windows.

    Raises:
        InputError: it does not answer queries.
    """
    from worldline.eval.methods import identity

    encode = encoder(model)
    return FilmMethod(name, lambda film, asked: predict(encode(film.images), film, asked), identity(model))


def stay_method() -> FilmMethod:
    """Nothing moves in the image, everything is equally far, the lens has its usual angle."""
    return FilmMethod(STAY, lambda film, asked: predict(StayVideo(len(film), film.images.shape[1:3]), film, asked))


def photo_method(model: Reconstructor, name: str) -> FilmMethod:
    """A network for photos of scenes at rest, given all frames at once: depth and cameras, no tracks.

    It sees the central square of the frames; depth elsewhere does not count.
    """
    from worldline.eval.methods import identity

    def run(film: Film, asked: Asked) -> Predicted:
        scene = model.reconstruct(film.images)
        poses = np.stack([view.camera.world_from_cam for view in scene.views]).astype(np.float64)
        poses[[view.pose_status == "failed" for view in scene.views]] = np.nan
        focal = float(np.median([view.camera.intrinsics[0, 0] for view in scene.views]))
        depth = None if asked.depth is None else _photo_depth(scene, asked.depth)
        return Predicted(depth=depth, world_from_cam=poses, focal=focal)

    return FilmMethod(name, run, identity(model), answers=False)


def predict(video: AnswersQueries, film: Film, asked: Asked = Asked()) -> Predicted:
    """Everything that is measured, from a video that answers queries."""
    height, width = film.images.shape[1:3]
    starts = (film.queries[:, :2] + 0.5) / (width, height)
    depth = None if asked.depth is None else np.nan_to_num(find_depth(video, asked.depth))
    tracks = find_tracks(video, np.column_stack([starts, film.queries[:, 2]]), world=asked.world)
    poses, focal, mask, frames = None, None, None, np.arange(asked.mask_step // 2, len(film), asked.mask_step)
    if asked.cameras:
        cameras = video.cameras() if isinstance(video, HasRecipes) else estimate_cameras(video)
        poses, focal = cameras.world_from_cam, float(np.median(cameras.intrinsics[:, 0, 0]))
    if asked.masks is not None:
        mask = find_dynamic(video, frames=frames.tolist(), size=asked.masks).mask
    return Predicted(depth, tracks, poses, focal, mask, frames)


class StayVideo:
    """A video about which nothing is known (an ``AnswersQueries``): every pixel stays in its place, one unit away."""

    def __init__(self, frame_count: int, original_size: tuple[int, ...]) -> None:
        self.frame_count = frame_count
        self.original_size = (int(original_size[0]), int(original_size[1]))

    def query(self, u: Any, v: Any, t_src: Any, t_tgt: Any, t_cam: Any) -> VideoAnswers:
        """The same for all times."""
        parts, shape = checked_queries(u, v, t_src, t_tgt, t_cam, self.frame_count)
        uv = np.stack(parts[:2], -1).astype(np.float64)
        height, width = self.original_size
        focal = 0.5 * max(height, width) / np.tan(FALLBACK_VIEW / 2)
        slope = (uv - 0.5) * (width, height) / focal
        points = np.concatenate([slope, np.ones_like(slope[:, :1])], 1).astype(np.float32)
        ahead = np.broadcast_to(np.array([0, 0, -1], np.float32), points.shape)
        sure = np.ones(len(points), np.float32)
        each = (points, uv.astype(np.float32), sure, np.zeros_like(points), ahead, sure)
        return VideoAnswers(*(values.reshape((*shape, *values.shape[1:])) for values in each))


def _photo_depth(scene: Any, size: tuple[int, int]) -> np.ndarray:
    """Depth of a reconstruction at the centres of cells of the original frames, NaN outside of what it saw."""
    maps = []
    for view in scene.views:
        pairs = zip(size, view.transform.original_size, strict=True)
        rows, columns = (((np.arange(n) + 0.5) / n * full).astype(int) for n, full in pairs)
        pixels = np.stack(np.meshgrid(columns, rows), -1).reshape(-1, 2).astype(np.float64)
        x, y = np.rint(view.transform.to_model(pixels)).astype(int).T
        inside = (x >= 0) & (y >= 0) & (x < view.depth.shape[1]) & (y < view.depth.shape[0])
        found = np.full(len(x), np.nan)
        found[inside] = np.nan_to_num(view.depth[y[inside], x[inside]])
        maps.append(found.reshape(size))
    return np.stack(maps)
