"""``worldline train mini -o RUN``: train a named recipe on procedural worlds; ``--resume`` goes on after a stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from worldline.train.catalog import NamedRecipe
    from worldline.train.plan import RunPlan
    from worldline.train.recipes import TrainRecipe

ENOUGH_SCENES = 64  # to start with; the pool grows while the model trains
VALIDATION_SCENES = 24
ENOUGH_DRIVES, VALIDATION_DRIVES = 16, 12
ENOUGH_CLIPS, VALIDATION_CLIPS = 32, 12


@dataclass(frozen=True)
class Train:
    """Options of the verb."""

    recipe: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RECIPE")]
    """A name of the list above."""
    out: Annotated[Path | None, tyro.conf.arg(aliases=["-o"])] = None
    """Folder of the run: checkpoint, log.jsonl, tensorboard/, export/, rendered scenes. Only --dry-run needs none."""
    resume: bool = False
    """Go on with the run in OUT, exactly where its last checkpoint left it."""
    minutes: float | None = None
    """Length in minutes of training; the schedule always ends when they are over. Default: the recipe's length."""
    samples: int | None = None
    """Length in scenes seen, instead of minutes."""
    steps: int | None = None
    """Length in optimiser steps, instead of minutes."""
    device: str | None = None
    """cpu, cuda, mps or auto. Default: the recipe's."""
    strategy: Literal["auto", "single", "ddp", "fsdp"] = "auto"
    """Several GPUs: ddp copies the network to each, fsdp spreads it; both start with torchrun."""
    precision: Literal["auto", "float32", "bfloat16"] | None = None
    """auto: bfloat16 on CUDA, float32 elsewhere."""
    compile: bool = False
    """torch.compile the transformer blocks: a minute at the start, faster steps."""
    init: str | None = None
    """Start from these weights (an id, a folder or a file); "none" starts from nothing."""
    layouts: str | None = None
    """Kinds of worlds with weights, like rooms=2,objects=1. Default: the recipe's."""
    corrupt: str | None = None
    """Stream recipes: errors of the depth that is learned from, like bias=0.1,holes=0.2. Default: none, exact depth."""
    data: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """D4RT recipes: recorded clips beside the rendered ones, as KIND:FOLDER or KIND:FOLDER=WEIGHT; may be repeated.
    Rendered clips have the weight 1, worlds=0 leaves them out. docs/video_data.md lists the kinds."""
    pool: str | None = None
    """Folder of rendered scenes; "none" renders every scene when it is needed. Default: OUT/pool, where recipes
    have one."""
    producers: int | None = None
    """Background processes that render into the pool; 0 trains on what it holds."""
    render_device: str = "cpu"
    """Where producers render: cpu or cuda."""
    max_gigabytes: float | None = None
    """The pool stops growing here. Default: the recipe's, 8 or 40."""
    workers: int | None = None
    """Threads that prepare batches."""
    seed: int | None = None
    """Of the start and of the order of the scenes."""
    dry_run: bool = False
    """Only print shapes, parameters, memory per GPU and the schedule. Nothing is read or written."""
    devices: int | None = None
    """GPUs for --dry-run. Default: what the recipe was written for."""


def run(argv: list[str]) -> int:
    """Parse the arguments, start the producers, train, and say where the weights are."""
    import logging

    from worldline.cli.common import console
    from worldline.train.catalog import RECIPES, find_recipe

    names = "\n".join(f"  {name}: {entry.says}" for name, entry in RECIPES.items())
    arguments = tyro.cli(
        Train,
        args=argv,
        prog="worldline train",
        description=f"Train a named recipe; Ctrl-C stops with a checkpoint.\n\n{names}\n\nSeveral GPUs: "
        "torchrun --nproc-per-node 8 -m worldline train RECIPE -o RUN",
        config=(tyro.conf.FlagCreatePairsOff,),
    )
    entry = find_recipe(arguments.recipe)
    recipe = recipe_of(arguments, entry)
    check_use(arguments, recipe)
    if arguments.dry_run:
        print_plan(arguments, entry, recipe)
        return 0
    from worldline.train.loop import check_folder, train

    first = int(os.environ.get("RANK", 0)) == 0
    logging.basicConfig(level=logging.INFO if first else logging.WARNING, format="%(asctime)s %(message)s")
    check_folder(recipe, arguments.resume)
    producers = entry.producers if arguments.producers is None else arguments.producers
    limit = entry.pool_gigabytes if arguments.max_gigabytes is None else arguments.max_gigabytes
    with producing(arguments, recipe, producers if recipe.pool is not None else 0, limit, first) as recipe:
        weights = train(recipe, arguments.resume)
    if first:
        use = {"stream": "stream LOG", "clip": "track VIDEO"}.get(recipe.kind, "reconstruct PHOTOS")
        console().print(f"weights: {weights}\nuse them: worldline {use} -o OUT --model {weights}")
    return 0


def recipe_of(arguments: Train, entry: NamedRecipe) -> TrainRecipe:
    """The named recipe with the options of the command line."""
    from worldline.errors import InputError
    from worldline.pipeline import choose_device
    from worldline.train.produce import parse_layouts

    if arguments.out is None and not arguments.dry_run:
        raise InputError("A training needs a folder.", "Name it: -o RUN; or ask for --dry-run, which writes nothing.")
    recipe = entry.build(arguments.out or Path("RUN"))
    names = ("minutes", "samples", "steps")
    lengths = {name: getattr(arguments, name) for name in names}
    if len([value for value in lengths.values() if value is not None]) > 1:
        raise InputError("The length was given twice.", "Give one of --minutes, --samples and --steps.")
    changes: dict[str, Any] = lengths if any(value is not None for value in lengths.values()) else {}
    changes |= {"strategy": arguments.strategy, "compile": arguments.compile}
    changes |= {
        name: value for name in ("precision", "workers", "seed") if (value := getattr(arguments, name)) is not None
    }
    if arguments.layouts is not None:
        changes["layouts"] = parse_layouts(arguments.layouts)
    if arguments.init is not None:
        changes["init"] = None if arguments.init == "none" else arguments.init
    if arguments.corrupt is not None:
        if recipe.kind != "stream":
            raise InputError("--corrupt is for stream recipes.", "Leave it away, or take a recipe like driv3r-mini.")
        changes["corrupt"] = arguments.corrupt
    if arguments.data:
        changes |= mixed(arguments, recipe)
    if arguments.pool is not None:
        changes["pool"] = None if arguments.pool == "none" else Path(arguments.pool)
    if not arguments.dry_run:
        changes["device"] = choose_device(arguments.device or recipe.device)
        changes.setdefault("layouts", offered(recipe))
    return replace(recipe, **changes)


def mixed(arguments: Train, recipe: TrainRecipe) -> dict[str, Any]:
    """Changes of a recipe that learns from recorded clips, too; without rendered ones it needs no pool."""
    from worldline.errors import InputError
    from worldline.train.clips.mixture import open_recorded, parse_data, worlds_weight
    from worldline.train.clips.recipe import ClipRecipe

    if not isinstance(recipe, ClipRecipe):
        raise InputError("--data is for D4RT recipes.", "Leave it away, or take a recipe like d4rt-mini.")
    parts = parse_data(arguments.data)
    if not arguments.dry_run:  # before anything is rendered
        open_recorded(parts, recipe.scene_views, recipe.largest_stride)
    return {"data": parts} | ({} if worlds_weight(parts) else {"pool": None, "validation_pool": None})


def check_use(arguments: Train, recipe: TrainRecipe) -> None:
    """Options about producers and devices: in their range, and only where they change something."""
    from worldline.errors import InputError
    from worldline.worlds.sampling import canonical_device

    if arguments.devices is not None and not arguments.dry_run:
        raise InputError("--devices is for --dry-run only.", "Training takes the number of processes from torchrun.")
    if (arguments.producers or 0) < 0:
        raise InputError(f"--producers is {arguments.producers}.", "It must be 0 or more.")
    if arguments.max_gigabytes is not None and not arguments.max_gigabytes > 0:
        raise InputError(f"--max-gigabytes is {arguments.max_gigabytes:g}.", "It must be above 0.")
    unused = recipe.pool is None or recipe.validation_pool is None
    if unused and (arguments.producers or arguments.max_gigabytes is not None):
        raise InputError(
            "Nothing renders into a pool in this training: --producers and --max-gigabytes change nothing.",
            "Leave them away, or take a recipe that fills a pool, like mini.",
        )
    if not arguments.dry_run:
        canonical_device(arguments.render_device)


@contextmanager
def producing(
    arguments: Train, recipe: TrainRecipe, producers: int, gigabytes: float, first: bool
) -> Iterator[TrainRecipe]:
    """Render into both pools in the background for as long as the block runs; wait until there is enough to start.

    Yields the recipe, without validation where its pool has no scenes.
    """
    from worldline.train.data import pool_files
    from worldline.train.tasks import task_of

    pool, validation = recipe.pool, recipe.validation_pool
    processes: list[subprocess.Popen[bytes]] = []
    if pool is not None and validation is not None and producers and first:
        render = [sys.executable, "-m", "worldline.train.data"]
        options = ["--layouts", ",".join(f"{name}={weight}" for name, weight in recipe.layouts)]
        options += ["--device", arguments.render_device, *task_of(recipe).producer(recipe)]
        limit = ["--max-gigabytes", str(gigabytes), "--stride", str(producers)]
        commands = [[*render, str(pool), *options, *limit, "--start", str(k)] for k in range(producers)]
        split = ["--split", "validation", "--count", str(enough_to_validate(recipe))]
        commands.append([*render, str(validation), *options, *split])
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # end the producers, too
        processes = [subprocess.Popen(command) for command in commands]
    try:
        while producers and pool is not None and validation is not None:
            if len(pool_files(pool)) >= enough_to_start(recipe) and len(pool_files(validation)) >= enough_to_validate(
                recipe
            ):
                break
            if processes and all(process.poll() is not None for process in processes):
                break  # the pool is at its limit, or rendering failed; what is there decides
            time.sleep(0.5)
        no_scenes = pool is not None and (validation is None or not pool_files(validation))
        yield replace(recipe, validation_pool=None) if no_scenes else recipe
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def enough_to_start(recipe: TrainRecipe) -> int:
    """Scenes, drives or clips in the pool when the training starts; it grows meanwhile."""
    return {"stream": ENOUGH_DRIVES, "clip": ENOUGH_CLIPS}.get(recipe.kind, ENOUGH_SCENES)


def enough_to_validate(recipe: TrainRecipe) -> int:
    """Scenes, drives or clips in the validation pool."""
    return {"stream": VALIDATION_DRIVES, "clip": VALIDATION_CLIPS}.get(recipe.kind, VALIDATION_SCENES)


def offered(recipe: TrainRecipe) -> tuple[tuple[str, float], ...]:
    """The layouts of a recipe that this version has."""
    from worldline.worlds import LAYOUTS

    return tuple((name, weight) for name, weight in recipe.layouts if name in LAYOUTS)


def print_plan(arguments: Train, entry: NamedRecipe, recipe: TrainRecipe) -> None:
    """Everything that can be known without running."""
    from worldline.cli.common import check_positive, console
    from worldline.train.plan import GIB, plan_run

    devices = entry.devices if arguments.devices is None else arguments.devices
    check_positive(devices=devices)
    out, plan = console(), plan_run(recipe, devices, sharded=arguments.strategy == "fsdp")
    kind = "sharded (fsdp)" if plan.sharded else "copied to each (ddp)" if devices > 1 else "on one device"
    out.print(f"{arguments.recipe}: {plan.parameters:,} parameters, {devices} device(s), {kind}")
    if recipe.init is not None:
        out.print(f"starts from {recipe.init}")
    out.print(_length(plan))
    for number, stage in enumerate(plan.stages):
        out.print(
            f"stage {number}, until {stage.stage.until:.0%}: {stage.stage.says()}, images {list(stage.images)} -> "
            f"points {list(stage.points)}"
        )
        out.print(
            f"  per device: {stage.activation_bytes / GIB:.1f} GiB of activations, "
            f"{stage.flops / 1e12:.2f} TFLOP a step"
        )
    parts = ", ".join(f"{name} {size / GIB:.2f}" for name, size in plan.memory.items() if size)
    out.print(f"memory per device, GiB: {parts}; together {plan.total_bytes / GIB:.2f}")


def _length(plan: RunPlan) -> str:
    recipe = plan.recipe
    lengths = {"minutes": recipe.minutes, "samples": recipe.samples, "steps": recipe.steps}
    text = " ".join(f"{value:,} {unit}" for unit, value in lengths.items() if value is not None)
    if plan.steps is not None:
        text += f", {plan.steps:,} steps of {plan.batch} samples"
    warmup = f"{recipe.warmup:.0%} of the run" if recipe.warmup else f"{recipe.warmup_steps} steps"
    return (
        f"schedule: {text}; learning rate {recipe.learning_rate:g} after {warmup} of warm-up, held until "
        f"{max(recipe.hold, recipe.warmup):.0%}, cosine to {recipe.final_learning_rate:g}"
    )
