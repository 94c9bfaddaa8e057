"""A tiny 4D scene that is known by a formula: a wall, a square that slides past it, two sensors, tracks and a box."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from worldline.scene import Scene, SceneView
from worldline.types import Camera, ImageTransform, MovingObject, Provenance, Tracks

HEIGHT, WIDTH, FOCAL = 48, 64, 48.0
WALL, NEAR, HALF = 4.0, 3.0, 0.5  # depth of the wall and of the square, half a side of it
SENSORS = {"front": 0.0, "side": -5.5}  # x of each camera: their pictures have nothing in common
TIMES = (10.0, 10.5, 11.0, 11.5)
SQUARE = (220, 40, 40)


def center(time: float) -> np.ndarray:
    """Of the square, in metres; y points down."""
    return np.array([-0.9 + 1.2 * (time - TIMES[0]), 0.0, NEAR])


def make_view(sensor: str, time: float, *, dynamic: bool = True) -> SceneView:
    """One image; the camera looks along z."""
    pose = np.eye(4)
    pose[0, 3] = SENSORS[sensor]
    camera = Camera(
        np.array([[FOCAL, 0, (WIDTH - 1) / 2], [0, FOCAL, (HEIGHT - 1) / 2], [0, 0, 1.0]]), pose, HEIGHT, WIDTH
    )
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float64)
    rays = np.stack([(columns - (WIDTH - 1) / 2) / FOCAL, (rows - (HEIGHT - 1) / 2) / FOCAL, np.ones_like(rows)], -1)
    offset = rays * NEAR + pose[:3, 3] - center(time)
    square = np.abs(offset[..., :2]).max(-1) <= HALF
    depth = np.where(square, NEAR, WALL)
    points = rays * depth[..., None] + pose[:3, 3]
    checks = (np.floor(points[..., 0] * 2) + np.floor(points[..., 1] * 2)) % 2
    blue, green = {"front": (190, 120), "side": (90, 190)}[sensor]
    wall = np.stack([60 + 40 * checks, green - 40 * checks, blue - 30 * checks], -1)
    image = np.where(square[..., None], SQUARE, wall).astype(np.uint8)
    return SceneView(
        name=f"{sensor}_{time:.1f}",
        image=image,
        transform=ImageTransform((HEIGHT, WIDTH), (HEIGHT, WIDTH), (0, 0), (HEIGHT, WIDTH)),
        camera=camera,
        points=points.astype(np.float32),
        depth=depth.astype(np.float32),
        confidence=np.full((HEIGHT, WIDTH), 2.0, np.float32),
        mask=np.ones((HEIGHT, WIDTH), bool),
        timestamp=time,
        sensor=sensor,
        pose_status="given",
        dynamic=square if dynamic else None,
    )


def make_scene(*, tracks: bool = True, objects: bool = True, times: tuple[float, ...] = TIMES) -> Scene:
    """The whole scene, in metres; the tracks are the corners and the middle of the square."""
    views = tuple(make_view(sensor, time) for time in times for sensor in SENSORS)
    corners = np.array([[0, 0, 0], [-1, -1, 0], [1, -1, 0], [-1, 1, 0], [1, 1, 0]]) * HALF
    points = np.stack([corners + center(view.timestamp or 0.0) for view in views], 1).astype(np.float32)
    pixels = np.stack([points[:, n, :2] / NEAR * FOCAL + (WIDTH / 2, HEIGHT / 2) for n in range(len(views))], 1)
    visible = np.zeros(points.shape[:2], bool)
    visible[:, [view.sensor == "front" for view in views]] = True
    visible[4] = False  # one corner is hidden all the time
    box = MovingObject(
        id=5,
        timestamps=np.array(times),
        centers=np.stack([center(time) for time in times]).astype(np.float32),
        velocities=np.tile(np.array([1.2, 0, 0], np.float32), (len(times), 1)),
        size=np.array([2 * HALF, 2 * HALF, 0.2], np.float32),
        sensors=("front",),
    )
    return Scene(
        views=views,
        tracks=Tracks(points, pixels.astype(np.float32), visible) if tracks else None,
        scale="known-poses",
        provenance=Provenance(model="exact"),
        objects=(box,) if objects else (),
    )


def renamed(view: SceneView, name: str, time: float) -> SceneView:
    """The view under another name and time."""
    return replace(view, name=name, timestamp=time)
