"""Predicted against measured peak memory of one forward pass; random weights do, the sizes are what counts."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import cast

from worldline.eval.single_pass import MIB, PeakMemory


def compare_memory(
    model: str, counts: Iterable[int], size: int | None = None, references: int = 4
) -> list[dict[str, object]]:
    """One record per number of views: predicted and measured peak above the weights in MiB, and their ratio.

    Every measurement runs in a process of its own. ``size`` defaults to the model's own resolution.
    """
    records: list[dict[str, object]] = []
    for count in counts:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            predicted, measured = pool.submit(_measure, model, count, size, references).result()
        records.append(
            {
                "views": count,
                "predicted MiB": round(predicted / MIB),
                "measured MiB": round(measured / MIB),
                "predicted / measured": round(predicted / measured, 2),
            }
        )
    return records


def _measure(model: str, count: int, size: int | None, references: int) -> tuple[int, int]:
    import torch

    from worldline import weights
    from worldline.models.config import MVDust3rConfig
    from worldline.models.mvdust3r import MVDust3r
    from worldline.pipeline.memory import plan_memory
    from worldline.pipeline.single_pass import run_network

    size = size or weights.info(model).image_size
    config = cast(MVDust3rConfig, weights.config_of(model))
    network = MVDust3r(config).eval()
    plan = plan_memory(config, count, size, size, references)
    images = torch.rand(1, count, 3, size, size) * 2 - 1
    run_network(network, images[:, :2, :, :32, :32].contiguous(), references)  # starts the thread pools
    with PeakMemory() as memory:
        run_network(network, images, references)
    return plan.peak_bytes - plan.weight_bytes, memory.peak
