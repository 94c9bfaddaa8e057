"""A few of many, evenly chosen: the rule by which tracks and views are left out where there are too many."""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64


def spread(count: int, most: int) -> Int64[np.ndarray, "m"]:
    """At most ``most`` of the numbers 0 … count - 1, ascending and evenly spread, the first and the last among them."""
    if count <= 0 or most <= 0:
        return np.zeros(0, np.int64)
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
