"""Poses and queries per second of D4RT on a CUDA device, with random weights.

    python benchmarks/d4rt_cuda.py

Untried on CUDA: there was no such device when it was written. All of it runs, as a check, on a CPU:

    python benchmarks/d4rt_cuda.py --device cpu --tiny

Two measurements, each in three variants: float32 (TF32 products allowed), bfloat16 (linear layers of the blocks are
stored so; query embedding and outputs stay float32), and bfloat16 with every block through torch.compile.

* `poses`: ViT-g of the paper, clips of 48 frames of 256x256. A run is the encoding of a clip, 8x8 points of the first
  frame in the camera of every frame, and the rigid fit of all frames (Umeyama without scale, on the device). The paper
  states more than 200 frames per second on an A100.
* `queries`: the size of d4rt-mini, a clip of 16 frames of 128x128, queries of random places and times.

Differences are relative to the float32 run: the norm of the difference of all points over their norm. Memory is the
peak that the allocator gave out, weights included.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from worldline.eval.query_bench.network import SIZES, random_clip, random_queries
from worldline.geometry import fit_similarity
from worldline.models.config import D4rtConfig
from worldline.models.d4rt import D4rt, Memory
from worldline.models.queries import Queries
from worldline.scene.video.asking import cell_centers

WARM_UP = 3  # runs in which everything is compiled and allocated


class Variant(NamedTuple):
    """A way to run a network."""

    name: str
    half: bool
    compile: bool


VARIANTS = (
    Variant("float32", False, False),
    Variant("bfloat16", True, False),
    Variant("bfloat16, compiled", True, True),
)


def build(config: D4rtConfig, device: str) -> D4rt:
    """Random weights, made on the device."""
    torch.manual_seed(0)
    with torch.device(device):
        network = D4rt(config)
    return network.to(device).eval().requires_grad_(False)


def apply(variant: Variant, network: D4rt) -> AbstractContextManager[object]:
    """Change the network into a variant; later ones build on earlier ones. Returns what its calls run under."""
    blocks = [*network.encoder.blocks, *network.decoder.blocks]
    if variant.half:
        for part in (*blocks, network.memory_projection):
            for layer in part.modules():
                if isinstance(layer, nn.Linear):
                    layer.to(torch.bfloat16)
    if variant.compile:
        for block in blocks:
            block.compile(dynamic=False)
    device = next(network.parameters()).device.type
    return torch.autocast(device, torch.bfloat16) if variant.half else nullcontext()


def clock(run: Callable[[], Any], repeats: int, device: str) -> tuple[float, Any]:
    """Median seconds, waiting for the device, and the last result."""
    seconds, result = [], None
    for number in range(WARM_UP + repeats):
        started = time.perf_counter()
        result = run()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        if number >= WARM_UP:
            seconds.append(time.perf_counter() - started)
    return float(np.median(seconds)), result


def pose_queries(frames: int, grid: int, device: str) -> Queries:
    """Points of frame 0 in the camera of every frame, [1, frames * grid²]."""
    u, v = (torch.from_numpy(part.ravel()).float().repeat(frames)[None].to(device) for part in cell_centers(grid, grid))
    zero = torch.zeros(u.shape, dtype=torch.int64, device=device)
    camera = torch.arange(frames, device=device).repeat_interleave(grid * grid)[None]
    return Queries(u, v, zero, zero, camera)


def fit(points: Tensor, confidence: Tensor, frames: int) -> Tensor:
    """The motion from frame 0 to every frame, [frames, 4, 4], from points [1, frames * n, 3]."""
    points, weights = points[0].view(frames, -1, 3).double(), confidence[0].view(frames, -1).double().sigmoid()
    weights = torch.minimum(weights, weights[:1])
    return fit_similarity(points[:1].expand_as(points), points, weights, with_scale=False).matrix


def measure_poses(network: D4rt, options: argparse.Namespace) -> tuple[dict[str, float], Tensor]:
    """Seconds of the three steps, and the points."""
    frames, device = network.config.clip_frames, options.device
    clip, aspect = random_clip(network.config).to(device), torch.ones(1, device=device)
    queries = pose_queries(frames, options.grid, device)
    encode, memory = clock(lambda: network.encode(clip, aspect), options.repeats, device)
    decode, answers = clock(lambda: network.decode(memory, queries, checked=True), options.repeats, device)
    rigid, _ = clock(lambda: fit(answers.points, answers.confidence, frames), options.repeats, device)
    return {"encode": encode, "queries": decode, "fit": rigid}, answers.points


def measure_queries(network: D4rt, options: argparse.Namespace) -> tuple[float, Tensor]:
    """Seconds of all queries, and the points of the first portion."""
    frames, device = network.config.clip_frames, options.device
    memory = network.encode(random_clip(network.config).to(device), torch.ones(1, device=device))
    asked = Queries(*(part.to(device) for part in random_queries(options.queries, frames)))
    portions = asked.split(options.chunk)

    def run(memory: Memory = memory) -> list[Tensor]:
        return [network.decode(memory, part, checked=True).points for part in portions]

    seconds, points = clock(run, options.repeats, device)
    return seconds, points[0]


def peak(device: str) -> str:
    """Gigabytes given out at the highest since the last call."""
    if not device.startswith("cuda"):
        return ""
    highest = torch.cuda.max_memory_allocated() / 1e9
    torch.cuda.reset_peak_memory_stats()
    return f"{highest:.2f}"


def difference(points: Tensor, reference: Tensor) -> str:
    """Relative, as words say in the module's docstring."""
    return f"{float((points.float() - reference.float()).norm() / reference.float().norm()):.1e}"


def poses_table(options: argparse.Namespace, variants: tuple[Variant, ...]) -> None:
    """One row per variant."""
    network, reference = build(SIZES["tiny" if options.tiny else options.size](), options.device), None
    print("| variant | encode ms | queries ms | fit ms | pose FPS | peak GB | difference to float32 |")
    print("|---|---|---|---|---|---|---|")
    for variant in variants:
        with apply(variant, network), torch.no_grad():
            steps, points = measure_poses(network, options)
        reference = points if reference is None else reference
        cells = [f"{1e3 * seconds:.2f}" for seconds in steps.values()]
        rate = network.config.clip_frames / sum(steps.values())
        row = [variant.name, *cells, f"{rate:.0f}", peak(options.device), difference(points, reference)]
        print(f"| {' | '.join(row)} |", flush=True)


def queries_table(options: argparse.Namespace, variants: tuple[Variant, ...]) -> None:
    """One row per variant."""
    network, reference = build(SIZES["tiny" if options.tiny else "mini"](), options.device), None
    print("| variant | queries | ms | queries/s | peak GB | difference to float32 |")
    print("|---|---|---|---|---|---|")
    for variant in variants:
        with apply(variant, network), torch.no_grad():
            seconds, points = measure_queries(network, options)
        reference = points if reference is None else reference
        row = [variant.name, str(options.queries), f"{1e3 * seconds:.2f}", f"{options.queries / seconds:.3g}"]
        print(f"| {' | '.join([*row, peak(options.device), difference(points, reference)])} |", flush=True)


def main() -> None:
    """Measure poses and queries and print two Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", choices=SIZES, default="vit-g", help="of the network whose poses are timed")
    parser.add_argument("--tiny", action="store_true", help="the smallest network and few queries: a check")
    parser.add_argument("--queries", type=int, default=None, help="default: 2^20, with --tiny 500")
    parser.add_argument("--chunk", type=int, default=1 << 17, help="queries at a time")
    parser.add_argument("--grid", type=int, default=8, help="points per side and frame for poses")
    parser.add_argument("--repeats", type=int, default=None, help="default: 20, with --tiny 2")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    options.queries = options.queries or (500 if options.tiny else 1 << 20)
    options.repeats = options.repeats or (2 if options.tiny else 20)
    if options.device.startswith("cuda"):
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    variants = tuple(each for each in VARIANTS if options.compile or not each.compile)
    poses_table(options, variants)
    print()
    queries_table(options, variants)


if __name__ == "__main__":
    main()
