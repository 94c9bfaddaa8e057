"""Sections in order of importance, each within its share of the time, each row for itself."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

from worldline.errors import InputError, WorldlineError

from . import accuracy, facts, multiview, scenes, streams, videos
from .bench import Bench, Row
from .book import Book, Deadline
from .report import tables

_GRACE = 45.0  # seconds that a row may go on after the time is up


@dataclass(frozen=True)
class Section:
    """A table."""

    name: str
    share: float  # of the time, in the first round
    rows: Callable[[Bench], list[Row]]


SECTIONS = (
    Section("device", 0.05, facts.rows),
    Section("mvdust3r", 0.2, multiview.rows),
    Section("d4rt", 0.15, videos.rows),
    Section("driv3r", 0.2, streams.rows),
    Section("accuracy", 0.1, accuracy.rows),
    Section("gaussians", 0.1, scenes.gaussian_rows),
    Section("worlds", 0.08, scenes.world_rows),
    Section("compiled", 0.12, multiview.compiled_rows),
)


class OutOfTime(Exception):
    """A row takes far longer than there is time for."""


class DeviceLost(Exception):
    """After an error the device answers nothing any more; only a new process can go on."""


def main(argv: Sequence[str]) -> int:
    """Measure what is missing; 0: nothing is missing, 1: rows failed, 2: the command is wrong, 3: the device is lost,
    4: rows are left for the next call."""
    options = _options(argv)
    try:
        bench = Bench(_device(options.device), options.tiny, options.compile, 3 if options.tiny else options.repeats)
        return _measure(bench, options, Book.open(options.out), argv)
    except WorldlineError as error:
        print(error, file=sys.stderr)
        return 2


def _options(argv: Sequence[str]) -> argparse.Namespace:
    names = [section.name for section in SECTIONS]
    parser = argparse.ArgumentParser(prog="python benchmarks/cuda.py", description="Measure on a CUDA device.")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for cuda.json and cuda.md")
    parser.add_argument("--minutes", type=float, default=6.0, help="no row is begun after them")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true", help="everything at the smallest size: a check")
    parser.add_argument("--sections", nargs="+", choices=names, default=names)
    parser.add_argument("--again", nargs="+", choices=names, default=[], metavar="NAME", help="measure anew")
    parser.add_argument("--repeats", type=int, default=10, help="runs of which the median counts")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=None, help="default: on CUDA")
    options = parser.parse_args(argv)
    if options.compile is None:
        options.compile = options.device.startswith("cuda")
    return options


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"There is no device {name!r}.", "Use --device cuda, or --device cpu --tiny.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise InputError("There is no CUDA device here.", "Check the code with --device cpu --tiny.")
    if device.type == "cuda":
        device = torch.device("cuda", device.index or 0)
        torch.cuda.set_device(device)
    return device


def _measure(bench: Bench, options: argparse.Namespace, book: Book, argv: Sequence[str]) -> int:
    for name in options.again:
        book.forget(name)
    command = "python benchmarks/cuda.py " + shlex.join(argv)
    book.note(machine=facts.machine(bench), command=command)
    if options.compile:
        _be_patient()
    deadline = Deadline(60 * options.minutes)
    chosen = [section for section in SECTIONS if section.name in options.sections]
    left = list[str]()
    try:
        for first_round in (True, False):
            left = list[str]()
            for section in chosen:
                budget = 60 * options.minutes * section.share if first_round else deadline.left()
                left += _section(bench, book, section, Deadline(min(budget, deadline.left())), deadline)
    except DeviceLost as error:
        print(f"{error}; call again to go on", file=sys.stderr)
        return 3
    finally:
        book.note(left_out=left)
        book.write_text(tables(book.contents))
    failed = [row for rows in book.contents["sections"].values() for row in rows.values() if row["state"] == "failed"]
    print(f"{len(failed)} rows failed, {len(left)} left for the next call: {options.out / 'cuda.md'}")
    return 4 if left else 1 if failed else 0


def _section(bench: Bench, book: Book, section: Section, budget: Deadline, deadline: Deadline) -> list[str]:
    """Measure rows while the budget lasts; names of those that are left."""
    missing = book.missing(section.name, section.rows(bench))
    bench.peaks |= facts.known_peaks(book.rows("device"))
    for place, row in enumerate(missing):
        if budget.left() <= 0:
            return [f"{section.name}: {other.key}" for other in missing[place:]]
        _row(bench, book, section, row, deadline)
        book.write_text(tables(book.contents))
    return []


def _row(bench: Bench, book: Book, section: Section, row: Row, deadline: Deadline) -> None:
    book.begin(section.name, row.key)
    bench.fresh()
    started = time.perf_counter()
    try:
        with _at_most(max(deadline.left(), 0) + _GRACE):
            values = row.measure()
        bench.wait()
    except KeyboardInterrupt:
        book.failed(section.name, row.key, KeyboardInterrupt("interrupted"), time.perf_counter() - started)
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the other rows are wanted
        book.failed(section.name, row.key, error, time.perf_counter() - started)
        print(f"{section.name}: {row.key}: {type(error).__name__}: {str(error)[:200]}", flush=True)
        del error
        _still_there(bench)
        return
    book.measured(section.name, row.key, values, time.perf_counter() - started)
    shown = ", ".join(f"{name} {value:.4g}" for name, value in values.items() if isinstance(value, float))
    print(f"{section.name}: {row.key}: {shown}", flush=True)


def _still_there(bench: Bench) -> None:
    try:
        bench.fresh()
        bench.wait()
        torch.zeros(1, device=bench.device).add_(1).item()
    except RuntimeError as error:
        raise DeviceLost(f"the device does not answer after the last error ({error})") from error


@contextmanager
def _at_most(seconds: float) -> Iterator[None]:
    """Interrupt Python code that takes longer, where the system can (not in threads, not on Windows)."""
    if not hasattr(signal, "setitimer"):
        yield
        return

    def give_up(number: int, frame: object) -> None:
        raise OutOfTime(f"no end in sight after {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _be_patient() -> None:
    """Many shapes go through the same compiled blocks; without room for them the compiler would silently give up."""
    import torch._dynamo

    config = torch._dynamo.config
    for name in ("recompile_limit", "cache_size_limit", "accumulated_recompile_limit", "accumulated_cache_size_limit"):
        if hasattr(config, name):
            setattr(config, name, max(128, getattr(config, name)))
