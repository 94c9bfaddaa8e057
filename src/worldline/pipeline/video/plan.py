"""What an encoded video and its queries take in memory, and how many queries are answered at a time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from worldline.errors import MemoryPlanError
from worldline.pipeline.memory import FLOAT_BYTES, GIB, RUNTIME_BYTES, free_memory

if TYPE_CHECKING:
    from worldline.models.config import D4rtConfig

LEAST_CHUNK = 64  # queries; fewer at a time are slower than any machine deserves
_CPU_CHUNK = 2048  # queries whose activations stay in the cache of a processor
_GPU_CHUNK = 1 << 17


@dataclass(frozen=True)
class VideoPlan:
    """Memory of one clip, in bytes, and how queries are cut into portions."""

    encode_bytes: int  # at the widest moment of encoding, without the weights
    memory_bytes: int  # what stays: tokens, keys and values, frames for colour patches
    chunk: int  # queries at a time


def plan_video(
    config: D4rtConfig, frames: int, *, patch_pixels: int | None = None, device: str = "cpu", limit: int | None = None,
    chunk: int | None = None,
) -> VideoPlan:  # fmt: skip
    """Predict the memory of encoding a clip and choose the portions of queries.

    Args:
        frames: length of the clip.
        patch_pixels: pixels per frame that colour patches are cut from; None: those that the network sees.
        limit: bytes that may be taken; None = what is free on ``device``.
        chunk: queries at a time; None: chosen.

    Raises:
        MemoryPlanError: the clip does not fit.
    """
    limit = free_memory(device) if limit is None else limit
    height, width = config.image_size
    tokens = math.ceil(frames / config.patch[0]) * (height // config.patch[1]) * (width // config.patch[2]) + 1
    pixels = frames * 3 * height * width * FLOAT_BYTES
    kept = FLOAT_BYTES * tokens * config.decoder_dim * (1 + 2 * config.decoder_depth)
    kept += pixels if patch_pixels is None else frames * 3 * patch_pixels
    widest = FLOAT_BYTES * tokens * (8 * config.encoder_dim + 2 * config.encoder_mlp_dim) + 2 * pixels
    peak = kept + widest + RUNTIME_BYTES
    each = query_bytes(config, tokens, device)
    if peak > limit or kept + RUNTIME_BYTES + LEAST_CHUNK * each > limit:
        raise MemoryPlanError(
            f"A clip of {frames} frames of {width}x{height} needs about {peak / GIB:.1f} GiB; "
            f"{limit / GIB:.1f} GiB are free on {device}.",
            "Use fewer frames (max_frames), a smaller model, or another device.",
        )
    if chunk is None:
        fitting = (limit - kept - RUNTIME_BYTES) // (2 * each)
        chunk = max(LEAST_CHUNK, min(fitting, _CPU_CHUNK if device == "cpu" else _GPU_CHUNK))
    return VideoPlan(int(peak), int(kept), int(chunk))


def query_bytes(config: D4rtConfig, tokens: int, device: str) -> int:
    """Activations of one query in the decoder; without a fused attention also its weights of all tokens."""
    patch = (config.color_patch + 1) ** 2 * (3 * 3 * FLOAT_BYTES + 8)  # window, blends, and 64-bit indices
    block = FLOAT_BYTES * (10 * config.decoder_dim + 2 * config.decoder_mlp_dim)
    attention = FLOAT_BYTES * config.decoder_heads * tokens if device.startswith("mps") else 0
    return patch + block + attention
