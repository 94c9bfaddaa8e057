"""Rendered pictures as files: stills and films, by the ending of their name, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from worldline.errors import InputError, OutputError
from worldline.files import check_writable, replacing_file, reporting
from worldline.inputs.originals import read_original
from worldline.outputs import film_file
from worldline.outputs.render.paths import CameraPath
from worldline.outputs.render.picture import Background, Picture, background_color
from worldline.scene import Scene, SceneView

STILLS = (".png", ".jpg", ".jpeg")
FILMS = film_file.ENDINGS


@dataclass(frozen=True)
class Film:
    """What was written."""

    path: Path
    frames: int
    fps: float
    size: tuple[int, int]  # height, width
    codec: str


def is_film(path: str | Path) -> bool:
    """Whether a file of this name is a film; checks that it can be written, before any work.

    Raises:
        InputError: an ending that is neither a picture's nor a film's, or a folder that does not exist.
        OutputError: no permission, or a folder of that name.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in (*STILLS, *FILMS):
        raise InputError(
            f"{path.name or path} is neither a film nor a picture by its ending.",
            f"Films: {', '.join(FILMS)}. Pictures: {', '.join(STILLS)}.",
        )
    if not path.absolute().parent.is_dir():
        raise InputError(f"The folder {path.absolute().parent} does not exist.", "Make it, or choose another one.")
    if path.is_dir():
        raise OutputError(f"{path} is a folder.", "Choose another name for the file.")
    check_writable(path.absolute().parent)
    return ending in FILMS


def write_still(picture: Picture | UInt8[np.ndarray, "height width 3"], path: str | Path) -> Path:
    """Write a picture as PNG or JPEG.

    Raises:
        InputError: another ending, or a folder that does not exist.
        OutputError: the file cannot be written.
    """
    from PIL import Image

    path = Path(path)
    if is_film(path):
        raise InputError(f"{path.name} is not the name of a picture.", f"Choose one of {', '.join(STILLS)}.")
    pixels = picture.color if isinstance(picture, Picture) else picture
    options: dict[str, Any] = {} if path.suffix.lower() == ".png" else {"quality": 93, "subsampling": 0}
    with reporting(path), replacing_file(path) as temporary:
        Image.fromarray(pixels).save(temporary, **options)
    return path


def write_film(
    pictures: Iterable[Picture | UInt8[np.ndarray, "height width 3"]], path: str | Path, *, fps: float = 24.0,
    progress: Callable[[], None] | None = None,
) -> Film:  # fmt: skip
    """Write pictures as a film; one is in memory at a time, except for animations (GIF, WebP).

    An odd row or column at the end is left out of an MP4, since codecs want even sizes.

    Args:
        fps: pictures per second.
        progress: called after every frame.

    Raises:
        InputError: another ending, no pictures, or pictures of different sizes.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    if not is_film(path):
        raise InputError(f"{path.name} is not the name of a film.", f"Choose one of {', '.join(FILMS)}.")
    if not 0 < fps <= 1000:
        raise InputError(f"{fps} frames per second were asked for.", "Ask for more than 0, and at most 1000.")
    count, size = 0, (0, 0)
    with reporting(path), replacing_file(path) as temporary:
        with film_file.open_film(temporary) as film:
            for picture in pictures:
                pixels = picture.color if isinstance(picture, Picture) else picture
                if isinstance(film, film_file.FilmFile):
                    pixels = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
                if count and pixels.shape[:2] != size:
                    raise InputError("The pictures of a film have different sizes.", "Render them all at one size.")
                size = pixels.shape[0], pixels.shape[1]
                film.add(pixels, count / fps)
                count += 1
                if progress is not None:
                    progress()
        if not count:
            raise InputError("The film has no frames.", "Choose a path with cameras.")
    return Film(path, count, fps, size, film.codec)


def beside_photos(
    pictures: Iterable[Picture], path: CameraPath, scene: Scene, background: Background = "white"
) -> Iterable[UInt8[np.ndarray, "height width 3"]]:
    """The photo on the left of each picture, at the same scale: every pixel of one shows the same as in the other.

    Raises:
        InputError: the path does not go through the photos.
    """
    if path.views is None:
        raise InputError("Photos stand only beside pictures from their own cameras.", "Choose --path cameras.")
    behind = np.rint(255 * np.asarray(background_color(background))).astype(np.uint8)
    numbers: Sequence[int] = path.views
    return (
        np.concatenate([_framed(scene.views[number], picture, behind), picture.color], axis=1)
        for number, picture in zip(numbers, pictures, strict=True)
    )


def _framed(view: SceneView, picture: Picture, behind: UInt8[np.ndarray, "3"]) -> UInt8[np.ndarray, "height width 3"]:
    """The photo as large as it fits, in the middle of a frame: just what ``paths.fitted`` does to its camera."""
    from PIL import Image

    photo, (height, width) = _photo(view), picture.color.shape[:2]
    own_height, own_width = view.transform.original_size
    scale = min(height / own_height, width / own_width)
    inner = max(1, round(scale * own_height)), max(1, round(scale * own_width))
    frame = np.tile(behind, (height, width, 1))
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    resized = Image.fromarray(photo).resize(inner[::-1], Image.Resampling.LANCZOS)
    frame[top : top + inner[0], left : left + inner[1]] = np.asarray(resized)
    return frame


def _photo(view: SceneView) -> UInt8[np.ndarray, "height width 3"]:
    """The photo as shown; where it is gone, what the network saw of it, in its place."""
    from PIL import Image

    size = view.transform.original_size
    if view.source is not None:
        try:
            photo = read_original(view.source, view.timestamp)
        except (InputError, OSError):
            photo = None
        if photo is not None and photo.shape[:2] == size:
            return photo
    affine = view.transform.model_from_original
    sampled = Image.fromarray(view.image).transform(
        size[::-1], Image.Transform.AFFINE,
        # PIL maps corners of pixels, we map centres
        tuple(np.ravel(np.column_stack([affine[:2, :2], affine[:2, 2] + 0.5 - 0.5 * affine[:2, :2].sum(1)]))),
        Image.Resampling.BILINEAR,
    )  # fmt: skip
    return np.asarray(sampled)
