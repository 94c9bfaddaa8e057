"""What moves in a stream: masks per image and objects over time."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from importlib.util import find_spec

import numpy as np

from worldline.pipeline.stream.assembly import Moving
from worldline.pipeline.stream.results import SensorResult
from worldline.scene.motion import MotionOptions, MotionPredictor, ObjectTracker
from worldline.types import MovingObject

_KEPT_OBJECTS = 1000  # ended ones that a session can still return


def motion_is_possible(flow: str) -> bool:
    """Whether the package that a flow backend needs is installed."""
    return find_spec({"dis": "cv2", "raft": "torchvision"}.get(flow, "cv2")) is not None


class MotionWatch:
    """Motion predictor and object tracker of a session."""

    def __init__(self, flow: str) -> None:
        """Raises InputError for an unknown backend, MissingExtraError where its package is not installed."""
        self._predictor = MotionPredictor(MotionOptions(backend=flow))
        self._tracker = ObjectTracker()
        self._ended: deque[MovingObject] = deque(maxlen=_KEPT_OBJECTS)
        self._latest = -np.inf  # seconds, of what the tracker has seen

    def look(self, results: Mapping[str, SensorResult]) -> dict[str, Moving]:
        """Motion in images of one moment, per sensor; objects are joined to those of the moments before.

        A sensor whose last image was long ago may bring one of an earlier moment than the others; objects that have
        been followed beyond that moment learn nothing from it.
        """
        found = {name: self._find(result) for name, result in results.items()}
        masks = {
            name: moving.dynamic & results[name].mask
            for name, moving in found.items()
            if moving.dynamic is not None and results[name].frame == "world"
        }
        for moment in sorted({results[name].timestamp for name in masks}):
            if moment <= self._latest:
                continue
            self._latest = moment
            now = {name: mask for name, mask in masks.items() if results[name].timestamp == moment}
            self._ended += self._tracker.update(
                moment,
                now,
                {name: results[name].points for name in now},
                {name: results[name].camera.world_from_cam for name in now},
            )
        return found

    def forget(self, sensor: str) -> None:
        """The next image of a sensor is a first one again."""
        self._predictor.forget(sensor)

    def objects(self) -> tuple[MovingObject, ...]:
        """Objects that have ended, then those that are still seen."""
        return (*self._ended, *self._tracker.objects())

    def state(self) -> dict[str, np.ndarray]:
        """What masks depend on; objects begin anew after :meth:`restore`."""
        return self._predictor.state()

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Go on from a :meth:`state`."""
        self._predictor.restore(state)

    def _find(self, result: SensorResult) -> Moving:
        camera = result.camera.to_model(result.transform)
        motion = self._predictor.update(
            result.sensor,
            result.timestamp,
            result.image,
            result.depth,
            camera.intrinsics,
            camera.world_from_cam,
            confidence=result.confidence,
        )
        return Moving(motion.dynamic, motion.flow) if motion.known else Moving()
