"""What is measured on films: networks that answer queries, networks for photos, and answers that need no network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from worldline.eval.dynamic.films import Film
from worldline.eval.dynamic.scores import Predicted
from worldline.eval.video.methods import HasRecipes, encoder, find_depth, find_tracks
from worldline.eval.video.stay import STAY, StayVideo
from worldline.scene.video.answers import AnswersQueries
from worldline.scene.video.cameras import estimate_cameras
from worldline.scene.video.dynamic import find_dynamic

if TYPE_CHECKING:
    from worldline.pipeline import Reconstructor


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
