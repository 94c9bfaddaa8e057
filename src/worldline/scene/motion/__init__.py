"""What moves: camera flow, optical flow, motion scores, masks of whole objects and their tracks (docs/motion.md)."""

from worldline.scene.motion.classic import ClassicOptions, refine
from worldline.scene.motion.ego import CameraFlow, camera_flow, camera_flow_of_points
from worldline.scene.motion.optical import FLOW_BACKENDS, Given, optical_flow, raft
from worldline.scene.motion.predictor import Motion, MotionOptions, MotionPredictor
from worldline.scene.motion.sam2 import refine_sam2
from worldline.scene.motion.score import Evidence, NoiseModel, View, motion_score
from worldline.scene.motion.tracker import ObjectTracker, TrackerOptions

__all__ = [
    "FLOW_BACKENDS",
    "CameraFlow",
    "ClassicOptions",
    "Evidence",
    "Given",
    "Motion",
    "MotionOptions",
    "MotionPredictor",
    "NoiseModel",
    "ObjectTracker",
    "TrackerOptions",
    "View",
    "camera_flow",
    "camera_flow_of_points",
    "motion_score",
    "optical_flow",
    "raft",
    "refine",
    "refine_sam2",
]
