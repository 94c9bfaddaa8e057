"""Small scenes of every kind that reports are made of, with numbers that are easy to say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from worldline.outputs.report.contents import PANEL, Panel
from worldline.scene import Scene, SceneView
from worldline.types import Camera, ImageTransform, MovingObject, Provenance, Tracks

HEIGHT, WIDTH = 24, 32
LEVEL = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # world_from_cam of a level camera that looks along y; z is up


def quick_new_view(scene: Scene) -> Panel:
    """Instead of a rendered view, noise: at once there, and as large a file as can be."""
    noise = np.random.default_rng(0).integers(0, 255, (*PANEL, 3)).astype(np.uint8)
    return Panel("A new view", "A new view.", noise)


def turned(degrees: float) -> np.ndarray:
    """Rotation about z."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def camera(center: tuple[float, float, float], yaw: float = 0.0, tilt: float = 0.0) -> Camera:
    """A level camera at ``center``: ``yaw`` degrees to the left of y, ``tilt`` degrees downwards."""
    c, s = np.cos(np.radians(tilt)), np.sin(np.radians(tilt))
    pose = np.eye(4)
    pose[:3, :3] = turned(yaw) @ LEVEL @ np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    pose[:3, 3] = center
    intrinsics = np.array([[30.0, 0, (WIDTH - 1) / 2], [0, 30.0, (HEIGHT - 1) / 2], [0, 0, 1]])
    return Camera(intrinsics, pose, HEIGHT, WIDTH)


def view(name: str, eye: Camera, *, seed: int = 0, **changes: object) -> SceneView:
    """A wall 2 to 4 units away, in random colours; the left quarter is not valid, confidence grows to the right."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    depth = (2 + 2 * columns / (WIDTH - 1)).astype(np.float32)
    rays = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(eye.intrinsics).T
    points = (rays * depth[..., None]) @ eye.world_from_cam[:3, :3].T + eye.center
    first = SceneView(
        name=name,
        image=random.integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8),
        transform=ImageTransform((HEIGHT, WIDTH), (HEIGHT, WIDTH), (0, 0), (HEIGHT, WIDTH), 1),
        camera=eye,
        points=points.astype(np.float32),
        depth=depth,
        confidence=(1 + columns / 8).astype(np.float32),
        mask=columns >= WIDTH // 4,
    )
    return replace(first, **changes)  # type: ignore[arg-type]


def photos(count: int = 5, **changes: object) -> Scene:
    """Photos from a row of places 0.5 units apart; the last one has no pose where there are more than two."""
    views = [view(f"photo {row}.jpg", camera((0.5 * row, 0, 1.5), 5 * row), seed=row) for row in range(count)]
    if count > 2:
        views[-1] = replace(views[-1], pose_status="failed")
    provenance = Provenance(
        "mvdust3r-plus-mini", "ab" * 32, "Apache-2.0", {"size": 128}, {"worldline": "0.1.0"}, {"network": 1.25},
        "2026-11-21T20:36:12+00:00",
    )  # fmt: skip
    return Scene(tuple(views), scale="model", provenance=provenance, warnings=("Look twice.",), **changes)  # type: ignore[arg-type]


def stream(moments: int = 4) -> Scene:
    """A rig of three sensors that moves 1 m along y per half second; metres; one thing moves beside it."""
    sensors = {"FRONT": 0.0, "LEFT": 90.0, "BACK": 180.0}
    moving = np.zeros((HEIGHT, WIDTH), bool)
    moving[:, -8:] = True
    views = tuple(
        view(
            f"{name}_{step}", camera((0.0, float(step), 1.5), yaw), seed=step, timestamp=100 + 0.5 * step, sensor=name,
            dynamic=moving,
        )
        for step in range(moments) for name, yaw in sensors.items()
    )  # fmt: skip
    times = np.arange(moments) * 0.5 + 100
    centers = np.stack([np.full(moments, 3.0), np.arange(moments), np.full(moments, 0.7)], 1).astype(np.float32)
    thing = MovingObject(1, times, centers, np.zeros_like(centers), np.array([1, 2, 1.5], np.float32), ("FRONT",))
    return Scene(views, scale="known-baseline", provenance=Provenance("driv3r-mini"), objects=(thing,))


def video(frames: int = 6) -> Scene:
    """Frames of a camera that goes sideways, and three tracks, one of which is not known all the time."""
    views = tuple(
        view(f"frame_{row}", camera((0.1 * row, 0, 1.5)), seed=row, timestamp=row / 10) for row in range(frames)
    )
    points = np.random.default_rng(1).normal((0, 3, 1), 0.4, (3, frames, 3)).astype(np.float32)
    points[2, 0] = np.nan
    seen = np.isfinite(points).all(-1)
    tracks = Tracks(points, np.zeros((3, frames, 2), np.float32), seen)
    return Scene(views, scale="model", provenance=Provenance("d4rt-mini"), tracks=tracks)
