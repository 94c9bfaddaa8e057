"""What a frame rate leaves time for: tracks of a whole video (table 3 of the paper) and poses (figure 3)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from worldline.eval.query_bench.clock import Seconds, alternate
from worldline.eval.query_bench.network import QueryNetwork, random_clip, random_queries
from worldline.eval.query_bench.speed import decode_in_portions
from worldline.eval.stream_bench.process import apart
from worldline.models.d4rt import D4rt, Memory
from worldline.models.queries import Queries
from worldline.pipeline.video import EncodedVideo
from worldline.pipeline.video.plan import plan_video
from worldline.scene.video.answers import AnswersQueries
from worldline.scene.video.asking import ask, cell_centers
from worldline.scene.video.robust import RigidFits, fit_rigid_robust

RATES = (60.0, 24.0, 10.0, 1.0)  # frames per second of table 3


def affordable_tracks(rate: float, encode: float, query: float, frames: int) -> int:
    """Full-video tracks that can be had at ``rate`` frames per second: one query per track and frame.

    Args:
        rate: frames per second at which whole clips are to be worked off.
        encode: seconds of encoding one clip.
        query: seconds per query.
        frames: of a clip.
    """
    return max(0, math.floor((frames / rate - encode) / (frames * query)))


def measure_tracks(
    network: QueryNetwork, *, rates: Iterable[float] = RATES, threads: int = 1, queries: int = 2048, repeats: int = 5
) -> list[dict[str, Any]]:
    """Largest number of full-video tracks at given frame rates, in a process of its own.

    The number follows from the measured cost of a clip and of a query. One rate, the first in the order given at which
    between 1 and 20 000 queries fit into a clip, is checked by encoding a clip and following that many points.

    Returns:
        One record per rate: ``tracks`` by wall time and by processor time (which is what an idle machine takes with
        one thread); ``reached`` is the measured rate of the direct run, None where there was none.
    """
    return apart(_tracks, network, tuple(rates), threads, queries, repeats)


def _tracks(
    network: QueryNetwork, rates: tuple[float, ...], threads: int, count: int, repeats: int
) -> list[dict[str, Any]]:
    torch.set_num_threads(threads)
    with torch.inference_mode():
        model = network.load()
        clip, aspect, frames = random_clip(model.config), torch.tensor([1.5]), model.config.clip_frames
        memory, chunk = model.encode(clip, aspect), plan_video(model.config, frames).chunk
        queries = random_queries(count, frames)
        seconds = alternate(
            {
                "encode": lambda: model.encode(clip, aspect),
                "decode": lambda: decode_in_portions(model, memory, queries, chunk),
            },
            repeats,
        )
        records, checked = [], False
        for rate in rates:
            wall, cpu = (
                affordable_tracks(
                    rate, getattr(seconds["encode"], kind), getattr(seconds["decode"], kind) / count, frames
                )
                for kind in ("wall", "cpu")
            )
            reached: Seconds | None = None
            if not checked and 1 <= cpu * frames <= 20_000:
                tracks, checked = full_video_tracks(cpu, frames), True

                def follow(tracks: Queries = tracks) -> object:
                    return decode_in_portions(model, model.encode(clip, aspect), tracks, chunk)

                reached = alternate({"run": follow}, max(1, repeats // 2))["run"]
            records.append(
                {
                    "rate": rate,
                    "threads": threads,
                    "tracks by wall time": wall,
                    "tracks by CPU time": cpu,
                    "reached by wall time": None if reached is None else frames / reached.wall,
                    "reached by CPU time": None if reached is None else frames / reached.cpu,
                }
            )
    return records


def full_video_tracks(count: int, frames: int) -> Queries:
    """Random points of random frames, each asked for at every moment in its camera; [1, count * frames]."""
    starts = random_queries(count, frames)
    u, v, source = (part[0].repeat_interleave(frames)[None] for part in starts[:3])
    moments = torch.arange(frames).repeat(count)[None]
    return Queries(u, v, source, moments, moments)


def measure_poses(network: QueryNetwork, *, grid: int = 8, threads: int = 1, repeats: int = 5) -> dict[str, Any]:
    """Frames per second from a clip to the poses of all frames, in a process of its own.

    The points of one frame are asked for in its own camera and in that of every frame, on a grid of ``grid`` x
    ``grid`` points, and a rigid motion is fitted to each pair of sets (section 2.1); intrinsics are left out, as in
    the paper's comparison.

    Returns:
        A record with seconds per clip of the three steps, and frames per second of the whole.
    """
    return apart(_poses, network, grid, threads, repeats)


def _poses(network: QueryNetwork, grid: int, threads: int, repeats: int) -> dict[str, Any]:
    torch.set_num_threads(threads)
    with torch.inference_mode():
        model = network.load()
        clip, aspect, frames = random_clip(model.config), torch.tensor([1.0]), model.config.clip_frames
        video = as_video(model, model.encode(clip, aspect))
        steps: dict[str, list[tuple[float, float]]] = {"encode": [], "queries": [], "fit": []}
        for _ in range(repeats + 1):
            with _Lap(steps["encode"]):
                model.encode(clip, aspect)
            with _Lap(steps["queries"]):
                sets = pose_points(video, grid)
            with _Lap(steps["fit"]):
                fit_poses(*sets)
    wall, cpu = (sum(float(np.median([run[index] for run in runs[1:]])) for runs in steps.values()) for index in (0, 1))
    parts = {f"{name} CPU s": float(np.median([run[1] for run in runs[1:]])) for name, runs in steps.items()}
    return {"grid": grid, "threads": threads, "frames": frames, **parts, "FPS by wall time": frames / wall,
            "FPS by CPU time": frames / cpu}  # fmt: skip


def pose_points(video: AnswersQueries, grid: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of frame 0 in its own camera and in those of all frames, [T, grid², 3] each, and what they weigh."""
    u, v = (part.ravel() for part in cell_centers(grid, grid))
    every = np.arange(video.frame_count)[:, None]
    answers = ask(video, u, v, 0, 0, every, keep=("points", "confidence"))
    own = np.broadcast_to(answers.points[:1], answers.points.shape)
    return own, answers.points, np.minimum(answers.confidence[:1], answers.confidence)


def fit_poses(own: np.ndarray, other: np.ndarray, weights: np.ndarray) -> RigidFits:
    """The motion from frame 0 to every frame."""
    return fit_rigid_robust(*(torch.from_numpy(np.array(part, np.float64)) for part in (own, other, weights)))


def as_video(model: D4rt, memory: Memory) -> EncodedVideo:
    """An encoded clip of noise with the questions and answers of users."""
    height, width = model.config.image_size
    chunk = plan_video(model.config, memory.frames).chunk
    return EncodedVideo(model, memory, (height, width), np.zeros((memory.frames, 8, 8, 3), np.uint8), chunk)


class _Lap:
    """Appends the wall and processor seconds of a block to a list."""

    def __init__(self, runs: list[tuple[float, float]]) -> None:
        self.runs = runs

    def __enter__(self) -> None:
        self.start = time.perf_counter(), time.process_time()

    def __exit__(self, *_: object) -> None:
        self.runs.append((time.perf_counter() - self.start[0], time.process_time() - self.start[1]))
