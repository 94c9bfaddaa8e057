"""What a stream answers to a push."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from worldline.models.memory import StepReport
from worldline.scene import SceneView
from worldline.types import Camera, ImageTransform


@dataclass(frozen=True, eq=False)
class SensorResult:
    """Geometry of one image. Maps are at model size, the camera in original pixels."""

    sensor: str
    timestamp: float  # seconds, as pushed
    step: int  # number of the push, from 0
    preview: bool  # True: target head, given at once; False: reference head, given when the next image arrived
    image: UInt8[np.ndarray, "height width 3"] = field(repr=False)
    transform: ImageTransform
    camera: Camera
    points: Float32[np.ndarray, "height width 3"] = field(repr=False)
    depth: Float32[np.ndarray, "height width"] = field(repr=False)  # along the optical axis; 0 where unknown
    confidence: Float32[np.ndarray, "height width"] = field(repr=False)  # > 0, larger is better
    mask: Bool[np.ndarray, "height width"] = field(repr=False)  # confident, finite, in the photo, in front
    dynamic: Bool[np.ndarray, "height width"] | None = field(default=None, repr=False)  # moves; None: not known
    flow: Float32[np.ndarray, "height width 2"] | None = field(default=None, repr=False)  # optical, to the last image
    pose_status: str = "estimated"  # given, estimated or failed
    frame: str = "world"  # of points and camera: world, or "own:SENSOR" where nothing relates the camera to the others
    scale: float = 1.0  # world units per unit of the network
    scale_sigma: float = float("inf")  # relative standard uncertainty of it
    scale_kind: str = "arbitrary"  # one of worldline.scene.SCALES
    seam: float | None = None  # median relative disagreement of depth where two crops overlap
    latency: float = 0.0  # seconds from the push of this image to this result
    memory: StepReport | None = None  # what the memory did with the image
    notes: tuple[str, ...] = ()

    def to_view(self) -> SceneView:
        """As a view of a scene."""
        return SceneView(
            name=f"{self.sensor}_{self.step:06d}",
            image=self.image,
            transform=self.transform,
            camera=self.camera,
            points=self.points,
            depth=self.depth,
            confidence=self.confidence,
            mask=self.mask,
            dynamic=self.dynamic,
            timestamp=self.timestamp,
            sensor=self.sensor,
            pose_status=self.pose_status,
        )


@dataclass(frozen=True, eq=False)
class FrameResult:
    """The answer to a push: previews of its images, and final results of the images before them."""

    timestamp: float
    step: int  # number of the push; -1 where it was refused
    accepted: bool  # False: late, duplicate or without any usable image
    sensors: Mapping[str, SensorResult]  # previews of the images of this push, by sensor
    completed: tuple[SensorResult, ...] = ()  # final results of earlier images
    issues: tuple[str, ...] = ()  # what was wrong with the input and what was done about it
    latency: float = 0.0  # seconds that the push took
    timings: Mapping[str, float] = field(default_factory=dict)  # seconds by part: read, network, align, motion

    def __getitem__(self, sensor: str) -> SensorResult:
        return self.sensors[sensor]
