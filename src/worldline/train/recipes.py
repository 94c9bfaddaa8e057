"""What to train, on what, for how long: plain frozen dataclasses, so that a run is its recipe and its seed."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from worldline.errors import InputError

if TYPE_CHECKING:
    from worldline.models.mvdust3r import MVDust3rConfig


@dataclass(frozen=True)
class Stage:
    """One part of a run. Early stages are small and cheap, the last one looks like the use."""

    until: float  # share of the run at which the stage ends, in (0, 1]; the last stage ends at 1
    size: int = 224  # pixels of the square images
    views: tuple[int, int] = (2, 4)  # fewest and most views of a scene, drawn per step
    views_per_step: int = 48  # a step takes as many scenes as fit
    references: int = 1  # reference paths, at most one per view; 1 trains the plain path, 2 to 4 also the fusion
    least_overlap: tuple[float, float] = (0.15, 0.15)  # range of the share of pixels that a view has in common with one
    # chosen before it, drawn per scene: large shares are easy, small ones are what photo sets look like
    matching_weight: float = 0.0  # of the correspondence loss on cross-attention, see worldline.train.matching
    learning_rate: float = 1.0  # factor on the recipe's learning rate


@dataclass(frozen=True)
class TrainRecipe:
    """A complete training run. Give either ``minutes`` (wall clock spent training) or ``steps``."""

    output: Path  # folder of the run: checkpoint.pt, log.jsonl, recipe.json, export/
    pool: Path  # scenes to train on, see worldline.train.data; may have one subfolder per image size ("112", "224")
    validation_pool: Path | None = None  # scenes of the validation split; None: no validation
    model: str = "mvdust3r-plus-mini"  # written to the exported card
    config: MVDust3rConfig | None = None  # network sizes; None: MVDust3rConfig.mini()
    stages: tuple[Stage, ...] = (Stage(until=1.0),)
    minutes: float | None = None
    steps: int | None = None
    learning_rate: float = 4e-4  # peak
    final_learning_rate: float = 1e-6
    warmup_steps: int = 200  # linear from 0
    hold: float = 0.0  # share of the run that is spent at the peak before the cosine starts to fall
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.05  # matrices and convolutions only, 0 for biases, norms and other 1-D parameters
    clip_norm: float = 1.0  # total gradient norm
    confidence_alpha: float = 0.2  # price of a low confidence
    ema_decay: float = 0.999  # of the exported weights, per step; ramps up from 0
    device: str = "cpu"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"  # auto: bfloat16 autocast on CUDA, float32 elsewhere
    threads: int | None = None  # processor threads of torch; None: leave as is
    seed: int = 0
    log_every_steps: int = 20
    checkpoint_minutes: float = 5.0
    export_minutes: float = 20.0
    validate_minutes: float = 10.0
    validation_views: int = 4
    export_to: Path | None = None  # a second folder for the snapshots
    card: dict[str, Any] = field(default_factory=dict)  # further entries of the exported card

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise InputError("A recipe needs a length.", "Give either minutes or steps.")
        ends = [stage.until for stage in self.stages]
        if not ends or ends != sorted(ends) or abs(ends[-1] - 1) > 1e-9:
            raise InputError(f"The stages end at {ends}.", "Let them rise and end at 1.")

    def stage_at(self, progress: float) -> Stage:
        """The stage of a run of which the share ``progress`` is done."""
        return next((stage for stage in self.stages if progress < stage.until), self.stages[-1])

    def as_json(self) -> dict[str, Any]:
        """All fields as plain values."""
        values = asdict(replace(self, config=None))
        values["config"] = None if self.config is None else asdict(self.config)
        return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}


def mini_on_processor(output: Path, pool: Path, validation_pool: Path | None, minutes: float) -> TrainRecipe:
    """The shipped ``mvdust3r-plus-mini``: two processor cores with AVX512-BF16 and an hour and a half.

    A 224² view costs four to five times a 112² view, and four fused paths five times one plain path. So most samples
    are seen small and plain; fusion starts small; the end is at the size of use, with a falling learning rate.
    """
    return TrainRecipe(
        output=output,
        pool=pool,
        validation_pool=validation_pool,
        minutes=minutes,
        stages=(
            Stage(
                until=0.83, size=112, views=(2, 3), views_per_step=24, least_overlap=(0.15, 0.6), matching_weight=1.0
            ),
            Stage(until=0.86, size=112, views=(3, 5), views_per_step=16, references=4, matching_weight=0.3),
            Stage(
                until=0.97, size=224, views=(2, 4), views_per_step=10, least_overlap=(0.15, 0.5), matching_weight=0.5
            ),
            Stage(until=1.0, size=224, views=(3, 5), views_per_step=5, references=4, matching_weight=0.3),
        ),
        learning_rate=8e-4,
        hold=0.8,
        ema_decay=0.99,  # short: the last stages have a few hundred steps each
        warmup_steps=300,
        precision="bfloat16",
        threads=2,
        checkpoint_minutes=4,
        export_minutes=15,
        validate_minutes=10,
    )
