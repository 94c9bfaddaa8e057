"""Peak memory of encoding against the number of frames, and of answering against the number of queries."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from worldline.eval.query_bench.network import QueryNetwork, random_clip, random_queries
from worldline.eval.query_bench.rates import as_video
from worldline.eval.single_pass import MIB, PeakMemory
from worldline.eval.stream_bench.process import apart
from worldline.pipeline.memory import RUNTIME_BYTES
from worldline.pipeline.video.plan import plan_video


def measure_peaks(
    network: QueryNetwork, *, frames: Iterable[int] | None = None, queries: Iterable[int] = (1000, 10_000, 100_000)
) -> list[dict[str, Any]]:
    """Peaks of resident memory above what was there before, one process per number.

    Args:
        frames: lengths of clips; None: a quarter, half and all of what the network takes.
        queries: numbers of queries about a clip of full length, asked in one call.

    Returns:
        One record per number. ``predicted MiB``: what the memory plan says of encoding. Peaks of queries are above
        weights and encoded clip, and include the answers: 52 bytes each, twice while they are put together.
    """
    longest = network.config.clip_frames
    counts = sorted({max(1, longest // 4), max(1, longest // 2), longest}) if frames is None else frames
    records = [apart(_encode_peak, network, count) for count in counts]
    return records + [apart(_query_peak, network, count) for count in queries]


def _encode_peak(network: QueryNetwork, frames: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    model = network.load()
    clip, aspect = random_clip(model.config, frames), torch.tensor([1.5])
    with torch.inference_mode():
        model.encode(clip[:, :1], aspect)  # starts the libraries
        with PeakMemory() as memory:
            model.encode(clip, aspect)
    predicted = plan_video(model.config, frames).encode_bytes - RUNTIME_BYTES
    return _record("encode", frames, 0, memory.peak, predicted)


def _query_peak(network: QueryNetwork, queries: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    model = network.load()
    clip, asked = random_clip(model.config), random_queries(queries, model.config.clip_frames)
    with torch.inference_mode():
        video = as_video(model, model.encode(clip, torch.tensor([1.5])))
        parts = [part[0].numpy() for part in asked]
        video.query(*(part[:64] for part in parts))  # starts the libraries
        with PeakMemory() as memory:
            video.query(*parts)
    return _record("query", model.config.clip_frames, queries, memory.peak, None)


def _record(step: str, frames: int, queries: int, peak: int, predicted: int | None) -> dict[str, Any]:
    return {
        "step": step,
        "frames": frames,
        "queries": queries,
        "peak MiB": peak / MIB,
        "predicted MiB": None if predicted is None else predicted / MIB,
    }
