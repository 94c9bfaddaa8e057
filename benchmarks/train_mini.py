"""Train the shipped mvdust3r-plus-mini. Run the two producers of the pools first (see docs/training.md).

python benchmarks/train_mini.py --output runs/mini --pool runs/pool --validation-pool runs/validation --minutes 90
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import replace
from pathlib import Path

from worldline.train.loop import train
from worldline.train.recipes import mini_on_processor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--validation-pool", type=Path)
    parser.add_argument("--minutes", type=float, default=90.0)
    parser.add_argument("--export-to", type=Path, help="a second folder for the snapshots")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    recipe = mini_on_processor(options.output, options.pool, options.validation_pool, options.minutes)
    train(replace(recipe, device=options.device, export_to=options.export_to))


if __name__ == "__main__":
    main()
