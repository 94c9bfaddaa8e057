"""How large the batches of every stage should be on this device. The network that is used for it is thrown away."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable
from typing import Any

import torch

from worldline.errors import WorldlineError
from worldline.train.campaign.check import available_memory, synchronize, total_memory
from worldline.train.feed import Request
from worldline.train.loop import Run
from worldline.train.recipes import Stage, TrainRecipe

log = logging.getLogger(__name__)

GAIN = 1.1  # a doubled batch must see so many times more samples per second
MEMORY_SHARE = 0.8  # of the device's memory that a step may take
LEAST_STEPS = 2000  # that a run of this length must have: larger batches are not worth fewer steps
_TIMED = 3  # steps per batch size, after one that warms up

Save = Callable[[dict[str, Any]], object]


def tune(recipe: TrainRecipe, seconds: float, save: Save = lambda _: None) -> dict[str, Any]:
    """Batch sizes of all stages: doubled while that sees more samples per second, halved where they do not fit.

    Args:
        seconds: that the search may take, an equal part for every stage; the first step of a stage, in which kernels
            are compiled, does not count, because the training needs them as well.
        save: gets what is known after every stage.

    Returns:
        ``views_per_step`` per stage, and in ``tried`` every batch size with what it gave.
    """
    run = Run(recipe)
    result: dict[str, Any] = {"views_per_step": [stage.views_per_step for stage in recipe.stages], "tried": []}
    for number, stage in enumerate(recipe.stages):
        started, before = time.monotonic(), len(result["tried"])
        result["views_per_step"][number] = _tune_stage(
            run, number, stage, seconds / len(recipe.stages), result["tried"]
        )
        spent = time.monotonic() - started
        log.info(
            "profile: stage %d: %d views a step, %d batch sizes tried in %.0f s", number,
            result["views_per_step"][number], len(result["tried"]) - before, spent,
        )  # fmt: skip
        save(result)
    return result


def _tune_stage(run: Run, number: int, stage: Stage, seconds: float, tried: list[dict[str, Any]]) -> int:
    """The batch size of a stage, in views per step."""
    views, best, most = stage.views_per_step, 0.0, stage.views_per_step
    smallest, ends = stage.views[1] * stage.cameras[1], None
    while True:
        row: dict[str, Any] = {"stage": number, "views_per_step": views}
        tried.append(row)
        figures, reason = _try(run, stage, views)
        ends = ends or time.monotonic() + seconds
        if figures is None:
            row["result"] = reason
            if best or views // 2 < smallest:
                return most
            views = most = views // 2
            continue
        row |= figures
        if figures["samples_per_second"] <= best * GAIN:
            row["result"] = f"less than {GAIN - 1:.0%} more samples/s"
            return most
        best, most, row["result"] = figures["samples_per_second"], views, "taken"
        reason = _enough(run.recipe, figures, ends)
        if reason is not None:
            row["result"] += f"; not doubled: {reason}"
            return most
        views *= 2


def _enough(recipe: TrainRecipe, figures: dict[str, float], ends: float) -> str | None:
    """Why a batch is not doubled any more."""
    if 2 * figures["memory_share"] > MEMORY_SHARE:
        return "twice as much would pass the limit of the memory"
    if recipe.minutes is not None and recipe.minutes * 60 / (2 * figures["seconds_per_step"]) < LEAST_STEPS:
        return f"the run would have fewer than {LEAST_STEPS} steps"
    return "time over" if time.monotonic() >= ends else None


def _try(run: Run, stage: Stage, views: int) -> tuple[dict[str, float] | None, str | None]:
    """Figures of a batch size, or why there are none."""
    device = run.fabric.device
    request = largest_request(run, stage, views)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    seconds = []
    try:
        request.drafts(run.task, run.source, run.recipe, 0)  # the first time files are looked for and read
        started = time.perf_counter()
        drafts = request.drafts(run.task, run.source, run.recipe, 0)
        drafting = time.perf_counter() - started
        batches = [draft.to(device).develop() for draft in drafts]
        for _ in range(_TIMED + 1):
            started = time.perf_counter()
            run.train_step(batches, stage)
            synchronize(device)
            seconds.append(time.perf_counter() - started)
    except (RuntimeError, WorldlineError) as error:  # out of memory, or more than some kernel can do
        batches = []
        run.optimizer.zero_grad(set_to_none=True)
        gc.collect()
        return None, f"does not run: {type(error).__name__}: {str(error).splitlines()[0][:120]}"
    middle = sorted(seconds[1:])[_TIMED // 2]
    samples = request.scenes * request.accumulate
    fed = samples * run.recipe.workers / max(drafting, 1e-6)
    return {
        "seconds_per_step": round(middle, 4),
        "samples_per_second": round(min(samples / middle, fed), 2),
        "fed_per_second": round(fed, 1),  # what all workers of the feed could prepare at best
        "memory_share": round(_memory_share(device), 3),
    }, None


def largest_request(run: Run, stage: Stage, views_per_step: int) -> Request:
    """The heaviest step of a stage with another batch size."""
    views, sensors = stage.views[1], stage.cameras[1]
    scenes = max(1, views_per_step // (views * sensors))
    accumulate = run.recipe.accumulate
    return Request(run.progress.step, stage, views, max(stage.sizes), sensors, scenes, accumulate, devices=1)


def _memory_share(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / torch.cuda.mem_get_info(device)[1]
    return 1 - available_memory() / total_memory()
