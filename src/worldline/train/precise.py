"""Small products that must not lose digits: as matrix products a GPU would round them to TensorFloat-32, 10 bits."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def turned(vectors: Float[Tensor, "*batch 3"], matrices: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3"]:
    """Matrix times vector, in full float32 precision everywhere; leading axes broadcast."""
    x, y, z = (vectors[..., axis, None] * matrices[..., axis] for axis in range(3))
    return x + y + z
