"""The memory planner: predicts the peak of one forward pass and chooses how many views the heads take at once.

The prediction counts the tensors that are alive together in the widest moment of each part (encoder block, decoder
layer, heads). Its constants are calibrated against measured peaks; ``worldline bench memory`` repeats the measurement.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from worldline.errors import InputError, MemoryPlanError

if TYPE_CHECKING:
    from worldline.models.config import Driv3rConfig, PointmapConfig
    from worldline.models.pool import PoolOptions

FLOAT_BYTES = 4
GIB = 2**30
RUNTIME_BYTES = 30 * 2**20  # thread pools, allocator slack, the library's own buffers
_REFUSALS = ("DefaultCPUAllocator", "can't allocate memory", "MPS backend out of memory")  # texts of torch's errors


@contextmanager
def memory_errors() -> Iterator[None]:
    """Make MemoryError of the plain RuntimeError by which torch refuses memory that is not a CUDA device's."""
    try:
        yield
    except RuntimeError as error:
        if any(text in str(error) for text in _REFUSALS):
            raise MemoryError(str(error)) from error
        raise


@dataclass(frozen=True)
class MemoryPlan:
    """What one forward pass will take, in bytes, and the chunk that keeps it within the limit."""

    peak_bytes: int  # weights + activations at the widest moment
    weight_bytes: int
    limit_bytes: int
    head_chunk: int  # views whose heads run together
    notes: tuple[str, ...] = ()

    def smallest(self) -> MemoryPlan:
        """The same plan with the heads one view at a time: the retry after an out-of-memory error."""
        return replace(self, head_chunk=1)


def plan_memory(
    config: PointmapConfig,
    views: int,
    height: int,
    width: int,
    references: int = 4,
    *,
    device: str = "cpu",
    limit: int | None = None,
) -> MemoryPlan:
    """Predict the peak of one forward pass over ``views`` images of ``height`` x ``width`` pixels and choose chunks.

    Args:
        references: reference paths of a fused model; at most one per view counts.
        limit: bytes the pass may take; None = what is free on ``device``.

    Raises:
        MemoryPlanError: it does not fit even with the smallest chunk.
    """
    limit = free_memory(device) if limit is None else limit
    weights = parameter_bytes(config)
    trunk = trunk_bytes(config, views, height, width, references, device)
    # pieces, what they are joined to, and the same in input order
    outputs = 3 * views * height * width * (4 + (11 if getattr(config, "gaussians", False) else 0)) * FLOAT_BYTES
    for chunk in _chunks(views, device):
        peak = weights + max(trunk, chunk * head_bytes(config, height, width)) + outputs + RUNTIME_BYTES
        if peak <= limit:
            return MemoryPlan(int(peak), weights, limit, chunk)
    raise MemoryPlanError(
        f"{views} views of {width}x{height} need about {peak / GIB:.1f} GiB; "
        f"{limit / GIB:.1f} GiB are free on {device}.",
        "Use fewer views (--max-views), a smaller model, or another device.",
    )


def plan_stream(
    config: Driv3rConfig,
    inputs: int,
    height: int,
    width: int,
    pool: PoolOptions,
    *,
    preview: bool = True,
    device: str = "cpu",
    limit: int | None = None,
) -> MemoryPlan:
    """Predict the peak of the network over a stream without end: the widest step with full memories.

    Results that a session keeps, its photos and what finds motion come on top.

    Args:
        inputs: network images per step: cameras, times crops of each.
        pool: sizes of the memory.
        preview: both heads run.
        limit: bytes the stream may take; None = what is free on ``device``.

    Raises:
        MemoryPlanError: it does not fit.
    """
    limit = free_memory(device) if limit is None else limit
    weights, patches = parameter_bytes(config), (height // config.patch_size) * (width // config.patch_size)
    stored = stored_tokens(pool, patches)
    near = 2 * min(pool.neighbor_images * patches, stored)  # a ring: two neighbours
    recalled = (stored if pool.own_images is None else min(pool.own_images * patches, stored)) + near
    store = 2 * inputs * stored * config.encoder_dim
    read = inputs * recalled * (6 * config.encoder_dim + 3 * patches)  # gathered, padded, normalised; the weights
    tokens = inputs * patches
    encoder = (6 + 2 * config.mlp_ratio) * tokens * config.encoder_dim
    decoder = (6 + 2 * config.mlp_ratio + 2 * 4) * tokens * config.decoder_dim  # both sides and what heads read
    at_once = 1 if device == "cpu" and config.head == "dpt" else inputs
    heads = at_once * head_bytes(config, height, width) / FLOAT_BYTES
    outputs = (2 + preview) * inputs * height * width * 4
    peak = int(weights + FLOAT_BYTES * (store + max(read, encoder, decoder, heads) + outputs) + RUNTIME_BYTES)
    if peak > limit:
        raise MemoryPlanError(
            f"A stream of {inputs} images of {width}x{height} per step needs about {peak / GIB:.1f} GiB; "
            f"{limit / GIB:.1f} GiB are free on {device}.",
            "Use fewer cameras, fewer long-term tokens, a smaller model, or another device.",
        )
    return MemoryPlan(peak, weights, limit, at_once)


def stored_tokens(pool: PoolOptions, patches: int) -> int:
    """The most tokens that one camera's memory ever holds; without pruning and restarts there is no such number.

    Raises:
        InputError: nothing bounds the memory.
    """
    memory = pool.memory
    lengths = [] if pool.restart is None else [pool.restart * patches]
    if memory.pruning != "none":
        lengths.append(memory.long_tokens + (memory.working_frames + 1) * patches)
    if not lengths:
        raise InputError("Nothing bounds this memory.", "Choose a way of pruning, or let streams restart.")
    return min(lengths)


def parameter_bytes(config: PointmapConfig) -> int:
    """Size of the float32 weights."""
    from worldline.models.config import Driv3rConfig, Dust3rConfig
    from worldline.weights import count_parameters

    family = "driv3r" if isinstance(config, Driv3rConfig) else "mvdust3r"
    if family != "driv3r" and isinstance(config, Dust3rConfig):
        family = "dust3r"
    return FLOAT_BYTES * count_parameters(family, config)


def trunk_bytes(config: PointmapConfig, views: int, height: int, width: int, references: int, device: str) -> int:
    """Activations of the encoder or of a decoder layer, whichever is wider.

    On a CPU a few groups of tokens go through a block at a time, so that its temporaries do not grow with the views.
    """
    from worldline.models.mvdust3r import CPU_CHUNK_TOKENS

    tokens = views * (height // config.patch_size) * (width // config.patch_size)
    paths = min(references, views) if getattr(config, "fused_references", False) else 1
    temporaries = 6 + 2 * config.mlp_ratio  # queries, keys, values, attention, and the two halves of the MLP
    at_once = CPU_CHUNK_TOKENS if device == "cpu" else paths * tokens
    decoder = (3 * paths * tokens + temporaries * min(at_once, paths * tokens)) * config.decoder_dim
    encoder = (6 * tokens + 2 * config.mlp_ratio * min(at_once, tokens)) * config.encoder_dim
    return int(FLOAT_BYTES * max(encoder, decoder))


def head_bytes(config: PointmapConfig, height: int, width: int) -> int:
    """Activations of the heads for one view: the convolutions at full resolution dominate."""
    pixels = height * width
    channels = 16.0
    if config.image_skip:
        channels += 6.5 * config.skip_dim  # Winograd tiles, their transforms, input and output
    channels += 1.5 * getattr(config, "dpt_dim", 0) * (getattr(config, "head", "linear") == "dpt")
    return int(FLOAT_BYTES * pixels * channels)


def free_memory(device: str) -> int:
    """Bytes that a run may take on a device, without those of other programs."""
    import torch

    if device.startswith("cuda"):
        return int(torch.cuda.mem_get_info(device)[0])
    limits = [_available_memory(), *_group_limits()]
    return int(min(limit for limit in limits if limit is not None))


def _available_memory() -> int | None:
    info = Path("/proc/meminfo")
    if info.exists():
        for line in info.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    # elsewhere (macOS) only the total is known; half of it is a careful guess
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def _group_limits() -> list[int]:
    """Memory limits of the container, if any."""
    limits = []
    for name, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        limit, current = (Path("/sys/fs/cgroup") / part for part in (name, used))
        if limit.exists() and current.exists():
            text = limit.read_text(encoding="ascii").strip()
            if text.isdigit() and int(text) < 2**60:
                limits.append(int(text) - int(current.read_text(encoding="ascii")))
    return limits


def _chunks(views: int, device: str) -> list[int]:
    """Chunks to try, preferred first: on a CPU small ones stay in the cache, on a GPU large ones fill it."""
    if device == "cpu":
        return [1]
    return sorted({views, max(1, views // 2), max(1, views // 4), 1}, reverse=True)
