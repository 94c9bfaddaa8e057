"""Where the time of a training step goes: parts, rates, waits of the host, memory. For the loop as it is.

Three short runs over the same kind of step, because measuring disturbs what is measured: first nothing but the clock,
then with the device waited for around every part, then with every wait of the host counted.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch

from worldline.errors import InputError
from worldline.train.feed import Prepared, Request, request_at
from worldline.train.loop import Run
from worldline.train.recipes import Stage
from worldline.train.syncs import Syncs, counted_syncs

WAITING = "waiting for data"
PARTS = (WAITING, "moving", "developing", "forward", "backward", "optimiser")
_WARM_UP = 3  # steps: kernels are chosen, memory is taken, graphs are compiled
_COUNTED = 2  # steps in which waits are counted


@dataclass(frozen=True)
class StepProfile:
    """Steps of one stage. Times are means per step, in seconds."""

    recipe: str  # the name of the model that is trained
    stage: int
    device: str
    steps: int
    seconds: float  # of a step, undisturbed
    parts: dict[str, float]  # by part, the device waited for around each; their sum is more than ``seconds``
    rendering: float  # the part of forward and backward that a rendering loss costs; 0 without one
    samples_per_second: float
    flops_per_second: float  # of matrix products, see Task.flops
    peak_flops: float | None  # of the device, see :func:`peak_flops`
    waiting_share: float  # of the undisturbed time, in which no batch was ready
    draft_seconds: float  # of a processor core, to prepare what one step needs; steps at the same time share cores
    syncs_per_step: float  # waits of the host, see :mod:`worldline.train.syncs`
    sync_lines: dict[str, float] = field(default_factory=dict)  # the same by line
    operations_per_step: float = 0.0  # calls of PyTorch that compute something, about as many kernels
    memory_bytes: int = 0  # most that was in use: of a GPU by tensors, else by the process since it began

    @property
    def share_of_peak(self) -> float | None:
        """Achieved by possible operations per second."""
        return None if self.peak_flops is None else self.flops_per_second / self.peak_flops

    def as_json(self) -> dict[str, Any]:
        """All figures as plain values."""
        return asdict(self) | {"share_of_peak": self.share_of_peak}


def profile_steps(run: Run, steps: int = 50, stage: int | None = None, peak: float | None = None) -> StepProfile:
    """Measure true steps of a run: its weights move and its progress counts, as in the loop; nothing is written.

    Args:
        run: as made from a recipe, before or between its loops. To keep it as it is, profile another one.
        steps: measured without disturbance; a fifth of them again by part.
        stage: number of the stage to measure; None: the one that the run is in.
        peak: operations per second that the device can do, of :func:`peak_flops`; None: not compared.

    Raises:
        InputError: there is no such stage, or no step was asked for.
    """
    stages = run.recipe.stages
    if steps < 1 or (stage is not None and not 0 <= stage < len(stages)):
        raise InputError(
            f"{steps} step(s) of stage {stage} cannot be measured.",
            f"Give 1 step or more, and a stage below {len(stages)}.",
        )
    chosen = run.recipe.stage_at(run.share) if stage is None else stages[stage]
    measured = _Steps(run, chosen)
    with measured:
        for _ in range(_WARM_UP):
            measured.one()
        _finish(run.fabric.device)
        plain = _undisturbed(measured, steps)
        few = max(1, steps // 5)
        parts = _by_part(measured, few)
        rendering = _rendering(run, measured, few) if chosen.rendering_weight else 0.0
        with counted_syncs(_kind(run.fabric.device)) as syncs:
            for _ in range(_COUNTED):
                measured.one()
    return StepProfile(
        recipe=run.recipe.model, stage=stages.index(chosen), device=device_name(run.fabric.device), steps=steps,
        parts=parts, rendering=rendering, peak_flops=peak, **plain, **_waits(syncs),
        memory_bytes=_memory(run.fabric.device),
    )  # fmt: skip


class _Steps:
    """The steps of one stage, fed as the loop feeds them."""

    def __init__(self, run: Run, stage: Stage) -> None:
        self.run, self.stage = run, stage
        self._context = run.feeding()
        self._next = run.progress.step
        self.waited, self.drafted, self.prepared = 0.0, 0.0, 0
        self.requests: list[Request] = []
        self._elsewhere = 0.0

    def __enter__(self) -> Self:
        self._prepare, self.run._prepare = self.run._prepare, self._timed  # type: ignore[method-assign]
        self._feed = self._context.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._context.__exit__(*error)
        self.run._prepare = self._prepare  # type: ignore[method-assign]

    def reset(self) -> None:
        """Count from here."""
        self.waited = self.drafted = 0.0
        self.prepared, self.requests = 0, []
        self._elsewhere = 0.0 if self.run.draftsmen is None else self.run.draftsmen.seconds

    def one(self) -> None:
        """One step of the loop."""
        run = self.run
        request, prepared = self.take()
        run.train_step(run.on_device(prepared), self.stage)
        self.requests.append(request)

    def take(self) -> tuple[Request, Prepared]:
        """The next batches; waits for them."""
        run = self.run
        while self._feed.has_room:
            self._feed.ask(request_at(run.recipe, self._next, self.stage, run.fabric.world_size))
            self._next += 1
        started = time.perf_counter()
        with run.part(WAITING):
            taken = self._feed.take()
        self.waited += time.perf_counter() - started
        return taken

    @property
    def draft_seconds(self) -> float:
        """Of a processor, for what one step needs."""
        elsewhere = 0.0 if self.run.draftsmen is None else self.run.draftsmen.seconds - self._elsewhere
        return (self.drafted + elsewhere) / max(1, self.prepared)

    def _timed(self, request: Request) -> Prepared:
        started = time.thread_time()
        prepared = self._prepare(request)
        self.drafted += time.thread_time() - started  # of the processor: threads wait for each other, too
        self.prepared += 1
        return prepared


def _undisturbed(measured: _Steps, steps: int) -> dict[str, Any]:
    device = measured.run.fabric.device
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    measured.reset()
    started = time.perf_counter()
    for _ in range(steps):
        measured.one()
    _finish(device)
    whole = time.perf_counter() - started
    samples = [request.scenes * request.accumulate * request.devices for request in measured.requests]
    flops = [measured.run.task.flops(measured.run.recipe, request) for request in measured.requests]
    return {
        "seconds": whole / steps,
        "samples_per_second": sum(samples) / whole,
        "flops_per_second": float(np.dot(samples, flops)) / whole,
        "waiting_share": measured.waited / whole,
        "draft_seconds": measured.draft_seconds,
    }


def _by_part(measured: _Steps, steps: int) -> dict[str, float]:
    run, device = measured.run, measured.run.fabric.device
    spent = dict.fromkeys(PARTS, 0.0)

    @contextmanager
    def part(name: str) -> Iterator[None]:
        _finish(device)
        started = time.perf_counter()
        yield
        _finish(device)
        if name in spent:
            spent[name] += time.perf_counter() - started

    before, run.part = run.part, part
    try:
        for _ in range(steps):
            measured.one()
    finally:
        run.part = before
    return {name: seconds / steps for name, seconds in spent.items()}


def _rendering(run: Run, measured: _Steps, steps: int) -> float:
    """Forward and backward with the rendering loss minus those without, for the same batches; trains nothing."""
    without = replace(measured.stage, rendering_weight=0.0)
    spent = dict.fromkeys((True, False), 0.0)
    run.guard.begin()
    for _ in range(steps):
        _, prepared = measured.take()
        batches = run.on_device(prepared)
        for rendered in spent:
            _finish(run.fabric.device)
            started = time.perf_counter()
            for batch in batches:
                run.fabric.backward(run.figures(batch, measured.stage if rendered else without).loss)
            run.optimizer.zero_grad(set_to_none=True)
            _finish(run.fabric.device)
            spent[rendered] += time.perf_counter() - started
    run.guard.undo()
    return (spent[True] - spent[False]) / steps


def _waits(syncs: Syncs) -> dict[str, Any]:
    return {
        "syncs_per_step": syncs.count / _COUNTED,
        "sync_lines": {line: count / _COUNTED for line, count in syncs.lines().items()},
        "operations_per_step": syncs.operations / _COUNTED,
    }


@torch.no_grad()
def peak_flops(device: torch.device | str, size: int | None = None, seconds: float = 0.5) -> float:
    """Operations per second (2 per multiply-add) of a large bfloat16 matrix product, the best of some repetitions.

    Args:
        device: on a processor the product is float32, as training is there by default.
        size: of the square matrices; None: 8192 on CUDA, 1024 elsewhere.
        seconds: spent measuring.
    """
    device = torch.device(device)
    fast = device.type == "cuda"
    size = size or (8192 if fast else 1024)
    left, right = (torch.randn(size, size, device=device, dtype=torch.bfloat16 if fast else None) for _ in range(2))
    out = torch.empty_like(left)
    best, end = float("inf"), time.perf_counter() + seconds
    torch.mm(left, right, out=out)
    while True:
        _finish(device)
        started = time.perf_counter()
        torch.mm(left, right, out=out)
        _finish(device)
        best = min(best, time.perf_counter() - started)
        if time.perf_counter() > end:
            return 2 * size**3 / best


def device_name(device: torch.device) -> str:
    """As people call it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def _kind(device: torch.device) -> str | None:
    """Whose tensors are looked at: on a processor those of any device, see :func:`counted_syncs`."""
    return None if device.type == "cpu" else device.type


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
