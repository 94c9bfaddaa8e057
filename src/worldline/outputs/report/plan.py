"""Maps of scenes: which way is up, how the page is turned, how long the scale bar is. Orthographic, no drawing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64

from worldline.outputs.drawing import round_down
from worldline.outputs.facts.viewpoint import up_direction
from worldline.outputs.report.facts import Sample
from worldline.scene import Scene, SceneView
from worldline.types import MovingObject

_BAR = 0.22  # of the width, the longest scale bar
_CUT = 1.5  # % of the points on each side that the map may leave out


@dataclass(frozen=True, eq=False)
class Plan:
    """How world points come to lie on a map. Page: x to the right, y down, pixel centres at integers."""

    world_from_plan: Float64[np.ndarray, "3 3"]  # columns: to the right, to the top of the page, up
    middle: Float64[np.ndarray, "3"]  # the world point at the middle of the page
    pixels: float  # per unit of length
    width: int
    height: int

    def place(self, points: Float[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n 2"]:
        """World points -> (x, y) on the page."""
        local = (np.asarray(points, np.float64) - self.middle) @ self.world_from_plan
        center = np.array([(self.width - 1) / 2, (self.height - 1) / 2])
        return center + self.pixels * local[..., :2] * (1, -1)

    def altitude(self, points: Float[np.ndarray, "*n 3"]) -> Float64[np.ndarray, "*n"]:
        """How high points lie above the middle, in units of length."""
        return (np.asarray(points, np.float64) - self.middle) @ self.world_from_plan[:, 2]

    def larger(self, factor: int) -> Plan:
        """The same map with ``factor`` times as many pixels per side."""
        return Plan(self.world_from_plan, self.middle, self.pixels * factor, self.width * factor, self.height * factor)


def make_plan(
    scene: Scene, sample: Sample, width: int, height: int, *, margin: float = 0.05
) -> Plan:  # fmt: skip
    """The map that shows the scene as large as possible, walls parallel to the page and the first camera looking up."""
    posed = posed_views(scene)
    up = up_direction([view.camera.world_from_cam for view in posed])
    axes = _axes(up, heading(posed[0], up))
    shown = _shown(scene, sample, axes)
    axes = _turned(axes, shown, width / height)
    local = shown @ axes
    low, high = local.min(0), local.max(0)
    size = np.maximum(high - low, 1e-9)
    pixels = (1 - 2 * margin) * min(width / size[0], height / size[1])
    return Plan(axes, axes @ ((low + high) / 2), float(pixels), width, height)


def extent(scene: Scene, sample: Sample) -> tuple[float, float, float] | None:
    """Length, width and height of the scene without its outermost 2 % on each side; length >= width."""
    if not len(sample.points):
        return None
    plan = make_plan(scene, sample, 100, 100)
    local = sample.points.astype(np.float64) @ plan.world_from_plan
    x, y, z = np.percentile(local, 98, axis=0) - np.percentile(local, 2, axis=0)
    return float(max(x, y)), float(min(x, y)), float(z)


def scale_bar(plan: Plan) -> tuple[float, float]:
    """The round length that a bar shows, in units, and how many pixels it is long."""
    length = round_down(_BAR * plan.width / plan.pixels)
    return length, length * plan.pixels


def posed_views(scene: Scene) -> list[SceneView]:
    """The views with a pose; without any, the first view, whose frame then is the world's."""
    return [view for view in scene.views if view.pose_status != "failed"] or list(scene.views[:1])


def heading(view: SceneView, up: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3"]:
    """Where a camera looks, horizontally; for one that looks straight down where its top is."""
    pose = view.camera.world_from_cam
    for direction in (pose[:3, 2], -pose[:3, 1], pose[:3, 0]):
        flat = direction - up * (direction @ up)
        if np.linalg.norm(flat) > 0.2:
            return flat / np.linalg.norm(flat)
    return np.array([1.0, 0.0, 0.0])


def _axes(up: Float64[np.ndarray, "3"], ahead: Float64[np.ndarray, "3"]) -> Float64[np.ndarray, "3 3"]:
    return np.stack([np.cross(ahead, up), ahead, up], 1)


def _shown(
    scene: Scene, sample: Sample, axes: Float64[np.ndarray, "3 3"]
) -> Float64[np.ndarray, "n 3"]:  # fmt: skip
    """What must be on the map: the points but for the outermost on each side, the cameras, the objects among them."""
    points = sample.points[:: max(1, -(-len(sample.points) // 40_000))].astype(np.float64)
    cameras = np.array([view.camera.center for view in posed_views(scene)])
    if not len(points):
        return cameras
    local = points @ axes[:, :2]
    low, high = np.percentile(local, (_CUT, 100 - _CUT), axis=0)

    def inside(flat: Float64[np.ndarray, "n 2"]) -> Bool[np.ndarray, "n"]:
        return ((flat >= low) & (flat <= high)).all(1)

    boxes = [
        box_corners(each) for each in scene.objects if len(each.centers) and inside(each.centers @ axes[:, :2]).any()
    ]
    return np.concatenate([points[inside(local)], cameras, *boxes])


def box_corners(thing: MovingObject) -> Float64[np.ndarray, "8 3"]:
    """Corners of the box of a moving object at the last moment at which it is known, world frame."""
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    return signs * np.asarray(thing.size, np.float64) / 2 + thing.centers[-1]


def _turned(
    axes: Float64[np.ndarray, "3 3"], points: Float64[np.ndarray, "n 3"], shape: float
) -> Float64[np.ndarray, "3 3"]:  # fmt: skip
    """Axes turned about "up": walls parallel to the page, long side as the page's, the old top side rather at the top.

    Walls seen from above are lines; along the right axes the points crowd at few coordinates, so the entropy of their
    coordinates is lowest.
    """
    local = points @ axes
    angles = np.radians(np.arange(-45, 45, 1.0))
    best = min(angles, key=lambda angle: (round(_entropy(local[:, :2], angle), 3), abs(angle)))
    choices = []
    for quarter in range(4):
        turned = axes @ _about_up(best + quarter * np.pi / 2)
        size = np.ptp(points @ turned, axis=0)
        zoom = min(shape / max(size[0], 1e-9), 1 / max(size[1], 1e-9))
        choices.append((zoom, float(turned[:, 1] @ axes[:, 1]), turned))
    largest = max(zoom for zoom, _, _ in choices)
    return max((c for c in choices if c[0] > 0.87 * largest), key=lambda choice: choice[1])[2]


def _about_up(angle: float) -> Float64[np.ndarray, "3 3"]:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def _entropy(flat: Float64[np.ndarray, "n 2"], angle: float) -> float:
    """Of the coordinates along both axes of a map turned by ``angle`` radians, in nats."""
    total = 0.0
    width = max(float(np.ptp(flat)), 1e-9) / 150
    turned = flat @ _about_up(angle)[:2, :2]
    for column in turned.T:
        counts = np.bincount(((column - column.min()) / width).astype(np.int64))
        share = counts[counts > 0] / len(column)
        total -= float((share * np.log(share)).sum())
    return total
