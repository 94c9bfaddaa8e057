"""What the recipes of a video reach, and which of their choices is best: ``python benchmarks/video_recipes.py``.

Dynamic test worlds answer exactly, with errors added; with ``--model`` a network answers about their photos instead.
Lengths of a network are scaled by the median ratio of depth; numbers are medians over seeds.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from exact_video import ExactVideo
from worldline.geometry import rotation_angle
from worldline.scene.video.answers import AnswersQueries
from worldline.scene.video.asking import ask, cell_centers
from worldline.scene.video.assembly import Placement
from worldline.scene.video.cameras import CameraOptions, VideoCameras, estimate_cameras
from worldline.scene.video.cloud import CloudOptions, cloud_of
from worldline.scene.video.dynamic import DynamicOptions, find_dynamic
from worldline.scene.video.intrinsics import IntrinsicsOptions, estimate_intrinsics
from worldline.scene.video.tracks import follow_points
from worldline.worlds import TEST_SEEDS, describe, render
from worldline.worlds.truth.queries import query

ERRORS = {
    "exact": {},
    "1 % noise": {"noise": 0.01},
    "1 % noise, 30 % wrong": {"noise": 0.01, "outliers": 0.3},
    "the same, confident": {"noise": 0.01, "outliers": 0.3, "false_confidence": True},
}
Answerer = Callable[[Any], AnswersQueries]  # of a world


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--size", type=int, nargs=2, default=(96, 128), help="height and width of the photos")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=1, help="number of the first test seed")
    parser.add_argument("--shooting", default="walk", choices=("video", "walk", "orbit"))
    parser.add_argument("--model", help="a network by name or folder instead of exact answers")
    parser.add_argument("--only", choices=("cameras", "focal", "clouds", "motion", "tracks"))
    options = parser.parse_args()
    numbers = range(options.first, options.first + options.seeds)
    worlds = [describe("dynamic", TEST_SEEDS[n], views=options.frames, shooting=options.shooting) for n in numbers]
    print(f"{options.seeds} dynamic test seeds, {options.shooting}, {options.frames} frames of {options.size}\n")
    tables = {"cameras": cameras, "focal": focal, "clouds": clouds, "motion": motion, "tracks": tracks}
    for name, answerer in answerers(options).items():
        videos = [(world, answerer(world)) for world in worlds]
        for kind, table in tables.items():
            if options.only in (None, kind):
                print(f"{kind}: {name}")
                table(videos)
                print()


def answerers(options: argparse.Namespace) -> dict[str, Answerer]:
    height, width = options.size
    if options.model is None:
        return {
            name: (lambda world, e=errors: ExactVideo(world, height, width, **e)) for name, errors in ERRORS.items()
        }
    import worldline

    model = worldline.load(options.model)

    def ask_network(world: Any) -> AnswersQueries:
        return model.encode(np.asarray(render([world], height=height, width=width)[0].images))

    return {options.model: ask_network}


def unit(world: Any, video: AnswersQueries) -> float:
    """Metres per unit of the video: median ratio of depth."""
    found, exact = depth_of(video), depth_of(ExactVideo(world, *video.original_size))
    good = (exact > 0) & (found > 0)
    return float(np.median(exact[good] / found[good]))


def depth_of(video: AnswersQueries, grid: int = 12) -> np.ndarray:
    frames = np.arange(video.frame_count)[:, None, None]
    return ask(video, *cell_centers(grid, grid), frames, frames, frames, keep=("points",)).points[..., 2]


def pose_errors(found: VideoCameras, world: Any, scale: float) -> tuple[float, float]:
    """Means over the frames: degrees, centimetres; a frame without a pose counts as 180 degrees."""
    poses = world.cameras.world_from_cam
    truth = np.linalg.inv(poses[found.reference]) @ poses
    turn = rotation_angle(torch.from_numpy(found.world_from_cam[:, :3, :3]), torch.from_numpy(truth[:, :3, :3].copy()))
    off = np.linalg.norm(scale * found.world_from_cam[:, :3, 3] - truth[:, :3, 3], axis=1)
    return float(torch.rad2deg(turn).nan_to_num(nan=180.0).mean()), float(100 * np.nanmean(off))


def cameras(videos: list[tuple[Any, AnswersQueries]]) -> None:
    print("| references | grid | rotation, degrees | position, cm |\n|---|---|---|---|")
    scales = [unit(world, video) for world, video in videos]
    for references in ("anchored", "chain", "anchors"):
        for grid in (8, 16):
            choice = CameraOptions(references=references, grid=grid)
            found = [estimate_cameras(video, choice) for _, video in videos]
            errors = [pose_errors(f, world, s) for f, (world, _), s in zip(found, videos, scales, strict=True)]
            turn, shift = np.median(errors, axis=0)
            print(f"| {references} | {grid} | {turn:.3f} | {shift:.2f} |")


def focal(videos: list[tuple[Any, AnswersQueries]]) -> None:
    print("| focal length | grid | error, % |\n|---|---|---|")
    for shared in (True, False):
        for grid in (8, 16, 32):
            errors = []
            for world, video in videos:
                found = estimate_intrinsics(video, IntrinsicsOptions(grid=grid, shared=shared)).focal
                truth = max(video.original_size) / 2 / np.tan(world.cameras.fov[0] / 2)
                errors.append(100 * np.abs(found / truth - 1).mean())
            print(f"| {'of all frames' if shared else 'per frame'} | {grid} | {np.median(errors):.2f} |")


def clouds(videos: list[tuple[Any, AnswersQueries]]) -> None:
    """How far points lie from the surface along their own line of sight, and how many there are per pixel."""
    print("| cloud | points per cell of a frame | error, % of the distance | worst tenth, % |\n|---|---|---|---|")
    plain = CloudOptions(confidence_percent=0, edges=0, merge=0, visible_only=False)
    choices = {
        "everything": plain,
        "without edges and the least confident": CloudOptions(merge=0),
        "merged": CloudOptions(support=1),
        "merged, two points at least": CloudOptions(),
    }  # fmt: skip
    rows: dict[str, list[tuple[float, ...]]] = {name: [] for name in [*choices, "placed depth, everything"]}
    for world, video in videos:
        scale, exact = unit(world, video), ExactVideo(world, *video.original_size)
        for name, choice in choices.items():
            cloud = cloud_of(video, choice, size=(24, 32))
            rows[name].append(cloud_errors(scale * cloud.points, cloud.frames, cloud.uv, exact))
        u, v = cell_centers(24, 32)
        frames = np.arange(video.frame_count)[:, None, None]
        depth = ask(video, u, v, frames, frames, frames, keep=("points",)).points[..., 2]
        points = Placement(estimate_cameras(video)).from_depth(depth, u, v, video.original_size)
        uv = np.stack(np.broadcast_arrays(u, v), -1)
        whole = np.broadcast_to(uv, (video.frame_count, *uv.shape)).reshape(-1, 2)
        rows["placed depth, everything"].append(
            cloud_errors(scale * points.reshape(-1, 3), np.repeat(frames.ravel(), u.size), whole, exact)
        )
    for name, errors in rows.items():
        share, typical, worst = np.median(errors, axis=0)
        print(f"| {name} | {share:.2f} | {typical:.2f} | {worst:.1f} |")


def cloud_errors(points: np.ndarray, frames: np.ndarray, uv: np.ndarray, exact: ExactVideo) -> tuple[float, ...]:
    truth = exact.query(uv[:, 0], uv[:, 1], frames, frames, 0)
    seen = truth.confidence > 0.01
    off = np.linalg.norm(points - truth.points, axis=1) / np.maximum(np.linalg.norm(truth.points, axis=1), 1e-9)
    return len(points) / (24 * 32), float(100 * np.median(off[seen])), float(100 * np.quantile(off[seen], 0.9))


def motion(videos: list[tuple[Any, AnswersQueries]]) -> None:
    print("| evidence | reach | smooth | precision | recall | IoU |\n|---|---|---|---|---|---|")
    for evidence in ("points", "motion"):
        for reach, smooth in ((2, 1), (2, 3), (4, 1), (4, 3), (6, 3)):
            choice = DynamicOptions(evidence=evidence, reach=reach, smooth=smooth)
            found = [find_dynamic(video, choice, size=(24, 32)).mask for _, video in videos]
            scores = np.median([mask_scores(mask, world, video) for mask, (world, video) in zip(
                found, videos, strict=True)], axis=0)  # fmt: skip
            print(f"| {evidence} | {reach} | {smooth} | {' | '.join(f'{score:.2f}' for score in scores)} |")


def mask_scores(mask: np.ndarray, world: Any, video: AnswersQueries) -> tuple[float, float, float]:
    u, v = cell_centers(24, 32)
    frames = np.arange(video.frame_count)[:, None, None]
    height, width = video.original_size
    truth = query(world, u, v, frames, frames, frames, height=height, width=width)
    moves = truth.valid & world.motion.moves[truth.body.clip(0)]
    both = (mask & moves).sum()
    return both / max(1, mask.sum()), both / max(1, moves.sum()), both / max(1, (mask | moves).sum())


def tracks(videos: list[tuple[Any, AnswersQueries]]) -> None:
    print("| pixels of tracks | median error, pixels | within 4 pixels, % |\n|---|---|---|")
    for pixels in ("uv", "project"):
        errors = []
        for world, video in videos:
            lens = estimate_intrinsics(video).matrices
            found = follow_points(video, "grid:12", start=0, pixels=pixels, intrinsics=lens)
            exact = follow_points(ExactVideo(world, *video.original_size), "grid:12", start=0)
            seen = exact.visible & (np.arange(video.frame_count) > 0)
            off = np.nan_to_num(np.linalg.norm(found.pixels - exact.pixels, axis=-1), nan=1e9)[seen]
            errors.append((np.median(off), 100 * (off < 4).mean()))
        print(f"| {pixels} | {' | '.join(f'{value:.2f}' for value in np.median(errors, axis=0))} |")


if __name__ == "__main__":
    main()
