"""MV-DUSt3R and MV-DUSt3R+: seconds, views per second and memory by number of views."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from worldline.models.config import MVDust3rConfig
from worldline.models.mvdust3r import DEFAULT_REFERENCES, MVDust3r
from worldline.pipeline.single_pass import run_network

from .bench import Bench, Precision, Row, Values, build_on, compiled_blocks, running
from .counting import META, count

VIEWS = (4, 8, 12, 24, 48)
LABELS: dict[Precision, str] = {"float32": "float32", "tf32": "TF32", "bfloat16": "bfloat16"}


def config(bench: Bench, fused: bool = True) -> MVDust3rConfig:
    """Published size, or the smallest one with all parts."""
    published = MVDust3rConfig.published(fused_references=fused)
    if not bench.tiny:
        return published
    return replace(
        published, encoder_dim=32, encoder_depth=1, encoder_heads=2, decoder_dim=24, decoder_depth=2,
        decoder_heads=2, skip_dim=8, gaussian_dim=16,
    )  # fmt: skip


def photos(bench: Bench, views: int, device: torch.device) -> Tensor:
    """Noise, [1, V, 3, H, W] in [-1, 1]."""
    side = 32 if bench.tiny else 224
    generator = torch.Generator().manual_seed(1)
    return (torch.rand(1, views, 3, side, side, generator=generator) * 2 - 1).to(device)


def rows(bench: Bench) -> list[Row]:
    """The fused model in all precisions, the plain model, and the fused one as a pipeline calls it."""
    views = (2, 3) if bench.tiny else VIEWS
    few = views[:1] if bench.tiny else (4, 8, 24)
    cases: list[Row] = []
    order: tuple[tuple[bool, Precision], ...] = ((True, "bfloat16"), (True, "tf32"), (False, "bfloat16"))
    for fused, precision in order:
        cases += [_row(bench, fused, one, precision) for one in views]
    cases += [Row(f"MV-DUSt3R+, as loaded, {one} views", partial(_loaded, bench, one)) for one in few]
    cases += [_row(bench, False, one, "tf32") for one in views]
    cases += [_row(bench, True, one, "float32") for one in few]
    return cases


def compiled_rows(bench: Bench) -> list[Row]:
    """Every number of views is compiled anew, which takes much longer than all runs together."""
    views = (2,) if bench.tiny else (8, 24, 4, 12, 48)
    return [_row(bench, True, one, "bfloat16", compiled=True) for one in views] if bench.compile else []


def _row(bench: Bench, fused: bool, views: int, precision: Precision, compiled: bool = False) -> Row:
    name, label = "MV-DUSt3R+" if fused else "MV-DUSt3R", LABELS[precision] + (", compiled" if compiled else "")
    return Row(f"{name}, {label}, {views} views", lambda: _pass(bench, fused, views, precision, compiled))


def _pass(bench: Bench, fused: bool, views: int, precision: Precision, compiled: bool) -> Values:
    network: MVDust3r = build_on(bench.device, lambda: MVDust3r(config(bench, fused)))
    images = photos(bench, views, bench.device)
    with running(precision, bench.device):
        if compiled:
            with compiled_blocks(network):
                timing = bench.clock(lambda: network(images))
        else:
            timing = bench.clock(lambda: network(images))
    flops = _flops(bench, fused, views)
    return _values(bench, timing, views) | bench.share(flops, timing["seconds"], precision)


def _loaded(bench: Bench, views: int) -> Values:
    """As `worldline.load(…).reconstruct` calls it: bfloat16 on CUDA, within a memory plan, results on the host."""
    network: MVDust3r = build_on(bench.device, lambda: MVDust3r(config(bench)))
    images = photos(bench, views, bench.device)
    timing = bench.clock(lambda: run_network(network, images, DEFAULT_REFERENCES))
    return _values(bench, timing, views)


def _values(bench: Bench, timing: Values, views: int) -> Values:
    return {
        "seconds": timing["seconds"], "views/s": views / timing["seconds"], "first s": timing["first s"],
        "runs": timing["runs"], "peak GB": bench.peak_gb(),
    }  # fmt: skip


def _flops(bench: Bench, fused: bool, views: int) -> float:
    sizes = config(bench, fused)
    return count(
        f"MV-DUSt3R {sizes}", str(views), lambda: MVDust3r(sizes), lambda network: network(photos(bench, views, META))
    )
