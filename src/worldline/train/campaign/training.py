"""The training of a campaign, in parts: each ends with a checkpoint and an export, the next goes on exactly."""

from __future__ import annotations

import gc
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from typing import Any

import torch

from worldline.errors import InputError
from worldline.train.campaign.journal import Deadline, Paused, now
from worldline.train.loop import Run, check_folder
from worldline.train.recipes import TrainRecipe
from worldline.train.schedule import Progress
from worldline.train.state import CHECKPOINT

log = logging.getLogger(__name__)

_LOOK_SECONDS, _SAY_SECONDS = 1.0, 15.0
_RESERVE = (0.08, 10.0, 45.0)  # share of a slice, least and most seconds kept for checkpoint, export and results


def reserve_of(slice_seconds: float | None) -> float:
    """Seconds at the end of a slice in which nothing is trained."""
    share, least, most = _RESERVE
    return 0.0 if slice_seconds is None else min(most, max(least, share * slice_seconds), slice_seconds / 2)


def train_part(recipe: TrainRecipe, deadline: Deadline, reserve: float, result: dict[str, Any]) -> None:
    """Train until the end of the recipe or of the slice.

    Args:
        reserve: seconds before the end of the slice at which the training stops.
        result: gets one more of ``parts``, and where the run stands.

    Raises:
        Paused: the slice is over before the recipe; a checkpoint and an export are there.
        WorldlineError: see :func:`worldline.train.loop.train`.
    """
    resume = (recipe.output / CHECKPOINT).exists()
    if resume and result.get("finished"):
        return
    if not resume and any(part["to_step"] for part in result.get("parts", ())):
        raise InputError(
            f"The checkpoint of the training in {recipe.output} is gone.",
            "Start another campaign from its weights: --init RUN/export -o ANOTHER.",
        )
    check_folder(recipe, resume)
    run = Run(recipe)
    if resume:
        run.resume()
    before, started, began = replace(run.progress), time.monotonic(), now()
    log.info("train: %s", position(run))
    try:
        with ending(run, deadline, reserve):
            run.loop()
        run.finish()
    finally:
        part = {
            "start": began, "end": now(), "seconds": round(time.monotonic() - started, 1),
            "from_step": before.step, "to_step": run.progress.step, "samples": run.progress.samples - before.samples,
            "training_seconds": round(run.progress.seconds - before.seconds, 1), "device": recipe.device,
        }  # fmt: skip
        result.setdefault("parts", []).append(part)
        result |= {"progress": asdict(run.progress), "share": round(run.share, 4), "validation": run.metrics}
        log.info("train: %s", position(run))
        share = run.share
        del run
        gc.collect()
        if torch.device(recipe.device).type == "cuda":
            torch.cuda.empty_cache()
    if share < 1:
        raise Paused
    result["finished"] = True


@contextmanager
def ending(run: Run, deadline: Deadline, reserve: float) -> Iterator[None]:
    """Let a run stop after the step in which its time ends, or somebody asks for it; say now and then where it is."""
    over = threading.Event()

    def watch() -> None:
        said = time.monotonic()
        while not over.wait(min(_LOOK_SECONDS, max(0.01, deadline.left - reserve))):
            if deadline.over(reserve):
                run.stop()
                return
            if time.monotonic() - said > _SAY_SECONDS:
                said = time.monotonic()
                record = last_record(run.recipe)
                figures = ("loss", "error", "samples_per_second", "waiting_for_data")
                log.info(
                    "train: %s; %s", position(run),
                    ", ".join(f"{name} {record[name]}" for name in figures if record.get(name) is not None),
                )  # fmt: skip

    watcher = threading.Thread(target=watch, daemon=True, name="campaign")
    deadline.on_stop = run.stop
    if deadline.over(reserve):
        run.stop()
    watcher.start()
    try:
        yield
    finally:
        deadline.on_stop = None
        over.set()
        watcher.join()


def position(run: Run) -> str:
    """Where a run stands, in words."""
    progress: Progress = run.progress
    return (
        f"{run.share:.1%} done, step {progress.step}, {progress.samples} samples, {progress.seconds / 60:.1f} minutes"
    )


def last_record(recipe: TrainRecipe) -> dict[str, Any]:
    """The newest record of the log; empty where there is none."""
    path = recipe.output / "log.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    try:
        return dict(json.loads(lines[-1])) if lines else {}
    except ValueError:
        return {}
