"""Scenes to learn from: processes that render beside the training, and how many of them, where."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from worldline.errors import WorldlineError
from worldline.files import make_folder
from worldline.train.campaign.check import cores
from worldline.train.campaign.journal import Deadline
from worldline.train.campaign.options import Options
from worldline.train.campaign.processes import end
from worldline.train.catalog import NamedRecipe
from worldline.train.data import pool_files
from worldline.train.recipes import TrainRecipe
from worldline.train.tasks import task_of

log = logging.getLogger(__name__)

LEAST = {"views": 64, "stream": 16, "clip": 32}  # scenes, drives, clips with which a training may start
VALIDATION = {"views": 24, "stream": 12, "clip": 12}
DEVICE_SHARE = 0.25  # of the device's time that rendering may take while it trains
_WORTH = 0.1  # a device that adds less than this to what the cores render is left alone
_STEPS_WITHOUT_REPEATS = 2  # batches of the first stage that the pool should hold before the training starts
_SPARE_CORES = 3  # of eight or more: for the training and its feed
_DISK_SHARE = 0.6  # of the free disk that the pool may take
_SAY_SECONDS = 10.0


@dataclass(frozen=True)
class Need:
    """How many scenes are wanted."""

    least: int  # to start with
    wanted: int  # to start with, if they come soon enough
    validation: int


def need_of(recipe: TrainRecipe) -> Need:
    """Enough that the first steps see different scenes."""
    stage, least = recipe.stages[0], LEAST[recipe.kind]
    step = stage.views_per_step // (stage.views[0] * stage.cameras[0])
    return Need(least, max(least, _STEPS_WITHOUT_REPEATS * step), VALIDATION[recipe.kind])


class Producers:
    """The processes that render; all of them end with the block."""

    def __init__(self, recipe: TrainRecipe, gigabytes: float) -> None:
        self.recipe, self.logs = recipe, recipe.output / "producers"
        self._gigabytes = self._each = gigabytes
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def share_limit(self, count: int) -> None:
        """Let so many producers together keep the limit of the pool: each only counts what it writes itself."""
        assert self.recipe.pool is not None
        used = sum(path.stat().st_size for path in pool_files(self.recipe.pool)) / 1e9
        self._each = used + max(0.0, self._gigabytes - used) / count

    @property
    def alive(self) -> list[str]:
        """Names of those that still render."""
        return [name for name, process in self._running.items() if process.poll() is None]

    def start(self, name: str, pool: Path, options: Sequence[str]) -> None:
        """Start one; what it says goes to a file of its name."""
        recipe = self.recipe
        layouts = ",".join(f"{layout}={weight:g}" for layout, weight in recipe.layouts)
        command = [
            sys.executable, "-m", "worldline.train.campaign.producer", str(pool), "--layouts", layouts,
            "--max-gigabytes", f"{self._each:g}", *task_of(recipe).producer(recipe), *options,
        ]  # fmt: skip
        make_folder(self.logs)
        with (self.logs / f"{name}.log").open("ab") as said:
            self._running[name] = subprocess.Popen(
                command, stdout=said, stderr=said, env=os.environ | {"OMP_NUM_THREADS": "1"}
            )

    def stop(self, *names: str) -> None:
        """End some of them, by default all; waits until they are gone."""
        chosen = [self._running.pop(name) for name in names or tuple(self._running) if name in self._running]
        end(chosen)

    def last_words(self) -> str:
        """The last line that any of them wrote."""
        files = sorted(self.logs.glob("*.log"), key=lambda path: path.stat().st_mtime)
        lines = [line for path in files for line in path.read_text("utf-8", errors="replace").splitlines() if line]
        return lines[-1] if lines else "it said nothing"


def start_producers(producers: Producers, options: Options, found: dict[str, Any]) -> None:
    """Go on filling the training pool as an earlier call decided, or for the first time with everything there is.

    Args:
        found: result of the phase so far.
    """
    recipe = producers.recipe
    if recipe.pool is None:
        return
    on_cores = found.get("processes", default_processes()) if options.producers is None else options.producers
    producers.share_limit(on_cores + 1)
    share = found.get("device_share", 1.0 if recipe.device.startswith("cuda") and on_cores else 0.0)
    stride = on_cores + 1
    for number in range(on_cores):
        producers.start(f"train-{number}", recipe.pool, ["--stride", str(stride), "--start", str(number)])
    if share:
        start_on_device(producers, on_cores, share)


def start_on_device(producers: Producers, on_cores: int, share: float) -> None:
    """The producer that renders on the device that trains."""
    assert producers.recipe.pool is not None
    options = ["--stride", str(on_cores + 1), "--start", str(on_cores), "--share", f"{share:g}"]
    producers.start("train-device", producers.recipe.pool, [*options, "--device", producers.recipe.device])


def default_processes() -> int:
    """How many cores render: all but one, of many all but three."""
    count = cores()
    return max(1, count - (_SPARE_CORES if count >= 8 else 1))


def gigabytes_for(recipe: TrainRecipe, entry: NamedRecipe) -> float:
    """The pool stops growing here: what the recipe says, or what the disk has."""
    place = next(parent for parent in (recipe.output, *recipe.output.absolute().parents) if parent.exists())
    return round(min(entry.pool_gigabytes, _DISK_SHARE * shutil.disk_usage(place).free / 1e9), 2)


def fill(
    producers: Producers, entry: NamedRecipe, options: Options, deadline: Deadline, result: dict[str, Any]
) -> None:
    """Start rendering, wait until there is enough to start, and decide how it goes on beside the training.

    Args:
        result: gets ``processes``, ``device_share``, seconds per scene, and how many scenes there are.

    Raises:
        Paused: the slice is over.
        WorldlineError: the producers ended and there is not enough.
    """
    recipe = producers.recipe
    if recipe.pool is None or recipe.validation_pool is None:
        result |= {"pool": "none: scenes are rendered when a step asks for them", "processes": 0, "device_share": 0.0}
        return
    need, began = need_of(recipe), time.time()
    start_validation(producers, need)
    start_producers(producers, options, result)
    on_cores = sum(name.startswith("train-") and name != "train-device" for name in producers.alive)
    wait_for_scenes(producers, need, options, deadline)
    per_core, on_device = seconds_per_scene(recipe.pool, began, on_cores)
    share = choose_device_share(per_core, on_device, on_cores)
    producers.stop("train-device")
    result |= {
        "processes": on_cores,
        "device_share": share,
        "seconds_per_scene_and_core": per_core,
        "seconds_per_scene_on_device": on_device,
        "scenes_at_start": len(pool_files(recipe.pool)),
        "scenes_wanted": need.wanted,
        "validation_scenes": len(pool_files(recipe.validation_pool)),
        "max_gigabytes": gigabytes_for(recipe, entry),
        "scenes_per_minute": round(60 * rate(per_core, on_device, on_cores, share), 1),
    }
    if share:
        start_on_device(producers, on_cores, share)
    log.info("fill: %s", says(result))


def start_validation(producers: Producers, need: Need) -> None:
    """Render the validation scenes, always the same ones."""
    assert producers.recipe.validation_pool is not None
    count = min(need.validation, max(1, cores() // 2))
    for number in range(count):
        each = len(range(number, need.validation, count))
        options = ["--split", "validation", "--stride", str(count), "--start", str(number), "--count", str(each)]
        producers.start(f"validation-{number}", producers.recipe.validation_pool, options)


def wait_for_scenes(producers: Producers, need: Need, options: Options, deadline: Deadline) -> None:
    """Until there are as many as wanted, or for a while once there are enough."""
    pool, validation = producers.recipe.pool, producers.recipe.validation_pool
    assert pool is not None and validation is not None
    started, said = time.monotonic(), -_SAY_SECONDS
    while True:
        deadline.check()
        scenes, held_out = len(pool_files(pool)), len(pool_files(validation))
        spent = time.monotonic() - started
        validated = held_out >= need.validation or not any("validation" in name for name in producers.alive)
        enough = scenes >= need.least and validated and held_out > 0
        if enough and (scenes >= need.wanted or spent > options.fill_seconds or not producers.alive):
            return
        if not producers.alive:
            raise WorldlineError(
                f"Rendering ended with {scenes} training and {held_out} validation scenes: {producers.last_words()}",
                f"Look into {producers.logs}; more space for the pool, or --producers 1 or more, may help.",
            )
        if spent - said > _SAY_SECONDS:
            said = spent
            log.info(
                "fill: %d of %d scenes (%d suffice), %d of %d to validate", scenes, need.wanted, need.least, held_out,
                need.validation,
            )  # fmt: skip
        time.sleep(0.25)


def seconds_per_scene(pool: Path, began: float, on_cores: int) -> tuple[float | None, float | None]:
    """Time that one core and the device took per scene since ``began`` (clock time), from the files they wrote."""
    from worldline.worlds import TRAIN_SEEDS

    written: dict[int, list[float]] = {}
    for path in pool_files(pool):
        time_of_day = path.stat().st_mtime
        if time_of_day >= began:
            place = int(path.stem.rpartition("-")[2]) - TRAIN_SEEDS[0]
            written.setdefault(place % (on_cores + 1), []).append(time_of_day)
    spans = {who: (max(times) - min(times), len(times) - 1) for who, times in written.items()}
    device = spans.pop(on_cores, (0.0, 0))
    seconds, scenes = (sum(values) for values in zip(*spans.values(), strict=True)) if spans else (0.0, 0)
    return (
        round(seconds / scenes, 3) if scenes else None,
        round(device[0] / device[1], 3) if device[1] else None,
    )


def choose_device_share(per_core: float | None, on_device: float | None, on_cores: int) -> float:
    """The share of its time that the device renders beside the training: a quarter, or nothing if that adds little."""
    if on_device is None:
        return 0.0
    if per_core is None:
        return DEVICE_SHARE
    return DEVICE_SHARE if DEVICE_SHARE / max(on_device, 1e-6) >= _WORTH * on_cores / max(per_core, 1e-6) else 0.0


def rate(per_core: float | None, on_device: float | None, on_cores: int, share: float) -> float:
    """Scenes per second of all producers together."""
    return (on_cores / per_core if per_core else 0.0) + (share / on_device if on_device else 0.0)


def says(result: dict[str, Any]) -> str:
    """What was chosen, in one sentence."""
    core, device = result["seconds_per_scene_and_core"], result["seconds_per_scene_on_device"]
    measured = f"{core or '?'} s per scene and core" + (f", {device} s on the device" if device else "")
    shared = f"the device renders {result['device_share']:.0%} of the time" if result["device_share"] else (
        "the device only trains"
    )  # fmt: skip
    return (
        f"{result['scenes_at_start']} scenes to start with; {measured}: {result['processes']} processes render, "
        f"{shared}, {result['scenes_per_minute']:g} scenes a minute"
    )
