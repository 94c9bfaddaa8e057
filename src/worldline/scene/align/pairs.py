"""Which ordered pairs of images a pairwise network is run on."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from jaxtyping import Int

from worldline.errors import InputError

Pair = tuple[int, int]
_GRAPHS = "'complete', 'swin-K', 'logwin-K' (each also with '-noncyclic') or 'oneref-R'"


def make_pairs(
    count: int,
    graph: str = "complete",
    *,
    symmetrize: bool = True,
    prefilter: str | None = None,
    self_pairs: bool = False,
) -> Int[np.ndarray, "pair 2"]:
    """Ordered pairs (first, second) of image indices; the network expresses both images in the first one's frame.

    Args:
        count: number of images, in the order in which they were taken for the window graphs.
        graph: ``complete``: every pair; ``swin-K``: neighbours up to K places away (default 3); ``logwin-K``:
            neighbours 1, 2, 4 … 2^(K-1) places away; both wrap around unless the name ends in ``-noncyclic``;
            ``oneref-R``: image R with every other one (default 0).
        symmetrize: append the swapped pairs after the list.
        prefilter: ``seqT`` keeps pairs at most T places apart, ``cycT`` likewise on a ring.
        self_pairs: keep pairs of an image with itself, which the published window graphs contain when a window is as
            long as the ring. They cost a network pass and constrain nothing.

    Raises:
        InputError: unknown graph or filter, or a reference that does not exist.
    """
    pairs = _symmetrized(_graph(count, graph), symmetrize)
    keep = _filter(count, prefilter)
    kept = [(i, j) for i, j in pairs if keep(i, j) and (self_pairs or i != j)]
    return np.array(kept, dtype=np.int64).reshape(-1, 2)


def _graph(count: int, graph: str) -> list[Pair]:
    match = re.fullmatch(r"(complete|swin|logwin|oneref)(?:-(\d+))?(-noncyclic)?", graph)
    if match is None:
        raise InputError(f"Unknown pair graph {graph!r}.", f"Choose {_GRAPHS}.")
    kind, number, noncyclic = match[1], match[2], match[3] is not None
    if kind == "complete":
        return [(i, j) for i in range(count) for j in range(i)]
    if kind == "oneref":
        reference = int(number or 0)
        if reference >= count:
            raise InputError(f"Pair graph {graph!r}: there is no image {reference}.", f"Choose 0 to {count - 1}.")
        return [(reference, j) for j in range(count) if j != reference]
    window = int(number or 3)
    offsets = range(1, window + 1) if kind == "swin" else [2**k for k in range(window)]
    return _window_pairs(count, offsets, cyclic=not noncyclic, backward=kind == "logwin")


def _window_pairs(count: int, offsets: Iterable[int], *, cyclic: bool, backward: bool) -> list[Pair]:
    """Undirected pairs at the given distances, smaller index first, each once."""
    signed = [sign * offset for offset in offsets for sign in ((1, -1) if backward else (1,))]
    pairs: dict[Pair, None] = {}
    for i in range(count):
        for offset in signed:
            j = (i + offset) % count if cyclic else i + offset
            if 0 <= j < count:
                pairs[min(i, j), max(i, j)] = None
    return list(pairs)


def _symmetrized(pairs: list[Pair], symmetrize: bool) -> list[Pair]:
    return pairs + [(j, i) for i, j in pairs] if symmetrize else pairs


def _filter(count: int, prefilter: str | None):  # type: ignore[no-untyped-def]
    if prefilter is None:
        return lambda i, j: True
    match = re.fullmatch(r"(seq|cyc)(\d+)", prefilter)
    if match is None:
        raise InputError(f"Unknown pair filter {prefilter!r}.", "Choose 'seqT' or 'cycT' with a whole number T.")
    limit = int(match[2])
    if match[1] == "seq":
        return lambda i, j: abs(i - j) <= limit
    return lambda i, j: min(abs(i - j), count - abs(i - j)) <= limit
