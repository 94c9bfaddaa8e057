"""``worldline train mini -o RUN``: train the small model on procedural worlds; call again to go on after a stop."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

ENOUGH_SCENES = 64  # to start with; the pool grows while the model trains
VALIDATION_SCENES = 24


@dataclass(frozen=True)
class Mini:
    """Train mvdust3r-plus-mini from nothing, in stages, for a number of minutes."""

    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """Folder of the run: checkpoints, log.jsonl, export/. A run that is there already goes on."""
    minutes: float = 90.0
    """Training time; the learning rate ends at zero when it is over."""
    device: str = "cpu"
    """cpu or cuda."""
    pool: Path | None = None
    """Folder of rendered scenes; by default OUT/pool."""
    producers: int = 1
    """Background processes that render new scenes; 0 trains on what the pool holds."""
    max_gigabytes: float = 8.0
    """The pool stops growing here."""


def run(argv: list[str]) -> int:
    """Parse the arguments, start the producers, train, and say where the weights are."""
    arguments = tyro.extras.subcommand_cli_from_dict({"mini": Mini}, args=argv, prog="worldline train")
    import logging

    from worldline.cli.common import console
    from worldline.errors import InputError
    from worldline.pipeline import choose_device
    from worldline.train.data import pool_files
    from worldline.train.loop import train
    from worldline.train.recipes import mini_on_processor

    if arguments.minutes <= 0:
        raise InputError(f"{arguments.minutes} minutes are no training.", "Give a positive number of minutes.")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    device = choose_device(arguments.device)
    pool = arguments.pool or arguments.out / "pool"
    validation = arguments.out / "validation"
    with producing(pool, validation, arguments.producers, arguments.max_gigabytes):
        if arguments.producers:
            while len(pool_files(pool)) < ENOUGH_SCENES or len(pool_files(validation)) < VALIDATION_SCENES:
                time.sleep(0.5)
        recipe = mini_on_processor(
            arguments.out, pool, validation if pool_files(validation) else None, arguments.minutes
        )
        weights = train(replace(recipe, device=device, precision="auto"))
    console().print(f"weights: {weights}\nuse them: worldline reconstruct PHOTOS -o OUT --model {weights}")
    return 0


@contextmanager
def producing(pool: Path, validation: Path, producers: int, max_gigabytes: float) -> Iterator[None]:
    """Render scenes into both pools in the background for as long as the block runs."""
    render = [sys.executable, "-m", "worldline.train.data"]
    commands = [
        [*render, str(pool), "--start", str(k), "--stride", str(producers), "--max-gigabytes", str(max_gigabytes)]
        for k in range(producers)
    ]
    if producers:
        commands.append([*render, str(validation), "--split", "validation", "--count", str(VALIDATION_SCENES)])
    processes = [subprocess.Popen(command) for command in commands]
    try:
        yield
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
