"""What to train a D4RT on, and in which order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from worldline.errors import InputError
from worldline.train.clips.batches import ClipOptions, CropOptions
from worldline.train.clips.clips import FRAMES, check_filmed
from worldline.train.clips.colors import ColorOptions
from worldline.train.clips.losses import LossWeights
from worldline.train.clips.mixture import Data, check_data
from worldline.train.clips.queries import QueryOptions
from worldline.train.recipes import Stage, TrainRecipe

if TYPE_CHECKING:
    from worldline.models.config import D4rtConfig


@dataclass(frozen=True)
class ClipStage(Stage):
    """One part of a run. ``size`` is the edge of the square frames, ``views`` the number of frames of a clip."""

    views: tuple[int, int] = (16, 16)
    queries: int = 512  # per clip
    near: tuple[tuple[float, int], ...] = ()  # (share, frames): t_tgt at most so far from t_src; the rest is uniform

    def says(self) -> str:
        """What a step sees, in words."""
        frames = f"{self.views[0]}-{self.views[1]}" if self.views[0] < self.views[1] else f"{self.views[0]}"
        near = "".join(f", {share:.0%} of them within {reach} frames" for share, reach in self.near)
        return f"{frames} frames, {self.queries} queries{near}"


@dataclass(frozen=True)
class ClipRecipe(TrainRecipe):
    """A training run of D4RT. Scenes are clips: ``scene_views`` frames of a world where they are rendered on demand."""

    kind: ClassVar[str] = "clip"

    layouts: tuple[tuple[str, float], ...] = (("dynamic", 4.0), ("rooms", 2.0), ("objects", 1.0), ("street", 1.0))
    scene_views: int = FRAMES
    model: str = "d4rt-mini"
    config: D4rtConfig | None = None  # type: ignore[assignment] # None: D4rtConfig.mini()
    stages: tuple[ClipStage, ...] = (ClipStage(until=1.0, size=128),)  # type: ignore[assignment]
    weights: LossWeights = field(default_factory=LossWeights)
    trust_from: tuple[float, float] = (0.02, 0.1)  # shares of the run between which the confidence begins to count;
    # before that every query counts fully, or a network gives up on what it has not learned yet
    edges: float = 0.3  # share of the queries near discontinuities of depth or motion
    moving: float = 0.0  # share of the queries on bodies that move; not in the paper
    tied: float = 0.4  # share of the queries with t_tgt = t_cam
    own: float = 0.0  # share of the queries with t_src = t_tgt = t_cam, which ask for depth; not in the paper
    crop: CropOptions = field(default_factory=CropOptions)
    colors: ColorOptions = field(default_factory=ColorOptions)
    largest_stride: int = 4  # between the frames of a clip
    reverse: float = 0.5  # share of the clips that run backwards in time
    dense_weight: float = 0.0  # of the loss of :mod:`worldline.train.clips.dense`, for networks with a dense layer
    validation_views: int = FRAMES  # frames
    data: Data = ()  # recorded clips: (kind, folder, weight), see worldline.train.clips.mixture; rendered ones weigh 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_filmed(self.layouts)
        check_data(self.data)
        config, longest = self.network_config(), max(stage.views[1] for stage in self.stages)
        if longest > config.clip_frames:
            raise InputError(
                f"A stage asks for {longest} frames, the network takes {config.clip_frames}.",
                "Raise clip_frames of the configuration, or ask for less.",
            )
        if not 0 <= self.trust_from[0] < self.trust_from[1] <= 1:
            raise InputError(f"trust_from is {self.trust_from}.", "Give two rising shares of the run, up to 1.")
        if not all(0 <= share <= 1 for share in (self.reverse, self.crop.share, self.crop.zoom)):
            raise InputError("reverse and the parts of crop are shares.", "Give numbers from 0 to 1.")
        searches = config.guided and config.decoder_depth > 1 and config.decoder_heads > 2
        if not searches and any(stage.matching_weight for stage in self.stages):
            raise InputError(
                "A stage has a matching_weight, but no head of this network looks for its query in other frames.",
                "Use a guided network of two decoder blocks and three heads or more, or a weight of 0.",
            )
        for stage in self.stages:
            self.query_options(stage)  # refuses what makes no sense

    def network_config(self) -> D4rtConfig:  # type: ignore[override]
        """Sizes of the network."""
        from worldline.models.config import D4rtConfig

        return D4rtConfig.mini() if self.config is None else self.config

    @property
    def patch_size(self) -> int:
        """Pixels per side of one token."""
        return self.network_config().patch[1]

    def query_options(self, stage: ClipStage) -> QueryOptions:
        """How the queries of a stage are drawn."""
        return QueryOptions(stage.queries, self.edges, self.moving, self.tied, self.own, stage.near)

    def clip_options(self, stage: ClipStage, frames: int, size: int) -> ClipOptions:
        """What a step of a stage draws from clips."""
        dense = self.patch_size if self.dense_weight and self.network_config().dense else 0
        return ClipOptions(
            frames, size, self.query_options(stage), self.crop, self.colors, self.largest_stride, self.reverse, dense
        )
