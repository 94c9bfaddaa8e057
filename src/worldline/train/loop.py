"""The training loop: one process or many, resumable exactly.

A run is a pure function of its recipe and its data: what step n sees depends on (seed, n, process) only, so ten steps
equal five steps, a stop, and five more. The length may be given in minutes, then the schedule follows the clock of the
first process and always ends where it should, whatever else the machine does.
"""

from __future__ import annotations

import json
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from copy import deepcopy
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from worldline.errors import InputError
from worldline.files import make_folder, write_json
from worldline.train.build import build_optimizer
from worldline.train.drafting import Draftsmen, use_processes
from worldline.train.export import averaged_model, export_model, model_card
from worldline.train.feed import Feed, Prepared, Request, first_request
from worldline.train.guard import READ_EVERY, Guard, StepResult, step_if
from worldline.train.launch import compile_blocks, largest, need_losses, start_fabric, summed
from worldline.train.meter import Clock, Meter
from worldline.train.recipes import Stage, TrainRecipe
from worldline.train.records import Records
from worldline.train.schedule import Progress, Timer, learning_rate, share_done
from worldline.train.state import CHECKPOINT, Average, gathered, read_checkpoint, whole, write_checkpoint
from worldline.train.tasks import AnyBatch, AnyDraft, Figures, task_of

log = logging.getLogger(__name__)

RECIPE = "recipe.json"


def train(recipe: TrainRecipe, resume: bool = False) -> Path:
    """Run a recipe, or with ``resume`` go on with the run in its output folder.

    Returns:
        The folder of the exported weights (averaged, float16, with config and card), which ``worldline.load`` reads.

    Raises:
        InputError: the folder holds a run already and ``resume`` was not asked for, or the other way round; the data
            cannot be used.
        MissingExtraError: Lightning, tensorboard, or LPIPS for a recipe that learns by it, is not installed.
        WeightsError: the starting weights, or those of LPIPS, are not on this machine.
        WorldlineError: loss or gradients stayed not finite.
    """
    check_folder(recipe, resume)
    run = Run(recipe)
    if resume:
        run.resume()
    with stopping_gently(run):
        run.loop()
    return run.finish()


def check_folder(recipe: TrainRecipe, resume: bool) -> None:
    """Before any work: does the output folder hold what ``resume`` expects?"""
    saved, checkpoint = recipe.output / RECIPE, recipe.output / CHECKPOINT
    if not resume:
        if checkpoint.exists():
            raise InputError(
                f"{recipe.output} already holds a training run.", "Go on with --resume, or choose another folder."
            )
        return
    if not checkpoint.exists():
        raise InputError(f"{recipe.output} holds no training run to go on from.", "Start it without --resume.")
    if saved.exists():
        changed = recipe.changes_from(json.loads(saved.read_text(encoding="utf-8")))
        if changed:
            raise InputError(
                f"The run in {recipe.output} was started with another {', '.join(changed)}.",
                f"Resume with the same options (they are in {saved}), or choose another folder.",
            )


@contextmanager
def stopping_gently(run: Run) -> Iterator[None]:
    """Ctrl-C or SIGTERM ends the run after the current step, with a checkpoint. Only possible in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with suppress(ImportError):  # training itself does without
        import pycolmap  # noqa: F401 -- installs a SIGTERM handler when validation first imports it; ours comes after

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: run.stop()) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


class Run:
    """State of one training run: network, averaged weights, optimiser, progress, log."""

    def __init__(self, recipe: TrainRecipe) -> None:
        self.recipe, self.progress, self.metrics = recipe, Progress(), dict[str, float]()
        self.task = task_of(recipe)
        if recipe.threads is not None:
            torch.set_num_threads(recipe.threads)
        self.fabric = start_fabric(recipe)
        self.first = self.fabric.is_global_zero
        need_losses(recipe, self.fabric.device)
        self.source = self.task.source(recipe)
        self.network = self.task.build(recipe).to(self.fabric.device)
        if recipe.compile:
            compile_blocks(self.network)
        self.module = self.fabric.setup_module(self.task.module(self.network))
        self.average = Average(self.network, recipe.ema_decay)
        self.optimizer = build_optimizer(self.network, recipe)
        at_once = self.fabric.device.type == "cpu"  # where nothing is waited for
        self.guard = Guard(self.network, recipe.largest_loss, 1 if at_once else READ_EVERY)
        self.part: Callable[[str], AbstractContextManager[object]] = lambda _: nullcontext()  # for a profile
        self._parameters = list(self.network.parameters())
        self.draftsmen: Draftsmen | None = None
        self._records: Records | None = None
        self._validation: list[Any] | None = None
        self._stop_asked = self._stopped = False

    @property
    def share(self) -> float:
        """Share of the run that is done, in [0, 1]."""
        return share_done(self.recipe, self.progress)

    def resume(self) -> None:
        """Continue from the checkpoint in the output folder."""
        self.progress = read_checkpoint(self.recipe.output, self.network, self.average, self.optimizer)
        log.info("resumed at step %d", self.progress.step)

    def stop(self) -> None:
        """Let the loop end after the current step."""
        self._stop_asked = True

    def loop(self) -> None:
        """Train until the end of the recipe, writing checkpoints, snapshots and validation results on the way."""
        self._open_folder()
        recipe = self.recipe
        meter = Meter(self.task, recipe)
        timers = [Timer(m) for m in (recipe.checkpoint_minutes, recipe.export_minutes, recipe.validate_minutes)]
        actions: tuple[Callable[[], object], ...] = (self.checkpoint, self.export, self.validate)
        clock, starting = Clock(self.progress), True
        with self.feeding() as feed:
            plan = first_request(recipe, self.progress, self.fabric.world_size)
            while self.share < 1 and not self._stopped:
                while feed.has_room and share_done(recipe, plan.progress) < 1:
                    feed.ask(plan.request())
                    plan = plan.after(self.progress)
                waited = time.monotonic()
                request, batches = feed.take()
                meter.waited += time.monotonic() - waited
                meter.add(self.train_step(self.on_device(batches), request.stage), request)
                if starting and self.fabric.device.type == "cuda":  # kernels were loaded and compiled: no training
                    clock, starting = Clock(self.progress), False
                clock.tick()  # the time of the actions below counts with the next step
                decided = self._agree([timer.due() for timer in timers])
                if self.progress.step % recipe.log_every_steps == 0:
                    self._log_step(meter, request)
                    meter = Meter(self.task, recipe)
                for action in compress(actions, decided):
                    action()
        self.fabric.barrier()

    def finish(self) -> Path:
        """Checkpoint, export, and last validation (unless the run was stopped early)."""
        self.checkpoint(strict=True)  # first: signals are no longer caught here, and a validation takes minutes
        folder = self.export(strict=True)
        if not self._stopped:
            self.validate()
            folder = self.export(strict=True)  # once more, the card has the figures now
        if self._records is not None:
            self._records.close()
        self.fabric.barrier()
        return folder

    def train_step(self, batches: Sequence[AnyBatch], stage: Stage) -> StepResult:
        """One optimiser step over one or more batches; a step that is not finite leaves every weight as it was.

        On a GPU this only queues work: nothing in here asks the device for a number, except every
        :data:`~worldline.train.guard.READ_EVERY` steps.
        """
        recipe, devices = self.recipe, self.fabric.world_size
        rate = learning_rate(recipe, stage, self.progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.module.train()
        torch.manual_seed(self._step_seed())
        self.guard.begin()
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros(1 + len(self.task.logged), device=self.fabric.device)
        for number, batch in enumerate(batches):
            last = number == len(batches) - 1
            with self.fabric.no_backward_sync(self.module, enabled=not last and devices > 1):
                with self.part("forward"):
                    figures = self.figures(batch, stage)
                with self.part("backward"):
                    self.fabric.backward(figures.loss * (devices / len(batches)))
            total += figures.detached() / len(batches)
        with self.part("optimiser"):
            names = ("loss", *self.task.logged)
            result, taken = self.guard.judge(names, summed(self.fabric, total), self._clip())
            step_if(self.optimizer, taken)
            self.average.update(self.progress.step, taken)
        self._count(batches)
        if self.guard.due:
            self.guard.settle(self.progress)
        return result

    def figures(self, batch: AnyBatch, stage: Stage) -> Figures:
        """Loss of one batch, with gradient, and what is logged beside it."""
        return self.task.figures(
            self.module, self.network, batch, stage, self.recipe, lambda counts: summed(self.fabric, counts),
            self.fabric.world_size, self.share, self.progress.step,
        )  # fmt: skip

    def checkpoint(self, strict: bool = False) -> None:
        """Write everything needed to go on, atomically."""
        self.guard.settle(self.progress)
        with self._lenient("the checkpoint", strict):
            write_checkpoint(self.recipe.output, self.network, self.average, self.optimizer, self.progress, self.first)

    def export(self, strict: bool = False) -> Path:
        """Write the averaged weights as float16 safetensors with config.json and card.json."""
        self.guard.settle(self.progress)
        weights = gathered(self.average.values)
        if self.first:
            with self._lenient("the export", strict):
                facts = self.source.facts()
                card = model_card(self.recipe, self.progress, facts, self.metrics, self.fabric.world_size)
                export_model(self.recipe, weights, card)
        return self.recipe.output / "export"

    def validate(self) -> dict[str, float]:
        """Errors of the averaged weights on the validation scenes, written to the log."""
        weights = gathered(self.average.values)
        if self.first:
            with self._lenient("the validation", False):
                if self._validation is None:
                    self._validation = self.source.validation()
                if self._validation:
                    model = averaged_model(self.recipe, weights, self.fabric.device)
                    self.metrics = self.task.score(self.recipe, model, self._validation)
                    self._write("validation", self.metrics)
        return self.metrics

    @contextmanager
    def _lenient(self, what: str, strict: bool) -> Iterator[None]:
        """A snapshot or a validation that fails must not end hours of training; it is logged and tried again later."""
        try:
            yield
        except Exception:
            if strict:
                raise
            log.exception("%s failed, training goes on", what)

    def _open_folder(self) -> None:
        if self.first:
            make_folder(self.recipe.output)
            if not (self.recipe.output / RECIPE).exists() or self.progress.step == 0:
                write_json(self.recipe.output / RECIPE, self.recipe.as_json())
        self._records = Records(self.recipe.output, self.first, self.progress.step)

    @contextmanager
    def feeding(self) -> Iterator[Feed]:
        """What prepares batches while earlier ones are trained on."""
        recipe, rank = self.recipe, self.fabric.global_rank
        with ExitStack() as stack:
            if use_processes(recipe, self.fabric.device):
                self.draftsmen = stack.enter_context(Draftsmen(recipe, rank, recipe.workers))
            try:
                yield stack.enter_context(Feed(self._prepare, recipe.workers))
            finally:
                stack.close()  # the feed first: it asks the draftsmen
                self.draftsmen = None

    def _prepare(self, request: Request) -> Prepared:
        """In a thread of the feed: the whole work on a processor; for a GPU everything up to the transfer."""
        if self.draftsmen is not None:
            with self.draftsmen.drafts(request) as drafts:
                if drafts is not None:  # their memory is not ours to keep
                    return self._ready(drafts if self.fabric.device.type == "cuda" else deepcopy(drafts))
        return self._ready(request.drafts(self.task, self.source, self.recipe, self.fabric.global_rank))

    def _ready(self, drafts: Sequence[AnyDraft]) -> Prepared:
        if self.fabric.device.type == "cpu":
            return [draft.develop() for draft in drafts]
        return [draft.pinned() for draft in drafts] if self.fabric.device.type == "cuda" else drafts

    def on_device(self, prepared: Prepared) -> list[AnyBatch]:
        """What the feed prepared, as the step sees it. On a GPU this queues copies and a few kernels."""
        batches: list[AnyBatch] = []
        for part in prepared:
            if isinstance(part, AnyDraft):
                with self.part("moving"):
                    moved = part.to(self.fabric.device)
                with self.part("developing"):
                    batches.append(moved.develop())
            else:
                batches.append(part)
        return batches

    def _step_seed(self) -> int:
        """Of what a step draws inside the network: the same after a resume, different for every process."""
        entropy = [self.recipe.seed, self.progress.step, self.fabric.global_rank]
        return int(np.random.default_rng(entropy).integers(2**62))

    def _clip(self) -> Tensor:
        """Clip the gradients; returns their norm before that, the same in every process."""
        limit = math.inf if self.recipe.clip_norm is None else self.recipe.clip_norm
        norm = nn.utils.clip_grad_norm_(self._parameters, limit)
        return whole(norm)

    def _count(self, batches: Sequence[AnyBatch]) -> None:
        samples = sum(len(batch.images) for batch in batches) * self.fabric.world_size
        self.progress.step += 1
        self.progress.samples += samples
        self.progress.views += samples * batches[0].images.shape[1:-3].numel()

    def _agree(self, due: list[bool]) -> list[bool]:
        """Clock and timers of the first process, and a stop that any process was asked for."""
        if self.fabric.world_size == 1:
            self._stopped = self._stop_asked
            return due
        mine = [self.progress.seconds, *map(float, due)] if self.first else [0.0] * (1 + len(due))
        numbers = torch.tensor([*mine, float(self._stop_asked)], device=self.fabric.device, dtype=torch.float64)
        seconds, *decided, stop = largest(self.fabric, numbers).tolist()
        self.progress.seconds, self._stopped = seconds, bool(stop)
        return [bool(value) for value in decided]

    def _log_step(self, meter: Meter, request: Request) -> None:
        self.guard.settle(self.progress)
        self._write("step", {"stage": self.recipe.stages.index(request.stage), **meter.means()})

    def _write(self, kind: str, values: dict[str, Any]) -> None:
        if self._records is not None:
            state = {"share": self.share} | {k: v for k, v in vars(self.progress).items() if k != "step"}
            rate = self.optimizer.param_groups[0]["lr"]
            self._records.write(kind, self.progress.step, state | {"learning_rate": rate} | values)
