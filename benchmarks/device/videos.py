"""D4RT: poses per second of the paper's network, queries per second of the embedded one."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial

import torch
from benchmarks import d4rt_cuda

from worldline.eval.query_bench.network import SIZES, random_clip, random_queries
from worldline.models.config import D4rtConfig
from worldline.models.d4rt import D4rt
from worldline.models.queries import Queries

from .bench import Bench, Row, Values, matrix_products
from .counting import META, count


def rows(bench: Bench) -> list[Row]:
    """Both measurements in every variant; compilation last."""
    variants = [variant for variant in d4rt_cuda.VARIANTS if bench.compile or not variant.compile]
    small = [Row(f"mini, queries, {one.name}", partial(_queries, bench, one)) for one in variants]
    large = [Row(f"ViT-g, poses, {one.name}", partial(_poses, bench, one)) for one in variants]
    return [row for pair in zip(large, small, strict=True) for row in pair]


def options(bench: Bench) -> argparse.Namespace:
    """What the functions of d4rt_cuda want to be told."""
    return argparse.Namespace(
        device=str(bench.device), grid=2 if bench.tiny else 8, repeats=bench.repeats,
        queries=200 if bench.tiny else 1 << 20, chunk=1 << 17,
    )  # fmt: skip


def _poses(bench: Bench, variant: d4rt_cuda.Variant) -> Values:
    chosen, sizes = options(bench), SIZES["tiny" if bench.tiny else "vit-g"]()
    network = d4rt_cuda.build(sizes, chosen.device)
    with matrix_products("tf32"), torch.no_grad(), d4rt_cuda.apply(variant, network):
        steps, _ = d4rt_cuda.measure_poses(network, chosen)
    total, frames = sum(steps.values()), sizes.clip_frames
    flops = _encoding(sizes) + _answering(sizes, frames * chosen.grid**2)
    return {
        "seconds": total, "frames": frames, "poses/s": frames / total,
        **{f"{name} s": seconds for name, seconds in steps.items()}, "peak GB": bench.peak_gb(),
        **bench.share(flops, steps["encode"] + steps["queries"], "bfloat16" if variant.half else "tf32"),
    }  # fmt: skip


def _queries(bench: Bench, variant: d4rt_cuda.Variant) -> Values:
    chosen, sizes = options(bench), SIZES["tiny" if bench.tiny else "mini"]()
    network = d4rt_cuda.build(sizes, chosen.device)
    with matrix_products("tf32"), torch.no_grad(), d4rt_cuda.apply(variant, network):
        seconds, _ = d4rt_cuda.measure_queries(network, chosen)
    portion = min(chosen.chunk, chosen.queries)
    flops = _answering(sizes, portion) * chosen.queries / portion
    return {
        "seconds": seconds, "queries": chosen.queries, "queries/s": chosen.queries / seconds,
        "peak GB": bench.peak_gb(), **bench.share(flops, seconds, "bfloat16" if variant.half else "tf32"),
    }  # fmt: skip


def _encoding(sizes: D4rtConfig) -> float:
    return _counted("encode", sizes, lambda network: network.encode(random_clip(sizes).to(META)))


def _answering(sizes: D4rtConfig, asked: int) -> float:
    def both(network: D4rt) -> None:
        memory = network.encode(random_clip(sizes).to(META))
        queries = Queries(*(part.to(META) for part in random_queries(asked, sizes.clip_frames)))
        network.decode(memory, queries, checked=True)

    return _counted(f"{asked} queries", sizes, both) - _encoding(sizes)


def _counted(case: str, sizes: D4rtConfig, run: Callable[[D4rt], object]) -> float:
    def build() -> D4rt:
        return D4rt(sizes).to(META)  # one of its tables is always made on the processor

    return count(f"D4RT {sizes}", case, build, run)
