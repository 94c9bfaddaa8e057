"""``worldline bench``: speed and memory of one pass beside pairs + global alignment, and speed of the worlds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class SinglePass:
    """One pass over all views against pairs + global alignment, same weights, same photos, one run."""

    model: str = "mvdust3r-plus-mini"
    """A multi-view model."""
    views: tuple[int, ...] = (4, 8, 12, 24)
    """Numbers of views."""
    iterations: int = 300
    """Steps of global alignment."""
    repeats: int = 3
    """Single passes per number of views; their median is reported."""
    threads: int = 2
    """Processor threads."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Also write the records as JSON."""


@dataclass(frozen=True)
class Memory:
    """Predicted against measured peak memory of one pass."""

    model: str = "mvdust3r-plus-mini"
    """Model to load; random weights of the same size when it is not there."""
    views: tuple[int, ...] = (2, 4, 8, 12, 24)
    """Numbers of views."""


@dataclass(frozen=True)
class Worlds:
    """Rays per second and seconds per sample of procedural worlds."""

    layout: str = "rooms"
    """Kind of world; see: worldline worlds list."""
    solids: tuple[int, ...] = (30, 100, 300, 1000)
    """Numbers of solids in the scene, each 1 or more."""
    device: str = "cpu"
    """Where to render: cpu or cuda."""
    threads: int = 2
    """Processor threads."""
    repeats: int = 5
    """Runs of which the median is reported."""
    scenes: int = 2
    """Worlds in one batch."""
    size: int = 224
    """Side of the square photos in pixels; 4 of each world."""
    compile: bool = False
    """Compile the elementwise steps first."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Also write the records as JSON."""


def run(argv: list[str]) -> int:
    """Parse the arguments and measure."""
    arguments = tyro.extras.subcommand_cli_from_dict(
        {"single-pass": SinglePass, "memory": Memory, "worlds": Worlds}, args=argv, prog="worldline bench"
    )
    if isinstance(arguments, Worlds):
        return _worlds(arguments)
    return _single_pass(arguments) if isinstance(arguments, SinglePass) else _memory(arguments)


def _single_pass(arguments: SinglePass) -> int:
    from worldline.cli.common import check_positive, console, markdown_table, parse_counts
    from worldline.eval.single_pass import compare_single_pass
    from worldline.files import write_json

    counts = parse_counts(arguments.views)
    check_positive(repeats=arguments.repeats, iterations=arguments.iterations, threads=arguments.threads)
    out = console()
    records = compare_single_pass(
        arguments.model,
        counts,
        repeats=arguments.repeats,
        iterations=arguments.iterations,
        threads=arguments.threads,
        report=lambda record: out.print(json.dumps(record)),
    )
    out.print(markdown_table(records))
    if arguments.out:
        write_json(arguments.out, records)
    return 0


def _memory(arguments: Memory) -> int:
    from worldline.cli.common import console, markdown_table, parse_counts
    from worldline.eval.memory import compare_memory

    console().print(markdown_table(compare_memory(arguments.model, parse_counts(arguments.views))))
    return 0


def _worlds(arguments: Worlds) -> int:
    from worldline.cli.common import check_positive, console, markdown_table
    from worldline.eval.worlds_bench import measure_worlds
    from worldline.files import write_json
    from worldline.worlds.sampling import canonical_device

    canonical_device(arguments.device)
    check_positive(solids=min(arguments.solids, default=0))
    check_positive(repeats=arguments.repeats, threads=arguments.threads, scenes=arguments.scenes, size=arguments.size)
    records = measure_worlds(
        layout=arguments.layout,
        counts=arguments.solids,
        device=arguments.device,
        threads=arguments.threads,
        repeats=arguments.repeats,
        scenes=arguments.scenes,
        size=arguments.size,
        compile=arguments.compile,
    )
    console().print(markdown_table(records))
    if arguments.out:
        write_json(arguments.out, records)
    return 0
