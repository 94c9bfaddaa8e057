"""Encoding and answering: time, and whether an answer depends on what else is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from worldline.eval.query_bench.clock import alternate
from worldline.eval.query_bench.network import QueryNetwork, random_clip, random_queries
from worldline.eval.query_bench.peer import Peer, comparable, peer_installed
from worldline.eval.stream_bench.process import apart
from worldline.models.d4rt import D4rt
from worldline.models.queries import Queries
from worldline.pipeline.video.plan import plan_video

OURS, DEFAULT_PEER, PLAIN_PEER = "worldline", "d4rt (PyPI)", "d4rt (PyPI), softmax over the memory"
_ALONE = 64  # queries that are asked again without the others


@dataclass(frozen=True)
class _Contender:
    """An implementation with an encoded clip."""

    parameters: int
    encode: Callable[[], object]
    decode: Callable[[Queries], Tensor]  # points [1, query, 3]


def measure_speed(
    network: QueryNetwork, *, threads: int = 1, queries: int = 2048, repeats: int = 5, peer: bool = True
) -> list[dict[str, Any]]:
    """Time of encoding one clip of full length and of answering queries about it, in a process of its own.

    Args:
        queries: random places and times, answered in the portions that the memory plan chooses.
        peer: also the PyPI package ``d4rt`` where it is installed and has a network of these sizes; its runs alternate
            with ours.

    Returns:
        One record per implementation. ``encode`` includes the keys and values of all decoder layers, which ours
        projects once per clip. ``batch dependence`` is the largest change of a point when 64 queries are asked without
        the others, as a share of the points' mean size. ``times`` columns: the implementation over ours.
    """
    return apart(_measure, network, threads, queries, repeats, peer)


def _measure(network: QueryNetwork, threads: int, count: int, repeats: int, peer: bool) -> list[dict[str, Any]]:
    torch.set_num_threads(threads)
    config = network.config
    queries = random_queries(count, config.clip_frames)
    with torch.inference_mode():
        contenders = {OURS: _ours(network.load())}
        if peer and peer_installed() and comparable(config):
            contenders |= {
                name: _peer(Peer(config, inverted=name == DEFAULT_PEER), random_clip(config))
                for name in (DEFAULT_PEER, PLAIN_PEER)
            }
        actions: dict[str, Callable[[], object]] = {}
        for name, each in contenders.items():
            actions[f"{name} encode"] = each.encode
        for name, each in contenders.items():
            actions[f"{name} decode"] = partial(each.decode, queries)
        seconds = alternate(actions, repeats)
        records = []
        for name, each in contenders.items():
            encode, decode = seconds[f"{name} encode"], seconds[f"{name} decode"]
            records.append(
                {
                    "implementation": name,
                    "threads": threads,
                    "parameters": each.parameters,
                    "frames": config.clip_frames,
                    "queries": count,
                    "encode s": encode.wall,
                    "encode CPU s": encode.cpu,
                    "decode s": decode.wall,
                    "decode CPU s": decode.cpu,
                    "encode times": encode.wall / seconds[f"{OURS} encode"].wall,
                    "encode CPU times": encode.cpu / seconds[f"{OURS} encode"].cpu,
                    "decode times": decode.wall / seconds[f"{OURS} decode"].wall,
                    "decode CPU times": decode.cpu / seconds[f"{OURS} decode"].cpu,
                    "batch dependence": batch_dependence(each.decode, queries),
                }
            )
    return records


def batch_dependence(decode: Callable[[Queries], Tensor], queries: Queries) -> float:
    """Largest change of a point when the first queries are asked alone, as a share of the points' mean size."""
    together = decode(queries)[:, :_ALONE]
    alone = decode(Queries(*(part[:, :_ALONE] for part in queries)))
    return float((alone - together).abs().max() / together.abs().mean())


def decode_in_portions(network: D4rt, memory: Any, queries: Queries, chunk: int) -> Tensor:
    """Points of queries, so many at a time; nothing else is kept."""
    return torch.cat([network.decode(memory, part, checked=True).points for part in queries.split(chunk)], 1)


def _ours(network: D4rt) -> _Contender:
    clip, aspect = random_clip(network.config), torch.tensor([1.5])
    memory, chunk = network.encode(clip, aspect), plan_video(network.config, clip.shape[1]).chunk
    return _Contender(
        sum(each.numel() for each in network.parameters()),
        lambda: network.encode(clip, aspect),
        lambda queries: decode_in_portions(network, memory, queries, chunk),
    )


def _peer(peer: Peer, clip: Tensor) -> _Contender:
    memory = peer.encode(clip)
    return _Contender(peer.parameters, lambda: peer.encode(clip), lambda queries: peer.decode(memory, queries))
