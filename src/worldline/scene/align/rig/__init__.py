"""Placement of the pointmaps of a camera rig in one metric frame, as a stream (Driv3R's multi-view aligner)."""

from worldline.scene.align.rig.aligner import RigAligner
from worldline.scene.align.rig.calibration import RigCalibration, SensorCalibration
from worldline.scene.align.rig.camera import EstimatedCamera, estimate_camera, to_known_camera
from worldline.scene.align.rig.published import published_alignment
from worldline.scene.align.rig.records import SOURCES, AlignedMap, AlignOptions, SensorMap

__all__ = [
    "SOURCES",
    "AlignOptions",
    "AlignedMap",
    "EstimatedCamera",
    "RigAligner",
    "RigCalibration",
    "SensorCalibration",
    "SensorMap",
    "estimate_camera",
    "published_alignment",
    "to_known_camera",
]
