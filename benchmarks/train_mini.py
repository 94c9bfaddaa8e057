"""Steps per second of the stages of a recipe, on made-up data: what a machine can do when data are no bottleneck.

python benchmarks/train_mini.py --recipe mini --device cpu --steps 5
python benchmarks/train_mini.py --recipe mini-cuda --device cuda --steps 50 --compile
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch

from worldline.cli.common import markdown_table
from worldline.train.batches import Batch
from worldline.train.catalog import RECIPES, find_recipe
from worldline.train.flops import step_flops
from worldline.train.loop import Run
from worldline.train.recipes import Stage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", choices=RECIPES, default="mini")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of the processor; default: the recipe's")
    parser.add_argument("--compile", action="store_true")
    options = parser.parse_args()
    records = []
    with tempfile.TemporaryDirectory() as folder:
        recipe = find_recipe(options.recipe).build(Path(folder))
        run = Run(
            replace(
                recipe,
                pool=None,
                init=None,
                scene_views=64,
                device=options.device,
                precision=options.precision,
                compile=options.compile,
                threads=options.threads or recipe.threads,
            )
        )
        for number, stage in enumerate(recipe.stages):
            records.append({"stage": number, **measure(run, stage, options.steps)})
    print(markdown_table(records))


def measure(run: Run, stage: Stage, steps: int) -> dict[str, object]:
    """Median seconds of a step with the most views and the largest images of a stage."""
    views, size = stage.views[1], max(stage.sizes)
    scenes = max(1, stage.views_per_step // views)
    batch = made_up(scenes, views, size).to(run.fabric.device)
    seconds = []
    for _ in range(steps + 2):  # the first two warm up
        started = time.perf_counter()
        run.train_step([batch], stage)
        if run.fabric.device.type == "cuda":  # a step only queues its work
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - started)
    median = sorted(seconds[2:])[steps // 2]
    flops = step_flops(run.recipe.network_config(), views, size, stage.references) * scenes
    shape = f"{scenes} x {views} x {size}², {stage.references} path(s)"
    return {
        "batch": shape,
        "s / step": round(median, 3),
        "views / s": round(scenes * views / median, 1),
        "TFLOP / s": round(flops / median / 1e12, 3),
    }


def made_up(scenes: int, views: int, size: int) -> Batch:
    """Noise photos of a noisy wall, every token matched to itself."""
    poses = torch.eye(4).repeat(scenes, views, 1, 1)
    points = torch.rand(scenes, views, size, size, 3) + torch.tensor([0.0, 0.0, 2.0])
    matches = torch.arange((size // 16) ** 2).expand(scenes, views, views, -1)
    valid = torch.ones(scenes, views, size, size, dtype=torch.bool)
    return Batch(torch.rand(scenes, views, 3, size, size) * 2 - 1, points, valid, poses, matches)


if __name__ == "__main__":
    main()
