"""How fast procedural worlds are rendered on this machine: rays per second by number of solids, seconds per sample."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from worldline import worlds
from worldline.errors import InputError
from worldline.worlds.rendering.cast import cast
from worldline.worlds.rendering.kernels import EAGER, Kernels, compiled
from worldline.worlds.rendering.trace import Stage, aims, see
from worldline.worlds.rendering.views import Tiling, intrinsics
from worldline.worlds.world import World, choose_rows

_GAP = 0.3  # metres between the copies of a scene


def measure_worlds(
    *, layout: str = "rooms", counts: Sequence[int] = (30, 100, 300, 1000), device: str = "cpu", threads: int = 2,
    repeats: int = 5, scenes: int = 2, views: int = 4, size: int = 224, compile: bool = False,
    report: Callable[[dict[str, object]], None] = lambda record: None,
) -> list[dict[str, object]]:  # fmt: skip
    """Primary rays, rays shaded under one light with one shadow ray, and whole photos, for scenes of given sizes.

    Args:
        layout: a name in ``LAYOUTS``; its test seeds are used.
        counts: numbers of solids. Solids are left out at random, or repeated beside the scene, to reach them.
        device: where to render.
        threads: of the processor.
        repeats: runs of which the median counts, after one to warm up.
        scenes: worlds per batch.
        views: photos per world.
        size: of the square photos, pixels.
        compile: use compiled steps, see ``worldline.worlds.render``.
        report: called with each record as soon as it is there.

    Returns:
        One record per count: solids, millions of rays per second of wall time, and of process time (which other
        programs on the machine do not lengthen; on several threads it adds up all of them), seconds per world.
    """
    if device != "cpu" and not torch.cuda.is_available():
        raise InputError(f"There is no device {device!r} here.", "Use --device cpu.")
    kernels, target = compiled() if compile else EAGER, torch.device(device)
    drawn = [worlds.describe(layout, seed, views=views) for seed in worlds.TEST_SEEDS[:scenes]]
    records = []
    with _threads(threads), torch.no_grad():
        for count in counts:
            record = _measure([_one_light(resized(w.at(0), count)) for w in drawn], size, target, kernels, repeats)
            records.append({"solids": count} | record)
            report(records[-1])
    return records


def _measure(
    described: Sequence[World], size: int, device: torch.device, kernels: Kernels, repeats: int
) -> dict[str, object]:
    stage, tiling = Stage(described, device, kernels), Tiling(len(described), described[0].views, size, size)
    matrices, poses = (
        torch.as_tensor(np.concatenate(values), device=device)
        for values in (
            [intrinsics(w.cameras, size, size) for w in described],
            [w.cameras.world_from_cam for w in described],
        )
    )
    packets, length, focal = tiling.packets(matrices, poses)
    aim = aims(tiling, device)

    def shaded() -> Tensor:
        hits = stage.strike(packets)
        return stage.shade(hits, stage.shadows(packets, hits, aim), length, focal)

    rays = tiling.scenes * tiling.views * size * size / 1e6
    primary = _seconds(lambda: cast(stage.tables, packets, kernels.visit), device, repeats)
    light = _seconds(shaded, device, repeats)
    whole = _seconds(lambda: see(described, size, size, device, kernels), device, repeats)
    return {
        "primary M/s": round(rays / primary[0], 2), "by process time": round(rays / primary[1], 2),
        "shaded M/s": round(rays / light[0], 2), "shaded by process time": round(rays / light[1], 2),
        "s per world": round(whole[0] / len(described), 3),
        "process s per world": round(whole[1] / len(described), 3),
    }  # fmt: skip


def _seconds(work: Callable[[], object], device: torch.device, repeats: int) -> tuple[float, float]:
    """Median wall and process time of a run, after one to warm up (and to compile)."""
    work()
    wall, process = [], []
    for _ in range(repeats):
        started, used = time.perf_counter(), time.process_time()
        work()
        if device.type != "cpu":
            torch.cuda.synchronize()
        wall.append(time.perf_counter() - started)
        process.append(time.process_time() - used)
    return float(np.median(wall)), float(np.median(process))


def resized(world: World, count: int) -> World:
    """The same scene with a random choice of its solids, or with copies of them beside it, ``count`` in all."""
    solids = world.primitives
    have = len(solids.kind)
    order = np.random.default_rng(0).permutation(have)
    copies = -(-count // have)
    if copies == 1:
        return replace(world, primitives=choose_rows(solids, order[:count]))
    side = int(np.ceil(np.sqrt(copies)))
    pitch = (world.room_high - world.room_low)[:2].max() + _GAP
    shift = np.zeros((copies, have, 3))
    shift[:, :, :2] = (pitch * np.stack(np.divmod(np.arange(copies), side), -1))[:, None]
    grown = choose_rows(solids, np.tile(np.arange(have), copies)[:count])
    grown = replace(grown, center=grown.center + shift.reshape(-1, 3)[:count])
    edge = np.array([pitch * side, pitch * side, 0.0])
    return replace(world, primitives=grown, room_high=world.room_high + edge)


def _one_light(world: World) -> World:
    lights = ("light_position", "light_color", "light_axis", "light_focus", "light_radius")
    return replace(world, **{name: getattr(world, name)[:1] for name in lights})


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
