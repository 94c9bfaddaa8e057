"""Does a D4RT give up on what it has not learned yet? The same training with and without trust from the first step.

The loss multiplies a query's 3D error by a confidence c and charges a price for it, -0.2 log c. Where the error exceeds
0.2, the cheapest c is 0.2 / error: the worse an answer is, the less there is to learn from it. ``trust_from`` of the
recipes lets every query count fully at first. ::

    python benchmarks/confidence_collapse.py POOL -o OUT        # POOL: clips of worldline.train.data --clips
"""

from __future__ import annotations

import argparse
import json
import logging
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from worldline.models.config import D4rtConfig
from worldline.train.clips.batches import CropOptions
from worldline.train.clips.catalog import d4rt_tiny
from worldline.train.clips.losses import LossWeights
from worldline.train.clips.recipe import ClipRecipe, ClipStage
from worldline.train.loop import train

WARMUPS = {"trust from step 0": (0.0, 1e-9), "trust from 10 % to 50 %": (0.1, 0.5)}
PRICES = (0.2, 0.02)  # of a low confidence: the paper's, and one at which most queries are worth giving up on


def main() -> None:
    """Train every variant and write figures and a picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pool", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options.out.mkdir(parents=True, exist_ok=True)
    curves = {}
    for price in PRICES:
        for name, warmup in WARMUPS.items():
            with TemporaryDirectory() as folder:
                recipe = variant(Path(folder) / "run", options.pool, options.steps, price, warmup)
                train(recipe)
                lines = (recipe.output / "log.jsonl").read_text().splitlines()
            curves[f"price {price:g}, {name}"] = [row for row in map(json.loads, lines) if row["kind"] == "step"]
    report(curves, options.out)


def variant(output: Path, pool: Path, steps: int, price: float, warmup: tuple[float, float]) -> ClipRecipe:
    """A small network on many clips, with the published weights but for the price."""
    config = replace(
        D4rtConfig.mini(), image_size=(64, 64), encoder_dim=96, encoder_depth=4, encoder_heads=3, encoder_mlp_dim=384,
        decoder_dim=96, decoder_depth=2, decoder_heads=4, decoder_mlp_dim=384,
    )  # fmt: skip
    return replace(
        d4rt_tiny(output), pool=pool, scenes=None, config=config, steps=steps, learning_rate=1e-3, log_every_steps=10,
        stages=(ClipStage(1.0, 64, (4, 4), 32, queries=128),), weights=LossWeights(confidence=price),
        trust_from=warmup, crop=CropOptions(share=0.5),
    )  # fmt: skip


def report(curves: dict[str, list[dict[str, float]]], out: Path) -> None:
    """A table for the log, ``confidence_collapse.json`` and ``confidence_collapse.png``."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), constrained_layout=True)
    table = {}
    for name, rows in curves.items():
        style = {"linestyle": "--" if "step 0" in name else "-", "color": "C0" if "0.2," in name else "C3"}
        for axis, figure_name in zip(axes, ("error", "confidence"), strict=True):
            axis.plot([row["step"] for row in rows], [row[figure_name] for row in rows], label=name, **style)
        last = rows[-5:]
        table[name] = {key: float(np.mean([row[key] for row in last])) for key in ("error", "confidence")}
        logging.info("%s: %s", name, table[name])
    axes[0].set(xlabel="step", ylabel="3D error (log space)", yscale="log")
    axes[1].set(xlabel="step", ylabel="mean confidence", ylim=(0, 1))
    axes[1].legend(fontsize=7)
    figure.savefig(out / "confidence_collapse.png", dpi=110)
    (out / "confidence_collapse.json").write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
