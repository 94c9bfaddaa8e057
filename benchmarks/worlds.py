"""Speed of the procedural worlds on this machine.

Run: python benchmarks/worlds.py [--threads 1] [--device cpu]
Prints primary rays/s at 30 primitives and in furnished rooms, fully shaded rays/s, and seconds per sample.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from worldline import worlds
from worldline.worlds.rendering import cast as casting
from worldline.worlds.rendering.trace import Stage
from worldline.worlds.rendering.views import Tiling, intrinsics
from worldline.worlds.world import Primitives, World


def with_primitives(world: World, count: int) -> World:
    """The same room with a random choice of its solids."""
    chosen = np.random.default_rng(0).permutation(len(world.primitives.kind))[:count]
    solids = world.primitives
    return replace(world, primitives=Primitives(*(getattr(solids, f)[chosen] for f in Primitives.__dataclass_fields__)))


def seconds(work: Callable[[], object], device: str, repeats: int) -> tuple[float, float]:
    """Median wall and process time of a run, after one to warm up."""
    work()
    wall, process = [], []
    for _ in range(repeats):
        started, used = time.perf_counter(), time.process_time()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        wall.append(time.perf_counter() - started)
        process.append(time.process_time() - used)
    return float(np.median(wall)), float(np.median(process))


def packets_of(described: Sequence[World], height: int, width: int, device: str):
    matrices = torch.as_tensor(np.concatenate([intrinsics(w.cameras, height, width) for w in described]), device=device)
    poses = torch.as_tensor(np.concatenate([w.cameras.world_from_cam for w in described]), device=device)
    return Tiling(len(described), len(described[0].cameras.fov), height, width).packets(matrices, poses)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--scenes", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = options.device
    described = [worlds.describe("rooms", seed, views=4) for seed in worlds.TEST_SEEDS[: options.scenes]]
    solids = np.mean([len(w.primitives.kind) for w in described])
    print(f"device {device}, {options.threads} threads, {options.scenes} rooms, {solids:.0f} primitives on average")
    print("median wall time; in brackets: process time, which other programs on the machine do not lengthen")
    rays = options.scenes * 4 * 224 * 224
    for label, chosen in (("30 primitives", [with_primitives(w, 30) for w in described]), ("whole rooms", described)):
        tables, stage = casting.pack(chosen, device), Stage(chosen, torch.device(device))
        packets, length, focal = packets_of(chosen, 224, 224, device)
        wall, process = seconds(lambda t=tables, p=packets: casting.cast(t, p), device, options.repeats)
        print(f"primary rays, {label}: {rays / wall / 1e6:.2f} M/s ({rays / process / 1e6:.2f} M/s)")
        wall, process = seconds(lambda s=stage, p=packets, n=length, f=focal: s.trace(p, n, f), device, options.repeats)
        print(f"shaded, one shadow ray, {label}: {rays / wall / 1e6:.2f} M/s ({rays / process / 1e6:.2f} M/s)")
    for views, size in ((4, 224), (8, 112)):
        count = options.scenes

        def describe(views: int = views, count: int = count) -> list[World]:
            return [worlds.describe("rooms", seed, views=views) for seed in worlds.TEST_SEEDS[:count]]

        drawn = describe()
        wall, process = seconds(describe, "cpu", 2)
        print(f"{views} views: describing a world {wall / count:.3f} s ({process / count:.3f} s)")

        def render(drawn: list[World] = drawn, size: int = size) -> None:
            for world in drawn:
                worlds.render([world], height=size, width=size, device=device)

        wall, process = seconds(render, device, 2)
        print(f"{views} views of {size} x {size}: rendering {wall / count:.3f} s ({process / count:.3f} s)")


if __name__ == "__main__":
    main()
