"""``worldline doctor``: what this machine can run, with the predicted peak memory of a run."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

import tyro

EXTRAS = {
    "view": "viser",
    "motion": "cv2",
    "train": "lightning",
    "cluster": "ray",
    "rerun": "rerun",
    "eval": "matplotlib",
    "lpips": "lpips",
    "gsplat": "gsplat",
    "heic": "pillow_heif",
}
GIB = 2**30


@dataclass(frozen=True)
class Doctor:
    """What this machine can run."""

    model: str = "mvdust3r-plus-mini"
    """Model whose memory is predicted; published ones need not be downloaded."""
    views: tuple[int, ...] = (2, 4, 8, 12, 24)
    """Numbers of views to plan for."""
    size: int | None = None
    """Model resolution in pixels."""
    device: str = "auto"
    """cpu, cuda, mps or auto."""


def run(argv: list[str]) -> int:
    """Parse the arguments, look at the machine, print what was found. Exit code 0 if the default model can run."""
    arguments = tyro.cli(Doctor, args=argv, prog="worldline doctor")
    from worldline import weights
    from worldline.cli.common import console, parse_counts
    from worldline.pipeline import choose_device

    out = console()
    device = choose_device(arguments.device)
    info = weights.info(arguments.model)
    _print_machine(out, device)
    _print_extras(out)
    ready = weights.is_available(arguments.model)
    state = "ready" if ready else f"not downloaded: worldline models get {arguments.model}"
    out.print(f"\nmodel      {info.id}: {info.parameters / 1e6:.1f} M parameters, licence {info.license} ({state})")
    _print_plans(out, arguments.model, parse_counts(arguments.views), arguments.size or info.image_size, device)
    return 0


def _print_machine(out, device: str) -> None:
    import torch

    from worldline import __version__
    from worldline.pipeline.memory import free_memory

    out.print(f"worldline  {__version__}, Python {platform.python_version()}, torch {torch.__version__}")
    out.print(
        f"machine    {platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
        f"torch uses {torch.get_num_threads()} threads"
    )
    out.print(f"memory     {free_memory('cpu') / GIB:.1f} GiB free")
    out.print(f"disk       {shutil.disk_usage(Path.cwd()).free / GIB:.1f} GiB free here")
    name = torch.cuda.get_device_name() if device.startswith("cuda") else "no CUDA device" if device == "cpu" else ""
    out.print(f"device     {device} {f'({name})' if name else ''}")


def _print_extras(out) -> None:
    found = {extra: importlib.util.find_spec(module) is not None for extra, module in EXTRAS.items()}
    out.print("extras     " + ", ".join(f"{extra}: {'yes' if there else 'no'}" for extra, there in found.items()))
    missing = [extra for extra, there in found.items() if not there]
    if missing:
        out.print(f"           add with: pip install 'worldline[{','.join(missing)}]'")


def _print_plans(out, model: str, counts: tuple[int, ...], size: int, device: str) -> None:
    from rich.table import Table

    from worldline import weights
    from worldline.errors import MemoryPlanError
    from worldline.models.config import PointmapConfig
    from worldline.pipeline.memory import plan_memory

    table = Table("views", "predicted peak", "of which weights", "head chunk", "fits", box=None, pad_edge=False)
    config = weights.config_of(model)
    if not isinstance(config, PointmapConfig):
        out.print(f"\n{model} encodes clips, not sets of photos: its memory is bounded by its window.")
        return
    for count in counts:
        try:
            plan = plan_memory(config, count, size, size, references=4, device=device)
        except MemoryPlanError as error:
            table.add_row(str(count), "", "", "", f"no: {error.cause}")
            continue
        peak, own = plan.peak_bytes / GIB, plan.weight_bytes / GIB
        table.add_row(str(count), f"{peak:.2f} GiB", f"{own:.2f} GiB", str(plan.head_chunk), "yes")
    out.print(f"\npredicted memory of one pass at {size}x{size} on {device}")
    out.print(table)
