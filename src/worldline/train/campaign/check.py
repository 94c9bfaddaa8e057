"""Before anything is spent: what the device is, what it can do, and whether everything that is needed is here."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
import subprocess
import sys
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from worldline.errors import InputError, WorldlineError
from worldline.train.profiling import peak_flops
from worldline.train.recipes import TrainRecipe

GIB = 2**30
_LEAST_DISK = 4 * GIB  # checkpoint, export and a small pool

TRAINING, EVALUATION, PICTURE = "training", "evaluation", "the picture of the curve"
PACKAGES: dict[str, tuple[str, str]] = {  # import name -> name of the distribution, what needs it
    "numpy": ("numpy", TRAINING),
    "jaxtyping": ("jaxtyping", TRAINING),
    "safetensors": ("safetensors", TRAINING),
    "lightning": ("lightning", TRAINING),
    "tensorboard": ("tensorboard", TRAINING),
    "PIL": ("pillow", EVALUATION),
    "scipy": ("scipy", EVALUATION),
    "pycolmap": ("pycolmap", EVALUATION),
    "matplotlib": ("matplotlib", PICTURE),
}
_PROOF = {"lightning": "lightning.fabric", "tensorboard": "torch.utils.tensorboard", "PIL": "PIL.Image"}
WHEELS = (
    "Without a network, carry the wheels: pip download --no-deps --only-binary=:all: --python-version "
    "{python} --platform manylinux_2_28_x86_64 -d wheels {names} elsewhere, then here: pip install --no-index "
    "--no-deps --target site wheels/*.whl, and PYTHONPATH=src:site."
)


def check(recipe: TrainRecipe, against: str) -> dict[str, Any]:
    """Everything about machine and software that the results depend on.

    Raises:
        InputError: a package that the training needs is missing, the disk is nearly full.
        WeightsError: the weights to start from are not here.
    """
    device = torch.device(recipe.device)
    missing = missing_packages()
    facts: dict[str, Any] = {
        "device": device_facts(device),
        "host": host_facts(recipe.output),
        "versions": versions(),
        "attention": attention_kernels(device),
        "peak_tflops": float(f"{peak_flops(device) / 1e12:.4g}"),
        "missing": {name: needed for name, needed in missing.items() if needed != TRAINING},
    }
    needed = [name for name, use in missing.items() if use == TRAINING]
    if needed:
        raise InputError(f"The training needs {' and '.join(needed)}.", wheels(needed))
    free = facts["host"]["free_disk_gib"] * GIB
    if free < _LEAST_DISK:
        raise InputError(
            f"Only {free / GIB:.1f} GiB are free at {recipe.output}.", "Choose a folder on another disk with -o."
        )
    facts["init"], facts["against"] = _here(recipe.init), _comparison(against)
    return facts


def missing_packages() -> dict[str, str]:
    """Names of the distributions that cannot be imported, with what needs them."""
    return {name: use for module, (name, use) in PACKAGES.items() if not _imports(_PROOF.get(module, module))}


def _imports(module: str) -> bool:
    try:
        importlib.import_module(module)
    except ImportError:
        return False
    return True


def wheels(names: list[str]) -> str:
    """How to bring packages to a machine without a network, in one sentence."""
    return WHEELS.format(python=".".join(map(str, sys.version_info[:2])), names=" ".join(names))


def device_facts(device: torch.device) -> dict[str, Any]:
    """Name, memory and driver of a CUDA device; the name of a processor."""
    if device.type != "cuda":
        return {"name": _processor(), "capability": torch.backends.cpu.get_cpu_capability(), "bf16": _slow_bf16()}
    properties = torch.cuda.get_device_properties(device)
    free, total = torch.cuda.mem_get_info(device)
    return {
        "name": properties.name,
        "memory_gib": round(total / GIB, 1),
        "free_gib": round(free / GIB, 1),
        "multiprocessors": properties.multi_processor_count,
        "capability": f"{properties.major}.{properties.minor}",
        "driver": _driver(),
        "cuda": torch.version.cuda,
        "bf16": torch.cuda.is_bf16_supported(),
    }


def host_facts(folder: Path) -> dict[str, Any]:
    """Cores, memory and free disk."""
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    return {
        "cores": cores(),
        "memory_gib": round(total_memory() / GIB, 1),
        "available_gib": round(available_memory() / GIB, 1),
        "free_disk_gib": round(shutil.disk_usage(place).free / GIB, 1),
        "system": platform.platform(),
    }


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def total_memory() -> int:
    """Bytes of main memory."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def available_memory() -> int:
    """Bytes of main memory that can be had; all of it where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return total_memory()


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide about numbers."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    for name, _ in PACKAGES.values():
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def attention_kernels(device: torch.device) -> dict[str, str]:
    """Which kernels of scaled dot-product attention run here in bfloat16, and why the others do not."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    query = torch.zeros(1, 2, 64, 64, device=device, dtype=torch.bfloat16)
    found = {}
    for name in ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION", "MATH"):
        try:
            with sdpa_kernel(getattr(SDPBackend, name)), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that say why a kernel is not taken, as the error does
                torch.nn.functional.scaled_dot_product_attention(query, query, query)
            found[name.lower()] = "works"
        except (AttributeError, RuntimeError) as error:
            found[name.lower()] = str(error).splitlines()[0]
    return found


def synchronize(device: torch.device) -> None:
    """Wait for everything that was asked of a CUDA device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _here(weights: str | None) -> str:
    """A model by name and digest; raises where it is not on this machine."""
    if weights is None:
        return "nothing"
    from worldline.weights import resolve
    from worldline.weights.folder import read_info

    found = read_info(resolve(weights), digests=True)
    return f"{found.id} (sha256 {found.sha256[:12]})"


def _comparison(weights: str) -> str:
    """As :func:`_here`; what is missing is found out now and matters only after the training."""
    try:
        return _here(weights)
    except WorldlineError as error:
        return f"missing: {error.cause}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _slow_bf16() -> str:
    """What a processor does with bfloat16."""
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        flags = set()
    native = flags & {"avx512_bf16", "amx_bf16"}
    return f"native ({', '.join(sorted(native))})" if native else "emulated"


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found[0].strip() if found else "unknown"
