"""Methods on test films of moving things: all figures with intervals, beside baselines; JSON, Markdown, plot."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldline import worlds
from worldline.errors import InputError, NoPlaceError
from worldline.eval.dynamic.figures import FILM_FIGURES, TABLES, definitions_table, means_table
from worldline.eval.dynamic.films import FRAMES, HEIGHT, RATE, TRACKS, WIDTH, Film, FilmSpec, FilmStore
from worldline.eval.dynamic.methods import Asked, FilmMethod, photo_method, query_method, stay_method
from worldline.eval.dynamic.scores import Predicted, score_film
from worldline.eval.report import TrialReport, difference, table
from worldline.eval.statistics import mean_interval, rounded
from worldline.models.d4rt import D4rt

if TYPE_CHECKING:
    from worldline.pipeline import Reconstructor

Say = Callable[[str], None]

FILMS = 8
_COMPARED = ("abs_rel", "abs_rel_frame", "apd3d", "delta_avg", "rpe_rotation", "rotation", "mask_iou")


@dataclass(frozen=True)
class FilmSettings:
    """Which films are measured."""

    films: int = FILMS  # the first seeds of the test split
    frames: int = FRAMES
    rate: float = RATE  # frames per second
    height: int = HEIGHT
    width: int = WIDTH
    tracks: int = TRACKS
    cache: Path | None = None  # folder where rendered films are kept
    asked: Asked = field(default_factory=Asked)

    def __post_init__(self) -> None:
        if not 1 <= self.films <= len(worlds.TEST_SEEDS):
            raise InputError(f"{self.films} test films cannot be had.", f"There are {len(worlds.TEST_SEEDS)}.")

    def spec(self, number: int) -> FilmSpec:
        """The film of a place in the test split."""
        return FilmSpec(
            worlds.TEST_SEEDS[number], self.frames, self.rate, height=self.height, width=self.width, tracks=self.tracks
        )


@dataclass(frozen=True)
class FilmTrial:
    """One method on one film."""

    method: str
    seed: int
    figures: Mapping[str, float]


@dataclass
class FilmReport(TrialReport):
    """All trials, their means over films, and how the methods compare film by film."""

    about: dict[str, Any]
    trials: list[FilmTrial] = field(default_factory=list)

    def of(self, method: str) -> dict[int, Mapping[str, float]]:
        """Figures of a method by seed."""
        return {trial.seed: trial.figures for trial in self.trials if trial.method == method}

    def comparison(self) -> list[dict[str, Any]]:
        """The first method minus every other, film by film: mean difference with its interval."""
        rows, first = [], self.of(self.methods[0])
        for method in self.methods[1:]:
            other = self.of(method)
            for name in _COMPARED:
                row = difference(first, other, FILM_FIGURES[name], "films")
                if row is not None:
                    rows.append({"figure": FILM_FIGURES[name].axis, "against": method, **row})
        return rows

    def as_json(self) -> dict[str, Any]:
        """Everything, down to the single film."""
        means = {
            method: {
                name: [rounded(v) for v in mean_interval([f.get(name, nan) for f in self.of(method).values()])]
                for name in FILM_FIGURES
                if any(name in f for f in self.of(method).values())
            }
            for method in self.methods
        }
        trials = [
            {"method": t.method, "seed": t.seed, **{name: rounded(value) for name, value in t.figures.items()}}
            for t in self.trials
        ]
        return {**self.about, "means": means, "comparison": self.comparison(), "trials": trials}

    def as_markdown(self, *, with_definitions: bool = True) -> str:
        """Tables, the command that made them, and the definitions of their columns."""
        groups = [((method,), list(self.of(method).values())) for method in self.methods]
        parts = self.heading()
        parts += [facts(self.about), "Mean over films, 95 % bootstrap interval."]
        for title, names in TABLES.items():
            if any(name in figures for _, group in groups for figures in group for name in names):
                parts += [f"{title}:", means_table(groups, ["method"], names)]
        if comparison := self.comparison():
            columns = ("figure", "against", "difference", "low", "high", "films better")
            parts += [f"{self.methods[0]} minus the others, film by film:", table(comparison, columns)]
        if with_definitions:
            parts.append(definitions_table(name for names in TABLES.values() for name in names))
        return "\n\n".join(parts) + "\n"

    def draw(self, path: Path) -> None:
        """The plot beside the tables."""
        from worldline.eval.dynamic.plots import draw_report

        draw_report(self, path)


def answers_queries(models: Mapping[str, Reconstructor]) -> bool:
    """Whether models are measured on films: whether the first one answers queries about videos."""
    return isinstance(next(iter(models.values())).network, D4rt)


def film_methods(models: Mapping[str, Reconstructor]) -> list[FilmMethod]:
    """The models, those that answer queries and those for photos, and the baseline that needs none."""
    methods = [
        (query_method if isinstance(model.network, D4rt) else photo_method)(model, label)
        for label, model in models.items()
    ]
    return [*methods, stay_method()]


def evaluate_films(
    methods: Sequence[FilmMethod], settings: FilmSettings = FilmSettings(), *, say: Say = lambda _: None,
    look: Callable[[Film, str, Predicted], None] = lambda *_: None,
    done: Callable[[FilmReport], None] = lambda _: None,
) -> FilmReport:  # fmt: skip
    """Measure methods on the first test films.

    Args:
        look: gets what every method said, e.g. to draw it.
        done: gets the report so far after every film, e.g. to write it: a run that is cut off is not lost.

    Raises:
        NoPlaceError: no seed has a place for the camera.
    """
    store, report, failures = FilmStore(settings.cache, most=1), FilmReport(describe_run(methods, settings)), []
    for number in range(settings.films):
        spec = settings.spec(number)
        try:
            film = store.get(spec)
        except NoPlaceError as error:
            failures.append(error)
            say(f"left out seed {spec.seed}: {error.cause}")
            continue
        for method in methods:
            predicted = method.predict(film, settings.asked)
            report.trials.append(FilmTrial(method.name, spec.seed, score_film(film, predicted)))
            look(film, method.name, predicted)
        said = ", ".join(f"{t.method} {t.figures.get('abs_rel', nan):.3f}" for t in report.trials[-len(methods) :])
        say(f"seed {spec.seed}, AbsRel: {said}")
        done(report)
    if len(failures) == settings.films:
        raise failures[0]
    return report


def describe_run(methods: Sequence[FilmMethod], settings: FilmSettings) -> dict[str, Any]:
    """What a report says about itself."""
    import platform

    import torch

    from worldline import __version__

    first, last = settings.spec(0), settings.spec(settings.films - 1)
    return {
        "suite": "dynamic films", "seeds": [first.seed, last.seed], "films": settings.films, "frames": first.frames,
        "rate": first.rate, "size": [first.height, first.width], "tracks": first.tracks,
        "models": {method.name: dict(method.about) for method in methods if method.about},
        "versions": {"worldline": __version__, "torch": torch.__version__, "python": platform.python_version()},
    }  # fmt: skip


def facts(head: Mapping[str, Any]) -> str:
    """One paragraph: which films, which weights."""
    models = ", ".join(f"{label} (sha256 {str(info['sha256'])[:12]})" for label, info in head["models"].items())
    (first, last), (height, width) = head["seeds"], head["size"]
    return (
        f"Films of `dynamic` test seeds {first} to {last}, never trained on: {head['frames']} frames at "
        f"{head['rate']:g} Hz of {height}x{width} pixels, {head['tracks']} tracks, half of them on what moves where "
        f"there is enough of it. Nothing is known of the cameras. Models: {models or 'none'}. "
        f"PyTorch {head['versions']['torch']}."
    )
