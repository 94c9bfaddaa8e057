"""What a campaign is asked for: the settings that stay for all its calls, and those of one call."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from worldline.errors import InputError
from worldline.train.campaign.journal import Journal
from worldline.train.catalog import NamedRecipe, find_recipe
from worldline.train.recipes import Stage, TrainRecipe

_THREADS_BESIDE_CUDA = 4


@dataclass(frozen=True)
class Embedded:
    """A model of the package that can be made anew."""

    recipe: str  # on a processor; with "-cuda" appended on a CUDA device
    suites: tuple[str, ...]  # that it is measured on, see worldline.train.campaign.suites
    real: str | None = None  # what is measured on photos with measured truth


MODELS: dict[str, Embedded] = {
    "mvdust3r-plus-mini": Embedded("mini", ("rooms", "objects", "outdoor", "street", "dynamic", "novel-rooms"), "real"),
    "d4rt-mini": Embedded("d4rt-mini", ("films",)),
    "driv3r-mini": Embedded("driv3r-mini", ("streams",)),
}


@dataclass(frozen=True)
class Scale:
    """How much is measured: the numbers of the evaluation pages, or less."""

    scenes: int | None = None  # at most so many test scenes, drives or films per suite; None: those of the pages
    views: tuple[int, ...] = (4, 8)
    held_out: int = 2  # photos of novel views
    steps: int = 8  # of a drive
    drive_size: tuple[int, int] = (128, 224)  # pixels
    frames: int = 16  # of a film
    film_size: tuple[int, int] | None = None  # pixels; None: that of the suite
    max_subsets: int = 6  # of a recorded sequence

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """From what JSON keeps of one."""
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
        return cls(**fields)


@dataclass(frozen=True)
class Options:
    """One call. What is None was said by an earlier call or has a default."""

    model: str
    output: Path
    minutes: float | None = None  # of training, over all calls
    steps: int | None = None  # instead of minutes
    recipe: str | None = None
    init: str | None = None  # weights to start from; "none": nothing
    seed: int | None = None
    device: str = "auto"
    slice_minutes: float | None = None  # of this call; None: until everything is done
    producers: int | None = None  # processes that render; None: chosen
    fill_seconds: float = 90.0  # to wait for more scenes once there are enough to start
    tune_seconds: float | None = None  # for the search of batch sizes; None: 60 on CUDA, none on a processor
    profile_steps: int | None = None  # 0: no profile, only the search; None: 50 on CUDA, 8 on a processor
    against: str | None = None  # weights to compare with; None: the embedded ones of the model
    scale: Scale = field(default_factory=Scale)
    real: Path | None = None  # folder of sequences with measured truth
    workers: int | None = None  # processes that evaluate; None: all cores but one
    results_to: Path | None = None  # a copy of the results, few and small files
    until: str | None = None  # the last phase of this call; None: all of them

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise InputError(f"{self.model!r} is no embedded model.", f"Choose one of: {', '.join(MODELS)}.")
        if self.minutes is not None and self.steps is not None:
            raise InputError("The length was given twice.", "Give --minutes or --steps.")
        numbers = {
            "minutes": self.minutes, "steps": self.steps, "slice": self.slice_minutes, "workers": self.workers,
            "eval-scenes": self.scale.scenes,
        }  # fmt: skip
        for name, value in numbers.items():
            if value is not None and not value > 0:
                raise InputError(f"--{name} is {value:g}.", "It must be above 0.")
        least_0 = {
            "producers": self.producers, "tune-seconds": self.tune_seconds, "profile-steps": self.profile_steps,
        }  # fmt: skip
        for name, least in least_0.items():
            if least is not None and least < 0:
                raise InputError(f"--{name} is {least:g}.", "It must be 0 or more.")

    @property
    def embedded(self) -> Embedded:
        """The entry of the model."""
        return MODELS[self.model]


def settle(options: Options, journal: Journal, device: str) -> dict[str, Any]:
    """The settings of the campaign: those of its first call, which later calls may repeat but not change.

    What is measured (``scale`` and ``real``) may change: every result says what it was made with.

    Raises:
        InputError: a later call asks for another training.
    """
    asked = {
        "model": options.model, "recipe": options.recipe, "minutes": options.minutes, "steps": options.steps,
        "init": options.init, "seed": options.seed, "against": options.against,
    }  # fmt: skip
    settings: dict[str, Any] = journal.values["settings"]
    if not settings:
        settings |= asked
        settings["recipe"] = options.recipe or options.embedded.recipe + ("-cuda" if device.startswith("cuda") else "")
        settings["against"] = options.against or options.model
        find_recipe(settings["recipe"])
    changed = [name for name, value in asked.items() if value not in (None, settings[name])]
    if changed:
        raise InputError(
            f"The campaign in {options.output} was started with another {', '.join(changed)}.",
            f"Call again with the same options (they are in {journal.path}), or choose another folder.",
        )
    if options.scale != Scale() or "scale" not in settings:
        settings["scale"] = asdict(options.scale)
    if options.real is not None or "real" not in settings:
        settings["real"] = None if options.real is None else str(options.real.resolve())
    return settings


def scale_of(journal: Journal) -> Scale:
    """How much is measured, as it was last asked for."""
    return Scale.of(journal.values["settings"]["scale"])


def recipe_of(options: Options, journal: Journal, device: str, *, tuned: bool = True) -> TrainRecipe:
    """The recipe of the campaign on this machine; ``tuned``: with the batch sizes that were found."""
    settings = journal.values["settings"]
    recipe = find_recipe(settings["recipe"]).build(options.output)
    changes: dict[str, Any] = {"model": options.model, "device": device, "layouts": offered(recipe)}
    lengths = {name: settings[name] for name in ("minutes", "steps")}
    if any(value is not None for value in lengths.values()):
        changes |= {"samples": None, **lengths}
    if settings["init"] is not None:
        changes["init"] = None if settings["init"] == "none" else settings["init"]
    if settings["seed"] is not None:
        changes["seed"] = settings["seed"]
    found = journal.result("profile").get("views_per_step") if tuned else None
    if found:
        changes["stages"] = with_views(recipe.stages, found)
    if options.slice_minutes is not None:  # a call that is cut off loses little
        changes["checkpoint_minutes"] = min(recipe.checkpoint_minutes, 2.0)
    if device.startswith("cuda"):
        changes["validation_cameras"] = False  # the device would wait for PnP; the evaluation measures cameras
        if recipe.threads is None:  # the cores are for the producers and the feed
            changes["threads"] = _THREADS_BESIDE_CUDA
    return replace(recipe, **changes)


def entry_of(journal: Journal) -> NamedRecipe:
    """The catalogue's entry of the campaign's recipe."""
    return find_recipe(journal.values["settings"]["recipe"])


def with_views(stages: tuple[Stage, ...], views_per_step: list[int]) -> tuple[Stage, ...]:
    """The stages with other batch sizes."""
    return tuple(replace(stage, views_per_step=views) for stage, views in zip(stages, views_per_step, strict=True))


def offered(recipe: TrainRecipe) -> tuple[tuple[str, float], ...]:
    """The layouts of a recipe that this version has."""
    from worldline.worlds import LAYOUTS

    return tuple((name, weight) for name, weight in recipe.layouts if name in LAYOUTS)
