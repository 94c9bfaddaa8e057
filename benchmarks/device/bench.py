"""How things are timed: a device, a size of everything, a number of repeats, and what the device can do at best."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

Values = dict[str, Any]
Precision = Literal["float32", "tf32", "bfloat16"]
GIGA = 1e9


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    key: str
    measure: Callable[[], Values]


@dataclass
class Bench:
    """What all measurements share."""

    device: torch.device
    tiny: bool = False
    compile: bool = True
    repeats: int = 10
    peaks: dict[str, float] = field(default_factory=dict)  # measured FLOP/s of matrix products, by precision

    @property
    def on_cuda(self) -> bool:
        """Whether times and memory are those of a GPU."""
        return self.device.type == "cuda"

    def wait(self) -> None:
        """Until the device has done what it was told."""
        if self.on_cuda:
            torch.cuda.synchronize(self.device)

    def clock(self, work: Callable[[], Any], *, warm_up: int = 2, limit: float = 10.0) -> Values:
        """Median seconds of a run.

        Args:
            work: may return without waiting for the device.
            warm_up: runs before; the first is reported on its own, because it compiles and allocates.
            limit: seconds after which no further run is begun, if there have been three.
        """
        self.wait()
        began = time.perf_counter()
        work()
        self.wait()
        first = time.perf_counter() - began
        for _ in range(warm_up - 1):
            work()
        seconds: list[float] = []
        while len(seconds) < self.repeats and (len(seconds) < 3 or sum(seconds) < limit):
            seconds.append(self._once(work))
        return {"seconds": float(np.median(seconds)), "slowest": max(seconds), "runs": len(seconds), "first s": first}

    def _once(self, work: Callable[[], Any]) -> float:
        """By events of the device, which leave out how long the host waits to be told."""
        if not self.on_cuda:
            started = time.perf_counter()
            work()
            return time.perf_counter() - started
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self.wait()
        begin.record()
        work()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3

    def peak_gb(self) -> float | None:
        """Gigabytes that the allocator had given out at most since :meth:`fresh`, weights included."""
        return torch.cuda.max_memory_allocated(self.device) / GIGA if self.on_cuda else None

    def fresh(self) -> None:
        """Give memory back and count its peak anew."""
        gc.collect()
        if self.on_cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    def share(self, flops: float, seconds: float, precision: Precision) -> Values:
        """Achieved rate, and as a share of what a large matrix product reaches on this device."""
        values: Values = {"TFLOP": flops / 1e12, "TFLOP/s": flops / seconds / 1e12}
        if self.peaks.get(precision):
            values["share of peak"] = flops / seconds / self.peaks[precision]
        return values


@contextmanager
def matrix_products(precision: Precision) -> Iterator[None]:
    """Float32 products in full or as TensorFloat-32; what is in bfloat16 under autocast stays so."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = matmul.allow_tf32, cudnn.allow_tf32
    matmul.allow_tf32 = cudnn.allow_tf32 = precision != "float32"
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


@contextmanager
def running(precision: Precision, device: torch.device) -> Iterator[None]:
    """Inference in a precision: ``float32`` in full, ``tf32`` products, or ``bfloat16`` under autocast."""
    half = torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16")
    with matrix_products(precision), torch.no_grad(), half:
        yield


@contextmanager
def compiled_blocks(network: nn.Module) -> Iterator[None]:
    """Transformer blocks through ``torch.compile``, one by one: they share code, so this takes one compilation."""
    blocks = [
        block
        for owner in network.modules()
        for name, blocks in owner.named_children()
        if name == "blocks" or name.endswith("_blocks")
        for block in blocks.children()
    ]
    assert blocks
    for block in blocks:
        block.compile(dynamic=False)
    try:
        yield
    finally:
        for block in blocks:
            block._compiled_call_impl = None


def build_on(device: torch.device, build: Callable[[], nn.Module], seed: int = 0) -> Any:
    """A network in eval mode with random weights, made on the device."""
    torch.manual_seed(seed)
    with device:
        network = build()
    return network.to(device).eval().requires_grad_(False)
