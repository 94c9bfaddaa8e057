"""How well windows of a long video fit together: ``python benchmarks/long_video.py``.

Windows of one exactly known video, each in a unit of its own, with chosen errors on all answers. What is left after
joining them is the error of the joining: drift of scale and of the cameras, and tracks that end too early.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from exact_video import ExactVideo
from video_parts import Part
from worldline.errors import NoPlaceError
from worldline.pipeline.video.windows import LongVideo
from worldline.scene.video.windows import Window, WindowOptions
from worldline.worlds.sampling import TEST_SEEDS, describe
from worldline.worlds.world import World

ERRORS = {  # noise as a share of the distance, share of outliers, whether those claim a high confidence
    "exact": (0.0, 0.0, False),
    "noise 2 %": (0.02, 0.0, False),
    "noise 2 %, 10 % outliers that say so": (0.02, 0.1, False),
    "noise 2 %, 10 % outliers that do not": (0.02, 0.1, True),
}
RULES = {"plain": WindowOptions(robust=False), "robust": WindowOptions()}
OVERLAPS = (2, 4, 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--window", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    worlds = draw(options.seeds, options.frames)
    print(f"{len(worlds)} dynamic test seeds, walk, {options.frames} frames, windows of {options.window}\n")
    print("| answers | rule | overlap | seam error | scale of the last window | its place |")
    print("|---|---|---|---|---|---|")
    for name, errors in ERRORS.items():
        for rule, chosen in RULES.items():
            for overlap in OVERLAPS if name == "exact" or rule == "robust" else OVERLAPS[-1:]:
                rows = np.array([seams(world, errors, chosen, overlap, options.window) for world in worlds]).mean(0)
                cells = " | ".join(f"{100 * value:.2f} %" for value in rows)
                print(f"| {name} | {rule} | {overlap} | {cells} |", flush=True)
    slow = draw(options.seeds, options.frames, speed=0.25)
    print("\nspeed 0.25\n\n| overlap | tracks followed to the end | points in sight at the end | followed of these |")
    print("|---|---|---|---|")
    for overlap in OVERLAPS:
        shares = np.nanmean([tracks(world, overlap, options.window) for world in slow], 0)
        print(f"| {overlap} | " + " | ".join(f"{100 * share:.0f} %" for share in shares) + " |", flush=True)


def draw(count: int, frames: int, speed: float = 1.0) -> list[World]:
    """The first test seeds that have a place for the camera."""
    worlds: list[World] = []
    for seed in TEST_SEEDS:
        try:
            worlds.append(describe("dynamic", seed, views=frames, shooting="walk", speed=speed))
        except NoPlaceError:
            continue
        if len(worlds) == count:
            break
    return worlds


def cut(world: World, errors: tuple, rule: WindowOptions, overlap: int, window: int) -> LongVideo:
    """A long video whose windows have units from 0.5 to 2."""
    noise, outliers, false_confidence = errors

    def open_window(part: Window) -> Part:
        # errors differ from window to window, as those of a network do
        exact = ExactVideo(world, 48, 64, noise=noise, outliers=outliers, false_confidence=false_confidence,
                           seed=part.start)  # fmt: skip
        return Part(exact, part.start, part.stop, 2.0 ** np.cos(part.start))

    frames = len(world.cameras.world_from_cam)
    options = WindowOptions(overlap=overlap, robust=rule.robust)
    return LongVideo(open_window, frames, (48, 64), window, options)


def seams(world: World, errors: tuple, rule: WindowOptions, overlap: int, window: int) -> tuple[float, float, float]:
    """(mean seam error, error of the last window's scale, error of its origin over the length of the way)."""
    video = cut(world, errors, rule, overlap, window)
    error = float(np.mean([seam.error for seam in video.seams]))
    placement, piece = video.placement(len(video.windows) - 1)
    if piece:
        return np.nan, np.nan, np.nan
    start = video.windows[-1].start
    truth = 2.0 / 2.0 ** np.cos(start)
    poses = np.linalg.inv(world.cameras.world_from_cam[0]) @ world.cameras.world_from_cam
    way = np.linalg.norm(np.diff(poses[:, :3, 3], axis=0), axis=1).sum()
    place = np.linalg.norm(placement.translation.numpy() / 2.0 - poses[start, :3, 3])
    return error, abs(float(placement.scale) / truth - 1), float(place / way)


def tracks(world: World, overlap: int, window: int) -> tuple[float, float, float]:
    """Shares of tracks: followed to the end; whose points are in sight at the end; followed of these."""
    found = cut(world, ERRORS["exact"], RULES["robust"], overlap, window).tracks("grid:12")
    last = found.known.shape[1] - 1
    exact = ExactVideo(world, 48, 64)
    u, v = ((found.queries[:, :2] + 0.5) / (64, 48)).T
    visible = exact.query(u, v, np.int64(0), np.int64(last), np.int64(last)).visible
    kept = float(found.known[visible, -1].mean()) if visible.any() else np.nan
    return float(found.known[:, -1].mean()), float(visible.mean()), kept


if __name__ == "__main__":
    main()
