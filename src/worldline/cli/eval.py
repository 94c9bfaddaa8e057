"""``worldline eval SUITE``: accuracy on procedural test scenes or on sequences with ground truth, beside baselines.

Models with a memory are measured on streams of a six-camera rig: ``worldline eval street --model driv3r-mini``, models
that answer queries about videos on films: ``worldline eval dynamic --model d4rt-mini``.
Benchmarks of videos: :mod:`worldline.cli.eval_video`; rendered views: :mod:`worldline.cli.eval_novel`.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from worldline.cli.eval_films import run as run_films
from worldline.cli.eval_novel import Novel
from worldline.cli.eval_novel import run as run_novel
from worldline.cli.eval_video import KINDS as VIDEOS
from worldline.cli.eval_video import run as run_video

if TYPE_CHECKING:
    from rich.console import Console

    from worldline.eval.report import Report
    from worldline.pipeline import Reconstructor

DEFAULT_MODEL = "mvdust3r-plus-mini"
SUITES = ("rooms", "objects", "outdoor", "street", "dynamic")

_STEPS = 8  # of a stream

Baseline = Literal["constant-depth", "sfm"]


@dataclass(frozen=True)
class _Models:
    """Which models are measured; one table for all of them, each further one compared with the first."""

    model: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Name or folder of a model; may be given several times."""
    models: tuple[str, ...] = ()
    """The same for several at once: --models NEW OLD. Without any: mvdust3r-plus-mini."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""


@dataclass(frozen=True)
class _Suite(_Models):
    views: tuple[int, ...] = (4, 8)
    """Numbers of views."""
    baselines: tuple[Baseline, ...] = ("constant-depth", "sfm")
    """What to measure beside the models; sfm is pycolmap's incremental reconstruction."""
    paper: bool = False
    """Also ND, DAc, CD, RRE, RTE and mAE by the protocol of MV-DUSt3R+ (a second pass per scene)."""
    solver: Literal["pycolmap", "opencv"] = "pycolmap"
    """PnP of the paper's camera figures; opencv is the published one (extra: motion)."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Also write the results as JSON, and beside it as Markdown and as a plot."""
    plot: bool = True
    """With -o: draw the plot; needs the extra 'eval'."""


@dataclass(frozen=True)
class Worlds(_Suite):
    """Procedural test scenes, never trained on."""

    scenes: Annotated[int | None, tyro.conf.arg(aliases=["-n"])] = None
    """Number of test scenes; by default 100, for streams 6 drives, for films 8, or what a sweep says."""
    gallery: bool = False
    """With -o: also a picture of the best, the middle and the worst scene of the first model; a sheet of a stream or
    of films."""
    sweep: str | None = None
    """Vary one thing. Streams (street, models with a memory): memory, scale, length, pruning, motion, lighting, rain,
    poses, calibration, dropout or cameras. Films (dynamic, models that answer queries): speed, occlusion, frames, rate,
    lighting or all."""
    steps: int | None = None
    """Steps of a drive, by default 8; frames of a film, by default 16."""
    rate: float | None = None
    """Steps of a drive per second, by default 4; frames of a film per second, by default 12."""
    cache: Path | None = None
    """Streams and films: folder where they are kept once they are rendered, for the next run."""


@dataclass(frozen=True, kw_only=True)
class Real(_Suite):
    """Sequences on disk with intrinsics, poses and depth or points (docs/evaluation.md)."""

    folder: tyro.conf.Positional[Path]
    """Folder of one or many sequences."""
    format: str | None = None
    """Name of the reader; by default each folder is recognised by what is in it."""
    max_subsets: int = 6
    """At most this many choices of frames per sequence and number of views."""
    spacing: int | None = None
    """Frames from one view to the next; by default the views spread over the whole sequence."""


@dataclass(frozen=True, kw_only=True)
class Sweep(_Models):
    """One thing varied, everything else kept: JSON, table and plot. Interrupted sweeps go on where they stopped."""

    name: tyro.conf.Positional[str]
    """views, overlap, size, objects, lighting, texture, reference, paths or single-pass."""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder for NAME.json, NAME.md and NAME.png."""
    scenes: Annotated[int | None, tyro.conf.arg(aliases=["-n"])] = None
    """Scenes per level; by default what the sweep says."""
    views: int | None = None
    """Number of views, where that is not what varies."""
    levels: tuple[float, ...] = ()
    """Values of what is varied; by default those of the sweep."""
    layout: str = "rooms"
    """Kind of scene."""
    baselines: tuple[Baseline, ...] = ("constant-depth",)
    """What to measure beside the models."""
    plot: bool = True
    """Draw NAME.png; needs the extra 'eval'."""


def run(argv: list[str]) -> int:
    """Parse the arguments, measure, print a Markdown table."""
    kinds: dict[str, Callable[..., Any]] = {
        **dict.fromkeys(SUITES, Worlds), "real": Real, "sweep": Sweep, "novel": Novel, **VIDEOS,
    }  # fmt: skip
    wanted = argv[0] if argv else ""
    arguments = tyro.extras.subcommand_cli_from_dict(kinds, args=argv, prog="worldline eval")
    if wanted in VIDEOS:
        return run_video(arguments, wanted, argv)
    if isinstance(arguments, Novel):
        return run_novel(arguments, argv)
    from worldline.cli.common import console
    from worldline.eval.methods import load_models

    out = console()
    names = (*arguments.model, *arguments.models) or (DEFAULT_MODEL,)
    if isinstance(arguments, Sweep):
        return _sweep(arguments, names, out, argv)
    _check(arguments)
    models = load_models(names, arguments.device)
    if isinstance(arguments, Worlds) and _on_films(wanted, models):
        return run_films(arguments, models, out, argv)
    if isinstance(arguments, Worlds) and _on_streams(arguments, wanted, models):
        return _streams(arguments, models, out, argv)
    report = _evaluate(arguments, wanted, models, out)
    report.about["command"] = shlex.join(["worldline", "eval", *argv])
    out.print(report.as_markdown(with_definitions=False))
    if arguments.out:
        for path in report.write(_as_json_path(arguments.out, wanted), plot=arguments.plot):
            out.print(f"wrote {path}")
        if isinstance(arguments, Worlds) and arguments.gallery:
            from worldline.eval.gallery import write_gallery

            path = _as_json_path(arguments.out, wanted).with_suffix("")
            model = models[report.models[0]]
            out.print(f"wrote {write_gallery(report, model, wanted, path.with_name(path.name + '_gallery.jpg'))}")
    return 0


def _evaluate(arguments: Worlds | Real, layout: str, models: dict[str, Reconstructor], out: Console) -> Report:
    from worldline.eval.methods import BASELINES
    from worldline.eval.suites import evaluate_real, evaluate_worlds

    baselines = [BASELINES[name] for name in arguments.baselines]
    if isinstance(arguments, Worlds):
        return evaluate_worlds(
            models, layout, arguments.scenes or 100, arguments.views, baselines=baselines, paper=arguments.paper,
            solver=arguments.solver, say=out.print,
        )  # fmt: skip
    return evaluate_real(
        models, arguments.folder, arguments.views, format_name=arguments.format, max_subsets=arguments.max_subsets,
        spacing=arguments.spacing, baselines=baselines, paper=arguments.paper, solver=arguments.solver, say=out.print,
    )  # fmt: skip


def _on_films(layout: str, models: dict[str, Reconstructor]) -> bool:
    """Whether these models are measured on films: the first one answers queries about videos."""
    from worldline.eval.dynamic.suite import answers_queries

    return layout == "dynamic" and answers_queries(models)


def _on_streams(arguments: Worlds, layout: str, models: dict[str, Reconstructor]) -> bool:
    """Whether these models are measured on streams; sweeps of streams are refused for others."""
    from worldline.errors import InputError
    from worldline.eval.streams import has_memory

    if layout == "street" and has_memory(models):
        return True
    if arguments.sweep is not None:
        raise InputError(
            "--sweep varies streams and films: a model with a memory in streets, one that answers queries in dynamic.",
            "For photos: worldline eval sweep NAME -o FOLDER. For streams: worldline eval street --model driv3r-mini.",
        )
    return False


def _streams(arguments: Worlds, models: dict[str, Reconstructor], out: Console, argv: list[str]) -> int:
    """The suite of streams, or one of its sweeps."""
    from worldline.errors import InputError
    from worldline.eval.streams import (
        StreamSettings,
        StreamSweepSettings,
        evaluate_streams,
        run_stream_sweep,
        stream_sweep_named,
    )

    command = shlex.join(["worldline", "eval", *argv])
    if arguments.sweep is not None:
        sweep = stream_sweep_named(arguments.sweep)
        if arguments.out is None:
            raise InputError("--sweep needs a place for its files.", "Name it: -o FOLDER.")
        chosen = StreamSweepSettings(arguments.scenes, None, arguments.cache, arguments.plot, command)
        written = run_stream_sweep(sweep, models, arguments.out, chosen, say=out.print)
        out.print(written["md"].read_text(encoding="utf-8"))
        files = list(written.values())
    else:
        from worldline.eval.streams.drives import RATE
        from worldline.eval.streams.suite import DRIVES

        settings = StreamSettings(
            arguments.scenes or DRIVES, arguments.steps or _STEPS, arguments.rate or RATE, cache=arguments.cache
        )  # fmt: skip
        report = evaluate_streams(models, settings, say=out.print)
        report.about["command"] = command
        out.print(report.as_markdown(with_definitions=False))
        path = _as_json_path(arguments.out, "streams") if arguments.out else None
        files = report.write(path, plot=arguments.plot) if path else []
        if path and arguments.gallery:
            from worldline.eval.streams.sheet import write_sheet

            files.append(write_sheet(models[report.models[0]], settings, path.with_suffix(".jpg")))
    for path in files:
        out.print(f"wrote {path}")
    return 0


def _check(arguments: Worlds | Real) -> None:
    """Mistakes are found before a model is loaded or a scene measured."""
    from worldline.cli.common import check_positive, parse_counts
    from worldline.errors import InputError
    from worldline.eval.plots import require_matplotlib
    from worldline.files import check_writable

    parse_counts(arguments.views)
    if isinstance(arguments, Worlds):
        check_positive(scenes=1 if arguments.scenes is None else arguments.scenes)
        if arguments.gallery and not arguments.out:
            raise InputError("--gallery needs a place for its picture.", "Name it: -o FOLDER.")
    else:
        spacing = 1 if arguments.spacing is None else arguments.spacing
        check_positive(**{"max-subsets": arguments.max_subsets, "spacing": spacing})
    if arguments.out:
        check_writable(_as_json_path(arguments.out, "").parent)
        if arguments.plot:
            require_matplotlib()


def _as_json_path(out: Path, name: str) -> Path:
    """A file as it is named; a folder (no suffix) gets ``NAME.json``."""
    return out if out.suffix else out / f"{name}.json"


def _sweep(arguments: Sweep, names: Sequence[str], out: Console, argv: list[str]) -> int:
    from worldline.cli.common import check_positive
    from worldline.eval.methods import BASELINES, load_models
    from worldline.eval.sweeps import SweepSettings, run_sweep, sweep_named
    from worldline.files import check_writable

    sweep = sweep_named(arguments.name)
    check_positive(scenes=arguments.scenes or 1)
    check_writable(arguments.out)
    settings = SweepSettings(
        scenes=arguments.scenes or sweep.scenes,
        views=arguments.views or sweep.views,
        layout=arguments.layout,
        baselines=tuple(BASELINES[name] for name in arguments.baselines),
        values=arguments.levels or None,
        plot=arguments.plot,
        command=shlex.join(["worldline", "eval", *argv]),
    )
    written = run_sweep(sweep, load_models(names, arguments.device), arguments.out, settings, say=out.print)
    out.print(written["md"].read_text(encoding="utf-8"))
    for path in written.values():
        out.print(f"wrote {path}")
    return 0
