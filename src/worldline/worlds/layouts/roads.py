"""The ground of a street: centre line, cross-section, intersection, pavements, kerbs and marks.

Street coordinates: s metres along the centre line, d metres to its left. Traffic keeps right, so the lanes of direction
+1 (rising s) have d < 0. The world's origin is at s = 0, its x axis along the road there.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Float64

from worldline.worlds.layouts.paints import paint
from worldline.worlds.layouts.solids import box
from worldline.worlds.world import Builder, Part, Thing

KERB = 0.13  # height of the pavements
FURNITURE = 0.55  # distance of poles and trees from the kerb
SIDES = (-1, 1)  # right, left
_GROUND = 75.0  # depth of the ground behind the buildings' fronts
_DEFLECTION = 0.04  # metres by which straight pieces may leave a curved kerb


@dataclass(frozen=True)
class Crossroad:
    """A side street at a right angle."""

    at: float  # s of its middle
    half: float  # half width of its roadway
    pavement: float
    arms: tuple[int, ...]  # sides on which it leaves
    red: bool  # what the main road's lights show


@dataclass(frozen=True)
class Road:
    """Centre line and cross-section of a street."""

    stations: Float64[np.ndarray, "k"]
    points: Float64[np.ndarray, "k 2"]
    headings: Float64[np.ndarray, "k"]
    curvature: float  # largest, 1 / metre
    length: float  # the built-up part is |s| <= length / 2
    lanes: int  # per direction
    lane: float  # width
    cycle: float  # width of the cycle lanes, 0 without
    parking: dict[int, float]  # width of the parking lane by side, 0 without
    pavement: dict[int, float]
    crossroad: Crossroad | None

    def half(self, side: int) -> float:
        """Distance of the kerb from the centre line."""
        return self.lanes * self.lane + self.cycle + self.parking[side]

    def front(self, side: int) -> float:
        """Distance of the buildings' line from the centre line."""
        return self.half(side) + self.pavement[side]

    def heading(self, s: Float[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n"]:
        """Direction of rising s, radians; straight on beyond the ends."""
        return np.interp(s, self.stations, self.headings)

    def place(self, s: Float[np.ndarray, "*n"], d: Float[np.ndarray, "*n"]) -> Float64[np.ndarray, "*n 2"]:
        """World position of street coordinates."""
        s, d = np.broadcast_arrays(np.asarray(s, float), np.asarray(d, float))
        heading = self.heading(s)
        beyond = s - np.clip(s, self.stations[0], self.stations[-1])
        x = np.interp(s, self.stations, self.points[:, 0]) + beyond * np.cos(heading) - d * np.sin(heading)
        y = np.interp(s, self.stations, self.points[:, 1]) + beyond * np.sin(heading) + d * np.cos(heading)
        return np.stack([x, y], -1)

    def lane_offsets(self, direction: int) -> list[float]:
        """d of the lanes of a direction, the innermost first."""
        return [-direction * (index + 0.5) * self.lane for index in range(self.lanes)]

    def sections(self, side: int, behind_corner: bool = False) -> list[tuple[float, float]]:
        """Stretches of s between side streets: of the pavement, or of the buildings behind its corners."""
        low, high, cross = -0.5 * self.length, 0.5 * self.length, self.crossroad
        if cross is None or side not in cross.arms:
            return [(low, high)]
        gap = cross.half + (cross.pavement if behind_corner else 0.0)
        return [(low, cross.at - gap), (cross.at + gap, high)]


def draw_road(rng: np.random.Generator, size: float) -> Road:
    """A straight or gently curved street with one or two lanes per direction."""
    length = rng.uniform(150.0, 230.0) * min(size, 3.0)
    bend = 0.0 if rng.random() < 0.4 else rng.choice([-1, 1]) / rng.uniform(220.0, 700.0)
    swing = rng.uniform(0.0, 1.0) * bend if rng.random() < 0.5 else 0.0
    stations = np.arange(-0.5 * length - 20.0, 0.5 * length + 20.5, 0.5)
    curvature = bend + swing * np.sin(2 * np.pi * stations / length)
    middle = np.abs(stations).argmin()
    headings = np.concatenate([[0.0], np.cumsum(0.25 * (curvature[1:] + curvature[:-1]))])
    headings -= headings[middle]
    half = 0.5 * (headings[1:] + headings[:-1])
    points = np.concatenate([np.zeros((1, 2)), np.cumsum(0.5 * np.stack([np.cos(half), np.sin(half)], -1), 0)])
    points -= points[middle]
    stations = stations - stations[middle]
    lanes = 1 if rng.random() < 0.65 else 2
    crossroad = None
    if rng.random() < 0.65:
        at = rng.choice([-1, 1], p=[0.3, 0.7]) * rng.uniform(15.0, 0.3 * length)
        arms = [(-1, 1), (-1,), (1,)][int(rng.choice(3, p=[0.7, 0.15, 0.15]))]
        crossroad = Crossroad(at, rng.uniform(3.0, 4.2), rng.uniform(2.0, 3.0), arms, bool(rng.random() < 0.3))
    return Road(
        stations, points, headings, float(np.abs(curvature).max()), length, lanes, rng.uniform(2.9, 3.5),
        1.6 if rng.random() < 0.3 else 0.0,
        {side: 2.15 if rng.random() < 0.7 else 0.0 for side in SIDES},
        {side: rng.uniform(2.8, 5.0) for side in SIDES}, crossroad,
    )  # fmt: skip


def _strip(
    road: Road, span: tuple[float, float], across: tuple[float, float], z: tuple[float, float], mat: int,
    leave: float = _DEFLECTION,
) -> list[Part]:  # fmt: skip
    """A band of the street as straight pieces; every other one a millimetre lower, where they overlap.

    ``leave`` is by how much they may leave a bend.
    """
    longest = np.inf if road.curvature == 0 else np.sqrt(8 * leave / road.curvature)
    count = max(1, int(np.ceil((span[1] - span[0]) / longest)))
    edges = np.linspace(*span, count + 1)
    parts = []
    for index, (start, end) in enumerate(pairwise(edges)):
        middle, far = 0.5 * (start + end), max(abs(across[0]), abs(across[1]))
        half = 0.5 * (end - start) * (1.0 + far * road.curvature)  # closes the wedges on the outer side of a bend
        if index in (0, count - 1):
            half = 0.5 * (end - start)
        top = z[1] - 1e-3 * (index % 2)
        piece = box(
            (-half, -0.5 * abs(across[1] - across[0]), z[0]), (half, 0.5 * abs(across[1] - across[0]), top), mat
        )
        center, yaw = road.place(np.array(middle), np.array(0.5 * sum(across))), float(road.heading(np.array(middle)))
        piece.center[:2] = center
        piece.rotation = _turn(yaw)
        parts.append(piece)
    return parts


def _turn(yaw: float) -> Float64[np.ndarray, "3 3"]:
    cosine, sine = np.cos(yaw), np.sin(yaw)
    return np.array([[cosine, -sine, 0.0], [sine, cosine, 0.0], [0.0, 0.0, 1.0]])


def _flat(road: Road, s: float, d: float, half: tuple[float, float], z: tuple[float, float], mat: int) -> Part:
    """A box lying on the street, turned with it."""
    part = box((-half[0], -half[1], z[0]), (half[0], half[1], z[1]), mat)
    part.center[:2] = road.place(np.array(s), np.array(d))
    part.rotation = _turn(float(road.heading(np.array(s))))
    return part


def lay_ground(builder: Builder, rng: np.random.Generator, road: Road, green: bool) -> None:
    """Pavements with kerbs, and the ground behind them: grass where ``green``, else paved."""
    paving, kerb = paint(builder, rng, "paving"), paint(builder, rng, "kerb")
    ground = paint(builder, rng, "grass" if green else "ground")
    walks, kerbs, lots = [], [], []
    for side in SIDES:
        inner, outer = road.half(side), road.front(side)
        for span in road.sections(side):
            kerbs += _strip(road, span, (side * inner, side * (inner + 0.16)), (0.0, KERB + 0.004), kerb)
            walks += _strip(road, span, (side * (inner + 0.16), side * outer), (0.0, KERB), paving)
        for span in road.sections(side, behind_corner=True):
            lots += _strip(
                road, span, (side * (outer - 0.5), side * (outer + _GROUND)), (0.0, KERB - 0.004), ground, 0.4
            )
        lots += _cross_pavements(road, side, paving)
    for parts in (walks, kerbs, lots):
        builder.place(Thing(parts, (0, 0), KERB), np.zeros(3), 0.0)


def _cross_pavements(road: Road, side: int, mat: int) -> list[Part]:
    """Pavements along the side street, from the main road's building line on."""
    cross = road.crossroad
    if cross is None or side not in cross.arms:
        return []
    parts, start = [], road.front(side)
    for edge in (-1, 1):
        along = cross.at + edge * (cross.half + 0.5 * cross.pavement)
        part = box(
            (-0.5 * cross.pavement, -0.5 * _GROUND, 0.0), (0.5 * cross.pavement, 0.5 * _GROUND, KERB - 0.002), mat
        )
        yaw = float(road.heading(np.array(cross.at)))
        part.rotation = _turn(yaw)
        middle = road.place(np.array(cross.at), np.array(side * (start + 0.5 * _GROUND)))
        part.center[:2] = middle + (along - cross.at) * np.array([np.cos(yaw), np.sin(yaw)])
        parts.append(part)
    return parts


def crossings(road: Road) -> list[float]:
    """s of the zebra crossings over the main road."""
    if road.crossroad is None:
        return [0.22 * road.length] if road.lanes == 1 else []
    away = road.crossroad.half + 3.2
    return [road.crossroad.at - away, road.crossroad.at + away]


def stop_lines(road: Road, direction: int) -> list[float]:
    """s at which the traffic of a direction stops when its light is red."""
    if road.crossroad is None:
        return []
    return [road.crossroad.at - direction * (road.crossroad.half + 3.2 + 2.6)]


def paint_marks(builder: Builder, rng: np.random.Generator, road: Road) -> None:
    """Centre line, lane lines, edges of cycle and parking lanes, zebra crossings, stop lines and arrows."""
    mark, z = paint(builder, rng, "mark"), (-0.01, 0.005)
    parts: list[Part] = []
    bare = [(s - 2.0, s + 2.0) for s in crossings(road)]
    if road.crossroad is not None:
        bare.append((road.crossroad.at - road.crossroad.half - 6.0, road.crossroad.at + road.crossroad.half + 6.0))
    dash, gap = rng.uniform(2.0, 4.0), rng.uniform(2.5, 6.0)
    lines = [(0.0, rng.random() < 0.25)]
    for side in SIDES:
        lines += [(side * index * road.lane, False) for index in range(1, road.lanes)]
        if road.cycle:
            lines += [(side * road.lanes * road.lane, True)]
        if road.parking[side]:
            lines += [(side * (road.half(side) - road.parking[side]), rng.random() < 0.5)]
    for d, solid in lines:
        step, half = (6.0, 3.0) if solid else (dash + gap, 0.5 * dash)
        for s in np.arange(-0.5 * road.length + half, 0.5 * road.length, step):
            if all(s + half < low or s - half > high for low, high in bare):
                parts.append(_flat(road, float(s), d, (half, 0.06), z, mark))
    for s in crossings(road):
        low, high = -road.half(-1) + 0.3, road.half(1) - 0.3
        for d in np.arange(low + 0.25, high, 1.0):
            parts.append(_flat(road, s, float(d), (1.5, 0.25), z, mark))
    for direction in (-1, 1):
        for s in stop_lines(road, direction):
            width = 0.5 * road.lanes * road.lane
            parts.append(_flat(road, s + direction * 0.3, -direction * width, (0.2, width - 0.15), z, mark))
    builder.place(Thing(parts, (0, 0), 0.0), np.zeros(3), 0.0)
