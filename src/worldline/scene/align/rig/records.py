"""What goes into the rig aligner and what comes out of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64

from worldline.errors import InputError
from worldline.types import Camera, ImageTransform

SOURCES = ("ego", "overlap", "turn", "ground", "lidar", "speed", "previous")
PoseStatus = Literal["given", "estimated", "failed"]


@dataclass(frozen=True)
class SensorMap:
    """What the network says about one image: a pointmap in the frame of the stream's anchor, in the stream's unit."""

    points: Float[np.ndarray, "height width 3"]  # torch tensors are taken too
    confidence: Float[np.ndarray, "height width"]  # > 0, larger is better
    transform: ImageTransform
    fragment: int = 0  # changes when the stream of this sensor was given a new anchor
    is_anchor: bool = False  # this image is the anchor: its own camera is the frame of the points


@dataclass(frozen=True)
class AlignedMap:
    """The same image in metres (if the scale is known) in the common frame."""

    points: Float32[np.ndarray, "height width 3"]  # frame ``frame``; the camera centre where ``valid`` is False
    depth: Float32[np.ndarray, "height width"]  # along the optical axis of ``camera``; 0 where ``valid`` is False
    valid: Bool[np.ndarray, "height width"]  # finite, inside the photo and in front of the camera
    camera: Camera  # of the photo as shown (original pixels)
    scale: float  # unit of ``points`` per unit of the network's map
    scale_sigma: float  # relative standard uncertainty of it; of the ratio to the first sensor's where arbitrary
    scale_kind: str  # one of scene.SCALES; only "arbitrary" is not metric
    pose_status: PoseStatus
    frame: str = "world"  # or "own:SENSOR" where nothing relates the sensor to the others
    inlier_share: float = 0.0  # of the pixels that agree with the estimated camera
    sources: Mapping[str, float] = field(default_factory=dict)  # share of each source in what is known of the scale
    notes: tuple[str, ...] = ()

    @property
    def world_from_cam(self) -> Float64[np.ndarray, "4 4"]:
        """Pose of the camera in ``frame``."""
        return self.camera.world_from_cam


@dataclass(frozen=True)
class AlignOptions:
    """Which sources of scale are used, and how cameras are estimated. See docs/rig_alignment.md for what each gives."""

    ego: bool = True  # camera centres of a fragment against given poses
    overlap: bool = True  # surfaces that two calibrated cameras see
    turn: bool = True  # motions of calibrated cameras on one body, without given poses
    ground: bool = True  # height of the cameras above the road
    lidar: bool = False  # points of a LiDAR, where given
    speed: bool = True  # speed from the vehicle bus, where given
    previous: bool = True  # depth of the image that two fragments share
    focal: Literal["estimated", "known"] = "estimated"  # K_e: from the anchor's own map, or the calibrated one
    rays: bool = True  # points on the rays of the known camera; False: eq. 5 to the letter
    pixels: int = 256  # correspondences for PnP
    max_error: float = 4 / 224  # inlier bound of PnP, of the longer image side
    confidence_percent: float = 10.0  # the least confident pixels take no part in any estimate
    predict_below: float = 0.3  # inlier share below which a known motion is believed more than the estimated camera
    # Unknown mountings are estimated from the motion, given ones checked. "assumed": what the motion does not show of a
    # lever arm is taken to be zero, with its uncertainty; "off": neither
    mounting: Literal["measured", "assumed", "off"] = "measured"
    mounting_degrees: float = 2.0  # standard uncertainties from which on an estimated mounting is used
    mounting_metres: float = 0.3

    def __post_init__(self) -> None:
        if self.focal not in ("estimated", "known"):
            raise InputError(f"Unknown choice of focal length {self.focal!r}.", "Choose 'estimated' or 'known'.")
        if self.mounting not in ("measured", "assumed", "off"):
            raise InputError(f"Unknown choice of mounting {self.mounting!r}.", "Choose 'measured', 'assumed' or 'off'.")
        if not (self.mounting_degrees > 0 and self.mounting_metres > 0 and 0 <= self.predict_below <= 1):
            raise InputError(
                "An accuracy of the mounting or predict_below is out of range.",
                "mounting_degrees and mounting_metres are positive, predict_below in 0..1.",
            )
        if self.pixels < 16 or not self.max_error > 0 or not 0 <= self.confidence_percent < 100:
            raise InputError(
                "An option of the aligner is out of range.",
                "pixels is 16 or more, max_error positive, confidence_percent in 0..100.",
            )


def as_array(values: Any) -> np.ndarray:
    """A torch tensor or anything array-like as numpy."""
    if hasattr(values, "detach"):
        values = values.detach().float().cpu().numpy()
    return np.asarray(values)


def rigid(rotation: np.ndarray, translation: np.ndarray) -> Float64[np.ndarray, "4 4"]:
    """Homogeneous matrix of a rotation and a translation."""
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, translation
    return matrix


def inverse(a_from_b: Float64[np.ndarray, "4 4"]) -> Float64[np.ndarray, "4 4"]:
    """Inverse of a rigid motion."""
    return rigid(a_from_b[:3, :3].T, -a_from_b[:3, :3].T @ a_from_b[:3, 3])
