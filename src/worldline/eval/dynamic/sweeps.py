"""One thing varied in films of moving things: JSON, Markdown and a plot."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import nan
from pathlib import Path
from typing import Any

import numpy as np

from worldline import worlds
from worldline.errors import InputError, NoPlaceError
from worldline.eval.dynamic.figures import FILM_FIGURES, definitions_table, means_table
from worldline.eval.dynamic.films import Film, FilmSpec, FilmStore
from worldline.eval.dynamic.methods import Asked, FilmMethod
from worldline.eval.dynamic.scores import Predicted, median_factor, score_film, score_tracks
from worldline.eval.dynamic.suite import FilmSettings, Say, describe_run, facts
from worldline.eval.report import table, without_nan, write_text
from worldline.eval.statistics import changes_from, mean_interval, rounded
from worldline.files import write_json

_ASKED = Asked(depth=(15, 20), masks=None, world=False)
_SHOWN = ("abs_rel", "scale_drift", "apd3d", "apd3d_moving", "oa", "delta_avg", "delta_avg_moving", "rpe_rotation",
          "rotation", "ate_share")  # fmt: skip
_PANELS = ("abs_rel", "apd3d", "delta_avg_moving", "rpe_rotation")
_COMPARED = ("abs_rel", "apd3d", "delta_avg", "rpe_rotation")
GAPS = ((0.0, "never hidden"), (0.2, "up to 0.2 s"), (0.45, "up to 0.45 s"), (np.inf, "longer"))
Record = dict[str, Any]  # level, method, seed and figures
Memo = dict[tuple[FilmSpec, str, Asked], Predicted]
Split = Callable[[Film, Predicted], Iterator[tuple[str, Mapping[str, float]]]]


@dataclass(frozen=True)
class FilmSweep:
    """What is varied, at which levels, and what is shown."""

    name: str
    question: str
    axis: str
    levels: Mapping[str, Mapping[str, Any]]  # label -> fields of FilmSpec
    base: str  # level that the others are compared with
    note: str = ""
    films: int = 4
    shown: tuple[str, ...] = _SHOWN
    panels: tuple[str, ...] = _PANELS
    asked: Asked = field(default_factory=lambda: _ASKED)
    split: Split | None = None  # figures by level of one and the same film, instead of a film per level


def by_gap(film: Film, found: Predicted) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Tracks by the longest time that they are hidden or outside of the image between two sights."""
    assert found.tracks is not None
    gaps, lower = film.longest_gap(), -1.0
    factor = median_factor(found.tracks.points, found.tracks.visible, film.points, film.visible)
    for upper, label in GAPS:
        rows = np.flatnonzero((gaps > lower) & (gaps <= upper))
        lower = upper
        if len(rows):
            names = ("points", "world", "uv", "visible")
            tracks = replace(found.tracks, **{name: getattr(found.tracks, name)[:, rows] for name in names})
            yield label, {**score_tracks(film.with_tracks(rows), tracks, factor), "tracks": float(len(rows))}


FILM_SWEEPS: dict[str, FilmSweep] = {
    sweep.name: sweep
    for sweep in (
        FilmSweep(
            "speed", "How fast may things move?", "speed of the things, factor",
            {f"{speed:g}": {"object_speed": speed} for speed in (0.0, 0.5, 1.0, 2.0, 4.0)}, "1",
            "The path of the camera is the same at all levels; at 0 everything stands still. The camera was drawn to "
            "look at things that move at speed 1 and may lose sight of them at others, or meet them.",
        ),
        FilmSweep(
            "occlusion", "How long may a point be hidden?", "longest time hidden or outside between two sights", {},
            GAPS[0][1], "Tracks of the suite's films, by the longest stretch of frames in which they are not seen and "
            "after which they are seen again. All levels of a film have the factor of all of its tracks.", films=8,
            shown=("apd3d", "aj", "oa", "delta_avg", "aj_2d"), panels=("apd3d", "aj", "oa", "delta_avg"),
            asked=Asked(depth=None, masks=None, cameras=False, world=False), split=by_gap,
        ),
        FilmSweep(
            "frames", "How many frames?", "frames at 12 Hz",
            {f"{count}": {"frames": count} for count in (4, 8, 16, 32)}, "16",
            "The longer film begins with the shorter one. Every level is measured on all of its frames: longer films "
            "show more and have longer tracks. Films longer than the network's clips go through it in windows.",
        ),
        FilmSweep(
            "rate", "How many frames per second?", "frames per second",
            {f"{rate:g}": {"rate": rate} for rate in (3.0, 6.0, 12.0, 24.0)}, "12",
            "16 frames of the same film each time: the lower the rate, the more moves from a frame to the next.",
        ),
        FilmSweep(
            "lighting", "How much does light matter?", "photos",
            {light: {"light": light} for light in ("ideal", "own", "flicker 1", "flicker 2", "dark")}, "own",
            "own: the camera and the file that the seed drew; ideal: no blur, noise or compression; flicker 1, 2: "
            "every frame with an exposure of its own, of so many stops standard deviation; dark: 2.5 stops too dark, "
            "with much noise.",
        ),
    )
}  # fmt: skip


def film_sweep_named(name: str) -> FilmSweep:
    """A sweep of films.

    Raises:
        InputError: there is none of that name.
    """
    if name not in FILM_SWEEPS:
        raise InputError(f"There is no sweep {name!r} of films.", f"Choose one of: {', '.join(FILM_SWEEPS)}.")
    return FILM_SWEEPS[name]


@dataclass(frozen=True)
class FilmSweepSettings:
    """How a sweep of films is run."""

    films: int | None = None  # the first seeds of the test split; None: what the sweep says
    cache: Path | None = None  # folder where rendered films are kept
    plot: bool = True
    command: str = ""  # how to have it again
    film: Mapping[str, Any] = field(default_factory=dict)  # fields of FilmSpec for all levels


def run_film_sweep(
    sweep: FilmSweep, methods: Sequence[FilmMethod], folder: Path, settings: FilmSweepSettings = FilmSweepSettings(),
    *, say: Say = lambda _: None, memo: Memo | None = None,
) -> dict[str, Path]:  # fmt: skip
    """Measure all levels and write ``films_<name>.json``, ``.md`` and ``.png``, all of them after every film.

    Args:
        memo: what methods said, for sweeps that share films; give the same one to all.

    Returns:
        the files by their kind: "json", "md", "png".

    Raises:
        InputError: no films.
        MissingExtraError: plots are wanted and matplotlib is not installed; before anything is measured.
        NoPlaceError: no seed has a place for the camera.
        OutputError: the folder cannot be written.
    """
    if settings.plot:
        from worldline.eval.plots import require_matplotlib

        require_matplotlib()
    suite, memo = FilmSettings(settings.films or sweep.films), {} if memo is None else memo
    kinds = ("json", "md", *(("png",) if settings.plot else ()))
    files = {kind: folder / f"films_{sweep.name}.{kind}" for kind in kinds}
    store, records, failures = FilmStore(settings.cache, most=1), list[Record](), list[NoPlaceError]()
    for seed in worlds.TEST_SEEDS[: suite.films]:
        base, mine = FilmSpec(seed, **settings.film), list[Record]()
        try:
            for label, changes in (sweep.levels or {"": {}}).items():
                mine += _measure(
                    sweep, label, store.get(replace(base, **changes)), methods, {} if memo is None else memo
                )
        except NoPlaceError as error:
            failures.append(error)
            say(f"left out seed {seed}: {error.cause}")
            continue
        records += mine
        said = ", ".join(
            f"{r['level']}: {r.get(sweep.panels[0], nan):.3f}" for r in mine if r["method"] == methods[0].name
        )
        say(f"{sweep.name}, seed {seed}, {FILM_FIGURES[sweep.panels[0]].axis} {said}")
        _write(
            sweep, {**describe_run(methods, suite), "command": settings.command}, base, _ordered(sweep, records), files
        )
    if not records:
        raise failures[0]
    return files


def _measure(
    sweep: FilmSweep, label: str, film: Film, methods: Sequence[FilmMethod], memo: Memo
) -> list[Record]:  # fmt: skip
    records: list[Record] = []
    for method in methods:
        if not method.answers and sweep.split is not None:
            continue
        key = film.spec, method.name, sweep.asked
        found = memo.get(key) or method.predict(film, sweep.asked)
        memo[key] = found
        parts = sweep.split(film, found) if sweep.split else iter([(label, score_film(film, found))])
        records += [
            {"level": level, "method": method.name, "seed": film.spec.seed, **figures} for level, figures in parts
        ]
    return records


def _progress(sweep: FilmSweep, records: Sequence[Record]) -> str:
    name = sweep.panels[0]
    said = ", ".join(f"{r['level']}: {r.get(name, nan):.3f}" for r in records if r["method"] == records[0]["method"])
    return f"{sweep.name}, seed {records[0]['seed']}, {FILM_FIGURES[name].axis} {said}" if records else sweep.name


def _ordered(sweep: FilmSweep, records: list[Record]) -> list[Record]:
    order = list(sweep.levels) or [label for _, label in GAPS]
    return sorted(records, key=lambda record: order.index(record["level"]))


def _write(
    sweep: FilmSweep, head: Mapping[str, Any], spec: FilmSpec, records: Sequence[Record], files: Mapping[str, Path]
) -> None:
    head = {**head, "frames": spec.frames, "rate": spec.rate, "size": [spec.height, spec.width], "tracks": spec.tracks}
    groups = grouped(records)
    means = [
        {"level": level, "method": method, "films": len(rows)}
        | {
            n: [rounded(v) for v in mean_interval([row.get(n, nan) for row in rows])]
            for n in sweep.shown
            if n in rows[0]
        }
        for (level, method), rows in groups.items()
    ]
    trials = [{k: rounded(v) if isinstance(v, float) else v for k, v in record.items()} for record in records]
    about = {"sweep": sweep.name, "question": sweep.question, "axis": sweep.axis, "note": sweep.note}
    write_json(files["json"], without_nan({**head, **about, "means": means, "records": trials}))
    write_text(files["md"], as_markdown(sweep, head, groups))
    if "png" in files:
        from worldline.eval.dynamic.plots import draw_sweep

        draw_sweep(sweep.question, sweep.axis, sweep.panels, records, files["png"])


def grouped(records: Sequence[Record]) -> dict[tuple[str, str], list[Record]]:
    """Records by level and method, in the order of the levels."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record["level"], record["method"]), []).append(record)
    return groups


def as_markdown(
    sweep: FilmSweep, head: Mapping[str, Any], groups: Mapping[tuple[str, str], Sequence[Record]]
) -> str:  # fmt: skip
    """The sweep as a page: question, command, table, plot, changes, definitions."""
    titles = {name: FILM_FIGURES[name].axis for name in _COMPARED}
    changes = changes_from(sweep.base, groups, titles, "films")
    parts = [
        f"# {sweep.question}",
        f"```text\n{head['command']}\n```" if head["command"] else "",
        facts(head),
        sweep.note,
        f"Mean over films, 95 % bootstrap interval. Level: {sweep.axis}.",
        means_table(groups.items(), ["level", "method"], sweep.shown),
        f"![{sweep.question}](films_{sweep.name}.png)",
    ]
    if changes:
        parts.append(f'Change from level "{sweep.base}", film by film: mean difference, 95 % bootstrap interval.')
        parts.append(table(changes, ("level", "method", *titles.values(), "films")))
    parts.append(definitions_table(sweep.shown))
    return "\n\n".join(part for part in parts if part) + "\n"
