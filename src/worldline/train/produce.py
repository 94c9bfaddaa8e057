"""Render worlds into training pools, in a process of its own: ``python -m worldline.train.data POOL``."""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from worldline.errors import InputError, NoPlaceError
from worldline.train.data import from_world, pool_files, save_scene

log = logging.getLogger(__name__)

Layouts = tuple[tuple[str, float], ...]  # names of worldline.worlds.LAYOUTS with their weights


def layout_of(seed: int, layouts: Layouts) -> str:
    """The kind of world that a seed shows: drawn by weight, always the same for a seed."""
    names, weights = zip(*layouts, strict=True)
    share = np.random.default_rng([9, seed]).random() * sum(weights)  # 9 separates this from other uses of the seed
    return str(names[min(int(np.searchsorted(np.cumsum(weights), share, side="right")), len(names) - 1)])


def produce(
    pool: Path,
    seeds: Iterable[int],
    *,
    layouts: Layouts = (("rooms", 1.0),),
    views: int = 8,
    size: int = 224,
    max_gigabytes: float = 10.0,
    device: str = "cpu",
    rig: bool = False,
    clips: bool = False,
) -> int:
    """Render the seeds that the pool does not have yet, until the size limit or until a file STOP appears in the pool.

    With ``rig`` the scenes are drives of a six-camera rig (:mod:`worldline.train.streams.drives`) instead of photos:
    ``size`` is then the height of 16:9 images, and the number of steps follows from the seed. With ``clips`` they are
    videos of ``views`` frames (:mod:`worldline.train.clips.clips`) for a square network input of that ``size``.

    Returns the number of scenes written.

    Raises:
        InputError: a device, a size or a number of views that no world can have, before anything is written.
    """
    from worldline import worlds
    from worldline.train.clips.clips import check_filmed, render_clip, save_clip
    from worldline.train.streams.drives import check_rigs, render_drive, save_drive, wide_shape
    from worldline.worlds.options import WorldOptions
    from worldline.worlds.sampling import canonical_device

    canonical_device(device)
    WorldOptions(views)
    if size < 1:
        raise InputError(f"Images of {size} pixels have no content.", "Ask for a size of 1 or more.")
    if rig:
        check_rigs(layouts)
    if clips:
        check_filmed(layouts)

    def render(layout: str, seed: int, path: Path) -> None:
        if rig:
            save_drive(render_drive(layout, seed, wide_shape(size), device), path)
        elif clips:
            save_clip(render_clip(layout, seed, frames=views, size=size, device=device), path)
        else:
            scene = worlds.sample(layout, seed, views=views, height=size, width=size, device=device)
            save_scene(from_world(scene), path)

    pool.mkdir(parents=True, exist_ok=True)
    used = sum(file.stat().st_size for file in pool_files(pool))
    written, started = 0, time.monotonic()
    for seed in seeds:
        layout = layout_of(seed, layouts)
        path = pool / f"{layout}-{seed:010d}.safetensors"
        if path.exists() or path.with_name(f"{layout}-{seed:09d}.safetensors").exists():
            continue
        if used > max_gigabytes * 1e9 or (pool / "STOP").exists():
            break
        try:
            render(layout, seed, path)
        except NoPlaceError as reason:  # a world without a place for the cameras
            log.info("left out seed %d: %s", seed, reason.cause)
            continue
        used += path.stat().st_size
        written += 1
        if written % 20 == 0:
            log.info("%d scenes, %.2f s each, %.2f GB", written, (time.monotonic() - started) / written, used / 1e9)
    return written


def parse_layouts(text: str) -> Layouts:
    """``"rooms=2,street"`` -> ``(("rooms", 2.0), ("street", 1.0))``, names checked.

    Raises:
        InputError: an unknown name, or a weight that is no number above zero.
    """
    from worldline.worlds.sampling import canonical_layout

    pairs: dict[str, float] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, _, weight = part.partition("=")
        try:
            pairs[canonical_layout(name.strip())] = float(weight or 1)
        except ValueError as error:
            raise InputError(f"{part!r} has no weight.", "Write layouts like rooms=2,objects=1.") from error
    if not pairs or not all(0 < weight < float("inf") for weight in pairs.values()):
        raise InputError(f"{text!r} names no layouts with weights above zero.", "Write them like rooms=2,objects=1.")
    return tuple(pairs.items())


def options_of_a_producer(description: str) -> argparse.ArgumentParser:
    """What a background producer can be told; :func:`produce_as_told` does it."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("pool", type=Path)
    parser.add_argument("--split", choices=("test", "train", "validation"), default="train")
    parser.add_argument("--layouts", default="rooms", help="kinds of worlds with weights, like rooms=2,objects=1")
    parser.add_argument("--start", type=int, default=0, help="first seed, counted from the start of the split")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--stride", type=int, default=1, help="several producers use the same stride, different starts")
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--rig", action="store_true", help="drives of a six-camera rig, for stream models")
    kinds.add_argument("--clips", action="store_true", help="videos with moving bodies, --views frames each, for D4RT")
    parser.add_argument("--max-gigabytes", type=float, default=10.0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="where to render")
    return parser


def produce_as_told(
    options: argparse.Namespace, pace: Callable[[Iterable[int]], Iterable[int]] = lambda seeds: seeds
) -> int:
    """Render what the options of :func:`options_of_a_producer` ask for; ``pace`` may rest between seeds or end them."""
    from worldline import worlds

    splits = {"train": worlds.TRAIN_SEEDS, "validation": worlds.VALIDATION_SEEDS, "test": worlds.TEST_SEEDS}
    torch.set_num_threads(options.threads)
    return produce(
        options.pool,
        pace(splits[options.split][options.start :: options.stride][: options.count]),
        layouts=parse_layouts(options.layouts),
        views=options.views,
        size=options.size,
        max_gigabytes=options.max_gigabytes,
        device=options.device,
        rig=options.rig,
        clips=options.clips,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command of the background producer; mistakes end it with their cause and remedy and status 2."""
    parser = options_of_a_producer("Render procedural scenes into a training pool.")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    for name, least in (("start", 0), ("count", 1), ("stride", 1), ("threads", 1)):
        if getattr(options, name) < least:  # a negative one would count from the end of the split
            parser.error(f"--{name} is {getattr(options, name)}. It must be {least} or more.")
    try:
        produce_as_told(options)
    except InputError as error:
        parser.error(f"{error.cause} {error.remedy}")
