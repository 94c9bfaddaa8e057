"""What device this is, and what it can do at best."""

from __future__ import annotations

import os
import platform
import subprocess
import time
from typing import Any

import numpy as np
import torch

import worldline

from .bench import GIGA, Bench, Precision, Row, Values, matrix_products


def machine(bench: Bench) -> dict[str, Any]:
    """Names and versions."""
    facts: dict[str, Any] = {
        "device": "processor", "torch": torch.__version__, "numpy": np.__version__,
        "python": platform.python_version(), "worldline": worldline.__version__, "cores": os.cpu_count(),
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }  # fmt: skip
    if not bench.on_cuda:
        return facts
    properties = torch.cuda.get_device_properties(bench.device)
    facts |= {
        "device": properties.name, "memory GB": round(properties.total_memory / GIGA, 1),
        "multiprocessors": properties.multi_processor_count, "capability": f"{properties.major}.{properties.minor}",
        "CUDA": torch.version.cuda, "cuDNN": torch.backends.cudnn.version(), "driver": _smi("driver_version"),
        "SM clock at most": _smi("clocks.max.sm"),
    }  # fmt: skip
    return facts


def _smi(field: str) -> str:
    try:
        answer = subprocess.run(
            ["nvidia-smi", f"--query-gpu={field}", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    lines = answer.stdout.strip().splitlines()
    return lines[0] if lines else "unknown"


def rows(bench: Bench) -> list[Row]:
    """Matrix products, memory, transfers, and what it costs to tell the device anything."""
    return [
        Row("matrix product, bfloat16", lambda: _product(bench, "bfloat16")),
        Row("matrix product, TF32", lambda: _product(bench, "tf32")),
        Row("matrix product, float32", lambda: _product(bench, "float32")),
        Row("copy on the device", lambda: _copy(bench)),
        Row("host to device, pinned", lambda: _upload(bench, pinned=True)),
        Row("host to device, pageable", lambda: _upload(bench, pinned=False)),
        Row("a thousand small operations", lambda: _launches(bench)),
    ]


def _product(bench: Bench, precision: Precision) -> Values:
    side = 256 if bench.tiny else 8192
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    one, other = (torch.randn(side, side, device=bench.device, dtype=dtype) for _ in range(2))
    with matrix_products(precision), torch.no_grad():
        timing = bench.clock(lambda: one @ other, warm_up=3, limit=3)
    rate = 2 * side**3 / timing["seconds"]
    bench.peaks[precision] = rate
    return {"what": f"{side} x {side} x {side}", "seconds": timing["seconds"], "TFLOP/s": rate / 1e12}


def _copy(bench: Bench) -> Values:
    count = 1 << 16 if bench.tiny else 1 << 32  # bytes
    source = torch.zeros(count // 4, device=bench.device)
    target = torch.empty_like(source)
    timing = bench.clock(lambda: target.copy_(source), warm_up=3, limit=3)
    return {
        "what": f"{count / GIGA:.2g} GB, read and written", "seconds": timing["seconds"],
        "GB/s": 2 * count / timing["seconds"] / GIGA,
    }  # fmt: skip


def _upload(bench: Bench, pinned: bool) -> Values:
    count = 1 << 16 if bench.tiny else 1 << 28
    source = torch.zeros(count // 4, pin_memory=pinned and bench.on_cuda)
    target = torch.empty(count // 4, device=bench.device)
    timing = bench.clock(lambda: target.copy_(source, non_blocking=pinned), limit=3)
    return {"what": f"{count / 1e6:.3g} MB", "seconds": timing["seconds"], "GB/s": count / timing["seconds"] / GIGA}


def _launches(bench: Bench) -> Values:
    number = torch.zeros(1, device=bench.device)

    def work() -> None:
        for _ in range(1000):
            number.add_(1)

    timing = bench.clock(work, limit=3)
    return {"what": "one number plus one", "seconds": timing["seconds"]}


def known_peaks(measured: dict[str, Values]) -> dict[str, float]:
    """FLOP/s by precision, of rows measured by an earlier call."""
    names: dict[str, str] = {"bfloat16": "bfloat16", "TF32": "tf32", "float32": "float32"}
    found = {}
    for label, precision in names.items():
        rate = measured.get(f"matrix product, {label}", {}).get("TFLOP/s")
        if rate:
            found[precision] = rate * 1e12
    return found
