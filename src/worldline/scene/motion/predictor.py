"""What moves in the images of a stream: one image after the other, for any number of sensors, with a bounded state."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Float64, UInt8

from worldline.errors import InputError
from worldline.scene.motion.classic import ClassicOptions, refine
from worldline.scene.motion.ego import CameraFlow, camera_flow
from worldline.scene.motion.optical import FlowBackend, flow_backend, optical_flow
from worldline.scene.motion.score import Evidence, NoiseModel, View, motion_score

_FAR = 1e4  # median depths away: where what has no depth is taken to be, so that it only turns


@dataclass(frozen=True)
class MotionOptions:
    """Choices of a :class:`MotionPredictor`."""

    backend: str | FlowBackend = "dis"  # of the optical flow, see FLOW_BACKENDS
    noise: NoiseModel = field(default_factory=NoiseModel)
    refiner: str = "classic"  # classic: whole objects; none: the scores above ``threshold``
    classic: ClassicOptions = field(default_factory=ClassicOptions)
    threshold: float = 5.0  # standard deviations, for the refiner "none"
    span: float = 0.35  # seconds: an image is also compared with the earliest one of the same sensor that is no older,
    # because a slow thing stands out only after a while
    earlier: int = (
        1  # images back at most; 1 compares with the previous one only, 3 finds more that is slow and costs twice
    )
    max_gap: float = 1.5  # seconds between two images of a sensor beyond which they are not compared
    low_confidence: float = 0.2  # share of the median of (confidence - 1) below which a depth is no evidence

    def __post_init__(self) -> None:
        if self.refiner not in ("classic", "none"):
            raise InputError(
                f"Unknown refiner of a stream {self.refiner!r}.",
                "Choose one of: classic, none. SAM 2 needs a whole clip: see worldline.scene.motion.refine_sam2.",
            )
        if not self.max_gap > 0 or not self.threshold > 0 or self.low_confidence < 0 or self.earlier < 1:
            raise InputError(
                "A number of the motion options is out of range.",
                "Gap and threshold are positive, earlier is 1 or more.",
            )


@dataclass(frozen=True)
class Motion:
    """What moves in an image. Flow goes to the previous image of the same sensor."""

    dynamic: Bool[np.ndarray, "height width"]
    score: Float32[np.ndarray, "height width"]  # standard deviations from a still world
    flow: Float32[np.ndarray, "height width 2"]  # optical, pixels (x, y); 0 where not known
    camera_flow: Float32[np.ndarray, "height width 2"]  # of a still world
    checked: Bool[np.ndarray, "height width"]  # where the score rests on evidence
    known: bool  # False: there is no image to compare with, everything else is empty
    seconds: float  # of computing


@dataclass(frozen=True)
class _Frame:
    """What is remembered of an image."""

    timestamp: float
    image: UInt8[np.ndarray, "height width 3"]
    depth: Float32[np.ndarray, "height width"]  # 0 where unknown
    intrinsics: Float64[np.ndarray, "3 3"]
    world_from_cam: Float64[np.ndarray, "4 4"]


class MotionPredictor:
    """4D flow predictor of a stream (Driv3R, arXiv 2412.06777); remembers a few images per sensor."""

    def __init__(self, options: MotionOptions | None = None) -> None:
        """Start with no image remembered.

        Raises:
            InputError: unknown backend.
            MissingExtraError: the backend needs a package that is not installed.
        """
        self.options = options or MotionOptions()
        self._search = flow_backend(self.options.backend)
        self._past: dict[str, list[_Frame]] = {}  # earliest first

    def update(
        self,
        sensor: str,
        timestamp: float,
        image: UInt8[np.ndarray, "height width 3"],
        depth: Float[np.ndarray, "height width"],
        intrinsics: Float[np.ndarray, "3 3"],
        world_from_cam: Float[np.ndarray, "4 4"],
        confidence: Float[np.ndarray, "height width"] | None = None,
    ) -> Motion:
        """The next image of a sensor -> what moves in it.

        Args:
            sensor: name; sensors are independent of each other.
            timestamp: seconds, later than the sensor's last.
            image: RGB at the size of the depth.
            depth: along the optical axis, in the unit of the poses; not positive or not finite where unknown.
            intrinsics: pixels of this image.
            world_from_cam: OpenCV axes.
            confidence: of the depth, above 1; depths of little confidence are no evidence.

        Raises:
            InputError: shapes that do not fit, or a timestamp that is not later.
        """
        started = time.perf_counter()
        frame = _frame(timestamp, image, depth, intrinsics, world_from_cam)
        past = self._past.get(sensor, [])
        if past and not frame.timestamp > past[-1].timestamp:
            raise InputError(
                f"The image of {sensor} at {frame.timestamp} s is not later than its last at {past[-1].timestamp} s.",
                "Give the images of a sensor in their order.",
            )
        if past and (
            past[-1].image.shape != frame.image.shape or frame.timestamp - past[-1].timestamp > self.options.max_gap
        ):
            past = []
        self._past[sensor] = [*past, frame][-self.options.earlier :]
        if not past:
            return _nothing(frame.depth.shape, time.perf_counter() - started)
        trusted = (frame.depth > 0) & _confident(confidence, frame.depth.shape, self.options.low_confidence)
        return self._judge(frame, past, trusted, started)

    def _judge(self, frame: _Frame, past: list[_Frame], trusted: np.ndarray, started: float) -> Motion:
        view, evidence = self._compare(frame, past[-1], trusted)
        score, known = evidence.score, evidence.known
        recent = [each for each in past if frame.timestamp - each.timestamp <= self.options.span]
        if recent and recent[0] is not past[-1]:
            _, before = self._compare(frame, recent[0], trusted)
            score, known = np.maximum(score, before.score), known | before.known
        if self.options.refiner == "none":
            dynamic = known & (score > self.options.threshold)
        else:
            dynamic = refine(score, known, frame.image, frame.depth, self.options.classic)
        return Motion(dynamic, score, view.flow, view.camera_flow, known, True, time.perf_counter() - started)

    def _compare(self, frame: _Frame, other: _Frame, trusted: np.ndarray) -> tuple[View, Evidence]:
        """Evidence of motion between an image and an earlier one."""
        there, back = _camera_flow(frame, other), _camera_flow(other, frame)
        flow = optical_flow(frame.image, other.image, self._search, initial=there.flow.numpy())
        flow_back = optical_flow(other.image, frame.image, self._search, initial=back.flow.numpy())
        view = View(
            flow,
            there.flow.numpy(),
            there.stretch.numpy(),
            there.depth.numpy(),
            trusted & there.valid.numpy(),
            other.intrinsics,
            frame.image,
            other.image,
        )
        return view, motion_score(view, flow_back, other.depth, self.options.noise)

    def forget(self, sensor: str) -> None:
        """The next image of a sensor is a first one again."""
        self._past.pop(sensor, None)

    def state(self) -> dict[str, np.ndarray]:
        """All that the next :meth:`update` depends on, as ``sensor.place.field`` -> array; place 0 is the earliest."""
        return {
            f"{sensor}.{place}.{name}": np.asarray(getattr(frame, name))
            for sensor, past in self._past.items()
            for place, frame in enumerate(past)
            for name in _Frame.__dataclass_fields__
        }

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from a :meth:`state`.

        Raises:
            InputError: the state is damaged.
        """
        frames: dict[tuple[str, str], dict[str, np.ndarray]] = {}
        for key, value in state.items():
            sensor, place, name = ("", "", "", *key.rsplit(".", 2))[-3:]
            frames.setdefault((sensor, place), {})[name] = np.asarray(value)
        restored: dict[str, list[_Frame]] = {}
        for (sensor, _), parts in sorted(frames.items()):
            if set(parts) != set(_Frame.__dataclass_fields__):
                raise InputError(f"The saved motion state of {sensor!r} is not complete.", "Save the stream again.")
            timestamp, *arrays = (parts[name] for name in _Frame.__dataclass_fields__)
            restored.setdefault(sensor, []).append(_frame(float(timestamp), *arrays))
        self._past = {
            sensor: sorted(past, key=lambda frame: frame.timestamp)[-self.options.earlier :]
            for sensor, past in restored.items()
        }


def _frame(
    timestamp: float, image: np.ndarray, depth: np.ndarray, intrinsics: np.ndarray, world_from_cam: np.ndarray
) -> _Frame:
    image, depth = np.asarray(image), np.asarray(depth, np.float32)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or depth.shape != image.shape[:2]:
        raise InputError(
            f"An image of {image.shape} ({image.dtype}) and a depth of {depth.shape} do not belong together.",
            "Give an RGB image of type uint8 and a depth of the same height and width.",
        )
    intrinsics, pose = np.asarray(intrinsics, np.float64), np.asarray(world_from_cam, np.float64)
    if intrinsics.shape != (3, 3) or pose.shape != (4, 4) or not np.isfinite(pose).all():
        raise InputError("Intrinsics or pose are no finite matrices of 3x3 and 4x4.", "Give one of each per image.")
    known = np.isfinite(depth) & (depth > 0)
    return _Frame(float(timestamp), image.copy(), np.where(known, depth, 0).astype(np.float32), intrinsics, pose)


def _camera_flow(a: _Frame, b: _Frame) -> CameraFlow:
    """Camera flow a -> b; what has no depth is far away and only turns."""
    known = a.depth > 0
    far = _FAR * (float(np.median(a.depth[known])) if known.any() else 1.0)
    poses = np.linalg.inv(np.stack([a.world_from_cam, b.world_from_cam]))
    return camera_flow(
        torch.from_numpy(np.where(known, a.depth, far).astype(np.float32)),
        torch.from_numpy(a.intrinsics),
        torch.from_numpy(poses[0]),
        torch.from_numpy(b.intrinsics),
        torch.from_numpy(poses[1]),
    )


def _confident(confidence: np.ndarray | None, shape: tuple[int, ...], share: float) -> Bool[np.ndarray, "h w"]:
    if confidence is None:
        return np.ones(shape, bool)
    if np.shape(confidence) != shape:
        raise InputError(f"A confidence of {np.shape(confidence)} for a depth of {shape}.", "Give one per pixel.")
    excess = np.nan_to_num(np.asarray(confidence, np.float32)) - 1
    return excess >= share * float(np.median(excess))


def _nothing(shape: tuple[int, ...], seconds: float) -> Motion:
    none, still = np.zeros(shape, bool), np.zeros((*shape, 2), np.float32)
    return Motion(none, np.zeros(shape, np.float32), still, still.copy(), none.copy(), False, seconds)
