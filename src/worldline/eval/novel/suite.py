"""Novel views of test scenes: held-out photos beside what models and baselines show at their cameras."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from worldline import worlds
from worldline.errors import InputError, NoPlaceError
from worldline.eval.methods import sizes
from worldline.eval.novel.image_metrics import image_scores
from worldline.eval.novel.methods import NEAREST, Show, baselines_of, reconstruct, shows_of_scene
from worldline.eval.novel.report import NovelReport, NovelTrial
from worldline.eval.novel.scenes import Case, HeldOutScene, NovelSpec, get_scene
from worldline.eval.novel.sequences import sequence_cases
from worldline.eval.novel.splats import EPS2D, FAR, FIXED_SCALE, NEAR, PIXEL_SHARE, Pictures
from worldline.eval.perceptual import NO_LPIPS, Perceptual, load_lpips
from worldline.eval.suites import about
from worldline.worlds.sampling import canonical_layout

if TYPE_CHECKING:
    from torch import nn

    from worldline.pipeline import Reconstructor

Say = Callable[[str], None]

SCENES, SIZE = 20, 224
MAX_SKIPPED = 4  # times as many seeds as scenes are tried
RE_RENDERED = 2  # shown photos that are rendered as well: the first and the middle one


@dataclass(frozen=True)
class NovelSettings:
    """Which scenes are measured."""

    layout: str = "rooms"
    scenes: int = SCENES  # the first test seeds that have enough to hold out
    counts: tuple[int, ...] = (4, 8)  # numbers of shown photos; the held-out ones are the same for all
    held_out: int = 2
    size: int = SIZE  # pixels of the square photos
    cache: Path | None = None  # folder where rendered scenes are kept
    folder: Path | None = None  # measured sequences instead of procedural scenes
    spacing: int | None = None  # of their frames, see sequence_cases

    @property
    def name(self) -> str:
        """What reports call the set."""
        return self.layout if self.folder is None else self.folder.resolve().name

    def __post_init__(self) -> None:
        if not 1 <= self.scenes <= len(worlds.TEST_SEEDS) // MAX_SKIPPED:
            raise InputError(f"{self.scenes} test scenes cannot be had.", "Ask for fewer.")
        if not self.counts or min(self.counts) < 1 or self.held_out < 1:
            raise InputError("There is nothing to show or nothing to hold out.", "Ask for 1 photo or more of both.")

    def spec(self, seed: int) -> NovelSpec:
        """The photos of a seed."""
        return NovelSpec(self.layout, seed, max(self.counts), min(self.counts), self.held_out, self.size)


def procedural_scenes(settings: NovelSettings, say: Say = lambda _: None) -> Iterator[HeldOutScene]:
    """The first test seeds whose worlds have enough to hold out, as many as asked for.

    Raises:
        NoPlaceError: none of the seeds that were tried has.
    """
    found = 0
    for seed in worlds.TEST_SEEDS[: MAX_SKIPPED * settings.scenes]:
        try:
            scene = get_scene(settings.spec(seed), settings.cache)
        except NoPlaceError as error:
            say(f"left out: {error.cause}")
            continue
        yield scene
        found += 1
        if found == settings.scenes:
            return
    if found == 0:
        raise NoPlaceError("None of the scenes has photos to hold out.", "Ask for fewer views or another layout.")


def cases_of(settings: NovelSettings, say: Say = lambda _: None) -> Iterator[Case]:
    """Everything that is measured, all numbers of views of a procedural scene one after the other.

    Raises:
        InputError: unknown layout, or nothing to measure there.
    """
    if settings.folder is not None:
        yield from sequence_cases(
            settings.folder, settings.counts, settings.held_out, settings.size, settings.spacing, say
        )
        return
    canonical_layout(settings.layout)
    for scene in procedural_scenes(settings, say):
        yield from (scene.shown(count) for count in sorted(settings.counts))


def find_case(settings: NovelSettings, name: str, count: int) -> Case:
    """The case of a report by the name of its scene."""
    if settings.folder is None:
        return get_scene(settings.spec(int(name)), settings.cache).shown(count)
    return next(case for case in cases_of(settings) if (case.scene.name, case.count) == (name, count))


def evaluate_novel(
    models: Mapping[str, Reconstructor], settings: NovelSettings = NovelSettings(), *, say: Say = lambda _: None,
    done: Callable[[NovelReport], None] = lambda _: None,
) -> NovelReport:  # fmt: skip
    """Measure models and baselines on test scenes; without models the baselines alone.

    Args:
        models: by label; the first is what the others are compared with. All of one image size, that of the settings.
        done: gets the report so far after every case, e.g. to write it: a run that is cut off is not lost.

    Raises:
        InputError: unknown layout, nothing to measure in the folder, or models of other sizes.
        NoPlaceError: no seed has photos to hold out.
    """
    if any(size != settings.size for size in sizes(models)):
        raise InputError(
            f"The models see {', '.join(map(str, sizes(models)))} pixels, the photos have {settings.size}.",
            "Measure models of different sizes one by one.",
        )
    report, distance = NovelReport(describe_run(models, settings)), load_lpips()
    started = time.perf_counter()
    for case in cases_of(settings, say):
        trials = measure(case, models, settings.name, distance)
        report.trials += trials
        report.about["seconds"] = round(time.perf_counter() - started, 1)
        said = ", ".join(f"{t.method} {t.figures['psnr']:.1f}" for t in trials if t.group == "novel")
        say(f"scene {case.scene.name}, {case.count} views, PSNR: {said}")
        done(report)
    return report


def measure(
    case: Case, models: Mapping[str, Reconstructor], name: str, distance: Perceptual | None = None
) -> list[NovelTrial]:
    """All methods on one case, in the groups of :data:`worldline.eval.novel.report.GROUPS`.

    Args:
        name: of the set, for the report.
        distance: LPIPS, see :func:`worldline.eval.perceptual.load_lpips`.
    """
    shown, trials = re_rendered(case.count), list[NovelTrial]()

    def add(group: str, shows: Mapping[str, Show], views: list[int]) -> None:
        for method, show in shows.items():
            if views and (group, method) != ("input", NEAREST):  # a shown photo is the nearest to itself
                figures = score_pictures(case, views, show(views), distance)
                trials.append(NovelTrial(name, case.count, case.scene.name, method, group, figures))

    for label, model in models.items():
        scene = reconstruct(case, model)
        shows = shows_of_scene(case, scene, label)
        add("novel", shows, case.held_out)
        add("input", shows, shown)
        placed = [view for view in shown if scene.views[view].pose_status != "failed"]
        add("own", shows_of_scene(case, scene, label, own_cameras=True), placed)
    baselines = baselines_of(case)
    add("novel", baselines, case.held_out)
    add("input", baselines, shown)
    return trials


def re_rendered(count: int) -> list[int]:
    """Rows of the shown photos that are rendered as well."""
    return sorted({round(place * count / RE_RENDERED) for place in range(min(RE_RENDERED, count))})


def score_pictures(
    case: Case, views: list[int], pictures: Pictures, distance: Perceptual | None = None
) -> dict[str, float]:
    """Figures of pictures at the cameras of some photos, means over the photos (see :mod:`.figures`)."""
    shown = torch.from_numpy(pictures.color).permute(0, 3, 1, 2)
    true = torch.from_numpy(case.scene.photos[views]).permute(0, 3, 1, 2).float() / 255
    seen = np.stack([case.seen(view) for view in views])
    scores = image_scores(shown, true, torch.from_numpy(seen), distance=distance)
    names = {"psnr_masked": "psnr_seen", "ssim_masked": "ssim_seen"}
    figures = {names.get(name, name): value for name, value in scores.items()}
    return {**figures, "coverage": float(pictures.alpha.mean()), "seen": float(seen.mean())}


def novel_psnr(network: nn.Module, scenes: Iterable[HeldOutScene], count: int | None = None) -> dict[str, float]:
    """Mean figures of held-out photos for a network in training: with its Gaussians, or without with its points.

    Args:
        network: as :class:`worldline.models.mvdust3r.MVDust3r`; in evaluation mode.
        scenes: e.g. of :func:`worldline.eval.novel.scenes.get_scene` on validation seeds.
        count: photos that are shown; None: all that may be.
    """
    from worldline.pipeline import Reconstructor

    model = Reconstructor(network, "in training", str(next(network.parameters()).device))
    figures = []
    for scene in scenes:
        case = scene.shown(count or scene.inputs)
        shows = shows_of_scene(case, reconstruct(case, model), model.name)
        figures.append(score_pictures(case, case.held_out, next(iter(shows.values()))(case.held_out)))
    names = figures[0] if figures else {}
    return {name: float(np.nanmean([scores.get(name, nan) for scores in figures])) for name in names}


def describe_run(models: Mapping[str, Reconstructor], settings: NovelSettings) -> dict[str, Any]:
    """What a report says about itself."""
    procedural = settings.folder is None
    what = {
        "suite": f"novel views of {settings.name}",
        "scenes": settings.scenes if procedural else None,
        "first seed": worlds.TEST_SEEDS[0] if procedural else None,
        "spacing": settings.spacing,
        "views": list(settings.counts),
        "held out": settings.held_out,
        "size": settings.size,
        "renderer": {
            "eps2d": EPS2D,
            "near": NEAR,
            "far": FAR,
            "background": "white",
            "points": FIXED_SCALE,
            "pixels": PIXEL_SHARE,
        },
        "lpips": "AlexNet" if load_lpips() else NO_LPIPS,
    }
    return about(models, what)
