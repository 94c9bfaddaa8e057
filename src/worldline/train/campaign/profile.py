"""Where the time of a step goes, stage by stage, and the search of batch sizes before it.

On a CUDA device both run in a process of their own: whatever happens there, the training starts on a clean device.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from worldline.errors import WorldlineError
from worldline.eval.report import table, write_text
from worldline.files import write_json
from worldline.train.campaign.check import GIB
from worldline.train.campaign.journal import Deadline, Journal, Paused
from worldline.train.campaign.options import Options, recipe_of, with_views
from worldline.train.campaign.processes import end, end_with_parent
from worldline.train.campaign.tuning import tune
from worldline.train.loop import Run
from worldline.train.profiling import profile_steps
from worldline.train.recipes import TrainRecipe

log = logging.getLogger(__name__)

PARTIAL = "profile.partial.json"
_SLACK_SECONDS = 180.0  # beyond the search of batch sizes: start, compilation, the steps that are measured
_RESERVE = 20.0  # seconds at the end of a slice
_SHOWN = (
    "s per step",
    "samples/s",
    "waiting share",
    "rendering share",
    "utilisation",
    "syncs per step",
    "GiB",
    "error",
)

Found = dict[str, Any]  # "tuning": see tune, or None; "stages": one record each; "done"


def measure(
    recipe: TrainRecipe, tune_seconds: float, steps: int, peak: float, check: Callable[[], object] = lambda: None,
    save: Callable[[Found], object] = lambda _: None,
) -> Found:  # fmt: skip
    """Search batch sizes, then profile every stage with them.

    Args:
        tune_seconds: of the search; 0: none.
        steps: that are profiled, of all stages together; 0: none.
        peak: operations per second that the device can do.
        check: called between stages; may raise.
        save: gets what is known so far.
    """
    found: Found = {"tuning": None, "stages": [], "done": False}
    if tune_seconds:
        found["tuning"] = tune(recipe, tune_seconds, lambda tuning: save(found | {"tuning": tuning}))
        recipe = replace(recipe, stages=with_views(recipe.stages, found["tuning"]["views_per_step"]))
    if not steps:
        save(found | {"done": True})
        return found | {"done": True}
    run, each = Run(recipe), max(1, steps // len(recipe.stages))
    for number, stage in enumerate(recipe.stages):
        check()
        row: dict[str, Any] = {"stage": number, "views_per_step": stage.views_per_step, "steps": each}
        try:
            row |= _stage(run, number, each, peak)
        except (RuntimeError, WorldlineError) as error:  # one stage that does not run must not hide the others
            row["error"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
        found["stages"].append(row)
        log.info("profile: stage %d: %s", number, ", ".join(f"{key} {row[key]}" for key in _SHOWN if key in row))
        save(found)
    found["done"] = True
    save(found)
    return found


def _stage(run: Run, number: int, steps: int, peak: float) -> dict[str, Any]:
    found = profile_steps(run, steps, number, peak)
    whole = max(sum(found.parts.values()), 1e-9)
    row = {
        "s per step": found.seconds,
        "samples/s": found.samples_per_second,
        **{f"s {name}": value for name, value in found.parts.items()},
        "s rendering": found.rendering,
        "s drafting, one core": found.draft_seconds,
        "waiting share": found.waiting_share,
        "developing share": (found.parts["moving"] + found.parts["developing"]) / whole,
        "rendering share": found.rendering / whole,
        "TFLOP/s": found.flops_per_second / 1e12,
        "utilisation": found.share_of_peak,
        "syncs per step": found.syncs_per_step,
        "operations per step": found.operations_per_step,
        "GiB": found.memory_bytes / GIB,
    }
    short = {name: float(f"{value:.4g}") for name, value in row.items() if value is not None}
    return short | {"sync lines": found.sync_lines}


def measure_apart(
    options: Options, device: str, tune_seconds: float, steps: int, peak: float, deadline: Deadline
) -> Found:
    """As :func:`measure` for the campaign of these options, in a process of its own.

    Returns:
        What it had found when it ended or was ended.

    Raises:
        Paused: the slice is over.
    """
    job = {"model": options.model, "output": str(options.output), "device": device, "tune_seconds": tune_seconds,
           "steps": steps, "peak": peak}  # fmt: skip
    path = options.output / PARTIAL
    path.unlink(missing_ok=True)
    process = subprocess.Popen([sys.executable, "-m", "worldline.train.campaign.profile", json.dumps(job)])
    ends = time.monotonic() + 2 * tune_seconds + _SLACK_SECONDS
    try:
        while process.poll() is None and time.monotonic() < ends and not deadline.over(_RESERVE):
            time.sleep(0.1)
        status = process.poll()
    finally:
        end([process])
    found: Found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"tuning": None, "stages": []}
    if status is None and deadline.over(_RESERVE) and not found["stages"]:
        raise Paused
    if not found.get("done"):
        why = "took too long" if status is None else f"ended with status {status}"
        found["error"] = f"The process that measured {why}."
    return found


def write_profile(folder: Path, found: Found) -> None:
    """``profile.json`` and ``profile.md``."""
    write_json(folder / "profile.json", found)
    rows: Sequence[dict[str, Any]] = found["stages"]
    columns = [key for key in dict.fromkeys(key for row in rows for key in row) if key != "sync lines"]
    # many columns, few stages: the table stands on its side
    sides = [
        {"": column, **{f"stage {row['stage']}": row.get(column) for row in rows}}
        for column in columns
        if column != "stage"
    ]
    parts = ["# Profile", "Where the time of a step goes, per stage of the recipe."]
    parts += [table(sides, list(sides[0]))] if sides else []
    waits = [{"stage": row["stage"], "line": line, "per step": count}
             for row in rows for line, count in row.get("sync lines", {}).items()]  # fmt: skip
    if waits:
        parts += ["Where the host waits for the device:", table(waits, list(waits[0]))]
    if found.get("tuning"):
        tried = found["tuning"]["tried"]
        names = list(dict.fromkeys(key for row in tried for key in row))
        parts += ["Batch sizes that were tried (views per step):", table(tried, names)]
    if "error" in found:
        parts.append(found["error"])
    write_text(folder / "profile.md", "\n\n".join(parts) + "\n")


def main(job: dict[str, Any]) -> None:
    """The process of :func:`measure_apart`."""
    end_with_parent()
    options = Options(job["model"], Path(job["output"]))
    recipe = recipe_of(options, Journal(options.output), job["device"], tuned=False)
    measure(
        recipe, job["tune_seconds"], job["steps"], job["peak"],
        save=lambda found: write_json(options.output / PARTIAL, found),
    )  # fmt: skip


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stdout)
    main(json.loads(sys.argv[1]))
