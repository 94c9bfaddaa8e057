"""What lines a street: rows of buildings, side streets, parks and gardens, street furniture, parked cars."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from worldline.worlds.layouts import roadside
from worldline.worlds.layouts.facades import building
from worldline.worlds.layouts.movers import add_still
from worldline.worlds.layouts.paints import paint
from worldline.worlds.layouts.people import pedestrian
from worldline.worlds.layouts.roads import FURNITURE, KERB, SIDES, Road, crossings, stop_lines
from worldline.worlds.layouts.solids import box
from worldline.worlds.layouts.traffic import Footprint
from worldline.worlds.layouts.vehicles import vehicle
from worldline.worlds.world import Builder, Thing

# mood of a street -> shares of the styles of its buildings
MOODS: dict[str, dict[str, float]] = {
    "town": {"townhouse": 0.7, "block": 0.25, "shed": 0.05},
    "city": {"townhouse": 0.25, "block": 0.5, "office": 0.25},
    "business": {"office": 0.55, "block": 0.3, "shed": 0.15},
    "suburb": {"house": 0.85, "townhouse": 0.1, "shed": 0.05},
}

_WIDTHS = {
    "house": (8.0, 13.0),
    "townhouse": (7.0, 15.0),
    "shed": (6.0, 14.0),
    "block": (14.0, 28.0),
    "office": (14.0, 28.0),
}


@dataclass
class Street:
    """A street while it is being furnished."""

    builder: Builder
    rng: np.random.Generator
    road: Road
    mood: str
    detail: float = np.inf  # metres along the road from the origin beyond which buildings are plain
    solid: list[Footprint] = field(default_factory=list)  # of things on roadway and pavements

    def put(self, thing: Thing, s: float, d: float, z: float = KERB, turn: float = 0.0) -> None:
        """Stand a thing at street coordinates; ``turn`` is relative to the road's direction there."""
        place = self.road.place(np.array(s), np.array(d))
        yaw = float(self.road.heading(np.array(s))) + turn
        self.builder.place(thing, np.array([*place, z]), yaw)
        if abs(d) < self.road.front(1 if d > 0 else -1) + 0.5 and thing.height > 0.2:
            self.solid.append(Footprint(place[None], np.array([yaw]), thing.half))

    def facing(self, side: int) -> float:
        """Turn of a thing beside the road whose +y looks at the road."""
        return np.pi if side > 0 else 0.0


def line_street(street: Street) -> None:
    """Buildings on both sides, along the side street, and across both ends."""
    base = int(street.rng.integers(1, 5))
    for side in SIDES:
        for low, high in street.road.sections(side, behind_corner=True):
            _row(street, side, low, high, base)
        _side_arm(street, side)
    _caps(street)


def _style(street: Street) -> str:
    shares = MOODS[street.mood]
    return list(shares)[int(street.rng.choice(len(shares), p=list(shares.values())))]


def _storeys(street: Street, style: str, base: int) -> int | None:
    """Neighbours have about as many storeys."""
    if style in ("house", "shed"):
        return None
    return int(np.clip(base + street.rng.integers(-1, 2) + (2 if style == "office" else 0), 1, 9))


def _row(street: Street, side: int, low: float, high: float, base: int) -> None:
    """Fill a stretch with buildings, gaps and parks."""
    rng, s = street.rng, low
    suburb = street.mood == "suburb"
    while s < high - 5.0:
        if rng.random() < (0.1 if high - s > 20 else 0.0):
            width = rng.uniform(12.0, 20.0)
            _park(street, side, s, s + width)
            s += width
            continue
        style = _style(street)
        width = min(rng.uniform(*_WIDTHS[style]), high - s)
        depth, setback = rng.uniform(9.0, 14.0), 0.0
        if suburb or style == "house":
            setback = rng.uniform(3.0, 7.0)
            _garden(street, side, s, s + width, setback)
        plain = abs(s + 0.5 * width) > street.detail + 0.5 * width
        thing = building(street.builder, rng, width, depth, style, _storeys(street, style, base), plain)
        d = side * (street.road.front(side) + setback + 0.5 * depth)
        street.put(thing, s + 0.5 * width, d, turn=street.facing(side))
        s += width
        if suburb or rng.random() < 0.15:
            gap = min(rng.uniform(2.0, 6.0), high - s)
            if gap > 1.5 and rng.random() < 0.6:
                wall = roadside.barrier(street.builder, rng, gap)
                street.put(
                    wall, s + 0.5 * gap, side * (street.road.front(side) + setback + 0.5), turn=street.facing(side)
                )
            s += gap


def _garden(street: Street, side: int, low: float, high: float, setback: float) -> None:
    """A front garden behind a low wall or hedge with an opening."""
    rng, front = street.rng, street.road.front(side)
    if rng.random() < 0.75:
        door = rng.uniform(low + 2.0, high - 2.0)
        for start, end in ((low, door - 0.7), (door + 0.7, high)):
            fence = roadside.barrier(street.builder, rng, end - start)
            street.put(fence, 0.5 * (start + end), side * (front + 0.5), turn=street.facing(side))
    for _ in range(int(rng.integers(0, 3))):
        s, d = rng.uniform(low + 1.0, high - 1.0), side * (front + rng.uniform(1.6, setback - 0.8))
        thing = roadside.bush(street.builder, rng) if rng.random() < 0.6 else roadside.tree(street.builder, rng, 0.6)
        street.put(thing, s, d)


def _park(street: Street, side: int, low: float, high: float) -> None:
    """Grass with trees, bushes and perhaps a fence."""
    rng, front, depth = street.rng, street.road.front(side), street.rng.uniform(15.0, 25.0)
    half = 0.5 * (high - low)
    grass = box((-half, -0.5 * depth, 0.0), (half, 0.5 * depth, 0.03), paint(street.builder, rng, "grass"))
    street.put(Thing([grass], (half, 0.5 * depth), 0.03), low + half, side * (front + 0.5 * depth))
    for _ in range(int(rng.integers(2, 5))):
        street.put(
            roadside.tree(street.builder, rng),
            rng.uniform(low + 1, high - 1),
            side * (front + rng.uniform(3.0, depth - 2.0)),
        )
    for _ in range(int(rng.integers(1, 4))):
        street.put(
            roadside.bush(street.builder, rng),
            rng.uniform(low + 1, high - 1),
            side * (front + rng.uniform(2.0, depth - 2.0)),
        )
    if rng.random() < 0.5:
        street.put(
            roadside.barrier(street.builder, rng, high - low),
            low + half,
            side * (front + 0.6),
            turn=street.facing(side),
        )
    back = building(street.builder, rng, high - low, 10.0, "block", 3, plain=True)
    street.put(back, low + half, side * (front + depth + 6.0), turn=street.facing(side))


def _side_arm(street: Street, side: int) -> None:
    """Houses on both sides of a side street, and one that closes it."""
    cross, rng = street.road.crossroad, street.rng
    if cross is None or side not in cross.arms:
        return
    for edge in (-1, 1):
        d = street.road.front(side) + 15.0
        for _ in range(2):
            width, depth = rng.uniform(12.0, 18.0), rng.uniform(8.0, 12.0)
            thing = building(street.builder, rng, width, depth, "townhouse", int(rng.integers(1, 4)), plain=True)
            s = cross.half + cross.pavement + 0.5 * depth
            _beside(street, thing, cross.at, edge * s, side * (d + 0.5 * width), 0.5 * np.pi * edge)
            d += width
    thing = building(street.builder, rng, 34.0, 10.0, "block", int(rng.integers(2, 5)), plain=True)
    _beside(street, thing, cross.at, 0.0, side * (street.road.front(side) + 62.0), street.facing(side))


def _beside(street: Street, thing: Thing, s: float, along: float, d: float, turn: float) -> None:
    """Place a thing in the straight frame of a side street: ``along`` the main road's direction at s."""
    heading = float(street.road.heading(np.array(s)))
    place = street.road.place(np.array(s), np.array(d)) + along * np.array([np.cos(heading), np.sin(heading)])
    street.builder.place(thing, np.array([*place, 0.0]), heading + turn)


def _caps(street: Street) -> None:
    """Rows of buildings across both ends of the road, as at a junction."""
    rng = street.rng
    for end in (-1, 1):
        d, s = -42.0, end * (0.5 * street.road.length + 15.0)
        storeys = int(rng.integers(1, 5))
        while d < 42.0:
            width = rng.uniform(14.0, 26.0)
            thing = building(
                street.builder, rng, width, 12.0, "block" if rng.random() < 0.6 else "townhouse", storeys, plain=True
            )
            _beside(street, thing, s, end * 6.0, d + 0.5 * width, 0.5 * np.pi * end)
            d += width


def furnish(street: Street) -> None:
    """Trees in rows, lamps, signs, bins, benches, bollards, traffic lights."""
    rng, road, builder = street.rng, street.road, street.builder
    trees = rng.random() < 0.65
    pace = rng.uniform(8.0, 15.0)
    lamp, post = roadside.street_lamp(builder, rng), roadside.bollard(builder, rng)
    for side in SIDES:
        d, turn = side * (road.half(side) + FURNITURE), street.facing(side)
        for low, high in road.sections(side):
            spots = [
                s for s in np.arange(low + rng.uniform(3.0, 8.0), high - 3.0, 0.5 * pace) if _off_crossings(road, s)
            ]
            for index, s in enumerate(spots):
                if index % 2 == 0 and trees and rng.random() < 0.85:
                    street.put(roadside.tree(builder, rng, 0.9), s, d)
                elif index % 5 == 1:
                    street.put(lamp, s, d, turn=turn)
                elif rng.random() < 0.35:
                    _piece(street, s, d, side, post)
            if rng.random() < 0.5:
                for s in np.arange(low + 0.8, min(low + 7.0, high), 1.6):
                    if _is_free(street, s, d, 0.3):
                        street.put(post, s, d)
    _lights(street)


def _piece(street: Street, s: float, d: float, side: int, post: Thing) -> None:
    """One thing at the kerb."""
    rng, builder, turn = street.rng, street.builder, street.facing(side)
    wide = street.road.pavement[side] > 4.2
    makers: list[Callable[[Builder, np.random.Generator], Thing]] = [
        roadside.sign,
        roadside.bin_,
        roadside.bench,
        roadside.bush,
    ]
    if wide and rng.random() < 0.2:
        street.put(roadside.shelter(builder, rng), s, d + side * 0.5, turn=turn)
        return
    choice = int(rng.choice(4, p=[0.4, 0.3, 0.2, 0.1]))
    thing = makers[choice](builder, rng)
    if choice == 0:  # signs face the traffic of their side
        turn = 0.0 if side < 0 else np.pi
    if choice == 3:
        thing = roadside.bin_(builder, rng)
    street.put(thing, s, d, turn=turn)


def _lights(street: Street) -> None:
    """Traffic lights at the stop lines, to the right of those who wait."""
    cross = street.road.crossroad
    if cross is None:
        return
    for direction in (-1, 1):
        for s in stop_lines(street.road, direction):
            light = roadside.traffic_light(street.builder, street.rng, cross.red)
            d = -direction * (street.road.half(-direction) + 0.4)
            street.put(light, s + direction * 0.9, d, turn=0.0 if direction > 0 else np.pi)


def _off_crossings(road: Road, s: float, gap: float = 3.5) -> bool:
    return all(abs(s - c) > gap for c in crossings(road)) and all(
        abs(s - line) > 1.8 for direction in (-1, 1) for line in stop_lines(road, direction)
    )


def _is_free(street: Street, s: float, d: float, reach: float) -> bool:
    place = street.road.place(np.array(s), np.array(d))
    return all(np.linalg.norm(place - item.center[0]) > reach + item.radius for item in street.solid)


def park_cars(street: Street) -> None:
    """Vehicles in the parking lanes, some people who stand about."""
    rng, road, builder = street.rng, street.road, street.builder
    taken = rng.uniform(0.25, 0.7)
    clear = [(s - 4.0, s + 4.0) for s in crossings(road)]
    if road.crossroad is not None:
        clear.append((road.crossroad.at - road.crossroad.half - 7.0, road.crossroad.at + road.crossroad.half + 7.0))
    for side in SIDES:
        if not road.parking[side]:
            continue
        d, s = side * (road.half(side) - 0.5 * road.parking[side] - 0.02), -0.5 * road.length + rng.uniform(2.0, 8.0)
        while s < 0.5 * road.length - 8.0:
            car = vehicle(builder, rng, parked=True)
            low, high = s, s + 2 * car.half[0]
            free = all(high < a or low > b for a, b in clear)
            if free and rng.random() < taken and high < 0.5 * road.length:
                middle = 0.5 * (low + high)
                place, yaw = road.place(np.array(middle), np.array(d)), float(road.heading(np.array(middle)))
                yaw += (0.0 if side < 0 else np.pi) + rng.normal(0, 0.012)
                add_still(builder, car, np.array([*place, 0.0]), yaw, rng.uniform(0, 3))
                street.solid.append(Footprint(place[None], np.array([yaw]), car.half))
            s = high + rng.uniform(0.7, 2.0)


def stand_about(street: Street, count: int) -> None:
    """People who do not walk."""
    rng, road = street.rng, street.road
    for _ in range(count):
        side = int(rng.choice(SIDES))
        s, d = rng.uniform(-0.45, 0.45) * road.length, side * (road.front(side) - rng.uniform(0.5, 0.75))
        if any(low + 1 < s < high - 1 for low, high in road.sections(side)) and _is_free(street, s, d, 0.45):
            person, place = pedestrian(street.builder, rng), road.place(np.array(s), np.array(d))
            yaw = rng.uniform(-np.pi, np.pi)
            add_still(street.builder, person, np.array([*place, KERB]), yaw)
            street.solid.append(Footprint(place[None], np.array([yaw]), person.half))
