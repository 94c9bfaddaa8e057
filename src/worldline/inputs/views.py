"""Photos or a video -> :class:`worldline.types.Views`: fixed-size RGB images with the way back to each file."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from worldline.errors import InputError, MissingExtraError
from worldline.inputs.decode import MAX_PIXELS, BadImageError, read_fitted
from worldline.inputs.fit import check_fit
from worldline.inputs.known import known_intrinsics, known_names, known_poses
from worldline.inputs.notes import describe_views
from worldline.inputs.sources import RAW_SUFFIXES, VIDEO_SUFFIXES, Entry, Found, find_source
from worldline.types import View, Views

if TYPE_CHECKING:
    from torch import Tensor


def load_views(
    source: Any,
    *,
    size: int = 224,
    fit: str = "crop",
    max_views: int | None = None,
    fps: float | None = None,
    skip_bad: bool = False,
    max_pixels: int = MAX_PIXELS,
    names: Sequence[str] | None = None,
    intrinsics: Any = None,
    poses: Any = None,
) -> Views:
    """Read photos or a video for a network of the DUSt3R family, in input order.

    Args:
        source: folder (natural sort order), glob, zip, video, file, list of files, list of arrays or PIL images, or an
            array ``[V, H, W, 3]`` or ``[V, H, W]`` (grey), uint8 or floating point in [0, 1].
        size: model resolution in pixels; 224 means the square crop, other sizes the long side (published rules).
        fit: ``"crop"`` (published rules), ``"square"`` (the central square at any size) or ``"pad"`` (the whole photo
            inside ``size`` x ``size``).
        max_views: at most this many, spread evenly over the photos or over the time of a video (12 for a video).
        fps: video only: views per second.
        skip_bad: record unreadable files in ``Views.skipped`` and go on without them.
        max_pixels: larger images are refused before they are decoded.
        names: unique names of the views; by default those of the files.
        intrinsics: known ``[3, 3]``, ``[V, 3, 3]`` or a list with None, in pixels of the photo as shown.
        poses: known ``world_from_cam``, ``[V, 4, 4]`` or a list with None. V counts the photos found,
            bad ones included, before ``max_views``; for a video the views taken.

    Raises:
        InputError: nothing usable; all bad files are named at once.
        MissingExtraError: HEIC photos without the extra that reads them.
    """
    _check_options(size, fit, max_views, fps, max_pixels)
    found = find_source(source)
    if found.video is not None:
        views = _from_video(found.video, size, fit, max_views, fps, skip_bad, max_pixels)
        views = _with_known(views, names, intrinsics, poses)
    else:
        views = _from_photos(found, size, fit, max_views, skip_bad, max_pixels, names, intrinsics, poses)
        if fps is not None:
            views = replace(views, notes=(*views.notes, "fps has no effect on photos."))
    _check_shared_intrinsics(views, intrinsics)
    return replace(views, notes=(*views.notes, *describe_views(views.views)))


def require_views(views: Views, minimum: int = 2) -> None:
    """Raise InputError unless there are at least ``minimum`` views, with what to do about it."""
    if len(views) >= minimum:
        return
    have = "There is only one view" if len(views) == 1 else f"There are only {len(views)} views"
    remedy = "Take further photos of the same scene from other places, so that they overlap, and give them all."
    if len(views) == 1 and views.skipped:
        remedy = f"Repair the {len(views.skipped)} skipped, or add other photos of the same scene."
    raise InputError(f"{have}, and multi-view reconstruction needs at least {minimum}.", remedy)


def stack(views: Views | Sequence[View]) -> Float32[Tensor, "1 view 3 height width"]:
    """Network input: RGB from 0..255 to [-1, 1], channels first, one batch.

    Raises:
        InputError: no views, or views of different model sizes.
    """
    import torch

    images = [view.image for view in views]
    sizes = sorted({image.shape[:2] for image in images})
    if len(sizes) != 1:
        raise InputError(
            f"{len(images)} views of {len(sizes)} different shapes cannot be stacked"
            + (f": {', '.join(f'{width}x{height}' for height, width in sizes)}." if sizes else "."),
            "Use size 224, fit='square' or fit='pad', which give all views one shape, or a pairwise model.",
        )
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return ((pixels - 0.5) / 0.5)[None].contiguous()


def _check_options(size: int, fit: str, max_views: int | None, fps: float | None, max_pixels: int) -> None:
    check_fit(size, fit)
    if max_views is not None and max_views < 1:
        raise InputError(f"max_views is {max_views}.", "It must be at least 1.")
    if fps is not None and not fps > 0:
        raise InputError(f"fps is {fps}.", "It must be more than 0 views per second.")
    if max_pixels < 1:
        raise InputError(f"max_pixels is {max_pixels}.", "It must be at least 1.")


@dataclass(frozen=True)
class _Job:
    """One photo with what is known about it."""

    entry: Entry
    name: str | None
    intrinsics: np.ndarray | None
    pose: np.ndarray | None


def _from_photos(
    found: Found,
    size: int,
    fit: str,
    max_views: int | None,
    skip_bad: bool,
    max_pixels: int,
    names: Sequence[str] | None,
    intrinsics: Any,
    poses: Any,
) -> Views:
    count = len(found.entries)
    known = zip(known_names(names, count), known_intrinsics(intrinsics, count), known_poses(poses, count), strict=True)
    jobs = [_Job(entry, *each) for entry, each in zip(found.entries, known, strict=True)]
    notes = list(found.notes)
    if max_views is not None and count > max_views:
        jobs = [jobs[index] for index in _evenly(count, max_views)]
        notes.append(f"{max_views} of {count} photos are used, spread evenly over them.")
    views: list[View] = []
    bad: list[tuple[str, BadImageError]] = []
    seen: set[Path] = set()
    for job in jobs:
        try:
            views.append(_read(job, size, fit, max_pixels, seen))
        except BadImageError as error:
            bad.append((job.entry.label, error))
    skipped = tuple(f"{label}: {error.reason}" for label, error in bad)
    if bad and (not skip_bad or not views):
        raise _all_bad_files(bad, len(jobs))
    renamed, name_notes = _unique_names(views)
    return Views(tuple(renamed), skipped, (*notes, *name_notes, *_same_pictures(renamed)))


def _read(job: _Job, size: int, fit: str, max_pixels: int, seen: set[Path]) -> View:
    entry = job.entry
    if isinstance(entry.item, Path):
        _check_file(entry.item, seen)
    try:
        opened = entry.open()
    except InputError as error:  # an array that is no image
        raise BadImageError(f"cannot be used ({error.cause.rstrip('.')})") from error
    image, transform = read_fitted(opened, size, fit, max_pixels)
    return View(
        job.name or entry.name, image, transform, entry.source, intrinsics=job.intrinsics, world_from_cam=job.pose
    )


def _check_file(path: Path, seen: set[Path]) -> None:
    real = path.resolve()
    if real in seen:
        raise BadImageError("is given twice")
    seen.add(real)
    if not path.exists():
        raise BadImageError("does not exist")
    if path.is_dir():
        raise BadImageError("is a folder (give one folder alone, or files)")
    if path.suffix.lower() in VIDEO_SUFFIXES:
        raise BadImageError("is a video (give one video alone, or photos)")
    if path.suffix.lower() in RAW_SUFFIXES:
        raise BadImageError("is a camera raw file (convert it to JPEG or PNG first)")


def _all_bad_files(bad: list[tuple[str, BadImageError]], total: int) -> InputError | MissingExtraError:
    extras = {error.extra for _, error in bad}
    if len(extras) == 1 and (extra := extras.pop()) is not None:
        files = ", ".join(label for label, _ in bad)
        return MissingExtraError(f"Reading HEIC photos ({files})", extra)
    described = "; ".join(f"{label} {error.reason}" for label, error in bad)
    if total == 1:
        return InputError(
            f"The photo cannot be used: {described}.", "Give another photo, or export this one again as JPEG."
        )
    if len(bad) == total:
        return InputError(
            f"None of the {total} photos can be used: {described}.", "Give other photos, or copy them again."
        )
    return InputError(
        f"{len(bad)} of {total} photos cannot be used: {described}.",
        "Repair or remove them, or go on without them: --skip-bad (skip_bad=True).",
    )


def _evenly(count: int, wanted: int) -> list[int]:
    """``wanted`` indices of ``count``, first and last included where there are at least two."""
    return [0] if wanted == 1 else [round(index * (count - 1) / (wanted - 1)) for index in range(wanted)]


def _unique_names(views: list[View]) -> tuple[list[View], list[str]]:
    """Names that differ even where case is ignored: the folder's name goes in front, then a number behind."""
    taken = Counter(view.name.casefold() for view in views)
    collisions = [name for name, times in taken.items() if times > 1]
    if not collisions:
        return views, []
    used = {name for name, times in taken.items() if times == 1}
    renamed = []
    for view in views:
        name = view.name
        if name.casefold() in collisions:
            folder = view.source.parent.name if view.source is not None else ""
            stem, suffix = (f"{folder}_" if folder else "") + Path(name).stem, Path(name).suffix
            name, number = stem + suffix, 2
            while name.casefold() in used:
                name, number = f"{stem}_{number}{suffix}", number + 1
            used.add(name.casefold())
        renamed.append(replace(view, name=name))
    example = next(view.name for view, old in zip(renamed, views, strict=True) if view.name != old.name)
    return renamed, [f"Several photos have the same file name; they were given longer names such as {example}."]


def _same_pictures(views: Sequence[View]) -> list[str]:
    groups: dict[bytes, list[str]] = {}
    for view in views:
        groups.setdefault(hashlib.sha256(view.image.tobytes()).digest(), []).append(view.name)
    same = [names for names in groups.values() if len(names) > 1]
    return [f"These show exactly the same picture, which adds nothing: {', '.join(names)}." for names in same]


def _from_video(
    path: Path, size: int, fit: str, max_views: int | None, fps: float | None, skip_bad: bool, max_pixels: int
) -> Views:
    from worldline.inputs.video import read_video

    found = read_video(path, size=size, fit=fit, max_views=max_views, fps=fps, skip_bad=skip_bad, max_pixels=max_pixels)
    return Views(found.views, found.skipped, found.notes)


def _with_known(views: Views, names: Sequence[str] | None, intrinsics: Any, poses: Any) -> Views:
    count = len(views)
    known = zip(known_names(names, count), known_intrinsics(intrinsics, count), known_poses(poses, count), strict=True)
    return replace(
        views,
        views=tuple(
            replace(view, name=name or view.name, intrinsics=matrix, world_from_cam=pose)
            for view, (name, matrix, pose) in zip(views, known, strict=True)
        ),
    )


def _check_shared_intrinsics(views: Views, intrinsics: Any) -> None:
    sizes = {view.transform.original_size for view in views}
    if intrinsics is not None and len(sizes) > 1 and np.shape(_first_row(intrinsics)) == (3,):
        raise InputError(
            f"One intrinsics matrix cannot belong to photos of {len(sizes)} different sizes.",
            "Give one matrix for each photo, with None where nothing is known.",
        )


def _first_row(intrinsics: Any) -> Any:
    """A row of numbers if ``intrinsics`` is one matrix, else a matrix or None."""
    return intrinsics[0]
