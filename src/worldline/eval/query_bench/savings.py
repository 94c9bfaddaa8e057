"""What following every pixel costs beside a track from every pixel of every frame, with exact answers of worlds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from worldline.errors import NoPlaceError
from worldline.scene.video.answers import VideoAnswers
from worldline.scene.video.occupancy import AllTracksOptions, Saving, all_tracks
from worldline.worlds.sampling import TEST_SEEDS, describe
from worldline.worlds.truth.queries import query
from worldline.worlds.truth.rays import Instants
from worldline.worlds.world import World


class WorldVideo:
    """A procedural world as a video that knows all answers (an ``AnswersQueries``)."""

    def __init__(self, world: World, size: tuple[int, int]) -> None:
        self.world, self.original_size, self.instants = world, size, Instants(world)

    @property
    def frame_count(self) -> int:
        """Number of frames T."""
        return int((self.world.cameras.sensor == 0).sum())

    def query(self, u: Any, v: Any, t_src: Any, t_tgt: Any, t_cam: Any) -> VideoAnswers:
        """The truth; where a query sees the sky, a point that is never visible."""
        height, width = self.original_size
        exact = query(self.world, u, v, t_src, t_tgt, t_cam, height=height, width=width, instants=self.instants)
        vectors = (part.astype(np.float32) for part in (exact.position, exact.uv, exact.motion, exact.normal))
        points, uv, motion, normal = vectors
        return VideoAnswers(
            points,
            uv,
            exact.visible.astype(np.float32),
            motion,
            normal,
            np.where(exact.valid, 1.0, 1e-6).astype(np.float32),
        )


def measure_savings(
    *, frames: int = 16, size: tuple[int, int] = (36, 48), worlds: int = 3, speeds: Iterable[float] = (0.5, 1.0, 2.0),
    options: AllTracksOptions | None = None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Queries of Algorithm 1 and of brute force on dynamic test worlds, one cell per pixel.

    The saving is a property of the algorithm and of the video, not of the network; its ceiling is the number of frames.

    Args:
        speeds: how fast things move, as a factor on what is usual.

    Returns:
        One record per speed: the mean, least and largest saving over the worlds.
    """
    records = []
    for speed in speeds:
        savings: list[Saving] = []
        for seed in TEST_SEEDS:
            if len(savings) == worlds:
                break
            try:
                world = describe("dynamic", seed, views=frames, shooting="walk", speed=speed)
            except NoPlaceError:
                continue
            savings.append(all_tracks(WorldVideo(world, size), options).saving)
        factors = [each.factor for each in savings]
        records.append(
            {
                "speed": speed,
                "frames": frames,
                "size": size,
                "worlds": len(savings),
                "saving": float(np.mean(factors)),
                "least": min(factors),
                "most": max(factors),
                "queries": int(np.mean([each.queries for each in savings])),
                "brute force": int(np.mean([each.brute_force for each in savings])),
            }
        )
    return records
