"""All-pixel tracking through the windows of a long video: tracks handed over come first, new ones fill what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from worldline.geometry import Similarity
from worldline.scene.video.answers import AnswersQueries, VideoAnswers
from worldline.scene.video.occupancy import (
    AllTracks,
    AllTracksOptions,
    Progress,
    Saving,
    all_tracks,
    cell_grid,
    mark_visited,
)
from worldline.scene.video.relay import LongTracks, Relay, check_track_memory
from worldline.scene.video.windows import Window

_REMEDY = "Choose coarser cells (--points all:8, cell=8), fewer frames (--max-frames, --fps), or some points (grid:32)."


@dataclass(frozen=True, eq=False)
class AllLongTracks(LongTracks):
    """What :class:`.occupancy.AllTracks` is for a short video, and where its tracks are known."""

    grid: tuple[int, int]  # rows and columns of cells
    saving: Saving


class AllPixels:
    """Visits windows in their order, like :class:`.relay.Relay`; tracks are not followed back before their window."""

    def __init__(
        self, windows: Sequence[Window], size: tuple[int, int], options: AllTracksOptions | None = None, *,
        world: bool = False, progress: Progress | None = None, limit: int | None = None,
    ) -> None:  # fmt: skip
        """
        Args:
            size: (height, width) of the frames.
            world: points in the frame of the whole video, as in :class:`.relay.Relay`.
            progress: as in :func:`.occupancy.all_tracks`, anew for every window.
            limit: bytes that tracks may take, of what was free before the work; None: any.

        Raises:
            MemoryPlanError: not even the tracks of one frame fit. A visit raises it as soon as those of the whole
                video will not, if the windows to come start as many as those since the first.
        """
        self.windows, self.size, self.world, self.progress = tuple(windows), size, world, progress
        self.options = replace(options or AllTracksOptions(), camera=0 if world else None)
        self.grid, self.limit = cell_grid(size, self.options.cell), limit
        self.relays: list[Relay] = []
        self.rounds = self.asked = self.unseen = self.brute_force = 0
        self._check_memory(self.grid[0] * self.grid[1])

    def visit(
        self, number: int, video: AnswersQueries, placement: Similarity, *, step: int = 1, joined: bool = True
    ) -> None:
        """Hand tracks over to a window and start those that are missing; arguments as of :meth:`.relay.Relay.visit`."""
        if step < 0:
            return
        window = self.windows[number]
        visited, part = np.zeros((len(window), *self.grid), np.bool_), slice(window.start, window.stop)
        for relay in self.relays:
            relay.visit(number, video, placement, joined=joined)
            mark_visited(visited, relay.uv[:, part], relay.visibility[:, part] * relay.known[:, part], self.options)
        found = all_tracks(video, self.options, visited=visited, progress=self.progress)
        self._check_memory(self.expected(len(found)))
        self.relays.append(self._started(number, found, placement))
        self.rounds, self.unseen = self.rounds + found.saving.rounds, self.unseen + found.saving.unseen
        self.asked += found.saving.queries
        self.brute_force += found.saving.brute_force

    def waits_for(self, number: int, step: int) -> bool:
        """Only the way forwards does anything."""
        return step > 0

    def expected(self, new: int) -> int:
        """Tracks of the whole video, where the window after those visited starts ``new``.

        The first window starts what nobody hands over to it, so it says nothing about the others.
        """
        counts = [*(len(relay.queries) for relay in self.relays), new]
        to_come = len(self.windows) - len(counts)
        rate = sum(counts[1:]) / (len(counts) - 1) if len(counts) > 1 else 0.0
        return sum(counts) + round(to_come * rate)

    def tracks(self) -> AllLongTracks:
        """All of them, in the order of the windows that they start in."""
        count = sum(len(relay.queries) for relay in self.relays)
        whole: dict[str, np.ndarray] = {}
        row = 0
        for relay in self.relays:  # one after the other: a list of all parts would be a third copy
            part = relay.tracks()
            for name in ("points", "pixels", "visibility", "confidence", "known", "queries", "handed"):
                values = getattr(part, name)
                whole.setdefault(name, np.empty((count, *values.shape[1:]), values.dtype))
                whole[name][row : row + len(part)] = values
            row += len(part)
        return AllLongTracks(**whole, camera=0 if self.world else None, grid=self.grid, saving=self.saving)

    @property
    def saving(self) -> Saving:
        """What it cost; brute force follows every pixel of every window through that window."""
        tracks = sum(len(relay.queries) for relay in self.relays)
        asked = self.asked + sum(relay.asked for relay in self.relays)
        return Saving(tracks, asked, self.brute_force, self.rounds, self.unseen)

    def _check_memory(self, tracks: int) -> None:
        check_track_memory(tracks, self.windows[-1].stop, self.limit, _REMEDY)

    def _started(self, number: int, found: AllTracks, placement: Similarity) -> Relay:
        """Tracks that a window has found, ready to go on."""
        queries = found.queries + np.array((0, 0, self.windows[number].start))
        relay = Relay(queries, self.windows, self.size, world=self.world)
        uv = (found.pixels + np.float32(0.5)) / np.array(self.size[::-1], np.float32)
        zeros = np.broadcast_to(np.float32(0), found.points.shape)
        answers = VideoAnswers(found.points, uv, found.visibility, zeros, zeros, found.confidence)
        relay.start(number, np.arange(len(queries)), answers, placement)
        return relay
