"""Moving objects through time: what moves in the images of all sensors, in 3D, joined from step to step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Float64, Int32
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from worldline.errors import InputError
from worldline.types import MovingObject

_BLOCKED = 1e9  # cost of a match that is out of reach


@dataclass(frozen=True)
class TrackerOptions:
    """Choices of an :class:`ObjectTracker`. Lengths are in the unit of the points: metres where the scale is known."""

    gate: float = 3.0  # distance from the predicted centre within which a sighting is the same object
    speed_gate: float = 15.0  # added per second since an object was last seen, while its velocity is not yet known
    least_pixels: int = 12  # of a sighting
    depth_step: float = 0.1  # relative change of depth between neighbouring pixels that parts two objects
    missed: float = 1.0  # seconds unseen after which an object is closed
    least_sightings: int = 2  # of an object that is handed out
    keep: int = 256  # sightings of an object in memory; earlier ones are handed out under the same id
    fit: int = 4  # latest sightings that a velocity is fitted to


@dataclass(frozen=True)
class Sighting:
    """A moving thing at one instant. World frame."""

    center: Float64[np.ndarray, "3"]  # median of its visible points
    size: Float64[np.ndarray, "3"]  # extent of the middle 90 % of its visible points along the world's axes
    pixels: int
    sensors: frozenset[str]


@dataclass
class _Track:
    """An object that is still open."""

    id: int
    times: list[float] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)
    velocities: list[np.ndarray] = field(default_factory=list)
    known_velocity: bool = False

    def predict(self, timestamp: float) -> Float64[np.ndarray, "3"]:
        return self.sightings[-1].center + (timestamp - self.times[-1]) * self.velocities[-1]

    def add(self, timestamp: float, sighting: Sighting, fit: int) -> None:
        self.times.append(timestamp)
        self.sightings.append(sighting)
        recent = np.array(self.times[-fit:])
        if len(recent) > 1:
            since = recent - recent.mean()
            centers = np.stack([s.center for s in self.sightings[-fit:]])
            self.velocities.append((since[:, None] * centers).sum(0) / (since**2).sum())
            self.known_velocity = True
        else:
            self.velocities.append(np.zeros(3))

    def handed_out(self, count: int | None = None) -> MovingObject:
        """The first ``count`` sightings as a record."""
        seen = self.sightings[:count]
        return MovingObject(
            self.id,
            np.array(self.times[:count]),
            np.stack([s.center for s in seen]).astype(np.float32),
            np.stack(self.velocities[:count]).astype(np.float32),
            np.max([s.size for s in seen], axis=0).astype(np.float32),
            tuple(sorted(frozenset().union(*(s.sensors for s in seen)))),
        )


class ObjectTracker:
    """Joins what moves in the images of a rig into objects. Memory is bounded: closed objects are handed out."""

    def __init__(self, options: TrackerOptions | None = None) -> None:
        """Start without objects."""
        self.options = options or TrackerOptions()
        self._tracks: list[_Track] = []
        self._next = 0
        self._time = -np.inf

    def update(
        self,
        timestamp: float,
        dynamic: Mapping[str, Bool[np.ndarray, "height width"]],
        points: Mapping[str, Float[np.ndarray, "height width 3"]],
        world_from_cam: Mapping[str, Float[np.ndarray, "4 4"]],
    ) -> list[MovingObject]:
        """The masks of one step -> objects that have ended with it.

        Args:
            timestamp: seconds, later than the last.
            dynamic: masks by sensor; sensors may be absent.
            points: world points of their pixels; not finite where unknown.
            world_from_cam: of those sensors.

        Raises:
            InputError: a timestamp that is not later, or a mask without points.
        """
        if not timestamp > self._time:
            raise InputError(f"The step at {timestamp} s is not later than {self._time} s.", "Give steps in order.")
        found: list[Sighting] = []
        for sensor, mask in dynamic.items():
            if sensor not in points or sensor not in world_from_cam or points[sensor].shape[:2] != mask.shape:
                raise InputError(f"The mask of {sensor} has no points or no pose.", "Give both for every mask.")
            found += sightings(sensor, mask, points[sensor], world_from_cam[sensor], self.options)
        self._time = timestamp
        self._match(timestamp, _joined(found))
        closed = [track for track in self._tracks if timestamp - track.times[-1] > self.options.missed]
        self._tracks = [track for track in self._tracks if timestamp - track.times[-1] <= self.options.missed]
        return self._overflow() + self._hand_out(closed)

    def objects(self) -> list[MovingObject]:
        """Objects that are still open, with what is remembered of them."""
        return self._hand_out(self._tracks)

    def finish(self) -> list[MovingObject]:
        """Close all objects and hand them out."""
        closed, self._tracks = self._tracks, []
        return self._hand_out(closed)

    def _match(self, timestamp: float, found: list[Sighting]) -> None:
        """Nearest predicted centres, each at most once; the rest are new."""
        cost = np.full((len(self._tracks), len(found)), _BLOCKED)
        for row, track in enumerate(self._tracks):
            reach = self.options.gate
            if not track.known_velocity:
                reach += self.options.speed_gate * (timestamp - track.times[-1])
            predicted = track.predict(timestamp)
            for column, sighting in enumerate(found):
                distance = float(np.linalg.norm(sighting.center - predicted))
                if distance <= reach:
                    cost[row, column] = distance
        rows, columns = linear_sum_assignment(cost)
        matched = {int(c): int(r) for r, c in zip(rows, columns, strict=True) if cost[r, c] < _BLOCKED}
        for column, sighting in enumerate(found):
            if column in matched:
                track = self._tracks[matched[column]]
            else:
                track = _Track(self._next)
                self._next += 1
                self._tracks.append(track)
            track.add(timestamp, sighting, self.options.fit)

    def _overflow(self) -> list[MovingObject]:
        """Early parts of long lives leave the memory."""
        parts = []
        for track in self._tracks:
            if len(track.times) > self.options.keep:
                cut = len(track.times) - self.options.fit
                parts.append(track.handed_out(cut))
                del track.times[:cut], track.sightings[:cut], track.velocities[:cut]
        return parts

    def _hand_out(self, tracks: list[_Track]) -> list[MovingObject]:
        return [track.handed_out() for track in tracks if len(track.times) >= self.options.least_sightings]


def sightings(
    sensor: str,
    dynamic: Bool[np.ndarray, "height width"],
    points: Float[np.ndarray, "height width 3"],
    world_from_cam: Float[np.ndarray, "4 4"],
    options: TrackerOptions | None = None,
) -> list[Sighting]:
    """Moving things in one image: parts of the mask that hang together and are not parted by a step of the depth."""
    options = options or TrackerOptions()
    mask = dynamic & np.isfinite(points).all(-1)
    if not mask.any():
        return []
    depth = (points - world_from_cam[:3, 3]) @ world_from_cam[:3, 2]
    label = _parts(mask & (depth > 0), np.where(mask, depth, 1.0), options.depth_step)
    found = []
    for index in range(label.max() + 1):
        members = label == index
        pixels = int(members.sum())
        if pixels < options.least_pixels:
            continue
        own = points[members].astype(np.float64)
        low, high = np.percentile(own, [5, 95], axis=0)
        found.append(Sighting(np.median(own, axis=0), high - low, pixels, frozenset([sensor])))
    return found


def _parts(mask: np.ndarray, depth: np.ndarray, step: float) -> Int32[np.ndarray, "height width"]:
    """Connected parts of a mask; -1 outside."""
    height, width = mask.shape
    index = np.arange(height * width).reshape(height, width)
    log = np.log(np.where(mask, depth, 1.0))
    rows, columns = [], []
    for along in (0, 1):
        first = tuple(slice(None, -1) if axis == along else slice(None) for axis in (0, 1))
        second = tuple(slice(1, None) if axis == along else slice(None) for axis in (0, 1))
        joined = mask[first] & mask[second] & (np.abs(log[first] - log[second]) < step)
        rows.append(index[first][joined])
        columns.append(index[second][joined])
    row, column = np.concatenate(rows), np.concatenate(columns)
    graph = coo_matrix((np.ones(len(row), bool), (row, column)), shape=(height * width,) * 2)
    _, label = connected_components(graph, directed=False)
    label = label.reshape(height, width)
    parts = np.full((height, width), -1, np.int32)
    parts[mask] = np.unique(label[mask], return_inverse=True)[1]
    return parts


def _joined(found: list[Sighting]) -> list[Sighting]:
    """Sightings by several sensors of what must be one thing: their boxes meet."""
    joined: list[Sighting] = []
    for sighting in sorted(found, key=lambda s: -s.pixels):
        for place, other in enumerate(joined):
            apart = np.abs(sighting.center - other.center) <= 0.5 * (sighting.size + other.size)
            if not (sighting.sensors & other.sensors) and apart.all():
                joined[place] = _merge(other, sighting)
                break
        else:
            joined.append(sighting)
    return joined


def _merge(a: Sighting, b: Sighting) -> Sighting:
    share = a.pixels / (a.pixels + b.pixels)
    low = np.minimum(a.center - a.size / 2, b.center - b.size / 2)
    high = np.maximum(a.center + a.size / 2, b.center + b.size / 2)
    center = share * a.center + (1 - share) * b.center
    return Sighting(center, high - low, a.pixels + b.pixels, a.sensors | b.sensors)
