"""How far shorter numbers move the points: TF32 products and bfloat16 against float32, same weights, same images."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from worldline.eval.query_bench.network import SIZES, random_queries
from worldline.models.d4rt import D4rt
from worldline.models.driv3r import Driv3r
from worldline.models.mvdust3r import MVDust3r
from worldline.models.queries import Queries

from . import multiview, streams
from .bench import Bench, Precision, Row, Values, build_on, running

_MOST = 1 << 20  # points that are looked at
_VIEWS, _IMAGES, _QUERIES = 4, 3, 4096

Prepare = Callable[[Bench, Any], tuple[Tensor, ...]]  # made before any precision is chosen
Run = Callable[[Any, tuple[Tensor, ...]], Tensor]


def rows(bench: Bench) -> list[Row]:
    """The embedded networks first: only trained weights give points that mean something."""
    size, label = ("tiny", "tiny") if bench.tiny else ("vit-g", "published size")
    families: list[tuple[str, str, Callable[[], nn.Module], Prepare, Run]] = [
        ("mvdust3r-plus-mini", "MV-DUSt3R+", lambda: MVDust3r(multiview.config(bench)), _views, _multiview),
        ("d4rt-mini", "D4RT", lambda: D4rt(SIZES[size]()), _clip, _video),
        ("driv3r-mini", "Driv3R", lambda: Driv3r(streams.config(bench)), _images, _stream),
    ]
    cases = []
    if not bench.tiny:
        cases += [Row(one, partial(_differences, bench, partial(_embedded, bench, one), p, r))
                  for one, _, _, p, r in families]  # fmt: skip
    cases += [
        Row(f"{name}, {label}", partial(_differences, bench, partial(build_on, bench.device, build), p, r))
        for _, name, build, p, r in families
    ]
    return cases


def _differences(bench: Bench, build: Callable[[], nn.Module], prepare: Prepare, run: Run) -> Values:
    network = build()
    inputs = prepare(bench, network)
    points = {one: _points(bench, network, inputs, run, one) for one in ("float32", "tf32", "bfloat16")}
    exact, values = points["float32"], dict[str, Any]({"points": len(points["float32"])})
    for precision, label in (("tf32", "TF32"), ("bfloat16", "bfloat16")):
        away = (points[precision] - exact).norm(dim=-1) / exact.norm(dim=-1).clamp_min(1e-12)
        shares = torch.tensor([0.5, 0.99], dtype=away.dtype)
        values[f"{label} median"], values[f"{label} 99 %"] = away.quantile(shares).tolist()
    return values


def _points(bench: Bench, network: Any, inputs: tuple[Tensor, ...], run: Run, precision: Precision) -> Tensor:
    with running(precision, bench.device):
        points = run(network, inputs).float().reshape(-1, 3).cpu()
    assert bool(points.isfinite().all()), f"points that are not finite in {precision}"
    return points[:: max(1, -(-len(points) // _MOST))].double()


def _embedded(bench: Bench, name: str) -> nn.Module:
    from worldline import weights

    network, _ = weights.load_model(weights.resolve(name), device=str(bench.device))
    return network.eval()


def _photos(bench: Bench, count: int, side: int) -> Tensor:
    """Photos of a room, [count, 3, side, side] in [0, 1]: noise would say little of trained weights."""
    from worldline import worlds

    sample = worlds.sample("rooms", worlds.TEST_SEEDS[0], views=count, height=side, width=side)
    return (sample.images.permute(0, 3, 1, 2).float() / 255).to(bench.device)


def _views(bench: Bench, network: Any) -> tuple[Tensor, ...]:
    return (_photos(bench, 2 if bench.tiny else _VIEWS, 32 if bench.tiny else 224)[None] * 2 - 1,)


def _images(bench: Bench, network: Any) -> tuple[Tensor, ...]:
    return (_photos(bench, _IMAGES, 64 if bench.tiny else 224)[None] * 2 - 1,)


def _clip(bench: Bench, network: Any) -> tuple[Tensor, ...]:
    """A film of one photo, and random questions about it."""
    sizes = network.config
    clip = _photos(bench, 1, sizes.image_size[0])[None].expand(-1, sizes.clip_frames, -1, -1, -1)
    return clip, *(part.to(bench.device) for part in random_queries(_QUERIES, sizes.clip_frames))


def _multiview(network: Any, inputs: tuple[Tensor, ...]) -> Tensor:
    return network(*inputs).points


def _stream(network: Any, inputs: tuple[Tensor, ...]) -> Tensor:
    return network(*inputs).final.points


def _video(network: Any, inputs: tuple[Tensor, ...]) -> Tensor:
    clip, *asked = inputs
    memory = network.encode(clip, torch.ones(1, device=clip.device))
    return network.decode(memory, Queries(*asked), checked=True).points
