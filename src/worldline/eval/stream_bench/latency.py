"""Latency and memory of a session, step by step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from worldline.errors import InputError
from worldline.eval.single_pass import MIB, PeakMemory, resident_bytes
from worldline.eval.stream_bench.drive import BenchDrive
from worldline.eval.stream_bench.network import NetworkChoice
from worldline.eval.stream_bench.process import apart

if TYPE_CHECKING:
    from worldline.pipeline.stream import StreamSession

PARTS = ("network", "align", "motion")
_WARM_UP = 3  # steps of another session beforehand: kernels and libraries are loaded
_FEWEST = 8  # steps: two per quarter
_AGEING = 20  # steps for which an old and a new session are compared


def measure_latency(
    network: NetworkChoice,
    drive: BenchDrive,
    cameras: Iterable[int] = (1, 3, 6),
    *,
    steps: int = 200,
    motion: bool = True,
    preview: bool = True,
    keep: int = 1,
    threads: int = 1,
    report: Callable[[dict[str, Any]], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Push a drive through a session of every number of cameras.

    Args:
        network: what runs.
        drive: what it sees; calibration and poses are given to the session.
        cameras: numbers of cameras of the rig.
        steps: pushes per session, 8 or more.
        motion: also find what moves (OpenCV flow).
        preview: also answer for the image just pushed.
        keep: steps whose results the session keeps for its scene: memory that the caller chooses.
        threads: of the processor.

    Returns:
        One record per number of cameras. Times in ms per step with the suffixes ``median`` and ``p99``; ``cpu`` is
        processor time, which other programs on the machine disturb less; ``first`` and ``last quarter`` are medians of
        the total. MiB: the peak above the loaded weights, and by how much resident memory grew from the end of the
        first quarter to the end. ``old / new``: processor time of a step after so many steps over that of a session
        that has just begun, the two pushed in turn, so that a machine whose speed drifts is unfair to neither; 1 is a
        stream whose cost does not grow. ``predicted MiB``: what the memory planner says of the network's part.
        Memory tokens: the most that one camera stored.

    Raises:
        InputError: too few steps, or cameras that the rig does not have.
    """
    if steps < _FEWEST:
        raise InputError(f"{steps} steps say nothing about a stream.", f"Ask for {_FEWEST} or more.")
    records = []
    for count in cameras:
        arguments = (network, drive.cameras(count), steps, motion, preview, keep, threads)
        measured = apart(_measure, *arguments)
        record = {"network": network.label, "images": drive.kind, "cameras": count, "steps": steps, **measured}
        records.append(record)
        report(record)
    return records


def latency_table(records: Sequence[Mapping[str, Any]]) -> list[dict[str, object]]:
    """The records as rows for people: median / 99th percentile in ms."""
    rows: list[dict[str, object]] = []
    for record in records:
        row: dict[str, object] = {"cameras": record["cameras"], "steps": record["steps"]}
        for part in (*PARTS, "total"):
            row[f"{part} ms"] = f"{record[f'{part} median']:.0f} / {record[f'{part} p99']:.0f}"
        row["CPU ms"] = f"{record['cpu median']:.0f} / {record['cpu p99']:.0f}"
        row["first → last quarter, CPU ms"] = f"{record['cpu first quarter']:.0f} → {record['cpu last quarter']:.0f}"
        row["old / new step"] = f"{record['old / new']:.2f}"
        row["peak MiB"] = f"{record['peak MiB']:.0f}"
        row["predicted, network alone"] = f"{record['predicted MiB']:.0f}"
        row["growth MiB"] = f"{record['growth MiB']:.1f}"
        row["memory tokens"] = record["memory tokens"]
        rows.append(row)
    return rows


def _measure(
    network: NetworkChoice, drive: BenchDrive, steps: int, motion: bool, preview: bool, keep: int, threads: int
) -> dict[str, Any]:
    """One session; runs in a process of its own."""
    import torch

    from worldline.eval.stream_bench.alignment import network_inputs
    from worldline.pipeline.memory import plan_stream
    from worldline.pipeline.stream import StreamOptions, StreamSession

    torch.set_num_threads(threads)
    model, published = network.load()
    options = StreamOptions(motion=motion, preview=preview, keep=keep)
    warm = StreamSession(model, drive.rig, options, published=published)
    for number in range(_WARM_UP):
        warm.push(*drive.step(number))
    del warm
    session = StreamSession(model, drive.rig, options, published=published)
    times: dict[str, list[float]] = {name: [] for name in (*PARTS, "total", "cpu")}
    resident_at, tokens = {}, 0
    with PeakMemory() as memory:
        for number in range(steps):
            started = time.process_time()
            result = session.push(*drive.step(number))
            times["cpu"].append(time.process_time() - started)
            times["total"].append(result.latency)
            for part in PARTS:
                times[part].append(result.timings[part])
            tokens = max([tokens, *(done.memory.tokens_after for done in result.completed if done.memory is not None)])
            resident_at[number] = resident_bytes()
    record: dict[str, Any] = {}
    for name, seconds in times.items():
        record |= {f"{name} {key}": value for key, value in _summary(1e3 * np.array(seconds)).items()}
    growth = resident_at[steps - 1] - resident_at[steps // 4]
    record |= {"peak MiB": memory.peak / MIB, "growth MiB": growth / MIB, "memory tokens": tokens}
    young = StreamSession(model, drive.rig, options, published=published)
    record["old / new"] = _ageing(session, young, drive, steps, min(_AGEING, steps))
    inputs = network_inputs(drive, 1, published)
    count, _, height, width = inputs.shape
    plan = plan_stream(model.config, count, height, width, options.pool, preview=preview)
    return record | {"predicted MiB": (plan.peak_bytes - plan.weight_bytes) / MIB}


def _ageing(old: StreamSession, young: StreamSession, drive: BenchDrive, start: int, steps: int) -> float:
    """Processor time of an old session's step over that of a new one's, same images, in turn: the median ratio."""
    ratios, begin = [], start + -start % drive.period
    for number in range(start, begin):
        old.push(*drive.step(number))
    for number in range(steps):
        seconds = []
        for session, step in ((old, begin + number), (young, number)):
            started = time.process_time()
            session.push(*drive.step(step))
            seconds.append(time.process_time() - started)
        ratios.append(seconds[0] / seconds[1])
    return round(float(np.median(ratios[1:])), 3)  # a session's first step has less to do


def _summary(values: np.ndarray) -> dict[str, float]:
    """Median, 99th percentile, and the medians of the first and the last quarter; the first step has less to do."""
    quarter = len(values) // 4
    return {
        "median": round(float(np.median(values)), 2),
        "p99": round(float(np.percentile(values, 99)), 2),
        "first quarter": round(float(np.median(values[1 : quarter + 1])), 2),
        "last quarter": round(float(np.median(values[-quarter:])), 2),
    }
