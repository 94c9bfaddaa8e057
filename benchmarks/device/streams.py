"""Driv3R: steps per second of a rig of six cameras, from images on the host to maps on the host."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from benchmarks import driv3r_cuda

from worldline.eval.stream_bench import random_network
from worldline.models.config import Driv3rConfig
from worldline.models.driv3r import Driv3r
from worldline.models.pool import PoolOptions
from worldline.pipeline.stream.fixed_step import FixedStep

from .bench import Bench, Precision, Row, Values, matrix_products
from .counting import META, count

CAMERAS = 6
_LIMIT = 12.0  # seconds of steps per row, besides those that fill the memory


def config(bench: Bench) -> Driv3rConfig:
    """Published size, or the smallest one with all parts."""
    if not bench.tiny:
        return Driv3rConfig.published()
    return replace(
        Driv3rConfig.published(), encoder_dim=32, encoder_depth=1, encoder_heads=2, decoder_dim=24, decoder_depth=4,
        decoder_heads=2, value_depth=1, value_heads=2, dpt_dim=8, dpt_last_dim=8, dpt_layer_dims=(8, 8, 8, 8),
    )  # fmt: skip


def rows(bench: Bench) -> list[Row]:
    """All variants of driv3r_cuda that this device can run."""
    chosen = [
        variant
        for variant in driv3r_cuda.VARIANTS
        if (bench.compile or not variant.compile) and (bench.on_cuda or not variant.graph)
    ]
    return [Row(f"{CAMERAS} cameras, {variant.name}", partial(_steps, bench, variant)) for variant in chosen]


def _steps(bench: Bench, variant: driv3r_cuda.Variant) -> Values:
    sizes, side = config(bench), 64 if bench.tiny else 224
    model = random_network(sizes, str(bench.device))
    if variant.half:
        driv3r_cuda.halve(model)
    frames = driv3r_cuda.random_frames(CAMERAS, (side, side))
    with matrix_products("tf32"), driv3r_cuda.precision(model, variant), driv3r_cuda.compiled(model, variant):
        stream = driv3r_cuda.make_stream(model, variant, CAMERAS, (side, side))
        warm, _ = driv3r_cuda.run(stream, frames, 3 if bench.tiny else driv3r_cuda.WARM_UP)
        seconds, _ = driv3r_cuda.run(stream, frames, 3 if bench.tiny else 100, limit=_LIMIT)
        network = _network_seconds(bench, stream)
    median = float(np.median(seconds))
    values: Values = {
        "ms": 1e3 * median, "p99 ms": 1e3 * float(np.percentile(seconds, 99)), "steps/s": 1 / median,
        "images/s": CAMERAS / median, "network ms": None if network is None else 1e3 * network,
        "steps": len(seconds), "first steps s": sum(warm), "peak GB": bench.peak_gb(),
    }  # fmt: skip
    precision: Precision = "bfloat16" if variant.half else "tf32"
    return values | bench.share(_flops(bench, sizes, side), network or median, precision)


def _network_seconds(bench: Bench, stream: object) -> float | None:
    """Of the network alone, without what the host decides between two steps; for steps of constant shape."""
    if not isinstance(stream, driv3r_cuda.FixedRigStream):
        return None
    return float(bench.clock(stream.fixed, limit=3)["seconds"])


def _flops(bench: Bench, sizes: Driv3rConfig, side: int) -> float:
    """Of a step of constant shape; a step that recalls less does a little less."""
    pool, patches = PoolOptions(), (side // sizes.patch_size) ** 2
    tokens = ((pool.own_images or 0) + 2 * pool.neighbor_images) * patches

    def step(model: Driv3r) -> None:
        fixed = FixedStep(model, CAMERAS, (side, side), tokens, pool.memory, graph=False)
        fixed.compute(fixed.inputs)

    return count(f"Driv3R {sizes}", str(side), lambda: Driv3r(sizes).to(META), step)
