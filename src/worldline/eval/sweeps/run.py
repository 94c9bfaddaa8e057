"""Running a sweep: level by level over the same seeds, with results on disk after every scene, so it can be resumed."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from worldline.errors import InputError, NoPlaceError
from worldline.eval.covisibility import overlap
from worldline.eval.methods import CONSTANT_DEPTH, score_baselines, sizes, write_photos
from worldline.eval.report import without_nan, write_text
from worldline.eval.suites import about
from worldline.eval.sweeps.measure import Photographed
from worldline.eval.sweeps.plan import Level, Sweep
from worldline.eval.sweeps.tables import as_markdown, summarize
from worldline.eval.worlds_truth import truth_of
from worldline.files import write_json
from worldline.inputs import load_views

if TYPE_CHECKING:
    from worldline.pipeline import Reconstructor

Say = Callable[[str], None]
_SAME = ("sweep", "views", "layout", "models")  # what must agree for old records to be kept


@dataclass(frozen=True)
class SweepSettings:
    """How a sweep is run."""

    scenes: int = 16  # per level: the first seeds of the test split
    views: int = 4  # where that is not what varies
    layout: str = "rooms"
    baselines: tuple[str, ...] = (CONSTANT_DEPTH,)
    values: tuple[float, ...] | None = None  # levels, if not those of the sweep
    plot: bool = True
    command: str = ""  # how to have it again


def run_sweep(
    sweep: Sweep,
    models: Mapping[str, Reconstructor],
    folder: Path,
    settings: SweepSettings,
    *,
    say: Say = lambda _: None,
) -> dict[str, Path]:
    """Measure every level and write ``<name>.json``, ``<name>.md`` and ``<name>.png``, all of them after every level.

    A sweep that was interrupted, or is repeated with more scenes or levels, keeps what it has measured.

    Returns:
        the files by their kind: "json", "md", "png".

    Raises:
        InputError: the folder holds this sweep with other settings, or no scene could be made at some level.
        MissingExtraError: plots are wanted and matplotlib is not installed; before anything is measured.
        OutputError: the folder cannot be written.
    """
    from worldline import worlds
    from worldline.worlds.sampling import canonical_layout

    if settings.plot:
        from worldline.eval.plots import require_matplotlib

        require_matplotlib()
    canonical_layout(settings.layout)
    files = {kind: folder / f"{sweep.name}.{kind}" for kind in ("json", "md", *(("png",) if settings.plot else ()))}
    seeds = worlds.TEST_SEEDS[: settings.scenes]
    values = settings.values or sweep.values
    head = _head(sweep, models, settings, seeds, values)
    records = _earlier(files["json"], head)
    for value in values:
        level = sweep.level(value)
        failures = []
        for seed in seeds:
            if any(record["level"] == value and record["seed"] == seed for record in records):
                continue
            try:
                records += _measure(sweep, level, seed, models, settings)
            except NoPlaceError as error:
                failures.append(error)
                say(f"{sweep.axis} {value:g}, seed {seed}: {error.cause}")
                continue
            write_json(files["json"], without_nan({**head, "records": records}))
        if len(failures) == len(seeds):
            raise failures[0]
        _write(sweep, head, records, values, files)
        say(_progress(sweep, records, value))
    return files


def _measure(
    sweep: Sweep, level: Level, seed: int, models: Mapping[str, Reconstructor], settings: SweepSettings
) -> list[dict[str, Any]]:
    """Records of all methods on one scene of a level."""
    from worldline import worlds

    count, records = level.views or settings.views, []
    for size in sizes(models):
        sample = worlds.sample(settings.layout, seed, views=count, height=size, width=size, **level.world)
        images, truth = np.asarray(sample.images), truth_of(sample)
        views = load_views(list(images), size=size, fit="square")
        chosen = {label: model for label, model in models.items() if model.image_size == size}
        found = sweep.measure(chosen, Photographed(views, truth, level.value))
        if size == sizes(models)[0]:
            with tempfile.TemporaryDirectory() as scratch:
                photos = write_photos(images, Path(scratch)) if set(settings.baselines) - {CONSTANT_DEPTH} else []
                found |= score_baselines(settings.baselines, views, truth, photos)
        shared = {"level": level.value, "seed": seed, "views": count, "overlap": overlap(truth)}
        records += [{**shared, "method": method, **figures} for method, figures in found.items()]
    return records


def _head(
    sweep: Sweep, models: Mapping[str, Reconstructor], settings: SweepSettings, seeds: Sequence[int],
    values: Iterable[float],
) -> dict[str, Any]:  # fmt: skip
    what = {
        "sweep": sweep.name,
        "question": sweep.question,
        "axis": sweep.axis,
        "note": sweep.note,
        "command": settings.command,
        "layout": settings.layout,
        "views": settings.views if all(sweep.level(value).views is None for value in values) else "varied",
        "seeds": [seeds[0], seeds[-1]],
    }
    return json.loads(json.dumps(about(models, what)))


def _earlier(path: Path, head: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Records of an earlier run with the same settings."""
    if not path.exists():
        return []
    try:
        earlier = json.loads(path.read_text(encoding="utf-8"))
        records = [
            {key: math.nan if value is None else value for key, value in record.items()}
            for record in earlier["records"]
        ]
        differing = [key for key in _SAME if earlier.get(key) != head.get(key)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is no result of a sweep.", "Choose another folder, or move that file.") from error
    if differing:
        raise InputError(
            f"{path} holds this sweep with other settings ({', '.join(differing)}).",
            "Choose another folder, or move that file.",
        )
    return records


def _write(
    sweep: Sweep,
    head: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    values: Sequence[float],
    files: Mapping[str, Path],
) -> None:
    shown = [record for record in records if record["level"] in values]
    summary = summarize(sweep, shown)
    write_json(files["json"], without_nan({**head, **summary, "records": records}))
    write_text(files["md"], as_markdown(sweep, head, summary))
    if "png" in files:
        from worldline.eval.sweeps.plot import draw

        draw(sweep, head, summary["levels"], files["png"])


def _progress(sweep: Sweep, records: Sequence[Mapping[str, Any]], value: float) -> str:
    rows = [row for row in summarize(sweep, records)["levels"] if row["level"] == value]
    texts = [f"{row['method']} {row['point_error']['middle']:.4g}" for row in rows]
    return f"{sweep.axis} {value:g}, {rows[0]['scenes'] if rows else 0} scenes, point error: {', '.join(texts)}"
