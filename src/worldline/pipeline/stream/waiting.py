"""An image between its preview and its final result, and what the network and the aligner take and give for it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, UInt8

from worldline.models.pool import CameraMaps
from worldline.pipeline.stream.assembly import Moving
from worldline.pipeline.stream.framing import Framing
from worldline.pipeline.stream.intake import Poses
from worldline.pipeline.stream.results import SensorResult
from worldline.scene.align.rig import SensorMap
from worldline.types import ImageTransform


@dataclass(eq=False)
class Pushed:
    """An image that waits for its final result."""

    step: int
    timestamp: float
    arrived: float  # clock of this process
    image: UInt8[np.ndarray, "height width 3"]  # at the merged model size
    framing: Framing
    poses: Poses = None
    lidar: Float[np.ndarray, "n 3"] | None = None
    speed: float | None = None
    moving: Moving = field(default_factory=Moving)
    maps: dict[str, SensorMap] = field(default_factory=dict)  # previews as the network gave them
    preview: SensorResult | None = None


def to_input(image: UInt8[np.ndarray, "height width 3"]) -> Float[torch.Tensor, "3 height width"]:
    """Pixels as the network wants them, in [-1, 1]."""
    return torch.tensor(image).permute(2, 0, 1).float() / 127.5 - 1


def sensor_map(maps: CameraMaps | None, transform: ImageTransform) -> SensorMap:
    """Maps of the network as the aligner takes them."""
    assert maps is not None
    return SensorMap(
        maps.maps.points.float().cpu().numpy(),
        maps.maps.confidence.float().cpu().numpy(),
        transform,
        maps.fragment,
        maps.anchor,
    )
