"""What all-pixel tracking saves, on worlds with exact answers: ``python benchmarks/all_tracks.py``.

Queries asked for the tracks of all pixels of a clip, beside a track from every pixel of every frame (brute force).
Exact answers leave only the algorithm's own choices: the order of starts and how near a track must pass.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from exact_video import ExactVideo
from worldline.errors import NoPlaceError
from worldline.scene.video.occupancy import AllTracksOptions, all_tracks
from worldline.worlds.sampling import TEST_SEEDS, describe

SETUPS = {
    "fullest frame first": AllTracksOptions(),
    "frames in time": AllTracksOptions(order="time"),
    "random, growing from 16": AllTracksOptions(order="random", batch=16, growth=1.2),
    "random, 4096 at once": AllTracksOptions(order="random"),
    "fullest, radius 1.5": AllTracksOptions(radius=1.5),
}
SPEEDS = (0.25, 0.5, 1.0, 2.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--size", type=int, nargs=2, default=(48, 64), help="height and width; one cell per pixel")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--shooting", default="walk", choices=("video", "walk", "orbit"))
    options = parser.parse_args()
    print(f"{options.seeds} dynamic test seeds, {options.shooting}, {options.frames} frames of {options.size}\n")
    print("| order of starts | " + " | ".join(f"speed {speed:g}" for speed in SPEEDS) + " | rounds | s |")
    print("|---|" + "---|" * (len(SPEEDS) + 2))
    for name, setup in SETUPS.items():
        started, cells, rounds = time.perf_counter(), [], []
        for speed in SPEEDS:
            savings = measure(setup, speed, options)
            cells.append(f"{np.mean([each.factor for each in savings]):.1f}×")
            rounds += [each.rounds for each in savings]
        seconds = (time.perf_counter() - started) / len(rounds)
        print(f"| {name} | " + " | ".join(cells) + f" | {np.mean(rounds):.0f} | {seconds:.1f} |", flush=True)


def measure(setup: AllTracksOptions, speed: float, options: argparse.Namespace) -> list:
    """Savings on the first test seeds that have a place for the camera."""
    savings = []
    for seed in TEST_SEEDS:
        try:
            world = describe("dynamic", seed, views=options.frames, shooting=options.shooting, speed=speed)
        except NoPlaceError:
            continue
        savings.append(all_tracks(ExactVideo(world, *options.size), setup).saving)
        if len(savings) == options.seeds:
            break
    return savings


if __name__ == "__main__":
    main()
