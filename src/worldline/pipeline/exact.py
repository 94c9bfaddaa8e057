"""The exact truth of a procedural world as a :class:`~worldline.Scene`: what a perfect reconstruction would return.

Whatever takes a scene (export, view, render, report) can be tried and judged on it apart from any network's errors.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np

from worldline.scene import Scene, SceneView
from worldline.types import Camera, ImageTransform, MovingObject, Provenance, Tracks
from worldline.worlds.sampling import WorldSample
from worldline.worlds.truth.boxes import Boxes, boxes
from worldline.worlds.truth.tracks import sample_tracks

if TYPE_CHECKING:
    from jaxtyping import UInt8

EXACT_MODEL = "exact truth of a procedural world"


def exact_scene(sample: WorldSample, *, tracks: int = 0, seed: int = 0) -> Scene:
    """Every pixel's true point, the true cameras, and over time what moves: masks, boxes, tracks.

    The world frame is the world's own (metres, z up), confidence is 2 wherever something was hit. The pixels of the
    sky are masked.

    Args:
        tracks: number of points to follow through a video of one camera, drawn by ``seed``; half of them on moving
            things, as far as there are any. A photo set and a rig have none.
    """
    timed = len(sample.world.motion.times) > 1
    sensors = sample.world.sensors
    views = tuple(_view(sample, index, timed, sensors) for index in range(len(sample.images)))
    video = timed and len(sensors) == 1
    return Scene(
        views=views,
        tracks=_tracks(sample, tracks, seed) if tracks and video else None,
        scale="known-poses",
        provenance=Provenance(
            EXACT_MODEL, license="Apache-2.0", arguments={"layout": sample.layout, "seed": sample.seed}
        ),
        objects=_objects(sample) if timed else (),
    )


def _view(sample: WorldSample, index: int, timed: bool, sensors: tuple[str, ...]) -> SceneView:
    height, width = sample.depth.shape[1:]
    camera = Camera(
        sample.intrinsics[index].numpy(force=True), sample.world_from_cam[index].numpy(force=True), height, width
    )
    sensor = sensors[int(sample.world.cameras.sensor[index])] if len(sensors) > 1 else None
    valid = sample.valid[index].numpy(force=True)
    frame = int(sample.frame[index])
    return SceneView(
        name=f"{frame:04d}_{sensor}" if sensor else f"view_{index:04d}",
        image=sample.images[index].numpy(force=True),
        transform=ImageTransform.identity(height, width),
        camera=camera,
        points=np.where(valid[..., None], sample.points[index].numpy(force=True), 0).astype(np.float32),
        depth=np.where(valid, sample.depth[index].numpy(force=True), 0).astype(np.float32),
        confidence=np.where(valid, np.float32(2), np.float32(1)),
        mask=valid,
        timestamp=float(sample.times[index]) if timed else None,
        sensor=sensor,
        pose_status="given",
        dynamic=sample.dynamic[index].numpy(force=True) if timed else None,
    )


def _tracks(sample: WorldSample, count: int, seed: int) -> Tracks:
    height, width = sample.depth.shape[1:]
    truth = sample_tracks(sample.world, count, height=height, width=width, seed=seed)
    x, y, t = truth.queries.astype(int).T
    colors: UInt8[np.ndarray, "n 3"] = sample.images.numpy(force=True)[t, y, x]
    return Tracks(
        truth.world.transpose(1, 0, 2).astype(np.float32),
        truth.pixel.transpose(1, 0, 2).astype(np.float32),
        truth.visible.T.copy(),
        colors,
    )


def _objects(sample: WorldSample) -> tuple[MovingObject, ...]:
    """What moves, as boxes along the world's axes that hold the object's own box at its widest."""
    times = sample.world.motion.times
    frames = [boxes(sample.world, frame) for frame in range(len(times))]
    rows = sorted(
        (int(each.object_id[row]), frame, row)
        for frame, each in enumerate(frames)
        for row in np.flatnonzero(each.moves)
    )
    return tuple(
        _object(number, [(int(f), int(r)) for _, f, r in group], frames, times)
        for number, group in groupby(rows, lambda row: row[0])
    )


def _object(number: int, rows: list[tuple[int, int]], frames: list[Boxes], times: np.ndarray) -> MovingObject:
    centers = np.stack([frames[frame].center[row] for frame, row in rows])
    at = times[[frame for frame, _ in rows]]
    velocities = np.gradient(centers, at, axis=0) if len(at) > 1 else np.zeros_like(centers)
    sizes = []
    for frame, row in rows:
        (length, breadth, height), yaw = frames[frame].size[row], frames[frame].yaw[row]
        turn = np.abs([[np.cos(yaw), np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]])
        sizes.append([*(turn @ (length, breadth)), height])
    return MovingObject(
        number, at, centers.astype(np.float32), velocities.astype(np.float32), np.max(sizes, 0).astype(np.float32)
    )
