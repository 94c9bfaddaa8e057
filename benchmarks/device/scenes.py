"""Worlds and Gaussians: what training renders on the device that it runs on."""

from __future__ import annotations

import importlib.util
from functools import partial
from typing import Any

import torch

from worldline.eval.render_bench import Item, measure_rendering
from worldline.eval.worlds_bench import measure_worlds

from .bench import Bench, Row, Values

PICTURES = ((224, 224), (540, 960))  # height, width


def gaussian_rows(bench: Bench) -> list[Row]:
    """The rasteriser of this package, and the published one where it is installed."""
    counts = (400,) if bench.tiny else (200_000, 800_000)
    sizes = ((24, 32),) if bench.tiny else PICTURES
    backends = ["torch"]
    if bench.on_cuda and importlib.util.find_spec("gsplat") is not None:
        backends.append("gsplat")
    return [
        Row(f"{count} Gaussians, {size[1]}x{size[0]}, {one}", partial(_render, bench, count, size, one))
        for one in backends
        for count in counts
        for size in sizes
    ]


def _render(bench: Bench, count: int, size: tuple[int, int], backend: Any) -> Values:
    record: dict[str, Any] = measure_rendering(
        [Item(count, size)], device=str(bench.device), backend=backend, repeats=max(2, bench.repeats), memory=False
    )[0]
    forward, both = record["forward s"], record["forward + backward s"]
    return {
        "Gaussians": record["Gaussians"], "pixels": record["pixels"], "picture ms": 1e3 * forward,
        "with gradients ms": 1e3 * both, "pictures/s": 1 / forward, "peak GB": bench.peak_gb(),
    }  # fmt: skip


def world_rows(bench: Bench) -> list[Row]:
    """Rays per second on the device, on one core, and on the device with compiled steps."""
    counts = (30,) if bench.tiny else (30, 300, 1000)
    device = str(bench.device)
    cases = [Row(f"{count} solids, {bench.device.type}", partial(_worlds, bench, count, device)) for count in counts]
    if bench.on_cuda:
        cases += [Row(f"{count} solids, one core", partial(_worlds, bench, count, "cpu")) for count in (300, 1000)]
        cases.append(Row("300 solids, cuda, 16 worlds", lambda: _worlds(bench, 300, device, scenes=16)))
        if bench.compile:
            cases.append(Row("300 solids, cuda, compiled", lambda: _worlds(bench, 300, device, compile=True)))
    return cases


def _worlds(bench: Bench, count: int, device: str, *, scenes: int = 2, compile: bool = False) -> Values:
    measured: dict[str, Any] = measure_worlds(
        counts=(count,), device=device, threads=1, repeats=3 if device == "cpu" else bench.repeats,
        scenes=1 if bench.tiny else scenes, size=24 if bench.tiny else 224, compile=compile,
    )[0]  # fmt: skip
    return {
        "solids": count, "primary M rays/s": measured["primary M/s"], "shaded M rays/s": measured["shaded M/s"],
        "s per world": measured["s per world"], "threads": torch.get_num_threads() if device == "cpu" else None,
        "peak GB": bench.peak_gb() if device != "cpu" else None,
    }  # fmt: skip
