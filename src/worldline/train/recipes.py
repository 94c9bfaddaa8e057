"""What to train, on what, for how long: plain frozen dataclasses, so that a run is its recipe and its seed.

The ready-made ones are in :mod:`worldline.train.catalog`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from worldline.errors import InputError
from worldline.train.appearance import Appearance

if TYPE_CHECKING:
    from worldline.models.config import MVDust3rConfig

Precision = Literal["auto", "float32", "bfloat16"]
Strategy = Literal["auto", "single", "ddp", "fsdp"]
Drafting = Literal["auto", "threads", "processes"]

# fields that may differ between the parts of a resumed run: where and how it runs, not what it computes
_OF_THE_MACHINE = (
    "output", "pool", "validation_pool", "device", "strategy", "precision", "compile", "threads", "workers", "drafting",
    "render_device", "log_every_steps", "checkpoint_minutes", "export_minutes", "validate_minutes", "export_to", "card",
    "init", "validation_cameras",
)  # fmt: skip


@dataclass(frozen=True)
class Stage:
    """One part of a run. Early stages are small and cheap, the last one looks like the use."""

    until: float  # share of the run at which the stage ends, in (0, 1]; the last stage ends at 1
    size: int | tuple[int, ...] = 224  # pixels of the square images; of several sizes each step draws one
    views: tuple[int, int] = (2, 4)  # fewest and most views of a scene, drawn per step
    views_per_step: int = 48  # per device; a step takes as many scenes as fit
    references: int = 1  # reference paths, at most one per view; 1 trains the plain path, 2 to 4 also the fusion
    least_overlap: tuple[float, float] = (0.15, 0.15)  # range of the share of pixels that a view has in common with one
    # chosen before it, drawn per scene: large shares are easy, small ones are what photo sets look like
    matching_weight: float = 0.0  # of the correspondence loss on cross-attention, see worldline.train.matching
    seam_weight: float = 0.0  # of the loss on steps between neighbours, see worldline.train.seams; not in the paper
    learning_rate: float = 1.0  # factor on the recipe's learning rate
    loss_stride: int = 1  # the loss sees every so many rows and columns, others in every step: a patch has few unknowns

    rendering_weight: float = 0.0  # of the rendering loss (MV-DUSt3R+ section 3.4); the published weight is 1
    render_views: int = 0  # further views of a scene that are rendered and not shown to the network; published: 2
    render_size: int | None = None  # a random square of every target is rendered instead of all of it: cheaper
    render_scenes: int | None = None  # so many scenes of a batch are rendered, None = all: every photo costs a GPU
    # thousands of small kernels
    perceptual_weight: float = 0.0  # of LPIPS inside the rendering loss, where its weights are installed; published: 1

    @property
    def sizes(self) -> tuple[int, ...]:
        """The image sizes that steps draw from."""
        return self.size if isinstance(self.size, tuple) else (self.size,)

    def says(self) -> str:
        """What a step sees, in words."""
        return f"{self.views[0]}-{self.views[1]} views, {self.references} path(s)"

    @property
    def cameras(self) -> tuple[int, int]:
        """Fewest and most cameras that take photos at the same time."""
        return 1, 1


@dataclass(frozen=True)
class TrainRecipe:
    """A complete training run. Its length is ``minutes`` (wall clock of the loop), ``samples`` or ``steps``."""

    kind: ClassVar[str] = "views"  # of task, see worldline.train.tasks

    output: Path  # folder of the run: recipe.json, checkpoint.pt, log.jsonl, tensorboard/, export/
    pool: Path | None = None  # scenes on disk, see worldline.train.data; may have one subfolder per image size ("112",
    # "224"). None: every scene is rendered when a step asks for it
    validation_pool: Path | None = None  # scenes of the validation split; None: rendered where the training scenes are
    layouts: tuple[tuple[str, float], ...] = (("rooms", 1.0),)  # kinds of worlds with their weights
    scene_views: int = 8  # rendered per scene; a step chooses among them
    scenes: int | None = None  # rendered scenes: so many different ones, kept in memory; None: always new ones
    model: str = "mvdust3r-plus-mini"  # written to the exported card
    config: MVDust3rConfig | None = None  # network sizes; None: MVDust3rConfig.mini()
    init: str | None = None  # a model (id, folder, file) whose weights are the start; None: random
    learn: tuple[str, ...] = ()  # parts of parameter names: only these learn, e.g. ("_gaussians.",); empty: all
    stages: tuple[Stage, ...] = (Stage(until=1.0),)
    minutes: float | None = None
    samples: int | None = None
    steps: int | None = None
    accumulate: int = 1  # batches per optimiser step
    learning_rate: float = 4e-4  # peak
    final_learning_rate: float = 1e-6
    warmup_steps: int = 200  # linear from 0
    warmup: float = 0.0  # the same as a share of the run; the later of the two ends counts
    hold: float = 0.0  # share of the run that is spent at the peak before the cosine starts to fall
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.05  # matrices and convolutions only, 0 for biases, norms and other 1-D parameters
    clip_norm: float | None = 1.0  # total gradient norm; None: never clipped
    largest_loss: float | None = None  # a step with a larger loss is skipped like one that is not finite
    confidence_alpha: float = 0.2  # price of a low confidence
    appearance: Appearance = field(default_factory=Appearance)  # how much images change their colours and sharpness
    ema_decay: float = 0.999  # of the exported weights, per step; ramps up from 0
    device: str = "cpu"
    strategy: Strategy = "auto"  # auto: ddp where torchrun started several processes
    precision: Precision = "auto"  # auto: bfloat16 autocast on CUDA, float32 elsewhere
    compile: bool = False  # torch.compile the transformer blocks
    threads: int | None = None  # processor threads of torch; None: leave as is
    workers: int = 1  # threads that prepare batches, that many ahead
    drafting: Drafting = "auto"  # in these threads, or in a process for each (auto: for CUDA, from a pool)
    render_device: str | None = None  # for rendered scenes; None: that of the training
    seed: int = 0
    log_every_steps: int = 20
    checkpoint_minutes: float = 5.0
    export_minutes: float = 20.0
    validate_minutes: float = 10.0
    validation_views: int = 4
    validation_scenes: int = 12  # rendered ones: the first of the validation split
    validation_cameras: bool = True  # also figures of cameras and held-out photos: seconds of a core for every scene
    export_to: Path | None = None  # a second folder for the snapshots
    card: dict[str, Any] = field(default_factory=dict)  # further entries of the exported card

    def __post_init__(self) -> None:
        lengths = [value for value in (self.minutes, self.samples, self.steps) if value is not None]
        if len(lengths) != 1 or lengths[0] <= 0:
            raise InputError(
                "A training needs one length above zero.", "Give either minutes, samples or steps, not several."
            )
        ends = [stage.until for stage in self.stages]
        if not ends or ends != sorted(ends) or abs(ends[-1] - 1) > 1e-9:
            raise InputError(f"The stages end at {ends}.", "Let them rise and end at 1.")
        patch = self.patch_size
        for stage in self.stages:
            if not 2 <= stage.views[0] <= stage.views[1]:
                raise InputError(f"A stage asks for {stage.views} views.", "Give two rising numbers from 2 on.")
            needed = stage.views[1] + stage.render_views
            if self.pool is None and needed > self.scene_views:
                raise InputError(
                    f"A stage asks for up to {needed} views, a scene has {self.scene_views}.", "Raise scene_views."
                )
            if stage.rendering_weight and not self.network_config().gaussians:
                raise InputError("A stage renders, but the network has no Gaussian heads.", "Set gaussians in config.")
            if any(size < patch or size % patch for size in stage.sizes):
                raise InputError(
                    f"Images of {stage.size} pixels do not divide into patches of {patch}.",
                    f"Use multiples of {patch}.",
                )
        if not 0 <= self.hold < 1 or not 0 <= self.warmup < 1:
            raise InputError("hold and warmup are shares of the run.", "Give numbers from 0 to below 1.")
        if self.accumulate < 1 or self.workers < 1:
            raise InputError("accumulate and workers count things.", "Give 1 or more.")
        if not self.layouts or any(weight <= 0 for _, weight in self.layouts):
            raise InputError("The layouts need weights above zero.", "For example: rooms=1,objects=0.5")

    def stage_at(self, share: float) -> Stage:
        """The stage of a run of which ``share`` is done."""
        return next((stage for stage in self.stages if share < stage.until), self.stages[-1])

    def network_config(self) -> MVDust3rConfig:
        """Sizes of the network."""
        from worldline.models.config import MVDust3rConfig

        return MVDust3rConfig.mini() if self.config is None else self.config

    @property
    def patch_size(self) -> int:
        """Pixels per side of one token."""
        return 16 if self.config is None else self.config.patch_size

    def as_json(self) -> dict[str, Any]:
        """All fields as plain values."""
        values = asdict(self)
        values["config"] = self.network_config().to_dict()
        return {key: str(value) if isinstance(value, Path) else value for key, value in values.items()}

    def changes_from(self, saved: dict[str, Any]) -> list[str]:
        """Fields that matter to the result and differ from those of a saved recipe (JSON values).

        What an older version did not save, at any depth, had not been thought of and does not count.
        """
        import json

        mine = json.loads(json.dumps(self.as_json(), default=str))
        return [key for key in mine if key not in _OF_THE_MACHINE and key in saved and _differs(mine[key], saved[key])]


def _differs(mine: Any, saved: Any) -> bool:
    """Whether JSON values differ in what both have."""
    if isinstance(mine, dict) and isinstance(saved, dict):
        return any(_differs(mine[key], saved[key]) for key in mine.keys() & saved.keys())
    if isinstance(mine, list) and isinstance(saved, list):
        return len(mine) != len(saved) or any(map(_differs, mine, saved))
    return bool(mine != saved)
