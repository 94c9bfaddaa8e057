"""Real spherical harmonics of degrees 0 to 3: colours of Gaussians that depend on the viewing direction."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

MAX_DEGREE = 3

# Norms of the real basis with the Condon-Shortley sign, as published scenes store their coefficients.
_C0 = 0.28209479177387814  # 1/2 sqrt(1/pi)
_C1 = 0.4886025119029199  # sqrt(3/(4 pi))
_C2 = (1.0925484305920792, 0.31539156525252005, 0.5462742152960396)  # 1/2 sqrt(15/pi), 1/4 sqrt(5/pi), 1/4 sqrt(15/pi)
_C3 = (
    0.5900435899266435,  # 1/4 sqrt(35/(2 pi))
    2.890611442640554,  # 1/2 sqrt(105/pi)
    0.4570457994644658,  # 1/4 sqrt(21/(2 pi))
    0.3731763325901154,  # 1/4 sqrt(7/pi)
    1.445305721320277,  # 1/4 sqrt(105/pi)
)


def basis(directions: Float[Tensor, "n 3"], degree: int) -> Float[Tensor, "n k"]:
    """The (degree + 1)² basis functions at unit directions, ordered by degree l and then by m = -l .. l.

    Args:
        directions: unit vectors from the camera to the Gaussian, in world axes.
        degree: 0 to 3.
    """
    x, y, z = directions.unbind(-1)
    values = [torch.full_like(x, _C0)]
    if degree >= 1:
        values += [-_C1 * y, _C1 * z, -_C1 * x]
    if degree >= 2:
        xx, yy, zz = x * x, y * y, z * z
        values += [
            _C2[0] * x * y,
            -_C2[0] * y * z,
            _C2[1] * (2 * zz - xx - yy),
            -_C2[0] * x * z,
            _C2[2] * (xx - yy),
        ]
    if degree >= 3:
        values += [
            -_C3[0] * y * (3 * xx - yy),
            _C3[1] * x * y * z,
            -_C3[2] * y * (4 * zz - xx - yy),
            _C3[3] * z * (2 * zz - 3 * xx - 3 * yy),
            -_C3[2] * x * (4 * zz - xx - yy),
            _C3[4] * z * (xx - yy),
            -_C3[0] * x * (xx - 3 * yy),
        ]
    return torch.stack(values, -1)


def evaluate(
    coefficients: Float[Tensor, "n k 3"], directions: Float[Tensor, "n 3"], degree: int
) -> Float[Tensor, "n 3"]:
    """Colours seen along the directions: basis · coefficients + 0.5, not below 0 (the published convention).

    Args:
        coefficients: k ≥ (degree + 1)²; those of higher degrees are left out.
        directions: from the camera to the Gaussian, world axes, of any length.
        degree: 0 to 3.
    """
    unit = torch.nn.functional.normalize(directions, dim=-1)
    values = basis(unit, degree)
    used = coefficients[:, : values.shape[-1]]
    return ((used * values[..., None]).sum(1) + 0.5).clamp_min(0)
