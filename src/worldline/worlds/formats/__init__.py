"""Data sets on disk, in our own layout and in those of public data sets: a table from name to writer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from worldline.errors import InputError
from worldline.files import check_writable, make_folder, reporting
from worldline.worlds import sampling
from worldline.worlds.formats import colmap, nuscenes, ours, tapvid3d
from worldline.worlds.formats.plan import Format, Plan
from worldline.worlds.layouts import LAYOUTS

FORMATS: dict[str, Format] = {
    "ours": Format(
        "a folder per scene: photos, depth, cameras; masks, flow and LiDAR where time passes", ours.write, ours.paths,
        image_format="png",
    ),
    "nuscenes": Format(
        "drives of a rig: the v1.0 tables, images, LiDAR sweeps and boxes", nuscenes.write, nuscenes.paths,
        nuscenes.check, nuscenes.finish, size=(900, 1600), shooting="rig",
    ),
    "tapvid3d": Format(
        "an .npz per clip: JPEG frames, 3D tracks with visibility, cameras", tapvid3d.write, tapvid3d.paths,
        tapvid3d.check, shooting="video",
    ),
    "colmap": Format(
        "a folder per scene: images/ and sparse/0 with exact tracks of what stands still", colmap.write, colmap.paths,
        colmap.check,
    ),
}  # fmt: skip
SPLITS = {
    "train": sampling.TRAIN_SEEDS,
    "validation": sampling.VALIDATION_SEEDS,
    "test": sampling.TEST_SEEDS,
}
Progress = Callable[[int, int, str], None]


def write(
    layout: str, count: int, directory: Path | str, *, format: str = "ours", views: int = 8, height: int | None = None,
    width: int | None = None, split: str = "test", start: int = 0, image_format: str | None = None, flow: bool = False,
    tracks: int = 1024, device: str = "cpu", progress: Progress | None = None, **knobs: Any,
) -> list[Path]:  # fmt: skip
    """Write scenes named ``<layout>_<seed>`` and return the new paths, in order.

    A scene appears complete or not at all; one that exists is left alone (and not in the returned list), so that
    calling again goes on where a run was interrupted. The layouts of the files are described in docs/worlds.md and in
    the modules of this package.

    Args:
        layout: a name in ``LAYOUTS``.
        count: number of scenes.
        directory: made when absent.
        format: a name in :data:`FORMATS`.
        views: photos per scene; for a rig instants times cameras.
        height, width: of the photos; None: what is usual for the format, 224 x 224 or nuScenes' 900 x 1600.
        split: "train", "validation" or "test": the range that the seeds come from.
        start: first seed, counted from the beginning of the split.
        image_format: "png" or "jpg" (quality 92); None: png for ours, jpg for the others.
        flow: write optical flow between neighbouring photos (ours only).
        tracks: points per clip (tapvid3d) or reconstruction (colmap).
        progress: called with (scenes done, count, name of the scene) after every scene.
        knobs: further fields of :class:`worldline.worlds.WorldOptions`, e.g. ``shooting="video"``.

    Raises:
        InputError: unknown layout, format, split, image format or device, numbers out of their range, an option that
            this way of shooting has no use for, or a world that the format cannot hold; before anything is rendered.
        OutputError: the folder cannot be written.
    """
    layout = sampling.canonical_layout(layout)
    plan, seeds = _checked(count, start, split, format, height, width, image_format, device, flow, tracks, views)
    kind, root = FORMATS[format], Path(directory)
    if kind.shooting in LAYOUTS[layout].shooting:
        knobs.setdefault("shooting", kind.shooting)
    kind.check(sampling.describe(layout, seeds[0], views=views, **knobs))
    _check_use(str(knobs.get("shooting", LAYOUTS[layout].shooting[0])), knobs)
    check_writable(root)
    make_folder(root)
    written: list[Path] = []
    with reporting(root):
        for done, seed in enumerate(seeds, 1):
            name = f"{layout}_{seed:010d}"
            world = sampling.describe(layout, seed, views=views, **knobs)
            missing = [path for path in kind.paths(world, root, name) if not path.exists()]
            if missing:
                kind.write(world, root, name, plan)
                written += [path for path in missing if path.exists()]
            if progress is not None:
                progress(done, count, name)
        kind.finish(root)
    return written


def _check_use(shooting: str, knobs: dict[str, Any]) -> None:
    """An option that would change nothing is a misunderstanding."""
    idle = ("rate", "speed") if shooting == "photos" else ("overlap", "focal_per_view", "principal_offset")
    for name in idle:
        if name in knobs:
            kinds = "video, walk, orbit or rig" if shooting == "photos" else "photos"
            raise InputError(
                f"The option {name} changes nothing when the shooting is {shooting!r}.",
                f"Leave it away, or choose the shooting {kinds}.",
            )


def _checked(
    count: int, start: int, split: str, format: str, height: int | None, width: int | None, image_format: str | None,
    device: str, flow: bool, tracks: int, views: int,
) -> tuple[Plan, range]:  # fmt: skip
    if format not in FORMATS:
        raise InputError(f"Unknown format {format!r}.", f"Choose one of: {', '.join(FORMATS)}.")
    if split not in SPLITS:
        raise InputError(f"Unknown split {split!r}.", f"Choose one of: {', '.join(SPLITS)}.")
    image_format = image_format or FORMATS[format].image_format
    if image_format not in ("png", "jpg"):
        raise InputError(f"Unknown image format {image_format!r}.", "Choose png or jpg.")
    if image_format == "png" and format in ("nuscenes", "tapvid3d"):
        raise InputError(f"The images of {format} are JPEG files.", "Leave the image format away, or choose jpg.")
    sampling.canonical_device(device)
    if flow and format != "ours":
        raise InputError(f"The format {format} has no place for optical flow.", "Choose the format ours.")
    usual = FORMATS[format].size
    height, width = (own if own is not None else size for own, size in zip((height, width), usual, strict=True))
    least = {"count": 1, "views": 1, "height": 1, "width": 1, "start": 0, "tracks": 1}
    numbers = {"count": count, "views": views, "height": height, "width": width, "start": start, "tracks": tracks}
    for name, value in numbers.items():
        if value < least[name]:  # a negative count would be read as "all scenes but"
            raise InputError(f"The value of {name} is {value}.", f"It must be {least[name]} or more.")
    seeds = SPLITS[split][start : start + count]
    if len(seeds) < count:
        raise InputError(
            f"The split {split} has {len(SPLITS[split])} seeds, fewer than {start + count}.", "Ask for fewer scenes."
        )
    return Plan(height, width, image_format, device, flow, tracks), seeds
