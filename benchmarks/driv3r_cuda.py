"""Steps per second of Driv3R at published size for a rig of cameras on a CUDA device.

    python benchmarks/driv3r_cuda.py --inputs 6 12

Untried on CUDA: there was no such device when it was written. What it runs was checked on a CPU, without graphs:

    python benchmarks/driv3r_cuda.py --device cpu --config mini --size 64 --inputs 3 --steps 8 --no-compile

Weights and images are random. 6 inputs are the whole images of six cameras, 12 the two square crops of each that the
published weights want; neighbours in the ring read each other's memory. Rows, each on top of the one before:

* `float32`: the stream as a session runs it, TF32 products allowed;
* `bfloat16`: encoder, decoders and value encoder in bfloat16, heads and reads in float32;
* `fixed`: steps of constant shape (worldline.pipeline.stream.fixed_step), the maps compared with those of the stream;
* `compiled`: every block through torch.compile;
* `graph`: replayed as a CUDA graph;
* `whole`: the whole step through torch.compile instead of every block, and replayed.

A step is timed from host images to host maps, previews included, all of it synchronised. Memory is the peak that the
allocator gave out, weights included.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from worldline.eval.stream_bench import random_network
from worldline.models.config import Driv3rConfig
from worldline.models.driv3r import Driv3r
from worldline.models.pool import CameraStep, RigStream
from worldline.pipeline.stream.fixed_step import FixedRigStream

CONFIGS = {"published": Driv3rConfig.published, "mini": Driv3rConfig.mini}
WARM_UP = 12  # steps: the memory is full, everything is compiled and captured


class Variant(NamedTuple):
    """A way to run a step."""

    name: str
    half: bool
    fixed: bool
    compile: bool
    graph: bool
    whole: bool = False  # compile the step as one, not block by block


VARIANTS = (
    Variant("float32", False, False, False, False),
    Variant("bfloat16", True, False, False, False),
    Variant("fixed", True, True, False, False),
    Variant("compiled", True, True, True, False),
    Variant("graph", True, True, True, True),
    Variant("whole", True, True, True, True, whole=True),
)


def halve(model: Driv3r) -> None:
    """Linear layers of everything but heads and reader in bfloat16, so that autocast has nothing to convert."""
    for part in (model.encoder, model.decoder, model.value_encoder, model.key_head, model.query_head):
        for layer in part.modules():
            if isinstance(layer, nn.Linear):
                layer.to(torch.bfloat16)


def make_stream(model: Driv3r, variant: Variant, inputs: int, size: tuple[int, int]) -> RigStream:
    """A ring of so many inputs in which neighbours read each other."""
    names = [f"input{number}" for number in range(inputs)]
    around = {name: (names[row - 1], names[(row + 1) % inputs]) for row, name in enumerate(names)} if inputs > 2 else {}
    if not variant.fixed:
        return RigStream(model, names, neighbors=around)
    dtype = torch.bfloat16 if variant.half else None
    return FixedRigStream(model, names, size, neighbors=around, dtype=dtype, compile=variant.whole, graph=variant.graph)


@contextmanager
def compiled(model: Driv3r, variant: Variant) -> Iterator[None]:
    """Blocks that compile themselves when first called; as they were when this ends."""
    trunks = (model.encoder.blocks, model.decoder.reference_blocks, model.decoder.source_blocks)
    blocks = [block for trunk in (*trunks, model.value_encoder.blocks) for block in trunk]
    chosen = blocks if variant.compile and not variant.whole else []
    for block in chosen:
        block.compile(dynamic=False)
    try:
        yield
    finally:
        for block in chosen:
            block._compiled_call_impl = None


def precision(model: Driv3r, variant: Variant) -> AbstractContextManager[object]:
    """Autocast for the ordinary stream; the fixed step has its own."""
    device = next(model.parameters()).device.type
    return torch.autocast(device, torch.bfloat16) if variant.half and not variant.fixed else nullcontext()


def run(
    stream: RigStream, frames: Iterator[Tensor], steps: int, limit: float = np.inf
) -> tuple[list[float], dict[str, CameraStep]]:
    """Seconds of every step from images to maps on the host, until they add up to ``limit``, and the last result."""
    seconds: list[float] = []
    result: dict[str, CameraStep] = {}
    for number in range(steps):
        if sum(seconds) > limit:
            break
        images = dict(zip(stream.sensors, next(frames), strict=True))
        started = time.perf_counter()
        result = stream.step(images, float(number))
        for each in result.values():
            for maps in (each.preview, each.completed):
                if maps is not None:
                    maps.maps.points.cpu(), maps.maps.confidence.cpu()  # waits for the device
        seconds.append(time.perf_counter() - started)
    return seconds, result


def random_frames(inputs: int, size: tuple[int, int], period: int = 8) -> Iterator[Tensor]:
    """Images on the host in [-1, 1], repeated."""
    generator = torch.Generator().manual_seed(1)
    frames = torch.rand(period, inputs, 3, *size, generator=generator) * 2 - 1
    number = 0
    while True:
        yield frames[number % period]
        number += 1


def difference(one: dict[str, CameraStep], other: dict[str, CameraStep]) -> float:
    """Largest relative distance between the previews of two streams."""
    pairs = [(one[name].preview, other[name].preview) for name in one]
    return max(float((a.maps.points - b.maps.points).norm() / a.maps.points.norm()) for a, b in pairs if a and b)


def measure(options: argparse.Namespace, inputs: int) -> list[dict[str, Any]]:
    """One row per variant, in turn."""
    size, on_cuda = (options.size, options.size), options.device.startswith("cuda")
    model, rows, reference = random_network(CONFIGS[options.config](), options.device), [], None
    for variant in VARIANTS:
        if (variant.graph and not on_cuda) or (variant.compile and not options.compile):
            continue
        if variant.half:
            halve(model)
        stream, frames = None, random_frames(inputs, size)  # the one before goes, with its buffers and graph
        if on_cuda:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        with precision(model, variant), compiled(model, variant):
            stream = make_stream(model, variant, inputs, size)
            warm, _ = run(stream, frames, WARM_UP)
            seconds, result = run(stream, frames, options.steps)
        reference = result if reference is None else reference
        rows.append(
            {
                "inputs": inputs,
                "variant": variant.name,
                "median ms": f"{1e3 * np.median(seconds):.1f}",
                "p99 ms": f"{1e3 * np.percentile(seconds, 99):.1f}",
                "steps / s": f"{1 / np.median(seconds):.2f}",
                "first steps s": f"{sum(warm):.1f}",
                "peak GB": f"{torch.cuda.max_memory_allocated() / 1e9:.2f}" if on_cuda else "",
                "difference to float32": f"{difference(reference, result):.1e}",
            }
        )
        print("| " + " | ".join(str(value) for value in rows[-1].values()) + " |", flush=True)
    return rows


def main() -> None:
    """Measure every number of inputs and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, nargs="+", default=[6, 12], help="images per step")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--size", type=int, default=224, help="side of the images")
    parser.add_argument("--config", choices=CONFIGS, default="published")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    print("| inputs | variant | median ms | p99 ms | steps / s | first steps s | peak GB | difference to float32 |")
    print("|---|---|---|---|---|---|---|---|")
    for inputs in options.inputs:
        measure(options, inputs)


if __name__ == "__main__":
    main()
