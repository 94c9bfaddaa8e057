"""``worldline eval dynamic --model d4rt-mini``: films of moving things, for models that answer queries about videos."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from worldline.cli.eval import Worlds
    from worldline.eval.dynamic.films import Film
    from worldline.eval.dynamic.scores import Predicted
    from worldline.eval.dynamic.suite import FilmReport
    from worldline.pipeline import Reconstructor

_BANDS = 3  # films in a picture


def run(arguments: Worlds, models: dict[str, Reconstructor], out: Console, argv: list[str]) -> int:
    """The suite of films, or one of its sweeps."""
    from worldline.errors import InputError
    from worldline.eval.dynamic.films import FRAMES, RATE
    from worldline.eval.dynamic.suite import FILMS, FilmSettings, evaluate_films, film_methods

    command = shlex.join(["worldline", "eval", *argv])
    if arguments.sweep is not None:
        if arguments.out is None:
            raise InputError("--sweep needs a place for its files.", "Name it: -o FOLDER.")
        return _sweep(arguments, models, out, command, arguments.out)
    settings = FilmSettings(
        arguments.scenes or FILMS, arguments.steps or FRAMES, arguments.rate or RATE, cache=arguments.cache
    )
    methods, seen = film_methods(models), list[tuple["Film", "Predicted"]]()
    path = None if arguments.out is None else arguments.out if arguments.out.suffix else arguments.out / "films.json"

    def look(film: Film, method: str, found: Predicted) -> None:
        if arguments.gallery and method == methods[0].name and len(seen) < _BANDS:
            seen.append((film, found))

    def write(report: FilmReport) -> None:
        report.about["command"] = command
        if path is not None:
            report.write(path)

    report = evaluate_films(methods, settings, say=out.print, look=look, done=write)
    out.print(report.as_markdown(with_definitions=False))
    if path is None:
        return 0
    files = report.write(path, plot=arguments.plot)
    if seen:
        from worldline.eval.dynamic.sheet import write_sheet

        files.append(write_sheet(seen, path.with_suffix(".jpg")))
    for file in files:
        out.print(f"wrote {file}")
    return 0


def _sweep(
    arguments: Worlds, models: dict[str, Reconstructor], out: Console, command: str, folder: Path
) -> int:  # fmt: skip
    from worldline.eval.dynamic.suite import film_methods
    from worldline.eval.dynamic.sweeps import FILM_SWEEPS, FilmSweepSettings, Memo, film_sweep_named, run_film_sweep

    name = arguments.sweep or ""
    sweeps = list(FILM_SWEEPS.values()) if name == "all" else [film_sweep_named(name)]
    settings = FilmSweepSettings(arguments.scenes, arguments.cache, arguments.plot, command)
    methods, memo = film_methods(models), Memo()
    for sweep in sweeps:
        written = run_film_sweep(sweep, methods, folder, settings, say=out.print, memo=memo)
        out.print(written["md"].read_text(encoding="utf-8"))
        for file in written.values():
            out.print(f"wrote {file}")
    return 0
