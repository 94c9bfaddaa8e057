"""Time in a recording for Rerun, and what moves through it: tracks with their trails, boxes of moving objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from worldline.outputs.facts.moments import moments_of_scene
from worldline.outputs.facts.trails import trails_of
from worldline.scene import Scene

if TYPE_CHECKING:
    import rerun as rr

MOST_TRACKS = 2000
_DATE = 1e8  # seconds; scenes with larger times count from 1970


class RecordingTimeline:
    """The time of a scene as a recording has it. A recording must not mix kinds of time on one timeline."""

    def __init__(self, scene: Scene) -> None:
        self.moments = moments_of_scene(scene)
        self.dates = self.moments.seconds and any(time >= _DATE for time in self.moments.times)

    @property
    def name(self) -> str:
        """Its name in the recording."""
        return "date" if self.dates else "time" if self.moments.seconds else "frame"

    def set(self, stream: rr.RecordingStream, time: float) -> None:
        """Place what is logged next at a time of the scene."""
        nanoseconds = round(time * 1e9)
        if self.dates:
            stream.set_time(self.name, timestamp=np.datetime64(nanoseconds, "ns"))
        elif self.moments.seconds:
            stream.set_time(self.name, duration=np.timedelta64(nanoseconds, "ns"))
        else:
            stream.set_time(self.name, sequence=round(time))


def log_tracks(scene: Scene, stream: rr.RecordingStream, timeline: RecordingTimeline) -> None:
    """``world/tracks``: the followed points at each moment, with their numbers and whether they are seen;
    ``world/trails``: the way from the moment before, of which a viewer shows the last ones. At most MOST_TRACKS."""
    import rerun as rr

    times = timeline.moments.times
    trails = trails_of(scene, most=MOST_TRACKS) if times else None
    if trails is None or trails.points.shape[1] != len(times):
        return
    for moment, time in enumerate(times):
        timeline.set(stream, time)
        known = trails.known[:, moment]
        values: dict[str, Any] = {"track": np.flatnonzero(known), "visible": trails.visible[known, moment]}
        points = rr.Points3D(trails.points[known, moment], colors=trails.colors[known])
        stream.log("world/tracks", points, rr.AnyValues(**values), strict=True)
        pieces, colors = trails.pieces(moment)
        stream.log("world/trails", rr.LineStrips3D(pieces, colors=colors[:, 1]), strict=True)


def log_objects(scene: Scene, stream: rr.RecordingStream, timeline: RecordingTimeline) -> None:
    """``world/objects``: a box per object that is known at a time, labelled with its number, and its velocity as an
    arrow (the way of one second) below ``world/objects/velocity``."""
    import rerun as rr

    if not scene.objects or not timeline.moments.seconds:
        return
    times = sorted({float(time) for each in scene.objects for time in each.timestamps} | set(scene.times))
    for time in times:
        rows = [
            (each, int(np.flatnonzero(each.timestamps == time)[0])) for each in scene.objects if time in each.timestamps
        ]
        centers = np.array([each.centers[row] for each, row in rows], np.float32).reshape(-1, 3)
        sizes = np.array([each.size for each, _ in rows], np.float32).reshape(-1, 3)
        velocities = np.array([each.velocities[row] for each, row in rows], np.float32).reshape(-1, 3)
        timeline.set(stream, time)
        labels = [str(each.id) for each, _ in rows]
        boxes = rr.Boxes3D(centers=centers, half_sizes=sizes / 2, labels=labels, colors=[(230, 120, 0)] * len(rows))
        stream.log("world/objects", boxes, strict=True)
        moving = np.isfinite(velocities).all(axis=1)
        arrows = rr.Arrows3D(origins=centers[moving], vectors=velocities[moving], colors=[(230, 120, 0)] * moving.sum())
        stream.log("world/objects/velocity", arrows, strict=True)
