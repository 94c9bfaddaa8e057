"""A stream beside DUSt3R: all pairs of the same images through the same weights, then global alignment."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from worldline.errors import InputError
from worldline.eval.single_pass import MIB, PeakMemory
from worldline.eval.stream_bench.drive import BenchDrive
from worldline.eval.stream_bench.network import NetworkChoice
from worldline.eval.stream_bench.process import apart

STREAM, COMPLETE, WINDOW = "stream", "pairs, complete graph", "pairs, sliding window"
METHODS = (STREAM, COMPLETE, WINDOW)
_WINDOW = 3  # places, one camera: the published default of window graphs


class Item(NamedTuple):
    """A part of the drive that is reconstructed."""

    cameras: int
    steps: int

    @property
    def images(self) -> int:
        """In all."""
        return self.cameras * self.steps


def compare_alignment(
    network: NetworkChoice,
    drive: BenchDrive,
    items: Iterable[Item] = (Item(1, 5), Item(1, 10), Item(1, 20), Item(1, 30), Item(6, 5)),
    *,
    iterations: int = 300,
    repeats: int = 3,
    threads: int = 1,
    report: Callable[[dict[str, Any]], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Seconds and memory of a stream and of pairs + global alignment, over the same images, measured in turn.

    The stream's time is that of all pushes with previews (network and placement of every image, twice); the
    alignment's is that of its network passes, spanning-tree start and optimisation, without the cleaning and assembly
    of the scene. Every image is encoded once in both.

    Args:
        network: both methods use it; the pairwise network is its encoder, decoders and heads without the memory.
        drive: 6 x 5 images are an item of the paper's evaluation.
        items: what is reconstructed.
        iterations: of Adam in the alignment, for all items.
        repeats: runs of the stream; the alignment, which takes minutes, runs once.
        threads: of the processor.

    Returns:
        one record per item and method: medians of wall and processor seconds, peak MiB above the weights, and how many
        times the stream's seconds (``times stream``) and those of its last step (``times step``) it takes: the former
        matters when a recording is processed, the latter when a result is wanted as soon as the next images arrive.
        ``cpu times stream`` is the former in processor seconds.
    """
    if repeats < 1 or iterations < 1:
        raise InputError("Nothing would be measured.", "Give one or more repeats and iterations.")
    records = []
    for item in items:
        seen = drive.cameras(item.cameras)
        runs: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
        for repeat in range(repeats):
            for method in METHODS if repeat == 0 else METHODS[:1]:
                runs[method].append(apart(_measure, method, network, seen, item, iterations, threads))
        medians = {method: _medians(rows) for method, rows in runs.items()}
        stream = medians[STREAM]
        for method, figures in medians.items():
            record: dict[str, Any] = {"cameras": item.cameras, "steps": item.steps, "images": item.images}
            record |= {"method": method, "runs": len(runs[method]), **figures}
            record["times stream"] = round(figures["seconds"] / stream["seconds"], 2)
            record["cpu times stream"] = round(figures["cpu seconds"] / stream["cpu seconds"], 2)
            record["times step"] = round(figures["seconds"] / stream["last step seconds"], 2)
            records.append(record)
            report(record)
    return records


def alignment_table(records: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """The records as rows for people."""
    return [
        {
            "cameras x steps": f"{record['cameras']} x {record['steps']}",
            "method": record["method"],
            "pairs": int(record["pairs"]),
            "s": f"{record['seconds']:.2f}",
            "CPU s": f"{record['cpu seconds']:.2f}",
            "network s": f"{record['network seconds']:.2f}",
            "ms per image": f"{1e3 * record['seconds'] / record['images']:.0f}",
            "peak MiB": f"{record['peak MiB']:.0f}",
            "times stream, wall": record["times stream"],
            "times stream, CPU": record["cpu times stream"],
            "times one step": record["times step"],
        }
        for record in records
    ]


def _medians(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: round(statistics.median(row[key] for row in rows), 4) for key in rows[0]}


def _measure(
    method: str, network: NetworkChoice, drive: BenchDrive, item: Item, iterations: int, threads: int
) -> dict[str, float]:
    """One method on one item; runs in a process of its own."""
    import torch

    torch.set_num_threads(threads)
    model, published = network.load()
    if method == STREAM:
        return _stream(model, published, drive, item.steps)
    return _pairs(model, published, drive, item, method == COMPLETE, iterations)


def _stream(model: Any, published: bool, drive: BenchDrive, steps: int) -> dict[str, float]:
    from worldline.pipeline.stream import StreamOptions, StreamSession

    options = StreamOptions(motion=False)
    warm = StreamSession(model, drive.rig, options, published=published)
    for number in range(2):
        warm.push(*drive.step(number))
    del warm
    session = StreamSession(model, drive.rig, options, published=published)
    with PeakMemory() as memory:
        cpu, started, network = time.process_time(), time.perf_counter(), 0.0
        for number in range(steps):
            result = session.push(*drive.step(number))
            network += result.timings["network"]
        session.finish()
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {
        "seconds": seconds,
        "cpu seconds": cpu,
        "network seconds": network,
        "last step seconds": result.latency,
        "pairs": 0.0,
        "peak MiB": memory.peak / MIB,
    }


def _pairs(
    model: Any, published: bool, drive: BenchDrive, item: Item, complete: bool, iterations: int
) -> dict[str, float]:
    import torch

    from worldline.pipeline.pairwise import predict_pairs
    from worldline.scene.align import global_align, make_pairs

    pairwise = as_pairwise(model)
    images = network_inputs(drive, item.steps, published)
    graph = "complete" if complete else f"swin-{_WINDOW if item.cameras == 1 else len(images) // item.steps}-noncyclic"
    edges = np.array(make_pairs(len(images), graph, symmetrize=True), dtype=np.int64)
    predict_pairs(pairwise, images[:2], torch.tensor([[0, 1], [1, 0]]))  # loads the kernels
    with PeakMemory() as memory:
        cpu, started = time.process_time(), time.perf_counter()
        predictions = predict_pairs(pairwise, images, torch.from_numpy(edges))
        network = time.perf_counter() - started
        global_align(predictions, iterations=iterations)
        seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    return {
        "seconds": seconds,
        "cpu seconds": cpu,
        "network seconds": network,
        "last step seconds": seconds,  # a new image means a new alignment
        "pairs": float(len(edges)),
        "peak MiB": memory.peak / MIB,
    }


def as_pairwise(model: Any) -> Any:
    """The two-view network inside a Driv3R: the same weights, no memory."""
    from worldline.models.dust3r import Dust3r

    return Dust3r.sharing(model.config, model.encoder, model.decoder, model.reference_head, model.source_head)


def network_inputs(drive: BenchDrive, steps: int, published: bool) -> Any:
    """The images of some steps as the session's network gets them, [N, 3, H, W] in [-1, 1]; step by step."""
    import torch

    from worldline.pipeline.stream.framing import cut, squares, whole
    from worldline.pipeline.stream.options import StreamOptions

    options = StreamOptions()
    inputs = []
    for number in range(steps):
        for image in drive.step(number)[1].values():
            size = (image.shape[0], image.shape[1])
            framing = squares(size, options.square) if published else whole(size, options.pixels)
            inputs += [cut(image, part) for part in framing.parts]
    return torch.from_numpy(np.stack(inputs)).permute(0, 3, 1, 2).float() / 127.5 - 1
