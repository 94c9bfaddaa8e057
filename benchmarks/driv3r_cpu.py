"""Time, work and memory of Driv3R at published size on a CPU, with and without the head that only previews need.

    python benchmarks/driv3r_cpu.py --images 8 --threads 1
    python benchmarks/driv3r_cpu.py --images 3 --streams 12 --threads 1

Streams of 224 x 224 crops in the published memory mode, each on its own; several take their steps as one batch, as the
two crops of six cameras do. The published program takes them one after the other. Weights are random: neither time nor
memory depends on them. The published program runs both heads for every pair of images, although the target head's
result is used for the last pair only; "with previews" is that schedule made of the library's own parts, "final maps
only" leaves the target head out. Their final maps are equal, which is checked.

Times come from one process in which both schedules take every step in turn, so that a machine whose speed drifts is
unfair to neither; memory from a fresh process per schedule: the peak resident set of the steps, and its distance to the
resident set with weights. Operations are multiplications plus additions as counted by `torch.utils.flop_counter`.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from worldline.eval.stream_bench import random_network
from worldline.models.config import Driv3rConfig
from worldline.models.driv3r import Driv3r
from worldline.models.pool import PoolOptions, RigStream

SCHEDULES = {"with previews": True, "final maps only": False}
CONFIGS = {"published": Driv3rConfig.published, "mini": Driv3rConfig.mini}
COMPONENTS = {"encode": "encoder", "decode": "decoders, key and query", "read_out": "head", "remember": "value encoder"}


def measure_time(row: dict[str, Any]) -> dict[str, Any]:
    """Wall and CPU seconds per crop of both schedules, step by step in turn, and of the parts per call."""
    model, frames = _model(row), _frames(row)
    parts = _timed(model)
    streams = {name: RigStream(model, _names(row), options=PoolOptions.official()) for name in SCHEDULES}
    wall, cpu = defaultdict(list), defaultdict(list)
    for number, image in enumerate(frames):
        maps = {}
        for name in sorted(streams, reverse=bool(number % 2)):
            started = time.perf_counter(), time.process_time()
            steps = streams[name].step(image, float(number), preview=SCHEDULES[name])
            wall[name].append((time.perf_counter() - started[0]) / len(image))
            cpu[name].append((time.process_time() - started[1]) / len(image))
            step = steps["crop0"]
            maps[name] = step.completed.maps.points if step.completed else image["crop0"]
        first, second = maps.values()
        if not torch.equal(first, second):
            raise SystemExit("The schedules disagree.")
        if number == 0:
            parts.clear()  # no pair yet, and the kernels were loaded
    ratios = [a / b for a, b in zip(cpu["with previews"][1:], cpu["final maps only"][1:], strict=True)]
    return {
        "wall": {name: statistics.median(seconds[1:]) for name, seconds in wall.items()},
        "cpu": {name: statistics.median(seconds[1:]) for name, seconds in cpu.items()},
        "ratio": statistics.median(ratios),
        "parts": {COMPONENTS[name]: (min(seconds), statistics.median(seconds)) for name, seconds in parts.items()},
    }


def measure_memory(row: dict[str, Any]) -> dict[str, Any]:
    """Peak resident MB of one schedule in this fresh process, and the MB before the first step."""
    model, frames = _model(row), _frames(row)
    stream = RigStream(model, _names(row), options=PoolOptions.official())
    built = _resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # start VmHWM again from here
    for number, image in enumerate(frames):
        stream.step(image, float(number), preview=SCHEDULES[row["schedule"]])
    return {"built": built, "peak": _resident("VmHWM")}


def count_operations(row: dict[str, Any]) -> dict[str, float]:
    """TFLOP of a pair, counted on shapes alone, without the read of the memory."""
    with torch.device("meta"):
        model = Driv3r(CONFIGS[row["config"]]()).eval()
        images = torch.zeros(2, 3, row["size"], row["size"])
    counts = {}
    for name, preview in SCHEDULES.items():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            first, second = model.encode(images[:1]), model.encode(images[1:])
            pair = model.decode(first, first, second, (row["size"], row["size"]))
            final = model.read_out(model.reference_head, pair.reference_tokens, images[:1])
            model.remember(final.points, pair.key)
            if preview:
                model.read_out(model.source_head, pair.target_tokens, images[1:])
        with FlopCounterMode(display=False) as once, torch.no_grad():
            model.encode(images[:1])  # a stream encodes one image per pair
        counts[name] = (counter.get_total_flops() - once.get_total_flops()) / 1e12
    return counts


def _model(row: dict[str, Any]) -> Driv3r:
    torch.set_num_threads(row["threads"])
    return random_network(CONFIGS[row["config"]]())


def _names(row: dict[str, Any]) -> list[str]:
    return [f"crop{number}" for number in range(row["streams"])]


def _frames(row: dict[str, Any]) -> list[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand((row["images"], row["streams"], 3, row["size"], row["size"]), generator=generator) * 2 - 1
    return [dict(zip(_names(row), step, strict=True)) for step in images]


def _timed(model: Driv3r) -> dict[str, list[float]]:
    """Let the parts of a network note their CPU seconds."""
    seconds: dict[str, list[float]] = defaultdict(list)

    def timed(name: str, run: Callable[..., Any]) -> Callable[..., Any]:
        def measured(*arguments: Any) -> Any:
            started = time.process_time()
            result = run(*arguments)
            seconds[name].append(time.process_time() - started)
            return result

        return measured

    for name in COMPONENTS:
        setattr(model, name, timed(name, getattr(model, name)))
    return seconds


def _resident(field: str) -> float:
    """VmRSS or VmHWM of this process in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def _apart(row: dict[str, Any]) -> dict[str, Any]:
    """A row in a fresh process."""
    environment = os.environ | {"OMP_NUM_THREADS": str(row["threads"]), "MKL_NUM_THREADS": str(row["threads"])}
    command = [sys.executable, __file__, "--row", json.dumps(row)]
    return json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)


def main() -> None:
    """Measure and print two Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8, help="crops of the stream, 3 or more")
    parser.add_argument("--streams", type=int, default=1, help="streams that share a batch")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--size", type=int, default=224, help="side of the crops")
    parser.add_argument("--config", choices=CONFIGS, default="published")
    parser.add_argument("--row", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        row = json.loads(options.row)
        print(json.dumps(measure_memory(row) if row["schedule"] else measure_time(row)))
        return
    base = {name: getattr(options, name) for name in ("images", "streams", "threads", "size", "config")}
    memory = {name: _apart(base | {"schedule": name}) for name in SCHEDULES}
    times, tera = _apart(base | {"schedule": ""}), count_operations(base)
    print("| schedule | TFLOP per crop | CPU s per crop | wall s per crop | MB with weights | peak MB | peak above |")
    print("|---|---|---|---|---|---|---|")
    for name in SCHEDULES:
        built, peak = memory[name]["built"], memory[name]["peak"]
        print(
            f"| {name} | {tera[name]:.3f} | {times['cpu'][name]:.2f} | {times['wall'][name]:.2f} | {built:.0f} | "
            f"{peak:.0f} | {peak - built:.0f} |"
        )
    print(f"\nwith previews / final maps only, CPU seconds, median over the steps: {times['ratio']:.3f}\n")
    print("| part, per call | least CPU s | median CPU s |\n|---|---|---|")
    for name, (least, median) in times["parts"].items():
        print(f"| {name} | {least:.3f} | {median:.3f} |")


if __name__ == "__main__":
    main()
