"""``worldline eval SUITE``: accuracy on procedural test scenes or on sequences with ground truth, beside baselines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class Rooms:
    """Procedural test rooms, never trained on."""

    model: str = "mvdust3r-plus-mini"
    """Name or folder of the model."""
    scenes: Annotated[int, tyro.conf.arg(aliases=["-n"])] = 100
    """Number of test scenes."""
    views: tuple[int, ...] = (4, 8)
    """Numbers of views."""
    baselines: tuple[Literal["constant-depth", "sfm"], ...] = ("constant-depth", "sfm")
    """What to measure beside the model; sfm is pycolmap's incremental reconstruction."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Also write the records as JSON."""


@dataclass(frozen=True)
class Real:
    """Sequences on disk with intrinsics, poses and depth (docs/evaluation.md)."""

    folder: tyro.conf.Positional[Path]
    """Folder of one or many sequences."""
    model: str = "mvdust3r-plus-mini"
    """Name or folder of the model."""
    views: tuple[int, ...] = (4, 8)
    """Numbers of views."""
    max_subsets: int = 6
    """At most this many choices of frames per sequence and number of views."""
    baselines: tuple[Literal["constant-depth", "sfm"], ...] = ("constant-depth", "sfm")
    """What to measure beside the model; sfm is pycolmap's incremental reconstruction."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Also write the records as JSON."""


def run(argv: list[str]) -> int:
    """Parse the arguments, measure, print a Markdown table."""
    arguments = tyro.extras.subcommand_cli_from_dict({"rooms": Rooms, "real": Real}, args=argv, prog="worldline eval")
    from worldline.cli.common import console, markdown_table, parse_counts
    from worldline.eval.suites import CONSTANT_DEPTH, SFM, evaluate_real, evaluate_rooms
    from worldline.files import write_json
    from worldline.pipeline import load

    counts = parse_counts(arguments.views)
    names = {"constant-depth": CONSTANT_DEPTH, "sfm": SFM}
    baselines = [names[name] for name in arguments.baselines]
    out = console()
    model = load(arguments.model, arguments.device)
    if isinstance(arguments, Rooms):
        records = evaluate_rooms(model, arguments.scenes, counts, baselines=baselines, report=out.print)
    else:
        records = evaluate_real(
            model, arguments.folder, counts, max_subsets=arguments.max_subsets, baselines=baselines, report=out.print
        )
    out.print(markdown_table(records))
    if arguments.out:
        write_json(arguments.out, records)
    return 0
