"""Running sweeps of streams: every case on the same drives; JSON, Markdown and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldline import worlds
from worldline.errors import InputError, NoPlaceError
from worldline.eval.report import table, without_nan, write_text
from worldline.eval.statistics import changes_from, mean_interval, rounded
from worldline.eval.streams.drives import DriveSpec, DriveStore, StreamDrive
from worldline.eval.streams.figures import definitions_table, means_table
from worldline.eval.streams.plan import Case, StreamSweep
from worldline.eval.streams.runs import StreamRun, run_single_frames, run_stream
from worldline.eval.streams.scores import Figures, latency, score_drive
from worldline.eval.streams.suite import Say, facts
from worldline.eval.suites import about
from worldline.files import write_json

if TYPE_CHECKING:
    from worldline.pipeline import Reconstructor
    from worldline.pipeline.stream import StreamOptions

_COMPARED = ("abs_rel", "abs_rel_scaled")
Record = dict[str, Any]  # level, method, seed and figures


@dataclass(frozen=True)
class StreamSweepSettings:
    """How a sweep of streams is run."""

    drives: int | None = None  # the first seeds of the test split; None: what the sweep says
    drive: Mapping[str, Any] | None = None  # fields of DriveSpec that replace those of the sweep
    cache: Path | None = None  # folder where rendered drives are kept
    plot: bool = True
    command: str = ""  # how to have it again


def run_stream_sweep(
    sweep: StreamSweep,
    models: Mapping[str, Reconstructor],
    folder: Path,
    settings: StreamSweepSettings = StreamSweepSettings(),
    *,
    options: StreamOptions | None = None,
    say: Say = lambda _: None,
) -> dict[str, Path]:
    """Measure all cases and write ``street_<name>.json``, ``.md`` and ``.png``, all of them after every drive.

    Returns:
        the files by their kind: "json", "md", "png".

    Raises:
        InputError: no drives, or a model without a memory.
        MissingExtraError: plots are wanted and matplotlib is not installed; before anything is measured.
        NoPlaceError: no seed has a place for the rig.
        OutputError: the folder cannot be written.
    """
    if settings.plot:
        from worldline.eval.plots import require_matplotlib

        require_matplotlib()
    count = settings.drives or sweep.drives
    if not 1 <= count <= len(worlds.TEST_SEEDS):
        raise InputError(f"{count} test drives cannot be had.", f"There are {len(worlds.TEST_SEEDS)}.")
    kinds = ("json", "md", *(("png",) if settings.plot else ()))
    files = {kind: folder / f"street_{sweep.name}.{kind}" for kind in kinds}
    store, failures = DriveStore(settings.cache, most=len(sweep.cases)), []
    records: list[Record] = []
    for seed in worlds.TEST_SEEDS[:count]:
        base = DriveSpec(seed, **{**sweep.drive, **(settings.drive or {})})
        try:
            for case in sweep.cases:
                records += _measure(sweep, case, store.get(replace(base, **case.drive)), models, options)
                say(_progress(sweep, case, records, seed))
        except NoPlaceError as error:
            failures.append(error)
            say(f"left out seed {seed}: {error.cause}")
            continue
        _write(sweep, _head(sweep, models, base, count, settings.command), records, files)
    if not records:
        raise failures[0]
    return files


def _measure(
    sweep: StreamSweep, case: Case, drive: StreamDrive, models: Mapping[str, Reconstructor],
    options: StreamOptions | None,
) -> list[Record]:  # fmt: skip
    start, stop = case.steps
    drive = drive if stop is None else drive.first(stop)
    records = []
    for label, model in models.items():
        run = _run(sweep, case, drive, model, options)
        run.final = {key: each for key, each in run.final.items() if key[0] >= start}
        method = f"{label}, {case.method}" if case.method else label
        for level, figures in _figures(case, drive, run).items():
            records.append({"level": level, "method": method, "seed": drive.spec.seed, **figures})
    return records


def _run(
    sweep: StreamSweep, case: Case, drive: StreamDrive, model: Reconstructor, options: StreamOptions | None
) -> StreamRun:
    from worldline.pipeline.stream import StreamOptions

    chosen = options or StreamOptions()
    pool = replace(chosen.pool, memory=replace(chosen.pool.memory, **case.memory), **case.pool)
    align = replace(chosen.align, **case.align)
    chosen = replace(chosen, pool=pool, align=align, motion=None if sweep.motion else False)
    run = run_single_frames if case.single else run_stream
    return run(model, drive, chosen, case.disturbance)


def _figures(case: Case, drive: StreamDrive, run: StreamRun) -> Mapping[str, Figures]:
    if case.split is not None:
        return case.split(drive, run)
    figures = score_drive(drive, run.final, cloud=False, sensors=case.sensors).figures
    return {case.level: {**figures, "latency": latency(run)}}


def _head(
    sweep: StreamSweep, models: Mapping[str, Reconstructor], spec: DriveSpec, count: int, command: str
) -> dict[str, Any]:
    seeds = worlds.TEST_SEEDS[:count]
    what = {
        "sweep": sweep.name, "question": sweep.question, "axis": sweep.axis, "note": sweep.note, "command": command,
        "seeds": [seeds[0], seeds[-1]], "steps": spec.steps, "rate": spec.rate, "size": [spec.height, spec.width],
        "sensors": list(spec.sensors),
    }  # fmt: skip
    return about(models, what)


def _write(sweep: StreamSweep, head: Mapping[str, Any], records: Sequence[Record], files: Mapping[str, Path]) -> None:
    groups = grouped(records)
    means = [
        {"level": level, "method": method, "drives": len(rows)}
        | {n: [rounded(v) for v in mean_interval([r.get(n, nan) for r in rows])] for n in _known(sweep, rows)}
        for (level, method), rows in groups.items()
    ]
    write_json(
        files["json"], without_nan({**head, "means": means, "records": [_rounded(record) for record in records]})
    )
    write_text(files["md"], as_markdown(sweep, head, records))
    if "png" in files:
        from worldline.eval.streams.plots import draw_sweep

        draw_sweep(sweep, records, files["png"])


def _known(sweep: StreamSweep, rows: Sequence[Record]) -> list[str]:
    return [n for n in dict.fromkeys((*sweep.shown, *sweep.panels)) if any(n in row for row in rows)]


def _rounded(record: Record) -> Record:
    return {name: rounded(value) if isinstance(value, float) else value for name, value in record.items()}


def grouped(records: Sequence[Record]) -> dict[tuple[str, str], list[Record]]:
    """Records by level and method, in the order of the cases."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record["level"], record["method"]), []).append(record)
    return groups


def as_markdown(sweep: StreamSweep, head: Mapping[str, Any], records: Sequence[Record]) -> str:
    """The sweep as a page: question, command, table, plot, changes, definitions."""
    groups = grouped(records)
    changes = changes_from(sweep.base, groups, {name: name for name in _COMPARED}, "drives")
    parts = [
        f"# {sweep.question}",
        f"```text\n{head['command']}\n```" if head["command"] else "",
        facts(head),
        sweep.note,
        f"Mean over drives, 95 % bootstrap interval. Level: {sweep.axis}.",
        means_table(groups.items(), ["level", "method"], sweep.shown),
        f"![{sweep.question}](street_{sweep.name}.png)",
    ]
    if changes:
        parts.append(f"Change from level {sweep.base}, drive by drive: mean difference, 95 % bootstrap interval.")
        parts.append(table(changes, ("level", "method", *_COMPARED, "drives")))
    parts.append(definitions_table(sweep.shown))
    return "\n\n".join(part for part in parts if part) + "\n"


def _progress(sweep: StreamSweep, case: Case, records: Sequence[Record], seed: int) -> str:
    rows = [r for r in records if r["seed"] == seed and (case.split is not None or r["level"] == case.level)]
    shown = ", ".join(f"{r['method']} {r['level']}: {r['abs_rel']:.3f}" for r in rows[-len(rows) :])
    return f"{sweep.name}, seed {seed}, AbsRel {shown}"
