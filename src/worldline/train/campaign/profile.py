"""Before minutes are spent: how large the batches of every stage should be, and where the time of a step goes.

Both run on a network that is thrown away, so that the training that follows is a pure function of its recipe.
"""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from worldline.errors import WorldlineError
from worldline.eval.report import table, write_text
from worldline.files import write_json
from worldline.train.campaign.check import GIB, available_memory, synchronize, total_memory
from worldline.train.campaign.journal import Deadline
from worldline.train.campaign.options import with_views
from worldline.train.feed import Request
from worldline.train.loop import Run
from worldline.train.profiling import profile_steps
from worldline.train.recipes import Stage, TrainRecipe

log = logging.getLogger(__name__)

GAIN = 1.1  # a doubled batch must see so many times more samples per second
MEMORY_SHARE = 0.8  # of the device's memory that a step may take
LEAST_STEPS = 2000  # that a run of this length must have: larger batches are not worth fewer steps
_TIMED = 3  # steps per batch size, after one that warms up


def largest_request(run: Run, stage: Stage, views_per_step: int) -> Request:
    """The heaviest step of a stage with another batch size."""
    views, sensors = stage.views[1], stage.cameras[1]
    scenes = max(1, views_per_step // (views * sensors))
    accumulate = run.recipe.accumulate
    return Request(run.progress.step, stage, views, max(stage.sizes), sensors, scenes, accumulate, devices=1)


def prepared(run: Run, request: Request) -> list[Any]:
    """The batches of a request on the device of the run."""
    device = run.fabric.device
    return [draft.to(device).develop() for draft in request.drafts(run.task, run.source, run.recipe, 0)]


# ---- batch sizes


def tune(recipe: TrainRecipe, seconds: float, deadline: Deadline) -> dict[str, Any]:
    """Batch sizes of all stages: doubled while that sees more samples per second, halved where they do not fit.

    Args:
        seconds: that the search may take; stages it does not reach keep what the recipe says.

    Returns:
        ``views_per_step`` per stage, and in ``tried`` every batch size with what it gave.
    """
    ends, run = time.monotonic() + seconds, Run(recipe)
    tried: list[dict[str, Any]] = []
    found = [stage.views_per_step for stage in recipe.stages]
    for number, stage in enumerate(recipe.stages):
        if time.monotonic() >= ends or deadline.over():
            tried.append({"stage": number, "views_per_step": found[number], "result": "not tried: time over"})
            continue
        found[number] = _tune_stage(run, number, stage, ends, tried)
    _free(run)
    return {"views_per_step": found, "tried": tried}


def _tune_stage(run: Run, number: int, stage: Stage, ends: float, tried: list[dict[str, Any]]) -> int:
    views, best, most = stage.views_per_step, 0.0, stage.views_per_step
    while True:
        row: dict[str, Any] = {"stage": number, "views_per_step": views}
        tried.append(row)
        figures = _try(run, stage, views)
        if figures is None:
            row["result"] = "does not fit"
            smallest = stage.views[1] * stage.cameras[1]
            if best or views // 2 < smallest:
                return most
            views = most = views // 2
            continue
        row |= figures
        log.info(
            "profile: stage %d, %d views a step: %.1f samples/s, %.0f %% of the memory", number, views,
            figures["samples_per_second"], 100 * figures["memory_share"],
        )  # fmt: skip
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


def _try(run: Run, stage: Stage, views: int) -> dict[str, float] | None:
    """Figures of a batch size; None where it does not fit into the memory."""
    device = run.fabric.device
    request = largest_request(run, stage, views)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    try:
        batches = prepared(run, request)
        seconds = []
        for _ in range(_TIMED + 1):
            started = time.perf_counter()
            run.train_step(batches, stage)
            synchronize(device)
            seconds.append(time.perf_counter() - started)
    except torch.OutOfMemoryError:
        run.optimizer.zero_grad(set_to_none=True)
        gc.collect()
        torch.cuda.empty_cache()
        return None
    middle = sorted(seconds[1:])[_TIMED // 2]
    samples = request.scenes * request.accumulate
    return {
        "seconds_per_step": round(middle, 4),
        "samples_per_second": round(samples / middle, 2),
        "memory_share": round(_memory_share(device), 3),
    }


def _memory_share(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / torch.cuda.mem_get_info(device)[1]
    return 1 - available_memory() / total_memory()


# ---- where the time goes


def profile(recipe: TrainRecipe, steps: int, peak: float, deadline: Deadline) -> list[dict[str, Any]]:
    """Where the time of a step goes, per stage.

    Args:
        steps: of all stages together.
        peak: operations per second that the device can do.

    Returns:
        One record per stage: seconds per step by part, samples and operations per second, share of the peak, how often
        the host waits for the device, peak memory. A stage that fails has an ``error`` instead.
    """
    run, rows = Run(recipe), list[dict[str, Any]]()
    each = max(1, steps // len(recipe.stages))
    for number, stage in enumerate(recipe.stages):
        deadline.check()
        row: dict[str, Any] = {"stage": number, "views_per_step": stage.views_per_step, "steps": each}
        try:
            row |= _profile_stage(run, number, each, peak)
        except (RuntimeError, WorldlineError) as error:  # one stage that does not run must not hide the others
            row["error"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        rows.append(row)
        shown = ("s per step", "samples/s", "waiting share", "utilisation", "syncs per step", "GiB", "error")
        log.info("profile: stage %d: %s", number, ", ".join(f"{key} {row[key]}" for key in shown if key in row))
    _free(run)
    return rows


def _profile_stage(run: Run, number: int, steps: int, peak: float) -> dict[str, Any]:
    found = profile_steps(run, steps, number, peak)
    seconds = {f"s {name}": value for name, value in found.parts.items()}
    drawing = sum(found.parts[name] for name in ("moving", "developing")) / max(sum(found.parts.values()), 1e-9)
    row = {
        "s per step": found.seconds, "samples/s": found.samples_per_second, **seconds, "s rendering": found.rendering,
        "s drafting, one thread": found.draft_seconds, "waiting share": found.waiting_share,
        "developing share": drawing, "rendering share": found.rendering / found.seconds,
        "TFLOP/s": found.flops_per_second / 1e12, "utilisation": found.share_of_peak,
        "syncs per step": found.syncs_per_step, "operations per step": found.operations_per_step,
        "GiB": found.memory_bytes / GIB,
    }  # fmt: skip
    return {name: _rounded(value) for name, value in row.items()} | {"sync lines": found.sync_lines}


def write_profile(folder: Path, rows: Sequence[dict[str, Any]], tuning: dict[str, Any] | None) -> None:
    """``profile.json`` and ``profile.md``."""
    write_json(folder / "profile.json", {"stages": list(rows), "batch_sizes": tuning})
    columns = list(dict.fromkeys(key for row in rows for key in row if not isinstance(row[key], dict | list)))
    parts = ["# Profile", "Where the time of a step goes, per stage of the recipe.", table(rows, columns)]
    if tuning is not None:
        names = list(dict.fromkeys(key for row in tuning["tried"] for key in row))
        parts += ["Batch sizes that were tried (views per step):", table(tuning["tried"], names)]
    write_text(folder / "profile.md", "\n\n".join(parts) + "\n")


def tuned(recipe: TrainRecipe, tuning: dict[str, Any] | None) -> TrainRecipe:
    """The recipe with the batch sizes that were found."""
    return recipe if tuning is None else replace(recipe, stages=with_views(recipe.stages, tuning["views_per_step"]))


def _free(run: Run) -> None:
    run.optimizer.zero_grad(set_to_none=True)
    gc.collect()
    if run.fabric.device.type == "cuda":
        torch.cuda.empty_cache()


def _rounded(value: Any) -> Any:
    return float(f"{value:.5g}") if isinstance(value, float) else value
