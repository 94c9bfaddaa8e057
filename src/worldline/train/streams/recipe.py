"""What to train a stream model on, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from worldline.errors import InputError
from worldline.train.recipes import Stage, TrainRecipe
from worldline.train.streams.drives import ASPECT, STEPS, wide_shape
from worldline.train.supervision import Corruption

if TYPE_CHECKING:
    from worldline.models.config import Driv3rConfig


@dataclass(frozen=True)
class StreamStage(Stage):
    """One part of a run. ``size`` is the height of the images, ``views`` the number of steps of a sequence."""

    views: tuple[int, int] = (3, 5)
    sensors: tuple[int, int] = (1, 3)  # fewest and most cameras, drawn per step: a contiguous part of the ring
    alone: float = 0.25  # share of the steps in which every camera reads its own memory only
    keep: tuple[float, float] = (1.0, 1.0)  # range of the share of stored images that reads see, drawn per step
    matched: float = (
        0.5  # share of the steps with a correspondence loss, where ``matching_weight`` is not 0; their reads
    )
    # see everything, whatever ``keep`` says
    focus: float = 0.0  # share of the steps whose loss sees moving things only (the paper's second stage). Such steps
    # say nothing about what stands still, so less than 1 keeps it from being forgotten

    def says(self) -> str:
        """What a step sees, in words."""
        focus = f", {self.focus:.0%} of the steps on moving things only" if self.focus else ""
        return f"{self.views[0]}-{self.views[1]} steps of {self.sensors[0]}-{self.sensors[1]} cameras{focus}"

    @property
    def cameras(self) -> tuple[int, int]:
        """Fewest and most cameras that take photos at the same time."""
        return self.sensors


@dataclass(frozen=True)
class StreamRecipe(TrainRecipe):
    """A training run of Driv3R. Scenes are drives: ``scene_views`` steps of a rig where they are rendered on demand."""

    kind: ClassVar[str] = "stream"

    layouts: tuple[tuple[str, float], ...] = (("street", 1.0),)
    scene_views: int = STEPS[0]
    model: str = "driv3r-mini"
    config: Driv3rConfig | None = None  # type: ignore[assignment] # None: Driv3rConfig.mini()
    stages: tuple[StreamStage, ...] = (StreamStage(until=1.0),)  # type: ignore[assignment]
    aspect: float = ASPECT  # width of the images divided by their height, rounded to whole patches
    confidence_alpha: float = 0.4  # price of a low confidence (Driv3R, released code)
    final_confidence_alpha: float = 0.2  # reached linearly over the second half of the run
    farthest: float | None = None  # metres along the optical axis; what lies further is left out of the loss
    corrupt: str = "none"  # errors of the supervision, see worldline.train.supervision.Corruption: bias=0.1,holes=0.2
    skip_steps: float = 0.3  # share of the sequences that leave out every second step
    reverse: float = 0.0  # share of the sequences that run backwards in time
    validation_views: int = 5  # steps

    def __post_init__(self) -> None:
        super().__post_init__()
        for stage in self.stages:
            if not 1 <= stage.sensors[0] <= stage.sensors[1]:
                raise InputError(f"A stage asks for {stage.sensors} sensors.", "Give two rising numbers from 1 on.")
            if not 0 < stage.keep[0] <= stage.keep[1] <= 1:
                raise InputError(f"A stage keeps {stage.keep} of the memory.", "Give two rising shares up to 1.")
        shares = [share for stage in self.stages for share in (stage.alone, stage.focus, stage.matched)]
        if not all(0 <= share <= 1 for share in (*shares, self.skip_steps, self.reverse)):
            raise InputError("alone, focus, matched, skip_steps and reverse are shares.", "Give numbers from 0 to 1.")
        Corruption.parse(self.corrupt)  # refuses what it does not know
        if self.aspect < 1:
            raise InputError(f"Images of aspect {self.aspect} are portraits.", "Streams are square or wide.")

    def network_config(self) -> Driv3rConfig:  # type: ignore[override]
        """Sizes of the network."""
        from worldline.models.config import Driv3rConfig

        return Driv3rConfig.mini() if self.config is None else self.config

    def shape(self, size: int) -> tuple[int, int]:
        """Height and width of the images of a size, both whole patches."""
        patch = 16 if self.config is None else self.config.patch_size
        return wide_shape(size, self.aspect, patch)
