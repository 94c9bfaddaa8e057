"""What a model is measured on: the suites of ``worldline eval``, cut into units that can be measured one by one.

A unit is a few test seeds, or one recorded sequence. Its result lies in a file of its own, so that an evaluation may be
spread over processes and calls. Models have two labels: ``new`` and ``shipped``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldline.errors import InputError, NoPlaceError
from worldline.eval.report import without_nan
from worldline.eval.streams.suite import StreamSettings
from worldline.train.campaign.options import MODELS, Scale

if TYPE_CHECKING:
    from worldline.eval.streams.drives import DriveSpec
    from worldline.pipeline import Reconstructor

log = logging.getLogger(__name__)

NEW, SHIPPED = "new", "shipped"
REAL = "real"
WITHOUT_PYCOLMAP = frozenset(["films"])  # all others estimate cameras
PAGES = {"novel-rooms": 20, "films": 8, "streams": 6}  # test scenes of the pages in docs/; of the others 100
_SCENES = 100
_SEEDS_PER_UNIT = 5  # of worlds; everything else is measured one by one

Models = Mapping[str, "Reconstructor"]
Trials = list[dict[str, Any]]  # each: set, views, trial, method, figures


@dataclass(frozen=True)
class Unit:
    """A part of a suite that is measured at once."""

    suite: str
    key: str  # unique within the suite; a file name
    first: int = 0  # place in the test split
    count: int = 1
    folder: str | None = None  # of a recorded sequence


def plan_units(model: str, scale: Scale, real: str | None) -> list[Unit]:
    """All units of a model, suite after suite."""
    units = []
    for suite in MODELS[model].suites:
        pages = PAGES.get(suite, _SCENES)
        scenes = pages if scale.scenes is None else min(pages, scale.scenes)
        each = 1 if suite in PAGES else _SEEDS_PER_UNIT
        for first in range(0, scenes, each):
            count = min(each, scenes - first)
            units.append(Unit(suite, f"{first:04d}-{first + count - 1:04d}", first, count))
    if real is not None and MODELS[model].real is not None:
        units += _real_units(Path(real))
    return units


def _real_units(folder: Path) -> list[Unit]:
    """One unit per sequence.

    Raises:
        InputError: there is none.
    """
    from worldline.eval.readers import HELP, find_sequences

    places = find_sequences(folder, None)
    if not places:
        raise InputError(f"No sequence with ground truth was found at or below {folder}.", HELP)
    return [
        Unit(REAL, f"{number:03d}-{''.join(c if c.isalnum() else '-' for c in place.name)[:40]}", folder=str(place))
        for number, place in enumerate(places)
    ]


def measure(unit: Unit, models: Models, scale: Scale, cache: Path | None = None) -> dict[str, Any]:
    """All figures of all models on a unit.

    Args:
        models: by label, :data:`SHIPPED` first.
        cache: folder where rendered films and drives are kept.

    Returns:
        ``about`` (versions, weights, seeds) and ``trials``; no trials where no seed has a place for the cameras, or
        where a sequence cannot be used, as its own command would leave it out.
    """
    kinds: dict[str, Callable[[], dict[str, Any]]] = {
        REAL: partial(_measure_real, unit, models, scale),
        "novel-rooms": partial(_measure_novel, unit, models, scale, cache),
        "films": partial(_measure_film, unit, models, scale, cache),
        "streams": partial(_measure_stream, unit, models, scale, cache),
    }
    run = kinds.get(unit.suite, partial(_measure_worlds, unit, models, scale))
    try:
        found: dict[str, Any] = without_nan(run())
    except InputError as error:  # a seed without a place for the cameras, a sequence that cannot be used
        if unit.suite != REAL and not isinstance(error, NoPlaceError):
            raise
        log.info("evaluate: %s %s left out: %s", unit.suite, unit.key, error.cause)
        return {"about": {}, "trials": [], "left out": error.cause}
    return found


def _measure_worlds(unit: Unit, models: Models, scale: Scale) -> dict[str, Any]:
    from worldline.eval.methods import CONSTANT_DEPTH
    from worldline.eval.suites import evaluate_worlds

    report = evaluate_worlds(
        models, unit.suite, unit.count, scale.views, baselines=(CONSTANT_DEPTH,), first=unit.first
    )  # fmt: skip
    return {"about": report.about, "trials": [asdict(trial) for trial in report.trials]}


def _measure_real(unit: Unit, models: Models, scale: Scale) -> dict[str, Any]:
    from worldline.eval.methods import CONSTANT_DEPTH
    from worldline.eval.suites import evaluate_real

    assert unit.folder is not None
    report = evaluate_real(
        models, unit.folder, scale.views, max_subsets=scale.max_subsets, baselines=(CONSTANT_DEPTH,)
    )  # fmt: skip
    return {"about": report.about, "trials": [asdict(trial) for trial in report.trials]}


def _measure_novel(unit: Unit, models: Models, scale: Scale, cache: Path | None) -> dict[str, Any]:
    from worldline import worlds
    from worldline.eval.novel.scenes import get_scene
    from worldline.eval.novel.suite import NovelSettings, describe_run
    from worldline.eval.novel.suite import measure as measure_case
    from worldline.eval.perceptual import load_lpips

    size = next(iter(models.values())).image_size
    if any(model.image_size != size for model in models.values()):
        raise InputError("The models see photos of different sizes.", "Measure them one by one: worldline eval novel.")
    settings = NovelSettings("rooms", 1, scale.views, scale.held_out, size, cache)
    scene, trials = get_scene(settings.spec(worlds.TEST_SEEDS[unit.first]), cache), list[Any]()
    for count in scale.views:
        trials += measure_case(scene.shown(count), _first(models, NEW), settings.name, load_lpips())
    about = describe_run(models, settings) | {"first seed": worlds.TEST_SEEDS[unit.first]}
    rows = [
        {"set": t.set, "views": t.views, "trial": t.scene, "method": t.method, "group": t.group, "figures": t.figures}
        for t in trials
    ]
    return {"about": about, "trials": rows}


def _measure_film(unit: Unit, models: Models, scale: Scale, cache: Path | None) -> dict[str, Any]:
    from worldline.eval.dynamic.films import HEIGHT, WIDTH
    from worldline.eval.dynamic.suite import FilmSettings, evaluate_films, film_methods

    class OneFilm(FilmSettings):
        """One film, not the first ones."""

        def spec(self, number: int) -> Any:
            return super().spec(unit.first + number)

    height, width = scale.film_size or (HEIGHT, WIDTH)
    settings = OneFilm(1, scale.frames, height=height, width=width, cache=cache)
    report = evaluate_films(film_methods(_first(models, NEW)), settings)
    return {"about": report.about, "trials": [_flat("films", scale.frames, t) for t in report.trials]}


def _measure_stream(unit: Unit, models: Models, scale: Scale, cache: Path | None) -> dict[str, Any]:
    from worldline.eval.streams.suite import evaluate_streams

    class OneDrive(StreamSettings):
        """One drive, not the first ones."""

        def spec(self, number: int) -> DriveSpec:
            return super().spec(unit.first + number)

    height, width = scale.drive_size
    settings = OneDrive(1, scale.steps, height=height, width=width, cache=cache)
    report = evaluate_streams(_first(models, NEW), settings)
    rows = [_flat("streams", scale.steps, t) | {"figures": dict(t.scores.figures)} for t in report.trials]
    return {"about": report.about, "trials": rows}


def _flat(name: str, views: int, trial: Any) -> dict[str, Any]:
    figures = dict(getattr(trial, "figures", {}))
    return {"set": name, "views": views, "trial": str(trial.seed), "method": trial.method, "figures": figures}


def _first(models: Models, label: str) -> dict[str, Reconstructor]:
    """The same models with one of them first: these suites compare the first one with the others."""
    return {label: models[label], **models}


# ---- pages


def page(suite: str, found: list[dict[str, Any]]) -> str:
    """The tables of a suite as its own command shows them, from the results of its units."""
    about = next((dict(unit["about"]) for unit in found if unit["about"]), {})
    trials: Trials = [trial for unit in found for trial in unit["trials"]]
    if not trials:
        return "Nothing was measured.\n"
    seeds = sorted({int(t["trial"]) for t in trials if str(t["trial"]).isdigit()})
    if seeds and suite != REAL:
        about["seeds"] = [seeds[0], seeds[-1]]
    if suite == "streams":
        return _stream_page(trials)
    if suite == "films":
        from worldline.eval.dynamic.suite import FilmReport, FilmTrial

        films = [FilmTrial(t["method"], int(t["trial"]), _known(t["figures"])) for t in trials]
        return FilmReport(about | {"films": len(seeds)}, films).as_markdown(with_definitions=False)
    if suite == "novel-rooms":
        from worldline.eval.novel.report import NovelReport, NovelTrial

        novel = [
            NovelTrial(t["set"], t["views"], t["trial"], t["method"], t["group"], _known(t["figures"])) for t in trials
        ]
        about |= {"scenes": len(seeds), "first seed": seeds[0]}
        return NovelReport(about, novel).as_markdown(with_definitions=False)
    from worldline.eval.report import Report, Trial

    rows = [Trial(t["set"], t["views"], t["trial"], t["method"], _known(t["figures"])) for t in trials]
    return Report(about, [SHIPPED, NEW], rows).as_markdown(with_definitions=False)


def _stream_page(trials: Trials) -> str:
    from worldline.eval.streams.figures import STREAM_FIGURES, means_table

    methods = dict.fromkeys(trial["method"] for trial in trials)
    groups = [((m,), [_known(t["figures"]) for t in trials if t["method"] == m]) for m in methods]
    names = [name for name in STREAM_FIGURES if any(name in figures for _, group in groups for figures in group)]
    title = "Depth in metres as the stream gives it, points, masks, time; mean over drives, 95 % interval."
    return f"{title}\n\n{means_table(groups, ['method'], names)}\n"


def _known(figures: Mapping[str, float | None]) -> dict[str, float]:
    """JSON's null back to NaN."""
    return {name: float("nan") if value is None else value for name, value in figures.items()}
