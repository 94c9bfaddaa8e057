"""Models with a memory on test drives through streets: all figures, per camera and per step, beside baselines."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

from worldline import worlds
from worldline.errors import InputError, NoPlaceError
from worldline.eval.report import TrialReport, difference, table
from worldline.eval.statistics import mean_interval, rounded
from worldline.eval.streams.drives import RATE, DriveSpec, DriveStore, StreamDrive
from worldline.eval.streams.figures import STREAM_FIGURES, definitions_table, means_table
from worldline.eval.streams.runs import run_constant, run_road, run_single_frames, run_stream
from worldline.eval.streams.scores import DriveScores, latency, score_drive
from worldline.eval.suites import about
from worldline.models.driv3r import Driv3r

if TYPE_CHECKING:
    from worldline.pipeline import Reconstructor
    from worldline.pipeline.stream import StreamOptions

Say = Callable[[str], None]

DRIVES = 6  # test drives of a suite
TEMPORAL, SINGLE, PREVIEW = "temporal memory only", "single frame", "preview"
CONSTANT, ROAD = "constant depth", "flat road and a wall"
_METRIC = ("abs_rel", "sq_rel", "sq_rel_released", "rmse", "delta_1_25", "delta_1_25_2", "delta_1_25_3")
_CLOUD = ("accuracy", "completion", "normal_consistency", "consistency", "consistency_3")
_REST = (
    "abs_rel_scaled", "rmse_scaled", "delta_1_25_scaled", "scale_error", "scale_covered", "masked", "sky_kept",
    "mask_iou", "mask_recall", "mask_false", "latency",
)  # fmt: skip
_CAMERA = ("abs_rel", "abs_rel_scaled", "rmse", "delta_1_25", "scale_error", "masked", "sky_kept")
_PER_IMAGE = ("abs_rel", "abs_rel_scaled")  # what the JSON has of every image
_COMPARED = ("abs_rel", "abs_rel_scaled", "accuracy", "completion", "consistency")


@dataclass(frozen=True)
class StreamSettings:
    """Which drives are measured."""

    drives: int = DRIVES  # the first seeds of the test split
    steps: int = 8
    rate: float = RATE  # steps per second
    height: int = 128
    width: int = 224
    cache: Path | None = None  # folder where rendered drives are kept

    def __post_init__(self) -> None:
        if not 1 <= self.drives <= len(worlds.TEST_SEEDS):
            raise InputError(f"{self.drives} test drives cannot be had.", f"There are {len(worlds.TEST_SEEDS)}.")

    def spec(self, number: int) -> DriveSpec:
        """The drive of a place in the test split."""
        return DriveSpec(worlds.TEST_SEEDS[number], self.steps, self.rate, self.height, self.width)


@dataclass(frozen=True)
class StreamTrial:
    """One method on one drive."""

    method: str
    seed: int
    scores: DriveScores


@dataclass
class StreamReport(TrialReport):
    """All trials, their means over drives, and how the methods compare drive by drive."""

    about: dict[str, Any]
    models: Sequence[str]  # labels; the first one is compared with everything else
    sensors: Sequence[str]
    trials: list[StreamTrial] = field(default_factory=list)

    def of(self, method: str) -> dict[int, DriveScores]:
        """Scores of a method by seed."""
        return {trial.seed: trial.scores for trial in self.trials if trial.method == method}

    def comparison(self) -> list[dict[str, Any]]:
        """The first model minus every other method, drive by drive: mean difference with its interval."""
        drives = {m: {seed: scores.figures for seed, scores in self.of(m).items()} for m in self.methods}
        rows, first = list[dict[str, Any]](), self.models[0]
        for method in drives:
            for name in _COMPARED if method != first else ():
                row = difference(drives[first], drives[method], STREAM_FIGURES[name], "drives")
                if row is not None:
                    rows.append({"figure": name, "against": method, **row})
        return rows

    def as_json(self) -> dict[str, Any]:
        """Everything, down to the depth of single images (step -> camera -> figures in the order of ``per image``)."""
        trials = [
            {
                "method": t.method,
                "seed": t.seed,
                **{name: rounded(value) for name, value in t.scores.figures.items()},
                "images": [
                    [[rounded(t.scores.images[step, sensor][name]) for name in _PER_IMAGE] for sensor in self.sensors]
                    for step in range(self.about["steps"])
                ],
            }
            for t in self.trials
        ]
        means = {
            method: {
                name: [
                    rounded(value)
                    for value in mean_interval([s.figures.get(name, nan) for s in self.of(method).values()])
                ]
                for name in (*_METRIC, *_CLOUD, *_REST)
            }
            for method in self.methods
        }
        return {
            **self.about,
            "per image": list(_PER_IMAGE),
            "means": means,
            "comparison": self.comparison(),
            "trials": trials,
        }

    def as_markdown(self, *, with_definitions: bool = True) -> str:
        """Tables, the command that made them, and the definitions of their columns."""
        groups = {(m,): [scores.figures for scores in self.of(m).values()] for m in self.methods}
        cameras = {
            (name,): [scores.of_sensor(name) for scores in self.of(self.models[0]).values()] for name in self.sensors
        }
        parts = self.heading()
        parts += [
            facts(self.about),
            "Depth in metres as the stream gives it, nothing aligned with the truth. Mean over drives, 95 % interval.",
            means_table(groups.items(), ["method"], _METRIC),
            "Points and agreement over time, nothing aligned:",
            means_table(groups.items(), ["method"], _CLOUD),
            "Depth with one scale per image, the error of the scale, masks, time:",
            means_table(groups.items(), ["method"], _REST),
            f"{self.models[0]}, by camera:",
            means_table(cameras.items(), ["camera"], _CAMERA),
            f"{self.models[0]} minus the others, drive by drive:",
            table(self.comparison(), ("figure", "against", "difference", "low", "high", "drives better")),
        ]
        if with_definitions:
            parts.append(definitions_table((*_METRIC, *_CLOUD, *_REST)))
        return "\n\n".join(parts) + "\n"

    def draw(self, path: Path) -> None:
        """The plot beside the tables."""
        from worldline.eval.streams.plots import draw_report

        draw_report(self, path)


def has_memory(models: Mapping[str, Reconstructor]) -> bool:
    """Whether models are measured on streams.

    Raises:
        InputError: some have a memory and some have none.
    """
    able = [label for label, model in models.items() if isinstance(model.network, Driv3r)]
    if able and len(able) < len(models):
        other = next(label for label in models if label not in able)
        raise InputError(
            f"{able[0]} is measured on streams, {other} has no memory for them.", "Measure them in two commands."
        )
    return bool(able)


def evaluate_streams(
    models: Mapping[str, Reconstructor],
    settings: StreamSettings = StreamSettings(),
    *,
    options: StreamOptions | None = None,
    say: Say = lambda _: None,
) -> StreamReport:
    """Measure models on the first test drives of the six-camera rig, with known calibration and poses.

    Every model runs as it is, with previews counted separately, with its temporal memory only, and frame by frame;
    beside them stand a constant depth and a flat road.

    Raises:
        InputError: a model has no memory.
        NoPlaceError: no seed has a place for the rig.
    """
    store, failures = DriveStore(settings.cache, most=1), []
    report = StreamReport(describe_run(models, settings), list(models), settings.spec(0).sensors)
    for number in range(settings.drives):
        try:
            drive = store.get(settings.spec(number))
        except NoPlaceError as error:
            failures.append(error)
            say(f"left out seed {settings.spec(number).seed}: {error.cause}")
            continue
        for method, scores in _measure(models, drive, options):
            report.trials.append(StreamTrial(method, drive.spec.seed, scores))
        done = [t for t in report.trials if t.seed == drive.spec.seed]
        say(f"seed {drive.spec.seed}: " + ", ".join(f"{t.method} {t.scores.figures['abs_rel']:.3f}" for t in done))
    if len(failures) == settings.drives:
        raise failures[0]
    return report


def _measure(
    models: Mapping[str, Reconstructor], drive: StreamDrive, options: StreamOptions | None
) -> Iterator[tuple[str, DriveScores]]:
    from worldline.pipeline.stream import StreamOptions

    chosen = options or StreamOptions()
    for label, model in models.items():
        run = run_stream(model, drive, chosen)
        scores = score_drive(drive, run.final)
        yield label, replace(scores, figures={**scores.figures, "latency": latency(run)})
        yield f"{label}, {PREVIEW}", score_drive(drive, run.preview)
        alone = replace(chosen, pool=replace(chosen.pool, neighbor_images=0), motion=False)
        yield f"{label}, {TEMPORAL}", score_drive(drive, run_stream(model, drive, alone).final)
        single = run_single_frames(model, drive, replace(chosen, motion=False))
        yield f"{label}, {SINGLE}", score_drive(drive, single.final)
    yield CONSTANT, score_drive(drive, run_constant(drive).final)
    yield ROAD, score_drive(drive, run_road(drive).final)


def describe_run(models: Mapping[str, Reconstructor], settings: StreamSettings) -> dict[str, Any]:
    """What a report says about itself."""
    first, last = settings.spec(0), settings.spec(settings.drives - 1)
    what = {
        "suite": "street streams", "seeds": [first.seed, last.seed], "drives": settings.drives, "steps": first.steps,
        "rate": first.rate, "size": [first.height, first.width], "sensors": list(first.sensors),
    }  # fmt: skip
    return about(models, what)


def facts(head: Mapping[str, Any]) -> str:
    """One paragraph: which drives, which weights, which machine."""
    models = ", ".join(f"{label} (sha256 {str(info['sha256'])[:12]})" for label, info in head["models"].items())
    (first, last), (height, width) = head["seeds"], head["size"]
    return (
        f"Streets of test seeds {first} to {last}, {head['steps']} steps at {head['rate']:g} Hz, "
        f"{len(head['sensors'])} cameras, {height}x{width} pixels, true calibration and poses given unless said "
        f"otherwise. Models: {models}. "
        f"PyTorch {head['versions']['torch']}, {head['machine']['threads']} thread(s)."
    )
