"""All-pixel tracking through the windows of a long video: tracks handed over come first, new ones fill what is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

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
from worldline.scene.video.relay import LongTracks, Relay
from worldline.scene.video.windows import Window


class AllPixels:
    """Visits windows in their order, like :class:`.relay.Relay`; tracks are not followed back before their window."""

    def __init__(
        self, windows: Sequence[Window], size: tuple[int, int], options: AllTracksOptions | None = None, *,
        world: bool = False, progress: Progress | None = None,
    ) -> None:  # fmt: skip
        """
        Args:
            size: (height, width) of the frames.
            world: points in the frame of the whole video, as in :class:`.relay.Relay`.
            progress: as in :func:`.occupancy.all_tracks`, anew for every window.
        """
        self.windows, self.size, self.world, self.progress = tuple(windows), size, world, progress
        self.options = replace(options or AllTracksOptions(), camera=0 if world else None)
        self.relays: list[Relay] = []
        self.rounds = self.asked = self.unseen = self.brute_force = 0

    def visit(
        self, number: int, video: AnswersQueries, placement: Similarity, *, step: int = 1, joined: bool = True
    ) -> None:
        """Hand tracks over to a window and start those that are missing; arguments as of :meth:`.relay.Relay.visit`."""
        if step < 0:
            return
        window = self.windows[number]
        grid = cell_grid(self.size, self.options.cell)
        visited, part = np.zeros((len(window), *grid), np.bool_), slice(window.start, window.stop)
        for relay in self.relays:
            relay.visit(number, video, placement, joined=joined)
            mark_visited(visited, relay.uv[:, part], relay.visibility[:, part] * relay.known[:, part], self.options)
        found = all_tracks(video, self.options, visited=visited, progress=self.progress)
        self.relays.append(self._started(number, found, placement))
        self.rounds, self.unseen = self.rounds + found.saving.rounds, self.unseen + found.saving.unseen
        self.asked += found.saving.queries
        self.brute_force += found.saving.brute_force

    def waits_for(self, number: int, step: int) -> bool:
        """Only the way forwards does anything."""
        return step > 0

    def tracks(self) -> LongTracks:
        """All of them, in the order of the windows that they start in."""
        parts = [relay.tracks() for relay in self.relays]
        names = ("points", "pixels", "visibility", "confidence", "queries", "known", "handed")
        joined = {name: np.concatenate([getattr(each, name) for each in parts]) for name in names}
        return LongTracks(**joined, camera=0 if self.world else None)

    @property
    def saving(self) -> Saving:
        """What it cost; brute force follows every pixel of every window through that window."""
        tracks = sum(len(relay.queries) for relay in self.relays)
        asked = self.asked + sum(relay.asked for relay in self.relays)
        return Saving(tracks, asked, self.brute_force, self.rounds, self.unseen)

    def _started(self, number: int, found: AllTracks, placement: Similarity) -> Relay:
        """Tracks that a window has found, ready to go on."""
        queries = found.queries + np.array((0, 0, self.windows[number].start))
        relay = Relay(queries, self.windows, self.size, world=self.world)
        uv = (found.pixels + np.float32(0.5)) / np.array(self.size[::-1], np.float32)
        zeros = np.broadcast_to(np.float32(0), found.points.shape)
        answers = VideoAnswers(found.points, uv, found.visibility, zeros, zeros, found.confidence)
        relay.start(number, np.arange(len(queries)), answers, placement)
        return relay
