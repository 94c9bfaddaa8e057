"""What methods make of a drive: a session over all steps, single frames, and depths that need no network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float32, Float64

from worldline.eval.streams.drives import StreamDrive
from worldline.eval.streams.feed import UNDISTURBED, Disturbance, given_rig, pushes
from worldline.types import Camera, ImageTransform

if TYPE_CHECKING:
    from worldline.pipeline import Reconstructor
    from worldline.pipeline.stream import SensorResult, StreamOptions

CONSTANT_DEPTH = 8.18  # metres: median depth below 80 m of the training streets (40 drives)
CONSTANT_ABOVE = 11.8  # metres: the same of pixels at or above the horizon


@dataclass(frozen=True, eq=False)
class Estimate:
    """What a method says about one image, at model size."""

    depth: Float32[np.ndarray, "height width"]  # along the optical axis, metres where the scale is known; 0 unknown
    points: Float32[np.ndarray, "height width 3"]  # world frame
    mask: Bool[np.ndarray, "height width"]  # what the method offers
    camera: Camera  # of the model pixels
    transform: ImageTransform
    dynamic: Bool[np.ndarray, "height width"] | None = None
    scale_sigma: float = float("nan")  # relative uncertainty of the scale that the method states


Key = tuple[int, str]  # step, sensor


@dataclass
class StreamRun:
    """All answers of a method to a drive."""

    final: dict[Key, Estimate] = field(default_factory=dict)
    preview: dict[Key, Estimate] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)  # seconds of every push


def run_stream(
    model: Reconstructor,
    drive: StreamDrive,
    options: StreamOptions | None = None,
    disturbance: Disturbance = UNDISTURBED,
) -> StreamRun:
    """Push a drive through one session.

    Raises:
        InputError: the model has no memory.
    """
    session = model.stream(given_rig(drive, disturbance), options)
    run, steps = StreamRun(), {}
    for step, push in enumerate(pushes(drive, disturbance)):
        if not push.images:
            continue
        result = session.push(push.timestamp, push.images, push.world_from_rig)
        steps[push.timestamp] = step
        run.latencies.append(result.latency)
        run.preview |= {(step, name): estimate_of(each) for name, each in result.sensors.items()}
        run.final |= {(steps[each.timestamp], each.sensor): estimate_of(each) for each in result.completed}
    run.final |= {(steps[each.timestamp], each.sensor): estimate_of(each) for each in session.finish()}
    return run


def run_single_frames(
    model: Reconstructor,
    drive: StreamDrive,
    options: StreamOptions | None = None,
    disturbance: Disturbance = UNDISTURBED,
) -> StreamRun:
    """Every moment as the first of a session of its own: each image is paired with itself, and nothing is known before.

    The scale then comes from the height of the cameras and from what neighbours see together.
    """
    rig, run = given_rig(drive, disturbance), StreamRun()
    for step, push in enumerate(pushes(drive, disturbance)):
        if not push.images:
            continue
        result = model.stream(rig, options).push(push.timestamp, push.images, push.world_from_rig)
        run.latencies.append(result.latency)
        run.preview |= {(step, name): estimate_of(each) for name, each in result.sensors.items()}
    run.final = dict(run.preview)
    return run


def run_constant(drive: StreamDrive) -> StreamRun:
    """Every pixel at the median depth of the training streets."""
    return _given_depths(drive, lambda camera: np.full((camera.height, camera.width), CONSTANT_DEPTH))


def run_road(drive: StreamDrive) -> StreamRun:
    """A flat road at the known height of the cameras, and a wall around it at the median depth above the horizon."""
    return _given_depths(drive, _road_depth)


def _road_depth(camera: Camera) -> Float64[np.ndarray, "height width"]:
    rows, columns = np.mgrid[: camera.height, : camera.width]
    rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(camera.intrinsics).T
    fall = -(rays @ camera.world_from_cam[:3, :3].T)[..., 2]
    depth = np.full(fall.shape, CONSTANT_ABOVE)
    down = fall > 1e-6
    depth[down] = np.minimum(camera.center[2] / fall[down], CONSTANT_ABOVE)
    return depth


def _given_depths(drive: StreamDrive, depth_of: Callable[[Camera], np.ndarray]) -> StreamRun:
    run = StreamRun()
    for step in range(len(drive.times)):
        for row, name in enumerate(drive.spec.sensors):
            camera = drive.camera(step, row)
            depth = depth_of(camera).astype(np.float32)
            known = np.ones(depth.shape, bool)
            transform = ImageTransform.identity(camera.height, camera.width)
            run.final[step, name] = Estimate(depth, lifted(depth, camera), known, camera, transform)
    run.preview = dict(run.final)
    return run


def estimate_of(result: SensorResult) -> Estimate:
    """The part of a session's result that is measured."""
    return Estimate(
        result.depth, result.points, result.mask, result.camera.to_model(result.transform), result.transform,
        result.dynamic, result.scale_sigma,
    )  # fmt: skip


def lifted(depth: Float32[np.ndarray, "height width"], camera: Camera) -> Float32[np.ndarray, "height width 3"]:
    """World points of a depth map along the camera's axis."""
    rows, columns = np.mgrid[: depth.shape[0], : depth.shape[1]]
    rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(camera.intrinsics).T
    points = rays * depth[..., None].astype(np.float64)
    return (points @ camera.world_from_cam[:3, :3].T + camera.center).astype(np.float32)
