"""Who moves in a street and how: tracks, car-following, stops at red lights, and nobody in the place of another.

Everyone keeps to a track (a lane, a cycle lane, a line on the pavement) and follows the one ahead by the intelligent
driver model (Treiber, Hennecke and Helbing 2000, equations 1 to 3), which never runs into it. Those whose tracks meet
elsewhere are compared by their footprints over the whole time, and the later one is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int

from worldline.worlds.layouts.movers import ground_pose

STEP = 0.1  # longest step of the simulation, seconds
_SHORT = 0.4  # metres before a line at which the front halts


@dataclass(frozen=True)
class Track:
    """A line that is followed from its beginning, by arc length."""

    along: Float64[np.ndarray, "k"]  # metres
    points: Float64[np.ndarray, "k 3"]
    yaw: Float64[np.ndarray, "k"]  # unwrapped

    @classmethod
    def through(cls, points: Float[np.ndarray, "k 3"]) -> Track:
        """A track through closely spaced points; it faces along their chords."""
        steps = np.diff(points[:, :2], axis=0)
        along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(steps, axis=1))])
        chords = np.unwrap(np.arctan2(steps[:, 1], steps[:, 0]))
        yaw = np.interp(along, 0.5 * (along[1:] + along[:-1]), chords)
        return cls(along, np.asarray(points, float), yaw)

    @property
    def length(self) -> float:
        """Metres from one end to the other."""
        return float(self.along[-1])

    def poses(self, at: Float[np.ndarray, "t"]) -> Float64[np.ndarray, "t 4 4"]:
        """World poses at metres along the track, x forward."""
        x, y, z = (np.interp(at, self.along, self.points[:, axis]) for axis in range(3))
        poses = ground_pose(np.stack([x, y], -1), np.interp(at, self.along, self.yaw))
        poses[:, 2, 3] = z
        return poses


@dataclass(frozen=True)
class Manner:
    """Parameters of the driver model."""

    accelerate: float  # m/s²
    brake: float  # comfortable, m/s²
    headway: float  # seconds
    gap: float  # metres, at rest


DRIVER = Manner(1.4, 2.0, 1.2, 2.0)
RIDER = Manner(0.8, 1.5, 0.8, 1.0)
WALKER = Manner(0.8, 1.0, 0.4, 0.5)


@dataclass
class Agent:
    """Someone on a track. Lengths are from the point that follows the track."""

    track: Track
    start: float  # metres along the track
    speed: float  # at the start, m/s
    wish: float  # desired speed, m/s
    manner: Manner
    ahead: float  # metres to the front end
    behind: float  # metres to the rear end
    half_width: float
    stop: float = np.inf  # metres along the track where the front must halt; the end of the track always is one
    sway: tuple[float, float, float] = (0.0, 1.0, 0.0)  # share, period (s) and phase by which the wish varies


@dataclass(frozen=True)
class Course:
    """What everybody does at every step."""

    seconds: Float64[np.ndarray, "t"]
    at: Float64[np.ndarray, "t a"]  # metres along the own track
    speed: Float64[np.ndarray, "t a"]


def follow(agents: list[Agent], instants: int, between: float) -> tuple[Course, Int[np.ndarray, "i"]]:
    """Let everybody move.

    Args:
        agents: those on the same track object see each other.
        instants: number of instants that are wanted.
        between: seconds from one to the next.

    Returns:
        The course in steps of at most ``STEP``, and the steps that are the instants.
    """
    substeps = max(1, int(np.ceil(between / STEP - 1e-9)))
    steps, dt = (instants - 1) * substeps + 1, between / substeps
    count = len(agents)

    def column(name: str) -> Float64[np.ndarray, "a"]:
        return np.array([getattr(agent, name) for agent in agents], float)

    at, speed, wish, ahead, behind = (column(n) for n in ("start", "speed", "wish", "ahead", "behind"))
    stop = np.minimum(column("stop"), np.array([agent.track.length for agent in agents]))
    manner = np.array([(m.accelerate, m.brake, m.headway, m.gap) for m in (a.manner for a in agents)]).reshape(-1, 4).T
    accelerate, brake, headway, rest = manner
    sway = np.array([agent.sway for agent in agents]).reshape(-1, 3).T
    leader = _leaders(agents)
    record = np.empty((2, steps, count))
    for step in range(steps):
        record[:, step] = at, speed
        wanted = wish * (1.0 - sway[0] * (0.5 + 0.5 * np.sin(2 * np.pi * step * dt / sway[1] + sway[2])))
        pull = accelerate * (1.0 - (speed / wanted.clip(0.1)) ** 4)
        for gap, closing in (
            (np.where(leader >= 0, at[leader] - behind[leader] - at - ahead, np.inf), speed - speed[leader]),
            (stop + rest - _SHORT - at - ahead, speed),
        ):
            needed = rest + (speed * headway + speed * closing / (2 * np.sqrt(accelerate * brake))).clip(0.0)
            pull = pull - accelerate * (needed / gap.clip(0.05)) ** 2
        pull = pull.clip(-7.0)
        halting = speed + pull * dt < 0
        at = at + np.where(halting, 0.5 * speed**2 / np.maximum(-pull, 1e-9), (speed + 0.5 * pull * dt) * dt)
        speed = np.where(halting, 0.0, speed + pull * dt)
    return Course(dt * np.arange(steps), *record), substeps * np.arange(instants)


def _leaders(agents: list[Agent]) -> Int[np.ndarray, "a"]:
    """Index of the next one ahead on the same track, -1 without."""
    leader = np.full(len(agents), -1, np.int64)
    for track in {id(agent.track) for agent in agents}:
        members = [index for index, agent in enumerate(agents) if id(agent.track) == track]
        members.sort(key=lambda index: agents[index].start)
        leader[members[:-1]] = members[1:]
    return leader


@dataclass(frozen=True)
class Footprint:
    """A rectangle on the ground that may move."""

    center: Float64[np.ndarray, "t 2"]
    yaw: Float64[np.ndarray, "t"]
    half: tuple[float, float]

    @property
    def radius(self) -> float:
        """Of the circle around it."""
        return float(np.hypot(*self.half))


def footprint(agent: Agent, at: Float[np.ndarray, "t"]) -> Footprint:
    """Where somebody on a track is."""
    poses, half = agent.track.poses(at), (0.5 * (agent.ahead + agent.behind), agent.half_width)
    forward = poses[:, :2, 0]
    center = poses[:, :2, 3] + 0.5 * (agent.ahead - agent.behind) * forward
    return Footprint(center, np.arctan2(forward[:, 1], forward[:, 0]), half)


def overlap(one: Footprint, other: Footprint, gap: float = 0.0) -> Bool[np.ndarray, "t"]:
    """Whether two rectangles come closer than ``gap`` (separating axes); lengths of time broadcast."""
    offset = other.center - one.center
    apart = np.zeros(offset.shape[0], bool)
    axes = []
    for item in (one, other):
        cosine, sine = np.cos(item.yaw), np.sin(item.yaw)
        axes.append((np.stack([cosine, sine], -1), np.stack([-sine, cosine], -1)))
    for axis in (*axes[0], *axes[1]):
        reach = 0.0
        for item, own in ((one, axes[0]), (other, axes[1])):
            for half, direction in zip(item.half, own, strict=True):
                reach = reach + half * np.abs((axis * direction).sum(-1))
        apart |= np.abs((offset * axis).sum(-1)) > reach + gap
    return ~apart


def meets(one: Footprint, other: Footprint, gap: float = 0.0) -> bool:
    """Whether two rectangles ever come closer than ``gap``."""
    near = np.linalg.norm(other.center - one.center, axis=1) <= one.radius + other.radius + gap
    return bool(near.any()) and bool(overlap(one, other, gap).any())
