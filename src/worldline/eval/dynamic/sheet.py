"""A picture of films: frames, true and found depth, true and found tracks of one film per band."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64, UInt8
from PIL import Image, ImageDraw

from worldline.eval.dynamic.films import Film
from worldline.eval.dynamic.scores import Predicted, at_centers
from worldline.outputs.drawing import UNKNOWN, Scale, colorize, heading, mark, paint, save_picture

_GAP = 6  # pixels
_SHOWN = 40  # tracks
_ENLARGED = 2  # tracks are drawn on an image that many times as large as the frame
_TITLES = ("frame", "true depth", "found depth", "true tracks", "found tracks", "what moves")


def write_sheet(bands: Sequence[tuple[Film, Predicted]], path: Path, *, quality: int = 84) -> Path:
    """Draw some films with what one method said about them.

    Raises:
        OutputError: the file cannot be written.
    """
    picture = np.concatenate([draw_band(film, found) for film, found in bands], 0)
    return save_picture(picture, path, quality=quality)


def draw_band(film: Film, found: Predicted) -> UInt8[np.ndarray, "height width 3"]:
    """Two frames of a film, one below the other.

    Depth is coloured by its logarithm between the 2nd and the 98th percentile of the true one, the found depth with
    one factor per video. Tracks are drawn on the frame from the start of the film up to it, hidden points as rings.
    """
    last = len(film) - 1
    rows = [_row(film, found, frame) for frame in (last // 3, last)]
    width = film.images.shape[2] * _ENLARGED
    above = heading(
        f"seed {film.spec.seed}; what moves: found in pink, true outlined", rows[0].shape[1], depth=_colors(film)
    )
    titles = np.concatenate([heading(text, width) for text in _TITLES], 1)
    gap = np.full((_GAP, rows[0].shape[1], 3), 255, np.uint8)
    return np.concatenate([above, titles, *rows, gap], 0)


def _row(film: Film, found: Predicted, frame: int) -> UInt8[np.ndarray, "h w 3"]:
    image = _large(film.images[frame])
    tiles = [image, _true_depth(film, frame), _found_depth(film, found, frame)]
    starts = film.queries[:, 2]
    chosen = _spread(film.visible & (starts <= frame))
    tiles.append(_tracks(image, film.pixels[:, chosen], film.visible[:, chosen], chosen, frame))
    if found.tracks is None:
        tiles.append(image // 2)
    else:
        height, width = film.images.shape[1:3]
        pixels = found.tracks.uv[:, chosen] * (width, height) - 0.5
        tiles.append(_tracks(image, pixels, found.tracks.visible[:, chosen], chosen, frame))
    tiles.append(_moving(film, found, frame))
    return np.concatenate(tiles, 1)


def _large(image: UInt8[np.ndarray, "h w 3"]) -> UInt8[np.ndarray, "height width 3"]:
    return image.repeat(_ENLARGED, 0).repeat(_ENLARGED, 1)


def _colors(film: Film) -> Scale:
    return Scale.around(film.depth[film.depth > 0], log=True)


def _true_depth(film: Film, frame: int) -> UInt8[np.ndarray, "h w 3"]:
    depth = film.depth[frame]
    return _large(paint(depth, depth > 0, _colors(film), "near"))


def _found_depth(film: Film, found: Predicted, frame: int) -> UInt8[np.ndarray, "h w 3"]:
    size = film.images.shape[2] * _ENLARGED, film.images.shape[1] * _ENLARGED
    if found.depth is None:
        return np.full((size[1], size[0], 3), UNKNOWN, np.uint8)
    true = at_centers(film.depth, found.depth.shape[1:])
    known = (true > 0) & (found.depth > 0)
    factor = float(np.median(true[known]) / np.median(found.depth[known])) if known.any() else 1.0
    painted = paint(factor * found.depth[frame], found.depth[frame] > 0, _colors(film), "near")
    return np.asarray(Image.fromarray(painted).resize(size, Image.Resampling.NEAREST))


def _spread(visible: Bool[np.ndarray, "t n"]) -> Int64[np.ndarray, "m"]:
    """Some tracks, in the order of the film's; those that are seen for long."""
    long = np.argsort(-visible.sum(0), kind="stable")[: 2 * _SHOWN : 2]
    return np.sort(long)


def _tracks(
    image: UInt8[np.ndarray, "h w 3"], pixels: Float64[np.ndarray, "t n 2"], visible: Bool[np.ndarray, "t n"],
    names: Int64[np.ndarray, "n"], frame: int,
) -> UInt8[np.ndarray, "h w 3"]:  # fmt: skip
    """Ways up to a frame, and where the points are in it; a track has the same colour in both pictures."""
    picture = Image.fromarray((image * 0.55).astype(np.uint8))
    pen = ImageDraw.Draw(picture)
    colors = colorize((np.argsort(np.argsort(names * 7919 % 1009)) / max(1, len(names) - 1))[None])[0]
    limit = 4.0 * max(picture.size)
    places = np.clip(np.nan_to_num((pixels + 0.5) * _ENLARGED, nan=-limit), -limit, limit)
    for track, color in enumerate(map(tuple, colors.tolist())):
        seen = np.flatnonzero(visible[: frame + 1, track])
        way = [tuple(point) for point in places[seen, track].tolist()]
        if len(way) > 1:
            pen.line(way, fill=color, width=2)
        x, y = places[frame, track].tolist()
        box = (x - 3, y - 3, x + 3, y + 3)
        pen.ellipse(box, fill=color if visible[frame, track] else None, outline=color)
    return np.asarray(picture)


def _moving(film: Film, found: Predicted, frame: int) -> UInt8[np.ndarray, "h w 3"]:
    """The mask of the nearest frame that has one."""
    from scipy.ndimage import binary_dilation

    if found.mask is None or found.mask_frames is None or not len(found.mask_frames):
        return _large(film.images[frame]) // 2
    number = int(np.abs(found.mask_frames - frame).argmin())
    frame = int(found.mask_frames[number])
    size = film.images.shape[2] * _ENLARGED, film.images.shape[1] * _ENLARGED
    mask = np.asarray(Image.fromarray(found.mask[number]).resize(size, Image.Resampling.NEAREST))
    shown = mark(_large(film.images[frame]), mask)
    true = (film.shift[frame] >= 0.01).repeat(_ENLARGED, 0).repeat(_ENLARGED, 1)
    shown[binary_dilation(true, iterations=_ENLARGED) & ~true] = 255
    return shown
