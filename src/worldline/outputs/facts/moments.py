"""The moments of a scene for formats with a time slider."""

from __future__ import annotations

from dataclasses import dataclass

from worldline.scene import Scene


@dataclass(frozen=True)
class Moments:
    """The instants of a scene, ascending; none where time does not matter."""

    times: tuple[float, ...]
    of_view: tuple[int | None, ...]  # index into times; None: a view that belongs to no instant and always holds
    seconds: bool  # whether times are seconds; else they are numbers of frames

    @property
    def step(self) -> float:
        """The usual way from one instant to the next."""
        gaps = sorted(after - before for before, after in zip(self.times, self.times[1:], strict=False))
        return gaps[len(gaps) // 2] if gaps else 0.0


def moments_of_scene(scene: Scene) -> Moments:
    """The distinct times of the views; where no view has one but things move, as in a video of frames, the views."""
    count = len(scene.views)
    if len(scene.times) > 1:
        number = {time: index for index, time in enumerate(scene.times)}
        of_view = tuple(None if view.timestamp is None else number[view.timestamp] for view in scene.views)
        return Moments(scene.times, of_view, seconds=True)
    moves = scene.tracks is not None or any(view.dynamic is not None for view in scene.views)
    if moves and count > 1 and not scene.times:
        return Moments(tuple(float(index) for index in range(count)), tuple(range(count)), seconds=False)
    return Moments((), (None,) * count, seconds=True)
