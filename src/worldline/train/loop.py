"""The training loop: one process, one device, resumable exactly.

A run is a pure function of its recipe, its seed and the pool: the data of step n depend on (seed, n) only, so ten
steps equal five steps, a stop, and five more (as long as no new scenes arrive in between). The length may be given in
minutes, then the schedule follows the wall clock and always ends where it should, whatever else the machine does.
"""

from __future__ import annotations

import json
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from worldline.errors import InputError, WorldlineError
from worldline.train import data, losses
from worldline.train.build import autocast, build_model, build_optimizer, forward_paths
from worldline.train.matching import matching_loss, recorded_attention
from worldline.train.recipes import Stage, TrainRecipe
from worldline.weights.storage import SHARD_BYTES, save_model

log = logging.getLogger(__name__)

_MAX_BAD_STEPS = 50  # consecutive non-finite steps before a run gives up
_POOL_REFRESH_SECONDS = 20.0


def train(recipe: TrainRecipe) -> Path:
    """Run (or resume) a recipe and return the folder of the exported weights (averaged, float16, with config and card).

    The folder can be given to ``worldline.load``.
    """
    run = Run(recipe)
    run.resume()
    with stopping_gently(run):
        run.loop()
    run.checkpoint()
    return run.export()


@contextmanager
def stopping_gently(run: Run) -> Iterator[None]:
    """Ctrl-C or SIGTERM ends the run after the current step, with a checkpoint. Only possible in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    if run.recipe.validation_pool is not None:
        import pycolmap  # noqa: F401 -- installs a SIGTERM handler when validation first imports it; ours comes after

    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: run.stop()) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


@dataclass
class Progress:
    """Where a run stands."""

    step: int = 0  # optimiser steps tried, including skipped ones
    seconds: float = 0.0  # wall clock spent in the loop
    scenes: int = 0  # scenes seen, with repetition
    views: int = 0
    skipped: int = 0  # steps thrown away because loss or gradient were not finite


@dataclass(frozen=True)
class StepResult:
    """Figures of one step, for the log."""

    loss: float
    error: float  # mean distance after both sides are divided by their mean distance to the origin
    confidence: float  # mean
    gradient_norm: float
    taken: bool  # False: skipped by the non-finite guard
    hits: float  # share of supervised attentions whose maximum is the true correspondence


class Run:
    """State of one training run: network, averaged weights, optimiser, progress, log."""

    def __init__(self, recipe: TrainRecipe) -> None:
        self.recipe = recipe
        self.progress = Progress()
        if recipe.threads is not None:
            torch.set_num_threads(recipe.threads)
        torch.manual_seed(recipe.seed)
        self.model = build_model(recipe).to(recipe.device)
        self.ema = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.optimizer = build_optimizer(self.model, recipe)
        recipe.output.mkdir(parents=True, exist_ok=True)
        self._stopping = False
        self._folder: Path | None = None
        self._files: list[Path] = []
        self._files_read = -math.inf

    @property
    def share(self) -> float:
        """Share of the run that is done, in [0, 1]."""
        if self.recipe.steps is not None:
            return min(1.0, self.progress.step / max(1, self.recipe.steps))
        return min(1.0, self.progress.seconds / 60 / (self.recipe.minutes or math.inf))

    def loop(self) -> None:
        """Train until the end of the recipe, writing checkpoints, snapshots and validation results on the way."""
        recipe, bad = self.recipe, 0
        recent: list[dict[str, float]] = []  # results since the last record of the log
        timers = {
            self.checkpoint: Timer(recipe.checkpoint_minutes),
            self.export: Timer(recipe.export_minutes),
            self.validate: Timer(recipe.validate_minutes),
        }
        with ThreadPoolExecutor(1) as executor:
            waiting = self._request(executor)
            while self.share < 1 and not self._stopping:
                started = time.monotonic()
                batch, stage = waiting.result()
                waiting = self._request(executor, ahead=1)
                result = self.train_step(batch.to(recipe.device), stage)
                bad = 0 if result.taken else bad + 1
                if bad >= _MAX_BAD_STEPS:
                    raise WorldlineError(
                        f"Loss or gradients were not finite for {bad} steps in a row.", "Lower the learning rate."
                    )
                recent.append(vars(result))
                if self.progress.step % recipe.log_every_steps == 0:
                    means = {name: float(np.mean([entry[name] for entry in recent])) for name in recent[0]}
                    self._write_log({"kind": "step", "stage": recipe.stages.index(stage), **means})
                    recent.clear()
                due = [action for action, timer in timers.items() if timer.due()]
                self.progress.seconds += time.monotonic() - started
                for action in due:
                    before = time.monotonic()
                    self._try(action)
                    self.progress.seconds += time.monotonic() - before
        if not self._stopping:
            self._try(self.validate)

    def stop(self) -> None:
        """Let the loop end after the current step."""
        self._stopping = True

    def _try(self, action: Callable[[], Any]) -> None:
        """A snapshot or a validation that fails must not end the training; it is logged and tried again later."""
        try:
            action()
        except Exception:  # whatever it is, hours of training are worth more
            log.exception("%s failed, training goes on", getattr(action, "__name__", "an action"))

    def train_step(self, batch: data.Batch, stage: Stage) -> StepResult:
        """One optimiser step; a step whose loss or gradient is not finite leaves every weight as it was."""
        recipe = self.recipe
        scenes, views = batch.images.shape[:2]
        rate = self._learning_rate(stage)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.model.train()
        paths = min(stage.references, views)
        with autocast(recipe), recorded_attention(self.model) as attention:
            output = forward_paths(self.model, batch.images, paths)
        predicted = losses.rows_of_paths(output.points.float())
        confidence = losses.rows_of_paths(output.confidence.float())
        target, valid = losses.rows_of_targets(batch.points, batch.valid, batch.world_from_cam, paths)
        terms = losses.confidence_loss(predicted, confidence, target, valid, recipe.confidence_alpha)
        loss, hits = terms.sum(), 0.0
        if stage.matching_weight:
            grid = self.model.encoder.patch_embed.grid(*batch.images.shape[-2:])
            matching, hits = matching_loss(self.model, attention, batch.matches, paths, grid)
            loss = loss + stage.matching_weight * matching
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip_norm))
        taken = bool(torch.isfinite(loss)) and math.isfinite(norm)
        if taken:
            self.optimizer.step()
            self._average()
        self.progress.step += 1
        self.progress.scenes += scenes
        self.progress.views += scenes * views
        self.progress.skipped += not taken
        with torch.no_grad():
            error = losses.regression_loss(predicted, target, valid).mean()
        mean_confidence = float(confidence.detach().mean())
        return StepResult(float(loss.detach()), float(error), mean_confidence, norm, taken, hits)

    def checkpoint(self) -> None:
        """Write everything needed to go on, atomically."""
        path = self.recipe.output / "checkpoint.pt"
        partial = path.with_suffix(".partial")
        torch.save(
            {
                "model": self.model.state_dict(),
                "ema": self.ema,
                "optimizer": self.optimizer.state_dict(),
                "progress": vars(self.progress),
            },
            partial,
        )
        partial.replace(path)

    def resume(self) -> bool:
        """Continue from the checkpoint in the output folder, if there is one."""
        path = self.recipe.output / "checkpoint.pt"
        if not path.exists():
            (self.recipe.output / "recipe.json").write_text(json.dumps(self.recipe.as_json(), indent=1, default=str))
            return False
        state = torch.load(path, map_location=self.recipe.device, weights_only=True)
        self.model.load_state_dict(state["model"])
        self.ema = state["ema"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.progress = Progress(**state["progress"])
        log.info("resumed at step %d", self.progress.step)
        return True

    def averaged_model(self) -> nn.Module:
        """A copy of the network with the averaged weights, in evaluation mode."""
        model = build_model(self.recipe).to(self.recipe.device)
        model.load_state_dict(self.ema)
        return model.eval()

    def export(self) -> Path:
        """Write the averaged weights as float16 safetensors with config.json and card.json."""
        folder = self.recipe.output / "export"
        card = {"name": self.recipe.model, **self.recipe.card, "progress": dict(vars(self.progress))}
        for target in filter(None, (folder, self.recipe.export_to)):
            target.parent.mkdir(parents=True, exist_ok=True)
            save_model(self.averaged_model(), target, card=card, shard_bytes=SHARD_BYTES)
        return folder

    def validate(self) -> dict[str, float]:
        """Errors of the averaged weights on the validation pool, written to the log."""
        from worldline.eval.suites import score_network

        pool = self.recipe.validation_pool
        if pool is None:
            return {}
        views = list(range(self.recipe.validation_views))
        scenes = [data.load_scene(file).choose(views) for file in data.pool_files(pool)]
        result = score_network(self.averaged_model(), scenes)
        self._write_log({"kind": "validation", **result})
        return result

    def _request(self, executor: ThreadPoolExecutor, ahead: int = 0) -> Future[tuple[data.Batch, Stage]]:
        """Start to prepare the batch of the step after the next ``ahead`` ones."""
        number = self.progress.step + ahead
        share = number / self.recipe.steps if self.recipe.steps is not None else self.share
        stage = self.recipe.stage_at(share)
        return executor.submit(self._prepare, number, stage)

    def _prepare(self, number: int, stage: Stage) -> tuple[data.Batch, Stage]:
        rng = np.random.default_rng([self.recipe.seed, number])
        views = int(rng.integers(stage.views[0], stage.views[1] + 1))
        scenes = max(1, stage.views_per_step // views)
        return data.draw_batch(self._pool(stage.size), rng, scenes, views, stage.size, stage.least_overlap), stage

    def _pool(self, size: int) -> list[Path]:
        """Scenes for a stage: those in the subfolder named after its size, if there is one, else the whole pool."""
        folder = self.recipe.pool / str(size)
        folder = folder if folder.is_dir() else self.recipe.pool
        if folder != self._folder or time.monotonic() - self._files_read > _POOL_REFRESH_SECONDS:
            self._folder, self._files, self._files_read = folder, data.pool_files(folder), time.monotonic()
        if not self._files:
            raise InputError(
                f"The training pool {folder} holds no scenes.",
                f"Fill it: python -m worldline.train.data {folder}",
            )
        return self._files

    def _learning_rate(self, stage: Stage) -> float:
        recipe = self.recipe
        low = recipe.final_learning_rate
        falling = max(0.0, self.share - recipe.hold) / (1 - recipe.hold)
        cosine = low + (recipe.learning_rate - low) * (1 + math.cos(math.pi * falling)) / 2
        warmup = min(1.0, (self.progress.step + 1) / max(1, recipe.warmup_steps))
        return cosine * warmup * stage.learning_rate

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.recipe.ema_decay, (1 + self.progress.step) / (10 + self.progress.step))
        for name, value in self.model.state_dict().items():
            average = self.ema[name]
            if average.is_floating_point():
                average.lerp_(value.to(average.dtype), 1 - decay)
            else:
                average.copy_(value)

    def _write_log(self, record: dict[str, Any]) -> None:
        entry = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "share": self.share}
        entry |= vars(self.progress) | {"learning_rate": self.optimizer.param_groups[0]["lr"], "pool": len(self._files)}
        entry |= record
        rounded = {key: float(f"{value:.6g}") if isinstance(value, float) else value for key, value in entry.items()}
        with (self.recipe.output / "log.jsonl").open("a") as file:
            file.write(json.dumps(rounded) + "\n")


class Timer:
    """Says every so many minutes that something is due."""

    def __init__(self, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.interval, self.clock = minutes * 60, clock
        self.last = clock()

    def due(self) -> bool:
        """True once per interval."""
        if self.clock() - self.last < self.interval:
            return False
        self.last = self.clock()
        return True
