"""In which order the views are fed to the network: the first few slots are MV-DUSt3R's reference views.

MV-DUSt3R+ (arXiv 2412.06974, section 3.3) fuses paths that start from several references, so they should see different
parts of the scene. The published demo and the published evaluation spread them by different swaps; both are here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int64

from worldline.errors import InputError

SCHEMES = ("demo", "evaluation", "spread", "input")
_FEW_VIEWS = 12  # below, the published rules swap fixed places; from here on they swap quarters of the sequence


def reference_order(
    count: int,
    scheme: str = "demo",
    references: int = 4,
    *,
    first: int | None = None,
    total: int | None = None,
) -> Int64[np.ndarray, "total"]:
    """Permutation ``order``: slot k of the network is fed view ``order[k]``. :func:`inverse_order` undoes it.

    Args:
        count: number of input views.
        scheme: ``"demo"`` (published demo), ``"evaluation"`` (published evaluation, which also swaps the first two
            views), ``"spread"`` (ours: references at even distances, else input order) or ``"input"`` (as given).
        references: number of reference slots; used by ``"spread"`` only, the published rules always spread four.
        first: index of the view whose camera shall be the world frame; it changes places with the view of slot 0.
        total: ``"evaluation"`` only: number of views including those that are only rendered and follow the inputs.

    Raises:
        InputError: unknown scheme, or a number out of range.
    """
    total = count if total is None else total
    if count < 1 or total < count or references < 1:
        raise InputError(f"There is no order of {count} views with {references} references.", "Give at least one view.")
    if scheme == "evaluation":
        order = _swapped(total, [(0, 1), *_published_swaps(count, total)])
    elif scheme == "demo":
        order = _swapped(total, _published_swaps(count, count))
    elif scheme == "spread":
        order = _spread(total, min(references, count), count)
    elif scheme == "input":
        order = np.arange(total)
    else:
        raise InputError(f"There is no view order '{scheme}'.", f"Choose one of: {', '.join(SCHEMES)}.")
    if first is None:
        return order
    if not 0 <= first < count:
        raise InputError(f"The reference view {first} does not exist.", f"Choose an index from 0 to {count - 1}.")
    place = int(np.flatnonzero(order == first)[0])
    order[[0, place]] = order[[place, 0]]
    return order


def inverse_order(order: Int64[np.ndarray, "n"] | Sequence[int]) -> Int64[np.ndarray, "n"]:
    """Slot of every view: ``inverse[order[k]] == k``. Indexing network outputs with it restores the input order."""
    return np.argsort(np.asarray(order)).astype(np.int64)


def _published_swaps(count: int, total: int) -> list[tuple[int, int]]:
    if count < _FEW_VIEWS:
        return [pair for pair, needed in (((1, 3), 3), ((2, 6), 6)) if total > needed]
    return [(slot, slot * count // 4 + 1) for slot in (1, 2, 3)]


def _swapped(total: int, swaps: list[tuple[int, int]]) -> Int64[np.ndarray, "total"]:
    order = np.arange(total, dtype=np.int64)
    for one, other in swaps:
        if max(one, other) < total:
            order[[one, other]] = order[[other, one]]
    return order


def _spread(total: int, references: int, count: int) -> Int64[np.ndarray, "total"]:
    chosen = [slot * count // references for slot in range(references)]
    return np.array([*chosen, *(view for view in range(total) if view not in chosen)], dtype=np.int64)
