"""Who is on the move in a street: vehicles, cyclists and pedestrians, how they move, and their bodies."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64

from worldline.worlds.cameras import rigs
from worldline.worlds.layouts.blocks import Street
from worldline.worlds.layouts.movers import Assembly, add_mover
from worldline.worlds.layouts.people import cyclist, pedestrian
from worldline.worlds.layouts.roads import KERB, SIDES, Road, crossings, stop_lines
from worldline.worlds.layouts.traffic import (
    DRIVER,
    RIDER,
    WALKER,
    Agent,
    Course,
    Footprint,
    Track,
    follow,
    footprint,
    meets,
)
from worldline.worlds.layouts.vehicles import vehicle
from worldline.worlds.options import WorldOptions
from worldline.worlds.world import Motion

_TOP_SPEED = 14.0  # m/s, of anyone's wish
_PACE = 0.5  # metres between the points of a track


@dataclass(frozen=True)
class Scene:
    """The motion of a street's bodies, and of the car with the cameras if there is one."""

    motion: Motion
    world_from_rig: Float64[np.ndarray, "t 4 4"]


@dataclass
class _Candidate:
    """Someone who wants to take part."""

    agent: Agent
    assembly: Assembly


def populate(street: Street, rng: np.random.Generator, options: WorldOptions, instants: int) -> Scene:
    """Fill a street with moving things.

    Args:
        street: gets a body and parts for each of them.
        rng: source of everything random.
        options: ``objects`` is the number of moving things, ``rate`` and ``speed`` set the clock, ``shooting`` says
            whether there is a car with cameras.
        instants: moments to be photographed.
    """
    suspension = rigs.draw_suspension(rng)
    own, crowd = _crowd(street, rng)
    crowd = [crowd[index] for index in rng.permutation(len(crowd))]
    if options.objects is not None:
        crowd = crowd[: options.objects]
    driven = options.shooting != "photos"
    agents = ([own] if driven else []) + [c.agent for c in crowd]
    course, steps = follow(agents, instants, options.speed / options.rate)
    bodies = [np.broadcast_to(np.eye(4), (instants, 1, 4, 4))]
    taken: list[Footprint] = []
    if driven:
        taken.append(footprint(own, course.at[:, 0]))
    for index, candidate in enumerate(crowd, start=int(driven)):
        path = footprint(candidate.agent, course.at[:, index])
        if any(meets(path, other, 0.15) for other in taken) or any(meets(path, thing) for thing in street.solid):
            continue
        taken.append(path)
        mover = add_mover(street.builder, candidate.assembly)
        at, speed = course.at[steps, index], course.speed[steps, index]
        bodies.append(mover.poses(candidate.agent.track.poses(at), at, speed))
    motion = Motion(np.arange(instants) / options.rate, np.concatenate(bodies, 1))
    rig = _drive(own, suspension, course)[steps] if driven else np.zeros((0, 4, 4))
    return Scene(motion, rig)


@dataclass(frozen=True)
class Lane:
    """A track along the road, and where on it a station of the road is."""

    track: Track
    stations: Float64[np.ndarray, "k"]
    direction: int

    def at(self, s: float) -> float:
        """Metres along the track at a station."""
        return float(np.interp(self.direction * s, self.direction * self.stations, self.track.along))


def _lane(road: Road, direction: int, d: np.ndarray | float, span: tuple[float, float], z: np.ndarray | float) -> Lane:
    """A track at an offset from the centre line; ``d`` and ``z`` may vary along it."""
    stations = np.linspace(*span, int((span[1] - span[0]) / _PACE) + 2)
    d, z = np.broadcast_to(d, stations.shape), np.broadcast_to(z, stations.shape)
    points = np.concatenate([road.place(stations, d), z[:, None]], 1)[::direction]
    return Lane(Track.through(points), stations[::direction], direction)


def _grid(span: tuple[float, float]) -> Float64[np.ndarray, "k"]:
    """Stations of the points of a track."""
    return np.linspace(*span, int((span[1] - span[0]) / _PACE) + 2)


def car_lane(road: Road, rng: np.random.Generator, direction: int, d: float, room: float) -> Lane:
    """A lane in which one drives not quite straight: within ``room`` metres to each side."""
    span = (-0.5 * road.length + 2.0, 0.5 * road.length + 4.0)
    wave = room * rng.uniform(0.2, 1.0) * np.sin(2 * np.pi * _grid(span) / rng.uniform(50.0, 120.0) + rng.uniform(0, 6))
    return _lane(road, direction, d + wave, span, 0.0)


def _crowd(
    street: Street, rng: np.random.Generator
) -> tuple[Agent, list[_Candidate]]:  # fmt: skip
    """The car with the cameras and everybody who might be there."""
    road, candidates = street.road, []
    busy, own = rng.uniform(0.3, 1.0), None
    for direction in (1, -1):
        offsets = road.lane_offsets(direction)
        mine = int(rng.integers(len(offsets))) if direction > 0 else -1
        for index, d in enumerate(offsets):
            lane = car_lane(road, rng, direction, d, 0.15)
            if index == mine:
                own = own_car(road, rng, lane)
            candidates += _queue(street, rng, lane, busy, own if index == mine else None)
        if road.cycle:
            lane = car_lane(road, rng, direction, -direction * (road.lanes * road.lane + 0.5 * road.cycle), 0.1)
            candidates += _riders(street, rng, lane)
    assert own is not None  # there is a lane in direction 1
    candidates += _cross_traffic(street, rng) + _walkers(street, rng, busy) + _crossing_walkers(street, rng)
    return own, candidates


def own_car(road: Road, rng: np.random.Generator, lane: Lane) -> Agent:
    """The car with the cameras; early in the street, so that it has some way to go."""
    back, front, half_width = rigs.RIG_FOOTPRINT
    start, wish = lane.at(-0.5 * road.length + rng.uniform(6.0, 0.3 * road.length)), rng.uniform(5.0, 13.5)
    sway = (rng.uniform(0.0, 0.5), rng.uniform(12.0, 30.0), rng.uniform(0, 2 * np.pi))
    speed = 0.0 if rng.random() < 0.15 else wish * rng.uniform(0.7, 1.0)
    own = Agent(lane.track, start, speed, wish, DRIVER, front, -back, half_width, sway=sway)
    own.stop = _stop(road, lane, own)
    return own


def _stop(road: Road, lane: Lane, agent: Agent) -> float:
    """Where the front of somebody must halt for a red light; infinite when it is green or behind him."""
    if road.crossroad is None or not road.crossroad.red:
        return np.inf
    line = lane.at(stop_lines(road, lane.direction)[0])
    return line if agent.start + agent.ahead <= line else np.inf


def _queue(street: Street, rng: np.random.Generator, lane: Lane, busy: float, own: Agent | None) -> list[_Candidate]:
    """Vehicles of a lane: some wait or just waited at the light, the others drive."""
    road, fresh, cross = street.road, [], street.road.crossroad
    forbidden = [] if own is None else [(own.start - own.behind - 7.0, own.start + own.ahead + 9.0)]
    if cross is not None:
        line, end = lane.at(stop_lines(road, lane.direction)[0]), lane.at(stop_lines(road, -lane.direction)[0])
        if cross.red:
            forbidden.append((line, end))
        if cross.red or rng.random() < 0.4:
            p = line - rng.uniform(0.2, 0.8)
            for _ in range(int(rng.integers(0, 5))):
                car = vehicle(street.builder, rng, parked=False)
                fresh.append(_Candidate(_driver(car, lane, p - car.half[0], 0.0, rng), car))
                p -= 2 * car.half[0] + rng.uniform(2.0, 3.0)
            forbidden.append((p - 6.0, line + 8.0))
    p = rng.uniform(4.0, 40.0)
    while p < lane.track.length - 20.0:
        bicycle = not road.cycle and rng.random() < 0.06
        car = cyclist(street.builder, rng) if bicycle else vehicle(street.builder, rng, parked=False)
        agent = _driver(car, lane, p + car.half[0], 1.0, rng)
        if bicycle:
            agent.manner, agent.wish = RIDER, rng.uniform(3.0, 6.0)
        if all(p + 2 * car.half[0] < low or p > high for low, high in forbidden):
            fresh.append(_Candidate(agent, car))
        p += 2 * car.half[0] + rng.uniform(7.0, 12.0) + rng.exponential(28.0 / busy)
    for candidate in fresh:
        candidate.agent.stop = _stop(road, lane, candidate.agent)
    _calm_start([c.agent for c in fresh] + ([] if own is None else [own]))
    return fresh


def _driver(car: Assembly, lane: Lane, at: float, speed: float, rng: np.random.Generator) -> Agent:
    """Somebody in a vehicle; ``speed`` is a share of what he wishes."""
    wish = rng.uniform(5.0, _TOP_SPEED)
    return Agent(lane.track, at, speed * wish, wish, DRIVER, car.half[0], car.half[0], car.half[1])


def _calm_start(agents: list[Agent]) -> None:
    """Nobody starts faster than he can brake for what is ahead of him."""
    ahead: Agent | None = None
    for agent in sorted(agents, key=lambda a: -a.start):
        front = agent.start + agent.ahead
        limits = [(agent.stop - front, 0.0), (agent.track.length - front, 0.0)]
        if ahead is not None:
            limits.append((ahead.start - ahead.behind - front, ahead.speed))
        for gap, speed in limits:
            agent.speed = float(min(agent.speed, np.sqrt(speed**2 + 2 * 2.0 * max(gap - 1.5, 0.0))))
        ahead = agent


def _riders(street: Street, rng: np.random.Generator, lane: Lane) -> list[_Candidate]:
    """Cyclists in their own lane."""
    riders = []
    for p in np.cumsum(rng.uniform(6.0, 60.0, int(rng.integers(0, 4)))):
        person, wish = cyclist(street.builder, rng), rng.uniform(3.0, 6.0)
        agent = Agent(lane.track, float(p), wish, wish, RIDER, person.half[0], person.half[0], person.half[1])
        agent.stop = _stop(street.road, lane, agent)
        riders.append(_Candidate(agent, person))
    _calm_start([c.agent for c in riders])
    return riders


def _cross_traffic(street: Street, rng: np.random.Generator) -> list[_Candidate]:
    """Cars of the side street: they wait while the main road has green, else they cross."""
    road, cross, found = street.road, street.road.crossroad, []
    if cross is None:
        return []
    heading = float(road.heading(np.array(cross.at)))
    along = np.array([np.cos(heading), np.sin(heading)])
    for side in cross.arms:  # they come from this side and drive towards -side
        far = 45.0 + road.front(side)
        passes = cross.red and -side in cross.arms
        end = -side * (road.front(-side) + 45.0) if passes else 0.0
        d = np.linspace(side * far, end, int((far + abs(end)) / _PACE))
        middle = road.place(np.full(len(d), cross.at), d) - 0.5 * side * cross.half * along
        track = Track.through(np.concatenate([middle, np.zeros((len(d), 1))], 1))
        stop, p = (np.inf if passes else far - road.front(side) - 1.0), far - road.front(side) - 1.2
        p -= rng.uniform(0.0, 20.0) if passes else 0.0
        for _ in range(int(rng.integers(0, 4))):
            car = vehicle(street.builder, rng, parked=True)
            speed = rng.uniform(3.0, 7.0)
            found.append(_Candidate(Agent(track, p - car.half[0], speed if passes else 0.0, speed, DRIVER, car.half[0],
                                          car.half[0], car.half[1], stop), car))  # fmt: skip
            p -= 2 * car.half[0] + rng.uniform(2.0, 3.0) + (rng.uniform(4.0, 15.0) if passes else 0.0)
            if p < 10.0:
                break
    return found


def _pavement_height(road: Road, side: int, stations: np.ndarray) -> Float64[np.ndarray, "k"]:
    """Height of the ground where people walk: down to the roadway of a side street, with a short ramp."""
    inside = np.full(len(stations), -np.inf)
    for low, high in road.sections(side):
        inside = np.maximum(inside, np.minimum(stations - low, high - stations))
    return KERB * np.clip(inside / 0.6, 0.0, 1.0)


def _walkers(street: Street, rng: np.random.Generator, busy: float) -> list[_Candidate]:
    """People on the pavements, on lines side by side with one direction each."""
    road, found = street.road, []
    for side in SIDES:
        ends = [(-0.5 * road.length + 1.0, 0.5 * road.length - 1.0)]
        if road.crossroad is not None and road.crossroad.red:
            ends = [(low + 0.6, high - 0.6) for low, high in road.sections(side)]
        offsets = np.arange(road.half(side) + 1.25, road.front(side) - 0.8, 0.85)
        for span in ends:
            for d in offsets:
                direction = int(rng.choice([-1, 1]))
                lane = _lane(road, direction, side * float(d), span, _pavement_height(road, side, _grid(span)))
                p = rng.uniform(1.0, 50.0)
                while p < lane.track.length - 2.0:
                    found.append(_walker(street, rng, lane.track, p))
                    p += 1.5 + rng.exponential(70.0 / busy)
    return found


def _walker(street: Street, rng: np.random.Generator, track: Track, at: float) -> _Candidate:
    person, wish = pedestrian(street.builder, rng), rng.uniform(0.7, 1.9)
    half = person.half
    return _Candidate(Agent(track, at, wish, wish, WALKER, half[0], half[0], half[1]), person)


def _crossing_walkers(street: Street, rng: np.random.Generator) -> list[_Candidate]:
    """People on the zebra crossings while the cars have red."""
    road, found = street.road, []
    if road.crossroad is None or not road.crossroad.red:
        return []
    for s in crossings(road):
        for shift in (-1.0, 0.0, 1.0):
            if rng.random() < 0.5:
                continue
            side = int(rng.choice(SIDES))
            first, last = side * (road.half(side) + 1.0), -side * (road.half(-side) + 1.0)
            d = np.linspace(first, last, int(abs(last - first) / _PACE) + 2)
            kerb = np.where(d > 0, d - road.half(1), -d - road.half(-1))
            z = KERB * np.clip(kerb / 0.6, 0.0, 1.0)
            points = np.concatenate([road.place(np.full(len(d), s + shift), d), z[:, None]], 1)
            track = Track.through(points)
            found.append(_walker(street, rng, track, rng.uniform(0.4, 0.6 * track.length)))
    return found


def _drive(own: Agent, suspension: rigs.Suspension, course: Course) -> Float64[np.ndarray, "t 4 4"]:
    """Poses of the rig at every step of the course."""
    at, speed = course.at[:, 0], course.speed[:, 0]
    path = own.track.poses(at)
    if len(at) < 3:
        return rigs.ride(suspension, path, at, np.zeros(len(at)), np.zeros(len(at)))
    dt = course.seconds[1]
    slope = np.gradient(own.track.yaw, own.track.along)
    reach = max(1, round(0.6 / dt))
    kernel = np.hanning(2 * reach + 3)
    kernel /= kernel.sum()

    def smooth(values: Float[np.ndarray, "t"]) -> Float64[np.ndarray, "t"]:
        return np.convolve(np.pad(values, reach + 1, mode="edge"), kernel, mode="valid")

    lateral = speed**2 * np.interp(at, own.track.along, slope)
    return rigs.ride(suspension, path, at, smooth(np.gradient(speed, dt)), smooth(lateral))
