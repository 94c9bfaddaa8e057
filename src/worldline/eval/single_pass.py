"""One pass over all views against pairs + global alignment, with the same weights, measured in turn in one run.

Every measurement runs in a process of its own, so that its peak memory is its own; the methods alternate, so that a
machine whose speed drifts is unfair to none of them.
"""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

METHODS = ("single pass", "pairs + alignment", "pairs + alignment, published encoding")
MIB = 2**20


def compare_single_pass(
    model: str,
    counts: Iterable[int] = (4, 8, 12, 24),
    *,
    repeats: int = 3,
    iterations: int = 300,
    threads: int = 2,
    seed: int = 0,
    report: Callable[[dict[str, object]], None] = lambda _: None,
) -> list[dict[str, object]]:
    """Time, peak memory and accuracy of three ways to reconstruct the same test room.

    The third way encodes both images of every ordered pair anew, as the published DUSt3R does; its answer equals the
    second's.

    Args:
        model: a multi-view model; its two-view, one-path use is the pairwise network.
        repeats: single passes per number of views; the alignment runs once (it takes minutes).
        iterations: steps of global alignment.
        seed: which scene of the test split.

    Returns:
        One record per number of views and method: seconds, peak MiB above the loaded weights, errors.
    """
    records = []
    for count in counts:
        runs: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
        for repeat in range(repeats):
            for method in METHODS if repeat == 0 else METHODS[:1]:
                arguments = (method, model, count, iterations, threads, seed)
                with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                    runs[method].append(pool.submit(_measure, *arguments).result())
        base = statistics.median(run["seconds"] for run in runs[METHODS[0]])
        for method, rows in runs.items():
            medians = {key: round(statistics.median(row[key] for row in rows), 4) for key in rows[0]}
            times = round(medians["seconds"] / base, 2)
            record = {"views": count, "method": method, "runs": len(rows), **medians, "times single pass": times}
            records.append(record)
            report(record)
    return records


def _measure(method: str, model: str, count: int, iterations: int, threads: int, seed: int) -> dict[str, float]:
    import torch

    from worldline import pipeline, worlds
    from worldline.eval.methods import score_reconstruction
    from worldline.eval.worlds_truth import truth_of
    from worldline.inputs import load_views
    from worldline.pipeline.pairwise import reconstruct_pairwise

    torch.set_num_threads(threads)
    sample = worlds.sample("rooms", worlds.TEST_SEEDS[seed], views=count)
    loaded = pipeline.load(model, "cpu")
    views = load_views(list(sample.images.numpy()), size=loaded.image_size, fit="square")
    warm = pipeline.ReconstructOptions(alignment_iterations=iterations)
    loaded.reconstruct_views(load_views(list(sample.images.numpy()[:2]), size=loaded.image_size, fit="square"), warm)
    with PeakMemory() as memory:
        started = time.perf_counter()
        if method == METHODS[0]:
            scene = loaded.reconstruct_views(views, warm)
        else:
            scene = reconstruct_pairwise(loaded, views, warm, encode_once=method == METHODS[1])
        seconds = time.perf_counter() - started
    score = score_reconstruction(scene, truth_of(sample))
    network = scene.provenance.timings["network"]
    return {
        "seconds": seconds,
        "network seconds": network,
        "peak MiB": memory.peak / MIB,
        "point error": score.point_error,
        "abs_rel": score.abs_rel,
        "rotation": score.rotation,
    }


class PeakMemory:
    """Peak resident memory of this process above what it had at the start, sampled every few milliseconds."""

    def __enter__(self) -> PeakMemory:
        self.start, self.peak, self._stop = resident_bytes(), 0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.peak = max(self.peak, resident_bytes() - self.start)

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.peak = max(self.peak, resident_bytes() - self.start)


def resident_bytes() -> int:
    """Resident bytes now; where the system does not tell, the highest so far."""
    pages = Path("/proc/self/statm")
    if pages.exists():
        return int(pages.read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    highest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return highest if sys.platform == "darwin" else highest * 1024
