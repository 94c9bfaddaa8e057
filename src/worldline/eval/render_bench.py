"""How fast Gaussians are rendered here, and what gradients and memory cost, by their number and by pixels."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from worldline import worlds
from worldline.errors import InputError
from worldline.eval.single_pass import MIB, PeakMemory
from worldline.eval.stream_bench.process import apart
from worldline.outputs.render import rasterize

VIEWS = 4
Backend = Literal["auto", "torch", "gsplat"]


@dataclass(frozen=True)
class Item:
    """One row: Gaussians, of which there is one per pixel of four photos of a room, and the picture's size."""

    gaussians: int
    size: tuple[int, int]


def measure_rendering(
    items: Sequence[Item], *, threads: int = 1, repeats: int = 5, device: str = "cpu", backend: Backend = "auto",
    memory: bool = True, report: Callable[[dict[str, object]], None] = lambda record: None,
) -> list[dict[str, object]]:  # fmt: skip
    """Seconds of a picture, alone and with the gradients of all Gaussians, float32, one camera.

    The runs of the items take turns, so that a busy machine is busy for all of them.

    Args:
        items: what to measure.
        threads: of the processor.
        repeats: runs of which the median counts, after one to warm up.
        device: where to render.
        backend: as in ``worldline.outputs.render.rasterize``.
        memory: also measure peaks of resident memory above the scene, each in a process of its own; on cpu only.
        report: called with each record when all are there.
    """
    if device != "cpu" and not torch.cuda.is_available():
        raise InputError(f"There is no device {device!r} here.", "Use --device cpu.")
    rooms = {count: room_of_gaussians(count) for count in sorted({item.gaussians for item in items})}
    works = [_work(rooms[item.gaussians], item.size, device, backend) for item in items]
    spent: list[list[tuple[float, ...]]] = [[] for _ in items]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for turn in range(repeats + 1):
            for work, times in zip(works, spent, strict=True):
                once = (*_seconds(work, False), *_seconds(work, True))
                times += [once] if turn else []
    finally:
        torch.set_num_threads(before)
    records: list[dict[str, object]] = []
    for item, times in zip(items, spent, strict=True):
        medians = np.median(np.array(times), 0)
        record: dict[str, object] = {
            "Gaussians": len(rooms[item.gaussians][0][0]), "pixels": f"{item.size[1]}x{item.size[0]}",
            "forward s": _rounded(medians[0]), "forward process s": _rounded(medians[1]),
            "forward + backward s": _rounded(medians[2]), "forward + backward process s": _rounded(medians[3]),
        }  # fmt: skip
        if memory and device == "cpu":
            record["forward peak MiB"] = round(apart(_peak, item, False) / MIB)
            record["forward + backward peak MiB"] = round(apart(_peak, item, True) / MIB)
        records.append(record)
        report(record)
    return records


def parse_size(text: str) -> tuple[int, int]:
    """(height, width) of "WIDTHxHEIGHT".

    Raises:
        InputError: it is no such text.
    """
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) for part in parts):
        raise InputError(f"{text!r} is no size of a picture.", "Give WIDTHxHEIGHT in pixels, for example 960x540.")
    return int(parts[1]), int(parts[0])


def room_of_gaussians(count: int, seed: int = worlds.TEST_SEEDS[0]) -> tuple[list[Tensor], Tensor, Tensor]:
    """About ``count`` Gaussians, one per pixel of four square photos of a room, as feed-forward networks make them.

    Returns:
        means, scales, rotations, opacities and colours; the pose of the second photo; its intrinsics for an image of
        height 1. Scales are 0.4 to 1 pixel at the Gaussian's depth, opacities 0.5 to 1, rotations are random.
    """
    side = max(2, round((count / VIEWS) ** 0.5))
    (photos,) = worlds.render([worlds.describe("rooms", seed, views=VIEWS)], height=side, width=side)
    draw = torch.Generator().manual_seed(0)
    means, colors = photos.points[photos.valid], photos.images[photos.valid] / 255
    pixel = (photos.depth / photos.intrinsics[:, 0, 0, None, None]).float()[photos.valid]
    scales = pixel[:, None] * (0.4 + 0.6 * torch.rand(len(means), 3, generator=draw))
    rotations = torch.randn(len(means), 4, generator=draw)
    opacities = 0.5 + 0.5 * torch.rand(len(means), generator=draw)
    return (
        [means.float(), scales, rotations, opacities, colors.float()],
        photos.world_from_cam[1].float(),
        photos.intrinsics[1].float() / side,
    )


def _work(
    room: tuple[list[Tensor], Tensor, Tensor], size: tuple[int, int], device: str, backend: Backend
) -> Callable[[bool], None]:
    """A function that renders one picture, and with True the gradients of its colour and depth."""
    values, pose, matrix = room
    focal = float(matrix[0, 0]) * size[0]
    lens = torch.tensor([[focal, 0, (size[1] - 1) / 2], [0, focal, (size[0] - 1) / 2], [0, 0, 1]])
    poses, matrices = pose[None].to(device), lens[None].to(device)
    leaves = [value.to(device).requires_grad_() for value in values]

    def render(gradients: bool) -> None:
        with nullcontext() if gradients else torch.no_grad():
            picture = rasterize(*leaves, world_from_cam=poses, intrinsics=matrices, size=size, backend=backend)
            if gradients:
                torch.autograd.grad(picture.color.square().mean() + picture.depth.mean(), leaves)
        if device != "cpu":
            torch.cuda.synchronize()

    return render


def _peak(item: Item, gradients: bool) -> int:
    """Bytes above what the scene takes, after a small picture has started the libraries."""
    torch.set_num_threads(1)
    room = room_of_gaussians(item.gaussians)
    few = ([value[::1000] for value in room[0]], *room[1:])
    _work(few, (16, 16), "cpu", "torch")(gradients)
    work = _work(room, item.size, "cpu", "torch")
    with PeakMemory() as memory:
        work(gradients)
    return memory.peak


def _seconds(work: Callable[[bool], None], gradients: bool) -> tuple[float, float]:
    """Wall and process time of one run."""
    started, used = time.perf_counter(), time.process_time()
    work(gradients)
    return time.perf_counter() - started, time.process_time() - used


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
