"""One process that renders into a pool at a set pace: ``python -m worldline.train.campaign.producer POOL …``.

As ``python -m worldline.train.data``, and besides: it may rest between scenes, so that the device it renders on stays
free for the training, and it ends when the process that started it does.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

_NICE = 10  # the training and what feeds it go first


def paced(seeds: Iterable[int], share: float, parent: int) -> Iterator[int]:
    """The seeds, with rests between them so that work takes that share of the time; none once the parent is gone."""
    started = time.monotonic()
    for seed in seeds:
        if os.getppid() != parent:
            return
        yield seed
        time.sleep((time.monotonic() - started) * (1 / share - 1))
        started = time.monotonic()


def main(arguments: Sequence[str] | None = None) -> None:
    """Render until the pool is full or somebody ends the process."""
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    parser = argparse.ArgumentParser(description="Render procedural scenes into a training pool at a set pace.")
    parser.add_argument("pool", type=Path)
    parser.add_argument("--split", choices=("train", "validation"), default="train")
    parser.add_argument("--layouts", required=True)
    parser.add_argument("--start", type=int, default=0)
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--count", type=int)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--rig", action="store_true")
    parser.add_argument("--clips", action="store_true")
    parser.add_argument("--max-gigabytes", type=float, default=10.0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--share", type=float, default=1.0, help="of the time that is spent rendering, above 0")
    options = parser.parse_args(arguments)
    if hasattr(os, "nice"):
        os.nice(_NICE)
    import torch

    from worldline import worlds
    from worldline.train.produce import parse_layouts, produce

    torch.set_num_threads(1)
    seeds = worlds.TRAIN_SEEDS if options.split == "train" else worlds.VALIDATION_SEEDS
    produce(
        options.pool,
        paced(seeds[options.start :: options.stride][: options.count], options.share, parent),
        layouts=parse_layouts(options.layouts),
        views=options.views,
        size=options.size,
        max_gigabytes=options.max_gigabytes,
        device=options.device,
        rig=options.rig,
        clips=options.clips,
    )


if __name__ == "__main__":
    main()
